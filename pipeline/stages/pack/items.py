"""What a corpus part gives to pack: its records, cut where they are longer than a row, and the room that each takes."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pipeline.config import PackConfig
from pipeline.core.pieces import Pieces, cut
from pipeline.formats.parquet import read_columns


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Items:
    """The segments of a part.

    Attributes:
        lengths: uint32 [records], residues of each record.
        pieces: The records, cut.
        tokens: int64 [pieces], with special tokens.
        occupied: int64 [pieces], rounded up to the alignment: what packing places.
    """

    lengths: npt.NDArray[np.uint32]
    pieces: Pieces
    tokens: npt.NDArray[np.int64]
    occupied: npt.NDArray[np.int64]


def read_items(part: CorpusPart) -> Items:
    """The segments of a part: only lengths and record keys are read."""
    config = part.config
    table = read_columns(Path(part.path), ["length", "record_key"])
    lengths = table.column("length").to_numpy()
    pieces = cut(
        lengths,
        max_residues=part.max_residues,
        policy=config.overlong,
        record_keys=table.column("record_key").to_numpy(),
        seed=config.seed,
        epoch=config.epoch,
    )
    tokens = pieces.length.astype(np.int64) + part.num_special_tokens
    return Items(
        lengths=lengths, pieces=pieces, tokens=tokens, occupied=-(-tokens // config.alignment) * config.alignment
    )


def read_lengths(part: CorpusPart) -> npt.NDArray[np.uint32]:
    """Residues of each record: uint32 [records]."""
    lengths: npt.NDArray[np.uint32] = read_columns(Path(part.path), ["length"]).column("length").to_numpy()
    return lengths
