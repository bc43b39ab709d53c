"""Why a protein is not there: what there is to say is said."""

import pyarrow as pa
import pytest

from pipeline.formats.absence import DROPPED_NAME, explain_absence
from pipeline.formats.corpus import CORPUS_SCHEMA, MAX_ALIASES, part_writer
from pipeline.formats.manifest import Manifest


@pytest.fixture
def explain(tmp_path):
    def make(accession, records, *, reasons=None, has_dropped=False):
        """Explain an accession; records are (accession, aliases, records merged)."""
        with part_writer(tmp_path, "part-00000.parquet") as (writer, written):
            columns = {"accession": [], "aliases": [], "num_merged": []}
            for record in records:
                for column, value in zip(columns.values(), record, strict=True):
                    column.append(value)
            size = len(records)
            columns |= {"sequence": ["MKV"] * size, "length": [3] * size, "record_key": range(size)}
            columns |= {"source": ["other"] * size} | {
                name: [None] * size for name in ("taxon_id", "cluster", "description")
            }
            table = pa.table({name: pa.array(columns[name]) for name in CORPUS_SCHEMA.names})
            plain = pa.schema(
                [(field.name, pa.string() if field.name == "source" else field.type) for field in CORPUS_SCHEMA]
            )
            writer.write(table.cast(plain))
        if has_dropped:
            (tmp_path / DROPPED_NAME).mkdir()
        manifest = Manifest(
            kind="corpus",
            fingerprint="0",
            configuration={},
            inputs=(),
            files=tuple(written),
            counts={},
            reasons=reasons or {},
            provenance=(),
            software={},
        )
        return list(explain_absence(tmp_path, manifest, accession))

    return make


RECORDS = [("P1", [], 1), ("UniRef50_P2", ["UniRef90_P3"], 2)]


def test_it_is_not_there_and_nothing_was_dropped(explain, tmp_path):
    assert explain("P9", RECORDS) == [
        f"no protein of this name is in the corpus {tmp_path}, neither kept nor merged into another"
    ]


def test_what_was_dropped_in_all_and_how_to_learn_more(explain):
    _, dropped, advice = explain("P9", RECORDS, reasons={"too-short": 1_200, "unequal-columns": 3, "fragment": 0})
    assert (
        dropped
        == "1,203 records of the input were dropped in all: 1,200 too short and 3 a row with another number of columns"
    )
    assert "--keep-dropped" in advice
    _, dropped, advice = explain("P9", RECORDS, reasons={"odd": 1}, has_dropped=True)
    assert dropped == "1 record of the input was dropped in all: 1 odd"
    assert advice.startswith("it is not among those in dropped/")
    assert "--keep-dropped" not in advice


@pytest.mark.parametrize(
    ("accession", "suggested"),
    [
        ("sp|P1|A_B", "P1"),
        ("p1", "P1"),
        ("P1-2", "P1"),
        (" P1", "P1"),
        ("P2", "UniRef50_P2"),
        ("tr|P3|X", "UniRef90_P3"),
    ],
)
def test_other_names_of_the_same_protein_are_suggested(explain, accession, suggested):
    assert explain(accession, RECORDS)[1] == f"did you mean {suggested}?"


@pytest.mark.parametrize("accession", ["P", "UniRef50_P1", "|", "a|b", ""])
def test_no_suggestion_is_made_up(explain, accession):
    assert len(explain(accession, RECORDS)) == 1


def test_names_beyond_those_that_are_kept(explain):
    names = [f"A{number}" for number in range(MAX_ALIASES)]
    full = ("P1", names, MAX_ALIASES + 2)
    *_, sentence = explain("P9", [full, full, ("P2", names, MAX_ALIASES + 1), ("P3", names[1:], 5_000)])
    assert sentence == "2 proteins were in the input under more names than the 1,000 that are kept: this may be another"
