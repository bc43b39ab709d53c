"""Spans tile a file, and reading them one by one is reading the file, however it is compressed or damaged."""

import bz2
import gzip
import io
import lzma
import pickle
import random
import struct
import time
from itertools import pairwise

import pytest
import zstandard
from Bio import bgzf
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import InputFormatError
from pipeline.formats.fasta import read_fasta
from pipeline.formats.fasta_spans import WHOLE, Span, fasta_spans, read_span, shift_of

LINES = st.lists(
    st.sampled_from([b">", b">a b", b">x>y", b"MKV", b"ac d", b"", b";note", b"#", b"M>K", b"\rMK\r"]), max_size=30
)
FIRST = st.sampled_from([b"# first\n", b"", b"\xef\xbb\xbf", b"\xef\xbb\xbf\n;\n", b"\n" * 50])


def blocked(parts, level=6):
    """BGZF with a block for each part, and the empty one at the end."""
    file = io.BytesIO()
    writer = bgzf.BgzfWriter(fileobj=file, compresslevel=level)
    for part in parts:
        writer.write(part)
        writer.flush()
    writer.flush()
    return file.getvalue()


def seekable(parts):
    """Zstd with a frame for each part, and a seek table."""
    frames = [zstandard.ZstdCompressor(write_checksum=True).compress(part) for part in parts]
    entries = b"".join(struct.pack("<2I", len(frame), len(part)) for frame, part in zip(frames, parts, strict=True))
    footer = struct.pack("<IBI", len(parts), 0, 0x8F92EAB1)
    return b"".join([*frames, struct.pack("<II", 0x184D2A5E, len(entries) + 9), entries, footer])


COMPRESS = {"plain": b"".join, "bgzf": blocked, "zstd": seekable}
COMPRESSED = pytest.mark.parametrize("kind", ["bgzf", "zstd"])


def parts_of(text, size):
    return [text[start : start + size] for start in range(0, len(text), size)]


def many_records(number, seed=0):
    rng = random.Random(seed)
    letters = b"ACDEFGHIKLMNPQRSTVWY"
    return b"".join(b">%d\n%b\n" % (at, bytes(rng.choices(letters, k=rng.randrange(500)))) for at in range(number))


def records_in(path, span=WHOLE, **options):
    """Everything that is known of each record, its numbers counted from the start of the file."""
    shift = shift_of(path, span)
    return [
        (
            block.first_record + at + shift.records,
            int(block.lines[at]) + shift.lines,
            int(block.byte_offsets[at]) + shift.bytes,
            header,
            bytes(block.residues[block.offsets[at] : block.offsets[at + 1]]),
        )
        for block in read_fasta(path, span=span, **options)
        for at, header in enumerate(block.headers.to_pylist())
    ]


def headers_in(path, spans):
    return [header for span in spans for block in read_fasta(path, span=span) for header in block.headers.to_pylist()]


def content_of(path, spans=(), *, chunk=None):
    """All bytes of some spans, or of all, or the error."""
    try:
        spans = spans or fasta_spans(path, chunk)
        return b"".join(block for span in spans for block in read_span(path, span, 1000))
    except InputFormatError as error:
        return error


def check_tiles(spans):
    assert spans[0].start == 0
    assert spans[-1].end is None
    assert all(one.end == other.start for one, other in pairwise(spans))
    assert all(one.start < other.start for one, other in pairwise(spans))


@pytest.mark.parametrize("kind", COMPRESS)
@given(
    first=FIRST,
    lines=LINES,
    chunk=st.integers(1, 150),
    part=st.integers(1, 40),
    block=st.integers(1, 9),
    ending=st.sampled_from([b"\n", b"\r\n"]),
)
def test_spans_tile_the_file_and_hold_its_records(*, kind, first, lines, chunk, part, block, ending, tmp_path_factory):
    path = tmp_path_factory.mktemp("spans") / "x.fasta"
    text = first + ending.join([b">first", b"MK", *lines])
    path.write_bytes(COMPRESS[kind](parts_of(text, part)))
    spans = fasta_spans(path, chunk)
    check_tiles(spans)
    assert pickle.loads(pickle.dumps(spans)) == spans
    whole = records_in(path)
    assert [record for span in spans for record in records_in(path, span, block_bytes=block)] == whole
    comments = [sum(block.num_comment_lines for block in read_fasta(path, span=span)) for span in (WHOLE, *spans)]
    assert comments[0] == sum(comments[1:])
    for span in spans[1:]:
        assert b"".join(read_span(path, span, 7)).startswith(b">")
        assert next(read_fasta(path, span=span)).byte_offsets[0] == (span.start if kind == "plain" else 0)
        before = Span(0, span.start)
        assert shift_of(path, span).records == len(records_in(path, before))
        assert shift_of(path, span).lines == b"".join(read_span(path, before, 7)).count(b"\n")


@COMPRESSED
@given(
    parts=st.lists(st.sampled_from([b">a", b"\n>", b"\n", b">", b"MK\n", b"MK", b""]), max_size=40),
    chunk=st.integers(1, 90),
)
def test_headers_on_the_borders_of_members(kind, parts, chunk, tmp_path_factory):
    path = tmp_path_factory.mktemp("spans") / "x.fasta"
    path.write_bytes(COMPRESS[kind]([b">first\nMK\n", *parts]))
    spans = fasta_spans(path, chunk)
    check_tiles(spans)
    assert [record for span in spans for record in records_in(path, span)] == records_in(path)


@COMPRESSED
def test_a_header_that_begins_a_member_is_seen_from_the_one_before(kind, tmp_path):
    path = tmp_path / "x.fasta"
    parts = [b">a\n", b"MK\n", b">b\nMK", b"\n"]
    path.write_bytes(COMPRESS[kind](parts))
    spans = fasta_spans(path, 1)
    assert [b"".join(read_span(path, span, 9)) for span in spans] == [b">a\nMK\n", b">b\nMK\n"]


def test_places_in_bgzf_are_virtual_offsets(tmp_path):
    path = tmp_path / "x.fasta.gz"
    path.write_bytes(blocked(parts_of(many_records(9_000), 65_280)))
    spans = fasta_spans(path, 100_000)
    assert len(spans) > 8
    with bgzf.BgzfReader(str(path), "rb") as reader:
        for span in spans[1:]:
            reader.seek(span.start)
            expected = b"".join(read_span(path, Span(span.start, None), 1 << 20))[:900]
            assert expected.startswith(b">")
            assert reader.read(900) == expected


@pytest.mark.parametrize("kind", COMPRESS)
def test_chunks_are_about_as_large_as_wanted(kind, ecoli, tmp_path):
    path = tmp_path / "x.fasta"
    path.write_bytes(COMPRESS[kind](parts_of(gzip.decompress(ecoli.read_bytes()), 16_000)))
    spans = fasta_spans(path, 100_000)
    assert len(spans) == -(-path.stat().st_size // 100_000)
    places = [span.start >> {"plain": 0, "bgzf": 16, "zstd": 32}[kind] for span in spans]
    assert all(85_000 < other - one < 115_000 for one, other in pairwise(places))


@pytest.mark.parametrize("kind", COMPRESS)
@pytest.mark.parametrize(("length", "part"), [(3_000, 700), (300_000, 700), (300_000, 50_020)])
def test_a_record_larger_than_chunks_and_members(kind, length, part, tmp_path):
    path = tmp_path / "x.fasta"
    letters = bytes(random.Random(0).choices(b"ACDEFGHIKLMNPQRSTVWY", k=length))
    text = b">a\nMK\n>b\n%b\n>c\nMK\n" % letters * 3
    path.write_bytes(COMPRESS[kind](parts_of(text, part)))
    spans = fasta_spans(path, 300)
    assert 3 <= len(spans) <= 9
    assert [record for span in spans for record in records_in(path, span)] == records_in(path)


@pytest.mark.parametrize("kind", COMPRESS)
def test_a_large_last_record_is_looked_through_once(kind, tmp_path):
    path = tmp_path / "x.fasta"
    letters = bytes(random.Random(0).choices(b"ACDEFGHIKLMNPQRSTVWY", k=4_000_000))
    path.write_bytes(COMPRESS[kind](parts_of(b">a\nMK\n>b\n" + letters, 9_000)))
    started = time.process_time()
    assert headers_in(path, fasta_spans(path, 1_000)) == ["a", "b"]
    # Looked through from each of thousands of chunks, it takes minutes.
    assert time.process_time() - started < 10


@pytest.mark.parametrize("kind", COMPRESS)
def test_comments_in_front_belong_to_the_first_record_and_cost_no_other_cut(kind, tmp_path):
    path = tmp_path / "x.fasta"
    compressed = COMPRESS[kind]([b"# one\n# two", *[b"\n>a\nMK"] * 9])
    path.write_bytes(compressed)
    num_records = [
        [b"".join(read_span(path, span, 99)).count(b">") for span in fasta_spans(path, chunk)]
        for chunk in range(1, len(compressed))
    ]
    assert num_records[0] == [1] * 9
    assert all(min(numbers) >= 1 for numbers in num_records)
    assert [8, 1] in num_records[len(compressed) // 2 :]


CR_ONLY = b">a\rMK\r>b\rMK" * 9_000
CANNOT_BE_CUT = {
    "gzip": gzip.compress(b">a\nMK\n" * 999),
    "gzip in members": gzip.compress(b">a\nMK\n" * 999) * 9,
    "gzip, then bgzf": gzip.compress(b">a\nMK\n") + blocked([b">a\nMK\n" * 999] * 9),
    "bzip2": bz2.compress(b">a\nMK\n" * 9_999),
    "xz": lzma.compress(b">a\nMK\n" * 9_999),
    "zstd": zstandard.compress(b">a\nMK\n" * 999),
    "zstd in frames": zstandard.compress(b">a\nMK\n" * 999) * 9,
    "seekable, joined": seekable([b">a\nMK\n" * 999] * 9) * 2,
    "seekable, one frame": seekable([b">a\nMK\n" * 999]),
    "CR": CR_ONLY,
    "CR, then LF": CR_ONLY + b"\n>c\nMK\n>d\rMK\r>e\rMK",
    "CR in bgzf": blocked(parts_of(CR_ONLY, 9_000)),
    "CR, then LF in zstd": seekable(parts_of(CR_ONLY + b"\n>c\nMK\n>d\rMK\r>e\rMK" * 999, 9_000)),
    "small": b">a\nMK\n",
    "one record": b">a\nMK\nACD\n",
    "one record in bgzf": blocked([b">a\nMK\nACD\n"] * 1 + [b"MKV\n" * 99] * 99),
    "empty": b"",
    "empty in bgzf": blocked([]),
}


@pytest.mark.parametrize("content", CANNOT_BE_CUT.values(), ids=CANNOT_BE_CUT)
def test_what_cannot_be_cut_is_one_span(tmp_path, content):
    (tmp_path / "x").write_bytes(content)
    assert fasta_spans(tmp_path / "x", 10) == [WHOLE]


def mixed_with_gzip(parts):
    """Blocks of BGZF, then an ordinary member larger than any block, then blocks again."""
    third = len(parts) // 3
    middle = gzip.compress(b"".join(parts[third : 2 * third]))
    return blocked(parts[:third]) + middle + bytes(99) + blocked(parts[2 * third :])


def test_ordinary_members_among_blocks_are_read(tmp_path):
    path = tmp_path / "x.fasta"
    text = many_records(6_000)
    path.write_bytes(mixed_with_gzip(parts_of(text, 20_000)))
    for chunk in (1_000, 20_000, 100_000, 300_000):
        spans = fasta_spans(path, chunk)
        check_tiles(spans)
        assert len(spans) > 2
        assert content_of(path, spans) == text
    assert [record for span in spans for record in records_in(path, span)] == records_in(path)


def test_a_record_that_begins_far_inside_an_ordinary_member_is_no_cut(tmp_path):
    path = tmp_path / "x.fasta"
    letters = bytes(random.Random(0).choices(b"ACDEFGHIKLMNPQRSTVWY", k=400_000))
    text = b">a\n" + letters + b"\n>b\nMK\n>c\nMK\n"
    path.write_bytes(blocked(parts_of(text[:300_000], 9_000)) + gzip.compress(text[300_000:]))
    for chunk in (100, 10_000, 100_000):
        assert fasta_spans(path, chunk) == [WHOLE]
        assert content_of(path, chunk=chunk) == text


def test_bytes_that_only_begin_like_blocks_are_no_cut(tmp_path):
    path = tmp_path / "x.fasta"
    like_blocks = (blocked([])[:18] + b"no deflate") * 9_000
    text = b">a\n" + like_blocks + b"\n" + many_records(999)
    path.write_bytes(blocked([b">first\nMK\n"]) + gzip.compress(text, 0) + blocked(parts_of(many_records(999), 9_000)))
    for chunk in (1_000, 50_000, 100_000):
        assert content_of(path, chunk=chunk) == content_of(path, [WHOLE])
    assert len(fasta_spans(path, 50_000)) > 1


def test_blocks_inside_an_ordinary_member_are_an_error(tmp_path):
    path = tmp_path / "x.fasta"
    inside = blocked(parts_of(many_records(2_000, seed=1), 20_000), level=0)
    path.write_bytes(blocked([b">a\nMK\n"]) + gzip.compress(b">b\n" + inside, 0) + blocked([b">c\nMK\n"] * 99))
    spans = fasta_spans(path, 50_000)
    assert len(spans) > 2
    with pytest.raises(InputFormatError, match="expected a gzip member that starts at compressed byte") as caught:
        list(read_span(path, spans[0], 1_000))
    assert str(path) in caught.value.message
    assert "compress it anew" in caught.value.hint


def test_a_seek_table_that_names_no_frames_is_no_cut(tmp_path):
    path = tmp_path / "x.fasta"
    text = many_records(3_000)
    frames = zstandard.compress(text) * 3
    sizes = [len(frames) // 5] * 5 + [len(frames) % 5]
    table = b"".join(struct.pack("<2I", size, 0) for size in sizes) + struct.pack("<IBI", len(sizes), 0, 0x8F92EAB1)
    path.write_bytes(frames + struct.pack("<II", 0x184D2A5E, len(table)) + table)
    assert fasta_spans(path, 1_000) == [WHOLE]
    assert content_of(path, [WHOLE]) == text * 3


def test_a_frame_that_only_the_seek_table_names_is_an_error(tmp_path):
    path = tmp_path / "x.fasta"
    text = many_records(3_000)
    frames = [zstandard.compress(part) for part in parts_of(text, 50_000)]
    inside = zstandard.compress(b">x\nMK\n>y\nMK\n" * 9)
    skippable = struct.pack("<II", 0x184D2A50, len(inside)) + inside
    sizes = [*map(len, frames[:3]), 8, len(inside), *map(len, frames[3:])]
    table = b"".join(struct.pack("<2I", size, 0) for size in sizes) + struct.pack("<IBI", len(sizes), 0, 0x8F92EAB1)
    table = struct.pack("<II", 0x184D2A5E, len(table)) + table
    path.write_bytes(b"".join([*frames[:3], skippable, *frames[3:], table]))
    assert content_of(path, [WHOLE]) == text
    named = sum(sizes[:4])
    assert content_of(path, chunk=named - 8) == text
    spans = fasta_spans(path, named)
    assert spans[1].start >> 32 == named
    with pytest.raises(InputFormatError, match=f"expected a zstd member that starts at compressed byte {named} and"):
        list(read_span(path, spans[0], 1_000))


@COMPRESSED
@pytest.mark.parametrize("flip", [0x01, 0x10, 0xFF])
def test_damage_is_an_error_wherever_it_is_one_unsplit(kind, flip, tmp_path):
    path = tmp_path / "x.fasta"
    compressed = COMPRESS[kind](parts_of(many_records(6), 300))
    path.write_bytes(compressed)
    spans = fasta_spans(path, 200)
    assert len(spans) > 3
    num_errors = 0
    for position in range(6, len(compressed)):
        damaged = bytearray(compressed)
        damaged[position] ^= flip
        path.write_bytes(damaged)
        whole = content_of(path, [WHOLE])
        for content in (content_of(path, spans), content_of(path, chunk=200)):
            if isinstance(whole, InputFormatError):
                assert isinstance(content, InputFormatError)
                assert str(path) in content.message
                assert "compressed byte" in content.message
                assert content.hint
                num_errors += 1
            else:
                assert content == whole
    assert num_errors > len(compressed)


@COMPRESSED
def test_a_file_cut_anywhere_is_an_error_unless_it_is_complete(kind, tmp_path):
    path = tmp_path / "x.fasta"
    compressed = COMPRESS[kind](parts_of(many_records(6), 300))
    path.write_bytes(compressed)
    spans = fasta_spans(path, 200)
    last_member = spans[-1].start >> {"bgzf": 16, "zstd": 32}[kind]
    for size in range(6, len(compressed)):
        path.write_bytes(compressed[:size])
        whole = content_of(path, [WHOLE])
        content = content_of(path, chunk=200)
        assert content == whole or (isinstance(content, InputFormatError) and isinstance(whole, InputFormatError))
        # Cut between two members after its spans were found, it lacks some of them.
        content = content_of(path, spans)
        assert isinstance(content, InputFormatError) or (content == whole and size > last_member)


@COMPRESSED
def test_errors_name_the_file_the_byte_and_what_to_do(kind, tmp_path):
    path = tmp_path / "x.fasta"
    compressed = COMPRESS[kind](parts_of(many_records(900), 9_000))
    path.write_bytes(compressed)
    name, bits = {"bgzf": ("gzip", 16), "zstd": ("zstd", 32)}[kind]
    span = fasta_spans(path, 50_000)[1]
    member = span.start >> bits
    damaged = bytearray(compressed)
    damaged[member + 9_000 : member + 9_050] = bytes(50)
    path.write_bytes(damaged)
    with pytest.raises(InputFormatError, match="download it again") as caught:
        list(read_span(path, span, 1_000))
    assert caught.value.message.startswith(
        f"{path}: expected valid {name} data in member 2 from compressed byte {member} on, found damage at or after"
    )
    path.write_bytes(compressed[: member + 9_000])
    with pytest.raises(InputFormatError, match="the file is cut short: download it again") as caught:
        list(read_span(path, span, 1_000))
    assert f"the rest of {name} member 2 from compressed byte {member} on, which starts at" in caught.value.message


@COMPRESSED
def test_a_file_that_has_become_shorter_than_its_spans_is_an_error(kind, tmp_path):
    path = tmp_path / "x.fasta"
    compressed = COMPRESS[kind](parts_of(many_records(900), 9_000))
    path.write_bytes(compressed)
    span = fasta_spans(path, 50_000)[1]
    name, bits, compress = {"bgzf": ("gzip", 16, gzip.compress), "zstd": ("zstd", 32, zstandard.compress)}[kind]
    member, offset = divmod(span.start, 1 << bits)
    for rest in (b"", compress(b"M" * (offset - 1)), compress(b"M" * offset)):
        path.write_bytes(compressed[:member] + rest)
        for gone in (span, Span(span.start, None)):
            with pytest.raises(InputFormatError) as caught:
                list(read_span(path, gone, 1_000))
            assert caught.value.message.startswith(
                f"{path}: expected a {name} member that starts at compressed byte {member} and holds its byte {offset},"
            )


@COMPRESSED
def test_cuts_are_found_without_reading_what_is_between(kind, tmp_path):
    path = tmp_path / "x.fasta"
    compressed = bytearray(COMPRESS[kind](parts_of(many_records(40_000), 30_000)))
    path.write_bytes(compressed)
    chunk = len(compressed) // 4
    spans = fasta_spans(path, chunk)
    assert len(spans) in (4, 5)
    for wanted in range(0, 3 * chunk, chunk):
        compressed[wanted + 400_000 : wanted + chunk - 1_000] = bytes(chunk - 401_000)
    path.write_bytes(compressed)
    assert fasta_spans(path, chunk) == spans


def test_records_in_front_of_a_span_are_counted_behind_a_byte_order_mark(tmp_path):
    path = tmp_path / "x.fasta"
    path.write_bytes(b"\xef\xbb\xbf>a\nMK\n>b\nMK\n")
    assert fasta_spans(path, 5) == [Span(0, 9), Span(9, None)]
    assert shift_of(path, Span(9, None)) == (1, 2, 0)
    assert shift_of(path, WHOLE) == (0, 0, 0)
