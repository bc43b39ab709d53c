"""Train a small ESM-2 from packed shards: a file to copy and change.

    pipeline run workflows/quickstart.toml
    python workflows/train_esm2.py build/quickstart/shards                      # a minute on a CPU
    torchrun --nproc-per-node 8 workflows/train_esm2.py shards/ --batch-size 32 --width 640 --layers 30 --heads 20

The model is ESM-2's (Lin et al. 2023): pre-norm transformer, rotary positions, 15 % of residues masked, token dropout.
Tokens see their own protein only: by a dense mask on a CPU, by FlexAttention on a GPU. With --checkpoint, model,
optimiser and reader are saved together, and the same command goes on with the next batch, on as many ranks as there
are then: the reader needs nothing but that batch size times ranks divides the rows that were delivered.
"""

import argparse
import os
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.nn import functional
from torch.nn.attention.flex_attention import flex_attention
from torch.nn.parallel import DistributedDataParallel

from pipeline.streaming.collate import block_mask, dense_mask, to_device
from pipeline.streaming.dataset import PackedDataset
from pipeline.streaming.objectives import MaskedLM
from pipeline.streaming.objectives.loss import cross_entropy

COLUMNS = ("input_ids", "sequence_id", "position_ids", "token_dropout_scale", "num_tokens")


class Esm2(nn.Module):
    """Logits [rows, length, vocabulary] of tokens that see their own protein only."""

    def __init__(self, *, vocabulary: int, mask_id: int, width: int, heads: int, layers: int) -> None:
        super().__init__()
        self.mask_id = mask_id
        self.embedding = nn.Embedding(vocabulary, width)
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.LayerNorm(width))
        self.bias = nn.Parameter(torch.zeros(vocabulary))
        nn.init.normal_(self.embedding.weight, std=0.02)

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        """One entry for each token: input_ids, sequence_id, position_ids, token_dropout_scale."""
        ids, sequence_id = batch["input_ids"], batch["sequence_id"]
        hidden = self.embedding(ids).masked_fill((ids == self.mask_id)[..., None], 0)
        hidden = hidden * batch["token_dropout_scale"][..., None]
        visible = block_mask(sequence_id) if ids.is_cuda else dense_mask(sequence_id)
        for block in self.blocks:
            hidden = block(hidden, visible, batch["position_ids"])
        return functional.linear(self.head(self.norm(hidden)), self.embedding.weight, self.bias)


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

    def forward(self, hidden: Tensor, visible: Any, position_ids: Tensor) -> Tensor:
        """``hidden`` [rows, length, width]; ``visible`` a dense or a block mask."""
        parts = self.projection(self.norm(hidden)).chunk(3, dim=-1)
        query, key, value = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in parts)
        query, key = rotate(query, position_ids), rotate(key, position_ids)
        mixed = attend(query, key, value, visible)
        hidden = hidden + self.output(mixed.transpose(1, 2).flatten(2))
        return hidden + self.feed_forward(hidden)


COMPILED_FLEX_ATTENTION = torch.compile(flex_attention, dynamic=False)


def attend(query: Tensor, key: Tensor, value: Tensor, visible: Any) -> Tensor:
    if isinstance(visible, Tensor):
        return functional.scaled_dot_product_attention(query, key, value, attn_mask=visible)
    return COMPILED_FLEX_ATTENTION(query, key, value, block_mask=visible)


def rotate(vectors: Tensor, position_ids: Tensor) -> Tensor:
    """Rotary positions (Su et al. 2021) of [rows, heads, length, width of a head]."""
    half = vectors.shape[-1] // 2
    frequencies = 10_000.0 ** (-torch.arange(half, device=vectors.device) / half)
    angles = position_ids[:, None, :, None] * frequencies
    first, second = vectors[..., :half], vectors[..., half:]
    turned = (first * angles.cos() - second * angles.sin(), first * angles.sin() + second * angles.cos())
    return torch.cat(turned, dim=-1).to(vectors.dtype)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shards", help="a shards folder with esm2's or esm1b's tokens")
    parser.add_argument("--steps", type=int, default=100, help="steps in all, those before a checkpoint included")
    parser.add_argument("--batch-size", type=int, default=4, help="rows of one rank")
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--heads", type=int, default=4)
    parser.add_argument("--learning-rate", type=float, default=4e-3)
    parser.add_argument("--warmup", type=int, default=20, help="steps")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--checkpoint", type=Path, help="save here, and go on from here")
    parser.add_argument("--save-every", type=int, default=50, help="steps")
    return parser.parse_args()


class Trainer:
    """Model, optimiser and reader, and the step they stand at."""

    def __init__(self, options: argparse.Namespace) -> None:
        torch.manual_seed(options.seed)
        self.options = options
        self.is_first = not distributed.is_initialized() or distributed.get_rank() == 0
        self.dataset = PackedDataset(
            options.shards,
            batch_size=options.batch_size,
            seed=options.seed,
            objective=MaskedLM(0.15),
            columns=COLUMNS,
            compact=True,
        )
        tokenizer = self.dataset.reader.tokenizer
        shape = {"width": options.width, "heads": options.heads, "layers": options.layers}
        self.model = Esm2(vocabulary=len(tokenizer.tokens), mask_id=tokenizer.mask_id, **shape).to(options.device)
        self.optimiser = torch.optim.AdamW(
            self.model.parameters(), lr=options.learning_rate, betas=(0.9, 0.98), weight_decay=0.01
        )
        self.schedule = torch.optim.lr_scheduler.LambdaLR(
            self.optimiser, lambda step: min(1.0, (step + 1) / options.warmup)
        )
        self.parts: dict[str, Any] = {
            "model": self.model,
            "optimiser": self.optimiser,
            "schedule": self.schedule,
            "reader": self.dataset,
        }
        self.step = 0

    def load(self, path: Path) -> None:
        """Go on from a checkpoint."""
        document = torch.load(path, map_location=self.options.device, weights_only=True)
        self.step = document.pop("step")
        for name, state in document.items():
            self.parts[name].load_state_dict(state)

    def save(self, path: Path) -> None:
        """Whole or not at all."""
        states = {name: part.state_dict() for name, part in self.parts.items()}
        torch.save({"step": self.step, **states}, path.with_suffix(".tmp"))
        path.with_suffix(".tmp").replace(path)

    def train(self) -> None:
        """Take the steps that are left."""
        training = DistributedDataParallel(self.model) if distributed.is_initialized() else self.model
        tokens, began, first = 0, time.perf_counter(), self.step
        while self.step < self.options.steps:
            for batch in self.dataset:  # each full iteration is an epoch
                loss = self.take_step(training, to_device(batch, self.options.device))
                tokens += int(batch["num_tokens"].sum())
                if self.is_first and (self.step % 10 == 0 or self.step in {first + 1, self.options.steps}):
                    rate = tokens / (time.perf_counter() - began)
                    print(f"step {self.step:6}  loss {loss.item():.4f}  {rate:,.0f} tokens/s", flush=True)
                is_last = self.step == self.options.steps
                is_due = is_last or self.step % self.options.save_every == 0
                if self.is_first and self.options.checkpoint and is_due:
                    self.save(self.options.checkpoint)
                if is_last:
                    break

    def take_step(self, training: nn.Module, batch: dict[str, Tensor]) -> Tensor:
        """One batch; returns its loss."""
        device = self.options.device.partition(":")[0]
        with torch.autocast(device, torch.bfloat16, enabled=device != "cpu"):
            logits = training(batch)
        loss = cross_entropy(logits, batch["labels"])
        self.optimiser.zero_grad()
        loss.backward()
        self.optimiser.step()
        self.schedule.step()
        self.step += 1
        return loss.detach()


def main() -> None:
    options = parse_arguments()
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        distributed.init_process_group()
        if options.device == "cuda":
            options.device = f"cuda:{os.environ['LOCAL_RANK']}"
            torch.cuda.set_device(options.device)
    trainer = Trainer(options)
    if options.checkpoint and options.checkpoint.exists():
        trainer.load(options.checkpoint)
    trainer.train()
    if distributed.is_initialized():
        distributed.destroy_process_group()


if __name__ == "__main__":
    main()
