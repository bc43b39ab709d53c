"""Discrete diffusion with an absorbing state, as DPLM and EvoDiff train: residues turn into masks, more with time.

::

    timestep      t t t t t t t     one for each segment, on each of its tokens; 0 on padding
    input_ids     M * * V * G A
    labels        . K T . R . .     −100 where nothing is asked
    loss_weight   . w w . w . .     that of the segment's timestep where something is asked, 0 elsewhere

The mean of loss_weight times loss is what the papers minimise, up to what they divide by.
"""

from enum import StrEnum

import numpy as np
import numpy.typing as npt

from pipeline.core.masking import ABSORBING, IGNORED, Fate, mask_at_rates, mask_exactly
from pipeline.core.randomness import PURPOSE_TIMESTEP, below, draw
from pipeline.core.segments import Int64Array, Segments
from pipeline.errors import ConfigurationError
from pipeline.streaming.objectives.base import SEGMENT_COLUMNS, Batch, ObjectiveContext

_MOST_TIMESTEPS = 1 << 30


class LossWeighting(StrEnum):
    """How a segment's loss counts at timestep t of T."""

    LINEAR = "linear"
    """(T − t + 1) / T: DPLM's, from Zheng et al. 2023 (arXiv:2302.05737)."""
    ELBO = "elbo"
    """T / t, the inverse of the mask rate: the bound on the likelihood (Austin et al. 2021, arXiv:2107.03006)."""
    CONSTANT = "constant"
    """1."""


class AbsorbingDiffusion:
    """Absorbing diffusion: a segment has a timestep t from 1 to T, and each residue is a mask with probability t / T.

    As in bytedance/dplm (``q_sample`` and ``compute_loss``, without its coupled pairs). The batch gains ``labels`` as
    with masked LM, ``timestep`` int32 [rows, length], t on every token of the segment and 0 on padding, and
    ``loss_weight`` float32 [rows, length], 0 where nothing is asked.

    Args:
        num_timesteps: T, from 1 to 2^30.
        weighting: A member of ``LossWeighting``.

    Raises:
        ConfigurationError: There are no such timesteps or weights.
    """

    columns = SEGMENT_COLUMNS

    def __init__(self, num_timesteps: int = 500, *, weighting: LossWeighting | str = LossWeighting.LINEAR) -> None:
        if not 1 <= num_timesteps <= _MOST_TIMESTEPS:
            raise ConfigurationError(f"num_timesteps: expected 1 to {_MOST_TIMESTEPS:,}, found {num_timesteps}")
        if weighting not in list(LossWeighting):
            raise ConfigurationError(f"weighting: expected one of {', '.join(LossWeighting)}, found {weighting!r}")
        self.num_timesteps = num_timesteps
        self.weighting = LossWeighting(weighting)

    @property
    def name(self) -> str:
        """Such as ``absorbing-diffusion(500, linear)``."""
        return f"absorbing-diffusion({self.num_timesteps}, {self.weighting})"

    def __call__(self, batch: Batch, context: ObjectiveContext) -> Batch:
        """The batch with corrupted ``input_ids``, ``labels``, ``timestep`` and ``loss_weight``.

        Raises:
            ConfigurationError: The tokenizer has no mask token.
        """
        segments = context.segments(batch)
        timesteps = _timesteps(segments, np.full(len(segments.lengths), self.num_timesteps), context)
        input_ids, labels = mask_at_rates(
            batch["input_ids"],
            segments,
            timesteps / self.num_timesteps,
            seed=context.seed,
            epoch=context.epoch,
            fate=Fate(corruption=ABSORBING, mask_id=context.mask("absorbing diffusion"), pool=context.pool(None)),
            label_type=context.label_type,
        )
        weights = {
            LossWeighting.LINEAR: (self.num_timesteps - timesteps + 1) / self.num_timesteps,
            LossWeighting.ELBO: self.num_timesteps / timesteps,
            LossWeighting.CONSTANT: np.ones(len(timesteps)),
        }[self.weighting]
        return {**batch, "input_ids": input_ids, "labels": labels} | _by_token(segments, labels, timesteps, weights)


class OrderAgnosticDiffusion:
    """Order-agnostic diffusion: a segment of D residues has D − t + 1 masks, t uniform from 1 to D − 1.

    As in microsoft/evodiff (``OAMaskCollater``, ``OAMaskedCrossEntropyLoss``): the masks are drawn without replacement,
    a lone residue is masked, and each masked residue counts D / masks. With t from 1 to D, as Hoogeboom et al. 2022
    (arXiv:2110.02037) have it, there would be segments with a single mask, too; that code leaves them out.

    The batch gains ``labels`` as with masked LM, ``timestep`` int32 [rows, length], the number of masks on every token
    of the segment and 0 on padding, which is what that code gives its model, and ``loss_weight`` float32 [rows,
    length], 0 where nothing is asked.
    """

    columns = SEGMENT_COLUMNS
    name = "order-agnostic-diffusion"

    def __call__(self, batch: Batch, context: ObjectiveContext) -> Batch:
        """The batch with corrupted ``input_ids``, ``labels``, ``timestep`` and ``loss_weight``.

        Raises:
            ConfigurationError: The tokenizer has no mask token.
        """
        segments = context.segments(batch)
        counts = segments.num_residues()
        timesteps = _timesteps(segments, np.maximum(counts - 1, 1), context)
        num_masks = np.where(counts > 0, counts - timesteps + 1, 0)
        input_ids, labels = mask_exactly(
            batch["input_ids"],
            segments,
            num_masks,
            seed=context.seed,
            epoch=context.epoch,
            mask_id=context.mask("order-agnostic diffusion"),
            label_type=context.label_type,
        )
        weights = counts / np.maximum(num_masks, 1)
        return {**batch, "input_ids": input_ids, "labels": labels} | _by_token(segments, labels, num_masks, weights)


def _timesteps(segments: Segments, largest: Int64Array, context: ObjectiveContext) -> Int64Array:
    """Uniform from 1 to the ``largest`` of each segment, int64 [segments]."""
    bits = draw(segments.keys(PURPOSE_TIMESTEP, context.seed, context.epoch), 0)
    return below(bits, largest).astype(np.int64) + 1


def _by_token(
    segments: Segments, labels: npt.NDArray[np.signedinteger], timesteps: Int64Array, weights: npt.NDArray[np.float64]
) -> Batch:
    loss_weight = segments.by_token(weights, labels.shape, padding=0, dtype=np.float32)
    loss_weight *= labels != IGNORED
    return {
        "timestep": segments.by_token(timesteps, labels.shape, padding=0, dtype=np.int32),
        "loss_weight": loss_weight,
    }
