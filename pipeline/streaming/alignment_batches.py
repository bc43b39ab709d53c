"""Samples of alignments to batches: tokens of rows drawn, padded to the largest alignment of the batch.

::

    input_ids [alignments, rows, columns]
    cls M K V A pad      row 0 is the query; every row has the special tokens of a record of its own
    cls M - V A pad
    pad pad pad pad pad
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.core.alignment_sampling import AlignmentLimits, sample_alignment
from pipeline.core.segments import Int64Array
from pipeline.core.tokenizer import Tokenizer
from pipeline.errors import ConfigurationError
from pipeline.formats.alignments import StoredAlignment
from pipeline.streaming.objectives import Batch


class SampledAlignment(NamedTuple):
    """What an epoch takes of an alignment, as tokens."""

    tokens: npt.NDArray[Any]
    """uint8 or uint16 [rows, columns and special tokens]."""
    key: int
    """uint64."""
    rows: Int64Array
    """[rows] which of the alignment."""
    first_column: int
    """Of the window."""


def check_limits(limits: AlignmentLimits, tokenizer: Tokenizer) -> AlignmentLimits:
    """The limits themselves.

    Raises:
        ConfigurationError: Not even a column of the query has room.
    """
    least = tokenizer.num_special_tokens + 1
    for name, value, smallest in (
        ("max_rows", limits.max_rows, 1),
        ("max_columns", limits.max_columns, least),
        ("max_tokens", limits.max_tokens, least),
    ):
        if value < smallest:
            raise ConfigurationError(f"{name}: expected at least {smallest}, found {value}")
    return limits


def sampled(
    alignment: StoredAlignment, tokenizer: Tokenizer, limits: AlignmentLimits, *, seed: int, epoch: int
) -> SampledAlignment:
    """The tokens that an epoch takes of an alignment.

    Args:
        alignment: As it is stored.
        tokenizer: Of the model.
        limits: That were checked.
        seed: Of the run.
        epoch: Each epoch draws anew.
    """
    depth, width = alignment.letters.shape
    rows, first, num_columns = sample_alignment(
        alignment.key,
        depth=depth,
        width=width,
        limits=limits,
        num_special=tokenizer.num_special_tokens,
        seed=seed,
        epoch=epoch,
    )
    start, stop = len(tokenizer.prefix), len(tokenizer.prefix) + num_columns
    tokens = np.empty((len(rows), num_columns + tokenizer.num_special_tokens), dtype=tokenizer.dtype)
    tokens[:, :start] = tokenizer.prefix
    tokens[:, start:stop] = tokenizer.table[alignment.letters[rows, first : first + num_columns]]
    tokens[:, stop:] = tokenizer.suffix
    return SampledAlignment(tokens, alignment.key, rows, first)


def batch_of(samples: Sequence[SampledAlignment | None], tokenizer: Tokenizer) -> Batch:
    """The batch of some samples.

    Args:
        samples: None for an alignment of padding.
        tokenizer: Of the model.

    Returns:
        What :class:`pipeline.streaming.alignment_reader.AlignmentReader` says, without the objective's part.
    """
    most_rows = max((len(one.rows) for one in samples if one is not None), default=1)
    most_columns = max((one.tokens.shape[1] for one in samples if one is not None), default=1)
    input_ids = np.full((len(samples), most_rows, most_columns), tokenizer.pad_id, dtype=tokenizer.dtype)
    row_indices = np.full((len(samples), most_rows), -1, dtype=np.int32)
    keys = np.zeros(len(samples), dtype=np.uint64)
    sizes = np.zeros((3, len(samples)), dtype=np.int32)
    for at, one in enumerate(samples):
        if one is None:
            continue
        num_rows, num_tokens = one.tokens.shape
        input_ids[at, :num_rows, :num_tokens] = one.tokens
        row_indices[at, :num_rows] = one.rows
        keys[at] = one.key
        sizes[:, at] = one.first_column, num_tokens - tokenizer.num_special_tokens, num_tokens
    return {
        "input_ids": input_ids,
        "row_mask": row_indices >= 0,
        "column_mask": np.arange(most_columns) < sizes[2][:, None],
        "alignment_keys": keys,
        "row_indices": row_indices,
        "first_columns": sizes[0],
        "num_columns": sizes[1],
    }
