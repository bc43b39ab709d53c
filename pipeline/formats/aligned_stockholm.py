"""Stockholm alignments, gaps of match columns kept; see :mod:`pipeline.formats.aligned`.

How a file is laid out, and what is malformed, :mod:`pipeline.formats.stockholm` says, whose lines these are. Match
columns are those of the RF line; without one, those in which no row has a lower-case letter.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from pipeline.formats.aligned_a3m import Alignment
from pipeline.formats.alignment import Insertions, skipped_kind
from pipeline.formats.alignments import GAP, UInt8Array
from pipeline.formats.compression import read_blocks
from pipeline.formats.cutting import split
from pipeline.formats.ffindex import EMPTY_ENTRY
from pipeline.formats.problems import Problems
from pipeline.formats.records import UPPER, WHITE_SPACE
from pipeline.formats.stockholm import MalformedAlignmentError, StockholmAlignment, StockholmReader

_GAPS = np.frombuffer(b"-._~", dtype=np.uint8)
_UPPER = np.frombuffer(UPPER, dtype=np.uint8)


class _Columns(StockholmAlignment):
    """A Stockholm alignment while its lines come in, with the gaps of its match columns."""

    def aligned(self) -> tuple[list[bytes], UInt8Array, int]:
        """Title lines, uint8 [rows, match columns], and residues outside of these."""
        joined = {name: b"".join(parts) for name, parts in self._rows.items()}
        self._check(joined)
        everything = np.frombuffer(b"".join(joined.values()), dtype=np.uint8).reshape(len(joined), -1)
        is_gap = np.isin(everything, _GAPS)
        if self._match_columns:
            is_match = ~np.isin(np.frombuffer(b"".join(self._match_columns), dtype=np.uint8), _GAPS)
        else:
            is_match = (everything == _UPPER[everything]).all(axis=0)
        if not is_match.any():
            raise MalformedAlignmentError(self.line, "match columns", "none")
        upper = _UPPER[everything]
        upper[is_gap] = GAP
        letters = upper[:, is_match]
        titles = [b" ".join([name, *self._descriptions.get(name, ())]) for name in joined]
        return titles, letters, int(np.count_nonzero(~is_gap[:, ~is_match]))


class _AlignedReader(StockholmReader):
    """The lines of a Stockholm file on their way to alignments."""

    def _begin(self) -> None:
        super()._begin()
        self._alignment = _Columns(self._num_lines)

    # The parent makes blocks of proteins where this makes whole alignments; who calls either knows which.
    def _end(self, alignment: StockholmAlignment) -> Iterator[Alignment]:  # type: ignore[override]
        assert isinstance(alignment, _Columns), "begun here"
        self._alignment = None
        if alignment.is_malformed:
            return
        try:
            titles, letters, num_insertions = alignment.aligned()
        except MalformedAlignmentError as malformed:
            self._report(malformed)
            return
        self._builder.num_comment_lines += alignment.num_comment_lines
        kinds = [skipped_kind(title) for title in titles]
        self._builder.skipped.update(kind for kind in kinds if kind is not None)
        kept = [at for at, kind in enumerate(kinds) if kind is None]
        if not kept:
            self._builder.skipped[EMPTY_ENTRY] += 1
            return
        place = f"alignment {self._num_alignments}, line {alignment.line}"
        yield Alignment(
            titles=[titles[at] for at in kept], letters=letters[kept], num_insertions=num_insertions, place=place
        )


def read_aligned_stockholm(path: Path, problems: Problems) -> Iterator[Alignment]:
    """The alignments of a Stockholm file; see :func:`pipeline.formats.aligned.open_alignments`."""
    reader = _AlignedReader(path, None, Insertions.KEEP, problems)
    for line in split(read_blocks(path), b"\n"):
        yield from reader.read_line(line.rstrip(WHITE_SPACE))  # type: ignore[misc]
    yield from reader.finish()  # type: ignore[misc]
