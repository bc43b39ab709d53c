"""Spans tile a file, and reading them one by one is reading the file."""

import gzip

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.formats.fasta import read_fasta
from pipeline.formats.fasta_spans import WHOLE, fasta_spans, lines_before, records_before

LINES = st.lists(
    st.sampled_from([b">", b">a b", b">x>y", b"MKV", b"ac d", b"", b";note", b"#", b"M>K", b"\rMK\r"]), max_size=30
)


def records_in(path, span=WHOLE, **options):
    return [
        (header, bytes(block.residues[block.offsets[at] : block.offsets[at + 1]]), int(block.byte_offsets[at]))
        for block in read_fasta(path, span=span, **options)
        for at, header in enumerate(block.headers.to_pylist())
    ]


@given(lines=LINES, chunk=st.integers(1, 40), block=st.integers(1, 9), ending=st.sampled_from([b"\n", b"\r\n"]))
def test_spans_tile_the_file_and_hold_its_records(lines, chunk, block, ending, tmp_path_factory):
    path = tmp_path_factory.mktemp("spans") / "x.fasta"
    path.write_bytes(ending.join([b"# first", b">first", b"MK", *lines]))
    spans = fasta_spans(path, chunk)
    assert spans[0].start == 0
    assert spans[-1].end is None
    assert [span.end for span in spans[:-1]] == [span.start for span in spans[1:]]
    assert [record for span in spans for record in records_in(path, span, block_bytes=block)] == records_in(path)
    text = path.read_bytes()
    for span in spans[1:]:
        assert text[span.start - 1 : span.start + 1] == b"\n>"
        assert lines_before(path, span.start) == text[: span.start].count(b"\n")
        in_front = [record for other in spans if other.start < span.start for record in records_in(path, other)]
        assert records_before(path, span.start) == len(in_front)


def test_chunks_are_about_as_large_as_wanted(ecoli, tmp_path):
    path = tmp_path / "x.fasta"
    path.write_bytes(gzip.decompress(ecoli.read_bytes()))
    spans = fasta_spans(path, 100_000)
    assert len(spans) == 19
    assert all(95_000 < span.end - span.start < 105_000 for span in spans[:-1])


@pytest.mark.parametrize("content", [gzip.compress(b">a\nMK\n" * 999), b">a\rMK\r>b\rMK" * 99, b">a\nMK\n"])
def test_what_cannot_be_cut_is_one_span(tmp_path, content):
    (tmp_path / "x").write_bytes(content)
    assert fasta_spans(tmp_path / "x", 10) == [WHOLE]
