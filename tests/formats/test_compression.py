"""What is read is the whole content or an error, for every format, in bounded memory."""

import bz2
import gzip
import lzma
import os
import random
import threading
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import ConfigurationError, InputFormatError
from pipeline.formats.compression import detect_compression, read_blocks, read_members

COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": lambda content: gzip.compress(content, mtime=0),
    "zstd": lambda content: zstandard.ZstdCompressor(write_checksum=True).compress(content),
    "bzip2": bz2.compress,
    "xz": lzma.compress,
}
KINDS = pytest.mark.parametrize("kind", COMPRESS)
MAGIC_BYTES = {"gzip": 3, "zstd": 4, "bzip2": 4, "xz": 6}
CONTENT = b">first\nMKVACDEFGHIKLMNPQRSTVWY\n>second\nMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMM\n"
SKIPPABLE_FRAME = b"\x5a\x2a\x4d\x18\x05\x00\x00\x00hello"


@pytest.fixture(scope="module")
def path(tmp_path_factory) -> Path:
    """One file that every example overwrites."""
    return tmp_path_factory.mktemp("compression") / "content.fasta"


def read(path: Path, compressed: bytes, block_bytes: int = 1000) -> bytes:
    path.write_bytes(compressed)
    return b"".join(read_blocks(path, block_bytes=block_bytes))


@settings(deadline=None)
@given(st.lists(st.binary(max_size=40), max_size=4), st.sampled_from(["none", *COMPRESS]), st.integers(1, 50))
def test_blocks_join_to_the_content_whatever_the_members_and_the_block_size(path, members, kind, block_bytes):
    content = b"".join(members)
    path.write_bytes(content if kind == "none" else b"".join(map(COMPRESS[kind], members)))
    if kind == "none" and detect_compression(content) != "none":
        return
    blocks = list(read_blocks(path, block_bytes=block_bytes))
    assert b"".join(blocks) == content
    assert [len(block) for block in blocks[:-1]] == [block_bytes] * (len(blocks) - 1)
    assert all(0 < len(block) <= block_bytes for block in blocks)


@KINDS
@pytest.mark.parametrize("block_bytes", [1000, 1 << 20])
def test_members_longer_than_every_buffer(path, kind, block_bytes):
    content = random.Random(0).randbytes((1 << 20) + 5000)
    compress = (lambda text: lzma.compress(text, preset=0)) if kind == "xz" else COMPRESS[kind]
    expected = content + content[:2000]
    assert read(path, compress(content) + compress(b"") + compress(content[:2000]), block_bytes) == expected


@pytest.mark.parametrize("size", [0, 1, 5, 6, 7, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, 5 << 20])
def test_plain_files_of_every_size_come_in_equal_blocks(path, size):
    content = random.Random(size).randbytes(size)
    path.write_bytes(content)
    for block_bytes in (700_000, 1 << 20, 2 << 20):
        blocks = list(read_blocks(path, block_bytes=block_bytes))
        assert b"".join(blocks) == content
        assert {len(block) for block in blocks[:-1]} <= {block_bytes}


@KINDS
def test_content_is_recognised_and_names_are_not(path, kind):
    assert detect_compression(COMPRESS[kind](CONTENT)) == kind
    assert detect_compression(COMPRESS[kind](b"")) == kind
    assert detect_compression(COMPRESS[kind](CONTENT)[1:]) == "none"
    named = path.with_name("content.xz")
    assert read(named, COMPRESS[kind](CONTENT)) == CONTENT


@pytest.mark.parametrize("head", [b"", b">", b">sp|P1", b"\x1f", b"BZhX91", b"BZh0", b"PK\x03\x04", b"\x28\xb5\x2f"])
def test_other_heads_are_plain(head):
    assert detect_compression(head) == "none"


@KINDS
def test_a_file_cut_anywhere_is_an_error_unless_it_is_complete(path, kind):
    members = [CONTENT, b"", CONTENT[::-1] * 3]
    compressed = b""
    complete = {0: b""}
    for member in members:
        compressed += COMPRESS[kind](member)
        complete[len(compressed)] = complete[max(complete)] + member
    for cut in range(MAGIC_BYTES[kind], len(compressed) + 1):
        if cut in complete:
            assert read(path, compressed[:cut]) == complete[cut]
            continue
        with pytest.raises(InputFormatError, match="cut short") as caught:
            read(path, compressed[:cut])
        start = max(end for end in complete if end < cut)
        assert f"{kind} member {list(complete).index(start) + 1}," in caught.value.message
        assert f"starts at compressed byte {start}" in caught.value.message
        assert caught.value.message.endswith(f"end of the file at byte {cut}")
        assert str(path) in caught.value.message


@KINDS
@pytest.mark.parametrize("flip", [0x01, 0x10, 0x80, 0xFF])
def test_a_damaged_byte_is_an_error_unless_it_means_nothing(path, kind, flip):
    compressed = COMPRESS[kind](CONTENT) + COMPRESS[kind](CONTENT[::-1])
    num_errors = 0
    for position in range(MAGIC_BYTES[kind], len(compressed)):
        damaged = bytearray(compressed)
        damaged[position] ^= flip
        try:
            content = read(path, bytes(damaged))
        except InputFormatError:
            num_errors += 1
        else:
            assert content == CONTENT + CONTENT[::-1]
    assert num_errors >= len(compressed) * 0.75


@KINDS
def test_a_wrong_checksum_names_the_member(path, kind):
    damaged = bytearray(COMPRESS[kind](CONTENT) * 2)
    damaged[len(damaged) // 2 + 40] ^= 0x40
    with pytest.raises(InputFormatError, match=f"valid {kind} data in member 2, found damage"):
        read(path, bytes(damaged))


@KINDS
@pytest.mark.parametrize("garbage", [b"\n", b"garbage", b">first\nMKV\n" * 500, b"\0\0\0\0garbage"])
def test_bytes_behind_the_last_member_are_an_error(path, kind, garbage):
    compressed = COMPRESS[kind](CONTENT)
    with pytest.raises(InputFormatError, match=f"expected another {kind} member or the end of the file") as caught:
        read(path, compressed + garbage)
    offset = len(compressed)
    if garbage.startswith(b"\0") and kind in ("gzip", "xz"):
        offset += 4
    assert f"compressed byte {offset}, found" in caught.value.message


@KINDS
@pytest.mark.parametrize("num_zeros", [1, 4, 512, 10_000])
def test_zero_padding_where_the_format_allows_it(path, kind, num_zeros):
    compressed = COMPRESS[kind](CONTENT)
    legal = kind == "gzip" or (kind == "xz" and num_zeros % 4 == 0)
    for rest, content in ((b"", CONTENT), (compressed, CONTENT * 2)):
        if legal:
            assert read(path, compressed + bytes(num_zeros) + rest) == content
        else:
            with pytest.raises(InputFormatError, match=f"compressed byte {len(compressed)}, found"):
                read(path, compressed + bytes(num_zeros) + rest)


def test_skippable_zstd_frames_anywhere(path):
    frame = COMPRESS["zstd"](CONTENT)
    assert detect_compression(SKIPPABLE_FRAME) == "zstd"
    assert read(path, SKIPPABLE_FRAME + frame + SKIPPABLE_FRAME * 2 + frame + SKIPPABLE_FRAME) == CONTENT * 2
    assert read(path, SKIPPABLE_FRAME) == b""
    for cut in range(len(frame) + 1, len(frame) + len(SKIPPABLE_FRAME)):
        with pytest.raises(InputFormatError, match="zstd member 2, which starts"):
            read(path, (frame + SKIPPABLE_FRAME)[:cut])


def test_a_zstd_window_that_is_too_large_says_what_to_do(path):
    # Magic, no flags, a window of 2 GiB, and one empty last block.
    with pytest.raises(InputFormatError) as caught:
        read(path, b"\x28\xb5\x2f\xfd\x00\xa8\x01\x00\x00")
    assert "zstd -d --long=31" in str(caught.value)


@pytest.mark.parametrize(("size", "num_members"), [(65_280, 2_000), (20, 20_000)])
@pytest.mark.parametrize("kind", ["gzip", "zstd"])
def test_many_small_members_take_linear_time(path, kind, size, num_members):
    member = random.Random(0).choices(b"ACDEFGHIKLMNPQRSTVWY\n", k=size)
    path.write_bytes(COMPRESS[kind](bytes(member)) * num_members)
    started = time.perf_counter()
    assert sum(map(len, read_blocks(path))) == size * num_members
    # Under a second here; copying the rest of each 1 MiB read once a member takes minutes.
    assert time.perf_counter() - started < 15


@pytest.mark.parametrize(("kind", "limit"), [("gzip", 8), ("bzip2", 8), ("xz", 8), ("zstd", 72)])
def test_content_that_compresses_to_nothing_does_not_fill_memory(path, kind, limit):
    compressor = {
        "gzip": lambda: gzip.zlib.compressobj(wbits=31, level=1),
        "bzip2": bz2.BZ2Compressor,
        "xz": lambda: lzma.LZMACompressor(preset=0),
        "zstd": lambda: zstandard.ZstdCompressor().compressobj(),
    }[kind]()
    with path.open("wb") as file:
        for _ in range(24):
            file.write(compressor.compress(bytes(4 << 20)))
        file.write(compressor.flush())
    assert path.stat().st_size < 2 << 20
    tracemalloc.start()
    try:
        total = sum(map(len, read_blocks(path, block_bytes=1 << 20)))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert total == 96 << 20
    assert peak < limit << 20


@KINDS
def test_a_pipe_reads_like_a_file(tmp_path, kind):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_bytes, args=(COMPRESS[kind](CONTENT) * 3,))
    writer.start()
    assert b"".join(read_blocks(pipe, block_bytes=7)) == CONTENT * 3
    writer.join()


def test_a_path_that_cannot_be_read_is_named(tmp_path, monkeypatch):
    with pytest.raises(ConfigurationError, match="found: No such file") as caught:
        list(read_blocks(tmp_path / "missing.fasta"))
    assert caught.value.message.startswith(f"{tmp_path / 'missing.fasta'}: expected a file that can be read")
    with pytest.raises(ConfigurationError, match="found: Is a directory") as caught:
        list(read_blocks(tmp_path))
    assert str(tmp_path) in caught.value.message

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(ConfigurationError, match="found: Permission denied"):
        list(read_blocks(tmp_path / "locked.fasta"))


def test_a_file_that_stops_being_readable_is_named(path, monkeypatch):
    class Failing:
        def __enter__(self):
            return self

        def __exit__(self, *_: object) -> None:
            pass

        def read(self, _: int) -> bytes:
            raise OSError(5, "Input/output error")

    monkeypatch.setattr(Path, "open", lambda *_: Failing())
    with pytest.raises(ConfigurationError, match="found: Input/output error"):
        list(read_blocks(path))


@KINDS
def test_members_can_be_read_from_each_of_them_on(path, kind):
    contents = [random.Random(size).randbytes(size) for size in (7, 3_000_000, 0, 90_000)]
    members = [COMPRESS[kind](content) for content in contents]
    path.write_bytes(b"".join(members))
    starts = [sum(map(len, members[:number])) for number in range(len(members))]
    for number, start in enumerate(starts):
        read = dict.fromkeys(starts[number:], b"")
        for member, offset, content in read_members(path, kind, start):
            assert offset == len(read[member])
            assert content
            read[member] += content
        assert list(read.values()) == contents[number:]
    assert list(read_members(path, kind, path.stat().st_size)) == []


@KINDS
def test_errors_behind_a_member_say_from_where_members_are_counted(path, kind):
    member = COMPRESS[kind](CONTENT)
    start = len(member)
    path.write_bytes(member * 2 + member[:-1])
    with pytest.raises(InputFormatError, match="cut short") as caught:
        list(read_members(path, kind, start))
    assert f"{kind} member 2 from compressed byte {start} on, which starts at compressed byte {2 * start}," in str(
        caught.value
    )
    with pytest.raises(InputFormatError, match=f"another {kind} member or the end of the file at compressed byte 20,"):
        list(read_members(path, kind, 20))
