"""Verification finds what is broken and where: changed bytes, and also changes whose digests were made to fit."""

import json
import random
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.engines.execution import ProcessExecutor, SerialExecutor
from pipeline.engines.stage import SilentWatcher
from pipeline.engines.task_log import LOG_NAME
from pipeline.errors import ArtefactError
from pipeline.formats.content import ContentHasher
from pipeline.formats.manifest import fingerprint_of, read_manifest, write_manifest
from pipeline.formats.shard_footers import footer_name, write_footer
from pipeline.formats.shards import ShardFile, ShardWriter
from pipeline.formats.storage import file_digest
from pipeline.stages.verify.stage import verify


def check(folder, **options):
    with SerialExecutor() as executor:
        return verify(folder, executor=executor, watcher=SilentWatcher(), **options)


@pytest.fixture
def copy(small, tmp_path):
    """A copy of the small artefacts that may be broken."""
    for name in ("corpus", "plan", "shards"):
        shutil.copytree(small.folder / name, tmp_path / name)
    return tmp_path


def first_shard(folder):
    return sorted((folder / "shards" / "data").iterdir())[0]


def reseal(folder, kind, path, *, content):
    """Make the manifest fit a changed file, as someone who hides a change would."""
    artefact = folder / kind
    manifest = read_manifest(artefact)
    name = path.relative_to(artefact).as_posix()
    num_bytes, digest = file_digest(path)
    change = {"bytes": num_bytes, "xxh3_64": digest, "content": content}
    files = tuple(file.model_copy(update=change) if file.path == name else file for file in manifest.files)
    manifest = manifest.model_copy(update={"files": files})
    write_manifest(artefact, manifest.model_copy(update={"fingerprint": fingerprint_of(manifest)}))


def rewrite_shard(folder, change):
    """Rewrite the first shard with changed columns, and reseal it."""
    path = first_shard(folder)
    metadata = ShardFile(path).metadata
    table = pq.read_table(path)
    columns = change({name: table.column(name).to_pylist() for name in table.schema.names})
    changed = pa.table({name: pa.array(columns[name], table.schema.field(name).type) for name in table.schema.names})
    changed = changed.cast(table.schema)
    hasher = ContentHasher()
    hasher.update(changed)
    with ShardWriter(path, metadata, rows_per_group=4) as writer:
        writer.write(changed)
    reseal(folder, "shards", path, content=hasher.hexdigest())
    footer = write_footer(folder / "shards", f"data/{path.name}")
    reseal(folder, "shards", folder / "shards" / footer.path, content=footer.content)


@pytest.mark.parametrize("kind", ["corpus", "plan", "shards"])
def test_what_is_sound_is_found_sound(small, kind):
    report = check(small.folder / kind)
    assert report.findings == ()
    assert report.counts["records"] == small.corpus.counts["records"]
    if kind == "shards":
        assert report.counts["residues"] == small.corpus.counts["residues"]


@pytest.mark.parametrize(
    ("pack", "shard"),
    [
        ({"overlong": "windows", "length": 32}, {}),
        ({"overlong": "drop", "length": 32}, {"layout": "binary"}),
        ({"overlong": "crop-start", "length": 32, "alignment": 16}, {}),
        ({"overlong": "crop-random", "length": 32, "seed": 7}, {"rows_per_shard": 8}),
        ({"tokenizer": "evo2"}, {"layout": "binary"}),
        ({"tokenizer": "progen3", "algorithm": "pad"}, {}),
        ({"tokenizer": "msa-transformer", "alignment": 8}, {}),
        ({"algorithm": "best-fit-decreasing"}, {}),
        ({"algorithm": "concatenate"}, {}),
        ({"algorithm": "concatenate", "length": 16}, {"layout": "binary", "rows_per_shard": 8}),
        ({"algorithm": "concatenate", "length": 8, "tokenizer": "evo2", "overlong": "drop"}, {"rows_per_shard": 3}),
        ({"algorithm": "concatenate", "length": 4096, "tokenizer": "progen2"}, {}),
    ],
)
def test_every_policy_and_layout_is_found_sound(build, tmp_path, pack, shard):
    made = build(tmp_path / "x", pack=pack, shard=shard)
    for kind in ("corpus", "plan", "shards"):
        assert check(made.folder / kind).findings == ()


def test_processes_find_the_same(copy):
    path = first_shard(copy)
    path.write_bytes(path.read_bytes()[:-1])
    with ProcessExecutor(2) as executor:
        report = verify(copy / "shards", executor=executor, watcher=SilentWatcher())
    assert report == check(copy / "shards")
    assert not report.is_sound


@pytest.mark.parametrize("kind", ["corpus", "plan", "shards"])
def test_a_flipped_bit_anywhere_in_any_file_is_found(copy, kind):
    """Some bits of each file; all bytes of the small ones are the campaign's. The log is no part of the artefact."""
    rng = random.Random(0)
    for path in [path for path in sorted((copy / kind).rglob("*")) if path.is_file() and path.name != LOG_NAME]:
        original = path.read_bytes()
        positions = {0, len(original) - 1, *(rng.randrange(len(original)) for _ in range(6))}
        for position in positions:
            broken = bytearray(original)
            broken[position] ^= 1 << rng.randrange(8)
            path.write_bytes(broken)
            try:
                report = check(copy / kind)
            except ArtefactError:
                is_manifest = path.name == "manifest.json"
                assert is_manifest
            else:
                is_beyond_us = path.name == "manifest.json" and is_said_once(original, bytes(broken))
                assert is_beyond_us or not report.is_sound, f"{path.name} byte {position}"
                named = {finding.path for finding in report.findings}
                # A name or digest that changed in the manifest makes strangers of files, too.
                assert is_beyond_us or path.relative_to(copy / kind).as_posix() in named or path.name == "manifest.json"
        path.write_bytes(original)


def is_said_once(original, broken):
    """Whether a manifest differs in what nothing repeats: the versions of software, and where a corpus came from."""
    before, after = json.loads(original), json.loads(broken)
    told = ["software", *(["provenance", "reasons"] if before["kind"] == "corpus" else [])]
    return all(before[key] == after.get(key) for key in before if key not in told)


@pytest.mark.parametrize("kind", ["corpus", "plan", "shards"])
def test_a_truncated_a_missing_and_an_extra_file_are_found(copy, kind):
    path = sorted((copy / kind).rglob("*.parquet"))[1]
    name = path.relative_to(copy / kind).as_posix()
    original = path.read_bytes()
    path.write_bytes(original[: len(original) // 2])
    assert [finding.path for finding in check(copy / kind).findings] == [name]
    path.unlink()
    (finding,) = check(copy / kind).findings
    assert (finding.path, finding.message) == (name, "missing: the manifest lists it")
    path.write_bytes(original)
    shutil.copy(path, path.with_name(f"extra-{path.name}"))
    (finding,) = check(copy / kind).findings
    assert "does not belong here" in finding.message


def test_two_shards_swapped_are_found(copy):
    one, two = sorted((copy / "shards" / "data").iterdir())[:2]
    first, second = one.read_bytes(), two.read_bytes()
    one.write_bytes(second)
    two.write_bytes(first)
    found = {finding.path for finding in check(copy / "shards").findings}
    assert {path for path in found if path.startswith("data/")} == {f"data/{one.name}", f"data/{two.name}"}
    assert {path for path in found if not path.startswith("data/")} <= {footer_name(one.name), footer_name(two.name)}


def test_a_footer_of_another_shard_is_found_though_digests_fit(copy):
    """Every shard is whole, and readers from afar would still be sent astray."""
    one, two = sorted((copy / "shards" / "footers").iterdir())[:2]
    first, second = one.read_bytes(), two.read_bytes()
    one.write_bytes(second)
    two.write_bytes(first)
    for path in (one, two):
        reseal(copy, "shards", path, content=file_digest(path)[1])
    findings = check(copy / "shards").findings
    assert {(finding.path, finding.message.partition(" of ")[0]) for finding in findings} == {
        (f"footers/{path.name}", "expected the footer") for path in (one, two)
    }


def replace_row(columns, row, source):
    for values in columns.values():
        values[row] = values[source]
    return columns


def test_a_doubled_row_is_found_though_digests_fit(copy):
    rewrite_shard(copy, lambda columns: replace_row(columns, 0, 1))
    messages = [finding.message for finding in check(copy / "shards").findings]
    assert any("expected 1 segments of it, found" in message for message in messages)


def test_a_lost_row_is_found_though_digests_fit(copy):
    rewrite_shard(copy, lambda columns: {name: values[:-1] for name, values in columns.items()})
    messages = [finding.message for finding in check(copy / "shards").findings]
    assert any("rows, found" in message for message in messages)


def change_token(columns):
    columns["input_ids"][2] = list(columns["input_ids"][2])
    columns["input_ids"][2][1] = 4 if columns["input_ids"][2][1] != 4 else 5
    return columns


def test_one_changed_residue_is_found_with_its_place_though_digests_fit(copy):
    rewrite_shard(copy, change_token)
    (finding,) = check(copy / "shards").findings
    assert finding.path == f"data/{first_shard(copy).name}"
    assert finding.message.startswith("row 2, token 1: expected input_ids")


def cut_last_residue(columns):
    """What the published crops did: the last residue of a protein is never seen."""
    length = columns["lengths"][0][-1]
    tokens, ids = list(columns["input_ids"][0]), list(columns["sequence_id"][0])
    end = sum(columns["lengths"][0])
    tokens[end - 2 : end] = [2, 1]
    ids[end - 1] = -1
    columns["input_ids"][0], columns["sequence_id"][0] = tokens, ids
    columns["lengths"][0] = [*columns["lengths"][0][:-1], length - 1]
    columns["num_tokens"][0] -= 1
    return columns


def test_a_lost_last_residue_is_found_though_digests_fit(copy):
    rewrite_shard(copy, cut_last_residue)
    messages = [finding.message for finding in check(copy / "shards").findings]
    assert any("which crop-random does not declare" in message for message in messages)


@pytest.mark.parametrize(
    ("column", "value", "told"),
    [
        ("sequence_id", lambda old: [1, *old[1:]], "expected sequence_id 0, found 1"),
        ("accessions", lambda old: ["nobody", *old[1:]], "found nobody"),
        ("record_keys", lambda old: [12345, *old[1:]], "no record with key 12345"),
        ("starts", lambda old: [1, *old[1:]], "residues from 1 of"),
        ("num_tokens", lambda old: old + 1, "num_tokens is not the sum of lengths"),
        ("num_sequences", lambda old: old + 1, "num_sequences is not the number of lengths"),
        ("lengths", lambda old: [64, *old[1:]], "row 0"),
    ],
)
def test_each_column_is_checked_though_digests_fit(copy, column, value, told):
    def change(columns):
        columns[column][0] = value(columns[column][0])
        return columns

    rewrite_shard(copy, change)
    messages = " | ".join(finding.message for finding in check(copy / "shards").findings)
    assert told in messages or (column == "lengths" and messages), messages


def test_a_row_from_another_run_is_found(build, copy, tmp_path):
    other = build(tmp_path / "other", records=[text[::-1] + "M" for text in ["ACDEF", "GHIKL", "MNPQR"] * 20])
    row = pq.read_table(first_shard(other.folder)).to_pylist()[0]

    def change(columns):
        for name in columns:
            columns[name][0] = row[name]
        return columns

    rewrite_shard(copy, change)
    assert not check(copy / "shards").is_sound


@pytest.fixture
def run_on(build, tmp_path):
    """Concatenated records in rows of 16, of which one has its separator in the next row."""
    return build(tmp_path / "run-on", pack={"algorithm": "concatenate", "length": 16}).folder


def separators(columns):
    """(row, token) of each separator."""
    rows = range(len(columns["input_ids"]))
    return [(row, token) for row in rows for token, id_ in enumerate(columns["input_ids"][row]) if id_ == 2]


def change_separator(columns):
    row, token = separators(columns)[3]
    columns["input_ids"][row] = [5 if at == token else id_ for at, id_ in enumerate(columns["input_ids"][row])]
    return columns


def lose_separator(columns):
    """The segment before the second one of a row loses it, and what follows moves up."""
    row = next(row for row in range(50) if len(columns["lengths"][row]) > 1)
    first = columns["lengths"][row][0]
    tokens, ids = list(columns["input_ids"][row]), list(columns["sequence_id"][row])
    columns["input_ids"][row] = [*tokens[: first - 1], *tokens[first:], 1]
    columns["sequence_id"][row] = [*ids[: first - 1], *ids[first:], -1]
    columns["lengths"][row] = [first - 1, *columns["lengths"][row][1:]]
    columns["num_tokens"][row] -= 1
    return columns


def swap_rows(columns):
    for values in columns.values():
        values[2], values[5] = values[5], values[2]
    return columns


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (change_separator, "expected input_ids 2, found 5"),
        (lose_separator, "found one that begins with residue 0"),
        (lose_separator, "15 tokens of 16, but it is not the part's last row"),
        (swap_rows, "row 2: expected a segment that begins"),
        (lambda columns: replace_row(columns, 1, 0), "row 1: expected a segment that begins"),
        (lambda columns: {name: values[1:] for name, values in columns.items()}, "expected a segment that begins"),
        (lambda columns: {name: values[:-1] for name, values in columns.items()}, "rows, found"),
    ],
)
def test_the_laws_of_concatenated_rows_are_checked_though_digests_fit(run_on, change, told):
    assert check(run_on / "shards").is_sound
    rewrite_shard(run_on, change)
    findings = check(run_on / "shards").findings
    assert any(told in finding.message for finding in findings), findings
    name = f"data/{first_shard(run_on).name}"
    assert {finding.path for finding in findings} <= {name, "shards of part-00000.parquet"}


def test_a_separator_alone_that_is_lost_from_a_plan_is_found_though_digests_fit(run_on):
    def lose(columns):
        (at, *_) = np.flatnonzero((columns["length"] == 0) & (columns["start"] > 0))
        kept = np.arange(len(columns["row"])) != at
        in_row = columns["row"] == columns["row"][at]
        columns["slot"] = columns["slot"] - in_row.astype(np.uint16)
        return {name: values[kept] for name, values in columns.items()}

    assert check(run_on / "plan").is_sound
    rewrite_plan(run_on, lose)
    messages = [finding.message for finding in check(run_on / "plan").findings]
    assert any("17 tokens in a row of 16" in message for message in messages), messages


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda c: changed_at(c, "record", 3, c["record"][0]), "row"),
        (lambda c: changed_at(c, "length", 0, c["length"][0] - 1), "but it is not the part's last row"),
        (lambda c: {name: values[: len(values) // 2] for name, values in c.items()}, "expected it once, found 0"),
    ],
)
def test_the_laws_of_a_concatenated_plan_are_checked_though_digests_fit(run_on, change, told):
    rewrite_plan(run_on, change)
    messages = " | ".join(finding.message for finding in check(run_on / "plan").findings)
    assert told in messages, messages


def test_a_broken_shard_of_concatenated_rows_does_not_speak_against_the_next(build, tmp_path):
    made = build(tmp_path / "x", pack={"algorithm": "concatenate"}, shard={"rows_per_shard": 4})
    path = first_shard(made.folder)
    path.write_bytes(path.read_bytes()[:-1] + b"\0")
    (finding,) = check(made.folder / "shards").findings
    assert finding.path == f"data/{path.name}"


def test_lists_that_are_not_parallel_are_found_though_digests_fit(copy):
    """Joined, the lists of all rows are what they were."""

    def change(columns):
        row = next(row for row, names in enumerate(columns["accessions"]) if len(names) > 1)
        *kept, moved = columns["accessions"][row]
        columns["accessions"][row], columns["accessions"][row + 1] = kept, [moved, *columns["accessions"][row + 1]]
        return columns

    rewrite_shard(copy, change)
    (finding,) = check(copy / "shards").findings
    assert "expected as many accessions as lengths" in finding.message


def test_each_row_group_is_decoded_once_and_a_few_at_a_time(build, tmp_path, monkeypatch):
    from pipeline.stages.verify import shards as verify_module

    made = build(tmp_path / "x", records_per_part=1000)
    decoded, rows_at_once = [], []
    real = ShardFile.read_tables

    def counted(self, rows):
        rows_at_once.append(rows)
        for first_row, table in real(self, rows):
            assert table.num_rows <= rows
            decoded.extend(range(first_row, first_row + table.num_rows))
            yield first_row, table

    monkeypatch.setattr(ShardFile, "read_tables", counted)
    monkeypatch.setattr(verify_module, "_TOKENS_AT_ONCE", 64 * 8)
    assert check(made.folder / "shards").findings == ()
    assert decoded == list(range(made.shards.counts["rows"]))
    assert rows_at_once == [8]
    assert len(decoded) > 16


@pytest.mark.parametrize("key", ["tokens", "prefix", "pad"])
def test_a_changed_tokenizer_is_found(copy, key):
    manifest = read_manifest(copy / "shards")
    document = json.loads(json.dumps(manifest.configuration["tokenizer"]))
    if key == "tokens":
        document["tokens"][4], document["tokens"][5] = document["tokens"][5], document["tokens"][4]
    else:
        document[key] = ["<eos>"] if key == "prefix" else "<unk>"
    changed = manifest.model_copy(update={"configuration": manifest.configuration | {"tokenizer": document}})
    write_manifest(copy / "shards", changed.model_copy(update={"fingerprint": fingerprint_of(changed)}))
    assert not check(copy / "shards").is_sound
    write_manifest(copy / "shards", changed)
    assert any("fingerprint" in finding.message for finding in check(copy / "shards").findings)


def test_another_corpus_is_refused(build, copy, tmp_path):
    other = build(tmp_path / "other", records=["MKV", "MK"])
    with pytest.raises(ArtefactError, match="expected the corpus with fingerprint"):
        check(copy / "shards", corpus=other.folder / "corpus")


def rewrite_corpus(folder, change):
    path = folder / "corpus" / "part-00001.parquet"
    table = pq.read_table(path)
    changed = pa.Table.from_pylist(change(table.to_pylist()), table.schema)
    pq.write_table(changed, path)
    hasher = ContentHasher()
    hasher.update(changed)
    reseal(folder, "corpus", path, content=hasher.hexdigest())


def with_change(rows, at, **change):
    rows[at] |= change
    return rows


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda rows: rows[:-1], "rows, found"),
        (lambda rows: [*rows[:-1], rows[0]], "not sorted"),
        (lambda rows: with_change(rows, 0, sequence="MKMKMK"), "record_key is not xxh3_64 of its sequence"),
        (lambda rows: with_change(rows, 0, length=1000), "length is not that of its sequence"),
        (lambda rows: with_change(rows, 0, num_merged=2), "records_merged: expected"),
        (lambda rows: with_change(rows, 0, sequence="M-K"), "a character that is no residue"),
    ],
)
def test_the_laws_of_a_corpus_are_checked_though_digests_fit(copy, change, told):
    rewrite_corpus(copy, change)
    messages = " | ".join(finding.message for finding in check(copy / "corpus").findings)
    assert told in messages


def test_a_record_of_another_part_is_found(copy):
    foreign = pq.read_table(copy / "corpus" / "part-00000.parquet").to_pylist()[0]
    rewrite_corpus(copy, lambda rows: [foreign, *rows[1:]])
    assert any("outside the range of part 1" in finding.message for finding in check(copy / "corpus").findings)


def rewrite_plan(folder, change):
    path = folder / "plan" / "train" / "part-00000.parquet"
    table = pq.read_table(path)
    columns = {name: table.column(name).to_numpy().copy() for name in table.schema.names}
    changed = pa.table(change(columns), table.schema)
    pq.write_table(changed, path)
    hasher = ContentHasher()
    hasher.update(changed)
    reseal(folder, "plan", path, content=hasher.hexdigest())


def changed_at(columns, name, at, value):
    columns[name][at] = value
    return columns


def twice(columns):
    for name in ("record", "start", "length"):
        columns[name][0] = columns[name][1]
    return columns


def in_one_row(columns):
    slots = np.arange(len(columns["slot"]), dtype=np.uint16)
    return columns | {"row": np.zeros_like(columns["row"]), "slot": slots}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (twice, "expected 1 segments of it, found"),
        (lambda c: changed_at(c, "record", 0, 9999), "the corpus part has"),
        (lambda c: changed_at(c, "length", 0, c["length"][0] - 1), "does not declare"),
        (lambda c: changed_at(c, "start", 0, 1), "ends at residue"),
        (lambda c: changed_at(c, "slot", 0, 1), "entry 0: expected row 0, slot 0"),
        (lambda c: changed_at(c, "slot", 2, 77), "rows and slots are not dense and sorted"),
        (in_one_row, "tokens in a row"),
        (lambda c: {name: values[:-1] for name, values in c.items()}, "expected 1 segments of it, found 0"),
    ],
)  # fmt: skip
def test_the_laws_of_a_plan_are_checked_though_digests_fit(copy, change, told):
    rewrite_plan(copy, change)
    messages = " | ".join(finding.message for finding in check(copy / "plan").findings)
    assert told in messages, messages


def test_counts_of_the_manifest_are_checked(copy):
    manifest = read_manifest(copy / "shards")
    write_manifest(copy / "shards", manifest.model_copy(update={"counts": manifest.counts | {"rows": 1}}))
    (finding,) = check(copy / "shards").findings
    assert "rows: expected 1 from the manifest" in finding.message


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("shards", {"residues_lost": 5}), ("shards", {"records_cropped": 5}), ("shards", {"residues": 5}),
        ("plan", {"tokens": 5}), ("plan", {"residues_packed": 5}), ("corpus", {"residues": 5}),
    ],
)  # fmt: skip
def test_every_count_that_can_be_derived_is_checked(copy, kind, change):
    manifest = read_manifest(copy / kind)
    write_manifest(copy / kind, manifest.model_copy(update={"counts": manifest.counts | change}))
    assert any(finding.message.startswith(min(change)) for finding in check(copy / kind).findings)


def resealed(folder, **update):
    """Change a manifest so that its fingerprint fits."""
    manifest = read_manifest(folder).model_copy(update=update)
    write_manifest(folder, manifest.model_copy(update={"fingerprint": fingerprint_of(manifest)}))


@pytest.mark.parametrize(
    ("kind", "key", "value"),
    [
        ("plan", "overlong", "crop-end"), ("plan", "overlong", "run-on"), ("plan", "length", "64"),
        ("plan", "alignment", 0), ("shards", "rows_per_group", None), ("shards", "layout", "lisu"),
        ("shards", "tokenizer", {}), ("shards", "algorithm", "concatenate"),
    ],
)  # fmt: skip
def test_a_setting_that_cannot_be_is_told_before_it_is_relied_on(copy, kind, key, value):
    resealed(copy / kind, configuration=read_manifest(copy / kind).configuration | {key: value})
    findings = check(copy / kind).findings
    wanted = "overlong" if key == "algorithm" else key
    assert any(f.path == "manifest.json" and f.message.startswith(f"configuration: {wanted}: found") for f in findings)


@pytest.mark.parametrize("kind", ["plan", "shards"])
def test_more_segments_than_a_row_may_hold_are_found(copy, kind):
    resealed(copy / kind, configuration=read_manifest(copy / kind).configuration | {"max_segments": 2})
    assert any("expected at most 2 segments, found" in finding.message for finding in check(copy / kind).findings)


@pytest.mark.parametrize("kind", ["plan", "shards"])
def test_a_split_that_is_not_that_of_its_file_is_told(copy, kind):
    files = read_manifest(copy / kind).files
    resealed(copy / kind, files=(files[0].model_copy(update={"split": "valid"}), *files[1:]))
    assert any(f.message.startswith("files: expected ") for f in check(copy / kind).findings)


@pytest.mark.parametrize("kind", ["plan", "shards"])
def test_another_provenance_than_that_of_the_corpus_is_told(copy, kind):
    source = read_manifest(copy / kind).provenance[0].model_copy(update={"licence": "CC0-1.0"})
    resealed(copy / kind, provenance=(source,))
    assert [f.message for f in check(copy / kind).findings] == [
        "provenance: expected that of the corpus, found another"
    ]


@pytest.mark.parametrize(("kind", "reason"), [("shards", "overlong"), ("plan", "overlong"), ("corpus", "invalid-gap")])
def test_reasons_are_checked(copy, kind, reason):
    manifest = read_manifest(copy / kind)
    write_manifest(copy / kind, manifest.model_copy(update={"reasons": manifest.reasons | {reason: 5}}))
    assert not check(copy / kind).is_sound


def test_collisions_of_the_hash_are_settled_by_accession(tmp_path, monkeypatch, build):
    """With a hash of two bits, nearly every record shares its key with others."""
    from pipeline.formats import corpus as corpus_format
    from pipeline.stages.ingest import sieve as sieve_module
    from pipeline.stages.verify import corpus as verify_module

    real = corpus_format.record_keys
    for module in (sieve_module, verify_module):
        monkeypatch.setattr(module, "record_keys", lambda sequences: real(sequences) & np.uint64(3 << 62))
    made = build(tmp_path / "weak")
    for kind in ("corpus", "plan", "shards"):
        assert check(made.folder / kind).findings == ()
