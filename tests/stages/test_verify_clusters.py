"""Verification of clusters finds what is broken, also when the digests were made to fit."""

import re
import shutil

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.cluster_config import ClusterConfig
from pipeline.engines.execution import ProcessExecutor, SerialExecutor
from pipeline.engines.runner import run_stage
from pipeline.engines.stage import SilentWatcher
from pipeline.errors import ArtefactError
from pipeline.formats.clusters import write_clusters
from pipeline.formats.manifest import document_entry, fingerprint_of, read_manifest, write_manifest
from pipeline.formats.splits import SPLITS_SCHEMA, write_splits
from pipeline.formats.storage import file_digest
from pipeline.stages.cluster.stage import Cluster
from pipeline.stages.verify import stage as verify_stage
from pipeline.stages.verify.stage import verify

FILE = "part-00001.parquet"


@pytest.fixture(scope="module")
def clusters(small, tmp_path_factory):
    """Nested clusters of the small corpus: every record in one of three, and one of nine within it."""
    folder = tmp_path_factory.mktemp("clusters")
    shutil.copytree(small.folder / "corpus", folder / "corpus")
    names = [name for file in small.corpus.tables for name in _accessions(folder / "corpus" / file.path)]
    for level, count in (("coarse", 3), ("fine", 9)):
        rows = "".join(f"{names[index % count]}\t{name}\n" for index, name in enumerate(names))
        (folder / f"{level}.tsv").write_text(rows)
    config = ClusterConfig(existing=(str(folder / "coarse.tsv"), str(folder / "fine.tsv")))
    with SerialExecutor() as executor:
        run_stage(Cluster(folder / "corpus", config), folder / "clusters", executor=executor)
    return folder


def _accessions(path):
    return pq.read_table(path).column("accession").to_pylist()


@pytest.fixture
def copy(clusters, tmp_path):
    shutil.copytree(clusters, tmp_path / "copy")
    return tmp_path / "copy"


def check(folder, executor=None, **options):
    return verify(folder / "clusters", executor=executor or SerialExecutor(), watcher=SilentWatcher(), **options)


def change(folder, alter, *, configuration=None):
    """Change the rows of a file, and make digests and fingerprint fit."""
    out = folder / "clusters"
    columns = pq.read_table(out / FILE).to_pydict()
    alter(columns)
    arrays = {name: pa.array(values) for name, values in columns.items()}
    file = write_clusters(out, FILE, arrays, num_levels=2)
    manifest = read_manifest(out)
    files = tuple(file if each.path == FILE else each for each in manifest.files)
    update = {"files": files, "configuration": manifest.configuration | (configuration or {})}
    manifest = manifest.model_copy(update=update)
    write_manifest(out, manifest.model_copy(update={"fingerprint": fingerprint_of(manifest)}))


def at(column, row, value):
    def alter(columns):
        columns[column][row] = value

    return alter


def test_what_is_sound_is_found_sound(clusters, monkeypatch):
    monkeypatch.setattr(verify_stage, "RECORDS_PER_SLICE", 20)
    with ProcessExecutor(2) as executor:
        report = check(clusters, executor)
    assert report.findings == ()
    assert report.counts["clusters"] == 3
    assert report.counts["clusters_2"] == 9
    assert report.counts["records"] == read_manifest(clusters / "corpus").counts["records"]


@pytest.mark.parametrize(
    ("alter", "message"),
    [
        (at("cluster_size", 3, 7), r"a member says 7 \(cluster_size\)"),
        (at("cluster_size_2", 3, 7), r"level 2: a cluster of \d+ members: a member says 7"),
        (at("member_index", 3, 0), "member_index 0 where"),
        (at("member_index_2", 3, 99), "member_index 99 where"),
        (at("representative", 3, "another"), "a member says"),
        (at("weight", 3, float("nan")), "record 3: weight nan, where 1 follows from --weight 1"),
        (at("weight", 3, -1.0), "record 3: weight -1, where 1 follows from --weight 1"),
        (at("weight", 3, 0.5), "record 3: weight 0.5, where 1 follows from --weight 1"),
        (at("split", 3, "holdout"), "record 3: split 'holdout', which cannot be"),
        (at("split", 3, None), "record 3: expected a split or a reason, found None and None"),
        (
            at("excluded", 3, "similar-to-test"),
            "record 3: expected a split or a reason, found 'train' and 'similar-to-",
        ),
        (at("excluded", 3, "similar-to-casp"), "record 3: excluded 'similar-to-casp', which cannot be"),
        (at("split", 3, "valid"), r"a cluster of 50 members: its members are in two splits"),
        (at("split", 3, "valid"), f"split: differs from what {FILE} and its corpus part say"),
    ],
)
def test_a_changed_value_is_found(copy, alter, message):
    change(copy, alter)
    report = check(copy)
    assert not report.is_sound
    assert any(re.search(message, finding.message) for finding in report.findings)


def exclude(columns):
    columns["split"][3], columns["excluded"][3] = None, "similar-to-valid"


def test_excluded_records_belong_to_no_split_and_are_counted(copy):
    change(copy, exclude)
    messages = [finding.message for finding in check(copy).findings]
    assert "reasons: expected {} from the manifest, found {'similar-to-valid': 1}" in messages
    assert not any("two splits" in message for message in messages)
    out = copy / "clusters"
    rows = [pq.read_table(out / file.path, columns=["split", "excluded"]) for file in read_manifest(out).tables]
    names = [_accessions(copy / "corpus" / file.path) for file in read_manifest(out).tables]
    tables = [pa.table([pa.array(name), *part.columns], SPLITS_SCHEMA) for name, part in zip(names, rows, strict=True)]
    write_splits(out, tables)
    manifest = read_manifest(out)
    files = (*manifest.tables, document_entry(out, "splits.parquet"))
    manifest = manifest.model_copy(update={"files": files, "reasons": {"similar-to-valid": 1}})
    write_manifest(out, manifest)
    messages = [finding.message for finding in check(copy).findings]
    assert "excluded_records: expected 0 from the manifest, found 1" in messages
    assert all(re.match("(excluded|train)_(records|residues): expected", message) for message in messages)
    counts = manifest.counts | check(copy).counts
    counts.pop("files")
    write_manifest(out, manifest.model_copy(update={"counts": counts}))
    assert check(copy).findings == ()


@pytest.mark.parametrize("count", ["train_records", "train_residues", "valid_records", "excluded_residues"])
def test_counts_of_splits_are_checked(copy, count):
    manifest = read_manifest(copy / "clusters")
    counts = manifest.counts | {count: manifest.counts[count] + 1}
    write_manifest(copy / "clusters", manifest.model_copy(update={"counts": counts}))
    (finding,) = check(copy).findings
    assert finding.message.startswith(f"{count}: expected {counts[count]:,} from the manifest")


@pytest.mark.parametrize(
    ("alter", "message"),
    [
        (lambda table: table.slice(1), "differs from what part-"),
        (lambda table: pa.concat_tables([table, table.slice(0, 2)]), "expected as many rows as records, found 2 more"),
        (lambda table: table.drop_columns(["reason"]), "expected columns"),
        (lambda table: table.take(list(range(table.num_rows))[::-1]), "accession: differs from what"),
    ],
)
def test_a_published_split_that_differs_is_found(copy, alter, message):
    out = copy / "clusters"
    table = alter(pq.read_table(out / "splits.parquet")).replace_schema_metadata()
    schema = pa.schema([SPLITS_SCHEMA.field(name) for name in table.column_names])
    pq.write_table(table.cast(schema), out / "splits.parquet")
    manifest = read_manifest(out)
    files = (*manifest.tables, document_entry(out, "splits.parquet"))
    write_manifest(out, manifest.model_copy(update={"files": files}))
    assert any(message in finding.message for finding in check(copy).findings)


def test_a_published_split_that_is_gone_is_found(copy):
    (copy / "clusters" / "splits.parquet").unlink()
    findings = check(copy).findings
    assert {finding.path for finding in findings} == {"splits.parquet"}
    assert any("missing: the manifest lists it" in finding.message for finding in findings)


def test_members_that_change_places_are_found(copy):
    def alter(columns):
        names = columns["representative"]
        first, second = 0, next(row for row in range(len(names)) if names[row] == names[0] and row)
        indices = columns["member_index"]
        indices[first], indices[second] = indices[second], indices[first]

    change(copy, alter)
    assert any("member_index" in finding.message for finding in check(copy).findings)


def test_a_row_too_few_is_found(copy):
    def alter(columns):
        for values in columns.values():
            values.pop()

    change(copy, alter)
    messages = [finding.message for finding in check(copy).findings]
    assert any("expected a row for each of" in message for message in messages)


def test_levels_that_no_longer_nest_are_found(copy):
    out = copy / "clusters"
    for file in read_manifest(out).tables:
        table = pq.read_table(out / file.path)
        if table.num_rows:
            names = table.column("representative").to_pylist()
            break
    others = sorted(set(names))
    # Two records of two clusters change their coarser cluster; every size and rank is made to fit.
    rows = [(path, row) for path in sorted(out.glob("part-*.parquet")) for row in pq.read_table(path).to_pylist()]
    one = next(index for index, (_, row) in enumerate(rows) if row["representative"] == others[0])
    two = next(index for index, (_, row) in enumerate(rows) if row["representative"] == others[1])
    rows[one][1]["representative"], rows[two][1]["representative"] = others[1], others[0]
    seen = dict.fromkeys(others, 0)
    for _, row in rows:
        row["member_index"] = seen[row["representative"]]
        seen[row["representative"]] += 1
    for _, row in rows:
        row["cluster_size"] = seen[row["representative"]]
    manifest, files = read_manifest(out), []
    for file in manifest.tables:
        part = [row for path, row in rows if path.name == file.path]
        arrays = {name: pa.array([row[name] for row in part]) for name in rows[0][1]}
        files.append(write_clusters(out, file.path, arrays, num_levels=2))
    manifest = manifest.model_copy(update={"files": (*files, manifest.files[-1])})
    write_manifest(out, manifest.model_copy(update={"fingerprint": fingerprint_of(manifest)}))
    (finding,) = check(copy).findings
    assert "clusters_not_nested_2: expected 0 from the manifest, found 2" in finding.message


def test_a_representative_of_mmseqs_is_one_of_its_members(copy):
    names = set()
    for file in read_manifest(copy / "corpus").tables:
        names |= set(_accessions(copy / "corpus" / file.path))
    manifest = read_manifest(copy / "clusters")
    # As if mmseqs had made them: nothing else differs.
    configuration = {"existing": [], "levels": [{"min_seq_id": 0.5}, {"min_seq_id": 0.9}]}
    (copy / "clusters" / "run.json").unlink()
    inputs = manifest.inputs[:1]
    manifest = manifest.model_copy(update={"configuration": manifest.configuration | configuration, "inputs": inputs})
    write_manifest(copy / "clusters", manifest.model_copy(update={"fingerprint": fingerprint_of(manifest)}))
    assert check(copy).findings == ()
    for path in (copy / "clusters").glob("part-*.parquet"):
        table = pq.read_table(path).to_pydict()
        table["representative"] = [f"{name}x" for name in table["representative"]]
        arrays = {name: pa.array(values) for name, values in table.items()}
        file = write_clusters(copy / "clusters", path.name, arrays, num_levels=2)
        files = tuple(file if each.path == path.name else each for each in manifest.files)
        manifest = manifest.model_copy(update={"files": files})
    write_manifest(copy / "clusters", manifest.model_copy(update={"fingerprint": fingerprint_of(manifest)}))
    (finding,) = check(copy).findings
    assert "level 1: a cluster of 50 members: its representative is none of them (and 2 more)" in finding.message


def test_other_columns_are_found(copy):
    out = copy / "clusters"
    pq.write_table(pq.read_table(out / FILE).drop_columns(["split"]), out / FILE)
    manifest = read_manifest(out)
    num_bytes, digest = file_digest(out / FILE)
    files = tuple(
        each.model_copy(update={"bytes": num_bytes, "xxh3_64": digest}) if each.path == FILE else each
        for each in manifest.files
    )
    write_manifest(out, manifest.model_copy(update={"files": files}))
    assert any("expected columns" in finding.message for finding in check(copy).findings)


def test_changed_bytes_and_manifests_are_found(copy):
    path = copy / "clusters" / FILE
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    assert any("the bytes changed" in finding.message for finding in check(copy).findings)
    text = (copy / "clusters" / "manifest.json").read_text()
    (copy / "clusters" / "manifest.json").write_text(text.replace('"clusters": 3', '"clusters": 4'))
    assert not check(copy).is_sound


def test_a_configuration_that_cannot_be_is_found(copy):
    change(copy, lambda columns: None, configuration={"existing": ["surprise"]})
    assert any("levels or existing" in finding.message for finding in check(copy).findings)


@pytest.mark.parametrize("odd", [{"weight": "1/n"}, {"weight": 1}, {"purge": None}, {"purge": {"benchmarks": None}}])
def test_settings_of_splits_that_cannot_be_are_found(copy, odd):
    change(copy, lambda columns: None, configuration=odd)
    assert any("weight or purge: found" in finding.message for finding in check(copy).findings)


def test_the_corpus_is_needed(copy):
    (copy / "corpus").rename(copy / "moved")
    with pytest.raises(ArtefactError, match="the corpus it was made from is needed"):
        check(copy)
    assert check(copy, corpus=copy / "moved").is_sound
