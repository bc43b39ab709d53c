"""What a corpus part gives to pack: its records, cut where they are longer than a row, and the room that each takes.

Of a corpus with clusters these are the records of one split, as ``choice`` decided. Crops of valid and test are those
of epoch 0 in every epoch: what models are compared on stays the same.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pipeline.config import PackConfig
from pipeline.core.concatenation import CONCATENATE
from pipeline.core.pieces import Overlong, Pieces, cut
from pipeline.engines.stage import SCRATCH_NAME
from pipeline.formats.clusters import TRAIN
from pipeline.formats.corpus import part_name
from pipeline.formats.parquet import read_columns
from pipeline.formats.plan import SPLITS

LEFT_OUT = 255
"""In a file of the choice: the record is in no split."""

UInt32Array = npt.NDArray[np.uint32]


@dataclass(frozen=True, slots=True, kw_only=True)
class CorpusPart:
    """A part to pack, and how."""

    index: int
    """Number of the part."""
    path: str
    """Its Parquet file."""
    config: PackConfig
    num_special_tokens: int
    """Tokens around the residues of each segment."""
    max_residues: int
    """Residues that fit into a row."""
    split: str = TRAIN
    """Whose rows are planned."""
    is_chosen: bool = False
    """Whether there is a file that says which records are of the split; else all are."""
    has_file: bool = True
    """Whether the plan has files of the split: some part has a segment of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Items:
    """The segments of a part, or of one split of it.

    Attributes:
        number: uint32 [records], rows of the records in the part.
        lengths: uint32 [records], residues of each record.
        pieces: The records, cut; their ``record`` counts through ``number``.
        tokens: int64 [pieces], with special tokens.
        occupied: int64 [pieces], rounded up to the alignment: what packing places.
    """

    number: UInt32Array
    lengths: UInt32Array
    pieces: Pieces
    tokens: npt.NDArray[np.int64]
    occupied: npt.NDArray[np.int64]


def choice_name(index: int) -> str:
    """Path of the file inside the plan that says which split each record of a part is in."""
    return f"{SCRATCH_NAME}/{Path(part_name(index)).stem}.choice"


def num_packed(part: CorpusPart, lengths: UInt32Array) -> int:
    """How many of some records will have segments."""
    drops = part.config.overlong is Overlong.DROP and part.config.algorithm != CONCATENATE
    return int(np.count_nonzero(lengths <= part.max_residues)) if drops else len(lengths)


def read_items(folder: Path, part: CorpusPart) -> Items:
    """The segments of a part: only lengths and record keys are read.

    Args:
        folder: The plan, where the choice is.
        part: Which part, and how it is to be packed.
    """
    config = part.config
    table = read_columns(Path(part.path), ["length", "record_key"])
    number = _numbers(folder, part, table.num_rows)
    lengths = table.column("length").to_numpy()[number]
    pieces = cut(
        lengths,
        max_residues=part.max_residues,
        policy=config.overlong,
        record_keys=table.column("record_key").to_numpy()[number],
        seed=config.seed,
        epoch=config.epoch if part.split == TRAIN else 0,
    )
    tokens = pieces.length.astype(np.int64) + part.num_special_tokens
    occupied = -(-tokens // config.alignment) * config.alignment
    return Items(number=number, lengths=lengths, pieces=pieces, tokens=tokens, occupied=occupied)


def read_lengths(folder: Path, part: CorpusPart) -> tuple[UInt32Array, UInt32Array]:
    """Row in the part, and residues, of each record: uint32 [records] each."""
    lengths = read_columns(Path(part.path), ["length"]).column("length").to_numpy()
    number = _numbers(folder, part, len(lengths))
    return number, lengths[number]


def _numbers(folder: Path, part: CorpusPart, num_records: int) -> UInt32Array:
    if not part.is_chosen:
        return np.arange(num_records, dtype=np.uint32)
    choice = np.fromfile(folder / choice_name(part.index), dtype=np.uint8)
    return np.flatnonzero(choice == SPLITS.index(part.split)).astype(np.uint32)
