"""The order in which permutation language modelling predicts the residues of a segment.

Residues are put in a random order; those at its end are the targets, numbered 0, 1, 2, … as they come, and those before
them are the context that all targets see::

    residues    M   K   T   V   R        in random order: R T M | V K, with two targets
    ranks      -1   1  -1   0  -1

The order is drawn by counter, so that it is that of the segment wherever it lies (law 7). Cost: 50 ns a residue.
"""

import numpy as np

from pipeline.core.ragged import offsets_of, ramps
from pipeline.core.randomness import PURPOSE_FACTORISATION
from pipeline.core.segments import RESIDUES_AT_A_TIME, Int64Array, Segments, slices
from pipeline.core.shuffled_runs import shuffled_runs


def permutation_ranks(segments: Segments, predicted: float, *, seed: int, epoch: int) -> Int64Array:
    """The rank of each residue of all segments, end to end: int64 [residues], −1 for context.

    Args:
        segments: Of a batch.
        predicted: Share of the residues that are targets, above 0 and up to 1; a segment has at least one.
        seed: Of the run.
        epoch: Each epoch has other orders.
    """
    counts, keys = segments.num_residues(), segments.keys(PURPOSE_FACTORISATION, seed, epoch)
    num_targets = np.maximum(np.rint(counts * predicted).astype(np.int64), np.minimum(counts, 1))
    ranks = np.empty(int(counts.sum()), dtype=np.int64)
    offsets = offsets_of(counts)
    for few in slices(counts, RESIDUES_AT_A_TIME):
        order = shuffled_runs(keys[few], counts[few])
        places = order + np.repeat(offsets[:-1][few], counts[few])
        ranks[places] = ramps(counts[few], num_targets[few] - counts[few])
    return np.maximum(ranks, -1)
