"""What makes the batches of an epoch: the shards' layout, and what the consumer asked for."""

from dataclasses import dataclass

from pipeline.streaming.batches import BatchMaker
from pipeline.streaming.columns import Layout, SequenceIds
from pipeline.streaming.objectives import Objective, ObjectiveContext
from pipeline.streaming.sources import Shards


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchOptions:
    """What batches are to hold."""

    columns: tuple[str, ...]
    """Names of columns."""
    objective: Objective | None
    """Applied to every batch; None for plain ones."""
    sequence_ids: SequenceIds
    """How ``sequence_id`` numbers segments and marks padding."""
    reset_positions: bool
    """Whether ``position_ids`` begin anew with each segment."""


def batch_maker(shards: Shards, options: BatchOptions, batch_size: int, *, seed: int, epoch: int) -> BatchMaker:
    """The maker of an epoch's batches.

    Args:
        shards: What is read.
        options: What batches are to hold.
        batch_size: Rows of a batch.
        seed: Of masks.
        epoch: Of masks.
    """
    tokenizer, alignment = shards.tokenizer, shards.alignment
    context = ObjectiveContext.of(tokenizer, seed=seed, epoch=epoch, alignment=alignment)
    if shards.is_concatenated:
        context = ObjectiveContext.of_concatenated(tokenizer, seed=seed, epoch=epoch)
    layout = Layout(
        length=shards.length,
        alignment=alignment,
        most_segments=shards.most_segments,
        batch_size=batch_size,
        position_offset=tokenizer.position_offset,
        mask_id=tokenizer.mask_id,
        sequence_ids=options.sequence_ids,
        reset_positions=options.reset_positions,
    )
    return BatchMaker(columns=options.columns, layout=layout, objective=options.objective, context=context)
