"""Which records an epoch trains on: all, each with a probability, or one of each cluster.

::

    weight            keep a record if uniform(seed, epoch, record key) < its weight
    one-per-cluster   keep member i of a cluster of n if hash(seed, epoch, representative) mod n = i

Both are decided record by record: no part of a corpus needs another, and an epoch's draw does not depend on what was
drawn before. One-per-cluster draws exactly one member of every cluster; if that member is excluded or held out, the
epoch has none of the cluster. Draws of different epochs are independent, so that k of them reach n(1 − (1 − 1/n)^k)
of n members on average, which is how ESM-2 sees UniRef90 through UniRef50.

Golden vector: of a thousand members of UniRef50_P12345 (``xxh3_64`` of the name: 9310967318878767984), seed 0 draws
number 757 in epoch 0 and number 403 in epoch 1.

The remainder of a 64-bit hash favours the first members of a cluster by less than n / 2^64 of their probability, 10^-11
for a hundred million members: nothing that could be measured.

Cost: 20 ns a record, besides hashing the names.
"""

from enum import StrEnum

import numpy as np
import numpy.typing as npt

from pipeline.core.randomness import PURPOSE_KEEP, PURPOSE_MEMBER, UInt64Array, derive_key, draw, uniform, words

BoolArray = npt.NDArray[np.bool_]
IntArray = npt.NDArray[np.integer]


class Sample(StrEnum):
    """Which records of train an epoch takes; valid and test are always kept whole."""

    ALL = "all"
    """Every one, whatever its weight."""
    WEIGHT = "weight"
    """Each with its weight as the probability of being kept."""
    ONE_PER_CLUSTER = "one-per-cluster"
    """One member of each cluster, another draw each epoch."""


def keep_by_weight(weight: npt.NDArray[np.floating], record_keys: UInt64Array, *, seed: int, epoch: int) -> BoolArray:
    """Which records an epoch keeps, each with its weight as probability.

    Args:
        weight: Floats [records]: 1 and more keeps always, 0 never.
        record_keys: uint64 [records].
        seed: The preparation seed.
        epoch: The preparation epoch.

    Returns:
        bool [records].
    """
    bits = draw(derive_key(PURPOSE_KEEP, seed, epoch, record_keys), 0)
    return np.asarray(uniform(bits) < weight)


def one_per_cluster(
    representative_keys: UInt64Array, cluster_size: IntArray, member_index: IntArray, *, seed: int, epoch: int
) -> BoolArray:
    """Which records are the members that an epoch draws from their clusters.

    Args:
        representative_keys: uint64 [records], ``xxh3_64`` of the name of each record's representative.
        cluster_size: Integers [records], members of its cluster, itself included.
        member_index: Integers [records], its rank among them, from 0.
        seed: The preparation seed.
        epoch: The preparation epoch.

    Returns:
        bool [records].
    """
    bits = draw(derive_key(PURPOSE_MEMBER, seed, epoch, representative_keys), 0)
    return np.asarray(np.remainder(bits, words(cluster_size)) == words(member_index))
