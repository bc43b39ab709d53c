"""Verify any artefact from its files alone.

First the manifest: where it cannot be relied on, files are compared with their digests and nothing more is concluded.
Then the parts of the artefact are checked side by side on the executor; what they found is gathered here together with
the sums that only the whole can be asked about. Each row is decoded once.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from pipeline.core.alphabet import CHAIN_BREAK
from pipeline.engines.execution import Executor
from pipeline.engines.stage import TaskResult, Watcher
from pipeline.errors import ArtefactError, ConfigurationError
from pipeline.formats.corpus import largest_part
from pipeline.formats.manifest import File, Manifest, find_input, read_manifest
from pipeline.formats.plan import has_clusters
from pipeline.stages.verify.alignments import verify_alignments_part
from pipeline.stages.verify.checks import Checked, Finding, check_file, merged
from pipeline.stages.verify.clusters import RECORDS_PER_SLICE, num_levels_of, verify_clusters_part, verify_slice
from pipeline.stages.verify.corpus import verify_corpus_part
from pipeline.stages.verify.fates import verify_published
from pipeline.stages.verify.manifest import check_counts, check_manifest, check_strangers, check_texts
from pipeline.stages.verify.plan import verify_plan_part
from pipeline.stages.verify.shards import part_of_shard, verify_shards_of_part
from pipeline.stages.verify.splits import SplitsReport, search_splits

Call = Callable[[], Checked]
Paths = Sequence[Path]


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What verification found."""

    kind: str
    folder: str
    counts: dict[str, int]
    findings: tuple[Finding, ...]
    splits: SplitsReport | None = None
    """What a search across the splits found, where it was asked for."""

    @property
    def is_sound(self) -> bool:
        """Whether no law was broken."""
        return not self.findings


def verify(
    folder: Path,
    *,
    executor: Executor,
    watcher: Watcher,
    corpus: Path | None = None,
    clusters: Path | None = None,
    splits: bool = False,
) -> Report:
    """Check digests, schema and laws of a corpus, clusters, a plan or shards.

    Args:
        folder: The artefact.
        executor: Who checks the parts.
        watcher: Who is told how far it is.
        corpus: The corpus of clusters, a plan or shards; None takes the relative path in the manifest.
        clusters: The clusters of a plan or shards that were made with any, likewise.
        splits: Of clusters that are sound, also search for homologues across the splits.

    Raises:
        ArtefactError: The folder is no finished artefact, or what it was made from is not to be found.
        ConfigurationError: The splits are asked about of no clusters, or of clusters that hold nothing out.
        MissingExtraError: The splits are asked about, and parasail is not installed.
    """
    manifest = read_manifest(folder)
    if splits and manifest.kind != "clusters":
        raise ConfigurationError(
            f"{folder}: expected clusters, whose splits can be searched across, found {manifest.kind}"
        )
    findings = check_manifest(manifest)
    calls = _file_calls(folder, manifest) if findings else _all_calls(folder, manifest, corpus, clusters)
    watcher.round_started(manifest.kind, "verify", len(calls), 0)
    results: list[Checked] = []
    of_corpus = None if findings else _corpus(folder, manifest, corpus)
    task_bytes = 0 if findings else _task_bytes(manifest, of_corpus)
    for _, result in executor.map(calls, task_bytes=task_bytes):
        results.append(result)
        watcher.task_finished(manifest.kind, TaskResult())
    checked = merged(results)
    findings += [*check_texts(folder, manifest), *check_strangers(folder, manifest), *checked.findings]
    if not findings:
        findings = check_counts(manifest, of_corpus, checked.counts)
    searched = None
    if splits and not findings:
        beside = zip(manifest.tables, _parts_beside(folder, manifest, corpus), strict=True)
        parts = [(folder / file.path, part) for file, part in beside]
        searched = search_splits(parts, executor=executor, watcher=watcher, folder=folder)
        findings = [*searched.findings]
    ordered = tuple(sorted(set(findings), key=lambda finding: (finding.path, finding.message)))
    counts = dict(sorted(checked.counts.items()))
    return Report(kind=manifest.kind, folder=str(folder), counts=counts, findings=ordered, splits=searched)


def _task_bytes(manifest: Manifest, corpus: Manifest | None) -> int:
    """Memory of a task that checks a part; 0 where it does not depend on how large parts are."""
    of_corpus = manifest if manifest.kind == "corpus" else corpus
    if of_corpus is None or manifest.kind not in _TASK_BYTES:
        return 0
    base, per_residue = _TASK_BYTES[manifest.kind]
    return base + per_residue * largest_part(of_corpus)[1]


def _corpus(folder: Path, manifest: Manifest, corpus: Path | None) -> Manifest | None:
    if not any(source.kind == "corpus" for source in manifest.inputs):
        return None
    return find_input(folder, manifest, "corpus", override=corpus)[1]


def _all_calls(folder: Path, manifest: Manifest, corpus: Path | None, clusters: Path | None) -> list[Call]:
    tables = manifest.tables
    documents = [file for file in manifest.files if file not in tables and manifest.kind != "download"]
    others = [partial(_verify_bytes, folder, file) for file in documents]
    if manifest.kind not in _PACKED:
        return [*_CALLS[manifest.kind](folder, manifest, corpus), *others]
    parts = _corpus_parts(folder, manifest, corpus)
    beside = _clusters_parts(folder, manifest, parts, clusters)
    return [*_PACKED[manifest.kind](folder, manifest, parts, beside), *others]


def _file_calls(folder: Path, manifest: Manifest, _: Path | None = None) -> list[Call]:
    return [partial(_verify_bytes, folder, file) for file in manifest.files]


def _verify_bytes(folder: Path, file: File) -> Checked:
    return Checked(counts={"files": 1}, findings=tuple(check_file(folder, file)))


def _corpus_calls(folder: Path, manifest: Manifest, _: Path | None) -> list[Call]:
    num_parts = len(manifest.tables)
    allowed = CHAIN_BREAK if manifest.configuration.get("chain_breaks") else b""
    return [
        partial(verify_corpus_part, folder, file, index, num_parts, allowed=allowed)
        for index, file in enumerate(manifest.tables)
    ]


def _alignments_calls(folder: Path, manifest: Manifest, _: Path | None) -> list[Call]:
    return [
        partial(verify_alignments_part, folder, file, manifest.configuration, index, len(manifest.tables))
        for index, file in enumerate(manifest.tables)
    ]


def _clusters_calls(folder: Path, manifest: Manifest, corpus: Path | None) -> list[Call]:
    parts = _parts_beside(folder, manifest, corpus)
    num_levels = num_levels_of(manifest.configuration)
    paths, corpus_paths = [str(folder / file.path) for file in manifest.tables], [str(part) for part in parts]
    num_slices = -(-sum(file.rows for file in manifest.tables) // RECORDS_PER_SLICE)
    is_ours = not manifest.configuration["existing"]
    beside = [
        partial(verify_clusters_part, folder, file, part, manifest.configuration)
        for file, part in zip(manifest.tables, parts, strict=True)
    ]
    across = [
        partial(verify_slice, paths, corpus_paths, level, index, num_slices, has_representatives=is_ours)
        for level in range(num_levels)
        for index in range(num_slices)
    ]
    names = [file.path for file in manifest.tables]
    return [*beside, *across, partial(verify_published, folder, names, corpus_paths, manifest.reasons)]


def _plan_calls(folder: Path, manifest: Manifest, parts: Paths, clusters: Sequence[Path | None]) -> list[Call]:
    of_split = {str(file.split): manifest.files_of(file.split) for file in manifest.tables}
    for files in of_split.values():
        _check_beside(folder, manifest, files, parts)
    return [
        partial(
            verify_plan_part,
            folder,
            {split: files[index] for split, files in of_split.items()},
            part,
            manifest.configuration,
            clusters_part=clusters[index],
        )
        for index, part in enumerate(parts)
    ]


def _shards_calls(folder: Path, manifest: Manifest, parts: Paths, clusters: Sequence[Path | None]) -> list[Call]:
    plan_fingerprint = next(source.fingerprint for source in manifest.inputs if source.kind == "plan")
    of_part: dict[int, list[File]] = defaultdict(list)
    others: list[File] = []
    for file in manifest.tables:
        part = part_of_shard(folder / file.path, len(parts))
        if part is None:
            others.append(file)
        else:
            of_part[part].append(file)
    calls: list[Call] = [
        partial(
            verify_shards_of_part,
            folder,
            of_part[index],
            part,
            manifest.configuration,
            plan_fingerprint=plan_fingerprint,
            all_readable=not others,
            clusters_part=clusters[index],
        )
        for index, part in enumerate(parts)
    ]
    return [*calls, partial(_verify_others, folder, others)] if others else calls


def _verify_others(folder: Path, files: Sequence[File]) -> Checked:
    findings = [finding for file in files for finding in check_file(folder, file)]
    unread = [file for file in files if not any(finding.path == file.path for finding in findings)]
    findings += [Finding(path=file.path, message="cannot be read as a shard") for file in unread]
    return Checked(counts={"files": len(files)}, findings=tuple(findings))


def _parts_beside(folder: Path, manifest: Manifest, corpus: Path | None) -> list[Path]:
    """Corpus parts of an artefact that has a file for each."""
    parts = _corpus_parts(folder, manifest, corpus)
    _check_beside(folder, manifest, manifest.tables, parts)
    return parts


def _check_beside(folder: Path, manifest: Manifest, files: Sequence[File], parts: Paths) -> None:
    if len(parts) != len(files):
        raise ArtefactError(
            f"{folder}: expected a file for each of the {len(parts)} parts of its corpus, found {len(files)}",
            hint=f"the manifest was changed: make the {manifest.kind} again with --overwrite",
        )


def _clusters_parts(folder: Path, manifest: Manifest, parts: Paths, clusters: Path | None) -> Sequence[Path | None]:
    """The clusters beside each corpus part; None where there are no clusters."""
    if not has_clusters(manifest):
        return [None] * len(parts)
    place, found = find_input(folder, manifest, "clusters", override=clusters)
    _check_beside(place, found, found.tables, parts)
    return [place / file.path for file in found.tables]


def _corpus_parts(folder: Path, manifest: Manifest, corpus: Path | None) -> list[Path]:
    place, found = find_input(folder, manifest, "corpus", override=corpus)
    return [place / file.path for file in found.tables]


_TASK_BYTES = {"corpus": (140_000_000, 8), "plan": (140_000_000, 1), "shards": (300_000_000, 4)}
"""Memory of a task, and more for each residue of a part. Measured for parts of 16 and 62 million: corpus 244 and 577
MB, plan 138 and 160, shards 323 and 416."""

_CALLS: dict[str, Callable[[Path, Manifest, Path | None], list[Call]]] = {
    "download": _file_calls,
    "corpus": _corpus_calls,
    "alignments": _alignments_calls,
    "clusters": _clusters_calls,
}
_PACKED: dict[str, Callable[[Path, Manifest, Paths, Sequence[Path | None]], list[Call]]] = {
    "plan": _plan_calls,
    "shards": _shards_calls,
}
