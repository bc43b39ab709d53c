"""The published split: what is written is read, as Parquet and as text, and what is wrong is told with its row."""

import gzip

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.errors import ConfigurationError, InputFormatError
from pipeline.formats.splits import SPLITS_NAME, SPLITS_SCHEMA, read_splits, write_splits

ROWS = [("A", "train", None), ("B", "valid", None), ("C", None, "similar-to-valid"), ("D", "test", None)]
PINS = [("A", 0), ("B", 1), ("D", 2)]


def table(rows):
    return pa.table([pa.array(column, pa.string()) for column in zip(*rows, strict=True)], SPLITS_SCHEMA.names)


def pins(path):
    return [(row["name"], row["split"]) for part in read_splits(path) for row in part.to_pylist()]


def test_what_is_written_is_read(tmp_path):
    write_splits(tmp_path, [table(ROWS[:1]), table(ROWS[1:])])
    found = pq.read_table(tmp_path / SPLITS_NAME)
    assert found.schema.equals(SPLITS_SCHEMA)
    assert [tuple(row.values()) for row in found.to_pylist()] == ROWS
    assert pins(tmp_path / SPLITS_NAME) == PINS
    before = (tmp_path / SPLITS_NAME).read_bytes()
    write_splits(tmp_path, [table(ROWS)])
    assert (tmp_path / SPLITS_NAME).read_bytes() == before


@pytest.mark.parametrize("head", ["", "accession\tsplit\treason\n"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_text_says_the_same(tmp_path, head, end):
    lines = ["\t".join(value or "" for value in row) for row in ROWS]
    text = (head + "".join(f"{line}\n" for line in lines)).replace("\n", end)
    (tmp_path / "splits.tsv").write_text(text, newline="")
    (tmp_path / "splits.tsv.gz").write_bytes(gzip.compress(text.encode()))
    assert pins(tmp_path / "splits.tsv") == pins(tmp_path / "splits.tsv.gz") == PINS


def test_two_columns_are_enough_and_names_may_be_those_of_uniprot(tmp_path):
    (tmp_path / "splits.tsv").write_text("sp|P12345|NAME_HUMAN\tvalid\nUniRef50_A\ttrain\n")
    assert pins(tmp_path / "splits.tsv") == [("P12345", 1), ("UniRef50_A", 0)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("A\tvalid\nB\tvalidation\n", "row 2: expected one of train, valid, test, or nothing, found 'validation'"),
        ("A\tvalid\n\ttrain\n", "row 2: expected an accession, found ''"),
        ("A valid\n", "2 or 3 tab-separated columns .*, found 1 in the first line"),
        ("A\tvalid\nB\tvalid\tx\n", "expected 2 tab-separated columns, found damage"),
        ("", "found 1 in the first line"),
    ],
)
def test_what_is_no_split_is_told(tmp_path, text, message):
    (tmp_path / "splits.tsv").write_text(text)
    with pytest.raises(InputFormatError, match=message):
        pins(tmp_path / "splits.tsv")


def test_another_table_and_no_file_are_told(tmp_path):
    pq.write_table(pa.table({"accession": ["A"], "fold": [1]}), tmp_path / "other.parquet")
    with pytest.raises(InputFormatError, match=r"other.parquet: expected columns accession and split, found \['acc"):
        pins(tmp_path / "other.parquet")
    (tmp_path / "cut.parquet").write_bytes((tmp_path / "other.parquet").read_bytes()[:60])
    with pytest.raises(InputFormatError, match=r"cut\.parquet"):
        pins(tmp_path / "cut.parquet")
    with pytest.raises(ConfigurationError):
        pins(tmp_path / "absent")
