"""Low-complexity segments of proteins, as the first stage of SEG finds them.

SEG (Wootton & Federhen 1993, doi:10.1016/0097-8485(93)85006-X) slides a window of 12 residues and takes the entropy of
its composition. A window of at most 2.2 bits triggers; it is extended over the neighbouring windows of at most 2.5
bits; what such a run of windows covers is a segment::

    residues   M K V L A A A A A A A A A A T K V E L D R G H …
    entropy    ▁ 3.0 2.5 2.1 1.7 … 2.2 2.4 2.7 ▁               of the window that starts there, in bits
    run              └───────────────────┘                     at most 2.5 each, one of them at most 2.2
    segment          └──────────────────────────────┘          what these windows cover

These are SEG's default parameters and its segments before its second stage, which trims each one to its least likely
part; so a little more is found than SEG masks. A window lies within one record; one shorter than a window has none.

Entropy needs no logarithm here. Let a window hold letter a c(a) times. Its score is Σ c(a)·(c(a) - 1)/2, the pairs of
equal residues, and 3 for each residue that repeats one before it. Over all 77 ways to divide 12 residues among letters,
entropy is at most 2.2 bits exactly when the score is at least 32, and at most 2.5 exactly when it is at least 26 (a
test goes through them). Both sums come from comparing the residues with themselves, shifted by 1 … 11.

Checked against ncbi-seg on the proteomes of E. coli and yeast: segments in the same proteins, and in these 25 % more
residues than it masks after its second stage.

Cost: 55 passes of one-byte operations, which the processor does 32 at a time, in pieces that stay in its cache; then
array work on the windows of at most 2.5 bits, one in twenty to one in ten. 4 to 5 ns a residue on one core. Memory: one
byte a residue, and some tens of bytes for each of those windows.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.core.alphabet import ByteArray, Offsets

WINDOW = 12
"""Residues in a window."""

TRIGGER_BITS = 2.2
"""Entropy at most that of a window which makes a segment."""

EXTENSION_BITS = 2.5
"""Entropy at most that of a window which belongs to a segment beside it."""

TRIGGER_SCORE = 32
"""Score of a window of at most ``TRIGGER_BITS``, or more."""

EXTENSION_SCORE = 26
"""Score of a window of at most ``EXTENSION_BITS``, or more."""

REPEAT_SCORE = 3
"""What each residue counts that has an equal one before it in the window."""

_PIECE = 1 << 17


@dataclass(frozen=True, slots=True, kw_only=True)
class Segments:
    """Low-complexity segments in order of start; those of one record may overlap by less than a window."""

    record: npt.NDArray[np.int64]
    """int64[k]: index of the record."""
    start: npt.NDArray[np.int64]
    """int64[k]: first residue, an index into the joined residues."""
    end: npt.NDArray[np.int64]
    """int64[k]: the residue after the last one."""


def window_scores(residues: ByteArray) -> ByteArray:
    """The score of every window, whatever records it touches.

    Args:
        residues: uint8[total].

    Returns:
        uint8[max(0, total - 11)]: score of the window that starts at each residue, 0 … 99.
    """
    num_windows = max(0, len(residues) - WINDOW + 1)
    scores = np.zeros(num_windows, dtype=np.uint8)
    for first in range(0, num_windows, _PIECE):
        piece = scores[first : first + _PIECE]
        _add_scores(residues[first : first + len(piece) + WINDOW - 1], piece)
    return scores


def _add_scores(residues: ByteArray, scores: ByteArray) -> None:
    num_windows = len(scores)
    matches = np.zeros(len(residues), dtype=np.uint8)
    repeats = np.zeros(num_windows, dtype=np.uint8)
    for shift in range(1, WINDOW):
        # matches[i]: how many of the next ``shift`` residues equal residue i.
        matches[:-shift] += residues[shift:] == residues[:-shift]
        # These are the residues with just ``shift`` others of their window behind them.
        behind = matches[WINDOW - 1 - shift : WINDOW - 1 - shift + num_windows]
        scores += behind
        repeats += behind != 0
    scores += np.uint8(REPEAT_SCORE) * repeats


def find_segments(residues: ByteArray, offsets: Offsets) -> Segments:
    """The low-complexity segments of a set of records.

    Args:
        residues: uint8[total], upper case.
        offsets: int64[n + 1].
    """
    scores = window_scores(residues)
    windows = np.flatnonzero(scores >= EXTENSION_SCORE)
    # Looking up the few offsets among the many windows is several times cheaper than the other way round.
    record = np.repeat(np.arange(len(offsets) - 1), np.diff(np.searchsorted(windows, offsets)))
    within = windows + WINDOW <= offsets[record + 1]
    windows, record = windows[within], record[within]
    # Runs end where records do, because no window starts at the last 11 residues of one.
    firsts = np.flatnonzero(np.diff(windows, prepend=-2) != 1)
    if not len(firsts):
        return Segments(record=record, start=windows, end=windows)
    triggered = np.maximum.reduceat(scores[windows], firsts) >= TRIGGER_SCORE
    lasts = np.append(firsts[1:], len(windows)) - 1
    firsts, lasts = firsts[triggered], lasts[triggered]
    return Segments(record=record[firsts], start=windows[firsts], end=windows[lasts] + WINDOW)


def low_complexity_residues(residues: ByteArray, offsets: Offsets) -> npt.NDArray[np.int64]:
    """How many residues of each record lie in low-complexity segments, each residue counted once.

    Args:
        residues: uint8[total], upper case.
        offsets: int64[n + 1].

    Returns:
        int64[n].
    """
    segments = find_segments(residues, offsets)
    counts = np.zeros(len(offsets) - 1, dtype=np.int64)
    if len(segments.start):
        fresh = segments.start.copy()
        np.maximum(fresh[1:], segments.end[:-1], out=fresh[1:])
        np.add.at(counts, segments.record, segments.end - fresh)
    return counts
