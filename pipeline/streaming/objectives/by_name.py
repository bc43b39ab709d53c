"""Objectives by name, for recipes and short forms."""

from collections.abc import Callable

import numpy as np

from pipeline.core.noise import parse_schedule
from pipeline.core.tokenizer import Tokenizer
from pipeline.errors import ConfigurationError
from pipeline.streaming.objectives.base import Objective, ObjectiveContext
from pipeline.streaming.objectives.causal import CausalLM, ConcatenatedLM, NucleotideLM
from pipeline.streaming.objectives.diffusion import AbsorbingDiffusion, OrderAgnosticDiffusion
from pipeline.streaming.objectives.directions import BidirectionalLM
from pipeline.streaming.objectives.electra import ReplacedTokenDetection
from pipeline.streaming.objectives.masked_lm import MaskedLM
from pipeline.streaming.objectives.permutation import PermutationLM
from pipeline.streaming.objectives.residue_denoising import ResidueDenoising
from pipeline.streaming.objectives.span_corruption import SpanCorruption


def as_objective(objective: Objective | str | float | None) -> Objective | None:
    """The objective itself, one of ``OBJECTIVES``, or masked LM: ``"causal-lm"``, ``"betalinear30"``, ``0.15``.

    Raises:
        ConfigurationError: There is neither such an objective nor such a noise schedule.
    """
    if objective is None or isinstance(objective, Objective):
        return objective
    if isinstance(objective, str) and (make := OBJECTIVES.get(objective.strip())):
        return make()
    try:
        return MaskedLM(parse_schedule(objective))
    except ConfigurationError as error:
        names = f"or an objective: {', '.join(OBJECTIVES)}"
        raise ConfigurationError(error.message, hint=f"{error.hint}; {names}" if error.hint else names) from None


def check_objective(objective: Objective, tokenizer: Tokenizer, *, length: int = 1024) -> None:
    """Try an objective on a batch without rows, so that what cannot be is known before anything is made.

    Args:
        objective: To try.
        tokenizer: Of the dataset.
        length: Tokens of a row.

    Raises:
        ConfigurationError: A dataset with this tokenizer cannot be trained on this way.
    """
    nothing = {
        "input_ids": np.empty((0, length), dtype=tokenizer.dtype),
        "lengths": np.empty(0, dtype=np.uint32),
        "record_keys": np.empty(0, dtype=np.uint64),
        "starts": np.empty(0, dtype=np.uint32),
        "row_offsets": np.zeros(1, dtype=np.int64),
        "sequence_id": np.empty((0, length), dtype=np.int16),
        "position_ids": np.empty((0, length), dtype=np.int32),
    }
    objective(nothing, ObjectiveContext.of(tokenizer, seed=0, epoch=0))


OBJECTIVES: dict[str, Callable[[], Objective]] = {
    "causal-lm": CausalLM,
    "bidirectional-lm": BidirectionalLM,
    "concatenated-lm": ConcatenatedLM,
    "nucleotide-lm": NucleotideLM,
    "span-corruption": SpanCorruption,
    "residue-denoising": ResidueDenoising,
    "absorbing-diffusion": AbsorbingDiffusion,
    "order-agnostic-diffusion": OrderAgnosticDiffusion,
    "permutation-lm": PermutationLM,
    "replaced-token-detection": ReplacedTokenDetection,
}
"""Objectives with the parameters that were published, by name."""
