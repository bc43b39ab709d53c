"""Files of records in an archive read like one file: told by content or by name, numbered on; the rest is counted."""

import gzip
import io
import json
import os
import tarfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import ConfigurationError, InputFormatError
from pipeline.formats import records
from pipeline.formats.detection import ARCHIVED_FORMATS, ReadOptions, open_records
from pipeline.formats.fasta import read_fasta
from pipeline.formats.manifest import File, Manifest, write_manifest
from pipeline.formats.problems import OnError, Problems

FASTA = b">sp|P1|A_B one OX=9606\nMKV\n>b two\nMK\n"
DAT = b"""\
ID   RPOS_ECOLI              Reviewed;           6 AA.
AC   P13445;
DE   RecName: Full=RNA polymerase;
OX   NCBI_TaxID=83333;
SQ   SEQUENCE   6 AA;  1 MW;  1 CRC64;
     MKVACD
//
"""
XML = b"""<?xml version="1.0" encoding="UTF-8"?>
<uniprot xmlns="https://uniprot.org/uniprot">
<entry dataset="Swiss-Prot"><accession>P13445</accession><name>RPOS_ECOLI</name>
<organism><name type="scientific">Escherichia coli</name></organism>
<sequence length="6" version="3">MKVACD</sequence></entry>
</uniprot>
"""
UNIREF = b"""<?xml version="1.0" encoding="ISO-8859-1" ?>
<UniRef50 xmlns="http://uniprot.org/uniref" version="2023_05">
<entry id="UniRef50_P9" updated="2023-09-13"><name>Cluster: Cytochrome c</name>
<representativeMember><dbReference type="UniProtKB ID" id="CYC"></dbReference><sequence length="3">MGD</sequence>
</representativeMember></entry>
</UniRef50>
"""
STOCKHOLM = b"# STOCKHOLM 1.0\nrow MK-V\n//\n"
CONTENTS = {"fasta": FASTA, "uniprot-dat": DAT, "uniprot-xml": XML, "uniref-xml": UNIREF, "stockholm": STOCKHOLM}
OTHERS = {
    "README": b"This directory holds, among others, FASTA\n",
    "LICENSE": b"# Licence\n",
    "uniref.xsd": b'<?xml version="1.0"?>\n<xs:schema xmlns:xs="http://www.w3.org/2001/XMLSchema">\n',
    "uniprot.dtd": b"<!ELEMENT a (b)>\n",
    "uniref50.release_note": b"UniRef50\nrelease: 2023_05\n",
    "idmapping_selected.tab": b"Q6GZX4\t001R_FRG3G\n" * 9,
    "sequences.csv": b"accession,sequence\na,MKV\n",
    "empty.fasta": b"",
    "x.parquet": b"PAR1" + bytes(90),
    "residues.txt": b"MKVACD\n",
    "index.html": b"<!DOCTYPE html><html>",
    "image.png": b"\x89PNG\r\n",
}


def archive(files):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("archived")


@pytest.fixture(scope="module")
def read(gather, folder):
    def read_files(files, **options):
        (folder / "x.tar").write_bytes(files if isinstance(files, bytes) else archive(files))
        return gather(open_records(folder / "x.tar", **options))

    return read_files


def test_every_archived_format_is_tested():
    assert set(CONTENTS) == set(ARCHIVED_FORMATS)


@pytest.mark.parametrize("name", CONTENTS)
@pytest.mark.parametrize("compress", [lambda content: content, gzip.compress], ids=["plain", "gzip"])
def test_a_file_is_read_as_it_is_outside(gather, read, folder, name, compress):
    (folder / "file").write_bytes(CONTENTS[name])
    outside = gather(open_records(folder / "file", file_format=name))
    inside = read({"README": b"read me", "data/file": compress(CONTENTS[name])})
    assert (inside.columns, inside.residues) == (outside.columns, outside.residues)
    assert inside.places == [f"data/file: {place}" for place in outside.places]
    assert inside.skipped == {"other-file": 1}


def test_all_files_are_read_in_order_and_numbered_on(read):
    found = read({f"{name}.gz": gzip.compress(content) for name, content in CONTENTS.items()})
    assert found.accessions == ["P1", "b", "P13445", "P13445", "UniRef50_P9", "row"]
    assert found.residues == ["MKV", "MK", "MKVACD", "MKVACD", "MGD", "MKV"]
    assert found.skipped == {}


@pytest.mark.parametrize("names", [sorted(OTHERS), sorted(OTHERS, reverse=True)])
def test_what_holds_no_records_is_skipped_and_counted(read, names):
    """In front of the records, between them, and behind the last one, where no block comes any more."""
    files = {"first.fa": FASTA, **{name: OTHERS[name] for name in names[:6]}, "second.fa": FASTA}
    files |= {name: OTHERS[name] for name in names[6:]}
    found = read(files)
    assert found.accessions == ["P1", "b"] * 2
    assert found.skipped == {"other-file": len(OTHERS)}
    found = read({name: OTHERS[name] for name in names} | {"last.fa": FASTA})
    assert found.skipped == {"other-file": len(OTHERS)}


def test_alignments_are_read_as_fasta_so_that_no_cut_of_a_corpus_differs(read):
    assert read({"x.a3m": b">a\nMK-V\n>b\nMKAV\n"}).residues == ["MK-V", "MKAV"]


def test_the_layout_of_an_older_release_of_uniref(read):
    """As archives of 2015 and 2023 have it: a tar for each, with XML, in one tar.gz."""

    def one(name):
        text = UNIREF.replace(b"UniRef50", name.replace("uniref", "UniRef").encode())
        return archive({
            "README": b"", f"{name}.release_note": b"", f"{name}.xml.gz": gzip.compress(text)
        })  # fmt: skip

    names = ("uniref100", "uniref90", "uniref50")
    content = gzip.compress(archive({f"{name}.tar": one(name) for name in names}))
    assert read(content).accessions == ["UniRef100_P9", "UniRef90_P9", "UniRef50_P9"]
    found = read(content, options=ReadOptions(members=("uniref50.xml.gz", "uniref50.fasta.gz")))
    assert found.accessions == ["UniRef50_P9"]
    assert found.columns[0]["source"] == "uniref50"
    assert found.places == ["uniref50.tar/uniref50.xml.gz: line 3, byte 108"]
    assert found.skipped == {"other-file": 8}


TWO = {"a/one.fasta": FASTA, "two.fasta": b">c\nMKVL\n", "README": b"read me"}


class TestWanted:
    def test_by_name_without_folders(self, read):
        assert read(TWO, options=ReadOptions(members=("one.fasta",))).accessions == ["P1", "b"]
        assert read(TWO, options=ReadOptions(members=("two.fasta", "none"))).accessions == ["c"]

    def test_a_name_that_is_not_there(self, read):
        with pytest.raises(InputFormatError) as caught:
            read(TWO, options=ReadOptions(members=("none", "never")))
        assert "expected one of the files never, none in the archive, found a/one.fasta, two" in caught.value.message

    def test_a_wanted_file_without_records_is_told_and_not_skipped(self, read):
        with pytest.raises(InputFormatError, match=r"x.tar: README: expected a header line starting with '>'"):
            read(TWO, options=ReadOptions(members=("README",)))
        with pytest.raises(InputFormatError, match=r"x.tar: e: expected FASTA records, found an empty file"):
            read({"e": b""}, options=ReadOptions(members=("e",)))

    def download(self, folder, name, members):
        file = File(path=name, rows=0, bytes=1, xxh3_64="0", content="0")
        configuration = {"name": "x", "release": None} | ({"members": members} if members else {})
        manifest = Manifest(
            kind="download",
            fingerprint="0",
            configuration=configuration,
            inputs=(),
            files=(file,),
            counts={},
            reasons={},
            provenance=(),
            software={},
        )
        write_manifest(folder, manifest)

    @pytest.fixture
    def in_download(self, gather, tmp_path):
        (tmp_path / "x.tar").write_bytes(archive(TWO))
        return lambda **options: gather(open_records(tmp_path / "x.tar", **options)).accessions

    def test_the_manifest_of_a_download_says_it(self, in_download, tmp_path):
        self.download(tmp_path, "x.tar", ["two.fasta"])
        assert in_download() == ["c"]
        assert in_download(options=ReadOptions(members=("one.fasta",))) == ["P1", "b"]

    @pytest.mark.parametrize(("name", "members"), [("y.tar", ["two.fasta"]), ("x.tar", [])])
    def test_a_manifest_that_says_nothing_of_it(self, in_download, tmp_path, name, members):
        self.download(tmp_path, name, members)
        assert in_download() == ["P1", "b", "c"]

    @pytest.mark.parametrize("text", ["{}", "[", json.dumps({"kind": "corpus"})])
    def test_somebody_else_s_manifest(self, in_download, tmp_path, text):
        (tmp_path / "manifest.json").write_text(text)
        assert in_download() == ["P1", "b", "c"]


@pytest.mark.parametrize("files", [{}, OTHERS, {"README": b""}])
def test_an_archive_without_records(read, files):
    with pytest.raises(InputFormatError) as caught:
        read(files)
    found = ", ".join(list(files)[:5]) or "nothing"
    assert caught.value.message.endswith(f"x.tar: expected files of records in the archive, found {found}")
    assert "unpack others" in caught.value.hint


DAMAGED = {
    "cut short": ({"u.tar": archive({"a.gz": gzip.compress(FASTA)[:-4]})}, "x.tar: u.tar/a.gz: expected the rest of"),
    "overwritten": ({"a.fa.gz": gzip.compress(FASTA)[:12] + bytes(90)}, "x.tar: a.fa.gz: expected valid gzip data"),
    "no start": ({"a.fa": FASTA, "b.gz": b"\x1f\x8b\x08rubbish"}, "x.tar: b.gz: expected"),
    "an entry": ({"a.dat": DAT[:-4]}, "x.tar: a.dat: entry 1 (line 1, byte 0): expected '//'"),
}  # fmt: skip


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_file_is_told_with_archive_and_name(read, name):
    files, message = DAMAGED[name]
    with pytest.raises(InputFormatError) as caught:
        read(files)
    assert message in caught.value.message
    assert "/dev/fd" not in str(caught.value)
    assert caught.value.hint


def test_damaged_records_are_skipped_and_counted_over_all_files(read):
    bad = DAT.replace(b"  6 AA;", b"  7 AA;").replace(b"  6 AA.", b"  7 AA.")
    problems = Problems(OnError.SKIP)
    found = read({"a.dat": DAT + bad, "README": b"", "b.dat": bad + DAT}, problems=problems)
    assert found.residues == ["MKVACD"] * 2
    assert found.skipped == {"other-file": 1}
    assert problems.counts == {"unreadable-entry": 2}
    assert [example.partition("entry")[0].partition("x.tar: ")[2] for example in problems.examples] == [
        "a.dat: ",
        "b.dat: ",
    ]
    with pytest.raises(InputFormatError, match=r"x.tar: a.dat: entry 2 "):
        read({"a.dat": DAT + bad})


def test_what_was_skipped_is_counted_where_no_record_is_left(read):
    bad = DAT.replace(b"6 AA", b"7 AA")
    problems = Problems(OnError.SKIP)
    assert read({"README": b"", "a.dat": bad, "LICENSE": b""}, problems=problems).residues == []
    assert problems.skipped == {"other-file": 2}
    assert problems.counts == {"unreadable-entry": 1}


def test_a_file_with_holes_is_refused(read):
    from_test = tarfile.TarInfo("sparse.fasta")
    from_test.type, from_test.size = tarfile.GNUTYPE_SPARSE, 512
    header = bytearray(from_test.tobuf(tarfile.GNU_FORMAT))
    header[386:410] = b"00000000000\0" + b"%011o\0" % 512
    header[483:495] = b"%011o\0" % (1 << 32)
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    content = bytes(header) + b">a\n".ljust(512, b"M") + archive({})
    with pytest.raises(
        InputFormatError, match=r"x.tar: sparse.fasta: expected a file that is stored whole, found one with"
    ):
        read(content)
    options = ReadOptions(members=("a",))
    assert read(content + archive({"a": FASTA}), options=options).skipped == {"other-file": 1}


def test_names_do_not_reach_the_format_of_places(read):
    assert read({"{0}{x}.fa": FASTA}).places[0] == "{0}{x}.fa: line 1, byte 0"


def test_a_pipe_is_read_when_it_is_said_to_be_an_archive(gather, tmp_path):
    import threading

    os.mkfifo(tmp_path / "pipe")
    writer = threading.Thread(target=(tmp_path / "pipe").write_bytes, args=[gzip.compress(archive({"a": FASTA}))])
    writer.start()
    assert gather(open_records(tmp_path / "pipe", file_format="archive")).accessions == ["P1", "b"]
    writer.join()


def test_other_paths(gather, tmp_path):
    with pytest.raises(ConfigurationError, match="No such file"):
        gather(open_records(tmp_path / "none", file_format="archive"))
    (tmp_path / "x.fasta").write_bytes(FASTA)
    with pytest.raises(InputFormatError, match="expected a tar archive"):
        gather(open_records(tmp_path / "x.fasta", file_format="archive"))


RECORDS = st.lists(st.text("ACDEFG", min_size=1, max_size=9), min_size=1, max_size=8)


@given(st.lists(RECORDS, min_size=1, max_size=4), st.lists(st.booleans(), min_size=4, max_size=4))
@settings(max_examples=60)
def test_no_record_is_lost_or_read_twice(gather, read, folder, files, zipped):
    texts = ["".join(f">r{number}\n{row}\n" for number, row in enumerate(rows)).encode() for rows in files]
    named = {f"{n}.fa": gzip.compress(text) if zipped[n] else text for n, text in enumerate(texts)}
    found = read(named)
    assert found.residues == [row for rows in files for row in rows]
    (folder / "joined.fa").write_bytes(b"".join(texts))
    assert found.columns == gather(open_records(folder / "joined.fa", file_format="fasta")).columns


def test_blocks_make_no_difference(gather, folder, monkeypatch):
    many = b"".join(b">r%d\nMKV\n" % number for number in range(50))
    (folder / "x.tar").write_bytes(archive({"a": many, "README": b"", "b.dat": DAT * 5}))
    whole = gather(open_records(folder / "x.tar"))
    monkeypatch.setattr(records, "RECORDS_PER_BLOCK", 2)
    assert gather(open_records(folder / "x.tar")) == whole
    assert len(whole.residues) == sum(block.num_records for block in read_fasta(_file(folder, many))) + 5


def _file(folder, content):
    (folder / "many.fasta").write_bytes(content)
    return folder / "many.fasta"
