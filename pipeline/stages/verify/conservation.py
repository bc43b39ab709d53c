"""Which account a plan or shards are held to."""

from typing import Any

import numpy as np

from pipeline.core.packing import length_histogram, lower_bound
from pipeline.core.pieces import Overlong
from pipeline.core.tokenizer import Tokenizer
from pipeline.formats.plan import is_concatenated
from pipeline.stages.verify.choice import Choice
from pipeline.stages.verify.coverage import Coverage
from pipeline.stages.verify.run_on import RunOn
from pipeline.stages.verify.segments import Account, Integers


def tokenizer_of(configuration: dict[str, Any]) -> Tokenizer:
    """The tokenizer of a plan or of shards, as its rows have it."""
    tokenizer = Tokenizer.from_document(configuration["tokenizer"])
    return tokenizer.for_concatenation() if is_concatenated(configuration) else tokenizer


def account_of(
    record_lengths: Integers, configuration: dict[str, Any], tokenizer: Tokenizer, choice: Choice
) -> Account:
    """The account of one part, or of one split of it.

    Args:
        record_lengths: int64 [records] residues of each record.
        configuration: Of the manifest.
        tokenizer: As ``tokenizer_of`` gives it.
        choice: Which records the account is of.
    """
    length = int(configuration["length"])
    if is_concatenated(configuration):
        return RunOn(record_lengths, length, choice)
    alignment, max_segments = int(configuration["alignment"]), int(configuration["max_segments"])

    def least_rows(residues: Integers) -> int:
        occupied = -(-(residues + tokenizer.num_special_tokens) // alignment) * alignment
        # A segment that is too long is told elsewhere.
        return lower_bound(length_histogram(np.minimum(occupied, length), length), length, max_segments)

    return Coverage(
        record_lengths,
        max_residues=tokenizer.max_residues(length),
        policy=Overlong(configuration["overlong"]),
        max_segments=max_segments,
        least_rows=least_rows,
        choice=choice,
    )
