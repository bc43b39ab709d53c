"""The reader of alignments as a torch dataset: batches of tensors, in the trainer's process or from loader workers.

    DataLoader(dataset, batch_size=None)                  threads in the trainer's process
    DataLoader(dataset, batch_size=None, num_workers=2)   worker w takes the steps w, w + 2, w + 4, … of this rank

Both deliver the same batches in the same order; what :mod:`pipeline.streaming.dataset` says of workers and states holds
here, too.
"""

from pathlib import Path
from typing import Any

from pipeline.core.alignment_sampling import MAX_COLUMNS, MAX_ROWS, MAX_TOKENS
from pipeline.streaming.alignment_reader import MSA_TRANSFORMER, AlignmentReader
from pipeline.streaming.dataset import PackedDataset, world_of
from pipeline.streaming.objectives import Objective
from pipeline.streaming.worker_progress import NONE, SharedFlags, WorkerProgress


class AlignmentDataset(PackedDataset):
    """Batches of alignments as dicts of tensors; each full iteration is an epoch, and goes on to the next.

    A batch holds ``input_ids`` and with an objective ``labels`` int64 [alignments, rows, columns], ``row_mask`` bool
    [alignments, rows], ``column_mask`` bool [alignments, columns], ``row_indices`` int64 [alignments, rows], and
    ``alignment_keys``, ``first_columns`` and ``num_columns`` int64 [alignments]; see
    :class:`pipeline.streaming.alignment_reader.AlignmentReader`, which says what they mean.

    Args:
        path: A folder of alignments, on this machine.
        batch_size: Alignments of a batch, on this rank. The loader's own ``batch_size`` has to be None.
        seed: Of order, rows, windows and masks.
        epoch: The first one.
        shuffle: False gives the alignments as they are stored, dealt to the ranks one by one.
        rank: Of this process; by default that of torch.distributed if it is initialised, else of the environment
            variables RANK and WORLD_SIZE if both are set (as torchrun does), else 0 of 1.
        world_size: Processes that share the alignments; given together with ``rank`` or not at all.
        objective: An objective of alignments, or a mask rate; None gives plain batches.
        tail: What fills the last global batch: repeat (the default), pad or drop.
        tokenizer: Name of a tokenizer, or path of a tokenizer JSON file; it must know the gap.
        max_rows: Rows of an alignment that are taken at most, the query included.
        max_columns: Tokens of a row at most, special tokens included.
        max_tokens: Rows times tokens of a row at most.
        compact: Leave integers narrow; ``pipeline.streaming.collate.to_device`` widens them on the GPU.
        threads: Threads that decode ahead, in each process that reads; by default 2, or 1 where there is one processor.
        prefetch: Blocks of 32 alignments whose row groups are decoded ahead, in each process that reads.

    Raises:
        ArtefactError: The folder holds no finished alignments.
        ConfigurationError: An argument is out of range, or the tokenizer has no gap.
        MissingExtraError: torch is not installed (at import).
    """

    # Nothing of a dataset of shards is made; how workers share steps and states is all there is to inherit.
    def __init__(
        self,
        path: str | Path,
        *,
        batch_size: int = 1,
        seed: int = 0,
        epoch: int = 0,
        shuffle: bool = True,
        rank: int | None = None,
        world_size: int | None = None,
        objective: Objective | float | None = None,
        tail: str | None = None,
        tokenizer: str = MSA_TRANSFORMER,
        max_rows: int = MAX_ROWS,
        max_columns: int = MAX_COLUMNS,
        max_tokens: int = MAX_TOKENS,
        compact: bool = False,
        threads: int | None = None,
        prefetch: int = 2,
    ) -> None:
        self._has_default_world = rank is None
        self._compact = compact
        self._masks = ()
        self._world = world_of(rank, world_size)
        reader: Any = AlignmentReader(
            path,
            batch_size=batch_size,
            seed=seed,
            epoch=epoch,
            shuffle=shuffle,
            rank=self._world[0],
            world_size=self._world[1],
            objective=objective,
            tail=tail,
            tokenizer=tokenizer,
            max_rows=max_rows,
            max_columns=max_columns,
            max_tokens=max_tokens,
            threads=threads,
            prefetch=prefetch,
        )
        self._reader = reader
        self._damaged = SharedFlags(len(self._reader.quarantine.flags))
        self._reader.quarantine.flags = self._damaged.array
        self._progress = WorkerProgress()
        self._rows_per_step = batch_size * self._world[1]
        self._generation = self._last_epoch = NONE
        self._reached = None
        self._announce()
