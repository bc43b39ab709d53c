"""Blocks and their builder: nothing added is lost, and places say where."""

import pickle

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.formats import records
from pipeline.formats.headers import HEADER_SCHEMA
from pipeline.formats.records import BlockBuilder, ColumnBlock, RecordBlock

ADDED = st.lists(st.tuples(st.text("ab> |", max_size=6), st.text("MKV", max_size=9), st.integers(0, 9)), max_size=40)


def blocks_of(builder, added):
    for number, (header, residues, line) in enumerate(added):
        if builder.is_full:
            yield builder.take()
        builder.num_comment_lines += 1
        builder.skipped["pseudo-record"] += 2
        builder.add(header.encode(), residues.encode(), (line, number))
    builder.skipped["behind-the-last"] += 1
    if builder.num_records:
        yield builder.take()


@given(ADDED, st.integers(1, 10), st.integers(1, 30))
def test_blocks_hold_what_was_added(gather, monkeypatch_module, added, num_records, num_residues):
    monkeypatch_module.setattr(records, "RECORDS_PER_BLOCK", num_records)
    monkeypatch_module.setattr(records, "RESIDUES_PER_BLOCK", num_residues)
    builder = BlockBuilder(place_format="line {}, byte {}")
    blocks = list(blocks_of(builder, added))
    read = gather(blocks)
    assert read.residues == [residues for _, residues, _ in added]
    assert read.places == [f"line {line}, byte {number}" for number, (_, _, line) in enumerate(added)]
    assert [header for block in blocks for header in block.headers.to_pylist()] == [row[0].encode() for row in added]
    assert read.num_comment_lines == len(added)
    assert read.skipped == ({"pseudo-record": 2 * len(added), "behind-the-last": 1} if added else {})
    assert builder.total_records == len(added)
    for block in blocks:
        assert block.num_records <= num_records
        assert block.offsets[-2] < num_residues


@pytest.fixture(scope="module")
def monkeypatch_module():
    with pytest.MonkeyPatch.context() as patch:
        yield patch


def test_headers_are_read_as_in_fasta(gather):
    builder = BlockBuilder(place_format="entry {}")
    builder.add(b"sp|P13445|RPOS_ECOLI RNA polymerase OS=Escherichia coli OX=83333 GN=rpoS PE=1 SV=3", b"MKV", (12,))
    builder.add("Größe".encode("latin-1"), b"", (13,))
    read = gather([builder.take()])
    assert read.columns[0] == {
        "accession": "P13445",
        "source": "swissprot",
        "taxon_id": 83333,
        "cluster": None,
        "description": "RNA polymerase OS=Escherichia coli OX=83333 GN=rpoS PE=1 SV=3",
    }
    assert read.columns[1]["accession"] == "Gr��e"
    assert read.places == ["entry 12", "entry 13"]


def test_a_source_that_was_given_wins():
    builder = BlockBuilder(place_format="", source="bfd")
    builder.add(b"sp|P13445|RPOS_ECOLI", b"MKV", ())
    assert builder.take().columns().column("source").to_pylist() == ["bfd"]


def test_columns_that_are_known_are_given_back():
    table = pa.RecordBatch.from_pylist([{"accession": "a", "source": "b", "taxon_id": 4}], schema=HEADER_SCHEMA)
    block: RecordBlock = ColumnBlock(
        residues=np.frombuffer(b"MKV", dtype=np.uint8),
        offsets=np.array([0, 3]),
        positions=np.array([[5]]),
        place_format="row {}, column sequence",
        first_record=0,
        table=table,
    )
    assert block.columns() is table
    assert block.place(0) == "row 5, column sequence"
    assert (block.num_records, block.num_comment_lines, block.skipped) == (1, 0, {})


def test_blocks_go_to_other_processes():
    builder = BlockBuilder(place_format="line {}")
    builder.add(b"a b", b"MKV", (3,))
    block = builder.take()
    copy = pickle.loads(pickle.dumps(block))
    assert copy.place(0) == "line 3"
    assert copy.columns().equals(block.columns())


def test_there_is_no_empty_block():
    with pytest.raises(AssertionError):
        BlockBuilder(place_format="").take()
