"""Blocks are found where Biopython says they start, and bytes that only look like one are not taken for one."""

import gzip
import io
import random
import time

import pytest
from Bio import bgzf
from hypothesis import given
from hypothesis import strategies as st

from pipeline.formats.block_compression import block_starts, lacks_end_marker

# What bgzip of htslib 1.24 makes of two records.
BGZIP = bytes.fromhex(
    "1f8b08040000000000ff0600424302002900b34be4f2f50ee3b24be2727476e10200e308ceb10e000000"
    "1f8b08040000000000ff0600424302001b0003000000000000000000"
)
END_MARKER = BGZIP[-28:]


def blocked(parts, level=6):
    """BGZF with a block for each part."""
    file = io.BytesIO()
    writer = bgzf.BgzfWriter(fileobj=file, compresslevel=level)
    for part in parts:
        writer.write(part)
        writer.flush()
    return file.getvalue() + END_MARKER


def starts_of(content):
    return [start for start, *_ in bgzf.BgzfBlocks(io.BytesIO(content))]


def found(content, wanted):
    return list(block_starts(io.BytesIO(content), wanted))


@given(sizes=st.lists(st.integers(0, 60_000), max_size=30), seed=st.integers(0, 9), level=st.sampled_from([0, 1, 6]))
def test_the_next_block_is_found_from_any_byte(sizes, seed, level):
    rng = random.Random(seed)
    content = blocked([rng.randbytes(size) for size in sizes], level)
    starts = starts_of(content)
    wanted = sorted({0, len(content) - 28, *(rng.randrange(len(content)) for _ in range(20))})
    expected = [next((start for start in starts if start >= byte), None) for byte in wanted]
    assert found(content, wanted) == [start for start in expected if start is not None]
    assert found(content, starts) == starts
    assert found(content, [len(content) - 27, len(content), len(content) + 9]) == []


def test_what_bgzip_writes_is_recognised():
    assert gzip.decompress(BGZIP) == b">a\nMKV\n>b\nACD\n"
    assert found(BGZIP, [0, 1, 42]) == [0, 42, 42]


def test_the_longest_block_is_passed():
    header, rest = END_MARKER[:16], random.Random(0).randbytes(65_518)
    content = header + b"\xff\xff" + rest + END_MARKER
    assert found(content, [0, 1, 2, 65_535]) == [0, 65_536, 65_536, 65_536]


def test_other_fields_in_the_header_are_passed():
    first, rest = BGZIP[:42], BGZIP[42:]
    for fields in (b"XY\x03\x00abc%b", b"%bXY\x00\x00", b"BC\x01\x00a%b", b"BD\x02\x00zz%b"):
        extra = fields % (b"BC\x02\x00" + (42 + len(fields) - 3).to_bytes(2, "little"))
        block = first[:10] + len(extra).to_bytes(2, "little") + extra + first[18:]
        block = block.replace(
            b"BC\x02\x00" + (42 + len(fields) - 3).to_bytes(2, "little"),
            b"BC\x02\x00" + (len(block) - 1).to_bytes(2, "little"),
        )
        assert gzip.decompress(block) == gzip.decompress(first)
        assert found(block + block + rest, [0, 1, len(block) + 1]) == [0, len(block), 2 * len(block)]


@pytest.mark.parametrize("nested", [BGZIP, BGZIP * 200, END_MARKER, BGZIP[:18], blocked([b"x" * 60_000], 0)])
def test_blocks_inside_a_block_are_not_taken_for_blocks(nested):
    parts = [random.Random(0).randbytes(20_000), b"in front" + nested + b"behind", b"MKV" * 9_000, b"ACD" * 20_000]
    content = blocked(parts, level=0)
    starts = starts_of(content)
    inside = content.index(nested)
    wanted = range(inside - 500, inside + len(nested), 97)
    assert found(content, wanted) == [next(start for start in starts if start >= byte) for byte in wanted]


def test_damaged_headers_and_other_members_are_left_out():
    blocks = blocked([random.Random(0).randbytes(30_000)] * 9)
    starts = starts_of(blocks)
    damaged = bytearray(blocks)
    damaged[starts[5]] ^= 1
    wanted = [starts[1], starts[3] + 1, starts[6], starts[7] + 1]
    # The row that begins at block 1 goes on for 64 KiB; the one at block 4 does not, and block 6 is too far away.
    assert found(bytes(damaged), wanted) == [starts[1], starts[6], starts[8]]
    assert found(blocks[:-40], [starts[2], starts[7]]) == [starts[2]]
    mixed = blocks + gzip.compress(random.Random(0).randbytes(300_000))
    assert found(mixed, [starts[2], len(blocks), len(blocks) + 100_000]) == [starts[2]]


@pytest.mark.parametrize(
    "content", [b"", b">a\nMK\n" * 99, gzip.compress(b">a\nMK\n", mtime=0) + BGZIP, BGZIP[:17], b"\x1f\x8b"]
)
def test_what_does_not_begin_with_a_block_has_none(content, tmp_path):
    assert found(content, range(99)) == []
    (tmp_path / "x").write_bytes(content)
    assert not lacks_end_marker(tmp_path / "x")


def test_a_missing_end_marker_is_seen(tmp_path):
    path = tmp_path / "x.gz"
    for content, lacks in ((BGZIP, False), (BGZIP * 2, False), (END_MARKER, False), (BGZIP[:42], True)):
        path.write_bytes(content)
        assert lacks_end_marker(path) is lacks
    path.write_bytes(blocked([b"MKV" * 9_000] * 3)[:-28])
    assert lacks_end_marker(path)
    for content in (BGZIP[:-1], BGZIP + b"\0", BGZIP[:46] + b"\1" + BGZIP[47:]):
        path.write_bytes(content)
        assert lacks_end_marker(path)


def test_little_is_read():
    class Counting(io.BytesIO):
        num_bytes = 0

        def read(self, size=-1):
            block = super().read(size)
            Counting.num_bytes += len(block)
            return block

    content = blocked([random.Random(0).randbytes(60_000)] * 300)
    assert len(list(block_starts(Counting(content), [5_000_000, 10_000_000, 15_000_000]))) == 3
    assert Counting.num_bytes <= 4 * 256 << 10


def test_rows_that_break_are_followed_once():
    rows = BGZIP * 900
    content = blocked([b"x" * 9], 0)[:-28] + rows + b"no block"
    started = time.process_time()
    assert found(content, [len(content) - len(rows) - 8 + byte for byte in range(0, 28_000, 70)]) == []
    # Each tried by itself from each of 900 starts, they take a minute.
    assert time.process_time() - started < 10
