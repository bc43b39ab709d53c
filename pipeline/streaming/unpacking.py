"""Outputs of a model on packed rows, protein by protein again.

::

    outputs [rows, length, …]    a a a a b b . .  │  c c c c c c c .
    unpack                      [a a a a]  [b b]    [c c c c c c c]         views; in the order of the batch's segments
"""

from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any, TypeVar

import numpy as np

from pipeline.errors import ConfigurationError

_Array = TypeVar("_Array")


def unpack(
    batch: Mapping[str, Any], outputs: _Array, *, num_prefix: int = 0, num_suffix: int = 0, padding: int = -1
) -> list[_Array]:
    """The part of each segment.

    Args:
        batch: With ``sequence_id``, an array or a tensor on any device; where it is boolean, each row is one segment.
        outputs: An array or tensor [rows, length, …], such as logits, embeddings or a loss for each token.
        num_prefix: Special tokens to leave out before the residues of each segment.
        num_suffix: Special tokens to leave out after them.
        padding: What ``sequence_id`` says of padding: 0 with sequence_ids="one-based".

    Returns:
        A view for each segment, by (row, slot): [tokens of the segment − special tokens, …].

    Raises:
        ConfigurationError: The shapes do not fit, or segments are numbered from 1 on and padding is not said to be 0.
    """
    sequence_id = _as_array(batch["sequence_id"])
    shape = tuple(getattr(outputs, "shape", ()))
    if shape[:2] != sequence_id.shape:
        raise ConfigurationError(f"unpack: expected outputs of shape {[*sequence_id.shape]} …, found {[*shape]}")
    if sequence_id.dtype == np.bool_:
        padding = 0
    elif padding < 0 and not (sequence_id < 0).any() and (sequence_id[:, 0] > 0).any():
        raise ConfigurationError("unpack: sequence_id numbers segments from 1 on", hint="say padding=0")
    return [
        outputs[row, begin + num_prefix : max(begin + num_prefix, end - num_suffix)]  # type: ignore[index]
        for row, begin, end in _segments(sequence_id, padding)
    ]


def _segments(sequence_id: Any, padding: int) -> Iterator[tuple[int, int, int]]:
    """Row, first token and end of each segment."""
    length, flat = sequence_id.shape[1], sequence_id.reshape(-1)
    changes = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    edges = np.unique(np.concatenate((changes, np.arange(0, len(flat) + 1, length))))
    for begin, end in pairwise(edges.tolist()):
        if flat[begin] != padding:
            yield begin // length, begin % length, (end - 1) % length + 1


def _as_array(value: Any) -> Any:
    return value.cpu().numpy() if hasattr(value, "cpu") else np.asarray(value)
