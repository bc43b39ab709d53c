"""Filters as ingest uses them: from the configuration to predicates, from header columns to the block they test.

A record that is dropped is counted under the first predicate that hits, in the fixed order of ``core.filters``, so that
counts do not depend on the order of options.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.config import FilterConfig
from pipeline.core import filters
from pipeline.errors import ConfigurationError, InputFormatError
from pipeline.formats.compression import read_blocks
from pipeline.formats.fasta import read_fasta
from pipeline.formats.headers import parse_headers

FRAGMENT = r"\(Fragments?\)(?: |$)|^FL=0(?: |$)|;partial=(?:01|10|11);"
"""How UniProt and UniRef, MGnify and Prodigal say that a protein is incomplete."""

BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class Filtering:
    """The filters of one run; picklable."""

    config: FilterConfig
    source_names: tuple[str, ...]
    """Every database name that may occur, those given by ``--source`` included."""

    def predicates(self) -> list[filters.Predicate]:
        """The predicates that were asked for, in the order in which they are applied."""
        config = self.config
        asked: list[tuple[object, filters.Predicate]] = [
            (config.exclude, filters.Excluded()),
            (config.sources, filters.SourceNotListed(self._codes(config.sources))),
            (config.exclude_sources, filters.SourceExcluded(self._codes(config.exclude_sources))),
            (config.taxa, filters.TaxonNotListed(config.taxa)),
            (config.exclude_taxa, filters.TaxonExcluded(config.exclude_taxa)),
            (config.drop_fragments, filters.Fragment()),
            (config.min_length, filters.TooShort(config.min_length)),
            (config.max_length, filters.TooLong(config.max_length or 1)),
            (config.max_nonstandard is not None, filters.NonstandardResidues(config.max_nonstandard or 0.0)),
            (config.max_low_complexity is not None, filters.LowComplexity(config.max_low_complexity or 0.0)),
        ]
        return list(filters.in_order([predicate for wanted, predicate in asked if wanted]))

    def _codes(self, names: Sequence[str]) -> tuple[int, ...]:
        unknown = [name for name in names if name not in self.source_names]
        if unknown:
            raise ConfigurationError(
                f"source {unknown[0]!r} is not known: expected one of {', '.join(self.source_names)}",
                hint="name a file's database with --source NAME=FILE",
            )
        return tuple(self.source_names.index(name) for name in names)

    def reasons(
        self, columns: pa.RecordBatch, residues: npt.NDArray[np.uint8], offsets: npt.NDArray[np.int64]
    ) -> npt.NDArray[np.uint8]:
        """Which records are dropped, and why.

        Args:
            columns: Header columns of the records.
            residues: uint8 [total] residues joined.
            offsets: int64 [records + 1].

        Returns:
            uint8 [records], 0 for those that are kept, else 1 + index into ``predicates()``.
        """
        taxon = columns.column("taxon_id")
        source = pc.index_in(columns.column("source"), pa.array(self.source_names, columns.column("source").type))
        block = filters.Block(
            residues=residues,
            offsets=offsets,
            taxon_id=pc.fill_null(taxon, 0).to_numpy(zero_copy_only=False),
            has_taxon=_mask(pc.is_valid(taxon)),
            source=pc.fill_null(source, -1).to_numpy(zero_copy_only=False),
            is_fragment=_mask(pc.match_substring_regex(columns.column("description"), FRAGMENT)),
            is_excluded=self._excluded(columns, residues, offsets),
        )
        return filters.find_reasons(block, self.predicates())

    def _excluded(
        self, columns: pa.RecordBatch, residues: npt.NDArray[np.uint8], offsets: npt.NDArray[np.int64]
    ) -> BoolArray:
        excluded = np.zeros(columns.num_rows, dtype=np.bool_)
        if self.config.exclude:
            accessions, sequences = _exclusions(self.config.exclude)
            own = pa.LargeStringArray.from_buffers(
                columns.num_rows,
                pa.py_buffer(np.ascontiguousarray(offsets)),
                pa.py_buffer(np.ascontiguousarray(residues)),
            )
            excluded |= _mask(pc.is_in(columns.column("accession").cast(pa.large_string()), value_set=accessions))
            excluded |= _mask(pc.is_in(own, value_set=sequences))
        return excluded


def _mask(flags: pa.Array) -> BoolArray:
    return np.asarray(pc.fill_null(flags, fill_value=False).to_numpy(zero_copy_only=False), dtype=np.bool_)


@lru_cache(maxsize=1)
def _exclusions(paths: tuple[str, ...]) -> tuple[pa.Array, pa.Array]:
    """Accessions and sequences to leave out, from FASTA files and from lists of accessions, one a line."""
    accessions: list[pa.Array] = []
    sequences: list[pa.Array] = []
    for name in paths:
        if _is_fasta(Path(name)):
            for block in read_fasta(Path(name)):
                headers = parse_headers(block.headers)
                accessions.append(headers.column("accession").cast(pa.large_string()))
                buffers = [pa.py_buffer(np.ascontiguousarray(array)) for array in (block.offsets, block.residues)]
                sequences.append(pa.LargeStringArray.from_buffers(block.num_records, *buffers))
        else:
            lines = b"".join(read_blocks(Path(name))).decode(errors="replace").split()
            accessions.append(pa.array(lines, pa.large_string()))
    empty = pa.array([], pa.large_string())
    # An empty header names no record, and an empty sequence none either.
    named = [array.filter(pc.greater(pc.binary_length(array), 0)) for array in (*accessions, *sequences)]
    return pa.concat_arrays([empty, *named[: len(accessions)]]), pa.concat_arrays([empty, *named[len(accessions) :]])


def _is_fasta(path: Path) -> bool:
    try:
        next(read_fasta(path))
    except InputFormatError:
        return False  # a list of accessions, or damaged: reading it as a list tells
    return True
