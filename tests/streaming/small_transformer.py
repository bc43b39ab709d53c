"""A transformer just large enough to leak: what law 8 is tried on.

Two layers of attention and feed-forward, pre-norm, as ESM-2 and ESM C have them. The only way from one token to another
is attention, and ``sequence_id`` is the only thing that bars it.
"""

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

Positions = Literal["rotary", "learned"]


class SmallTransformer(nn.Module):
    """Token logits [rows, length, vocabulary] from input_ids, sequence_id and position_ids, each int64 [rows, length].

    Args:
        positions: "rotary" turns queries and keys by position_ids, as ESM-2 does; "learned" adds a vector that
            position_ids choose, as ESM-1b does.
        vocabulary: Number of tokens.
        width: Of the residual stream.
        heads: Of attention.
        layers: Blocks.
        longest: Largest position plus one, for learned positions.
    """

    def __init__(
        self,
        positions: Positions,
        *,
        vocabulary: int = 33,
        width: int = 32,
        heads: int = 4,
        layers: int = 2,
        longest: int = 512,
    ) -> None:
        super().__init__()
        self.tokens = nn.Embedding(vocabulary, width)
        self.positions = nn.Embedding(longest, width) if positions == "learned" else None
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, vocabulary)

    def forward(self, input_ids: Tensor, sequence_id: Tensor | None, position_ids: Tensor) -> Tensor:
        """``sequence_id`` None lets every token see every token of its row."""
        hidden = self.tokens(input_ids)
        if self.positions is not None:
            hidden = hidden + self.positions(position_ids)
        # Equality, as ESM3 and ESM C have it: padding (-1) sees padding, so no token is left with nothing to see.
        visible = None if sequence_id is None else (sequence_id[:, None, :, None] == sequence_id[:, None, None, :])
        for block in self.blocks:
            hidden = block(hidden, visible, position_ids if self.positions is None else None)
        return self.head(self.norm(hidden))


class Block(nn.Module):
    """Attention, then feed-forward."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(width)
        self.projection = nn.Linear(width, 3 * width)
        self.output = nn.Linear(width, width)
        self.feed_forward = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )

    def forward(self, hidden: Tensor, visible: Tensor | None, rotation: Tensor | None) -> Tensor:
        """``visible`` bool [rows, 1, length, length]; ``rotation`` positions [rows, length], or None for no turning."""
        parts = self.projection(self.norm(hidden)).chunk(3, dim=-1)
        query, key, value = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in parts)
        if rotation is not None:
            query, key = rotate(query, rotation), rotate(key, rotation)
        mixed = functional.scaled_dot_product_attention(query, key, value, attn_mask=visible)
        hidden = hidden + self.output(mixed.transpose(1, 2).flatten(2))
        return hidden + self.feed_forward(hidden)


def rotate(vectors: Tensor, positions: Tensor) -> Tensor:
    """Rotary position embedding (Su et al. 2021) of [rows, heads, length, width of a head] by [rows, length]."""
    half = vectors.shape[-1] // 2
    frequencies = 10_000.0 ** (-torch.arange(half) / half)
    angles = positions[:, None, :, None] * frequencies
    first, second = vectors[..., :half], vectors[..., half:]
    turned = (first * angles.cos() - second * angles.sin(), first * angles.sin() + second * angles.cos())
    return torch.cat(turned, dim=-1)
