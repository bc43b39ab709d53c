"""Formats are told by content, and every one is read by the same function."""

import bz2
import gzip
import io
import lzma
import os
import tarfile
import threading
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from pipeline.errors import ConfigurationError, InputFormatError
from pipeline.formats.alignment import Insertions
from pipeline.formats.detection import FORMATS, HEAD_BYTES, ReadOptions, detect_format, open_records
from pipeline.formats.problems import OnError, Problems

DATA = Path(__file__).parents[1] / "data"
TITLE = "sp|P13445|RPOS_ECOLI RNA polymerase OS=Escherichia coli OX=83333 GN=rpoS PE=1 SV=3"
OTHER = "UniRef50_A0A009 a cluster n=1 Tax=root TaxID=1 RepID=X"
FASTA = f">{TITLE}\nMKVACD\n>{OTHER}\nMKD\n"
A3M = f"#6\t1\n>{TITLE}\nMKVACD\n>{OTHER}\nMK---D\n"
STOCKHOLM = f"""# STOCKHOLM 1.0
#=GS {TITLE.replace(" ", " DE ", 1)}
#=GS {OTHER.replace(" ", " DE ", 1)}
{TITLE.partition(" ")[0]} MKVACD
{OTHER.partition(" ")[0]} MK---D
//
"""
ROWS = [
    {"id": title.split()[0], "description": title.partition(" ")[2], "sequence": sequence}
    for title, sequence in ((TITLE, "MKVACD"), (OTHER, "MKD"))
]
TSV = "id\tdescription\tsequence\n" + "".join("\t".join(row.values()) + "\n" for row in ROWS)
DAT = """\
ID   RPOS_ECOLI              Reviewed;           6 AA.
AC   P13445;
DT   01-JAN-1990, sequence version 3.
DE   RecName: Full=RNA polymerase;
GN   Name=rpoS;
OS   Escherichia coli.
OX   NCBI_TaxID=83333;
PE   1: Evidence at protein level;
SQ   SEQUENCE   6 AA;  1 MW;  1 CRC64;
     MKVACD
//
"""
XML = """<?xml version="1.0" encoding="UTF-8"?>
<!-- a comment -->
<uniprot xmlns="https://uniprot.org/uniprot">
<entry dataset="Swiss-Prot"><accession>P13445</accession><name>RPOS_ECOLI</name>
<protein><recommendedName><fullName>RNA polymerase</fullName></recommendedName></protein>
<gene><name type="primary">rpoS</name></gene>
<organism><name type="scientific">Escherichia coli</name><dbReference type="NCBI Taxonomy" id="83333"/></organism>
<proteinExistence type="evidence at protein level"/>
<sequence length="6" version="3">MKVACD</sequence></entry>
</uniprot>
"""


def parquet() -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(ROWS), buffer)
    return buffer.getvalue()


UNIREF = """<?xml version="1.0" encoding="ISO-8859-1" ?>
<UniRef50 xmlns="http://uniprot.org/uniref" version="2023_05">
<entry id="UniRef50_P13445" updated="2023-09-13"><name>Cluster: RNA polymerase</name>
<property type="member count" value="1"/><property type="common taxon ID" value="83333"/>
<representativeMember><dbReference type="UniProtKB ID" id="RPOS_ECOLI"/><sequence length="6">MKVACD</sequence>
</representativeMember></entry>
</UniRef50>
"""
UNIREF_ROW = {
    "accession": "UniRef50_P13445",
    "source": "uniref50",
    "taxon_id": 83333,
    "cluster": "UniRef50_P13445",
    "description": "RNA polymerase n=1 Tax=unknown TaxID=83333 RepID=RPOS_ECOLI",
}


def tar_of(files) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


CONTENTS = {
    "fasta": FASTA.encode(),
    "uniprot-dat": DAT.encode(),
    "uniprot-xml": XML.encode(),
    "uniref-xml": UNIREF.encode(),
    "a3m": A3M.encode(),
    "stockholm": STOCKHOLM.encode(),
    "ffindex": A3M.encode() + b"\0",
    "tar": tar_of({"x_a3m.ffdata": A3M.encode() + b"\0"}),
    "archive": tar_of({"README": b"read me", "x.fasta": FASTA.encode()}),
    "parquet": parquet(),
    "csv": TSV.replace("\t", ",").encode(),
    "tsv": TSV.encode(),
}
COMPRESS = {
    "gzip": gzip.compress,
    "zstd": zstandard.ZstdCompressor().compress,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
}


def test_every_format_is_tested():
    assert set(CONTENTS) == set(FORMATS)


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_is_told_by_its_content_and_reads_the_same(gather, tmp_path, name):
    assert detect_format(CONTENTS[name]) == name
    (tmp_path / "file").write_bytes(CONTENTS[name])
    read = gather(open_records(tmp_path / "file"))
    row = {
        "accession": "P13445",
        "source": "swissprot",
        "taxon_id": 83333,
        "cluster": None,
        "description": TITLE.partition(" ")[2],
    }
    assert read.columns[0] == (UNIREF_ROW if name == "uniref-xml" else row)
    assert read.residues == (["MKVACD", "MKD"] if len(read.residues) > 1 else ["MKVACD"])
    assert all(read.places)
    named = gather(open_records(tmp_path / "file", file_format=name, source="mine"))
    assert {row["source"] for row in named.columns} == {"mine"}
    assert named.residues == read.residues


@pytest.mark.parametrize("compression", COMPRESS)
@pytest.mark.parametrize("name", [name for name in FORMATS if name != "parquet"])
def test_compression_makes_no_difference(gather, tmp_path, name, compression):
    (tmp_path / "plain").write_bytes(CONTENTS[name])
    (tmp_path / "compressed").write_bytes(COMPRESS[compression](CONTENTS[name]))
    assert gather(open_records(tmp_path / "compressed")) == gather(open_records(tmp_path / "plain"))


TEXTS = {name: content for name, content in CONTENTS.items() if name not in {"parquet", "tar", "archive"}}


@pytest.mark.parametrize("name", TEXTS)
def test_marks_blank_lines_and_line_ends_in_front(name):
    assert detect_format(b"\xef\xbb\xbf" + TEXTS[name]) == name
    assert detect_format(b"\r\n\n" + TEXTS[name]) == name
    assert detect_format(TEXTS[name].replace(b"\n", b"\r\n")) == name


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("flatfile/multi_ex.txt", "uniprot-dat"),
        ("flatfile/multi_ex.xml", "uniprot-xml"),
        ("flatfile/H2CNN8.xml", "uniprot-xml"),
        ("uniref/UniRef90_P99999.xml", "uniref-xml"),
        ("msa/UniRef50_E9K9Y4.a3m", "a3m"),
        ("msa/6A5J.a3m", "fasta"),
        ("msa/empty.a3m", "fasta"),
        ("stockholm/Pkinase.sto", "stockholm"),
        ("stockholm/openfold_test.mgnify_hits.sto", "stockholm"),
        ("stockholm/easel_stockholm.bad.1", "fasta"),
        ("nasty/biopython_fa01", "fasta"),
        ("nasty/biopython_aster_pearson.pro", "fasta"),
        ("nasty/biopython_aster_blast.pro", "fasta"),
        ("nasty/seqkit_empty_id_and_seq.fa", "fasta"),
        ("nasty/seqkit_titin.fas", "fasta"),
        ("nasty/dnaio_with_comment.fasta", "fasta"),
        ("nasty/biopython_rose.pro", "fasta"),
    ],
)
def test_real_files(path, name):
    assert detect_format((DATA / path).read_bytes()) == name


@pytest.mark.parametrize(
    ("text", "name"),
    [
        # Gaps and one number of match columns: an alignment, whatever stands between the columns.
        (">a\nMK-V\n>b\nMKAV\n", "a3m"),
        (">a\nMKvvAV\n>b\nM-..AV\n", "a3m"),
        ("#4\t1\n>a\nMKAV\n", "a3m"),
        ("#4,7\t1,2\n>a\nMKAV\n", "a3m"),
        (">ss_pred\nHHHH\n>a\nMKAV\n", "a3m"),
        # FASTA with gaps, with lower case, with names that only look so.
        (">a\nMK-V\n>b\nMKV\n", "fasta"),
        (">a\nMK-V\n", "fasta"),
        (">a\nMKV\n>b\nAKV\n", "fasta"),
        (">a\nMkV\n>b\nAKkV\n", "fasta"),
        (">a\nmkv\n>b\na\n", "fasta"),
        (">a\n--\n>b\nmk\n", "fasta"),
        ("#4 sequences\n>a\nMKAV\n", "fasta"),
        (">ss_prediction of a\nHHHH\n>a\nMKAVC\n", "fasta"),
        (">a_consensus\nMKV\n>b_consensus\nMK\n", "fasta"),
        (";comment, with comma\n;and, another\n>a\nMKV\n", "fasta"),
        ("", "fasta"),
        ("MKVACD\n", "fasta"),
        # Other flat files, XML, JSON, FASTQ, web pages.
        ("ID   X56734; SV 1; linear; mRNA; STD; PLN; 1859 BP.\n", "fasta"),
        ("LOCUS       SCU49845     5028 bp    DNA\n", "fasta"),
        ('<UniParc xmlns="http://uniprot.org/uniparc">\n', "fasta"),
        ("<UniRefs>\n", "fasta"),
        ("<UniRef>\n", "uniref-xml"),
        ("<UniRef100\n>\n", "uniref-xml"),
        ("<html><head>, \n<a>, </a>\n", "fasta"),
        ('{"id": 1, "sequence": "MKV"}\n{"id": 2, "sequence": "MKV"}\n', "fasta"),
        ("@read, 1\nACGT, 2\n", "fasta"),
        ("# STOCKHOLM 1.1\n", "stockholm"),
        # Tables.
        ("sequence\nMKV\n", "csv"),
        ('"sequence"\nMKV\n', "csv"),
        ("a,b\n1,2\n", "csv"),
        ("id,sequence\n", "csv"),
        ('id,sequence\n"a, b",MKV\n', "csv"),
        ("Entry\tSequence\tProtein, names\nP1\tMKV\n", "tsv"),
        ("a\tb\n1\t2\n", "tsv"),
        ("one, two\nthree\n", "fasta"),
        # Indexes.
        ("cl-1\t0\t1532\ncl-2\t1532\t907\n", "ffindex"),
        ("cl-1\t0\t1532\ncl-2\t15", "ffindex"),
        ("cl-1\t0\t1532\ncl-2\tx\t907\ncl-3\t1\t1\n", "tsv"),
    ],
)
def test_texts_that_look_alike(text, name):
    assert detect_format(text.encode()) == name


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (tar_of({"a/README": b"read me", "a/x_hhm.ffindex": b"a\t0\t1\n"}), "tar"),
        (tar_of({"x_cs219.ffdata": bytes(5000), "x_a3m.ffdata": b""})[:2000], "tar"),
        (tar_of({"README": b"read me", "x.fasta": FASTA.encode(), "ffdata": b""}), "archive"),
        (tar_of({"x.fasta": bytes(5000), "x_a3m.ffdata": b""})[:2000], "archive"),
        (tar_of({}), "archive"),
        (bytes(1024), "archive"),
        (bytes(512), "fasta"),
        (bytes(1025), "fasta"),
        (bytes(HEAD_BYTES), "fasta"),
    ],
)
def test_archives_are_told_by_the_names_that_come_first(content, name):
    assert detect_format(content) == name


def test_the_head_may_end_within_a_row():
    row = ">a\n" + "MK-V" * 1000 + "\n"
    head = (row * (HEAD_BYTES // len(row) + 1)).encode()[:HEAD_BYTES]
    assert not head.endswith(b"V\n")
    assert detect_format(head) == "a3m"
    # The same bytes as a whole file are no alignment: its last row is short.
    assert detect_format(head[: -len(row)]) == "fasta"


def test_the_caller_overrides(gather, tmp_path):
    (tmp_path / "file").write_text(">a\nMK-V\n>b\nMKAV\n")
    assert gather(open_records(tmp_path / "file")).residues == ["MKV", "MKAV"]
    assert gather(open_records(tmp_path / "file", file_format="fasta")).residues == ["MK-V", "MKAV"]
    with pytest.raises(InputFormatError, match="expected '# STOCKHOLM"):
        gather(open_records(tmp_path / "file", file_format="stockholm"))
    with pytest.raises(ConfigurationError, match=r"expected one of the formats fasta, .*, found 'genbank'"):
        gather(open_records(tmp_path / "file", file_format="genbank"))


def test_lower_case_and_insertions_to_be_removed_need_a_format(gather, tmp_path):
    options = ReadOptions(insertions=Insertions.REMOVE)
    (tmp_path / "file").write_text(">a\nMKvAV\n>b\nMKAV\n")
    with pytest.raises(ConfigurationError, match="say which: --format a3m or --format fasta"):
        gather(open_records(tmp_path / "file", options=options))
    assert gather(open_records(tmp_path / "file", options=options, file_format="a3m")).residues == ["MKAV", "MKAV"]
    assert gather(open_records(tmp_path / "file", options=options, file_format="fasta")).residues == ["MKVAV", "MKAV"]
    assert gather(open_records(tmp_path / "file")).residues == ["MKVAV", "MKAV"]
    (tmp_path / "file").write_text(">a\nMKAV\n>b\nMKAV\n")
    assert gather(open_records(tmp_path / "file", options=options)).residues == ["MKAV", "MKAV"]


def test_options_reach_their_readers(gather, tmp_path):
    (tmp_path / "rows.csv").write_text("key,id,protein\na,1,mkv\n")
    options = ReadOptions(sequence_column="protein", accession_column="key")
    read = gather(open_records(tmp_path / "rows.csv", options=options, file_format="csv"))
    assert (read.accessions, read.residues) == (["a"], ["MKV"])
    for name in ("a3m", "stockholm", "ffindex", "tar"):
        (tmp_path / "rows").write_bytes(
            CONTENTS[name].replace(b"MK---D", b"MK-v-D" if name == "stockholm" else b"MKv--D")
        )
        options = ReadOptions(insertions=Insertions.REMOVE)
        problems = Problems(OnError.SKIP)
        read = gather(open_records(tmp_path / "rows", options=options, problems=problems))
        if name == "stockholm":
            assert read.residues == ["MKVACD", "MKD"]
        else:
            assert problems.counts == {"unequal-columns": 1}


def test_data_whose_first_entry_is_larger_than_the_head(gather, tmp_path):
    entry = (">a\n" + "M" * 1000 + "\n") * (HEAD_BYTES // 1000 + 1)
    (tmp_path / "x_a3m.ffdata").write_bytes(entry.encode() + b"\0>b\nMK\0")
    (tmp_path / "x_a3m.ffindex").write_text(f"a\t0\t{len(entry) + 1}\nb\t{len(entry) + 1}\t6\n")
    assert gather(open_records(tmp_path / "x_a3m.ffdata")).accessions[-1] == "b"
    assert gather(open_records(tmp_path / "x_a3m.ffindex")).accessions[-1] == "b"


def test_a_pipe_is_fasta_unless_said_otherwise(gather, tmp_path):
    def read_pipe(content, **options):
        pipe = tmp_path / "pipe"
        pipe.unlink(missing_ok=True)
        os.mkfifo(pipe)
        writer = threading.Thread(target=pipe.write_bytes, args=[content])
        writer.start()
        try:
            return gather(open_records(pipe, **options))
        finally:
            writer.join()

    assert read_pipe(CONTENTS["fasta"]).residues == ["MKVACD", "MKD"]
    assert read_pipe(CONTENTS["tsv"], file_format="tsv").residues == ["MKVACD", "MKD"]


def test_places_of_fasta(gather, tmp_path):
    (tmp_path / "file").write_text("# a comment\n" + FASTA)
    read = gather(open_records(tmp_path / "file"))
    assert read.places == ["line 2, byte 12", f"line 4, byte {12 + FASTA.index('>Uni')}"]
    assert read.num_comment_lines == 1


def test_files_that_are_nothing_known_have_the_error_of_fasta(gather, tmp_path):
    (tmp_path / "file").write_text('<UniParc xmlns="http://uniprot.org/uniparc">\n')
    with pytest.raises(InputFormatError, match="expected a header line starting with '>' in line 1"):
        gather(open_records(tmp_path / "file"))
    with pytest.raises(ConfigurationError, match="No such file"):
        gather(open_records(tmp_path / "none"))
    with pytest.raises(ConfigurationError, match="directory"):
        gather(open_records(tmp_path))
