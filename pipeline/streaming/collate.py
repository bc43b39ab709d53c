"""Numpy batches to tensors: the last thing that happens, so that narrow types travel as far as they can.

::

    uint8, int16, int32 ──▶ tensors(batch) ──▶ int64 in pinned memory      what embeddings and losses take
                       └──▶ tensors(batch, compact=True) ──▶ to_device()   an eighth of the bytes to the GPU, wide there

This module is where a missing torch is noticed.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from pipeline.errors import ConfigurationError, MissingExtraError
from pipeline.streaming.columns import COLUMNS, MASK_COLUMNS, SequenceIds
from pipeline.streaming.objectives import Batch
from pipeline.streaming.recycled_memory import RecycledMemory

try:
    import torch as torch  # noqa: PLC0414  (exported: other modules take torch from here, behind this guard)
except ImportError as error:
    raise MissingExtraError(
        "streaming to PyTorch needs torch, which is not installed", hint="pip install 'protein-pipeline[torch]'"
    ) from error

_CU_SEQLENS = frozenset({"cu_seqlens", "cu_seqlens_unpadded", "cu_seqlens_padded"})
"""Attention kernels take these as int32 and as nothing else."""


def tensors(
    batch: Batch, *, masks: Iterable[str] = (), compact: bool = False, memory: RecycledMemory | None = None
) -> dict[str, Any]:
    """A batch as tensors of the same names and shapes; what is no array stays as it is.

    Integers become int64, which embeddings and losses take, but for cu_seqlens; record keys keep their 64 bits, so that
    the larger half of them turn negative. Anything else keeps its type. What keeps its type shares memory with the
    batch, unless there is a GPU: then everything is in pinned memory, from which copying does not block.

    Args:
        batch: Arrays by name.
        masks: Those of ``dense_mask`` and ``block_mask`` to make, of ``sequence_id``.
        compact: Keep the types of the batch, for :func:`to_device`.
        memory: For what is widened, where that is not pinned.
    """
    # Loader workers have no business with the GPU: its loader pins what they send.
    is_pinned = torch.cuda.is_available() and torch.utils.data.get_worker_info() is None
    made = {
        name: _tensor(name, value, is_compact=compact, is_pinned=is_pinned, memory=memory)
        for name, value in batch.items()
    }
    return with_masks(made, masks)


def with_masks(batch: dict[str, Any], masks: Iterable[str]) -> dict[str, Any]:
    """A batch of tensors and these of ``dense_mask`` and ``block_mask``, made of its ``sequence_id``."""
    return batch | {name: _MASKS[name](batch["sequence_id"]) for name in masks}


def to_device(batch: Mapping[str, Any], device: Any) -> dict[str, Any]:
    """Move a batch and widen its integers there, all but cu_seqlens; what is no tensor stays as it is.

    Args:
        batch: Of ``tensors(…, compact=True)``.
        device: As ``torch.Tensor.to`` takes it.
    """
    moved = {}
    for name, value in batch.items():
        there = value.to(device, non_blocking=True) if hasattr(value, "to") else value
        moved[name] = there.to(torch.int64) if _is_narrow(name, there) else there
    return moved


def dense_mask(sequence_id: "torch.Tensor", *, causal: bool = False) -> "torch.Tensor":
    """Which tokens may see which: bool [rows, 1, length, length], for ``scaled_dot_product_attention``.

    Tokens see their own segment, padding sees padding: a row of a mask that is all false would give NaN. It takes
    length² bytes a row: for small models and short rows.

    Args:
        sequence_id: [rows, length], another number for each segment of a row and another one for padding.
        causal: Whether tokens see what comes before them only.
    """
    same = (sequence_id[:, None, :, None] == sequence_id[:, None, None, :]).contiguous()
    return same.tril_() if causal else same


def block_mask(sequence_id: "torch.Tensor", *, causal: bool = False) -> Any:
    """The same as a ``BlockMask`` for ``torch.nn.attention.flex_attention``, on the device of ``sequence_id``."""
    from torch.nn.attention.flex_attention import create_block_mask  # noqa: PLC0415  (loads the compiler: a second)

    rows, length = sequence_id.shape

    def may_see(row: Any, head: Any, query: Any, key: Any) -> Any:
        del head
        same = sequence_id[row, query] == sequence_id[row, key]
        return same & (key <= query) if causal else same

    return create_block_mask(may_see, rows, None, length, length, device=str(sequence_id.device))


def split_masks(columns: Iterable[str], sequence_ids: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Columns that are arrays, with ``sequence_id`` if a mask is made of it, and masks.

    Raises:
        ConfigurationError: Segments cannot be told apart by a boolean ``sequence_id``.
    """
    names = tuple(columns)
    masks = tuple(name for name in names if name in MASK_COLUMNS)
    if masks and sequence_ids == SequenceIds.BOOLEAN:
        raise ConfigurationError(
            f"{masks[0]}: expected a sequence_id that tells segments apart, found {SequenceIds.BOOLEAN}",
            hint=f"take another of {', '.join(SequenceIds)}",
        )
    arrays = tuple(name for name in names if name not in MASK_COLUMNS)
    return (*arrays, *(["sequence_id"] if masks and "sequence_id" not in arrays else [])), masks


def _tensor(name: str, value: Any, *, is_compact: bool, is_pinned: bool, memory: RecycledMemory | None) -> Any:
    if not isinstance(value, np.ndarray):
        return value
    tensor = torch.from_numpy(value)
    dtype = torch.int64 if not is_compact and _is_narrow(name, tensor) else tensor.dtype
    if is_pinned:
        # torch keeps pinned memory for the next tensor by itself, and knows which copies to the GPU still read it.
        return torch.empty(tensor.shape, dtype=dtype, pin_memory=True).copy_(tensor)
    if memory is None or dtype == tensor.dtype:
        return tensor.to(dtype)
    # Not by torch, which shares out a large copy among threads of its own, and lets those spin between two of them.
    widened = memory.take(value.shape, np.int64)
    np.copyto(widened, value)
    return torch.from_numpy(widened)


def _is_narrow(name: str, value: Any) -> bool:
    is_integer = isinstance(value, torch.Tensor) and not (value.is_floating_point() or value.dtype == torch.bool)
    return is_integer and name not in _CU_SEQLENS


_MASKS = {"dense_mask": dense_mask, "block_mask": block_mask}
assert _MASKS.keys() == {*MASK_COLUMNS}
assert not _MASKS.keys() & COLUMNS.keys()
