"""Alignments as they are: the same bytes however they come, nothing lost or merged, and every change noticed."""

import json
import shutil
import tracemalloc
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import xxhash

from pipeline.cli import main
from pipeline.config import OnInvalid
from pipeline.engines.execution import ProcessExecutor, SerialExecutor
from pipeline.engines.runner import run_stage
from pipeline.engines.stage import SilentWatcher
from pipeline.errors import ConfigurationError, InputFormatError
from pipeline.formats.aligned import open_alignments
from pipeline.formats.alignments import ALIGNMENTS_SCHEMA, read_group
from pipeline.formats.problems import OnError
from pipeline.stages.ingest.alignment_config import AlignmentsConfig
from pipeline.stages.ingest.alignment_stage import IngestAlignments
from pipeline.stages.verify.stage import verify

DATA = Path(__file__).parents[1] / "data"
SHIPPED = [
    *sorted((DATA / "msa").glob("[1U6]*.a3m*")),
    *sorted((DATA / "stockholm").glob("[oP]*.st*")),
    DATA / "stockholm" / "pfam5.seed.txt",
]


def make(folder, files, *, executor=None, **options):
    config = AlignmentsConfig(files=tuple(map(str, files)), **options)
    return run_stage(IngestAlignments(config), folder, executor=executor or SerialExecutor()).manifest


def records(folder):
    return [row for path in sorted(folder.glob("*.parquet")) for row in pq.read_table(path).to_pylist()]


def files_of(folder):
    return {path.name: path.read_bytes() for path in folder.glob("*.parquet")}


def write(path, text):
    path.write_text(text)
    return path


@pytest.fixture(scope="module")
def shipped(tmp_path_factory):
    folder = tmp_path_factory.mktemp("alignments") / "out"
    manifest = make(folder, SHIPPED, alignments_per_part=3, alignments_per_group=2, licence="CC-BY-4.0")
    return folder, manifest


def test_every_alignment_is_there_as_it_was_read(shipped):
    folder, manifest = shipped
    there = records(folder)
    expected = [found for path in SHIPPED for found in open_alignments(path)]
    texts = sorted("\n".join(row.tobytes().decode() for row in found.letters) for found in expected)
    assert sorted("\n".join(row["rows"]) for row in there) == texts
    for row in there:
        assert row["alignment_key"] == xxhash.xxh3_64_intdigest("\n".join(row["rows"]).encode())
        assert row["query"] == row["rows"][0]
        assert row["depth"] == len(row["rows"]) == len(row["accessions"])
        assert {len(one) for one in row["rows"]} == {row["width"]}
    keys = [row["alignment_key"] for row in there]
    assert keys == sorted(keys)
    assert len(manifest.tables) == 4
    assert manifest.counts["alignments"] == manifest.counts["alignments_read"] == len(SHIPPED)
    assert manifest.counts["aligned_rows"] == sum(row["depth"] for row in there) == 2280
    assert {row["accession"] for row in there} >= {"UniRef50_E9K9Y4", "aln-8e64a4e2ed4e417e"}
    assert {row["source"] for row in there} == {"uniref50", "other"}
    assert {source.licence for source in manifest.provenance} == {"CC-BY-4.0"}


def test_the_same_bytes_whatever_the_order_and_the_workers(shipped, tmp_path):
    folder, manifest = shipped
    moved = [shutil.copy(path, tmp_path / f"{at}{''.join(path.suffixes)}") for at, path in enumerate(SHIPPED)]
    with ProcessExecutor(2) as executor:
        again = make(tmp_path / "again", moved[::-1], executor=executor, alignments_per_part=3, alignments_per_group=2)
    assert files_of(tmp_path / "again") == files_of(folder)
    assert again.fingerprint == manifest.fingerprint


def test_however_the_input_is_cut_into_files(tmp_path):
    texts = {f"a{at}": f">q{at}\nMKV{'AC'[at % 2]}\n>r\nM--A\n" for at in range(7)}
    single = [write(tmp_path / f"{name}.a3m", text) for name, text in texts.items()]
    data = tmp_path / "all_a3m.ffdata"
    data.write_bytes(b"".join(text.encode() + b"\0" for text in reversed(texts.values())))
    one = make(tmp_path / "one", single, alignments_per_part=2)
    other = make(tmp_path / "other", [data], alignments_per_part=2)
    assert files_of(tmp_path / "one") == files_of(tmp_path / "other")
    assert one.fingerprint == other.fingerprint
    # Seven alignments of two different contents: all there, those of one key sorted by name.
    there = [(row["alignment_key"], row["accession"]) for row in records(tmp_path / "one")]
    assert len(there) == 7
    assert there == sorted(there)
    assert len({key for key, _ in there}) == 2


def test_what_is_finished_is_not_done_again(shipped, tmp_path):
    folder = shutil.copytree(shipped[0], tmp_path / "out")
    files = tuple(map(str, SHIPPED[::-1]))
    config = AlignmentsConfig(files=files, alignments_per_part=3, alignments_per_group=2, licence="CC-BY-4.0")
    assert run_stage(IngestAlignments(config), folder, executor=SerialExecutor()).was_finished
    (folder / "part-00001.parquet").unlink()
    assert not run_stage(IngestAlignments(config), folder, executor=SerialExecutor()).was_finished
    assert files_of(folder) == files_of(shipped[0])


STRANGE = ">q\nMKVA\n>star\nMK*A\n>twice\nM--A\n>twice\nM--A\n>digit\nM1VA\n"


@pytest.mark.parametrize(
    ("policy", "rows", "reasons"),
    [
        (OnInvalid.DROP, ["MKVA", "M--A", "M--A"], {"invalid-stop": 1, "invalid-digit": 1}),
        (OnInvalid.REPLACE, ["MKVA", "MKXA", "M--A", "M--A", "MXVA"], {}),
    ],
)
def test_strange_characters_cost_their_row(tmp_path, policy, rows, reasons):
    manifest = make(tmp_path / "out", [write(tmp_path / "x.a3m", STRANGE)], on_invalid=policy)
    (record,) = records(tmp_path / "out")
    assert record["rows"] == rows
    assert manifest.reasons == reasons
    assert manifest.counts["aligned_rows_read"] == 5
    assert manifest.counts["aligned_rows_left_out"] == sum(reasons.values())


def test_strange_characters_can_be_an_error(tmp_path):
    with pytest.raises(InputFormatError, match=r"row 2 of the alignment \('star'\).*found '\*' at match column 3"):
        make(tmp_path / "out", [write(tmp_path / "x.a3m", STRANGE)], on_invalid=OnInvalid.ERROR)


def test_damage_costs_what_is_damaged_and_is_counted(tmp_path):
    """Good alignments are never lost: among damaged entries, in files before and behind them."""
    entries = [">a\nMKVA\n>b\nMKV\n>c\nM-VA\n", "garbage", ">*\n****\n>x\nMKVA\n", ">d\nMK\n", "", ">e\n\n"]
    data = tmp_path / "x_a3m.ffdata"
    data.write_bytes(b"".join(entry.encode() + b"\0" for entry in entries))
    sto = write(tmp_path / "x.sto", "# STOCKHOLM 1.0\na MK\nb M\n//\n# STOCKHOLM 1.0\nc MKV\n//\n")
    with pytest.raises(InputFormatError):
        make(tmp_path / "stop", [data, sto])
    manifest = make(tmp_path / "skip", [data, sto], on_error=OnError.SKIP)
    assert sorted(row["accession"] for row in records(tmp_path / "skip")) == ["a", "c", "d"]
    assert manifest.reasons == {
        "unequal-columns": 2,
        "no-alignment": 1,
        "no-query": 1,
        "no-rows": 1,
        "unreadable-alignment": 1,
    }
    counts = manifest.counts
    assert (counts["alignments_read"], counts["alignments_left_out"], counts["aligned_rows_left_out"]) == (7, 4, 2)
    assert counts["skipped_empty_entry"] == 1
    assert verify(tmp_path / "skip", executor=SerialExecutor(), watcher=SilentWatcher()).is_sound


def test_nothing_left_is_an_error(tmp_path):
    with pytest.raises(InputFormatError, match="kept no alignment: 1 no-query"):
        make(tmp_path / "out", [write(tmp_path / "x.a3m", ">q\n----\n>r\nMKVA\n")])


def test_row_groups_are_alike_and_read_one_by_one(shipped):
    folder, manifest = shipped
    read = []
    for file in manifest.tables:
        parquet = pq.ParquetFile(folder / file.path)
        assert parquet.schema_arrow.equals(ALIGNMENTS_SCHEMA)
        sizes = [parquet.metadata.row_group(group).num_rows for group in range(parquet.num_row_groups)]
        assert sizes == [2] * (file.rows // 2) + [1] * (file.rows % 2)
        read += [one for group in range(len(sizes)) for one in read_group(folder / file.path, group)]
    there = records(folder)
    assert [one.key for one in read] == [row["alignment_key"] for row in there]
    for one, row in zip(read, there, strict=True):
        assert [text.tobytes().decode() for text in one.letters] == row["rows"]


def test_from_the_command_line_and_back(tmp_path, capsys):
    path, out = str(DATA / "msa" / "UniRef50_E9K9Y4.a3m"), str(tmp_path / "out")
    arguments = ["ingest", path, "--as", "alignments", "--out", out, "--executor", "serial"]
    assert main(arguments) == 0
    assert "1 alignments of 17 rows" in (told := capsys.readouterr().err) or "1 alignment of 17 rows" in told
    assert "next: pipeline verify" in told
    assert main(["verify", out, "--executor", "serial"]) == 0
    assert main(["inspect", out, "--json"]) == 0
    assert '"alignments": 1' in capsys.readouterr().out
    assert main(["ingest", path, "--as", "alignment", "--out", out]) == 2
    assert main([*arguments, "--min-length", "5"]) == 2
    assert "filters: expected none with --as alignments" in capsys.readouterr().err


def test_formats_without_alignments_are_refused(tmp_path):
    with pytest.raises(ConfigurationError, match="expected alignments"):
        make(tmp_path / "out", [write(tmp_path / "x.csv", "id,sequence\na,MKV\n")])


def rewrite(folder, name, change):
    table = pq.read_table(folder / name)
    rows = table.to_pylist()
    change(rows)
    groups = pq.ParquetFile(folder / name).metadata.row_group(0).num_rows
    pq.write_table(pa.Table.from_pylist(rows, ALIGNMENTS_SCHEMA), folder / name, row_group_size=groups)


def lie(folder, name):
    """Let the manifest say of a file what it now is, so that only the laws can tell."""
    from pipeline.formats.content import ContentHasher
    from pipeline.formats.manifest import fingerprint_of, read_manifest, write_manifest
    from pipeline.formats.storage import file_digest

    manifest = read_manifest(folder)
    table, (num_bytes, digest) = pq.read_table(folder / name), file_digest(folder / name)
    hasher = ContentHasher()
    hasher.update(table)
    update = {"rows": table.num_rows, "bytes": num_bytes, "xxh3_64": digest, "content": hasher.hexdigest()}
    files = tuple(file.model_copy(update=update) if file.path == name else file for file in manifest.files)
    manifest = manifest.model_copy(update={"files": files})
    write_manifest(folder, manifest.model_copy(update={"fingerprint": fingerprint_of(manifest)}))


def merge_rows(rows):
    rows[0]["rows"] = rows[0]["rows"][:-1]
    rows[0]["accessions"] = rows[0]["accessions"][:-1]
    rows[0]["depth"] -= 1


CHANGES = {
    "a row gone": (merge_rows, "expected the key"),
    "depth": (lambda rows: rows[0].update(depth=3), "depth"),
    "query": (lambda rows: rows[0].update(query=rows[0]["rows"][1]), "query"),
    "width": (lambda rows: rows[0].update(width=7), "columns"),
    "an accession gone": (lambda rows: rows[0]["accessions"].pop(), "an accession for each"),
    "name": (lambda rows: rows[0].update(accession="Q"), "accession of its first row"),
    "order": (lambda rows: rows.reverse(), "another order"),
    "an alignment gone": (lambda rows: rows.pop(), "from the manifest"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_verify_notices_what_the_digests_would_hide(shipped, tmp_path, change):
    folder = shutil.copytree(shipped[0], tmp_path / "out")
    name = next(file.path for file in shipped[1].tables if file.rows > 2)
    rewrite(folder, name, CHANGES[change][0])
    lie(folder, name)
    report = verify(folder, executor=SerialExecutor(), watcher=SilentWatcher())
    assert any(CHANGES[change][1] in finding.message for finding in report.findings), report.findings


def test_verify_notices_counts_that_do_not_add_up(shipped, tmp_path):
    folder = shutil.copytree(shipped[0], tmp_path / "out")
    document = json.loads((folder / "manifest.json").read_text())
    document["counts"]["aligned_rows_read"] += 1
    (folder / "manifest.json").write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n")
    report = verify(folder, executor=SerialExecutor(), watcher=SilentWatcher())
    assert [finding.message for finding in report.findings] == [
        "aligned_rows_read: expected 2,281 from the manifest, found 2,280"
    ]


def peak_memory(folder, num_alignments, *, depth=250, width=1600):
    """Bytes that Python holds at most while alignments of 0.4 MB are ingested."""
    folder.mkdir()
    rng, letters = np.random.default_rng(0), np.frombuffer(b"ACDEFGHIKLMNPQRSTVWY-", dtype=np.uint8)
    with (folder / "x_a3m.ffdata").open("wb") as data:
        for _ in range(num_alignments):
            lines = np.full((depth, width + 4), ord("\n"), dtype=np.uint8)
            lines[:, 0], lines[:, 1] = ord(">"), ord("r")
            lines[:, 3:-1] = letters[rng.integers(0, 20 + (np.arange(depth) > 0)[:, None], (depth, width))]
            data.write(lines.tobytes() + b"\0")
    tracemalloc.start()
    manifest = make(folder / "out", [folder / "x_a3m.ffdata"], alignments_per_group=1)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert manifest.counts["alignments"] == num_alignments
    return peak


def test_memory_does_not_grow_with_the_alignments(tmp_path):
    make(tmp_path / "first", [SHIPPED[0]])  # what is imported stays
    few, many = peak_memory(tmp_path / "few", 25), peak_memory(tmp_path / "many", 65)
    assert many < few + (4 << 20)  # 16 MB more were read
