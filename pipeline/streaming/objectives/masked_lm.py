"""Masked language modelling, as ESM, ProtBert and AMPLIFY train."""

from pipeline.core.masking import Corruption, mask_tokens
from pipeline.core.noise import Schedule, parse_schedule
from pipeline.core.replacement_pool import ReplacementPool
from pipeline.errors import ConfigurationError
from pipeline.streaming.objectives.base import SEGMENT_COLUMNS, Batch, ObjectiveContext


class MaskedLM:
    """Masked language modelling: some residues are hidden, and ``labels`` asks for them.

    The batch gains ``labels`` int16 [rows, length] (int32 for a vocabulary above 32,767): the original token where a
    residue was selected, −100 elsewhere, on special tokens and on padding. ``input_ids`` is the corrupted copy, of the
    same dtype.

    Args:
        schedule: A plain rate, a name of ``core.noise.SCHEDULES``, ``beta(a,b)``, or a mixture of these such as
            ``0.8*beta(3,9)+0.2*uniform``. With a plain rate 80 % of the selected residues become the mask token, 10 % a
            random token of the pool, and 10 % stay; with a schedule, which gives every segment a rate of its own, all
            of them become the mask token.
        corruption: What becomes of selected residues instead.
        pool: What random tokens are drawn from; by default what the family of the tokenizer does, see
            :mod:`pipeline.core.replacement_pool`.

    Raises:
        ConfigurationError: There is no such schedule or pool.
    """

    columns = SEGMENT_COLUMNS

    def __init__(
        self,
        schedule: str | float | Schedule,
        *,
        corruption: Corruption | None = None,
        pool: ReplacementPool | str | None = None,
    ) -> None:
        self.schedule = parse_schedule(schedule)
        self.corruption = corruption
        self.pool = None if pool is None else _pool(pool)

    @property
    def name(self) -> str:
        """Such as ``masked-lm(betalinear30)``."""
        return f"masked-lm({self.schedule.name})"

    def __call__(self, batch: Batch, context: ObjectiveContext) -> Batch:
        """The batch with corrupted ``input_ids``, and ``labels``.

        Raises:
            ConfigurationError: The tokenizer has no mask token.
        """
        input_ids, labels = mask_tokens(
            batch["input_ids"],
            context.segments(batch),
            schedule=self.schedule,
            seed=context.seed,
            epoch=context.epoch,
            mask_id=context.mask("masked LM"),
            pool=context.pool(self.pool),
            corruption=self.corruption,
            label_type=context.label_type,
        )
        return {**batch, "input_ids": input_ids, "labels": labels}


def _pool(name: str) -> ReplacementPool:
    if name not in list(ReplacementPool):
        raise ConfigurationError(f"pool: expected one of {', '.join(ReplacementPool)}, found {name!r}")
    return ReplacementPool(name)
