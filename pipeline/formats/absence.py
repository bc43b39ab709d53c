"""Why a protein may not be in a corpus: under another name, dropped, or one of too many of the same residues.

A corpus says of each reason how many records were dropped for it; which ones it says only where that was asked for
(``dropped/``). Of the records that were merged into one, it keeps the names of the first 1,000. So there are proteins
of the input of which nothing can be found, and then what there is to say is said.

Cost: accessions and aliases are read twice.
"""

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.formats.corpus import MAX_ALIASES
from pipeline.formats.manifest import Manifest
from pipeline.formats.parquet import read_columns
from pipeline.formats.report_words import REASONS, counted, listed

DROPPED_NAME = "dropped"
"""Folder in a corpus of what was dropped."""

_MOST_SUGGESTED = 3


def explain_absence(folder: Path, manifest: Manifest, accession: str) -> Iterator[str]:
    """What may have become of a protein that is neither in a corpus nor among what it has written down as dropped.

    Args:
        folder: The corpus.
        manifest: Its manifest.
        accession: Of the protein.

    Yields:
        Sentences.
    """
    yield f"no protein of this name is in the corpus {folder}, neither kept nor merged into another"
    if suggested := _other_names(folder, manifest, accession):
        yield f"did you mean {' or '.join(suggested)}?"
    reasons = {reason: number for reason, number in manifest.reasons.items() if number}
    if reasons:
        parts = [f"{number:,} {REASONS.get(reason, reason)}" for reason, number in reasons.items()]
        records = counted(sum(reasons.values()), "record of the input was", "records of the input were")
        yield f"{records} dropped in all: {listed(parts)}"
        if (folder / DROPPED_NAME).is_dir():
            yield f"it is not among those in {DROPPED_NAME}/; what could not be read has no name there"
        else:
            yield "which ones they were is not written down: ingest again with --keep-dropped, and this command tells"
    full = _num_full_lists(folder, manifest)
    if full:
        proteins = counted(full, "protein was", "proteins were")
        yield f"{proteins} in the input under more names than the {MAX_ALIASES:,} that are kept: this may be another"


def _other_names(folder: Path, manifest: Manifest, accession: str) -> list[str]:
    """Names in the corpus under which the same protein may be known: UniRef's, or one field of UniProt's title."""
    plain = accession.split("|")[1] if accession.count("|") > 1 else accession.strip()
    spellings = {plain, plain.upper(), plain.upper().partition("-")[0]}
    clusters = {f"UniRef{level}_{name}" for level in (100, 90, 50) for name in spellings}
    wanted = pa.array(sorted((spellings | clusters) - {accession}), pa.string())
    found: set[str] = set()
    for file in manifest.tables:
        table = read_columns(folder / file.path, ["accession", "aliases"])
        for names in (table.column("accession"), pc.list_flatten(table.column("aliases"))):
            found.update(names.filter(pc.is_in(names, value_set=wanted)).to_pylist())
    return sorted(found)[:_MOST_SUGGESTED]


def _num_full_lists(folder: Path, manifest: Manifest) -> int:
    """Proteins that may stand for more names than are kept."""
    number = 0
    for file in manifest.tables:
        table = read_columns(folder / file.path, ["aliases", "num_merged"])
        is_full = pc.greater_equal(pc.list_value_length(table.column("aliases")), MAX_ALIASES)
        has_more = pc.greater(table.column("num_merged"), MAX_ALIASES + 1)
        number += pc.sum(pc.and_(is_full, has_more)).as_py() or 0
    return number
