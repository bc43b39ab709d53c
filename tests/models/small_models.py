"""Models of each family, as small as they can be and still learn: two layers, a width of 32, random weights.

They are given what the published ones are given, and made of what the data of the family need: which tokens see which,
positions, a memory, two streams, a decoder, convolutions.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from pipeline.streaming.collate import dense_mask
from pipeline.streaming.objectives import discriminator_input_ids, replaced_token_labels
from pipeline.streaming.objectives.loss import cross_entropy, masked_mean

WIDTH = 32
HEADS = 2
Batch = dict[str, Any]


class Attention(nn.Module):
    """Attention of tokens to others; rotary where positions are given."""

    def __init__(self) -> None:
        super().__init__()
        self.query = nn.Linear(WIDTH, WIDTH)
        self.key_value = nn.Linear(WIDTH, 2 * WIDTH)
        self.output = nn.Linear(WIDTH, WIDTH)

    def forward(
        self, seeing: Tensor, seen: Tensor, visible: Tensor, positions: tuple[Tensor, Tensor] | None = None
    ) -> Tensor:
        query = self.query(seeing).unflatten(-1, (HEADS, -1)).transpose(1, 2)
        key, value = (part.unflatten(-1, (HEADS, -1)).transpose(1, 2) for part in self.key_value(seen).chunk(2, dim=-1))
        if positions is not None:
            query, key = rotate(query, positions[0]), rotate(key, positions[1])
        mixed = functional.scaled_dot_product_attention(query, key, value, attn_mask=visible)
        return self.output(mixed.transpose(1, 2).flatten(2))


class Block(nn.Module):
    """Attention to itself or to others, then feed-forward; pre-norm."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.attention = nn.LayerNorm(WIDTH), Attention()
        self.feed_forward = nn.Sequential(
            nn.LayerNorm(WIDTH), nn.Linear(WIDTH, 2 * WIDTH), nn.GELU(), nn.Linear(2 * WIDTH, WIDTH)
        )

    def forward(
        self,
        hidden: Tensor,
        visible: Tensor,
        positions: tuple[Tensor, Tensor] | None = None,
        seen: Tensor | None = None,
    ) -> Tensor:
        normed = self.norm(hidden)
        hidden = hidden + self.attention(normed, normed if seen is None else self.norm(seen), visible, positions)
        return hidden + self.feed_forward(hidden)


def rotate(vectors: Tensor, positions: Tensor) -> Tensor:
    """Rotary positions (Su et al. 2021) of [rows, heads, length, width of a head]."""
    half = vectors.shape[-1] // 2
    angles = positions[:, None, :, None] * 10_000.0 ** (-torch.arange(half) / half)
    first, second = vectors[..., :half], vectors[..., half:]
    return torch.cat(
        (first * angles.cos() - second * angles.sin(), first * angles.sin() + second * angles.cos()), dim=-1
    )


class Transformer(nn.Module):
    """Tokens that see their own protein, or what comes before them in it.

    Args:
        vocabulary: Tokens.
        is_causal: Whether they see only what comes before.
        num_positions: Of learned ones, as ESM-1b and BERT have; None: rotary.
        mask_id: Whose embedding is 0, as ESM-2's token dropout has it.
        num_outputs: By default the vocabulary.
    """

    def __init__(
        self,
        vocabulary: int,
        *,
        is_causal: bool = False,
        num_positions: int | None = None,
        mask_id: int | None = None,
        num_outputs: int | None = None,
    ) -> None:
        super().__init__()
        self.is_causal, self.mask_id = is_causal, mask_id
        self.tokens = nn.Embedding(vocabulary, WIDTH)
        self.positions = nn.Embedding(num_positions, WIDTH) if num_positions else None
        self.blocks = nn.ModuleList(Block() for _ in range(2))
        self.head = nn.Sequential(nn.LayerNorm(WIDTH), nn.Linear(WIDTH, num_outputs or vocabulary))

    def encode(self, batch: Batch) -> Tensor:
        ids, positions = batch["input_ids"], batch["position_ids"]
        hidden = self.tokens(ids)
        if self.mask_id is not None:
            hidden = hidden.masked_fill((ids == self.mask_id)[..., None], 0) * batch["token_dropout_scale"][..., None]
        if self.positions is not None:
            hidden = hidden + self.positions(positions)
        visible = dense_mask(batch["sequence_id"], causal=self.is_causal)
        for block in self.blocks:
            hidden = block(hidden, visible, None if self.positions is not None else (positions, positions))
        return hidden

    def forward(self, batch: Batch) -> Tensor:
        return self.head(self.encode(batch))


class EncoderDecoder(nn.Module):
    """T5: a decoder sees its own protein on both sides. Positions are rotary, where T5's are biases."""

    def __init__(self, vocabulary: int) -> None:
        super().__init__()
        self.encoder = Transformer(vocabulary)
        self.own, self.across = Block(), Block()
        self.head = nn.Sequential(nn.LayerNorm(WIDTH), nn.Linear(WIDTH, vocabulary))

    def forward(self, batch: Batch) -> Tensor:
        seen = self.encoder.encode(batch)
        ids = batch["decoder_sequence_id"]
        # Positions of the decoder are its own only where spans were moved; else they are those of the encoder.
        positions = batch.get("decoder_position_ids", batch["position_ids"])
        hidden = self.own(
            self.encoder.tokens(batch["decoder_input_ids"]), dense_mask(ids, causal=True), (positions, positions)
        )
        other = ids[:, None, :, None] == batch["sequence_id"][:, None, None, :]
        other = other | ~other.any(-1, keepdim=True)  # padding of the decoder, where the encoder has none
        return self.head(self.across(hidden, other, (positions, batch["position_ids"]), seen))


class WithMemory(nn.Module):
    """Transformer-XL: each place of the batch also sees what it saw in the step before."""

    def __init__(self, vocabulary: int) -> None:
        super().__init__()
        self.tokens = nn.Embedding(vocabulary, WIDTH)
        self.blocks = nn.ModuleList(Block() for _ in range(2))
        self.head = nn.Sequential(nn.LayerNorm(WIDTH), nn.Linear(WIDTH, vocabulary))
        self.memory: list[Tensor] = []

    def forward(self, batch: Batch) -> Tensor:
        hidden = self.tokens(batch["input_ids"])
        rows, length = batch["input_ids"].shape
        past = self.memory[0].shape[1] if self.memory else 0
        positions = torch.arange(past + length).expand(rows, -1)
        visible = torch.ones(length, past + length, dtype=torch.bool).tril(past)
        memory, self.memory = self.memory, []
        for number, block in enumerate(self.blocks):
            self.memory.append(hidden.detach())
            seen = torch.cat((memory[number], hidden), dim=1) if memory else hidden
            hidden = block(hidden, visible, (positions[:, past:], positions), seen)
        return self.head(hidden)


class TwoStreams(nn.Module):
    """XLNet: a stream that has seen a token, and one that knows its place only and predicts it."""

    def __init__(self, vocabulary: int) -> None:
        super().__init__()
        self.tokens = nn.Embedding(vocabulary, WIDTH)
        self.asking = nn.Parameter(torch.randn(WIDTH))
        self.blocks = nn.ModuleList(Block() for _ in range(2))
        self.head = nn.Sequential(nn.LayerNorm(WIDTH), nn.Linear(WIDTH, vocabulary))

    def forward(self, batch: Batch) -> Tensor:
        same, rank = dense_mask(batch["sequence_id"]), batch["permutation_rank"]
        before = same & (rank[:, None, None, :] < rank[:, None, :, None])
        before = before | ~before.any(-1, keepdim=True)  # tokens that are not asked for; nothing reads what they say
        up_to = same & (rank[:, None, None, :] <= rank[:, None, :, None])
        positions = (batch["position_ids"], batch["position_ids"])
        content = self.tokens(batch["input_ids"])
        query = self.asking.expand_as(content)
        for block in self.blocks:
            query = block(query, before, positions, content)
            content = block(content, up_to, positions)
        return self.head(query)


class Convolutions(nn.Module):
    """Evo 2's and EvoDiff's kind: what a kernel reaches is seen, and no mask bars it."""

    def __init__(self, vocabulary: int, *, is_causal: bool) -> None:
        super().__init__()
        self.is_causal = is_causal
        self.tokens = nn.Embedding(vocabulary, WIDTH)
        self.layers = nn.ModuleList(nn.Conv1d(WIDTH, WIDTH, 5) for _ in range(2))
        self.head = nn.Sequential(nn.LayerNorm(WIDTH), nn.Linear(WIDTH, vocabulary))

    def forward(self, batch: Batch) -> Tensor:
        hidden = self.tokens(batch["input_ids"]).transpose(1, 2)
        for layer in self.layers:
            hidden = hidden + functional.gelu(layer(functional.pad(hidden, (4, 0) if self.is_causal else (2, 2))))
        return self.head(hidden.transpose(1, 2))


class Electra(nn.Module):
    """A generator that fills in what is hidden, and a discriminator that is asked what it made up."""

    def __init__(self, vocabulary: int) -> None:
        super().__init__()
        self.generator = Transformer(vocabulary, num_positions=512)
        self.discriminator = Transformer(vocabulary, num_positions=512, num_outputs=1)

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """What the generator says, what the discriminator says, and what is right."""
        logits = self.generator(batch)
        sampled = torch.distributions.Categorical(logits=logits.detach()).sample()
        seen = {**batch, "input_ids": discriminator_input_ids(sampled, batch)}
        return logits, self.discriminator(seen).squeeze(-1), replaced_token_labels(sampled, batch)


def token_loss(model: nn.Module, batch: Batch) -> Tensor:
    """The mean over what is asked, weighted where the objective says so."""
    return cross_entropy(model(batch), batch["labels"], batch.get("loss_weight"))


def electra_loss(model: nn.Module, batch: Batch) -> Tensor:
    """Clark et al. 2020: the discriminator counts 50 times."""
    logits, scores, labels = model(batch)
    losses = functional.binary_cross_entropy_with_logits(scores, labels.clamp(min=0).float(), reduction="none")
    return cross_entropy(logits, batch["labels"]) + 50 * masked_mean(losses, labels)


def train(
    make_model: Callable[[], nn.Module],
    batches: Iterable[Batch],
    *,
    steps: int = 20,
    loss_of: Callable[[nn.Module, Batch], Tensor] = token_loss,
    learning_rate: float = 1e-2,
) -> list[float]:
    """The loss before each of these steps of a model, the same ones whoever asks."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = make_model()
        optimiser = torch.optim.AdamW(model.parameters(), lr=learning_rate)
        losses = []
        for batch in first(batches, steps):
            loss = loss_of(model, batch)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            losses.append(loss.item())
    return losses


def first(batches: Iterable[Batch], steps: int) -> Iterator[Batch]:
    """So many batches, over as many epochs as that takes."""
    taken = 0
    while taken < steps:
        for batch in batches:
            yield batch
            taken += 1
            if taken == steps:
                return


def falls(losses: list[float], by: float) -> bool:
    """Whether the mean of the last five is so much below that of the first five."""
    return len(losses) >= 20 and sum(losses[-5:]) / 5 < sum(losses[:5]) / 5 - by
