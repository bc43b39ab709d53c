"""Train a small MSA Transformer (ESM-MSA-1b) from alignments: a file to copy and change.

    pipeline ingest my/alignments/*.a3m --as alignments --out alignments/       # A3M, Stockholm, BFD's ffindex
    python workflows/train_esm_msa.py alignments/
    torchrun --nproc-per-node 8 workflows/train_esm_msa.py alignments/ --width 768 --layers 12 --heads 12

The model is MSA Transformer's (Rao et al. 2021, doi:10.1101/2021.02.12.430858): blocks of attention along rows, tied
over all rows of an alignment, attention along columns, and feed-forward; learned positions of columns and of rows;
15 % of the cells masked. With --checkpoint, model, optimiser and reader are saved together, and the same command goes
on with the next batch, on as many ranks as there are then.

As published: token ids, <cls> before every row and no <eos>, the query always first, the others at random without
replacement, rows times columns at most 2^14, at most 1,024 of either. Not verified against a primary source: that the
15 % are uniform over cells and so gaps are among them, and what random replacements are drawn from (here: the 20
residues). Choices of this package: rows that were drawn keep their order, and wider alignments are cropped to a window
that is drawn.
"""

import argparse
import os
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.nn import functional
from torch.nn.parallel import DistributedDataParallel

from pipeline.streaming.alignment_dataset import AlignmentDataset
from pipeline.streaming.collate import to_device
from pipeline.streaming.objectives.alignment_masked_lm import AlignmentMaskedLM
from pipeline.streaming.objectives.loss import cross_entropy


class MsaTransformer(nn.Module):
    """Logits [alignments, rows, columns, vocabulary]."""

    def __init__(self, *, vocabulary: int, width: int, heads: int, layers: int, longest: int = 1024) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, width)
        self.columns = nn.Embedding(longest, width)
        self.rows = nn.Embedding(longest, width)
        self.first_norm, self.norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(layers))
        self.head = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.LayerNorm(width))
        self.bias = nn.Parameter(torch.zeros(vocabulary))
        for embedding in (self.embedding, self.columns, self.rows):
            nn.init.normal_(embedding.weight, std=0.02)

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        """``input_ids`` [alignments, rows, columns], ``row_mask`` and ``column_mask``."""
        ids = batch["input_ids"]
        _, rows, columns = ids.shape
        places = torch.arange(max(rows, columns), device=ids.device)
        hidden = self.embedding(ids) + self.columns(places[:columns]) + self.rows(places[:rows])[:, None]
        hidden = self.first_norm(hidden)
        for block in self.blocks:
            hidden = block(hidden, batch["row_mask"], batch["column_mask"])
        return functional.linear(self.head(self.norm(hidden)), self.embedding.weight, self.bias)


class Block(nn.Module):
    """Attention along rows, attention along columns, feed-forward."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.along_rows, self.along_columns = Attention(width, heads), Attention(width, heads)
        self.feed_forward = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )

    def forward(self, hidden: Tensor, row_mask: Tensor, column_mask: Tensor) -> Tensor:
        """``hidden`` [alignments, rows, columns, width]; masks are true on what is no padding."""
        hidden = hidden + self.along_rows.tied(hidden, row_mask, column_mask)
        hidden = hidden + self.along_columns(hidden.transpose(1, 2), row_mask).transpose(1, 2)
        return hidden + self.feed_forward(hidden)


class Attention(nn.Module):
    """Attention of [alignments, lines, places, width] along places, each line alone or all of them together."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(width)
        self.projection = nn.Linear(width, 3 * width)
        self.output = nn.Linear(width, width)

    def forward(self, hidden: Tensor, mask: Tensor) -> Tensor:
        """``mask`` [alignments, places]."""
        query, key, value = self.split(hidden)
        # Padding sees everything: a row of a mask that is all false would give NaN.
        visible = mask[:, None, None, None, :] | ~mask[:, None, None, :, None]
        return self.join(functional.scaled_dot_product_attention(query, key, value, attn_mask=visible))

    def tied(self, hidden: Tensor, line_mask: Tensor, mask: Tensor) -> Tensor:
        """One attention map for all lines: the mean over lines, scaled by the root of their number."""
        query, key, value = self.split(hidden)
        query = query * line_mask[:, :, None, None, None]
        number = line_mask.sum(dim=1).clamp(min=1)[:, None, None, None]
        scores = torch.einsum("alhid,alhjd->ahij", query, key) / (query.shape[-1] * number) ** 0.5
        visible = mask[:, None, None, :] | ~mask[:, None, :, None]
        weights = scores.masked_fill(~visible, float("-inf")).softmax(dim=-1)
        return self.join(torch.einsum("ahij,alhjd->alhid", weights, value))

    def split(self, hidden: Tensor) -> tuple[Tensor, ...]:
        """Queries, keys and values [alignments, lines, heads, places, width of a head]."""
        parts = self.projection(self.norm(hidden)).chunk(3, dim=-1)
        return tuple(part.unflatten(-1, (self.heads, -1)).transpose(2, 3) for part in parts)

    def join(self, mixed: Tensor) -> Tensor:
        """Back to [alignments, lines, places, width]."""
        return self.output(mixed.transpose(2, 3).flatten(3))


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("alignments", help="a folder made by `pipeline ingest --as alignments`")
    parser.add_argument("--steps", type=int, default=100, help="steps in all, those before a checkpoint included")
    parser.add_argument("--batch-size", type=int, default=1, help="alignments of one rank")
    parser.add_argument("--max-tokens", type=int, default=1 << 14, help="rows times columns of an alignment")
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--heads", type=int, default=4)
    parser.add_argument("--learning-rate", type=float, default=2e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--checkpoint", type=Path, help="save here at the end, and go on from here")
    return parser.parse_args()


class Trainer:
    """Model, optimiser and reader, and the step they stand at."""

    def __init__(self, options: argparse.Namespace) -> None:
        torch.manual_seed(options.seed)
        self.options = options
        self.dataset = AlignmentDataset(
            options.alignments,
            batch_size=options.batch_size,
            seed=options.seed,
            objective=AlignmentMaskedLM(0.15),
            max_tokens=options.max_tokens,
            compact=True,
        )
        shape = {"width": options.width, "heads": options.heads, "layers": options.layers}
        vocabulary = len(self.dataset.reader.tokenizer.tokens)
        self.model = MsaTransformer(vocabulary=vocabulary, **shape).to(options.device)
        self.optimiser = torch.optim.AdamW(self.model.parameters(), lr=options.learning_rate, betas=(0.9, 0.98))
        self.parts: dict[str, Any] = {"model": self.model, "optimiser": self.optimiser, "reader": self.dataset}
        self.step = 0
        self.losses: list[float] = []

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
        is_first = not distributed.is_initialized() or distributed.get_rank() == 0
        while self.step < self.options.steps:
            for batch in self.dataset:  # each full iteration is an epoch
                self.losses.append(self.take_step(training, to_device(batch, self.options.device)))
                if is_first and (self.step % 10 == 0 or self.step in {1, self.options.steps}):
                    print(f"step {self.step:6}  loss {self.losses[-1]:.4f}", flush=True)
                if self.step == self.options.steps:
                    break
        if is_first and self.options.checkpoint:
            self.save(self.options.checkpoint)

    def take_step(self, training: nn.Module, batch: dict[str, Tensor]) -> float:
        """One batch; returns its loss."""
        device = self.options.device.partition(":")[0]
        with torch.autocast(device, torch.bfloat16, enabled=device != "cpu"):
            logits = training(batch)
        loss = cross_entropy(logits, batch["labels"])
        self.optimiser.zero_grad()
        loss.backward()
        self.optimiser.step()
        self.step += 1
        return loss.item()


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
