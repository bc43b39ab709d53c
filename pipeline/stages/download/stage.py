"""The download stage: a public corpus, or a file at an address, to ``downloads/NAME-RELEASE/``.

::

    uniref50-2025_03/
      run.json                     first: release, names, sizes, checksums
      uniref50.fasta.gz.partial    while it comes (engines.partial_file)
      uniref50.fasta.gz            checked
      manifest.json                last: digests, and for each file release, URL, licence, publisher's checksum

One task a file. A release that is superseded while it comes gets no more files: the newer one has a folder of its own.
Where files come from is not part of what they are: another mirror may finish what one has begun. A finished download
of a named release needs no network.
"""

from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from pipeline.config import DownloadConfig
from pipeline.engines.digests import digests_of
from pipeline.engines.origin import without_secrets
from pipeline.engines.partial_file import remove_leftovers
from pipeline.engines.patience import Clock, Notify, TransferOptions
from pipeline.engines.stage import Round, Rounds, Task, TaskResult, files_of, total
from pipeline.engines.transfer import Progress, Received, Wanted, disagreement, fetch_document, transfer
from pipeline.formats.checksums import parse_checksum
from pipeline.formats.manifest import File, Kind, Manifest, Run, Source, is_finished, make_manifest, read_run
from pipeline.formats.metalink import MOST_BYTES
from pipeline.stages.download.plan import DownloadPlan, PlannedFile, plan_download, settle


class Download:
    """Stage: a public corpus to ``downloads/NAME-RELEASE/``.

    Args:
        config: What to fetch.
        options: How; by default with as many connections as ``config`` says.
        progress: Told the bytes there are and will be of the file under way.
        notify: Told in a sentence of every fault that was survived.
        clock: Time, for waits.
    """

    kind: Kind = "download"

    def __init__(
        self,
        config: DownloadConfig,
        *,
        options: TransferOptions | None = None,
        progress: Progress | None = None,
        notify: Notify | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.config = config
        self._options = options or TransferOptions(connections=config.connections)
        self._progress = progress
        self._notify = notify
        self._clock = clock

    @cached_property
    def plan(self) -> DownloadPlan:
        """What will be fetched; asks the publisher's server."""
        return plan_download(self.config, self._ask)

    @cached_property
    def folder_name(self) -> str:
        """``NAME-RELEASE``; asks the server only where the release is not named."""
        return (settle(self.config) or self.plan).folder_name

    def _ask(self, url: str) -> bytes:
        return fetch_document(url, most_bytes=MOST_BYTES, options=self._options, notify=self._notify, clock=self._clock)

    def forthcoming(self) -> Sequence[Callable[..., TaskResult]]:
        """None: the inputs are identified by their manifests."""
        return ()

    def describe(self, folder: Path) -> Run:
        """The files with their sizes and checksums; of a finished folder, what it was made with."""
        present = read_run(folder) if is_finished(folder) else None
        if present is not None and self._is_answered_by(present):
            return present
        return Run(kind=self.kind, configuration=self.plan.configuration(), inputs=())

    def _is_answered_by(self, present: Run) -> bool:
        settled = settle(self.config)
        if settled is None or present.kind != self.kind:
            return False
        same = all(present.configuration.get(key) == value for key, value in settled.request().items())
        own = self.config.checksum and str(parse_checksum(self.config.checksum))
        return same and own in {None, *(file.get("checksum") for file in present.configuration.get("files", ()))}

    def rounds(self, folder: Path, worker_bytes: int) -> Rounds:
        """Fetch every file."""
        del folder, worker_bytes  # every task is given the one, and a few blocks are all that it holds
        if self._notify and self.plan.note:
            self._notify(f"{self.plan.name}: {self.plan.note}")
        fetched = yield Round(label="fetch", tasks=[self._task(file) for file in self.plan.files])
        return self._manifest(fetched)

    def _task(self, file: PlannedFile) -> Task:
        arguments: dict[str, Any] = {"file": file, "options": self._options, "clock": self._clock}
        arguments |= {"progress": self._progress, "notify": self._notify}
        return Task(name=f"file-{file.name}", function=fetch_file, arguments=arguments)

    def _manifest(self, fetched: Sequence[TaskResult]) -> Manifest:
        plan = self.plan
        return make_manifest(
            self.kind,
            configuration=plan.meaning(),
            inputs=(),
            files=files_of(fetched),
            counts=total(fetched, "counts"),
            reasons={},
            provenance=tuple(_source_of(plan, file, result) for file, result in zip(plan.files, fetched, strict=True)),
        )


def fetch_file(
    folder: Path,
    *,
    file: PlannedFile,
    options: TransferOptions,
    clock: Clock | None = None,
    progress: Progress | None = None,
    notify: Notify | None = None,
) -> TaskResult:
    """Fetch one file into ``folder``, unless it is there and has the publisher's checksum."""
    wanted = Wanted(url=file.url, path=folder / file.name, num_bytes=file.num_bytes, checksum=file.checksum)
    received = _already_there(wanted)
    if received is None:
        # What cannot be checked may be of another release, and must not be taken for this one.
        wanted.path.unlink(missing_ok=True)
        received = transfer(wanted, options=options, progress=progress, notify=notify, clock=clock)
    entry = File(
        path=file.name,
        rows=0,
        bytes=received.num_bytes,
        xxh3_64=received.digests["xxh3_64"],
        content=received.digests["xxh3_128"],
    )
    unchecked = f"{file.name}: there is no checksum of it: whether it is what the publisher meant could not be checked"
    return TaskResult(
        files=(entry,),
        counts={"files": 1, "bytes": received.num_bytes},
        warnings=(unchecked,) if file.checksum is None else (),
    )


def _already_there(wanted: Wanted) -> Received | None:
    if wanted.checksum is None or not wanted.path.is_file():
        return None
    found = digests_of(wanted.path, wanted.checksum)
    if disagreement(found, wanted.num_bytes, wanted.checksum):
        return None
    remove_leftovers(wanted.path)
    return Received(num_bytes=found[0], digests=found[1])


def _source_of(plan: DownloadPlan, file: PlannedFile, result: TaskResult) -> Source:
    (entry,) = result.files
    return Source(
        name=file.name,
        bytes=entry.bytes,
        xxh3_128=entry.content,
        release=plan.release,
        url=without_secrets(file.url),
        licence=plan.licence,
        checksum=file.checksum and str(file.checksum),
    )
