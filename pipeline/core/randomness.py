"""The one source of randomness: a counter hash with fixed constants.

Whatever reaches bytes, order or masks is drawn here and not from ``numpy.random``, whose streams may change between
versions. The hash is SplitMix64 (Steele, Lea, Flood 2014, doi:10.1145/2660193.2660195) read as a function of its
position: ``draw(key, i)`` is the i-th output of a generator seeded with ``key``, so any value can be had without those
before it, on any machine, in any order.

::

    key = derive_key(PURPOSE_CROP, seed, epoch, record_keys)     one key a record
    bits = draw(key, counter)                                    64 bits, uniform
    draw_runs(keys, counts)                                      counters 0 … count − 1 under each key, end to end
    uniform(bits)                                                float64 in [0, 1)
    below(bits, n)                                               integer in [0, n)

Every use has a purpose of its own (the constants below), so that no two draws share a stream. The constants and the
arithmetic must never change: golden vectors in the tests pin them. All arithmetic is modulo 2^64, by ufuncs rather than
operators: the operators of numpy scalars warn when an integer wraps, ufuncs do not. A value is the same whether it
was drawn alone or in an array of any shape. Cost: 3 ns a draw in ``draw_runs`` for up to 16,000 draws a call, three
times that above, where every temporary array is fetched from the operating system anew.
"""

from functools import lru_cache

import numpy as np
import numpy.typing as npt

UInt64Array = npt.NDArray[np.uint64]
Words = npt.NDArray[np.integer] | np.integer | int

_GAMMA = np.uint64(0x9E3779B97F4A7C15)
_MULTIPLIER_1 = np.uint64(0xBF58476D1CE4E5B9)
_MULTIPLIER_2 = np.uint64(0x94D049BB133111EB)
_MASK_64 = (1 << 64) - 1
_LARGEST_BOUND = 1 << 32

PURPOSE_PLACE = 1
"""Which record of a length takes which place of the plan."""
PURPOSE_ROW = 2
"""The order of rows within a part of the plan."""
PURPOSE_SLOT = 3
"""The order of segments within a row."""
PURPOSE_CROP = 4
"""Where a crop starts in a record that is too long."""
PURPOSE_ROW_GROUP = 5
"""The order of row groups in an epoch."""
PURPOSE_ROW_IN_GROUP = 6
"""The order of rows within a row group in an epoch."""
PURPOSE_NOISE_RATE = 7
"""The mask rate of a segment."""
PURPOSE_MASK = 8
"""Which tokens of a segment are masked."""
PURPOSE_REPLACEMENT = 9
"""What a masked token becomes."""
PURPOSE_PART = 10
"""The packing seed of one corpus part."""
PURPOSE_TIMESTEP = 11
"""The diffusion timestep of a segment."""
PURPOSE_SPAN = 12
"""The lengths of the spans that span corruption hides."""
PURPOSE_GAP = 13
"""The lengths of the gaps between them."""
PURPOSE_FACTORISATION = 14
"""The order in which permutation language modelling predicts the residues of a segment."""
PURPOSE_MIXTURE = 15
"""In which order a mixture takes the row groups of its datasets."""
PURPOSE_DIRECTION = 16
"""Which way a segment is read."""
PURPOSE_MEMBER = 18
"""Which member of a cluster an epoch takes."""
PURPOSE_KEEP = 19
"""Whether an epoch keeps a weighted record."""
PURPOSE_SPLIT = 20
"""Which split a cluster is in."""


def words(values: Words) -> UInt64Array:
    """Integers as uint64, negative or long ones reduced modulo 2^64; an array keeps its shape."""
    if isinstance(values, int):
        return np.asarray(values & _MASK_64, dtype=np.uint64)
    array = np.asarray(values)
    assert array.dtype.kind in "uib", f"keys and counters are integers, not {array.dtype}"
    return array.astype(np.uint64, copy=False)


def mix(values: Words) -> UInt64Array:
    """SplitMix64's finaliser: a bijection of uint64 in which every input bit moves about half of the output bits."""
    return _mix_in_place(np.array(words(values)))


def draw(key: Words, counter: Words) -> UInt64Array:
    """64 uniform bits for each counter under each key.

    Args:
        key: uint64, scalar or array.
        counter: uint64, scalar or array; broadcast against ``key``.

    Returns:
        uint64 array of the broadcast shape: output number ``counter`` of SplitMix64 seeded with ``key``.
    """
    steps = np.multiply(np.add(words(counter), np.uint64(1)), _GAMMA)
    return _mix_in_place(np.asarray(np.add(words(key), steps)))


def draw_runs(keys: UInt64Array, counts: npt.NDArray[np.integer]) -> UInt64Array:
    """The first draws under each key, end to end: ``concatenate([draw(key, arange(count)) for each key])``.

    States rise by the same step within a run, so they are one running sum over steps, with a jump where a key begins.

    Args:
        keys: uint64 [runs].
        counts: Draws wanted from each key, integers [runs]; may be 0.

    Returns:
        uint64 [sum of counts].
    """
    drawn = np.flatnonzero(counts)
    keys, counts = words(keys)[drawn], words(counts)[drawn]
    if not drawn.size:
        return np.empty(0, dtype=np.uint64)
    ends = np.cumsum(counts)
    states = np.full(int(ends[-1]), _GAMMA)
    states[:1] += keys[:1]
    states[ends[:-1]] += keys[1:] - (keys[:-1] + counts[:-1] * _GAMMA)
    return _mix_in_place(np.add.accumulate(states, out=states))


def _mix_in_place(values: UInt64Array) -> UInt64Array:
    # With out= and one scratch array a draw costs half of what fresh temporaries would.
    scratch = np.empty_like(values)
    for shift, multiplier in ((30, _MULTIPLIER_1), (27, _MULTIPLIER_2)):
        np.right_shift(values, np.uint64(shift), out=scratch)
        np.bitwise_xor(values, scratch, out=values)
        np.multiply(values, multiplier, out=values)
    np.right_shift(values, np.uint64(31), out=scratch)
    return np.bitwise_xor(values, scratch, out=values)


def derive_key(purpose: int, *parts: Words) -> UInt64Array:
    """One key from a purpose and any number of parts (seed, epoch, record key, start, …), in order.

    Args:
        purpose: One of the ``PURPOSE_`` constants.
        parts: uint64 scalars or arrays; broadcast against each other.

    Returns:
        uint64 array of the broadcast shape (0-dimensional when every part is a scalar).
    """
    leading: list[int] = []
    for part in parts:
        if not isinstance(part, int):
            break
        leading.append(part)
    key = _derive_from_integers(purpose, *leading)
    for part in parts[len(leading) :]:
        key = _join(key, part)
    return key.copy()


@lru_cache(maxsize=64)
def _derive_from_integers(purpose: int, *parts: int) -> UInt64Array:
    # Kept, because the same purpose, seed and epoch come with every batch, and numpy is slow on scalars.
    key = draw(purpose, 0)
    for part in parts:
        key = _join(key, part)
    return key


def _join(key: UInt64Array, part: Words) -> UInt64Array:
    # The part is mixed before it is joined, so that small integers and their sums do not cancel.
    return _mix_in_place(np.asarray(np.bitwise_xor(key, draw(part, 1))))


def uniform(bits: UInt64Array) -> npt.NDArray[np.float64]:
    """The upper 53 bits as float64 in [0, 1)."""
    return np.asarray(np.multiply(_upper(bits, 53), 2.0**-53))


def below(bits: UInt64Array, bound: Words) -> UInt64Array:
    """An integer in [0, bound) from the upper 32 bits (Lemire 2019, doi:10.1145/3230636, without rejection).

    A value's probability is off by at most the share bound / 2^32 of itself, 10^-5 for the longest protein.

    Args:
        bits: uint64 array of draws.
        bound: 1 … 2^32, scalar or array; broadcast against ``bits``. Larger ones would wrap.
    """
    limits = words(bound)
    assert limits.size == 0 or (int(limits.min()) >= 1 and int(limits.max()) <= _LARGEST_BOUND), "bound is 1 … 2^32"
    return np.asarray(np.right_shift(np.multiply(_upper(bits, 32), limits), np.uint64(32)))


def _upper(bits: UInt64Array, num_bits: int) -> UInt64Array:
    return np.asarray(np.right_shift(words(bits), np.uint64(64 - num_bits)))


def words_of(text: str) -> UInt64Array:
    """The UTF-8 bytes as little-endian uint64, filled up with zeros: what a key can be derived from."""
    data = text.encode()
    return np.frombuffer(data + bytes(-len(data) % 8), dtype="<u8").astype(np.uint64)
