"""Masked language modelling on alignments, as MSA Transformer trains."""

from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.core.alignment_masking import Cells, mask_cells
from pipeline.core.masking import BERT, IGNORED, Corruption, Fate
from pipeline.core.replacement_pool import ReplacementPool
from pipeline.errors import ConfigurationError
from pipeline.streaming.objectives.base import Batch, ObjectiveContext, share

MSA_TRANSFORMER_RATE = 0.15
"""The share of cells that MSA Transformer hides, uniform over cells."""


class AlignmentMaskedLM:
    """Some cells of an alignment are hidden, gaps too, and ``labels`` asks for them.

    The batch gains ``labels`` int16 [alignments, rows, columns]: the original token where a cell was selected, −100
    elsewhere, on special tokens and on padding. ``input_ids`` is the corrupted copy, of the same dtype.

    Args:
        rate: The share of cells.
        corruption: What becomes of selected cells: by default 80 % the mask token, 10 % a random token, 10 % stay.
        pool: What random tokens are drawn from; which one MSA Transformer had is not published: the 20 residues.

    Raises:
        ConfigurationError: The rate is not between 0 and 1, or there is no such pool.
    """

    columns = ("input_ids", "alignment_keys", "row_indices", "first_columns", "num_columns")

    def __init__(
        self,
        rate: float = MSA_TRANSFORMER_RATE,
        *,
        corruption: Corruption = BERT,
        pool: ReplacementPool | str = ReplacementPool.RESIDUES,
    ) -> None:
        if pool not in list(ReplacementPool):
            raise ConfigurationError(f"pool: expected one of {', '.join(ReplacementPool)}, found {pool!r}")
        self.rate = share("rate", rate)
        self.corruption = corruption
        self.pool = ReplacementPool(pool)

    @property
    def name(self) -> str:
        """Such as ``alignment-masked-lm(0.15)``."""
        return f"alignment-masked-lm({self.rate:g})"

    def __call__(self, batch: Batch, context: ObjectiveContext) -> Batch:
        """The batch with corrupted ``input_ids``, and ``labels``.

        Raises:
            ConfigurationError: The tokenizer has no mask token.
        """
        mask_id = context.mask("masked LM on alignments")
        fate = Fate(corruption=self.corruption, mask_id=mask_id, pool=context.pool(self.pool))
        corrupted = batch["input_ids"].copy()
        labels: npt.NDArray[Any] = np.full(corrupted.shape, IGNORED, dtype=context.label_type)
        for at, (key, rows) in enumerate(zip(batch["alignment_keys"], batch["row_indices"], strict=True)):
            rows = rows[rows >= 0].astype(np.int64)  # noqa: PLW2901
            first, count = int(batch["first_columns"][at]), int(batch["num_columns"][at])
            where = at, slice(len(rows)), slice(context.num_prefix, context.num_prefix + count)
            labels[where] = mask_cells(
                corrupted[where],
                Cells(key, rows, np.arange(first, first + count)),
                rate=self.rate,
                fate=fate,
                seed=context.seed,
                epoch=context.epoch,
                label_type=context.label_type,
            )
        return {**batch, "input_ids": corrupted, "labels": labels}
