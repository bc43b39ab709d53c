"""What attention over rows without a mask needs: where sequences begin and end in rows laid end to end.

::

    two rows of 8, alignment 4     a a a . b b . .   c c c c c . . .      tokens, . is padding
    cumulative_lengths             0     3 4   6     8         13  16 16  16 …
    segment_bounds, tokens         0       3         5         10  10 …
                    places         0       4         8         16  16 …

``cumulative_lengths`` cuts all tokens into sequences, each stretch of padding one of its own, as flash-attention's
variable-length functions take them (cu_seqlens): no token sees one of another sequence. ``segment_bounds``
leaves padding out, as Transformer Engine's thd format takes them (cu_seqlens and cu_seqlens_padded). Both are filled up
to a fixed size with sequences of no tokens, because shapes that change make compiled models compile anew.
"""

import numpy as np
import numpy.typing as npt

from pipeline.core.layout import segment_places
from pipeline.core.ragged import offsets_of
from pipeline.errors import IntegrityError

IntArray = npt.NDArray[np.integer]
Int32Array = npt.NDArray[np.int32]
Int64Array = npt.NDArray[np.int64]


def most_sequences(num_rows: int, most_segments: int, alignment: int) -> int:
    """The most sequences that ``cumulative_lengths`` can find in rows of at most so many segments."""
    gaps = max(1, most_segments) if alignment > 1 else 1
    return num_rows * (most_segments + gaps)


def cumulative_lengths(
    lengths: IntArray, row_offsets: IntArray, row_length: int, *, alignment: int, size: int
) -> Int32Array:
    """Bounds of the sequences in rows laid end to end, padding included: int32 [size + 1], from 0 to rows · row_length.

    Args:
        lengths: Integers [segments], tokens of each segment, by (row, slot).
        row_offsets: Integers [rows + 1], the segments of row r are ``row_offsets[r]`` … ``row_offsets[r + 1] − 1``.
        row_length: Tokens a row holds.
        alignment: Segments begin at multiples of this.
        size: Sequences to say; ``most_sequences`` are always enough.

    Raises:
        IntegrityError: There are more.
    """
    begins = segment_places(lengths, row_offsets, row_length, alignment)
    rows = np.arange(len(row_offsets)) * row_length
    return _filled(np.unique(np.concatenate((begins, begins + lengths, rows))), size)


def segment_bounds(
    lengths: IntArray, row_offsets: IntArray, row_length: int, *, alignment: int, size: int
) -> tuple[Int32Array, Int32Array]:
    """Bounds of the segments, counted without padding and with it: two int32 [size + 1].

    The first says how many tokens of segments come before each, the second where each begins; what is between the end
    of one and the begin of the next is padding. Arguments as for ``cumulative_lengths``.
    """
    tokens = offsets_of(lengths)
    num_tokens = (len(row_offsets) - 1) * row_length
    places = np.append(segment_places(lengths, row_offsets, row_length, alignment), num_tokens)
    return _filled(tokens, size), _filled(places, size)


def _filled(bounds: Int64Array, size: int) -> Int32Array:
    if len(bounds) > size + 1:
        raise IntegrityError(
            f"expected at most {size:,} sequences in a batch, found {len(bounds) - 1:,}",
            hint="the manifest of the shards says that their rows hold fewer segments: run `pipeline verify` on them",
        )
    filled = np.full(size + 1, bounds[-1], dtype=np.int32)
    filled[: len(bounds)] = bounds
    return filled
