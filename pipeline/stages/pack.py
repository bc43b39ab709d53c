"""The pack stage: a corpus to a plan that says which record goes where.

One task for each corpus part: cut what is longer than a row, pack the lengths, write (row, slot, record, start,
length). Only lengths and record keys are read: a part of 250,000 records takes a few megabytes and a fraction of a
second.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.config import PackConfig
from pipeline.core.packing import Placement, pack
from pipeline.core.pieces import Pieces, cut
from pipeline.core.randomness import PURPOSE_PART, derive_key
from pipeline.core.tokenizer import load_tokenizer
from pipeline.engines.stage import Round, Rounds, Task, TaskResult, artefact_input, files_of, total
from pipeline.errors import ArtefactError, IntegrityError
from pipeline.formats.manifest import Kind, Run, make_manifest, read_manifest
from pipeline.formats.parquet import read_columns
from pipeline.formats.plan import plan_name, write_plan

TRAIN = "train"
OVERLONG = "overlong"


class Pack:
    """Stage: ``corpus/`` to ``plan/``."""

    kind: Kind = "plan"

    def __init__(self, corpus: Path, config: PackConfig) -> None:
        self.corpus = corpus
        self.config = config
        self.tokenizer = load_tokenizer(config.tokenizer)
        self.max_residues = self.tokenizer.max_residues(config.length)

    def forthcoming(self) -> Sequence[Callable[..., TaskResult]]:
        """None: the inputs are identified by their manifests."""
        return ()

    def describe(self, folder: Path) -> Run:
        """Configuration with the whole tokenizer, and the corpus."""
        corpus = artefact_input(self.corpus, read_manifest(self.corpus, kind="corpus"), folder)
        return Run(kind=self.kind, configuration=self._configuration(), inputs=(corpus,))

    def _configuration(self) -> dict[str, Any]:
        # The tokenizer goes in whole: a file of the same name may hold something else tomorrow.
        return self.config.model_dump(mode="json") | {"tokenizer": self.tokenizer.document()}

    def rounds(self, folder: Path, worker_bytes: int) -> Rounds:
        """Pack every part."""
        del worker_bytes  # a task holds one part, and the corpus decides how large that is
        corpus = read_manifest(self.corpus, kind="corpus")
        tasks = [self._task(index, self.corpus / file.path) for index, file in enumerate(corpus.tables)]
        packed = yield Round(label="pack", tasks=tasks)
        counts = total(packed, "counts")
        reasons = total(packed, "reasons")
        if counts["records"] != corpus.counts["records"]:
            raise IntegrityError(
                f"{self.corpus}: expected {corpus.counts['records']} records, found {counts['records']}",
                hint="run `pipeline verify` on the corpus",
            )
        if not counts["rows"]:
            raise ArtefactError(
                f"{self.corpus}: no record is left to pack: {total(packed, 'reasons')}",
                hint="choose a larger --length or another --overlong policy",
            )
        counts["rows_lower_bound"] = -(-counts["tokens_aligned"] // self.config.length)
        return make_manifest(
            self.kind,
            configuration=self._configuration(),
            inputs=(artefact_input(self.corpus, corpus, folder),),
            files=files_of(packed),
            counts=counts,
            reasons=reasons,
            provenance=corpus.provenance,
        )

    def _task(self, index: int, part: Path) -> Task:
        arguments: dict[str, Any] = {"index": index, "part": str(part), "config": self.config}
        arguments |= {"num_special_tokens": self.tokenizer.num_special_tokens, "max_residues": self.max_residues}
        return Task(name=f"{TRAIN}-{index:05d}", function=pack_part, arguments=arguments)


def pack_part(
    folder: Path, *, index: int, part: str, config: PackConfig, num_special_tokens: int, max_residues: int
) -> TaskResult:
    """Plan the rows of one corpus part.

    Args:
        folder: The plan.
        index: Number of the part.
        part: Its Parquet file.
        config: How to pack.
        num_special_tokens: Tokens around the residues of each segment.
        max_residues: Residues that fit into a row.
    """
    table = read_columns(Path(part), ["length", "record_key"])
    lengths = table.column("length").to_numpy()
    record_keys = table.column("record_key").to_numpy()
    pieces = cut(
        lengths,
        max_residues=max_residues,
        policy=config.overlong,
        record_keys=record_keys,
        seed=config.seed,
        epoch=config.epoch,
    )
    occupied = _occupied(pieces.length, num_special_tokens, config.alignment)
    # Each part draws from a key of its own, or every part would be shuffled alike.
    seed = int(derive_key(PURPOSE_PART, config.seed, index))
    placement = pack(occupied, config.length, algorithm=config.algorithm, seed=seed)
    columns = _columns(placement, pieces)
    file = write_plan(folder, plan_name(TRAIN, index), TRAIN, columns, placement.num_rows)
    return TaskResult(
        files=(file,),
        counts=_counts(lengths, pieces, occupied, placement, num_special_tokens),
        reasons={OVERLONG: pieces.counts.records_dropped},
    )


def _occupied(residues: npt.NDArray[np.uint32], num_special_tokens: int, alignment: int) -> npt.NDArray[np.int64]:
    tokens = residues.astype(np.int64) + num_special_tokens
    return -(-tokens // alignment) * alignment


def _columns(placement: Placement, pieces: Pieces) -> dict[str, npt.NDArray[np.generic]]:
    order = placement.order
    return {
        "row": placement.row[order],
        "slot": placement.slot[order],
        "record": pieces.record[order],
        "start": pieces.start[order],
        "length": pieces.length[order],
    }


def _counts(
    lengths: npt.NDArray[np.uint32],
    pieces: Pieces,
    occupied: npt.NDArray[np.int64],
    placement: Placement,
    num_special_tokens: int,
) -> dict[str, int]:
    num_segments = len(pieces.record)
    residues = int(pieces.length.sum(dtype=np.int64))
    return {
        "records": len(lengths),
        "residues": int(lengths.sum(dtype=np.int64)),
        "segments": num_segments,
        "residues_packed": residues,
        "tokens": residues + num_segments * num_special_tokens,
        "tokens_aligned": int(occupied.sum()),
        "rows": placement.num_rows,
        "records_cropped": pieces.counts.records_cropped,
        "records_windowed": pieces.counts.records_windowed,
        "residues_lost": pieces.counts.residues_lost,
    }
