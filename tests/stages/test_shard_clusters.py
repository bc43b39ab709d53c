"""Shards of a corpus with clusters: files by split, a card that tells, readers of each split, and what is proven."""

import json
import shutil
import warnings

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.config import PackConfig, ShardConfig
from pipeline.engines.execution import SerialExecutor
from pipeline.engines.runner import run_stage
from pipeline.engines.stage import SilentWatcher
from pipeline.errors import ArtefactError, ConfigurationError
from pipeline.formats.content import ContentHasher
from pipeline.formats.manifest import fingerprint_of, read_manifest, write_manifest
from pipeline.formats.plan import write_plan
from pipeline.formats.shard_footers import footer_name, write_footer
from pipeline.formats.storage import file_digest
from pipeline.stages.inspection import find_accession
from pipeline.stages.pack.stage import Pack
from pipeline.stages.shard import Shard
from pipeline.stages.verify.stage import verify
from pipeline.streaming.reader import PackedReader

SPLITS = ("train", "valid", "test")
RUN_ON = {"algorithm": "concatenate", "length": 24}


def check(folder, **options):
    return verify(folder, executor=SerialExecutor(), watcher=SilentWatcher(), **options)


def make(folder, *, suffix="", clusters="clusters", shard=None, **pack):
    executor, plan, shards = SerialExecutor(), folder / f"plan{suffix}", folder / f"shards{suffix}"
    options = {"length": 64, "sample": "one-per-cluster"} | pack
    packed = Pack(folder / "corpus", PackConfig(**options), clusters=folder / clusters)
    run_stage(packed, plan, executor=executor)
    config = ShardConfig(**({"rows_per_group": 4} | (shard or {})))
    return run_stage(Shard(plan, config), shards, executor=executor).manifest


@pytest.fixture(scope="module")
def made(small, random_clusters, tmp_path_factory):
    """Corpus, clusters, and two epochs of plan and shards; read only."""
    folder = tmp_path_factory.mktemp("sharded")
    shutil.copytree(small.folder / "corpus", folder / "corpus")
    random_clusters(folder / "clusters", folder / "corpus", seed=3, clusters=30, held_out=0.4, excluded=0.3)
    for epoch in (0, 1):
        make(folder, suffix=f"-{epoch}", epoch=epoch)
    make(folder, suffix="-run-on", shard={"rows_per_shard": 8}, **RUN_ON)
    return folder


@pytest.fixture
def copy(made, tmp_path):
    """A copy of all that may be broken."""
    return shutil.copytree(made, tmp_path / "copy")


def accessions_of(folder, split):
    return {
        accession
        for file in read_manifest(folder).files_of(split)
        for row in pq.read_table(folder / file.path, columns=["accessions"]).column("accessions").to_pylist()
        for accession in row
    }


def test_files_are_named_by_split_and_hold_its_records(made):
    manifest = read_manifest(made / "shards-0")
    seen = set()
    for split in SPLITS:
        files = manifest.files_of(split)
        names = [f"data/{split}-{index:05d}-of-{len(files):05d}.parquet" for index in range(len(files))]
        assert [file.path for file in files] == names
        assert sum(file.rows for file in files) == manifest.counts[f"rows_{split}"] > 0
        found = accessions_of(made / "shards-0", split)
        assert len(found) == manifest.counts[f"records_{split}"]
        assert not found & seen
        seen |= found
    assert [source.kind for source in manifest.inputs] == ["plan", "corpus", "clusters"]
    assert manifest.reasons == read_manifest(made / "corpus").reasons | read_manifest(made / "plan-0").reasons


@pytest.mark.parametrize("name", ["0", "1", "run-on"])
def test_they_are_sound(made, name):
    for kind in ("plan", "shards"):
        report = check(made / f"{kind}-{name}")
        assert report.findings == ()
        corpus = read_manifest(made / "corpus").counts["records"]
        left_out = sum(number for key, number in report.counts.items() if key.startswith("left out: "))
        assert report.counts["records"] + left_out == corpus
        assert left_out > 0


def test_hugging_face_datasets_loads_every_split(made, tmp_path):
    datasets = pytest.importorskip("datasets", reason="Hugging Face datasets is not installed")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the library's own dependencies, which change from release to release
        loaded = datasets.load_dataset(str(made / "shards-0"), cache_dir=str(tmp_path))
    counts = read_manifest(made / "shards-0").counts
    assert {split: rows.num_rows for split, rows in loaded.items()} == {name: counts[f"rows_{name}"] for name in SPLITS}
    valid = {accession for row in loaded["valid"]["accessions"] for accession in row}
    assert valid == accessions_of(made / "shards-0", "valid")


def test_the_card_lists_splits_and_sampling(made, small):
    card, counts = (made / "shards-1" / "README.md").read_text(), read_manifest(made / "shards-1").counts
    assert "Sampling of train: one-per-cluster, level 1, epoch 1.\n" in card
    for split in SPLITS:
        row = [counts[f"{name}_{split}"] for name in ("rows", "records", "tokens")]
        assert f"| {split} | {' | '.join(map(str, row))} |\n" in card
        assert f"  - split: {split}\n    path: data/{split}-*.parquet\n" in card
    assert "- not-drawn: " in card
    assert "- similar-to-valid: " in card
    assert "Sampling" not in (small.folder / "shards" / "README.md").read_text()


def test_a_reader_of_valid_reads_all_of_it_once_with_rows_of_padding_behind(made):
    """Masked language modelling on held-out rows: the default tail repeats none."""
    reader = PackedReader(
        made / "shards-0",
        split="valid",
        batch_size=3,
        objective=0.15,
        columns=("input_ids", "num_tokens", "accessions"),
    )
    counts = read_manifest(made / "shards-0").counts
    batches = list(reader)
    found = [accession for batch in batches for accession in batch["accessions"]]
    assert sorted(found) == sorted(accessions_of(made / "shards-0", "valid"))
    assert sum(int(batch["num_tokens"].sum()) for batch in batches) == counts["tokens_valid"]
    assert sum(len(batch["input_ids"]) for batch in batches) == -(-counts["rows_valid"] // 3) * 3
    assert any((batch["labels"] >= 0).any() for batch in batches)


def test_a_list_of_epochs_is_read_one_after_the_other(made):
    reader = PackedReader([made / "shards-0", made / "shards-1"], batch_size=2, columns=("input_ids", "accessions"))
    read = [{accession for batch in reader for accession in batch["accessions"]} for _ in range(3)]
    drawn = [accessions_of(made / f"shards-{epoch}", "train") for epoch in (0, 1)]
    assert read == [drawn[0], drawn[1], drawn[0]]
    assert drawn[0] != drawn[1]


def test_an_absent_split_is_told(made, make_clusters, tmp_path):
    rows = [
        {"representative": ["R"] * file.rows, "weight": np.ones(file.rows), "split": ["train"] * file.rows,
         "excluded": [None] * file.rows}
        for file in read_manifest(made / "corpus").tables
    ]  # fmt: skip
    shutil.copytree(made / "corpus", tmp_path / "corpus")
    make_clusters(tmp_path / "clusters", tmp_path / "corpus", rows)
    make(tmp_path, sample="all")
    with pytest.raises(ConfigurationError, match="split 'valid': expected one with rows, found train"):
        PackedReader(tmp_path / "shards", split="valid")


def reseal(folder, **update):
    """Change a manifest so that its fingerprint fits."""
    manifest = read_manifest(folder).model_copy(update=update)
    write_manifest(folder, manifest.model_copy(update={"fingerprint": fingerprint_of(manifest)}))


def rewrite_plan(folder, name, columns):
    """Put other segments into a file of the plan, and make the manifest fit."""
    manifest = read_manifest(folder)
    old = next(file for file in manifest.files if file.path == name)
    new = write_plan(folder, name, old.split, columns, int(columns["row"].max()) + 1 if len(columns["row"]) else 0)
    reseal(folder, files=tuple(new if file.path == name else file for file in manifest.files))


def columns_of(folder, name):
    table = pq.read_table(folder / name)
    return {column: table.column(column).to_numpy().copy() for column in table.schema.names}


def record_that(made, wanted):
    """A record of the first part that is in no split of the first epoch for this reason."""
    clusters = pq.read_table(made / "clusters" / "part-00000.parquet").to_pylist()
    packed = {
        record for split in SPLITS for record in columns_of(made / "plan-0" / split, "part-00000.parquet")["record"]
    }
    reasons = [row["excluded"] or ("packed" if at in packed else "not-drawn") for at, row in enumerate(clusters)]
    return reasons.index(wanted)


@pytest.mark.parametrize(
    ("reason", "told"),
    [("not-drawn", "as it is of train and not drawn"), ("listed", "as it is excluded (listed)")],
)
def test_a_record_that_had_to_be_left_out_is_found_though_digests_fit(copy, reason, told):
    columns, record = columns_of(copy / "plan-0" / "train", "part-00000.parquet"), record_that(copy, reason)
    length = pq.read_table(copy / "corpus" / "part-00000.parquet").column("length")[record].as_py()
    row = {"row": columns["row"].max() + 1, "slot": 0, "record": record, "start": 0, "length": length}
    columns = {name: np.append(values, np.array(row[name], values.dtype)) for name, values in columns.items()}
    rewrite_plan(copy / "plan-0", "train/part-00000.parquet", columns)
    messages = [finding.message for finding in check(copy / "plan-0").findings]
    assert messages == [f"record {record}: expected 0 segments of it, {told}, found 1"]


def test_a_record_that_was_drawn_and_left_out_is_found_though_digests_fit(copy):
    columns = columns_of(copy / "plan-0" / "train", "part-00000.parquet")
    kept = columns["row"] < columns["row"].max()
    rewrite_plan(copy / "plan-0", "train/part-00000.parquet", {name: values[kept] for name, values in columns.items()})
    messages = [finding.message for finding in check(copy / "plan-0").findings]
    assert any("expected 1 segments of it, as it is of train, found 0" in message for message in messages), messages


def test_splits_that_changed_places_are_found_though_digests_fit(copy):
    names = ["valid/part-00000.parquet", "test/part-00000.parquet"]
    valid, test = (columns_of(copy / "plan-0", name) for name in names)
    rewrite_plan(copy / "plan-0", names[0], test)
    rewrite_plan(copy / "plan-0", names[1], valid)
    findings = check(copy / "plan-0").findings
    assert {finding.path for finding in findings} == set(names)
    assert any("expected 0 segments of it, as it is of test, found 1" in finding.message for finding in findings)


@pytest.mark.parametrize("kind", ["plan", "shards"])
@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"epoch": 1}, "segments of it, as it is of train"),
        ({"sample": "all"}, "expected 1 segments of it, as it is of train, found 0"),
        ({"sample": "weight"}, "segments of it, as it is of train"),
        ({"level": 2}, "segments of it, as it is of train"),
        ({"level": 3}, "expected the column representative_3"),
        ({"level": "1"}, "configuration: level: found '1'"),
        ({"sample": "some"}, "configuration: sample: found 'some'"),
        ({"seed": None}, "configuration: seed: found 'None'"),
    ],
)
def test_another_draw_than_was_made_is_found_though_digests_fit(copy, kind, change, told):
    folder = copy / f"{kind}-0"
    reseal(folder, configuration=read_manifest(folder).configuration | change)
    messages = [finding.message for finding in check(folder).findings]
    assert any(told in message for message in messages), messages


def test_a_concatenated_record_that_had_to_be_left_out_is_found_though_digests_fit(copy):
    make(copy, suffix="-all", sample="all", **RUN_ON)
    for kind in ("plan-all", "shards-all"):
        changed = read_manifest(copy / kind).configuration | {"sample": "one-per-cluster", "level": 1}
        reseal(copy / kind, configuration=changed)
        messages = [finding.message for finding in check(copy / kind).findings]
        assert any("expected it never, as it is of train and not drawn, found 1" in message for message in messages)


def test_a_record_in_a_shard_of_another_split_is_found_though_digests_fit(copy):
    """Two shards of one part that changed places, each sealed again."""
    folder = copy / "shards-0"
    manifest = read_manifest(folder)
    one, two = manifest.files_of("valid")[0], manifest.files_of("test")[0]
    first, second = (folder / one.path).read_bytes(), (folder / two.path).read_bytes()
    (folder / one.path).write_bytes(second)
    (folder / two.path).write_bytes(first)
    swapped = {one.path: two.model_copy(update={"path": one.path, "split": "valid"})}
    swapped |= {two.path: one.model_copy(update={"path": two.path, "split": "test"})}
    swapped |= {footer_name(path): write_footer(folder, path) for path in (one.path, two.path)}
    reseal(folder, files=tuple(swapped.get(file.path, file) for file in manifest.files))
    messages = [finding.message for finding in check(folder).findings]
    assert any("expected 0 segments of it, as it is of test, found 1" in message for message in messages), messages


@pytest.mark.parametrize("kind", ["plan", "shards"])
def test_counts_and_reasons_of_splits_are_checked(copy, kind):
    folder = copy / f"{kind}-0"
    manifest = read_manifest(folder)
    write_manifest(folder, manifest.model_copy(update={"counts": manifest.counts | {"rows_valid": 1}}))
    assert any(finding.message.startswith("rows_valid: expected 1") for finding in check(folder).findings)
    write_manifest(folder, manifest.model_copy(update={"reasons": manifest.reasons | {"not-drawn": 1}}))
    assert any("reasons: not-drawn: expected 1" in finding.message for finding in check(folder).findings)


def test_clusters_that_changed_meanwhile_are_found(copy):
    """A record that moves to another split in the clusters, behind the back of their manifest."""
    path = copy / "clusters" / "part-00000.parquet"
    table = pq.read_table(path)
    split = ["test" if one == "valid" else one for one in table.column("split").to_pylist()]
    at = table.schema.get_field_index("split")
    pq.write_table(table.set_column(at, table.schema.field(at), pa.array(split).dictionary_encode()), path)
    for kind in ("plan", "shards"):
        assert any("as it is of test" in finding.message for finding in check(copy / f"{kind}-0").findings)


def test_shards_need_the_clusters_only_to_be_verified(copy, tmp_path):
    shutil.move(copy / "clusters", tmp_path / "elsewhere")
    again = Shard(copy / "plan-0", ShardConfig(rows_per_group=4))
    manifest = run_stage(again, copy / "again", executor=SerialExecutor()).manifest
    assert manifest.fingerprint == read_manifest(copy / "shards-0").fingerprint
    with pytest.raises(ArtefactError, match="the clusters it was made from is needed"):
        check(copy / "again")
    assert check(copy / "again", clusters=tmp_path / "elsewhere").is_sound


def test_reasons_of_the_corpus_and_of_its_clusters_that_share_a_name_are_added(build, make_clusters, tmp_path):
    built = build(tmp_path / "x", records=["MKV", "MKVA", "MKVL", "MK-"], records_per_part=10)
    rows = {"representative": ["A", "B", "C"], "weight": np.ones(3), "split": ["train", "train", None]}
    rows["excluded"] = [None, None, "invalid-gap"]
    make_clusters(built.folder / "clusters", built.folder / "corpus", [rows])
    shutil.rmtree(built.folder / "plan")
    shutil.rmtree(built.folder / "shards")
    manifest = make(built.folder, sample="all")
    assert manifest.reasons["invalid-gap"] == 2
    assert check(built.folder / "shards").findings == ()


def test_what_run_json_says_is_what_the_manifest_says(made):
    for name in ("plan-0", "shards-0"):
        run = json.loads((made / name / "run.json").read_text())
        assert run["inputs"] == [source.model_dump() for source in read_manifest(made / name).inputs]
        assert file_digest(made / name / "run.json")[0] > 0
    table = pq.read_table(made / "plan-0" / "valid" / "part-00000.parquet")
    hasher = ContentHasher()
    hasher.update(table)
    assert read_manifest(made / "plan-0").files_of("valid")[0].content == hasher.hexdigest()


def entries_of(made):
    """Accession of each record, and its entry in the clusters."""
    for file in read_manifest(made / "corpus").tables:
        accessions = pq.read_table(made / "corpus" / file.path).column("accession").to_pylist()
        entries = pq.read_table(made / "clusters" / file.path).to_pylist()
        yield from zip(accessions, entries, strict=True)


@pytest.mark.parametrize("artefact", ["plan-0", "shards-0"])
def test_what_became_of_an_excluded_record_is_told_with_its_reason(made, artefact):
    accession, entry = next((name, entry) for name, entry in entries_of(made) if entry["excluded"])
    stories = [place.story for place in find_accession(made / artefact, accession)]
    assert any(story.startswith("left out") for story in stories)
    assert f"in the cluster of {entry['representative']}" in stories[-1]
    assert stories[-1].endswith(f": excluded, {entry['excluded']}")


@pytest.mark.parametrize("split", SPLITS)
def test_clusters_tell_the_split_of_a_record(made, split):
    accession = next(name for name, entry in entries_of(made) if entry["split"] == split)
    assert split in [
        place.story.rpartition(": ")[2].partition(",")[0] for place in find_accession(made / "clusters", accession)
    ]


def test_clusters_that_were_moved_do_not_hide_the_rest(copy):
    accession = next(name for name, entry in entries_of(copy) if entry["excluded"])
    (copy / "clusters").rename(copy / "elsewhere")
    stories = [place.story for place in find_accession(copy / "plan-0", accession)]
    assert stories[-1].startswith("left out")
