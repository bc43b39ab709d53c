"""The pack stage: a corpus to a plan that says which record goes where.

One task for each corpus part: cut what is longer than a row and pack the lengths, or run the records on from row to
row; write (row, slot, record, start, length). Only lengths and record keys are read: a part of 250,000 records takes a
few megabytes and a fraction of a second.

Concatenation loses no residue, so that no over-length policy applies, and at most one row a part: its last row alone
has padding.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.config import PackConfig
from pipeline.core.concatenation import CONCATENATE, RUN_ON, concatenate
from pipeline.core.packing import pack
from pipeline.core.pieces import CutCounts, Pieces, cut
from pipeline.core.randomness import PURPOSE_PART, derive_key
from pipeline.core.tokenizer import load_tokenizer
from pipeline.engines.stage import Round, Rounds, Task, TaskResult, artefact_input, files_of, total
from pipeline.errors import ArtefactError, ConfigurationError, IntegrityError
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
        if config.algorithm == CONCATENATE:
            self.tokenizer.for_concatenation()  # raises where nothing can stand between records
            _check_alignment(config.alignment)

    def forthcoming(self) -> Sequence[Callable[..., TaskResult]]:
        """None: the inputs are identified by their manifests."""
        return ()

    def describe(self, folder: Path) -> Run:
        """Configuration with the whole tokenizer, and the corpus."""
        corpus = artefact_input(self.corpus, read_manifest(self.corpus, kind="corpus"), folder)
        return Run(kind=self.kind, configuration=self._configuration(), inputs=(corpus,))

    def _configuration(self) -> dict[str, Any]:
        # The tokenizer goes in whole: a file of the same name may hold something else tomorrow.
        configuration = self.config.model_dump(mode="json") | {"tokenizer": self.tokenizer.document()}
        return configuration | ({"overlong": RUN_ON} if self.config.algorithm == CONCATENATE else {})

    def _warnings(self) -> list[str]:
        config = self.config
        if config.algorithm != CONCATENATE or config.overlong is PackConfig.model_fields["overlong"].default:
            return []
        given = f"--overlong {config.overlong.value}"
        return [f"{given} does not apply: concatenated records run on from row to row, and no residue is lost"]

    def rounds(self, folder: Path, worker_bytes: int) -> Rounds:
        """Pack every part."""
        del worker_bytes  # a task holds one part, and the corpus decides how large that is
        corpus = read_manifest(self.corpus, kind="corpus")
        tasks = [self._task(index, self.corpus / file.path) for index, file in enumerate(corpus.tables)]
        packed = yield Round(label="pack", tasks=tasks, warnings=self._warnings())
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
    # Each part draws from a key of its own, or every part would be shuffled alike.
    seed = int(derive_key(PURPOSE_PART, config.seed, index))
    if config.algorithm == CONCATENATE:
        packed = _run_on(lengths, config.length, seed)
    else:
        pieces = cut(
            lengths,
            max_residues=max_residues,
            policy=config.overlong,
            record_keys=table.column("record_key").to_numpy(),
            seed=config.seed,
            epoch=config.epoch,
        )
        packed = _placed(pieces, config, num_special_tokens, seed)
    file = write_plan(folder, plan_name(TRAIN, index), TRAIN, packed.columns, packed.num_rows)
    return TaskResult(
        files=(file,),
        counts=_counts(lengths, packed, config.length),
        reasons={OVERLONG: packed.cut.records_dropped},
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Packed:
    """The plan of a part."""

    columns: dict[str, npt.NDArray[np.generic]]
    num_rows: int
    num_special_tokens: int
    """In all rows together."""
    num_gaps: int
    """Tokens between segments that are aligned."""
    cut: CutCounts


def _placed(pieces: Pieces, config: PackConfig, num_special_tokens: int, seed: int) -> _Packed:
    tokens = pieces.length.astype(np.int64) + num_special_tokens
    occupied = -(-tokens // config.alignment) * config.alignment
    placement = pack(occupied, config.length, algorithm=config.algorithm, seed=seed)
    order = placement.order
    return _Packed(
        columns={
            "row": placement.ordered_row(),
            "slot": placement.ordered_slot(),
            "record": pieces.record[order],
            "start": pieces.start[order],
            "length": pieces.length[order],
        },
        num_rows=placement.num_rows,
        num_special_tokens=num_special_tokens * len(tokens),
        num_gaps=int(occupied.sum() - tokens.sum()),
        cut=pieces.counts,
    )


def _run_on(lengths: npt.NDArray[np.uint32], row_length: int, seed: int) -> _Packed:
    made = concatenate(lengths, row_length, seed=seed)
    return _Packed(
        columns={name: getattr(made, name) for name in ("row", "slot", "record", "start", "length")},
        num_rows=made.num_rows,
        num_special_tokens=len(lengths),
        num_gaps=0,
        cut=CutCounts(records_cropped=0, records_windowed=0, records_dropped=0, residues_lost=0),
    )


def _counts(lengths: npt.NDArray[np.uint32], packed: _Packed, row_length: int) -> dict[str, int]:
    residues = int(packed.columns["length"].sum(dtype=np.int64))
    tokens = residues + packed.num_special_tokens
    return {
        "records": len(lengths),
        "residues": int(lengths.sum(dtype=np.int64)),
        "segments": len(packed.columns["record"]),
        "residues_packed": residues,
        "tokens": tokens,
        "tokens_aligned": tokens + packed.num_gaps,
        "tokens_padding": packed.num_rows * row_length - tokens,
        "rows": packed.num_rows,
        "records_cropped": packed.cut.records_cropped,
        "records_windowed": packed.cut.records_windowed,
        "residues_lost": packed.cut.residues_lost,
    }


def _check_alignment(alignment: int) -> None:
    if alignment != 1:
        raise ConfigurationError(
            f"--alignment {alignment}: expected 1 with --algorithm {CONCATENATE}, whose records follow each other "
            "without a gap",
            hint="leave --alignment out, or choose another --algorithm",
        )
