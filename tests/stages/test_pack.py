"""Corpus to plan: every record has its place, over-length policies, the same bytes whoever does it."""

from collections import Counter

import numpy as np
import pyarrow.parquet as pq
import pytest

from pipeline.config import PackConfig
from pipeline.engines.execution import ProcessExecutor, SerialExecutor
from pipeline.engines.runner import run_stage
from pipeline.engines.stage import SilentWatcher
from pipeline.errors import ArtefactError, ConfigurationError
from pipeline.formats.corpus_statistics import bin_edges
from pipeline.formats.manifest import fingerprint_of, read_manifest
from pipeline.formats.plan import PLAN_SCHEMA
from pipeline.formats.plan_page import plan_page
from pipeline.formats.plan_summary import read_report
from pipeline.formats.storage import file_digest
from pipeline.stages.pack.stage import Pack
from pipeline.stages.verify.stage import verify

LENGTH, SPECIAL = 64, 2


def pack(corpus, out, executor=None, **options):
    stage = Pack(corpus, PackConfig(**({"length": LENGTH} | options)))
    return run_stage(stage, out, executor=executor or SerialExecutor()).manifest


def plan_of(folder):
    return {path.name: pq.read_table(path) for path in sorted((folder / "train").iterdir())}


def test_a_plan_gives_every_record_one_place(small):
    for name, table in plan_of(small.folder / "plan").items():
        assert table.schema.equals(PLAN_SCHEMA)
        lengths = pq.read_table(small.folder / "corpus" / name).column("length").to_numpy()
        assert sorted(table.column("record").to_pylist()) == list(range(len(lengths)))
        assert (table.column("length").to_numpy() == lengths[table.column("record").to_numpy()]).all()
        keys = list(zip(table.column("row").to_pylist(), table.column("slot").to_pylist(), strict=True))
        assert keys == sorted(set(keys))
        used = np.bincount(table.column("row").to_numpy(), weights=table.column("length").to_numpy() + SPECIAL)
        assert used.max() <= LENGTH
    counts = small.plan.counts
    assert counts["records"] == counts["segments"] == small.corpus.counts["records"]
    assert counts["tokens"] == counts["residues"] + SPECIAL * counts["segments"]
    assert counts["rows_lower_bound"] <= counts["rows"] <= counts["segments"]


def test_a_proteome_is_packed_at_the_lower_bound(quickstart):
    counts = read_manifest(quickstart / "plan").counts
    assert counts["rows"] <= counts["rows_lower_bound"] + 1
    assert counts["tokens"] / (counts["rows"] * 1024) > 0.999


def test_the_same_bytes_from_processes_and_again(small, tmp_path):
    with ProcessExecutor(2) as executor:
        other = pack(small.folder / "corpus", tmp_path / "plan", executor)
    again = pack(small.folder / "corpus", tmp_path / "again")
    assert other.files == again.files == small.plan.files
    assert other.fingerprint == small.plan.fingerprint


def test_another_seed_is_another_order_of_as_many_rows(small, tmp_path):
    other = pack(small.folder / "corpus", tmp_path / "plan", seed=1)
    assert other.fingerprint != small.plan.fingerprint
    assert other.counts == small.plan.counts
    assert all(a.content != b.content for a, b in zip(other.files, small.plan.files, strict=True))


def test_parts_of_equal_lengths_are_not_shuffled_alike(build, tmp_path):
    import itertools

    records = ["".join(letters) for letters in itertools.islice(itertools.product("ACDEFGHIKL", repeat=4), 400)]
    made = build(tmp_path / "equal", records=records, records_per_part=100)
    tables = [table for table in plan_of(made.folder / "plan").values() if table.num_rows >= 90]
    assert len(tables) >= 2
    heads = {tuple(table.column("record").to_pylist()[:40]) for table in tables}
    assert len(heads) == len(tables)


@pytest.mark.parametrize("overlong", ["crop-start", "crop-random", "windows", "drop"])
def test_overlong_policies(small, tmp_path, overlong):
    room = 32 - SPECIAL
    manifest = pack(small.folder / "corpus", tmp_path / "plan", length=32, overlong=overlong)
    num_overlong = lost = 0
    for name, table in plan_of(tmp_path / "plan").items():
        lengths = pq.read_table(small.folder / "corpus" / name).column("length").to_pylist()
        pieces = {record: [] for record in range(len(lengths))}
        for entry in table.to_pylist():
            pieces[entry["record"]].append((entry["start"], entry["length"]))
        for record, length in enumerate(lengths):
            found = sorted(pieces[record])
            if length <= room:
                assert found == [(0, length)]
                continue
            num_overlong += 1
            lost += length - sum(size for _, size in found)
            if overlong == "drop":
                assert found == []
            elif overlong == "windows":
                assert [start for start, _ in found] == list(np.cumsum([0, *(size for _, size in found)])[:-1])
                assert sum(size for _, size in found) == length
            else:
                ((start, size),) = found
                assert size == room
                assert 0 <= start <= length - room
                assert overlong == "crop-random" or start == 0
    assert num_overlong > 20
    counts = manifest.counts
    assert manifest.reasons == {"overlong": num_overlong if overlong == "drop" else 0}
    assert counts["records_cropped"] == (num_overlong if overlong.startswith("crop") else 0)
    assert counts["records_windowed"] == (num_overlong if overlong == "windows" else 0)
    assert counts["residues_lost"] == lost


def test_random_crops_depend_on_seed_and_epoch(small, tmp_path):
    starts = {}
    for seed, epoch in ((0, 0), (0, 1), (1, 0)):
        out = tmp_path / f"{seed}{epoch}"
        pack(small.folder / "corpus", out, length=32, seed=seed, epoch=epoch)
        starts[seed, epoch] = [
            tuple(sorted(zip(t.column("record").to_pylist(), t.column("start").to_pylist(), strict=True)))
            for t in plan_of(out).values()
        ]
    assert len({str(value) for value in starts.values()}) == 3


def test_the_whole_tokenizer_is_in_the_fingerprint(small, tmp_path):
    esm3 = pack(small.folder / "corpus", tmp_path / "plan", tokenizer="esm3")
    assert esm3.configuration["tokenizer"]["tokens"][31] == "|"
    assert esm3.fingerprint != small.plan.fingerprint


def test_alignment_rounds_the_room_of_a_segment_up(small, tmp_path):
    manifest = pack(small.folder / "corpus", tmp_path / "plan", alignment=16)
    assert manifest.counts["tokens_aligned"] % 16 == 0
    assert manifest.counts["tokens_aligned"] > manifest.counts["tokens"]


def test_pad_puts_one_record_in_a_row(small, tmp_path):
    counts = pack(small.folder / "corpus", tmp_path / "plan", algorithm="pad").counts
    assert counts["rows"] == counts["segments"]


class Listening(SilentWatcher):
    def __init__(self):
        self.warnings = []

    def warning(self, text):
        self.warnings.append(text)


def run_on(corpus, out, **options):
    return pack(corpus, out, algorithm="concatenate", **options)


def test_concatenated_records_run_on_from_row_to_row(small, tmp_path):
    counts = run_on(small.folder / "corpus", tmp_path / "plan", length=16, tokenizer="evo2").counts
    tables = plan_of(tmp_path / "plan")
    for name, table in tables.items():
        assert table.schema.equals(PLAN_SCHEMA)
        lengths = pq.read_table(small.folder / "corpus" / name).column("length").to_pylist()
        stream, used, done = [], {}, {}
        entries = table.to_pylist()
        for entry, following in zip(entries, [*entries[1:], None], strict=True):
            record, end = entry["record"], entry["start"] + entry["length"]
            assert entry["start"] == done.get(record, 0)
            alone = following and (following["record"], following["length"]) == (record, 0)
            done[record] = end
            tokens = entry["length"] + (end == lengths[record] and not alone)
            used[entry["row"]] = used.get(entry["row"], 0) + tokens
            stream.append(record)
        assert sorted(done.items()) == list(enumerate(lengths))
        assert list(used.values())[:-1] == [16] * (len(used) - 1)
        assert 0 < list(used.values())[-1] <= 16
        order = list(dict.fromkeys(stream))
        assert order != sorted(order)
        assert [record for record, before in zip(stream, [None, *stream], strict=False) if record != before] == order
    num_records, residues = small.corpus.counts["records"], small.corpus.counts["residues"]
    assert counts["records"] == num_records < counts["segments"]
    assert counts["tokens"] == counts["tokens_aligned"] == residues + num_records
    assert counts["tokens_padding"] == counts["rows"] * 16 - counts["tokens"]
    assert counts["rows_lower_bound"] <= counts["rows"] <= counts["rows_lower_bound"] + len(tables)
    assert (counts["residues_packed"], counts["residues_lost"], counts["records_cropped"]) == (residues, 0, 0)


def test_a_separator_for_which_there_is_no_room_is_a_segment_of_its_own(build, tmp_path):
    made = build(tmp_path / "x", records=["M" * 64], pack={"algorithm": "concatenate"})
    (table,) = plan_of(made.folder / "plan").values()
    expected = [(0, 0, 0, 0, 64), (1, 0, 0, 64, 0)]
    assert list(zip(*(table.column(name).to_pylist() for name in table.schema.names), strict=True)) == expected


def test_the_seed_orders_the_records_of_each_part_anew(small, tmp_path):
    one, two = (run_on(small.folder / "corpus", tmp_path / name, seed=seed) for seed, name in enumerate("ab"))
    assert one.counts["rows"] == two.counts["rows"]
    assert all(a.content != b.content for a, b in zip(one.files, two.files, strict=True))
    with ProcessExecutor(2) as executor:
        again = pack(small.folder / "corpus", tmp_path / "c", executor, algorithm="concatenate")
    assert again.files == one.files


def test_no_over_length_policy_applies_to_concatenated_records(small, tmp_path):
    stage = Pack(small.folder / "corpus", PackConfig(length=32, algorithm="concatenate", overlong="drop"))
    watcher = Listening()
    dropping = run_stage(stage, tmp_path / "a", executor=SerialExecutor(), watcher=watcher).manifest
    (warning,) = watcher.warnings
    assert warning.startswith("--overlong drop does not apply")
    stage = Pack(small.folder / "corpus", PackConfig(length=32, algorithm="concatenate"))
    watcher = Listening()
    assert run_stage(stage, tmp_path / "b", executor=SerialExecutor(), watcher=watcher).manifest == dropping
    assert watcher.warnings == []
    assert dropping.configuration["overlong"] == "run-on"
    assert dropping.reasons["overlong"] == 0


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"alignment": 8}, "--alignment 8: expected 1 with --algorithm concatenate"),
        ({"max_segments": 9}, "--max-segments 9: expected 32767 with --algorithm concatenate"),
        ({"order": "balanced"}, "--order balanced: expected random with --algorithm concatenate"),
        ({"tokenizer": "msa-transformer"}, "no token to stand between records"),
    ],
)
def test_what_cannot_be_concatenated_is_told_before_the_work_begins(small, options, told):
    with pytest.raises(ConfigurationError, match=told):
        Pack(small.folder / "corpus", PackConfig(**({"length": 64, "algorithm": "concatenate"} | options)))


@pytest.mark.parametrize("algorithm", ["first-fit-decreasing", "best-fit-decreasing", "optimal"])
def test_no_row_has_more_segments_than_asked(small, tmp_path, algorithm):
    free = pack(small.folder / "corpus", tmp_path / "free", algorithm=algorithm)
    assert max(most_segments(tmp_path / "free")) > 2
    held = pack(small.folder / "corpus", tmp_path / "plan", algorithm=algorithm, max_segments=2)
    assert max(most_segments(tmp_path / "plan")) == 2
    assert held.counts["segments"] == free.counts["segments"]
    assert held.counts["rows_lower_bound"] > free.counts["rows_lower_bound"]
    assert held.counts["rows"] > free.counts["rows"]


def most_segments(folder):
    return [max(table.column("slot").to_pylist()) + 1 for table in plan_of(folder).values()]


def test_optimal_needs_no_more_rows_and_is_the_same_whoever_does_it(build, tmp_path):
    """Records of which first fit puts three in a row, where two and two would do."""
    rng = np.random.default_rng(5)
    records = list({"".join(rng.choice(list("ACDEFGHIKLMNPQRSTVWY"), size)) for size in rng.integers(16, 30, 3000)})
    corpus = build(tmp_path / "made", records=records, records_per_part=1000).folder / "corpus"
    fitted, best = (
        pack(corpus, tmp_path / name, algorithm=name).counts["rows"] for name in ("first-fit-decreasing", "optimal")
    )
    assert best < 0.97 * fitted
    with ProcessExecutor(2) as executor:
        again = pack(corpus, tmp_path / "again", executor, algorithm="optimal")
    assert again.fingerprint == read_manifest(tmp_path / "optimal").fingerprint
    assert again.software["scipy"]
    assert not list((tmp_path / "again").rglob(".*"))
    with SerialExecutor() as executor:
        assert verify(tmp_path / "again", executor=executor, watcher=SilentWatcher()).is_sound


def test_padding_is_counted(small, tmp_path):
    for options in ({}, {"alignment": 16}, {"algorithm": "pad"}):
        counts = pack(small.folder / "corpus", tmp_path / str(len(options) + len(str(options))), **options).counts
        assert counts["tokens_padding"] == counts["rows"] * LENGTH - counts["tokens"]


def test_nothing_left_to_pack_is_told(build, tmp_path):
    made = build(tmp_path / "long", records=["M" * 50, "K" * 51])
    with pytest.raises(ArtefactError, match=r"no record is left to pack: \{'overlong': 2\}") as caught:
        pack(made.folder / "corpus", tmp_path / "plan", length=16, overlong="drop")
    assert "--length" in caught.value.hint


def test_a_row_must_hold_more_than_special_tokens(small, tmp_path):
    document = tmp_path / "t.json"
    import json

    from pipeline.core.tokenizer import load_tokenizer

    wide = load_tokenizer("esm2").document() | {"name": "wide", "prefix": ["<cls>"] * 8}
    document.write_text(json.dumps(wide))
    with pytest.raises(ConfigurationError, match="a row of 8 tokens holds no residue"):
        Pack(small.folder / "corpus", PackConfig(length=8, tokenizer=str(document)))


def test_digests_in_the_manifest_are_those_of_the_files(small):
    for file in small.plan.files:
        assert file_digest(small.folder / "plan" / file.path) == (file.bytes, file.xxh3_64)


def test_reports_are_files_of_the_plan_and_no_part_of_its_fingerprint(small):
    names = [file.path for file in small.plan.files]
    assert names[-2:] == ["report.json", "report.html"]
    assert [file.path for file in small.plan.tables] == names[:-2]
    without = small.plan.model_copy(update={"files": small.plan.tables})
    assert fingerprint_of(without) == small.plan.fingerprint
    folder = small.folder / "plan"
    statistics = read_report(folder / "report.json")[1]
    assert (folder / "report.html").read_text() == plan_page(read_manifest(folder), statistics)
    assert not (folder / ".scratch").exists()


WAYS = {
    "packed": {},
    "windows": {"length": 32, "overlong": "windows"},
    "aligned": {"alignment": 16, "order": "balanced"},
    "few": {"max_segments": 2, "algorithm": "best-fit-decreasing"},
    "optimal": {"algorithm": "optimal", "length": 48, "overlong": "drop"},
    "pad": {"algorithm": "pad"},
    "run on": {"algorithm": "concatenate", "length": 24},
}


@pytest.mark.parametrize("way", WAYS)
def test_the_report_counts_what_the_files_hold(small, tmp_path, way):
    options = {"length": LENGTH} | WAYS[way]
    manifest = pack(small.folder / "corpus", tmp_path / "plan", **options)
    summary, statistics = read_report(tmp_path / "plan" / "report.json")
    tokens, in_rows, divided = Counter(), Counter(), 0
    for name, table in plan_of(tmp_path / "plan").items():
        records = pq.read_table(small.folder / "corpus" / name).column("length").to_pylist()
        used, entries, pieces = Counter(), table.to_pylist(), Counter()
        for entry in entries:
            is_end = entry["start"] + entry["length"] == records[entry["record"]]
            full = used[entry["row"]] + entry["length"] == options["length"]
            special = (is_end and not full) if way == "run on" else SPECIAL
            used[entry["row"]] += entry["length"] + special
            tokens[int(bin_edges(np.array([entry["length"] + special]))[0])] += 1
            pieces[entry["record"]] += entry["length"] > 0
        in_rows.update(Counter(table.column("row").to_pylist()).values())
        divided += sum(number > 1 for number in pieces.values())
    counts = manifest.counts
    assert statistics.segment_tokens == tokens
    assert statistics.segments_per_row == in_rows
    assert statistics.records_divided == divided
    assert sum(length * number for length, number in tokens.items()) == counts["tokens"]
    assert statistics.rows[manifest.configuration["algorithm"]] == counts["rows"] == summary.num_rows
    assert counts["rows_lower_bound"] <= statistics.lower_bound <= counts["rows"]
    if way == "run on":
        assert statistics.rows == {"concatenate": counts["rows"]}
        assert statistics.policies == {}
        return
    chosen = statistics.policies[options.get("overlong", "crop-random")]
    assert (chosen.segments, chosen.residues_lost) == (counts["segments"], counts["residues_lost"])
    assert chosen.records_dropped == manifest.reasons["overlong"]


@pytest.mark.parametrize("options", [{}, {"max_segments": 2, "alignment": 8}, {"overlong": "windows"}])
def test_other_algorithms_and_policies_are_foretold(small, tmp_path, options):
    """What the report of one plan says of others is what those come to."""
    options = {"length": 48, **options}
    pack(small.folder / "corpus", tmp_path / "plan", **options)
    _, statistics = read_report(tmp_path / "plan" / "report.json")
    for algorithm in ("best-fit-decreasing", "pad", "concatenate"):
        other = {"length": 48} if algorithm == "concatenate" else options
        counts = pack(small.folder / "corpus", tmp_path / algorithm, **other, algorithm=algorithm).counts
        assert statistics.rows[algorithm] == counts["rows"]
    for policy, outcome in statistics.policies.items():
        made = pack(small.folder / "corpus", tmp_path / policy, **(options | {"overlong": policy}))
        assert outcome.segments == made.counts["segments"]
        assert outcome.residues_lost == made.counts["residues_lost"]
        assert outcome.records_dropped == made.reasons["overlong"]


def test_ranks_wait_less_in_balanced_order(build, tmp_path):
    made = build(tmp_path / "many", records=many_records(), records_per_part=1_000, pack={"length": 32})
    random = read_report(made.folder / "plan" / "report.json")[0]
    pack(made.folder / "corpus", tmp_path / "plan", length=32, order="balanced")
    balanced = read_report(tmp_path / "plan" / "report.json")[0]
    assert (random.orders, balanced.orders) == (("random", "balanced"), ("balanced", "random"))
    for one, other in zip(random.waits, balanced.waits, strict=True):
        assert 1.5 * one.excess["balanced"] < one.excess["random"]
        for order in random.orders:  # each plan is right about the other
            assert one.excess[order] == pytest.approx(other.excess[order], rel=0.5)


def many_records():
    rng = np.random.default_rng(0)
    letters = np.array(list("ACDEFGHIKLMNPQRSTVWY"))
    return ["".join(rng.choice(letters, size)) for size in rng.integers(3, 30, 2_000)]
