"""Pairs of records that may be alike: those that have words of residues in common, on neighbouring diagonals.

::

    query    M K V L A A G I V G L L L …     word   # # . . # . #      a Golomb ruler: no two pairs of marks
               # #     #   #                                           are equally far apart
    target   R K V T S A D I V P L M L …     diagonal = place in the query − place in the target

A pair is a candidate where two words lie on diagonals at most 16 apart; one word is enough where one of the records is
shorter than 60. Two words of one ruler on one diagonal share at most one mark: they are at least seven identical
residues, and chance finds few.

Words are of the 20 letters, not of groups of them, for pairs are wanted by identity. At 50 % identity a word of four is
expected at every sixteenth residue; for as many finds by chance, words of ten groups (Murphy et al. 2000,
doi:10.1093/protein/13.3.149) come up three quarters as often. Homologues of proteins of E. coli that are candidates,
drawn with BLOSUM62's substitutions, rates that differ from site to site and gaps (1,867 that cover 80 % of both):

=====================  ===========  ===========  ===========  =========  ===================
identity, length       50 to 55 %   55 to 60 %   60 to 70 %   over 70 %  pairs left by chance
=====================  ===========  ===========  ===========  =========  ===================
words of four, … 59    71 %         86 %         93 %         100 %
60 … 119               98 %         100 %        100 %        100 %
120 …                  100 %        100 %        100 %        100 %      10 %
words of five, … 59    50 %         86 %         87 %         86 %
60 … 119               96 %         100 %        100 %        100 %
120 …                  100 %        100 %        100 %        100 %      0.3 %
words of six, … 59     43 %         64 %         80 %         81 %
60 … 119               92 %         88 %         100 %        100 %
120 …                  99 %         100 %        100 %        100 %      0.04 %
=====================  ===========  ===========  ===========  =========  ===================

Of 36,095 pairs of haemoglobin domains that are at least 50 % identical over 80 % of both, 36,089 are candidates by
words of four, 36,087 of five, 35,899 of six; of 1,381 pairs of xylanases 1,381, 1,381 and 1,378.

Words that more than 4,096 places of the targets begin with are passed over: repeats of one or two letters.

Cost: 4 bytes for each residue of the targets, and 8 for each ruler; the queries come in blocks.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.core.ragged import offsets_of, ramps

Int64Array = npt.NDArray[np.int64]
Marks = tuple[int, ...]

WORDS_OF_FOUR: tuple[Marks, ...] = ((0, 1, 4, 6),)
WORDS_OF_FIVE: tuple[Marks, ...] = ((0, 1, 4, 9, 11), (0, 2, 7, 10, 11))
WORDS_OF_SIX: tuple[Marks, ...] = (
    (0, 1, 4, 10, 12, 17),
    (0, 2, 7, 13, 16, 17),
    (0, 1, 8, 11, 13, 17),
    (0, 3, 5, 9, 16, 17),
)
BAND = 16
"""Diagonals that two words may be apart; gaps lie between them."""
SHORT_LENGTH = 60
"""Below it a single word is enough, for two are not to be expected."""

_STANDARD = b"ACDEFGHIKLMNPQRSTVWY"
_NO_LETTER = len(_STANDARD)
_MOST_PLACES = 4096
_RESIDUES_PER_BLOCK = 1 << 18
_FINDS_PER_BLOCK = 1 << 22


class Records(NamedTuple):
    """Records laid end to end."""

    residues: npt.NDArray[np.uint8]
    """uint8 [residues]: upper-case letters."""
    offsets: Int64Array
    """int64 [records + 1]: where each begins."""

    @property
    def lengths(self) -> Int64Array:
        """int64 [records]: residues of each."""
        return np.diff(self.offsets)

    def between(self, first: int, last: int) -> "Records":
        """Those from the first to before the last; the residues are a view."""
        offsets = self.offsets[first : last + 1]
        return Records(self.residues[offsets[0] : offsets[-1]], offsets - offsets[0])


class Windows(NamedTuple):
    """Which targets each query is compared with: those from ``first`` to before ``last``."""

    first: Int64Array
    last: Int64Array


class WordIndex:
    """Where the words of the targets are.

    Args:
        targets: Records, of any lengths.
        rulers: The marks of each kind of word, ascending from 0.
    """

    def __init__(self, targets: Records, rulers: Sequence[Marks]) -> None:
        self.targets = targets
        self._rulers = rulers
        self._record = np.repeat(np.arange(len(targets.lengths), dtype=np.uint32), targets.lengths)
        self._stride = max(1, len(targets.residues))
        self._keys = [self._sorted_keys(marks) for marks in rulers]

    def _sorted_keys(self, marks: Marks) -> Int64Array:
        place, word = _words(self.targets, marks)
        keys = word * self._stride + place
        keys.sort()
        return keys

    def candidates(self, queries: Records, windows: Windows) -> Iterator[tuple[Int64Array, Int64Array]]:
        """Queries and targets of the candidates, block by block, in the order of queries, then targets.

        Args:
            queries: Records.
            windows: Of each query.

        Yields:
            int64 [candidates] twice.
        """
        for first, last in blocks_of(queries.lengths, _RESIDUES_PER_BLOCK):
            block = queries.between(first, last)
            chosen = Windows(windows.first[first:last], windows.last[first:last])
            finds = [
                self._finds(block, chosen, marks, keys) for marks, keys in zip(self._rulers, self._keys, strict=True)
            ]
            num_finds = np.sum([find.per_record for find in finds], axis=0)
            for start, stop in blocks_of(num_finds, _FINDS_PER_BLOCK):
                query, target = self._linked(block, finds, start, stop)
                yield query + first, target

    def _finds(self, queries: Records, windows: Windows, marks: Marks, keys: Int64Array) -> "_Finds":
        """Words of the queries, and the range of equal words among the targets of their windows."""
        place, word = _words(queries, marks)
        record = np.repeat(np.arange(len(queries.lengths)), queries.lengths)[place]
        offsets, base = self.targets.offsets, word * self._stride
        # Keys ascend by word, then place: those of a word in a window of targets lie side by side.
        start = np.searchsorted(keys, base + offsets[windows.first][record])
        count = np.searchsorted(keys, base + offsets[windows.last][record]) - start
        count[count > _MOST_PLACES] = 0
        per_record = np.bincount(record, weights=count, minlength=len(queries.lengths)).astype(np.int64)
        return _Finds(keys, place, record, base, start, count, per_record)

    def _linked(
        self, queries: Records, finds: Sequence["_Finds"], first: int, last: int
    ) -> tuple[Int64Array, Int64Array]:
        """Pairs among the queries of a range whose finds lie near enough to each other."""
        longest = int(self.targets.lengths.max(initial=0))
        # A pair's diagonals are numbered from 0 to before this, so that those of two pairs are never near.
        num_diagonals = int(queries.lengths.max(initial=0)) + longest + BAND + 1
        num_targets = max(1, len(self.targets.lengths))
        keys = []
        for find in finds:
            chosen = slice(*np.searchsorted(find.record, [first, last]))
            count = find.num_places[chosen]
            target_place = find.keys[ramps(count, find.start[chosen])] - np.repeat(find.base[chosen], count)
            target = self._record[target_place].astype(np.int64)
            record = np.repeat(find.record[chosen], count)
            diagonal = np.repeat(find.place[chosen], count) - queries.offsets[record]
            diagonal -= target_place - self.targets.offsets[target]
            keys.append((record * num_targets + target) * num_diagonals + diagonal + longest)
        joined = np.concatenate(keys)
        joined.sort()
        is_near = np.zeros(len(joined), dtype=np.bool_)
        is_near[1:] = np.diff(joined) <= BAND
        pair = joined // num_diagonals
        is_near |= (
            np.minimum(queries.lengths[pair // num_targets], self.targets.lengths[pair % num_targets]) < SHORT_LENGTH
        )
        pair = pair[is_near]
        pair = pair[np.diff(pair, prepend=-1) > 0]
        return pair // num_targets, pair % num_targets


class _Finds(NamedTuple):
    """Words of queries, arrays [words] ascending by place, but for the last."""

    keys: Int64Array
    """int64 [words of the targets]."""
    place: Int64Array
    record: Int64Array
    base: Int64Array
    """The key of the word at place 0."""
    start: Int64Array
    num_places: Int64Array
    """Equal words in the window of the query."""
    per_record: Int64Array
    """int64 [queries]."""


def blocks_of(sizes: Int64Array, limit: int) -> Iterator[tuple[int, int]]:
    """Ranges of items, one after another, whose sizes add up to at most a limit, or of one item.

    Args:
        sizes: int64 [items].
        limit: Of the sum.
    """
    ends, first = offsets_of(sizes), 0
    while first < len(sizes):
        last = max(first + 1, int(np.searchsorted(ends, ends[first] + limit, side="right")) - 1)
        yield first, last
        first = last


def _words(records: Records, marks: Marks) -> tuple[Int64Array, Int64Array]:
    """Places where a word of standard letters begins within a record, ascending, and its number."""
    num_places = max(0, len(records.residues) - marks[-1])
    letters = _LETTERS[records.residues]
    word = np.zeros(num_places, dtype=np.int64)
    is_word = np.ones(num_places, dtype=np.bool_)
    for mark in marks:
        letter = letters[mark : mark + num_places]
        word *= len(_STANDARD)
        word += letter
        is_word &= letter != _NO_LETTER
    # A word that begins less than its span before the end of a record ends in another.
    for back in range(1, marks[-1] + 1):
        last = records.offsets[1:] - back
        is_word[last[(last >= 0) & (last < num_places)]] = False
    place = np.flatnonzero(is_word)
    return place, word[place]


def _letter_numbers() -> npt.NDArray[np.uint8]:
    numbers = np.full(256, _NO_LETTER, dtype=np.uint8)
    numbers[np.frombuffer(_STANDARD, dtype=np.uint8)] = np.arange(len(_STANDARD))
    return numbers


_LETTERS = _letter_numbers()
