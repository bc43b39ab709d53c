"""Databases of HH-suite, as two files and in archives: round trips, hostile names, damage, memory."""

import bz2
import gzip
import io
import os
import random
import tarfile
import threading
import tracemalloc
from pathlib import Path

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import ConfigurationError, InputFormatError
from pipeline.formats import records
from pipeline.formats.alignment import Insertions
from pipeline.formats.ffindex import read_archive, read_ffindex
from pipeline.formats.problems import OnError, Problems

ENTRIES = {
    "cl-10": ">cl-10_consensus\nMKVA\n>SRR1_1 \nMkV-A\n>SRR1_2 \n-KVA\n",
    "cl-2": "#cl-2\n>ss_pred\nCC\n>tr|A0A161UNY6|X a protein OX=9\nMK\n",
    "cl-3": "",
    "cl-4": ">last\nMKVAC",
}
ACCESSIONS = ["SRR1_1", "SRR1_2", "A0A161UNY6", "last"]
RESIDUES = ["MKVA", "KVA", "MK", "MKVAC"]
SKIPPED = {"consensus": 1, "pseudo-record": 1, "empty-entry": 1}


def database(entries: dict[str, str], order: list[str] | None = None) -> tuple[bytes, bytes]:
    """Data and index; the index sorted by name, the data in the order given."""
    data, index = b"", {}
    for name in order or list(entries):
        text = entries[name].encode() + b"\0"
        index[name] = (len(data), len(text))
        data += text
    lines = [f"{name}\t{offset}\t{length}\n" for name, (offset, length) in sorted(index.items())]
    return data, "".join(lines).encode()


def archive(files: dict[str, bytes | tarfile.TarInfo], tar_format: int = tarfile.GNU_FORMAT) -> bytes:
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


DATA, INDEX = database(ENTRIES)
MEMBERS = {
    "bfd/": tarfile.TarInfo("bfd"),
    "bfd/x_cs219.ffdata": b"binary\0\xff",
    "bfd/x_cs219.ffindex": b"a\t0\t8\n",
    "bfd/x_a3m.ffindex": INDEX,
    "bfd/x_hhm.ffdata": b"HHsearch 1.5\nNAME x\n//\n\0",
    "bfd/x_a3m.ffdata": DATA,
}
MEMBERS["bfd/"].type = tarfile.DIRTYPE


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Files that every example overwrites."""
    return tmp_path_factory.mktemp("ffindex")


def write_pair(folder: Path, data: bytes, index: bytes | None) -> Path:
    (folder / "x_a3m.ffdata").write_bytes(data)
    (folder / "x_a3m.ffindex").unlink(missing_ok=True)
    if index is not None:
        (folder / "x_a3m.ffindex").write_bytes(index)
    return folder / "x_a3m.ffdata"


def read_tar(gather, folder, content, **options):
    (folder / "x.tar").write_bytes(content)
    return gather(read_archive(folder / "x.tar", **options))


def expected(read):
    assert read.accessions == ACCESSIONS
    assert read.residues == RESIDUES
    assert read.skipped == SKIPPED
    assert read.num_comment_lines == 1


def test_a_pair_is_read_by_either_name(gather, folder):
    data = write_pair(folder, DATA, INDEX)
    by_data, by_index = gather(read_ffindex(data)), gather(read_ffindex(data.with_suffix(".ffindex")))
    expected(by_data)
    assert by_data == by_index
    assert by_data.places[0] == "entry 1, line 3 (byte 22 of the data)"
    for place, accession in zip(by_data.places, ["SRR1_1", "SRR1_2", "tr|A0", "last"], strict=True):
        byte = int(place.split("byte ")[1].split()[0])
        assert DATA[byte:].startswith(b">" + accession.encode())


def test_data_without_an_index(gather, folder):
    expected(gather(read_ffindex(write_pair(folder, DATA, None))))


def test_insertions_and_source(gather, folder):
    read = gather(read_ffindex(write_pair(folder, DATA, INDEX), insertions=Insertions.REMOVE, source="bfd"))
    assert read.residues[0] == "MVA"
    assert {row["source"] for row in read.columns} == {"bfd"}


def test_compressed_files(gather, folder):
    (folder / "y_a3m.ffdata.gz").write_bytes(gzip.compress(DATA))
    (folder / "y_a3m.ffindex.gz").write_bytes(gzip.compress(INDEX))
    expected(gather(read_ffindex(folder / "y_a3m.ffdata.gz")))
    (folder / "y_a3m.ffindex.gz").write_bytes(gzip.compress(INDEX.partition(b"\n")[2]))
    with pytest.raises(InputFormatError, match=r"y_a3m.ffindex.gz: expected 4 entries"):
        gather(read_ffindex(folder / "y_a3m.ffdata.gz"))


def test_an_index_without_its_data(gather, tmp_path):
    (tmp_path / "x_a3m.ffindex").write_bytes(INDEX)
    with pytest.raises(ConfigurationError, match=r"x_a3m.ffdata: expected a file that can be read"):
        gather(read_ffindex(tmp_path / "x_a3m.ffindex"))


WRONG_INDEXES = {
    "line missing": (INDEX.partition(b"\n")[2], "found 3 of"),
    "line twice": (INDEX + INDEX.partition(b"\n")[0], "found 5 of"),
    "another length": (INDEX[:-2] + b"9\n", "found 4 of"),
    "two swapped": (b"a\t0\t1\nb\t1\t53\n" + INDEX.split(b"\n", 2)[2], "found"),
    "other offsets": (INDEX.replace(b"\t0\t", b"\t1\t"), "found as many, but not at the same places"),
    "empty": (b"", "found 0 of 0"),
    "no numbers": (b"cl-1\tx\t5\n", "line 1: expected name, offset and length, found 'cl-1\\\\tx\\\\t5"),
    "two fields": (INDEX + b"cl-9\t5\n", "line 5: expected name, offset and length"),
    "not an index": (b">a\nMKV\n", "line 1: expected name, offset and length"),
}


@pytest.mark.parametrize("name", WRONG_INDEXES)
def test_an_index_that_is_not_the_data_s(gather, folder, name):
    index, message = WRONG_INDEXES[name]
    with pytest.raises(InputFormatError, match=message) as caught:
        gather(read_ffindex(write_pair(folder, DATA, index)))
    assert "x_a3m.ffindex: " in caught.value.message
    with pytest.raises(InputFormatError, match=message) as caught:
        read_tar(gather, folder, archive({**MEMBERS, "bfd/x_a3m.ffindex": index}))
    assert "x.tar: bfd/x_a3m.ffindex: " in caught.value.message


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "expected aligned rows, found none"),
        (DATA[:-1], r"entry 4, line 1 \(byte 107 of the data\): expected a zero byte at the end of the entry"),
        (b"\0\0", "expected aligned rows, found 2 skipped as empty-entry"),
        (DATA + b"junk\0", r"entry 5, line 1 .*: expected a row that starts with '>', found 'junk'"),
        (
            DATA + b">a\nMK\n>b\nM\0",
            r"entry 5, line 3 .*: expected 2 match columns, as in the first row \('a'\), found 1 in 'b'",
        ),
    ],
)
def test_damaged_data(gather, folder, data, message):
    for read in (
        lambda: gather(read_ffindex(write_pair(folder, data, None))),
        lambda: read_tar(gather, folder, archive({"x_a3m.ffdata": data})),
    ):
        with pytest.raises(InputFormatError, match=message):
            read()


def test_damaged_entries_and_rows_are_skipped(gather, folder):
    data = b"junk\0#1,2\t1\n>a\nMK\0" + DATA + b">a\nMK\n>b\nM\n>c\nM-\0"
    problems = Problems(OnError.SKIP)
    read = gather(read_ffindex(write_pair(folder, data, None), problems=problems))
    assert read.accessions == [*ACCESSIONS, "a", "c"]
    assert problems.counts == {"no-alignment": 2, "unequal-columns": 1}
    assert "entry 7, line 3" in problems.examples[2]


COMPRESS = {
    "none": lambda content: content,
    "gzip": gzip.compress,
    "zstd": zstandard.ZstdCompressor().compress,
    "bzip2": bz2.compress,
}


@pytest.mark.parametrize("compression", COMPRESS)
@pytest.mark.parametrize("tar_format", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT, tarfile.USTAR_FORMAT])
def test_archives(gather, folder, compression, tar_format):
    expected(read_tar(gather, folder, COMPRESS[compression](archive(MEMBERS, tar_format))))


def test_members_come_in_any_order(gather, folder):
    names = list(MEMBERS)
    for seed in range(6):
        random.Random(seed).shuffle(names)
        expected(read_tar(gather, folder, archive({name: MEMBERS[name] for name in names})))


def test_an_archive_needs_no_index(gather, folder):
    expected(read_tar(gather, folder, archive({"x_a3m.ffdata": DATA})))


def test_two_databases_and_two_archives_end_to_end(gather, folder):
    second_data, second_index = database({"z": ">z\nMK"})
    two = archive({**MEMBERS, "z_a3m.ffdata": second_data, "z_a3m.ffindex": second_index})
    assert read_tar(gather, folder, two).accessions == [*ACCESSIONS, "z"]
    joined = archive(MEMBERS) + archive({"z_a3m.ffindex": second_index, "z_a3m.ffdata": second_data})
    assert read_tar(gather, folder, joined).accessions == [*ACCESSIONS, "z"]


def link(name, target, kind):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def test_hostile_archives_do_nothing(gather, tmp_path, monkeypatch):
    """No member is opened, followed or written, whatever it is called."""
    secret = tmp_path / "secret"
    secret.write_text(">secret\nMKV\n\0")
    inside = tmp_path / "inside"
    inside.mkdir()
    monkeypatch.chdir(inside)
    content = archive(
        {
            "../../etc/passwd_a3m.ffdata": DATA,
            str(tmp_path / "written_a3m.ffindex"): b"\x1b[31m",
            "a": link("link_a3m.ffdata", str(secret), tarfile.SYMTYPE),
            "b": link("hard_a3m.ffdata", str(secret), tarfile.LNKTYPE),
            "c": link("pipe_a3m.ffdata", "", tarfile.FIFOTYPE),
            "d": link("device_a3m.ffdata", "", tarfile.CHRTYPE),
            "\x1b[31mred": b"",
        }
    )
    (inside / "x.tar").write_bytes(content)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(InputFormatError, match="expected name, offset and length"):
        gather(read_archive(inside / "x.tar"))
    good = archive({"../../etc/passwd_a3m.ffdata": DATA, "a": link("link_a3m.ffdata", str(secret), tarfile.SYMTYPE)})
    (inside / "x.tar").write_bytes(good)
    expected(gather(read_archive(inside / "x.tar")))
    assert sorted(tmp_path.rglob("*")) == before


def test_names_cannot_write_to_the_terminal(gather, folder):
    with pytest.raises(InputFormatError) as caught:
        read_tar(gather, folder, archive({"\x1b[31mred\n": b"", "link": link("link", "red", tarfile.SYMTYPE)}))
    assert "expected a file *_a3m.ffdata in the archive, found \\x1b[31mred\\n" in caught.value.message


@pytest.mark.parametrize("content", [b"", b"\0" * 10240, archive({}), archive({"a": b"x", "x_a3m.ffindex": INDEX})])
def test_archives_without_alignments(gather, folder, content):
    with pytest.raises(InputFormatError, match=r"expected a file \*_a3m.ffdata|expected a tar archive"):
        read_tar(gather, folder, content)


def test_a_damaged_header(gather, folder):
    content = bytearray(archive(MEMBERS))
    content[content.index(b"bfd/x_a3m.ffdata") + 3] ^= 1
    with pytest.raises(
        InputFormatError, match=r"expected a tar archive, found damage behind byte \d+ of it: .*bad checksum"
    ):
        read_tar(gather, folder, bytes(content))


TAR = archive(MEMBERS)
END = len(TAR.rstrip(b"\0")) // 512 * 512 + 512


@given(st.integers(0, END) | st.integers(0, END // 512).map(lambda block: 512 * block))
@settings(max_examples=80)
def test_an_archive_cut_anywhere_is_an_error(gather, folder, cut):
    with pytest.raises(InputFormatError):
        read_tar(gather, folder, TAR[:cut])


@given(st.integers(0, 200))
@settings(max_examples=20)
def test_a_compressed_archive_cut_anywhere_is_an_error(gather, folder, cut):
    content = gzip.compress(TAR)
    with pytest.raises(InputFormatError):
        read_tar(gather, folder, content[: cut % len(content)])


ROWS = st.lists(
    st.tuples(st.text("abcXYZ01|_", min_size=1, max_size=8), st.text("ACDEFG", min_size=3, max_size=3)), max_size=4
)


@given(st.lists(ROWS, min_size=1, max_size=6), st.randoms(use_true_random=False), st.booleans())
@settings(max_examples=60)
def test_alignments_that_were_written_are_read(gather, folder, alignments, rng, index_first):
    entries = {
        f"e{number}": "".join(f">r{name}\n{row}\n" for name, row in rows) for number, rows in enumerate(alignments)
    }
    order = list(entries)
    rng.shuffle(order)
    data, index = database(entries, order)
    rows = [(f"r{name}", row) for entry in order for name, row in alignments[int(entry[1:])]]
    if not rows:
        return
    pair = gather(read_ffindex(write_pair(folder, data, index)))
    files = {"x_a3m.ffindex": index, "x_a3m.ffdata": data}
    packed = read_tar(gather, folder, archive(files if index_first else dict(reversed(files.items()))))
    assert pair == packed
    assert list(zip(pair.accessions, pair.residues, strict=True)) == rows
    assert pair.skipped == ({"empty-entry": empty} if (empty := sum(not rows for rows in alignments)) else {})


def test_blocks_make_no_difference(gather, folder, monkeypatch):
    monkeypatch.setattr(records, "RECORDS_PER_BLOCK", 1)
    blocks = list(read_ffindex(write_pair(folder, DATA, INDEX)))
    assert len(blocks) == 4
    expected(gather(blocks))


def test_an_archive_is_read_from_a_pipe_in_constant_memory(tmp_path, monkeypatch):
    """A database larger than all that is held, written while it is read."""
    monkeypatch.setattr(records, "RESIDUES_PER_BLOCK", 1 << 20)
    entry = b">query\n" + b"MKVA" * 1000 + b"\n" + b">row\n" + b"MK-A" * 1000 + b"\n" + b"\0"

    def peak(num_entries):
        pipe = tmp_path / f"pipe{num_entries}"
        os.mkfifo(pipe)
        info = tarfile.TarInfo("x_a3m.ffdata")
        info.size = num_entries * len(entry)
        lines = "".join(f"e{i:09}\t{i * len(entry)}\t{len(entry)}\n" for i in range(num_entries)).encode()

        def write():
            with pipe.open("wb") as file:
                file.write(info.tobuf(tarfile.GNU_FORMAT))
                for _ in range(num_entries):
                    file.write(entry)
                file.write(bytes(-info.size % 512))
                file.write(archive({"x_a3m.ffindex": lines}))

        writer = threading.Thread(target=write)
        writer.start()
        tracemalloc.start()
        try:
            num_records = sum(block.num_records for block in read_archive(pipe))
            found = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
            writer.join()
        assert num_records == 2 * num_entries
        # What the writer holds is counted, too.
        return found - 2 * len(lines)

    peak(1)
    assert peak(8000) < 1.1 * peak(4000)
