"""Which rows and columns of an alignment an epoch sees: the query, some of the others, and a window if it is wide.

::

    row 0   M K V A C D E …      the query: always there, always first
        1   M - V A C D E …
        2   M K V - C D E …  ◀── drawn
        3   - - V A C - E …
        4   M R V A C D - …  ◀── drawn; rows keep their order
              └─ window ─┘       the same columns of every row

How MSA Transformer is trained (Rao et al. 2021, doi:10.1101/2021.02.12.430858): rows at random without replacement, the
query always among them, rows times columns at most 2^14 tokens; its positions end at 1,024 rows and 1,024 columns, and
the special token in front of each row is one of the columns. What it does with an alignment that is wider is not
published: here a window is drawn. Rows that were drawn stand in the order of the alignment, another choice of this
package.

Rows and window depend on (seed, epoch, alignment key), on the alignment's shape and on the limits, and on nothing else.
Cost: 0.1 ms an alignment and 80 ns a row of it.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from pipeline.core.randomness import PURPOSE_CROP, below, derive_key, draw
from pipeline.core.segments import Int64Array
from pipeline.core.shuffled_runs import random_subsets

PURPOSE_ALIGNMENT_ROWS = 32
"""Which rows of an alignment an epoch takes; one of the purposes of :mod:`pipeline.core.randomness`."""

MAX_ROWS = 1024
"""Rows of an alignment, as MSA Transformer has positions for."""
MAX_COLUMNS = 1024
"""Tokens of a row, special tokens included, likewise."""
MAX_TOKENS = 1 << 14
"""Rows times tokens of a row."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AlignmentLimits:
    """How much of an alignment is taken; the defaults are those of MSA Transformer."""

    max_rows: int = MAX_ROWS
    """Rows, the query included."""
    max_columns: int = MAX_COLUMNS
    """Tokens of a row, special tokens included."""
    max_tokens: int = MAX_TOKENS
    """Rows times tokens of a row."""


class AlignmentSample(NamedTuple):
    """What is taken of an alignment."""

    rows: Int64Array
    """int64 [rows], rising, the first one 0."""
    first_column: int
    """First column of the window."""
    num_columns: int
    """Columns of the window."""


def sample_alignment(
    key: int, *, depth: int, width: int, limits: AlignmentLimits, num_special: int, seed: int, epoch: int
) -> AlignmentSample:
    """What an epoch takes of an alignment.

    Args:
        key: Of the alignment, uint64.
        depth: Its rows, at least 1.
        width: Its columns, at least 1.
        limits: With room for the special tokens and a column.
        num_special: Special tokens of each row.
        seed: Of the run.
        epoch: Each epoch draws anew.
    """
    num_columns = min(width, min(limits.max_columns, limits.max_tokens) - num_special)
    num_rows = min(depth, limits.max_rows, limits.max_tokens // (num_columns + num_special))
    keys = np.array([key], dtype=np.uint64)  # no plain integer: those of many alignments would crowd the cache of keys
    first_column = 0
    if num_columns < width:
        bits = draw(derive_key(PURPOSE_CROP, seed, epoch, keys), 0)
        first_column = int(below(bits, width - num_columns + 1)[0])
    if num_rows == depth:
        return AlignmentSample(np.arange(depth), first_column, num_columns)
    row_keys = derive_key(PURPOSE_ALIGNMENT_ROWS, seed, epoch, keys)
    others = random_subsets(row_keys, np.array([depth - 1]), np.array([num_rows - 1]))
    return AlignmentSample(np.concatenate(([0], others + 1)), first_column, num_columns)
