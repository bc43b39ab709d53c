"""A run that waits: `python slow_stage.py OUT NUM_TASKS [FAILING]`.

Task N ends when there is a file `go-N` beside OUT; the failing one raises then.
"""

import sys
import time
from pathlib import Path

from pipeline.engines.execution import SerialExecutor
from pipeline.engines.runner import run_stage
from pipeline.engines.stage import Round, Task, TaskResult
from pipeline.errors import InputFormatError, PipelineError
from pipeline.formats.manifest import Run, make_manifest

SECONDS_TO_WAIT = 60


class Slow:
    kind = "corpus"

    def __init__(self, num_tasks, failing=None):
        self.num_tasks, self.failing = num_tasks, failing

    def forthcoming(self):
        return ()

    def describe(self, folder):
        return Run(kind=self.kind, configuration={}, inputs=())

    def rounds(self, folder, worker_bytes):
        yield Round(label="wait", tasks=[
            Task(name=f"task-{number}", function=wait, arguments={"number": number, "failing": self.failing})
            for number in range(self.num_tasks)
        ])  # fmt: skip
        return make_manifest(
            self.kind, configuration={}, inputs=(), files=(), counts={}, reasons={}, provenance=()
        )  # fmt: skip


def wait(folder, *, number, failing):
    deadline = time.monotonic() + SECONDS_TO_WAIT
    while not (folder.parent / f"go-{number}").exists():
        assert time.monotonic() < deadline, "nobody said go"
        time.sleep(0.005)
    if number == failing:
        raise InputFormatError(f"task {number}: expected\x1b[2J a number", hint="look at it")
    return TaskResult()


if __name__ == "__main__":
    out, *numbers = sys.argv[1:]
    try:
        run_stage(Slow(*map(int, numbers)), Path(out), executor=SerialExecutor())
    except PipelineError as error:
        sys.exit(error.exit_code)
