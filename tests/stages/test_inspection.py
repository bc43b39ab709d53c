"""What a person is shown: summaries, a packed row, and what became of a protein."""

import numpy as np
import pytest

from pipeline.config import DownloadConfig
from pipeline.engines.execution import SerialExecutor
from pipeline.engines.runner import run_stage
from pipeline.errors import ArtefactError, ConfigurationError
from pipeline.formats.shards import ShardFile
from pipeline.stages.download.stage import Download
from pipeline.stages.inspection import find_accession, packed_row, summarise


@pytest.mark.parametrize("kind", ["corpus", "plan", "shards"])
def test_a_summary_tells_what_the_manifest_says(small, kind):
    manifest, facts, report = summarise(small.folder / kind)
    told = dict(facts)
    assert told["fingerprint"] == manifest.fingerprint == getattr(small, kind).fingerprint
    assert told["records"] == f"{manifest.counts['records']:,}"
    assert "source" in told
    assert ("efficiency" in told) == (kind != "corpus")
    assert (report is None) == (kind == "shards")


def test_a_summary_of_a_corpus_has_its_report(small):
    _, _, report = summarise(small.folder / "corpus")
    assert report.document["summary"]["num_records"] == small.corpus.counts["records"]
    assert report.tables[0].heading == "What became of the records"


def test_a_summary_of_a_plan_has_its_report(small):
    _, _, report = summarise(small.folder / "plan")
    assert report.document["summary"]["num_rows"] == small.plan.counts["rows"]
    assert report.document["statistics"]["rows"]["pad"] == small.plan.counts["segments"]
    assert report.sentences == tuple(report.document["summary"]["sentences"])
    assert report.tables[0].heading == "Where the tokens go"


def test_a_plan_whose_report_was_taken_away_has_none(build, tmp_path):
    made = build(tmp_path / "x", records=["MKV"])
    (made.folder / "plan" / "report.json").unlink()
    assert summarise(made.folder / "plan")[2] is None


def test_a_report_of_something_else_is_no_report_of_a_plan(build, tmp_path):
    made = build(tmp_path / "x", records=["MKV"])
    (made.folder / "plan" / "report.json").write_bytes((made.folder / "corpus" / "report.json").read_bytes())
    with pytest.raises(ArtefactError, match="expected the report of a plan"):
        summarise(made.folder / "plan")


def test_a_row_is_shown_token_by_token(small):
    for number in (0, 5, small.shards.counts["rows"] - 1):
        row = packed_row(small.folder / "shards", number)
        assert len(row.symbols) == len(row.sequence_id) == 64
        for slot, segment in enumerate(row.segments):
            span = slice(segment.first_token, segment.first_token + segment.num_tokens)
            assert set(row.sequence_id[span]) == {slot}
            text = small.records[int(segment.accession[1:])]
            assert row.symbols[span] == f"[{text.replace('J', '#')}]"
            assert segment.num_residues == len(text)
        end = row.segments[-1].first_token + row.segments[-1].num_tokens
        assert set(row.symbols[end:]) <= {"·"}
        assert set(row.sequence_id[end:]) <= {-1}


def test_rows_are_numbered_through_the_shards(small):
    files = [small.folder / "shards" / file.path for file in small.shards.files if file.split]
    lengths = np.concatenate([
        np.diff(ShardFile(path).read_row_group(group).row_offsets)
        for path in files for group in range(len(ShardFile(path).rows_of_groups))
    ])  # fmt: skip
    found = [len(packed_row(small.folder / "shards", row).segments) for row in range(len(lengths))]
    assert found == lengths.tolist()


def test_segments_are_placed_by_the_alignment(build, tmp_path):
    made = build(tmp_path / "aligned", pack={"alignment": 16})
    row = packed_row(made.folder / "shards", 0)
    assert all(segment.first_token % 16 == 0 for segment in row.segments)
    assert all(row.symbols[segment.first_token] == "[" for segment in row.segments)


@pytest.mark.parametrize(
    ("row", "split", "told"), [(10**6, None, "expected a row from 0 to"), (0, "valid", "split of train")]
)
def test_a_row_that_is_not_there_is_told(small, row, split, told):
    with pytest.raises(ConfigurationError, match=told):
        packed_row(small.folder / "shards", row, split=split)


def test_only_shards_have_rows(small):
    with pytest.raises(ArtefactError, match="kind shards"):
        packed_row(small.folder / "plan", 0)


def test_a_protein_is_followed_through_every_artefact(small):
    for name in ("P00000", "P00077"):
        text = small.records[int(name[1:])]
        (kept,) = find_accession(small.folder / "corpus", name)
        assert f"kept: swissprot, {len(text)} residues" in kept.story
        (planned,) = find_accession(small.folder / "plan", name)
        (packed,) = find_accession(small.folder / "shards", name)
        assert planned.story == packed.story == f"residues 1 to {len(text)}"
        assert planned.place.split(" ")[1:] == packed.place.split(" ")[1:]
    for kind in ("corpus", "plan", "shards"):
        search = find_accession(small.folder / kind, "nobody")
        assert not search
        assert "no protein of this name is in the corpus" in search.explanation[0]
    assert find_accession(small.folder / "corpus", "P00000").explanation == ()


def test_a_download_has_no_proteins(tmp_path, ecoli):
    stage = Download(DownloadConfig(source=str(ecoli)))
    run_stage(stage, tmp_path / "d", executor=SerialExecutor())
    with pytest.raises(ConfigurationError, match="expected one of corpus, clusters, plan, shards"):
        find_accession(tmp_path / "d", "P00000")


def test_a_duplicate_is_said_to_be_merged_and_its_survivor_to_have_it(build, tmp_path):
    made = build(tmp_path / "twins", records=["MKV", "MKV", "MKVL"])
    (merged,) = find_accession(made.folder / "corpus", "P00001")
    assert merged.story == "merged into P00000: equal residues"
    (kept,) = find_accession(made.folder / "corpus", "P00000")
    assert kept.story.endswith("1 equal records merged into it")


def test_what_was_left_out_of_the_plan_is_said_so(build, tmp_path):
    made = build(tmp_path / "long", records=["M" * 40, "MK"], pack={"length": 32, "overlong": "drop"})
    (left_out,) = find_accession(made.folder / "plan", "P00000")
    assert "left out" in left_out.story
    kept, left_out = find_accession(made.folder / "shards", "P00000")
    assert kept.story.startswith("kept")
    assert "left out" in left_out.story


def test_a_merged_protein_is_followed_to_its_survivor(build, tmp_path):
    made = build(tmp_path / "twins", records=["MKV", "MKV", "MKVL"])
    for kind in ("plan", "shards"):
        merged, packed = find_accession(made.folder / kind, "P00001")
        assert merged.story == "merged into P00000: equal residues"
        assert packed.story == "residues 1 to 3"


def test_windows_are_all_found(build, tmp_path):
    made = build(tmp_path / "windows", records=["MKVLA" * 14], pack={"length": 32, "overlong": "windows"})
    stories = sorted(place.story for place in find_accession(made.folder / "shards", "P00000"))
    assert stories == ["residues 1 to 24", "residues 25 to 47", "residues 48 to 70"]
