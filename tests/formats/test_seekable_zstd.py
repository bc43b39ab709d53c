"""The seek table says where frames start, and a table that does not fit its file is none."""

import io
import struct
from itertools import accumulate

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from pipeline.formats.seekable_zstd import frame_starts

# What pyzstd 0.20 makes of two records, in frames of 7 bytes.
PYZSTD = bytes.fromhex(
    "28b52ffd00583900003e610a4d4b560a" "28b52ffd00583900003e620a4143440a"
    "5e2a4d1819000000" "1000000007000000" "1000000007000000" "0200000000b1ea928f"
)  # fmt: skip


def seek_table(sizes, *, checksums=False, flags=0, num_frames=None, frame_size=None):
    entries = b"".join(struct.pack("<3I" if checksums else "<2I", size, 7, *([9] * checksums)) for size in sizes)
    footer = struct.pack("<IBI", len(sizes) if num_frames is None else num_frames, 0x80 * checksums | flags, 0x8F92EAB1)
    size = len(entries) + len(footer) if frame_size is None else frame_size
    return struct.pack("<II", 0x184D2A5E, size) + entries + footer


def found(content, wanted):
    return list(frame_starts(io.BytesIO(content), wanted))


@given(
    sizes=st.lists(st.integers(1, 99), max_size=20),
    checksums=st.booleans(),
    unused=st.integers(0, 3),
    wanted=st.lists(st.integers(0, 2000)),
)
def test_the_next_frame_is_found_from_any_byte(sizes, checksums, unused, wanted):
    content = bytes(sum(sizes)) + seek_table(sizes, checksums=checksums, flags=unused)
    starts = [end - size for end, size in zip(accumulate(sizes), sizes, strict=True)]
    expected = [next((start for start in starts if start >= byte), None) for byte in wanted]
    assert found(content, wanted) == [start for start in expected if start is not None]


def test_what_another_program_writes_is_recognised():
    content = zstandard.ZstdDecompressor().decompressobj(read_across_frames=True).decompress(PYZSTD)
    assert content == b">a\nMKV\n>b\nACD\n"
    assert found(PYZSTD, [0, 1, 16, 17]) == [0, 16, 16]


def test_files_of_more_than_four_gigabytes(tmp_path):
    sizes = [(1 << 32) - 1, (1 << 32) - 2, 5]
    with (tmp_path / "x").open("wb") as file:
        file.truncate(sum(sizes))  # a hole, of which only the end is ever read
        file.seek(sum(sizes))
        file.write(seek_table(sizes))
    with (tmp_path / "x").open("rb") as file:
        assert list(frame_starts(file, [0, 1, 1 << 32, 1 << 33])) == [0, sizes[0], sum(sizes[:2])]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        PYZSTD[:-1],
        PYZSTD + b"\0",
        PYZSTD[1:],
        PYZSTD + PYZSTD,
        PYZSTD[:32],
        PYZSTD[-9:],
        PYZSTD[32:],
        bytes(20) + seek_table([10, 9]),
        bytes(20) + seek_table([10, 10], flags=4),
        bytes(20) + seek_table([10, 10], flags=64),
        bytes(20) + seek_table([10, 10], num_frames=3),
        bytes(20) + seek_table([10, 10], num_frames=0xFFFFFFFF),
        bytes(20) + seek_table([10, 10], frame_size=24),
        bytes(20) + b"\x5d" + seek_table([10, 10])[1:],
        bytes(20) + seek_table([10, 10])[:-1] + b"\x8e",
    ],
)
def test_a_table_that_does_not_fit_is_none(content):
    assert found(content, range(99)) == []
