"""The rows of one split of a corpus part: a task, and the one that finds patterns for all where packing is optimal."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.config import PackConfig
from pipeline.core.concatenation import CONCATENATE, carries_separator, concatenate
from pipeline.core.packing import length_histogram, lower_bound, pack
from pipeline.core.patterns import PatternPool
from pipeline.core.pieces import CutCounts
from pipeline.core.randomness import PURPOSE_PART, derive_key
from pipeline.engines.optimal_packing import find_patterns, optimal
from pipeline.engines.stage import SCRATCH_NAME, TaskResult
from pipeline.formats.plan import OVERLONG, SPLITS, of_split, plan_name, write_plan
from pipeline.formats.plan_counting import attention_cost, count_overlong, count_rows, count_segments, rank_spreads
from pipeline.formats.plan_statistics import PlanStatistics
from pipeline.formats.plan_words import other_order
from pipeline.formats.storage import read_json, write_json, write_text
from pipeline.stages.pack.items import CorpusPart, read_items, read_lengths

OPTIMAL = "optimal"
HISTOGRAM = "histogram"
STATISTICS_SUFFIX = ".statistics.json"

_POOL_NAME = f"{SCRATCH_NAME}/patterns.json"


def count_part(folder: Path, *, part: CorpusPart) -> TaskResult:
    """How many segments of each length a part has: ``values["histogram"]``, by tokens from 0 to the row length."""
    histogram = length_histogram(read_items(folder, part).occupied, part.config.length)
    return TaskResult(values={HISTOGRAM: histogram.tolist()})


def pool_patterns(folder: Path, *, histogram: Sequence[int], config: PackConfig) -> TaskResult:
    """Find the patterns that pack all parts well.

    Args:
        folder: The plan.
        histogram: Of all parts together.
        config: How to pack.
    """
    pool = find_patterns(np.array(histogram, dtype=np.int64), config.length, config.max_segments)
    write_json(folder / _POOL_NAME, pool.document())
    return TaskResult(scratch={_POOL_NAME: (folder / _POOL_NAME).stat().st_size})


def pack_part(folder: Path, *, part: CorpusPart) -> TaskResult:
    """Plan the rows of one corpus part, or of one split of it.

    Args:
        folder: The plan.
        part: What to pack, and how.
    """
    packed = _run_on(folder, part) if part.config.algorithm == CONCATENATE else _placed(folder, part)
    path = plan_name(part.split, part.index)
    name = f"{SCRATCH_NAME}/{path}{STATISTICS_SUFFIX}"
    write_text(folder / name, _statistics(part, packed).model_dump_json(), durable=False)
    counts = _counts(packed, part.config.length)
    return TaskResult(
        files=(write_plan(folder, path, part.split, packed.columns, packed.num_rows),) if part.has_file else (),
        scratch={name: (folder / name).stat().st_size},
        counts=of_split(counts, part.split) if part.is_chosen else counts,
        reasons={OVERLONG: packed.cut.records_dropped},
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Packed:
    """The plan of a part."""

    lengths: npt.NDArray[np.uint32]
    """Residues of each record."""
    columns: dict[str, npt.NDArray[Any]]
    num_rows: int
    tokens: npt.NDArray[np.int64]
    """Of each segment, as they are stored."""
    occupied: npt.NDArray[np.int64]
    """The same rounded up to the alignment."""
    rows: dict[str, int]
    """Rows by algorithm, those that others would need among them."""
    lower_bound: int
    """Rows that no packing can do without."""
    proven_bound: int
    """The same by the best proof there is."""
    num_special_tokens: int
    """In all rows together."""
    num_gaps: int
    """Tokens between segments that are aligned."""
    cut: CutCounts


def _seed(part: CorpusPart) -> int:
    # Each part draws from a key of its own, or every part would be shuffled alike; train's is that of no splits.
    split = SPLITS.index(part.split)
    return int(derive_key(PURPOSE_PART, part.config.seed, part.index, *([split] if split else [])))


def _placed(folder: Path, part: CorpusPart) -> _Packed:
    items, config = read_items(folder, part), part.config
    histogram = length_histogram(items.occupied, config.length)
    pool = _pool(folder) if config.algorithm == OPTIMAL else None
    placement = pack(
        items.occupied,
        config.length,
        algorithm=config.algorithm if pool is None else partial(optimal, pool=pool),
        seed=_seed(part),
        max_segments=config.max_segments,
        order=config.order,
    )
    order, pieces = placement.order, items.pieces
    least = lower_bound(histogram, config.length, config.max_segments)
    known: dict[str, int] = {config.algorithm: placement.num_rows}
    return _Packed(
        lengths=items.lengths,
        columns={
            "row": placement.ordered_row(),
            "slot": placement.ordered_slot(),
            "record": items.number[pieces.record[order]],
            "start": pieces.start[order],
            "length": pieces.length[order],
        },
        num_rows=placement.num_rows,
        tokens=items.tokens[order],
        occupied=items.occupied[order],
        rows=count_rows(histogram, config.length, config.max_segments, lengths=items.lengths, known=known),
        lower_bound=least,
        proven_bound=least if pool is None else max(least, pool.lower_bound(histogram)),
        num_special_tokens=part.num_special_tokens * len(items.tokens),
        num_gaps=int(items.occupied.sum() - items.tokens.sum()),
        cut=pieces.counts,
    )


def _pool(folder: Path) -> PatternPool:
    return PatternPool.from_document(read_json(folder / _POOL_NAME))


def _run_on(folder: Path, part: CorpusPart) -> _Packed:
    (number, lengths), row_length = read_lengths(folder, part), part.config.length
    made = concatenate(lengths, row_length, seed=_seed(part))
    is_end = made.start + made.length == lengths[made.record]
    tokens = made.length.astype(np.int64) + carries_separator(made.row, made.length, is_end, row_length)
    return _Packed(
        lengths=lengths,
        columns={name: getattr(made, name) for name in ("row", "slot", "start", "length")}
        | {"record": number[made.record]},
        num_rows=made.num_rows,
        tokens=tokens,
        occupied=tokens,
        rows={CONCATENATE: made.num_rows},
        lower_bound=made.num_rows,  # all rows but the last are full
        proven_bound=made.num_rows,
        num_special_tokens=len(lengths),
        num_gaps=0,
        cut=CutCounts(records_cropped=0, records_windowed=0, records_dropped=0, residues_lost=0),
    )


def _statistics(part: CorpusPart, packed: _Packed) -> PlanStatistics:
    """What the report of the plan tells of this part."""
    columns, config, runs_on = packed.columns, part.config, part.config.algorithm == CONCATENATE
    others = () if runs_on else (other_order(config.order),)
    cost = attention_cost(columns["row"], packed.occupied)
    segments = count_segments(
        row=columns["row"], record=columns["record"], residues=columns["length"], tokens=packed.tokens
    )
    rows = PlanStatistics(
        rows=packed.rows,
        lower_bound=packed.proven_bound,
        spreads=rank_spreads(cost, order=config.order, others=others, seed=_seed(part)),
    )
    return segments + rows if runs_on else segments + rows + count_overlong(packed.lengths, part.max_residues)


def _counts(packed: _Packed, row_length: int) -> dict[str, int]:
    residues = int(packed.columns["length"].sum(dtype=np.int64))
    tokens = residues + packed.num_special_tokens
    return {
        "records": len(packed.lengths),
        "residues": int(packed.lengths.sum(dtype=np.int64)),
        "segments": len(packed.columns["record"]),
        "most_segments": int(packed.columns["slot"].astype(np.int64).max(initial=-1)) + 1,
        "residues_packed": residues,
        "tokens": tokens,
        "tokens_aligned": tokens + packed.num_gaps,
        "tokens_padding": packed.num_rows * row_length - tokens,
        "rows": packed.num_rows,
        "rows_lower_bound": packed.lower_bound,
        "records_cropped": packed.cut.records_cropped,
        "records_windowed": packed.cut.records_windowed,
        "residues_lost": packed.cut.residues_lost,
    }
