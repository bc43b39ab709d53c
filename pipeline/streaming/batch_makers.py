"""What makes the batches of an epoch: the shards' layout, and what the consumer asked for."""

from dataclasses import dataclass

from pipeline.errors import ConfigurationError
from pipeline.streaming.batches import BatchMaker
from pipeline.streaming.columns import STEP_COLUMNS, Layout, SequenceIds
from pipeline.streaming.objectives import Objective, ObjectiveContext, ResidueDenoising, SpanCorruption
from pipeline.streaming.sources import Shards

TRIM_BATCH = "batch"


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


def batch_maker(
    shards: Shards, options: BatchOptions, batch_size: int, *, seed: int, epoch: int, rows_per_lane: int = 0
) -> BatchMaker:
    """The maker of an epoch's batches.

    Args:
        shards: What is read.
        options: What batches are to hold.
        batch_size: Rows of a batch.
        seed: Of masks.
        epoch: Of masks.
        rows_per_lane: Steps in which each place of the batch reads on where it stopped; 0: it never does.
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
        rows_per_lane=rows_per_lane,
    )
    return BatchMaker(columns=options.columns, layout=layout, objective=options.objective, context=context)


def check_trim(trim: str | None, options: BatchOptions) -> bool:
    """Whether batches are cut to their longest row.

    Raises:
        ConfigurationError: There is no such way to trim, or it does not go with the rest.
    """
    if trim is None:
        return False
    if trim != TRIM_BATCH:
        raise ConfigurationError(f"trim: expected {TRIM_BATCH} or nothing, found {trim!r}")
    if fixed := [name for name in options.columns if name in STEP_COLUMNS]:
        raise ConfigurationError(
            f"trim: {fixed[0]} says where segments are in whole rows", hint=f"leave out either trim or {fixed[0]}"
        )
    if isinstance(options.objective, SpanCorruption | ResidueDenoising):
        raise ConfigurationError(
            f"trim: {options.objective.name} gives a decoder targets of a fixed length", hint="leave out trim"
        )
    return True
