import io

from hypothesis import given
from hypothesis import strategies as st

from pipeline.formats.block_file import BlockFile


@given(st.lists(st.binary(min_size=1, max_size=20), max_size=8), st.lists(st.integers(1, 30), max_size=20))
def test_reads_what_a_file_with_the_same_content_would(blocks, sizes):
    file, oracle = io.BufferedReader(BlockFile(iter(blocks)), 8), io.BytesIO(b"".join(blocks))
    assert [file.read(size) for size in sizes] == [oracle.read(size) for size in sizes]
    assert file.read() == oracle.read()
    assert file.read(1) == b""


def test_a_short_read_is_what_is_left_of_a_block():
    file = BlockFile(iter([b"abc", b"de"]))
    assert file.readable()
    assert [file.read(2), file.read(2), file.read(9), file.read(9)] == [b"ab", b"c", b"de", b""]
