"""Parquet, CSV and TSV: the same rows from each, whatever the columns are called and typed."""

import csv
import gzip
import io
import tracemalloc
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipeline.errors import ConfigurationError, InputFormatError
from pipeline.formats.problems import OnError, Problems
from pipeline.formats.table_rows import choose_columns
from pipeline.formats.tables import CSV_DELIMITER, TSV_DELIMITER, read_parquet, read_text_table

ROWS = [
    {"id": "P04637", "sequence": "mkv a\tCD\n", "taxon_id": 9606, "description": "p53, a protein"},
    {"id": "sp|P13445|RPOS_ECOLI", "sequence": "", "taxon_id": None, "description": "sigma OS=E. coli OX=83333 GN=r"},
    {"id": "UniRef50_A0A009", "sequence": "WW*", "taxon_id": 4294967295, "description": None},
]
EXPECTED = [
    {"accession": "P04637", "source": "other", "taxon_id": 9606, "cluster": None, "description": "p53, a protein"},
    {
        "accession": "P13445",
        "source": "swissprot",
        "taxon_id": 83333,
        "cluster": None,
        "description": "sigma OS=E. coli OX=83333 GN=r",
    },
    {
        "accession": "UniRef50_A0A009",
        "source": "uniref50",
        "taxon_id": 4294967295,
        "cluster": "UniRef50_A0A009",
        "description": None,
    },
]


@pytest.fixture(scope="module")
def path(tmp_path_factory) -> Path:
    """One file that every example overwrites."""
    return tmp_path_factory.mktemp("tables") / "table"


def read_table(gather, path, table, **options):
    pq.write_table(table if isinstance(table, pa.Table) else pa.table(table), path)
    return gather(read_parquet(path, **options))


def read_csv(gather, path, text, delimiter=CSV_DELIMITER, **options):
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return gather(read_text_table(path, delimiter=delimiter, **options))


def as_csv(rows) -> str:
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    return buffer.getvalue()


def check(read):
    assert read.columns == EXPECTED
    assert read.residues == ["MKVACD", "", "WW*"]
    assert read.places == [f"row {number}, column sequence" for number in (1, 2, 3)]


def test_the_same_rows_from_each_format(gather, path):
    check(read_table(gather, path, pa.Table.from_pylist(ROWS)))
    check(read_csv(gather, path, as_csv(ROWS)))
    tsv = "".join("\t".join("" if v is None else str(v) for v in row.values()) + "\n" for row in ROWS)
    check(read_csv(gather, path, "\t".join(ROWS[0]) + "\n" + tsv.replace("mkv a\tCD\n", "mkv aCD"), TSV_DELIMITER))


@pytest.mark.parametrize(
    ("names", "options", "chosen"),
    [
        (["sequence"], {}, {"sequence": "sequence"}),
        (["sequence", "b", "name", "id", "accession"], {}, {"accession": "accession"}),
        (["sequence", "b", "name", "id"], {}, {"accession": "id"}),
        (["sequence", "b", "name"], {}, {"accession": "name"}),
        (["taxon_id", "sequence", "b", "c"], {}, {"accession": "b"}),
        (["Entry", "Organism", "Sequence"], {}, {"accession": "Entry", "sequence": "Sequence"}),
        (
            ["SEQUENCE", "Taxon_ID", "Source", "DESCRIPTION", "cluster"],
            {},
            {"taxon_id": "Taxon_ID", "source": "Source"},
        ),
        (["seq", "id"], {"sequence_column": "seq"}, {"sequence": "seq"}),
        (["id", "b"], {"sequence_column": "id"}, {"sequence": "id", "accession": "b"}),
        (["id", "key", "sequence"], {"accession_column": "key"}, {"accession": "key"}),
        (["sequence", "Sequence"], {}, {"sequence": "sequence", "accession": "Sequence"}),
    ],
)
def test_which_column_is_what(names, options, chosen):
    columns = choose_columns(Path("table"), names, **options)
    assert columns | chosen == columns
    assert set(columns.values()) <= set(names)


@pytest.mark.parametrize(
    ("names", "options", "wanted"),
    [
        (["id", "seq"], {}, "sequence"),
        (["id", "sequence"], {"sequence_column": "seq"}, "seq"),
        (["id", "sequence"], {"accession_column": "key"}, "key"),
        (["Sequence", "SEQUENCE"], {}, "sequence"),
        (["sequence", "sequence", "id"], {}, "sequence"),
        (["sequence", "id", "id"], {}, "id"),
    ],
)
def test_columns_that_are_not_there(gather, path, names, options, wanted):
    message = f"{path}: expected one column '{wanted}', found the columns " + ", ".join(map(repr, names))
    with pytest.raises(InputFormatError) as caught:
        read_csv(gather, path, ",".join(names) + "\n" + ",".join("x" * len(names)) + "\n", **options)
    assert caught.value.message == message
    if len(set(names)) == len(names):
        with pytest.raises(InputFormatError) as caught:
            read_table(gather, path, {name: ["x"] for name in names}, **options)
        assert caught.value.message == message


@pytest.mark.parametrize(
    "kind", [pa.string(), pa.large_string(), pa.string_view(), pa.binary(), pa.large_binary(), pa.binary_view()]
)
def test_every_type_of_text(gather, path, kind):
    texts = pa.array(["mkv", "", "ACD"]).cast(pa.binary() if "binary" in str(kind) else pa.string()).cast(kind)
    read = read_table(gather, path, {"sequence": texts, "id": texts})
    assert read.residues == ["MKV", "", "ACD"]
    assert read.accessions == ["mkv", "", "ACD"]


def test_dictionaries_and_numbers(gather, path):
    table = {
        "sequence": pa.array(["mkv", "acd", "mkv"]).dictionary_encode(),
        "id": pa.array([7, 8, None], pa.int32()),
        "taxon_id": pa.array([-1, 2**33, 9606]),
        "source": pa.array([None, "", " bfd "]),
        "cluster": pa.array(["c", None, "d"]).dictionary_encode(),
    }
    read = read_table(gather, path, table)
    assert read.residues == ["MKV", "ACD", "MKV"]
    assert read.accessions == ["7", "8", ""]
    assert [row["taxon_id"] for row in read.columns] == [None, None, 9606]
    assert [row["source"] for row in read.columns] == ["other", "other", "bfd"]
    assert [row["cluster"] for row in read.columns] == ["c", None, "d"]
    assert {row["source"] for row in read_table(gather, path, table, source="mine").columns} == {"mine"}


@pytest.mark.parametrize("kind", [pa.int64(), pa.list_(pa.string()), pa.float64()])
def test_columns_that_hold_no_text(gather, path, kind):
    with pytest.raises(InputFormatError, match=r"expected text in column 'sequence', found (int|list|double)"):
        read_table(gather, path, {"sequence": pa.array([None], kind)})


@pytest.mark.parametrize("taxon", ["N/A", "9606.0", "-5", "4294967296", "99999999999999999999", ""])
def test_what_is_no_taxon(gather, path, taxon):
    assert read_csv(gather, path, f"sequence,taxon_id\nMKV,{taxon}\n").columns[0]["taxon_id"] is None


def test_null_sequences(gather, path):
    table = {"sequence": ["A", None, "C", None], "id": list("abcd")}
    with pytest.raises(InputFormatError) as caught:
        read_table(gather, path, table)
    assert caught.value.message == f"{path}: row 2: expected a sequence in column 'sequence', found null"
    problems = Problems(OnError.SKIP)
    read = read_table(gather, path, table, problems=problems)
    assert read.accessions == ["a", "c"]
    assert read.places == ["row 1, column sequence", "row 3, column sequence"]
    assert problems.counts == {"missing-sequence": 2}


@pytest.mark.parametrize("delimiter", [CSV_DELIMITER, TSV_DELIMITER])
def test_rows_with_more_or_fewer_fields(gather, path, delimiter):
    text = "id,sequence\na,A\nb\nc,C\nd,D,e\nf,F,\ng,G\n".replace(",", delimiter)
    with pytest.raises(InputFormatError) as caught:
        read_csv(gather, path, text, delimiter)
    assert caught.value.message == f"{path}: row 2: expected 2 fields as in the first line, found 1 in 'b'"
    problems = Problems(OnError.SKIP)
    read = read_csv(gather, path, text, delimiter, problems=problems)
    assert read.accessions == ["a", "c", "g"]
    assert read.places == ["row 1, column sequence", "row 3, column sequence", "row 6, column sequence"]
    assert problems.counts == {"unequal-fields": 3}
    assert "row 5" in problems.examples[2]


@given(st.lists(st.booleans(), min_size=1, max_size=40), st.integers(20, 60))
def test_row_numbers_with_damaged_rows_between(gather, path, are_whole, block_bytes):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pipeline.formats.tables._BLOCK_BYTES", block_bytes)
        text = "sequence,id\n" + "".join("A,b\n" if is_whole else "A\n" for is_whole in are_whole)
        read = read_csv(gather, path, text, problems=Problems(OnError.SKIP))
    numbers = [number for number, is_whole in enumerate(are_whole, start=1) if is_whole]
    assert read.places == [f"row {number}, column sequence" for number in numbers]


@pytest.mark.parametrize("block_bytes", range(24, 40))
def test_line_ends_in_quotes_may_be_anywhere(gather, path, monkeypatch, block_bytes):
    monkeypatch.setattr("pipeline.formats.tables._BLOCK_BYTES", block_bytes)
    read = read_csv(gather, path, "id,sequence\n" + 'a,"M\nKV"\n' * 20)
    assert read.residues == ["MKV"] * 20


def test_a_column_called_anything(gather, path):
    read = read_csv(gather, path, '"{0} b","a ""x"""\nMKV,1\n', sequence_column="{0} b")
    assert read.places == ["row 1, column {0} b"]
    assert read.accessions == ["1"]


def test_quotes_mean_nothing_in_tsv(gather, path):
    read = read_csv(gather, path, 'id\tsequence\tdescription\na\tMKV\t"5\'\nb\tA\t5" \n', TSV_DELIMITER)
    assert [row["description"] for row in read.columns] == ["\"5'", '5"']


@pytest.mark.parametrize(
    "change", [lambda t: "\ufeff" + t, lambda t: t.replace("\n", "\r\n"), lambda t: "\n\n" + t, str.rstrip]
)
def test_what_makes_no_difference(gather, path, change):
    text = "id,sequence\na,MKV\nb,ACD\n"
    read = read_csv(gather, path, change(text))
    assert (read.accessions, read.residues) == (["a", "b"], ["MKV", "ACD"])


def test_bytes_that_are_no_utf8(gather, path):
    read = read_csv(gather, path, b"id,sequence,source\n\xffa,MKV,\xe9\n")
    assert (read.accessions, read.columns[0]["source"]) == (["\ufffda"], "\ufffd")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected a line with the names of the columns, found an empty file"),
        ("\n\n", "expected a line with the names of the columns, found an empty file"),
        ("id,sequence\n", "expected rows behind the names of the columns, found none"),
        (">P1\nMKV\n", "expected one column 'sequence', found the columns '>P1'"),
    ],
)
def test_texts_that_are_no_table(gather, path, text, message):
    with pytest.raises(InputFormatError, match=message):
        read_csv(gather, path, text)


def test_a_row_larger_than_a_block(gather, path, monkeypatch):
    monkeypatch.setattr("pipeline.formats.tables._BLOCK_BYTES", 64)
    with pytest.raises(InputFormatError, match="expected a table, found a row of more than 64 bytes"):
        read_csv(gather, path, "id,sequence\na," + "M" * 1000 + "\n")


def test_files_cut_short(gather, path):
    with pytest.raises(InputFormatError, match="cut short"):
        read_csv(gather, path, gzip.compress(b"id,sequence\n" + b"a,MKV\n" * 99)[:-5])
    pq.write_table(pa.Table.from_pylist(ROWS * 100), path, row_group_size=50)
    content = path.read_bytes()
    for cut in (0, 3, 4, 100, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:cut])
        with pytest.raises(InputFormatError, match=r"expected a Parquet file|expected b'PAR1'"):
            gather(read_parquet(path))
    path.write_bytes(content[:200] + bytes(len(content) // 3) + content[200 + len(content) // 3 :])
    with pytest.raises(InputFormatError, match="found damage"):
        gather(read_parquet(path))


def test_what_cannot_be_read(gather, tmp_path):
    for blocks in (read_parquet(tmp_path / "none"), read_text_table(tmp_path / "none", delimiter=",")):
        with pytest.raises(ConfigurationError, match="found: No such file"):
            gather(blocks)


def test_compressed_parquet_is_named(gather, path):
    path.write_bytes(gzip.compress(b"PAR1"))
    with pytest.raises(InputFormatError, match="decompress it first"):
        gather(read_parquet(path))


def test_parquet_may_have_no_rows(gather, path):
    assert read_table(gather, path, {"sequence": pa.array([], pa.string())}).columns == []


TEXT = st.text("abcMKV -.,\"'\n|", max_size=8)
WRITTEN = st.lists(st.tuples(TEXT.map(str.strip), TEXT), min_size=1, max_size=30)


@given(WRITTEN, st.integers(1, 7))
@example([("", "")], 1)
@settings(max_examples=60)
def test_rows_that_were_written_are_read(gather, path, written, row_group_size):
    rows = [{"id": name.replace("\n", ""), "sequence": text} for name, text in written]
    from_csv = read_csv(gather, path, as_csv(rows))
    pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=row_group_size)
    from_parquet = gather(read_parquet(path))
    assert from_csv == from_parquet
    assert from_csv.residues == ["".join(text.split()).translate(UPPER) for _, text in written]
    assert from_csv.accessions == [(row["id"].split() or [""])[0] for row in rows]


UPPER = str.maketrans("abc", "ABC")


@pytest.mark.parametrize("kind", ["parquet", "csv"])
def test_memory_does_not_grow_with_the_file(path, kind):
    pool = pa.system_memory_pool()
    before = pa.default_memory_pool()
    pa.set_memory_pool(pool)

    def peak(num_rows):
        row = "MKV" * 200
        if kind == "csv":
            path.write_text("id,sequence\n" + f"a,{row}\n" * num_rows)
        else:
            pq.write_table(pa.table({"id": ["a"] * num_rows, "sequence": [f"{i}{row}" for i in range(num_rows)]}), path)
        held = pool.bytes_allocated()
        most = 0
        tracemalloc.start()
        try:
            for block in read_parquet(path) if kind == "parquet" else read_text_table(path, delimiter=","):
                most = max(most, pool.bytes_allocated() - held)
                assert block.num_records
            return most + tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    try:
        assert peak(200_000) < 1.2 * peak(100_000)
    finally:
        pa.set_memory_pool(before)
