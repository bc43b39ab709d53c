"""Packers of others, written anew from what they published: whole frameworks need not be installed for one function.

- ``pack_histogram``: longest-pack-first and shortest-pack-first histogram packing (LPFHP, SPFHP), Krell, Kosec, Perez
  and Fitzgibbon, arXiv:2107.02027; their code, github.com/graphcore/examples, tutorials/blogs_code/packedBERT, is MIT.
  They say how many rows hold which lengths, not which record goes where: ``deal_by_length`` does.
- ``first_fit_scan``: axolotl's ``pack_group``, github.com/axolotl-ai-cloud/axolotl, src/axolotl/utils/samplers/
  multipack.py, Apache-2.0. Called first-fit decreasing, but as shipped it takes groups of 100,000 in the order in which
  they come. To be compiled by numba, as theirs is.
- ``first_fit_sums``: NeMo's ``first_fit_decreasing``, github.com/NVIDIA/NeMo, nemo/utils/sequence_packing_utils.py,
  Apache-2.0, which adds each bin up anew for each item.

Both loops note the bin of each item in place of lists of lists, which is no more work than theirs.
"""

from collections import defaultdict
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

IntArray = npt.NDArray[np.integer]
Int64Array = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Packed:
    """What a packer came to.

    Attributes:
        members: Integers [members], what the rows hold, row by row: items, or lengths where ``counts`` are given.
        offsets: Integers [rows + 1]; ``members[offsets[r]:offsets[r + 1]]`` are those of row r.
        counts: Integers [rows], how many rows there are like each; None: every row is there itself.
        tokens: Integers [members], where items are cut; None: they are whole.
    """

    members: IntArray
    offsets: IntArray
    counts: IntArray | None = None
    tokens: IntArray | None = None


def pack_histogram(histogram: Int64Array, capacity: int, *, longest_first: bool) -> Packed:
    """Histogram packing, any number of items a row.

    From the longest length to the shortest, all items of one length go to open packs: those with the least room that is
    enough, as often as the length fits; or those with the most room, once in each. Packs that are alike are one.
    """
    open_packs: defaultdict[int, list[tuple[int, tuple[int, ...]]]] = defaultdict(list)
    for length in range(capacity, 0, -1):
        left = int(histogram[length])
        rooms = range(length, capacity) if longest_first else range(capacity - 1, length - 1, -1)
        while left:
            room = next((room for room in rooms if room in open_packs), capacity)
            num_packs, pack = open_packs[room].pop() if room < capacity else (left, ())
            repeat = min(room // length, left) if longest_first else 1
            count = min(num_packs, left // repeat)
            if room < capacity and num_packs > count:
                open_packs[room].append((num_packs - count, pack))
            if room < capacity and not open_packs[room]:
                del open_packs[room]
            open_packs[room - repeat * length].append((count, pack + (length,) * repeat))
            left -= count * repeat
    packs = [pack for packs in open_packs.values() for pack in packs]
    return as_packed([(list(pack), count) for count, pack in packs])


def as_packed(packs: list[tuple[list[int], int]]) -> Packed:
    """Lengths that share a row, and how often."""
    sizes = [len(pack) for pack, _ in packs]
    return Packed(
        members=np.array([length for pack, _ in packs for length in pack], dtype=np.int64),
        offsets=np.concatenate(([0], np.cumsum(sizes, dtype=np.int64))),
        counts=np.array([count for _, count in packs], dtype=np.int64),
    )


def deal_by_length(packed: Packed, lengths: IntArray) -> Packed:
    """Hand the items of each length to the places for it, in order; numpy sorts two bytes by counting."""
    assert packed.counts is not None
    sizes = np.repeat(np.diff(packed.offsets), packed.counts)
    offsets = np.concatenate(([0], np.cumsum(sizes)))
    first = np.repeat(packed.offsets[:-1], packed.counts)
    length_of_place = packed.members[np.arange(offsets[-1]) + np.repeat(first - offsets[:-1], sizes)]
    order = np.empty(len(lengths), dtype=np.uint32)
    order[stable_order(length_of_place)] = stable_order(lengths)
    return Packed(members=order, offsets=offsets)


def stable_order(lengths: IntArray) -> Int64Array:
    return np.argsort(lengths.astype(np.uint16), kind="stable")


def first_fit_scan(lengths: Int64Array, capacity: int, most_items: int, bin_of_item: Int64Array) -> int:
    """First fit in the order given, looking at every bin from the first one on; returns the number of bins."""
    room, num_items = [capacity], [0]
    for item, length in enumerate(lengths):
        found = len(room)
        for number, _ in enumerate(room):
            if room[number] >= length and num_items[number] < most_items:
                found = number
                break
        if found == len(room):
            room.append(capacity)
            num_items.append(0)
        room[found] -= length
        num_items[found] += 1
        bin_of_item[item] = found
    return len(room)


def first_fit_sums(lengths: list[int], capacity: int) -> list[int]:
    """First fit in the order given: the bin of each item."""
    bins: list[list[int]] = []
    bin_of_item = []
    for length in lengths:
        number = next((number for number, held in enumerate(bins) if sum(held) + length <= capacity), len(bins))
        if number == len(bins):
            bins.append([])
        bins[number].append(length)
        bin_of_item.append(number)
    return bin_of_item
