"""Plan to shards: the documented schema, every residue, other people's tools, the same bytes whoever does it."""

import json
import warnings

import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pytest

from pipeline.config import ShardConfig
from pipeline.core.tokenizer import load_tokenizer
from pipeline.engines.execution import ProcessExecutor, SerialExecutor
from pipeline.engines.runner import run_stage
from pipeline.errors import ArtefactError
from pipeline.formats.shards import ShardFile
from pipeline.stages.shard import Shard


def shard(plan, out, executor=None, corpus=None, **options):
    stage = Shard(plan, ShardConfig(**({"rows_per_group": 4} | options)), corpus=corpus)
    return run_stage(stage, out, executor=executor or SerialExecutor()).manifest


def shard_paths(folder):
    return sorted((folder / "data").iterdir())


def rows_of(folder):
    return [row for path in shard_paths(folder) for row in pq.read_table(path).to_pylist()]


def test_the_schema_is_the_documented_one(small):
    path = shard_paths(small.folder / "shards")[0]
    assert path.name == "train-00000-of-00004.parquet"
    schema = pq.read_schema(path)
    assert [(field.name, str(field.type)) for field in schema] == [
        ("input_ids", "fixed_size_list<element: uint8 not null>[64]"),
        ("sequence_id", "fixed_size_list<element: int16 not null>[64]"),
        ("lengths", "list<element: uint32 not null>"),
        ("accessions", "list<element: string not null>"),
        ("record_keys", "list<element: uint64 not null>"),
        ("starts", "list<element: uint32 not null>"),
        ("num_tokens", "uint32"),
        ("num_sequences", "uint16"),
    ]
    metadata = json.loads(schema.metadata[b"pipeline"])
    assert metadata["fingerprint"] == small.plan.fingerprint
    assert (metadata["dtype"], metadata["length"], metadata["alignment"], metadata["pad_id"]) == ("uint8", 64, 1, 1)


def test_row_groups_are_equal_but_the_last_and_tokens_have_no_statistics(small):
    for path in shard_paths(small.folder / "shards"):
        footer = pq.read_metadata(path)
        rows = [footer.row_group(index).num_rows for index in range(footer.num_row_groups)]
        assert set(rows[:-1]) <= {4}
        assert 0 < rows[-1] <= 4
        group = footer.row_group(0)
        columns = {group.column(index).path_in_schema: group.column(index) for index in range(group.num_columns)}
        assert not columns["input_ids.list.element"].is_stats_set
        assert not columns["sequence_id.list.element"].is_stats_set


def test_every_residue_of_every_record_is_there_once(small):
    tokenizer = load_tokenizer("esm2")
    found = {}
    for row in rows_of(small.folder / "shards"):
        position = 0
        assert row["num_tokens"] == sum(row["lengths"])
        assert row["num_sequences"] == len(row["lengths"])
        for slot, (length, accession, start) in enumerate(
            zip(row["lengths"], row["accessions"], row["starts"], strict=True)
        ):
            tokens = row["input_ids"][position : position + length]
            assert row["sequence_id"][position : position + length] == [slot] * length
            assert (tokens[0], tokens[-1], start) == (0, 2, 0)
            found.setdefault(accession, []).append(tokenizer.decode(np.array(tokens[1:-1], dtype=np.uint8)))
            position += length
        assert set(row["input_ids"][position:]) <= {1}
        assert set(row["sequence_id"][position:]) <= {-1}
    by_accession = {f"P{index:05d}": text.replace("J", "<unk>") for index, text in enumerate(small.records)}
    assert found == {accession: [by_accession[accession]] for accession in found}
    assert len(found) == small.corpus.counts["records"]


@pytest.mark.parametrize("layout", ["list", "binary"])
def test_the_same_bytes_from_processes(small, tmp_path, layout):
    with ProcessExecutor(2) as executor:
        other = shard(small.folder / "plan", tmp_path / "a", executor, layout=layout)
    again = shard(small.folder / "plan", tmp_path / "b", layout=layout)
    assert other.files == again.files
    assert other.fingerprint == again.fingerprint == small.shards.fingerprint
    assert [file.content for file in other.files if file.split] == [
        file.content for file in small.shards.files if file.split
    ]


def test_list_and_binary_hold_the_same(small, tmp_path):
    shard(small.folder / "plan", tmp_path / "b", layout="binary")
    for one, two in zip(shard_paths(small.folder / "shards"), shard_paths(tmp_path / "b"), strict=True):
        left, right = ShardFile(one), ShardFile(two)
        assert left.rows_of_groups == right.rows_of_groups
        for index in range(len(left.rows_of_groups)):
            a, b = (file.read_row_group(index, accessions=True, sequence_id=True) for file in (left, right))
            assert (a.input_ids == b.input_ids).all()
            assert (a.sequence_id == b.sequence_id).all()
            assert (a.lengths == b.lengths).all()
            assert a.accessions == b.accessions


def test_shards_can_be_smaller_than_parts(small, tmp_path):
    manifest = shard(small.folder / "plan", tmp_path / "s", rows_per_shard=8)
    assert all(file.rows <= 8 for file in manifest.files)
    assert len([file for file in manifest.files if file.split]) > 4
    whole = [row | {} for row in rows_of(small.folder / "shards")]
    assert rows_of(tmp_path / "s") == whole
    assert manifest.fingerprint != small.shards.fingerprint  # the order of an epoch depends on the files


def test_wide_vocabularies_take_two_bytes(build, tmp_path):
    made = build(tmp_path / "evo", pack={"tokenizer": "evo2"})
    path = shard_paths(made.folder / "shards")[0]
    assert ShardFile(path).metadata.dtype == "uint16"
    row = pq.read_table(path).to_pylist()[0]
    assert chr(row["input_ids"][0]) in "ACDEFGHIKLMNPQRSTVWYXBZUOJ"
    assert row["input_ids"][row["lengths"][0] - 1] == 0


@pytest.fixture(scope="module", params=["esm2", "evo2"])
def run_on(build, small, tmp_path_factory, request):
    """Concatenated records, some of them longer than a row."""
    return build(
        tmp_path_factory.mktemp("run-on") / request.param,
        records=[*small.records, "M" * 32, "MK" * 100],
        pack={"algorithm": "concatenate", "tokenizer": request.param, "length": 32},
        shard={"rows_per_shard": 16},
    )


def test_concatenated_rows_are_one_stream_of_whole_records_with_a_separator_each(run_on):
    tokenizer = load_tokenizer(run_on.plan.configuration["tokenizer"]["name"]).for_concatenation()
    expected = {f"P{index:05d}": tokenizer.encode(text).tolist() for index, text in enumerate(run_on.records)}
    (separator,) = tokenizer.suffix
    found = {}
    for row in rows_of(run_on.folder / "shards"):
        first = 0
        for slot, length in enumerate(row["lengths"]):
            tokens = row["input_ids"][first : first + length]
            assert row["sequence_id"][first : first + length] == [slot] * length
            assert separator not in tokens[:-1]
            stream = found.setdefault(row["accessions"][slot], [])
            assert row["starts"][slot] == len(stream)
            stream += tokens
            first += length
        assert row["num_tokens"] == first
        assert set(row["input_ids"][first:]) <= {tokenizer.pad_id}
        assert set(row["sequence_id"][first:]) <= {-1}
    merged = {accession for accession in expected if accession not in found}
    assert len(merged) == run_on.corpus.counts["records_merged"]
    assert found == {accession: expected[accession] for accession in found}
    rows = [row["num_tokens"] for row in rows_of(run_on.folder / "shards")]
    assert sum(tokens < 32 for tokens in rows) <= len(run_on.corpus.tables)


def test_the_metadata_of_concatenated_shards_say_so(run_on, small):
    tokenizer = load_tokenizer(run_on.plan.configuration["tokenizer"]["name"]).for_concatenation()
    for path in shard_paths(run_on.folder / "shards"):
        metadata = ShardFile(path).metadata
        assert (metadata.num_prefix, metadata.num_suffix, metadata.separator_id) == (0, 0, tokenizer.suffix[0])
    packed = shard_paths(small.folder / "shards")[0]
    assert ShardFile(packed).metadata.separator_id is None
    assert b"separator" not in pq.read_schema(packed).metadata[b"pipeline"]


def test_concatenated_shards_of_any_size_and_layout_hold_the_same(run_on, tmp_path):
    shard(run_on.folder / "plan", tmp_path / "a", rows_per_shard=1000)
    assert rows_of(tmp_path / "a") == rows_of(run_on.folder / "shards")
    shard(run_on.folder / "plan", tmp_path / "b", layout="binary")
    for one, two in zip(shard_paths(tmp_path / "a"), shard_paths(tmp_path / "b"), strict=True):
        for index in range(len(ShardFile(one).rows_of_groups)):
            a, b = (ShardFile(path).read_row_group(index, sequence_id=True) for path in (one, two))
            assert (a.input_ids == b.input_ids).all()
            assert (a.sequence_id == b.sequence_id).all()


def test_the_tokenizer_beside_concatenated_shards_puts_a_separator_and_nothing_before(run_on):
    tokenizers = pytest.importorskip("tokenizers", reason="Hugging Face tokenizers is not installed")
    fast = tokenizers.Tokenizer.from_file(str(run_on.folder / "shards" / "tokenizer.json"))
    tokenizer = load_tokenizer(run_on.plan.configuration["tokenizer"]["name"]).for_concatenation()
    assert fast.encode("MKTV").ids == tokenizer.encode("MKTV").tolist()


def test_polars_reads_them(small):
    frame = pl.read_parquet(small.folder / "shards" / "data" / "*.parquet")
    assert frame.height == small.shards.counts["rows"]
    assert frame["input_ids"].dtype == pl.Array(pl.UInt8, 64)
    assert frame["lengths"].list.sum().sum() == small.shards.counts["tokens"]


def test_hugging_face_datasets_loads_the_folder(small, tmp_path):
    datasets = pytest.importorskip("datasets", reason="Hugging Face datasets is not installed")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the library's own dependencies, which change from release to release
        loaded = datasets.load_dataset(str(small.folder / "shards"), cache_dir=str(tmp_path))
    assert set(loaded) == {"train"}
    assert loaded["train"].num_rows == small.shards.counts["rows"]
    assert loaded["train"][5]["input_ids"] == rows_of(small.folder / "shards")[5]["input_ids"]


def test_the_tokenizer_beside_them_is_the_one_they_were_made_with(small):
    tokenizers = pytest.importorskip("tokenizers", reason="Hugging Face tokenizers is not installed")
    fast = tokenizers.Tokenizer.from_file(str(small.folder / "shards" / "tokenizer.json"))
    row = rows_of(small.folder / "shards")[0]
    record = small.records[int(row["accessions"][0][1:])]
    assert fast.encode(record).ids == row["input_ids"][: row["lengths"][0]]


def test_the_card_tells_licence_and_source(quickstart):
    card = (quickstart / "shards" / "README.md").read_text()
    for text in ("cc-by-4.0", "UniProt Consortium, https://www.uniprot.org, CC BY 4.0", "path: data/train-*.parquet",
                 "UP000000625_83333.fasta.gz", "99.96 %"):  # fmt: skip
        assert text in card


def test_the_card_tells_what_was_left_out(build, tmp_path):
    made = build(tmp_path / "x", records=["MKV", "MKV", "MK-", "M" * 200])
    card = (made.folder / "shards" / "README.md").read_text()
    for text in ("invalid-gap: 1 records", "merged as exact duplicates: 1 records", "1 records, 138 residues lost"):
        assert text in card


def test_the_corpus_is_found_by_relative_path_or_said(small, tmp_path):
    import shutil

    shutil.copytree(small.folder / "plan", tmp_path / "plan")
    with pytest.raises(ArtefactError, match="the corpus it was made from is needed") as caught:
        shard(tmp_path / "plan", tmp_path / "shards")
    assert "--corpus" in caught.value.hint
    assert (
        shard(tmp_path / "plan", tmp_path / "shards", corpus=small.folder / "corpus").fingerprint
        == small.shards.fingerprint
    )
