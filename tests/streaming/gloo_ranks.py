"""A trainer without a model: gloo ranks that read, tell each other what they were given, and write it down.

::

    python gloo_ranks.py JOB.json        {"shards": …, "folder": …, "afresh": …, "phases": [{…}, …]}

A phase is one life of the job: a process group of ``world_size`` ranks, which reads from the last state
(``reader.json`` in the folder) if there is one, and phases are not to begin afresh. At every step the ranks gather what
they were given; the first one writes the global batch to ``phase-0.jsonl``, a line for each step, and every
``save_every`` updates the state. Ranks are forked, so that torch is imported once; their process numbers are in
``phase-0.pids``.
"""

import json
import multiprocessing
import os
import signal
import sys
import time
from datetime import timedelta
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import distributed
from torch.utils.data import DataLoader

from pipeline.streaming.dataset import PackedDataset

DEFAULTS = {
    "world_size": 1,
    "batch_size": 1,
    "num_workers": 0,
    "accumulation": 1,
    "tail": "pad",
    "split": "train",
    "steps": None,  # of the loader, in all; by default to the end of the epochs
    "epochs": 1,
    "save_every": 1,  # updates of the weights
    "pause": 0.0,  # seconds between steps
    "kill_worker": None,  # after so many steps the second rank kills its last loader worker
}


def row_ids(batch: dict[str, Any]) -> list[int]:
    """Record key of the first segment of each row, -1 for padding."""
    keys = torch.cat([batch["record_keys"], torch.tensor([-1])])
    rows: list[int] = torch.where(batch["num_sequences"] > 0, keys[batch["row_offsets"][:-1]], -1).tolist()
    return rows


def read(rank: int, job: dict[str, Any], number: int) -> None:
    """One rank of one phase."""
    folder = Path(job["folder"])
    phase = DEFAULTS | job["phases"][number]
    distributed.init_process_group(
        "gloo",
        init_method=f"file://{folder / f'rendezvous-{number}'}",
        rank=rank,
        world_size=phase["world_size"],
        timeout=timedelta(seconds=30),
    )
    dataset = PackedDataset(
        job["shards"],
        batch_size=phase["batch_size"],
        split=phase["split"],
        tail=phase["tail"],
        columns=("record_keys", "row_offsets", "num_sequences"),
        threads=1,
    )
    if not job["afresh"] and (folder / "reader.json").exists():
        dataset.load_state_dict(json.loads((folder / "reader.json").read_text()))
    loader = DataLoader(
        dataset,
        batch_size=None,
        num_workers=phase["num_workers"],
        multiprocessing_context="fork" if phase["num_workers"] else None,
    )
    log = os.open(folder / f"phase-{number}.jsonl", os.O_WRONLY | os.O_CREAT | os.O_APPEND) if rank == 0 else -1
    taken, epoch, step = 0, dataset.reader.epoch, dataset.reader.step
    while taken != phase["steps"] and epoch < phase["epochs"]:
        batches = iter(loader)
        for batch in batches:
            mine = torch.tensor(row_ids(batch))
            ranks = [torch.empty_like(mine) for _ in range(phase["world_size"])]
            distributed.all_gather(ranks, mine)
            taken, step = taken + 1, step + 1
            if rank == 0:
                rows = torch.stack(ranks, dim=1).flatten().tolist()
                os.write(log, json.dumps({"epoch": epoch, "step": step, "rows": rows}).encode() + b"\n")
            is_update = step % phase["accumulation"] == 0 or step == len(dataset)
            if rank == 0 and is_update and (step // phase["accumulation"]) % phase["save_every"] == 0:
                (folder / "reader.tmp").write_text(json.dumps(dataset.state_at(step)))
                (folder / "reader.tmp").replace(folder / "reader.json")
            if taken == phase["steps"]:
                break
            if taken == phase["kill_worker"] and rank == 1:
                os.kill(batches._workers[-1].pid, signal.SIGKILL)
            time.sleep(phase["pause"])
        epoch, step = epoch + 1, 0
    (folder / f"steps-{number}-{rank}").write_text(str(taken))
    distributed.barrier()
    distributed.destroy_process_group()


def main() -> int:
    """Phase after phase; the first failure ends the job."""
    job = json.loads(Path(sys.argv[1]).read_text())
    if find_spec("pandas"):  # pyarrow imports it where it is installed: here once, rather than in every rank
        import_module("pandas")
    context = multiprocessing.get_context("fork")
    for number, phase in enumerate(job["phases"]):
        ranks = [
            context.Process(target=read, args=(rank, job, number)) for rank in range((DEFAULTS | phase)["world_size"])
        ]
        for rank in ranks:
            rank.start()
        pids = Path(job["folder"]) / f"phase-{number}.pids"
        pids.write_text("\n".join(str(rank.pid) for rank in ranks))
        for rank in ranks:
            rank.join()
        if failed := [rank.exitcode for rank in ranks if rank.exitcode]:
            print(f"phase {number}: ranks ended with {failed}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
