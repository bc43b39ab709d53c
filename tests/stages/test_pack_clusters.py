"""Corpus and clusters to plan: splits, draws of an epoch, and every record in one split or counted with its reason."""

import shutil
from collections import Counter
from math import sqrt

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.config import PackConfig
from pipeline.core.randomness import PURPOSE_KEEP, PURPOSE_MEMBER, derive_key, draw, uniform
from pipeline.engines.execution import ProcessExecutor, SerialExecutor
from pipeline.engines.runner import run_stage
from pipeline.engines.stage import SilentWatcher
from pipeline.errors import ArtefactConflictError, ArtefactError, ConfigurationError, IntegrityError
from pipeline.formats.corpus import record_keys
from pipeline.formats.manifest import read_manifest, write_manifest
from pipeline.formats.plan_summary import read_report
from pipeline.stages.inspection import find_accession
from pipeline.stages.pack.stage import Pack
from pipeline.stages.verify.stage import verify

SPLITS = ("train", "valid", "test")


@pytest.fixture(scope="module")
def clustered(small, random_clusters, tmp_path_factory):
    """The small corpus, and clusters of it; read only."""
    folder = tmp_path_factory.mktemp("clustered")
    shutil.copytree(small.folder / "corpus", folder / "corpus")
    random_clusters(folder / "clusters", folder / "corpus")
    return folder


@pytest.fixture(scope="module")
def processes():
    with ProcessExecutor(2) as executor:
        yield executor


def pack(folder, out, executor=None, clusters="clusters", **options):
    stage = Pack(folder / "corpus", PackConfig(**({"length": 64} | options)), clusters=folder / clusters)
    return run_stage(stage, out, executor=executor or SerialExecutor()).manifest


def check(folder, **options):
    return verify(folder, executor=SerialExecutor(), watcher=SilentWatcher(), **options)


def rows_of(folder, kind):
    """Every record of a corpus, or its clusters, as a dict, by (part, record)."""
    return {
        (file.path, record): row
        for file in read_manifest(folder / kind).tables
        for record, row in enumerate(pq.read_table(folder / kind / file.path).to_pylist())
    }


def placed(plan):
    """Split of every (part, record) that a plan has, with the number of its segments."""
    found = {}
    for split in SPLITS:
        for path in sorted((plan / split).glob("*.parquet")):
            for record, number in Counter(pq.read_table(path).column("record").to_pylist()).items():
                found.setdefault((path.name, record), []).append((split, number))
    return found


def expected_split(row, key, *, sample, level=1, seed=0, epoch=0):
    """What the contract says of one record: its split, or the reason why it has none."""
    if row["excluded"] is not None:
        return row["excluded"]
    if row["split"] == "train" and sample == "weight":
        kept = float(uniform(draw(derive_key(PURPOSE_KEEP, seed, epoch, key), 0))) < row["weight"]
        return "train" if kept else "not-drawn"
    if row["split"] == "train" and sample == "one-per-cluster":
        suffix = "" if level == 1 else f"_{level}"
        name = int(record_keys(pa.array([row[f"representative{suffix}"]]))[0])
        bits = int(draw(derive_key(PURPOSE_MEMBER, seed, epoch, name), 0))
        is_drawn = bits % row[f"cluster_size{suffix}"] == row[f"member_index{suffix}"]
        return "train" if is_drawn else "not-drawn"
    return row["split"]


@pytest.mark.parametrize(
    "draw_options",
    [
        {"sample": "all"},
        {"sample": "weight"},
        {"sample": "weight", "seed": 5, "epoch": 2},
        {"sample": "one-per-cluster"},
        {"sample": "one-per-cluster", "level": 2, "epoch": 7},
    ],
)
def test_every_record_is_where_its_clusters_and_the_draw_say(clustered, tmp_path, draw_options):
    manifest = pack(clustered, tmp_path / "plan", **draw_options)
    corpus, clusters, found = rows_of(clustered, "corpus"), rows_of(clustered, "clusters"), placed(tmp_path / "plan")
    told = Counter()
    for place, row in clusters.items():
        expected = expected_split(row, corpus[place]["record_key"], **draw_options)
        told[expected] += 1
        assert found.get(place, []) == ([(expected, 1)] if expected in SPLITS else []), place
    assert min(told[name] for name in (*SPLITS, "similar-to-valid", "listed")) > 0
    assert (told["not-drawn"] > 0) == (draw_options["sample"] != "all")
    assert manifest.reasons == {
        "listed": told["listed"],
        "not-drawn": told["not-drawn"],
        "overlong": 0,
        "similar-to-valid": told["similar-to-valid"],
    }
    counts = manifest.counts
    assert {split: counts[f"records_{split}"] for split in SPLITS} == {split: told[split] for split in SPLITS}
    assert counts["records"] == sum(told[split] for split in SPLITS)
    assert counts["records"] + sum(manifest.reasons.values()) == len(corpus)
    for name in ("records", "segments", "rows", "tokens"):
        assert counts[name] == sum(counts[f"{name}_{split}"] for split in SPLITS)
    for split in SPLITS:
        files = manifest.files_of(split)
        assert [file.path for file in files] == [f"{split}/part-0000{index}.parquet" for index in range(4)]
        assert sum(file.rows for file in files) == counts[f"rows_{split}"]
    assert check(tmp_path / "plan").findings == ()


def test_weight_is_the_default_and_all_weights_one_are_all(clustered, make_clusters, tmp_path):
    assert pack(clustered, tmp_path / "a").fingerprint == pack(clustered, tmp_path / "b", sample="weight").fingerprint
    rows = [
        {"representative": ["R"] * file.rows, "weight": np.ones(file.rows), "split": ["train"] * file.rows,
         "excluded": [None] * file.rows}
        for file in read_manifest(clustered / "corpus").tables
    ]  # fmt: skip
    shutil.copytree(clustered / "corpus", tmp_path / "corpus")
    make_clusters(tmp_path / "clusters", tmp_path / "corpus", rows)
    by_weight, everything = (pack(tmp_path, tmp_path / f"p{sample}", sample=sample) for sample in ("weight", "all"))
    assert by_weight.tables == everything.tables
    assert by_weight.reasons == {"not-drawn": 0, "overlong": 0}
    without = run_stage(Pack(tmp_path / "corpus", PackConfig(length=64)), tmp_path / "w", executor=SerialExecutor())
    assert without.manifest.tables == everything.tables
    assert without.manifest.fingerprint != everything.fingerprint


def test_without_clusters_nothing_is_told_of_draws(small):
    assert not {"sample", "level"} & set(small.plan.configuration)
    assert not [name for name in small.plan.counts if name.endswith(SPLITS)]
    assert small.plan.reasons == {"overlong": 0}


@pytest.mark.parametrize(
    "options",
    [
        {"algorithm": "concatenate", "length": 24},
        {"algorithm": "optimal", "length": 48, "overlong": "drop"},
        {"algorithm": "best-fit-decreasing", "overlong": "windows", "length": 32, "alignment": 8},
        {"algorithm": "pad", "overlong": "crop-start", "length": 16},
    ],
)
def test_however_it_is_packed_and_whoever_does_it(clustered, processes, tmp_path, options):
    options = {"sample": "one-per-cluster", "level": 2, **options}
    manifest = pack(clustered, tmp_path / "plan", **options)
    assert check(tmp_path / "plan").findings == ()
    again = pack(clustered, tmp_path / "again", processes, **options)
    assert again == manifest.model_copy(update={"inputs": again.inputs})
    assert not list((tmp_path / "plan").rglob(".*"))


@given(data=st.data())
@settings(max_examples=settings().max_examples // 5)  # each of them packs and verifies
def test_conservation(clustered, random_clusters, tmp_path_factory, data):
    """Records of the corpus = those of the splits + those left out by reason, whatever the clusters and the draw."""
    folder = tmp_path_factory.mktemp("conservation")
    (folder / "corpus").symlink_to(clustered / "corpus")
    shares = st.sampled_from([0.0, 0.1, 0.5, 0.9])
    random_clusters(
        folder / "clusters",
        clustered / "corpus",
        seed=data.draw(st.integers(0, 1 << 20)),
        clusters=data.draw(st.integers(1, 60)),
        held_out=data.draw(shares),
        excluded=data.draw(shares),
    )
    sample = data.draw(st.sampled_from(["all", "weight", "one-per-cluster"]))
    level = data.draw(st.sampled_from([1, 2])) if sample == "one-per-cluster" else 1
    options = {"seed": data.draw(st.integers(0, 9)), "epoch": data.draw(st.integers(0, 1 << 40))}
    options |= {"overlong": data.draw(st.sampled_from(["drop", "windows", "crop-random"])), "length": 32}
    manifest = pack(folder, folder / "plan", sample=sample, level=level, **options)
    corpus, found = rows_of(clustered, "corpus"), placed(folder / "plan")
    assert all(len(splits) == 1 for splits in found.values())
    assert len(found) + sum(manifest.reasons.values()) == len(corpus)
    assert check(folder / "plan").findings == ()


def test_epochs_draw_one_of_each_cluster_and_as_many_distinct_members_as_expected(clustered, make_clusters, tmp_path):
    """n(1 − (1 − 1/n)^k) of n members after k epochs, over 35 clusters of four, within five standard errors."""
    corpus = rows_of(clustered, "corpus")
    size, num_epochs = 4, 6
    num_clusters = len(corpus) // size
    names = [f"R{at % num_clusters}" for at in range(num_clusters * size)] + ["rest"] * (len(corpus) % size)
    shutil.copytree(clustered / "corpus", tmp_path / "corpus")
    rows, at = [], 0
    for file in read_manifest(tmp_path / "corpus").tables:
        rows.append({"representative": names[at : at + file.rows], "weight": np.ones(file.rows)})
        rows[-1] |= {"split": ["train"] * file.rows, "excluded": [None] * file.rows}
        at += file.rows
    make_clusters(tmp_path / "clusters", tmp_path / "corpus", rows)
    clusters, seen = rows_of(tmp_path, "clusters"), set()
    for epoch in range(num_epochs):
        pack(tmp_path, tmp_path / f"plan-{epoch}", sample="one-per-cluster", epoch=epoch)
        drawn = placed(tmp_path / f"plan-{epoch}")
        members = Counter(clusters[place]["representative"] for place in drawn)
        assert set(members.values()) == {1}
        assert set(members) == set(names)
        seen |= {place for place in drawn if clusters[place]["representative"] != "rest"}
    alone, pair = (1 - 1 / size) ** num_epochs, (1 - 2 / size) ** num_epochs
    variance = size * (size - 1) * pair + size * alone - (size * alone) ** 2
    assert abs(len(seen) / num_clusters - size * (1 - alone)) < 5 * sqrt(variance / num_clusters)


def test_another_epoch_is_another_plan_in_which_only_train_differs(clustered, tmp_path):
    options = {"sample": "one-per-cluster", "length": 32}
    one, two = (pack(clustered, tmp_path / f"{epoch}", **options, epoch=epoch) for epoch in (0, 1))
    assert one.fingerprint != two.fingerprint
    for split in ("valid", "test"):
        assert one.files_of(split) == two.files_of(split)
    assert one.counts["records_cropped"] > 0
    assert all(a.content != b.content for a, b in zip(one.files_of("train"), two.files_of("train"), strict=True))


def test_clusters_and_sample_are_in_the_fingerprint_and_a_plan_of_others_is_in_the_way(
    clustered, random_clusters, tmp_path
):
    shutil.copytree(clustered / "corpus", tmp_path / "corpus")
    random_clusters(tmp_path / "clusters", tmp_path / "corpus")
    random_clusters(tmp_path / "others", tmp_path / "corpus", seed=1)
    made = [
        pack(tmp_path, tmp_path / "a"),
        pack(tmp_path, tmp_path / "b", sample="all"),
        pack(tmp_path, tmp_path / "c", clusters="others", sample="all"),
        pack(tmp_path, tmp_path / "d", sample="one-per-cluster"),
        pack(tmp_path, tmp_path / "e", sample="one-per-cluster", level=2),
    ]
    assert len({manifest.fingerprint for manifest in made}) == len(made)
    assert [source.kind for source in made[0].inputs] == ["corpus", "clusters"]
    with pytest.raises(ArtefactConflictError, match="input"):
        pack(tmp_path, tmp_path / "a", clusters="others")


def test_clusters_of_another_corpus_are_refused(clustered, build, random_clusters, tmp_path):
    other = build(tmp_path / "other", records=["MKV", "MKVA"])
    random_clusters(other.folder / "clusters", other.folder / "corpus")
    stage = Pack(clustered / "corpus", PackConfig(length=64), clusters=other.folder / "clusters")
    with pytest.raises(ArtefactError, match=r"expected clusters of .* found those of the corpus") as caught:
        run_stage(stage, tmp_path / "plan", executor=SerialExecutor())
    assert "pipeline cluster" in caught.value.hint


def test_what_cannot_be_drawn_is_told(clustered, tmp_path):
    with pytest.raises(ConfigurationError, match="one-per-cluster: expected clusters to draw from") as caught:
        Pack(clustered / "corpus", PackConfig(length=64, sample="one-per-cluster"))
    assert "--clusters" in caught.value.hint
    with pytest.raises(ConfigurationError, match="--level 3: expected 1 to 2"):
        pack(clustered, tmp_path / "plan", sample="one-per-cluster", level=3)
    with pytest.raises(ValueError, match="level 2: expected sample one-per-cluster"):
        PackConfig(level=2)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda rows: rows | {"split": [None, *rows["split"][1:]], "excluded": [None, *rows["excluded"][1:]]},
         "record 0: expected a split of train, valid, test or a reason to exclude it, found neither"),
        (lambda rows: rows | {"split": ["dev", *rows["split"][1:]], "excluded": [None, *rows["excluded"][1:]]},
         "found dev"),
        (lambda rows: {name: values[1:] for name, values in rows.items()}, "expected a row for each of"),
    ],
)  # fmt: skip
def test_clusters_that_do_not_fit_are_told(clustered, make_clusters, tmp_path, change, told):
    rows = [
        {name: table.column(name).to_pylist() for name in ("representative", "weight", "split", "excluded")}
        for file in read_manifest(clustered / "clusters").tables
        for table in [pq.read_table(clustered / "clusters" / file.path)]
    ]
    (tmp_path / "corpus").symlink_to(clustered / "corpus")
    make_clusters(tmp_path / "clusters", clustered / "corpus", [*rows[:2], change(rows[2]), rows[3]])
    with pytest.raises(IntegrityError, match=told) as caught:
        pack(tmp_path, tmp_path / "plan")
    assert "part-00002.parquet" in caught.value.message


def test_a_split_without_rows_has_no_files(build, make_clusters, tmp_path):
    """One valid record is too long and dropped; test has none: neither has a folder, and both are accounted for."""
    made = build(tmp_path / "x", records=["MKV", "M" * 40, "MKVA"], records_per_part=10)
    table = pq.read_table(made.folder / "corpus" / "part-00000.parquet")
    split = ["valid" if length == 40 else "train" for length in table.column("length").to_pylist()]
    rows = {"representative": ["R"] * 3, "weight": np.ones(3), "split": split, "excluded": [None] * 3}
    make_clusters(made.folder / "clusters", made.folder / "corpus", [rows])
    manifest = pack(made.folder, tmp_path / "plan", length=16, overlong="drop")
    assert {file.split for file in manifest.tables} == {"train"}
    assert sorted(path.name for path in (tmp_path / "plan").iterdir() if path.is_dir()) == ["train"]
    assert manifest.reasons == {"not-drawn": 0, "overlong": 1}
    assert (manifest.counts["records_valid"], manifest.counts["rows_valid"], manifest.counts["records_test"]) == (
        1,
        0,
        0,
    )
    assert check(tmp_path / "plan").findings == ()


def test_nothing_left_to_pack_is_told(clustered, make_clusters, tmp_path):
    (tmp_path / "corpus").symlink_to(clustered / "corpus")
    rows = [
        {"representative": ["R"] * n, "weight": np.ones(n), "split": [None] * n, "excluded": ["listed"] * n}
        for n in (file.rows for file in read_manifest(clustered / "corpus").tables)
    ]
    make_clusters(tmp_path / "clusters", clustered / "corpus", rows)
    with pytest.raises(ArtefactError, match="no record is left to pack") as caught:
        pack(tmp_path, tmp_path / "plan")
    assert "clusters that exclude less" in caught.value.hint


def test_the_report_tells_the_splits(clustered, tmp_path):
    manifest = pack(clustered, tmp_path / "plan", sample="one-per-cluster")
    sentence = read_report(tmp_path / "plan" / "report.json")[0].sentences[-1]
    counts, reasons = manifest.counts, manifest.reasons
    excluded = reasons["listed"] + reasons["similar-to-valid"]
    assert sentence.startswith(f"By clusters train has {counts['records_train']:,} proteins in ")
    assert f", valid has {counts['records_valid']} proteins in {counts['rows_valid']} row" in sentence
    ending = f"; {reasons['not-drawn']:,} of train are not drawn in this epoch and {excluded} are excluded"
    assert sentence.endswith(f"{ending} by the clusters.")
    assert sentence.replace(" %", "\u00a0%") in (tmp_path / "plan" / "report.html").read_text()


def test_what_became_of_a_protein_is_found_in_every_split(clustered, tmp_path):
    pack(clustered, tmp_path / "plan")
    corpus, found = rows_of(clustered, "corpus"), placed(tmp_path / "plan")
    for split in SPLITS:
        place = next(place for place, ((name, _),) in found.items() if name == split)
        (told,) = find_accession(tmp_path / "plan", corpus[place]["accession"])
        assert told.place.startswith(f"{split}/{place[0]} row ")
    lost = next(place for place in corpus if place not in found)
    told, of_clusters = find_accession(tmp_path / "plan", corpus[lost]["accession"])
    assert "excluded, or not drawn in this epoch" in told.story
    assert "in the cluster of" in of_clusters.story


def test_an_interrupted_run_goes_on(clustered, tmp_path):
    manifest = pack(clustered, tmp_path / "plan")
    before = {path: path.read_bytes() for path in (tmp_path / "plan").rglob("*.parquet")}
    (tmp_path / "plan" / "valid" / "part-00001.parquet").unlink()
    again = pack(clustered, tmp_path / "plan")
    assert again == manifest
    assert {path: path.read_bytes() for path in (tmp_path / "plan").rglob("*.parquet")} == before


def test_moved_clusters_are_said(clustered, tmp_path):
    shutil.copytree(clustered, tmp_path / "x")
    pack(tmp_path / "x", tmp_path / "x" / "plan")
    (tmp_path / "x" / "clusters").rename(tmp_path / "elsewhere")
    with pytest.raises(ArtefactError, match="the clusters it was made from is needed") as caught:
        check(tmp_path / "x" / "plan")
    assert "--clusters" in caught.value.hint
    assert check(tmp_path / "x" / "plan", clusters=tmp_path / "elsewhere").is_sound
    other = read_manifest(tmp_path / "elsewhere").model_copy(update={"fingerprint": "0"})
    write_manifest(tmp_path / "elsewhere", other)
    with pytest.raises(ArtefactError, match="expected the clusters with fingerprint"):
        check(tmp_path / "x" / "plan", clusters=tmp_path / "elsewhere")
