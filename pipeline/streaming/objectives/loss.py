"""Means of losses over what a batch asks for, in torch: 0 where it asks nothing, as in a batch of padding.

A plain mean divides by the number of labels, and 0 / 0 is NaN, which one rank of many spreads to all of them with the
next all-reduce. Here the sum, which is 0, is divided by at least 1; the gradient is 0, too.
"""

from typing import Any

from pipeline.core.masking import IGNORED
from pipeline.streaming.collate import torch


def masked_mean(losses: Any, labels: Any, loss_weight: Any = None) -> Any:
    """The mean of the losses of tokens that have a label.

    Args:
        losses: Of each token, tensor [rows, length]; what stands where there is no label does not matter.
        labels: Tensor [rows, length], −100 where there is none.
        loss_weight: Of each token, tensor [rows, length], as diffusion objectives give it; the weighted sum is divided
            by the number of labels, not by the sum of weights.

    Returns:
        A tensor without dimensions.
    """
    asked = labels != IGNORED
    weighted = losses if loss_weight is None else losses * loss_weight
    return torch.where(asked, weighted, 0.0).sum() / asked.sum().clamp(min=1)


def cross_entropy(logits: Any, labels: Any, loss_weight: Any = None) -> Any:
    """The mean cross entropy of tokens that have a label, in float32.

    Args:
        logits: Tensor [rows, length, vocabulary].
        labels: Tensor [rows, length], −100 where there is none.
        loss_weight: As for ``masked_mean``.

    Returns:
        A tensor without dimensions, 0 if no token has a label.
    """
    losses = torch.nn.functional.cross_entropy(
        logits.flatten(0, -2).float(), labels.flatten().long(), ignore_index=IGNORED, reduction="none"
    )
    return masked_mean(losses.view(labels.shape), labels, loss_weight)
