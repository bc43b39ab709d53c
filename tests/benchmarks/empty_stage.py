"""A stage of tasks that do nothing, in a module that workers can import."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from pipeline.engines.stage import Round, Rounds, Task, TaskResult
from pipeline.formats.manifest import Kind, Run, make_manifest


class BrokenOffError(Exception):
    """The run ends here, with every task finished and no manifest."""


class EmptyStage:
    """So many tasks that write nothing, and sleep for so long."""

    kind: Kind = "corpus"

    def __init__(self, num_tasks: int, seconds: float, *, is_broken_off: bool = False) -> None:
        self.num_tasks = num_tasks
        self.seconds = seconds
        self.is_broken_off = is_broken_off

    def forthcoming(self) -> Sequence[Callable[..., TaskResult]]:
        return ()

    def describe(self, folder: Path) -> Run:
        return Run(kind=self.kind, configuration={"tasks": self.num_tasks}, inputs=())

    def rounds(self, folder: Path, worker_bytes: int) -> Rounds:
        names = [f"empty-{index:06d}" for index in range(self.num_tasks)]
        tasks = [Task(name=name, function=sleep, arguments={"seconds": self.seconds}) for name in names]
        results = yield Round(label="empty", tasks=tasks)
        assert len(results) == self.num_tasks
        if self.is_broken_off:
            raise BrokenOffError
        configuration = {"tasks": self.num_tasks}
        return make_manifest(
            self.kind, configuration=configuration, inputs=(), files=(), counts={}, reasons={}, provenance=()
        )


def sleep(folder: Path, *, seconds: float) -> TaskResult:
    if seconds:
        time.sleep(seconds)
    return TaskResult()
