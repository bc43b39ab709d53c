"""Low-complexity segments against SEG's definition, written out with logarithms and loops."""

import gzip
import itertools
import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core import complexity
from pipeline.core.complexity import EXTENSION_BITS, EXTENSION_SCORE, REPEAT_SCORE, TRIGGER_BITS, TRIGGER_SCORE, WINDOW

# Few letters and repeats: random text over 20 letters would hold no segment at all.
PIECES = st.one_of(
    st.text(alphabet="ACDEFGHIKLMN", max_size=15),
    st.text(alphabet="AC", max_size=15),
    st.builds(
        lambda letters, times: letters * times, st.text(alphabet="ACDEX", min_size=1, max_size=5), st.integers(1, 9)
    ),
)
RECORDS = st.lists(st.lists(PIECES, max_size=5).map("".join).map(str.encode), max_size=8)


def join(records):
    return np.frombuffer(b"".join(records), dtype=np.uint8), np.cumsum([0, *map(len, records)], dtype=np.int64)


def partitions(total, largest):
    if total == 0:
        yield ()
    for first in range(min(total, largest), 0, -1):
        for rest in partitions(total - first, first):
            yield (first, *rest)


def entropy(counts):
    return -sum(count / WINDOW * math.log2(count / WINDOW) for count in counts)


def score(counts):
    return sum(count * (count - 1) // 2 for count in counts) + REPEAT_SCORE * (WINDOW - len(counts))


def seg_segments(record):
    """Start and end of the segments of one record, as SEG's first stage finds them."""
    bits = [entropy(Counter(record[at : at + WINDOW]).values()) for at in range(len(record) - WINDOW + 1)]
    segments, at = [], 0
    while at < len(bits):
        if bits[at] > TRIGGER_BITS:
            at += 1
            continue
        low, high = at, at
        while low > 0 and bits[low - 1] <= EXTENSION_BITS:
            low -= 1
        while high + 1 < len(bits) and bits[high + 1] <= EXTENSION_BITS:
            high += 1
        segments.append((low, high + WINDOW))
        at = high + 1
    return segments


def test_scores_decide_as_entropies_do_for_every_composition_of_a_window():
    compositions = list(partitions(WINDOW, WINDOW))
    assert len(compositions) == 77
    for counts in compositions:
        assert (score(counts) >= TRIGGER_SCORE) == (entropy(counts) <= TRIGGER_BITS), counts
        assert (score(counts) >= EXTENSION_SCORE) == (entropy(counts) <= EXTENSION_BITS), counts


@given(st.text(alphabet="ACDEFG", max_size=60).map(str.encode), st.integers(1, 40))
def test_windows_are_scored_by_their_composition_wherever_pieces_are_cut(text, piece):
    expected = [score(Counter(text[at : at + WINDOW]).values()) for at in range(len(text) - WINDOW + 1)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(complexity, "_PIECE", piece)
        scores = complexity.window_scores(np.frombuffer(text, dtype=np.uint8))
    assert scores.dtype == np.uint8
    assert scores.tolist() == expected


@given(RECORDS)
def test_segments_are_those_of_seg_record_by_record(records):
    residues, offsets = join(records)
    found = complexity.find_segments(residues, offsets)
    columns = (
        array.tolist()
        for array in (found.record, found.start - offsets[found.record], found.end - offsets[found.record])
    )
    expected = [(index, *segment) for index, record in enumerate(records) for segment in seg_segments(record)]
    assert list(zip(*columns, strict=True)) == expected


@given(RECORDS)
def test_each_residue_of_a_record_counts_once(records):
    covered = [len({at for segment in seg_segments(record) for at in range(*segment)}) for record in records]
    counts = complexity.low_complexity_residues(*join(records))
    assert counts.dtype == np.int64
    assert counts.tolist() == covered


def test_overlapping_segments_of_one_record_are_counted_once():
    # Two runs of one letter, too far apart for one run of windows and too near for segments that do not touch.
    record = b"A" * 12 + b"CDEFGHIKL" + b"M" * 12
    segments = seg_segments(record)
    assert len(segments) == 2
    assert segments[0][1] > segments[1][0]
    assert complexity.low_complexity_residues(*join([record])).tolist() == [segments[1][1] - segments[0][0]]


def test_low_complexity_does_not_run_over_the_border_of_records():
    assert complexity.low_complexity_residues(*join([b"A" * 11, b"A" * 11, b"", b"A" * 12])).tolist() == [0, 0, 0, 12]


def test_the_proteins_with_segments_are_those_in_which_ncbi_seg_finds_some(ecoli):
    # ncbi-seg 20000620 -l, default parameters: segments in 2,175 of the 4,391 proteins, 59,141 residues after trimming.
    lines = gzip.decompress(ecoli.read_bytes()).split(b"\n")
    groups = itertools.groupby(lines, key=lambda line: line.startswith(b">"))
    records = [b"".join(group) for is_header, group in groups if not is_header]
    counts = complexity.low_complexity_residues(*join(records))
    assert len(counts) == 4391
    assert np.count_nonzero(counts) == 2175
    assert counts.sum() == 73_621
