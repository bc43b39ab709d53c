"""Numpy batches to tensors: the last thing that happens, so that narrow types travel as far as they can.

This module is where a missing torch is noticed.
"""

import numpy as np

from pipeline.errors import MissingExtraError
from pipeline.streaming.objectives import Batch

try:
    import torch as torch  # noqa: PLC0414  (exported: other modules take torch from here, behind this guard)
except ImportError as error:
    raise MissingExtraError(
        "streaming to PyTorch needs torch, which is not installed", hint="pip install 'protein-pipeline[torch]'"
    ) from error


def tensors(batch: Batch) -> dict[str, torch.Tensor]:
    """A batch as tensors of the same names and shapes.

    Integers become int64, which embeddings and losses take; record keys keep their 64 bits, so that the larger half of
    them turn negative. Anything else keeps its type. What is int64 already shares memory with the batch.

    Args:
        batch: Arrays by name.
    """
    return {name: _tensor(array) for name, array in batch.items()}


def _tensor(array: "np.ndarray[tuple[int, ...], np.dtype[np.generic]]") -> torch.Tensor:
    tensor = torch.from_numpy(array)
    return tensor.to(torch.int64) if array.dtype.kind in "iu" else tensor
