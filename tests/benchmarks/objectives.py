"""What objectives cost on one core: tokens a second of processor time, with rows of random proteins.

    python tests/benchmarks/objectives.py --rows 32 512

Blocks of 512 rows of 1,024 tokens are what the reader gives an objective at once.
"""

import argparse
import time

import numpy as np

from pipeline.core.tokenizer import load_tokenizer
from pipeline.streaming.objectives import (
    AbsorbingDiffusion,
    Batch,
    CausalLM,
    MaskedLM,
    Objective,
    ObjectiveContext,
    OrderAgnosticDiffusion,
    PermutationLM,
    ReplacedTokenDetection,
    ResidueDenoising,
    SpanCorruption,
)

LENGTH = 1024


def random_rows(num_rows: int, tokenizer_name: str) -> tuple[Batch, ObjectiveContext]:
    """Rows full of proteins with lengths as in UniRef50, a mean of about 290."""
    rng = np.random.default_rng(0)
    tokenizer = load_tokenizer(tokenizer_name)
    special = tokenizer.num_special_tokens
    lengths, row_offsets = [], [0]
    for _ in range(num_rows):
        room = LENGTH
        while room >= 20 + special:
            lengths.append(min(int(rng.gamma(2, 145)) + 20 + special, room))
            room -= lengths[-1]
        row_offsets.append(len(lengths))
    context = ObjectiveContext.of(tokenizer, seed=0, epoch=0)
    input_ids = rng.choice(context.residue_ids, (num_rows, LENGTH)).astype(tokenizer.dtype)
    return {
        "input_ids": input_ids,
        "lengths": np.array(lengths, dtype=np.uint32),
        "row_offsets": np.array(row_offsets),
        "record_keys": rng.integers(0, 1 << 64, len(lengths), dtype=np.uint64),
        "starts": np.zeros(len(lengths), dtype=np.uint32),
    }, context


def nanoseconds(objective: Objective, batch: Batch, context: ObjectiveContext, repeats: int) -> tuple[float, float]:
    """Processor time a token: median and least."""
    times = []
    for _ in range(repeats):
        begin = time.process_time_ns()
        objective(batch, context)
        times.append((time.process_time_ns() - begin) / batch["input_ids"].size)
    return float(np.median(times)), min(times)


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[32, 512])
    parser.add_argument("--repeats", type=int, default=15)
    options = parser.parse_args()
    print(f"{'objective':38} {'rows':>5} {'ns a token':>11} {'least':>7} {'million tokens/s':>17} {'most':>7}")
    for num_rows in options.rows:
        esm2, prott5 = random_rows(num_rows, "esm2"), random_rows(num_rows, "prott5")
        for objective in (
            MaskedLM(0.15),
            MaskedLM("betalinear30"),
            CausalLM(),
            AbsorbingDiffusion(),
            OrderAgnosticDiffusion(),
            PermutationLM(),
            ReplacedTokenDetection(),
            ResidueDenoising(),
            SpanCorruption(target_length=256),
        ):
            rows = prott5 if isinstance(objective, ResidueDenoising | SpanCorruption) else esm2
            median, least = nanoseconds(objective, *rows, options.repeats)
            print(
                f"{objective.name:38} {num_rows:5} {median:11.1f} {least:7.1f} {1e3 / median:17.0f} {1e3 / least:7.0f}"
            )


if __name__ == "__main__":
    main()
