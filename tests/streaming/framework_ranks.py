"""Trainers of other people, each reading the stream as the README says, on gloo ranks.

::

    python framework_ranks.py JOB.json    {"framework": a name, "shards": …, "folder": …, "phases": [{…}, …]}

A phase is one life of a training run: ``world_size`` ranks that take ``steps`` updates of the weights. What a rank was
given goes to ``rows-PHASE-RANK.json`` in the folder, a list of row numbers for each batch, or the words in which the
dataset refused. Checkpoints go to the folder, too; ``resume`` names one. Ranks are forked, so that torch and the
framework are imported once.
"""

import importlib
import json
import multiprocessing
import os
import sys
from pathlib import Path
from typing import Any

import torch
from torch import distributed
from torch.utils.data import DataLoader

from pipeline.errors import ConfigurationError
from pipeline.streaming.dataset import PackedDataset

DEFAULTS = {
    "world_size": 1,
    "batch_size": 8,
    "accumulation": 1,
    "save_steps": 4,
    "resume": None,
    "prepare_loader": False,
}
COLUMNS = ("input_ids", "record_keys", "row_offsets", "num_sequences")


class Model(torch.nn.Module):
    """Something with a loss, which remembers the rows that it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = torch.nn.Embedding(33, 2)
        self.rows: list[list[int]] = []

    def forward(self, input_ids: Any, record_keys: Any, row_offsets: Any, num_sequences: Any) -> dict[str, Any]:
        """Batches of ``COLUMNS``."""
        keys = torch.cat([record_keys, torch.tensor([-1])])
        self.rows.append(torch.where(num_sequences > 0, keys[row_offsets[:-1]], -1).tolist())
        return {"loss": self.embedding(input_ids).square().mean()}


def dataset_of(job: dict[str, Any]) -> PackedDataset:
    return PackedDataset(job["shards"], batch_size=job["batch_size"], columns=COLUMNS, tail="pad", threads=1)


def accelerate(job: dict[str, Any], model: Model) -> None:
    from accelerate import Accelerator
    from accelerate.utils import DataLoaderConfiguration

    settings = DataLoaderConfiguration(dispatch_batches=job.get("dispatch_batches"))
    accelerator = Accelerator(cpu=True, gradient_accumulation_steps=job["accumulation"], dataloader_config=settings)
    dataset = dataset_of(job)
    loader = DataLoader(dataset, batch_size=None)
    training, optimiser = accelerator.prepare(model, torch.optim.SGD(model.parameters()))
    if job["prepare_loader"]:
        loader = accelerator.prepare(loader)
    accelerator.register_for_checkpointing(dataset)
    if job["resume"]:
        accelerator.load_state(job["resume"])
    updates = 0
    while updates < job["steps"]:
        for batch in loader:
            with accelerator.accumulate(training):
                accelerator.backward(training(**batch)["loss"])
                optimiser.step()
                optimiser.zero_grad()
            updates += accelerator.sync_gradients
            if accelerator.sync_gradients and updates == job["save_steps"]:
                accelerator.save_state(Path(job["folder"]) / "checkpoint")
            if updates == job["steps"]:
                break


def transformers(job: dict[str, Any], model: Model) -> None:
    from transformers import Trainer, TrainerCallback, TrainingArguments

    class PackedTrainer(Trainer):
        def get_train_dataloader(self) -> DataLoader:
            if job["prepare_loader"]:
                return super().get_train_dataloader()
            return DataLoader(self.train_dataset, batch_size=None)

    class SaveReader(TrainerCallback):
        def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if state.is_world_process_zero:
                checkpoint = Path(args.output_dir) / f"checkpoint-{state.global_step}"
                (checkpoint / "reader.json").write_text(json.dumps(dataset.state_dict()))

    dataset = dataset_of(job)
    if job["resume"]:
        dataset.load_state_dict(json.loads((Path(job["resume"]) / "reader.json").read_text()))
    settings = TrainingArguments(
        job["folder"],
        max_steps=job["steps"],
        save_steps=job["save_steps"],
        gradient_accumulation_steps=job["accumulation"],
        ignore_data_skip=True,
        use_cpu=True,
        report_to=[],
        disable_tqdm=True,
    )
    trainer = PackedTrainer(model, settings, train_dataset=dataset, callbacks=[SaveReader()])
    trainer.train(resume_from_checkpoint=job["resume"])


def pytorch_lightning(job: dict[str, Any], model: Model) -> None:
    from pytorch_lightning import LightningDataModule, LightningModule, Trainer
    from pytorch_lightning.callbacks import ModelCheckpoint

    class PackedData(LightningDataModule):
        def setup(self, stage: str) -> None:
            self.dataset = dataset_of(job)

        def train_dataloader(self) -> DataLoader:
            return DataLoader(self.dataset, batch_size=None)

        def state_dict(self) -> dict[str, Any]:
            return self.dataset.state_dict()

        def load_state_dict(self, state: dict[str, Any]) -> None:
            self.dataset.load_state_dict(state)

    class Module(LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def training_step(self, batch: dict[str, Any], _: int) -> Any:
            return self.model(**batch)["loss"]

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters())

    saver = ModelCheckpoint(job["folder"], every_n_train_steps=job["save_steps"], filename="{step}", save_top_k=-1)
    trainer = Trainer(
        accelerator="cpu",
        devices=job["world_size"],
        strategy="ddp" if job["world_size"] > 1 else "auto",
        max_steps=job["steps"],
        accumulate_grad_batches=job["accumulation"],
        callbacks=[saver],
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(Module(), datamodule=PackedData(), ckpt_path=job["resume"])


FRAMEWORKS = {"accelerate": accelerate, "transformers": transformers, "pytorch_lightning": pytorch_lightning}


def train(rank: int, job: dict[str, Any], number: int) -> None:
    """One rank of one phase, with the environment that torchrun gives."""
    job = DEFAULTS | job | job["phases"][number]
    world_size = job["world_size"]
    names = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": world_size, "LOCAL_WORLD_SIZE": world_size}
    os.environ |= {name: str(value) for name, value in names.items()}
    os.environ |= {"MASTER_ADDR": "localhost", "MASTER_PORT": "0", "TORCHELASTIC_RUN_ID": "test", "GROUP_RANK": "0"}
    if world_size > 1:
        rendezvous = f"file://{Path(job['folder']) / f'rendezvous-{number}'}"
        distributed.init_process_group("gloo", init_method=rendezvous, rank=rank, world_size=world_size)
    model = Model()
    found: Any = model.rows
    try:
        FRAMEWORKS[job["framework"]](job, model)
    except ConfigurationError as error:
        found = str(error)
    (Path(job["folder"]) / f"rows-{number}-{rank}.json").write_text(json.dumps(found))
    if distributed.is_initialized():
        distributed.destroy_process_group()


def main() -> int:
    """Phase after phase; the first failure ends the job."""
    job = json.loads(Path(sys.argv[1]).read_text())
    importlib.import_module({"transformers": "transformers.trainer"}.get(job["framework"], job["framework"]))
    context = multiprocessing.get_context("fork")
    for number, phase in enumerate(job["phases"]):
        world_size = (DEFAULTS | phase)["world_size"]
        ranks = [context.Process(target=train, args=(rank, job, number)) for rank in range(world_size)]
        for rank in ranks:
            rank.start()
        for rank in ranks:
            rank.join()
        if any(rank.exitcode for rank in ranks):
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
