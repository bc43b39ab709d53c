"""Archives are walked as they stream: every file, nested ones too; hostile and damaged ones do no harm."""

import bz2
import gzip
import io
import lzma
import os
import tarfile
import threading
import tracemalloc
from contextlib import suppress
from pathlib import Path

import pytest
import zstandard
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipeline.errors import ConfigurationError, InputFormatError
from pipeline.formats.archives import MOST_LEVELS, first_names, is_archive, members, piped
from pipeline.formats.compression import read_blocks

CONTENTS = {"README": b"read me\n", "docs/a.fasta": b">a\nMKV\n" * 1000, "empty": b"", "b.dat": os.urandom(1_500_000)}
COMPRESS = {
    "none": lambda content: content,
    "gzip": gzip.compress,
    "zstd": zstandard.ZstdCompressor().compress,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
}


def special(name, kind, target=""):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def archive(files, tar_format=tarfile.GNU_FORMAT):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tar_format) as tar:
        for name, content in files.items():
            if isinstance(content, tarfile.TarInfo):
                tar.addfile(content)
            else:
                info = tarfile.TarInfo(name)
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A file that every example overwrites."""
    return tmp_path_factory.mktemp("archives")


@pytest.fixture(scope="module")
def walk(folder):
    def read_all(content):
        path = folder / "x.tar"
        path.write_bytes(content)
        found = members(path)
        return {member.name: None if member.content is None else b"".join(member.content) for member in found}

    return read_all


@pytest.mark.parametrize("compression", COMPRESS)
@pytest.mark.parametrize("tar_format", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT, tarfile.USTAR_FORMAT])
def test_files_come_in_order_with_their_content(walk, compression, tar_format):
    found = walk(COMPRESS[compression](archive(CONTENTS, tar_format)))
    assert found == CONTENTS
    assert list(found) == list(CONTENTS)


@pytest.mark.parametrize("compression", COMPRESS)
def test_heads_are_decompressed(folder, compression):
    (folder / "x.tar").write_bytes(archive({"a": COMPRESS[compression](CONTENTS["docs/a.fasta"])}))
    (member,) = members(folder / "x.tar")
    assert member.head == CONTENTS["docs/a.fasta"]
    assert b"".join(member.content) == COMPRESS[compression](CONTENTS["docs/a.fasta"])


def test_a_head_is_bounded_and_damage_is_none(folder):
    bomb = gzip.compress(bytes(100 << 20))
    damaged = gzip.compress(b">a\nMKV\n")[:10] + b"\xff" * 100
    (folder / "x.tar").write_bytes(archive({"bomb": bomb, "damaged": damaged, "bomb.zst": _zeros()}))
    heads = {member.name: member.head for member in members(folder / "x.tar")}
    assert len(heads["bomb"]) == len(heads["bomb.zst"]) == 1 << 20
    assert heads["damaged"] is None


def _zeros():
    return zstandard.ZstdCompressor().compress(bytes(100 << 20))


@pytest.mark.parametrize("compression", COMPRESS)
@pytest.mark.parametrize("number", [0, 1, 2])
def test_a_content_may_be_passed_or_left(folder, compression, number):
    (folder / "x.tar").write_bytes(COMPRESS[compression](archive(CONTENTS)))
    names = []
    for member in members(folder / "x.tar"):
        names.append(member.name)
        for _ in range(number):
            next(member.content, b"")
    assert names == list(CONTENTS)


@pytest.mark.parametrize("inner", COMPRESS)
def test_archives_in_archives_are_gone_into(walk, inner):
    nested = COMPRESS[inner](archive(CONTENTS))
    found = walk(gzip.compress(archive({"first": b"1", "u/nested.tar": nested, "last": b"2"})))
    assert found == {"first": b"1"} | {f"u/nested.tar/{name}": data for name, data in CONTENTS.items()} | {"last": b"2"}


def test_an_archive_in_itself_ends(walk):
    content = archive({"a": b"1"})
    for _ in range(10):
        content = archive({"self.tar": content})
    (name,) = walk(content)
    assert name == "/".join(["self.tar"] * MOST_LEVELS)


def test_links_devices_and_folders(walk, tmp_path, monkeypatch):
    """Nothing is opened, followed or written, whatever it is called."""
    monkeypatch.chdir(tmp_path)
    secret = tmp_path / "secret"
    secret.write_text(">secret\nMKV\n")
    found = walk(archive({
        "folder": special("folder", tarfile.DIRTYPE),
        "a": special("link", tarfile.SYMTYPE, str(secret)),
        "b": special("hard", tarfile.LNKTYPE, str(secret)),
        "c": special("fifo", tarfile.FIFOTYPE),
        "d": special("device", tarfile.CHRTYPE),
        "../../etc/passwd": b"x",
        str(tmp_path / "written"): b"y",
        "\x1b[31mred\n": b"z",
    }))  # fmt: skip
    assert found == {
        "link": None,
        "hard": None,
        "fifo": None,
        "device": None,
        "../../etc/passwd": b"x",
        str(tmp_path / "written"): b"y",
        "\\x1b[31mred\\n": b"z",
    }
    assert sorted(tmp_path.rglob("*")) == [secret]


def test_the_base_name_is_without_folders(folder):
    (folder / "x.tar").write_bytes(archive({"a/../b/c.xml.gz": b"", "d": b""}))
    assert [member.base_name for member in members(folder / "x.tar")] == ["c.xml.gz", "d"]


def sparse(size, data):
    """A file of 512 stored bytes, as GNU tar's --sparse writes it, and a hole."""
    info = tarfile.TarInfo("sparse.fasta")
    info.type, info.size = tarfile.GNUTYPE_SPARSE, len(data)
    header = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    header[386:410] = b"00000000000\0" + b"%011o\0" % len(data)
    header[483:495] = b"%011o\0" % size
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header) + data + archive({})


def test_holes_are_told(folder):
    (folder / "x.tar").write_bytes(sparse(1 << 32, b">a\n".ljust(512, b"M")))
    (member,) = members(folder / "x.tar")
    assert member.is_sparse
    assert len(member.head) == 1 << 20


def test_two_archives_end_to_end(walk):
    assert walk(archive({"a": b"1"}) + archive({"b": b"2"})) == {"a": b"1", "b": b"2"}


@pytest.mark.parametrize("content", [archive({}), bytes(10240)])
def test_an_archive_of_nothing(walk, content):
    assert walk(content) == {}


TAR = archive({"README": b"read me", "a.fasta": b">a\nMKV\n" * 300, "n.tar": archive({"b.fasta": b">b\nMK\n" * 200})})
END = len(TAR.rstrip(b"\0")) // 512 * 512 + 512


@given(st.integers(0, END) | st.integers(0, END // 512).map(lambda block: 512 * block))
@settings(max_examples=80)
def test_an_archive_cut_anywhere_is_an_error(walk, cut):
    with pytest.raises(InputFormatError, match=r"cut short|damage"):
        walk(TAR[:cut])


@given(st.data())
@settings(max_examples=40)
def test_a_compressed_archive_cut_anywhere_is_an_error(walk, data):
    content = gzip.compress(archive({"n.tar.gz": gzip.compress(TAR)}))
    cut = data.draw(st.integers(0, len(content) - 1))
    with pytest.raises(InputFormatError, match=r"x.tar: "):
        walk(content[:cut])


def test_damage_in_a_nested_archive_is_told_with_both_names(walk):
    nested = bytearray(gzip.compress(archive(CONTENTS), mtime=0))
    nested[len(nested) // 2] ^= 0xFF
    with pytest.raises(InputFormatError, match=r"x.tar: u/n.tar.gz: expected valid gzip data"):
        walk(archive({"u/n.tar.gz": bytes(nested)}))
    with pytest.raises(InputFormatError, match=r"x.tar: n.tar: expected a tar archive, found damage behind byte 1536"):
        walk(archive({"n.tar": archive({"a": b"1", "b": b"2" * 2000})[:2000]}))


def header_of(**fields):
    info = tarfile.TarInfo("a")
    for name, value in fields.items():
        setattr(info, name, value)
    return info.tobuf(tarfile.GNU_FORMAT)


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK])
def test_a_header_that_would_fill_the_memory_is_refused(walk, kind):
    with pytest.raises(InputFormatError, match="a header that says 8589934592 bytes"):
        walk(header_of(type=kind, size=8 << 30) + bytes(4096))


def test_a_size_below_zero_is_refused(walk):
    with pytest.raises(InputFormatError, match="a header that says -1024 bytes"):
        walk(archive({"a": b"1"})[:1024] + header_of(size=-1024) + bytes(10240))


def repaired(content):
    """With the checksum of every header made right: what is wrong is left to be found."""
    content = bytearray(content)
    for start in range(0, len(content) - 511, 512):
        if content[start + 257 : start + 262] == b"ustar":
            content[start + 148 : start + 156] = b" " * 8
            content[start + 148 : start + 156] = b"%06o\0 " % sum(content[start : start + 512])
    return bytes(content)


def with_extended_headers():
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name in ("a", "n" * 150 + "é"):
            info = tarfile.TarInfo(name)
            info.size = 700
            sparse = {"major": "1", "minor": "0", "name": "zz", "realsize": "99"}
            info.pax_headers = {f"GNU.sparse.{key}": value for key, value in sparse.items() if name == "a"}
            tar.addfile(info, io.BytesIO(b"1\n0\n700\n".ljust(700, b"x")))
    return buffer.getvalue()


EXTENDED = with_extended_headers()


def test_a_map_of_holes_that_is_none(walk):
    with pytest.raises(InputFormatError, match="expected a tar archive, found damage behind byte 0 of it"):
        walk(EXTENDED.replace(b"1\n0\n700\n", b"one hole"))


@given(
    st.lists(
        st.tuples(
            st.integers(0, len(EXTENDED) // 512 - 1), st.integers(0, 511), st.sampled_from(b"0189 =\nxgLKS\0\x80\xff")
        ),
        min_size=1,
        max_size=4,
    )
)
@example([(0, 124, 128)])
@settings(max_examples=300)
def test_a_hostile_header_is_an_error_of_the_archive_or_none(walk, changes):
    content = bytearray(EXTENDED)
    for block, place, character in changes:
        content[512 * block + place] = character
    first_names(repaired(content))
    with suppress(InputFormatError):
        walk(repaired(content))


def test_a_damaged_header(walk):
    content = bytearray(TAR)
    content[content.index(b"a.fasta") + 3] ^= 1
    with pytest.raises(
        InputFormatError, match=r"expected a tar archive, found damage behind byte \d+ of it: .*checksum"
    ):
        walk(bytes(content))


def test_archives_are_told_and_their_first_names(folder):
    content = archive({"long/" + "n" * 200: b"1", "b": bytes(3000), "c": b""})
    assert is_archive(content)
    assert not is_archive(b">a\nMKV\n" * 100)
    assert first_names(content) == ["long/" + "n" * 200, "b", "c"]
    assert first_names(content[:3000]) == ["long/" + "n" * 200, "b"]
    assert first_names(b"\0" * 1024) == first_names(b"x" * 1024) == []


class TestPiped:
    def test_a_content_reaches_a_reader_of_paths(self, folder):
        with piped(iter([b"abc", b"", CONTENTS["b.dat"]]), "label") as pipe:
            assert b"".join(read_blocks(pipe)) == b"abc" + CONTENTS["b.dat"]

    def test_a_reader_may_leave_before_the_end(self):
        threads = threading.active_count()
        with piped(iter([bytes(1 << 20)] * 10), "label") as pipe:
            next(read_blocks(pipe))
        with piped(iter([bytes(1 << 20)] * 10), "label"):
            pass
        assert threading.active_count() == threads

    def test_what_the_content_raises_is_raised(self):
        def broken():
            yield b">a\n"
            raise InputFormatError("the cause")

        with pytest.raises(InputFormatError, match="the cause"), piped(broken(), "label") as pipe:
            b"".join(read_blocks(pipe))
        with pytest.raises(InputFormatError, match="the cause"), piped(broken(), "label") as pipe:
            self.fail_at_the_end_of(pipe)

    def fail_at_the_end_of(self, pipe):
        b"".join(read_blocks(pipe))
        raise InputFormatError(f"{pipe}: expected the rest")

    def test_errors_have_the_label_in_place_of_the_pipe(self):
        with pytest.raises(InputFormatError) as caught, piped(iter([gzip.compress(b"a" * 99)[:-4]]), "label") as pipe:
            b"".join(read_blocks(pipe))
        assert caught.value.message.startswith("label: expected the rest of gzip member 1")
        assert caught.value.hint.startswith("the file is cut short")
        with pytest.raises(InputFormatError, match=r"^another: "), piped(iter([]), "label"):
            raise InputFormatError("another: error")

    def test_no_pipe_is_left_open(self):
        before = len(list(Path("/dev/fd").iterdir()))
        for _ in range(20):
            with piped(iter([b"abc"]), "label") as pipe:
                b"".join(read_blocks(pipe))
        assert len(list(Path("/dev/fd").iterdir())) == before


def test_a_path_that_is_not_there(folder):
    with pytest.raises(ConfigurationError, match="No such file"):
        next(members(folder / "none"))


@pytest.mark.slow
def test_memory_does_not_grow_with_the_number_of_files(folder):
    def peak(number):
        path = folder / "many.tar"
        path.write_bytes(archive({f"{index}": b"" for index in range(number)}))
        tracemalloc.start()
        try:
            assert sum(1 for _ in members(path)) == number
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(10)
    assert peak(8_000) < peak(4_000) + (1 << 20)


def test_memory_does_not_grow_with_the_archive(folder):
    def peak(size):
        path = folder / "large.tar"
        path.write_bytes(archive({"n.tar": archive({"a": bytes(size)}), "b": b""}))
        tracemalloc.start()
        try:
            names = [member.name for member in members(path)]
            for member in members(path):
                assert sum(map(len, member.content)) in {0, size}
            return tracemalloc.get_traced_memory()[1], names
        finally:
            tracemalloc.stop()

    peak(1)
    (small, names), (large, _) = peak(50 << 20), peak(100 << 20)
    assert names == ["n.tar/a", "b"]
    assert large < 1.1 * small
