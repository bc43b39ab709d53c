"""What the laws of plans and shards are about: the segments of a corpus part, and an account of them."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from pipeline.stages.verify.checks import Checked, Finding

Integers = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Segments:
    """Segments of some rows, in the order of (row, slot)."""

    first_row: int
    """Number of the first row in its file."""
    row_offsets: Integers
    """[rows + 1]; the segments of row r are ``row_offsets[r]`` … ``row_offsets[r + 1] − 1``."""
    record: Integers
    """[segments] row in the corpus part."""
    start: Integers
    """[segments] first residue."""
    length: Integers
    """[segments] number of residues."""
    has_suffix: npt.NDArray[np.bool_]
    """[segments] whether the suffix, or the separator, comes after the residues."""

    def row_of(self, segment: int) -> int:
        """The row of a segment in its file."""
        return self.first_row + int(np.searchsorted(self.row_offsets, segment, side="right")) - 1


class Account(Protocol):
    """Takes in all segments of a corpus part, rows in order, and says at the end what is missing or too much."""

    def enter(self, name: str, segments: Segments) -> list[Finding]:
        """The next rows.

        Args:
            name: The file, which findings name.
            segments: Each within its record.
        """
        ...

    def skip(self) -> None:
        """Rows could not be taken in, which is told elsewhere: what comes next is not held against them."""
        ...

    def close(self, name: str) -> Checked:
        """The balance: what is broken, and what the manifest must count, derived anew from records and segments."""
        ...
