"""What ``manifest.json`` and ``run.json`` must obey, before anything that they say is relied on.

The fingerprint covers kind, format version, configuration and content; files, sizes and counts are compared with what
is there. The rest is held by what is said twice: ``run.json`` repeats the inputs and most of the configuration, the
corpus the provenance and the reasons of plan and shards. Both files must be the text that we write, to the last blank.
"""

import json
from collections import Counter
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

from pipeline.core.concatenation import RUN_ON
from pipeline.core.pieces import Overlong
from pipeline.core.row_order import RowOrder
from pipeline.core.sampling import Sample
from pipeline.core.tokenizer import Tokenizer
from pipeline.errors import PipelineError
from pipeline.formats.clusters import TRAIN, is_weight
from pipeline.formats.corpus import part_name
from pipeline.formats.manifest import MANIFEST_NAME, RUN_NAME, File, Manifest, fingerprint_of, read_run
from pipeline.formats.memberships import IDMAPPING, TABLE, UNIREF_XML
from pipeline.formats.plan import OVERLONG, SPLITS, has_clusters, is_concatenated, merged_reasons, plan_name
from pipeline.formats.shards import LAYOUTS, shard_name
from pipeline.stages.verify.alignments import expected_counts
from pipeline.stages.verify.checks import Finding
from pipeline.stages.verify.choice import LEFT_OUT

_INPUTS = {"clusters": ("corpus",), "plan": ("corpus",), "shards": ("plan", "corpus")}
"""Of each kind, in order; of a plan and of shards, clusters may follow."""
_DROPPED = "dropped"
_LEFT_TO_US: dict[str, tuple[None]] = {"rows_per_group": (None,)}
"""What ``run.json`` may say of a setting that it leaves to the package."""


def check_manifest(manifest: Manifest) -> list[Finding]:
    """Whether the manifest can be relied on: its fingerprint, the settings that laws depend on, the names of files."""
    return [*_check_fingerprint(manifest), *_check_configuration(manifest), *_check_names(manifest)]


def check_texts(folder: Path, manifest: Manifest) -> list[Finding]:
    """Whether both files are as we write them, and agree."""
    return [*_check_text(folder / MANIFEST_NAME), *_check_run(folder, manifest)]


def check_strangers(folder: Path, manifest: Manifest) -> list[Finding]:
    """No data file is there that the manifest does not list."""
    listed = {file.path for file in manifest.files}
    present = {
        path.relative_to(folder).as_posix() for path in folder.rglob("*.parquet") if path.parent.name != _DROPPED
    }
    return [Finding(path=name, message="not in the manifest: it does not belong here") for name in present - listed]


def check_counts(manifest: Manifest, corpus: Manifest | None, found: dict[str, int]) -> list[Finding]:
    """What the parts add up to, against the counts and reasons of the manifest.

    Args:
        manifest: The artefact's.
        corpus: Of the corpus of a plan or of shards.
        found: What was counted, over all parts.
    """
    if manifest.kind == "download":
        return []  # it counts nothing but its files
    counts, reasons = _expected_counts(manifest, corpus, found), dict(manifest.reasons)
    # Of what a corpus or existing clusters were read from, nothing is left to count.
    is_derived = manifest.kind in {"plan", "shards"}
    if corpus is not None and is_derived:
        reasons = {OVERLONG: found[OVERLONG]} | {
            key.removeprefix(LEFT_OUT): number for key, number in found.items() if key.startswith(LEFT_OUT)
        }
        reasons = merged_reasons(corpus.reasons, reasons) if manifest.kind == "shards" else reasons
    wanted = [("", manifest.counts, counts), ("reasons: ", manifest.reasons, reasons)]
    findings = [
        _said(f"{what}{key}: expected {_number(stated, key)} from the manifest, found {_number(derived, key)}")
        for what, stated, derived in wanted
        for key in sorted(stated.keys() | derived.keys() if is_derived else derived)
        if stated.get(key) != derived.get(key)
    ]
    if corpus is not None and manifest.provenance != corpus.provenance:
        findings.append(_said("provenance: expected that of the corpus, found another"))
    return findings


def _expected_counts(manifest: Manifest, corpus: Manifest | None, found: dict[str, int]) -> dict[str, int]:
    counts = {
        key: number for key, number in found.items() if key not in {"files", OVERLONG} and not key.startswith(LEFT_OUT)
    }
    if manifest.kind == "corpus":
        return counts | {"records_read": counts["records"] + counts["records_merged"] + sum(manifest.reasons.values())}
    if manifest.kind == "alignments":
        return expected_counts(manifest, found)
    if corpus is not None and manifest.kind == "shards":
        counts |= {key: corpus.counts[key] for key in ("records_read", "records_merged")}
        counts |= {f"shard_{key}": counts[key] for key in ("rows", "tokens", "segments")}
    return counts


def _number(counts: dict[str, int], key: str) -> str:
    return f"{counts[key]:,}" if key in counts else "none"


def _check_fingerprint(manifest: Manifest) -> list[Finding]:
    expected = fingerprint_of(manifest)
    if expected == manifest.fingerprint:
        return []
    return [_said(f"fingerprint: expected {expected} from its contents, found {manifest.fingerprint}: it was changed")]


def _check_configuration(manifest: Manifest) -> list[Finding]:
    """Whether the settings that the laws depend on are there and can be what they are."""
    if manifest.kind not in _INPUTS:
        return []
    kinds = tuple(source.kind for source in manifest.inputs if source.kind != "file")
    wanted = (*_INPUTS[manifest.kind], *(["clusters"] if has_clusters(manifest) else []))
    findings = [] if kinds == wanted else [_said(f"inputs: found {', '.join(kinds)}")]
    if manifest.kind == "clusters":
        return findings + _check_levels(manifest)
    settings = _SETTINGS if manifest.kind == "plan" else _SETTINGS | _SHARD_SETTINGS
    if has_clusters(manifest):
        is_by_level = manifest.configuration.get("sample") == Sample.ONE_PER_CLUSTER
        settings = settings | _DRAW_SETTINGS | ({"level": _at_least_one} if is_by_level else {})
    for key, is_right in settings.items():
        value = manifest.configuration.get(key)
        try:
            is_wrong = not is_right(value)
        except PipelineError:
            is_wrong = True
        if is_wrong:
            findings.append(_said(f"configuration: {key}: found {str(value)[:40]!r}, which cannot be"))
    overlong = manifest.configuration.get("overlong")
    if is_concatenated(manifest.configuration) != (overlong == RUN_ON):
        findings.append(_said(f"configuration: overlong: found {overlong!r}, which this algorithm has not"))
    return findings


def _check_levels(manifest: Manifest) -> list[Finding]:
    """Whether clusters say where they are from: levels of mmseqs, or existing clusters of known kinds."""
    levels, existing = (manifest.configuration.get(key) for key in ("levels", "existing"))
    known = isinstance(existing, list) and all(kind in {TABLE, IDMAPPING, UNIREF_XML} for kind in existing)
    if not isinstance(levels, list) or not known or bool(levels) == bool(existing):
        return [_said(f"configuration: levels or existing: found {levels!r} and {existing!r}, which cannot be")]
    weight, purge = (manifest.configuration.get(key) for key in ("weight", "purge"))
    names = purge.get("benchmarks") if isinstance(purge, dict) else None
    if isinstance(weight, str) and is_weight(weight) and isinstance(names, list):
        return []
    return [_said(f"configuration: weight or purge: found {weight!r} and {purge!r}, which cannot be")]


def _check_text(path: Path) -> list[Finding]:
    """Whether a JSON file is as ``write_json`` writes it: white space and the form of numbers are ours, too."""
    text = path.read_text(encoding="utf-8")
    if text == json.dumps(json.loads(text), indent=2, ensure_ascii=False) + "\n":
        return []
    return [Finding(path=path.name, message="expected the text as this package writes it, found it changed")]


def _check_run(folder: Path, manifest: Manifest) -> list[Finding]:
    try:
        run = read_run(folder)
        if run is None:
            return []  # left behind by those who publish the data
        findings = _check_text(folder / RUN_NAME)
    except PipelineError as error:
        return [Finding(path=RUN_NAME, message=error.message)]
    if (run.kind, run.format_version) != (manifest.kind, manifest.format_version):
        findings.append(Finding(path=RUN_NAME, message=f"expected a run that made the {manifest.kind}, found another"))
    if run.inputs != manifest.inputs:
        findings.append(Finding(path=RUN_NAME, message=f"inputs: expected those of {MANIFEST_NAME}, found others"))
    asked, made = run.configuration, manifest.configuration
    # The manifest of shards has the configuration of their plan, too, which was not asked for.
    repeated = _SHARD_SETTINGS if manifest.kind == "shards" else made
    return findings + [
        Finding(path=RUN_NAME, message=f"configuration: {key}: expected {made.get(key)!r}, found {asked.get(key)!r}")
        for key in repeated
        if asked.get(key, made) not in [made.get(key), *_LEFT_TO_US.get(key, ())]
    ]


def _check_names(manifest: Manifest) -> list[Finding]:
    """Whether files are called as their split and place ask, and documents have no rows."""
    tables, findings = manifest.tables, []
    if manifest.kind in {"plan", "shards"}:
        known = SPLITS if has_clusters(manifest) else (TRAIN,)
        astray = dict.fromkeys(file.split for file in tables if file.split not in known)
        findings += [_said(f"files: expected splits of {', '.join(known)}, found {split}") for split in astray]
    for file, expected in zip(tables, _expected_names(manifest, tables), strict=True):
        if file.path != expected:
            findings.append(_said(f"files: expected {expected} in the place of {file.path}"))
    if manifest.kind != "download":
        documents = [file for file in manifest.files if file not in tables]
        findings += [
            _said(f"files: {file.path}: expected no rows, and its digest as content")
            for file in documents
            if (file.rows, file.content) != (0, file.xxh3_64)
        ]
    return findings


def _expected_names(manifest: Manifest, tables: tuple[File, ...]) -> list[str]:
    if manifest.kind == "download":
        return [file.path for file in tables]
    if manifest.kind in {"corpus", "alignments", "clusters"}:
        return [part_name(index) for index in range(len(tables))]
    splits = [str(file.split) for file in tables]
    numbers = Counter(splits)
    counters = {split: count() for split in numbers}
    places = [(split, next(counters[split])) for split in splits]
    if manifest.kind == "plan":
        return [plan_name(split, index) for split, index in places]
    return [shard_name(split, index, numbers[split]) for split, index in places]


def _said(message: str) -> Finding:
    return Finding(path=MANIFEST_NAME, message=message)


def _at_least_one(value: Any) -> bool:
    return type(value) is int and value >= 1


_SETTINGS: dict[str, Callable[[Any], bool]] = {
    "length": _at_least_one,
    "alignment": _at_least_one,
    "max_segments": _at_least_one,
    "order": lambda value: value in list(RowOrder),
    "algorithm": lambda value: isinstance(value, str),
    "overlong": lambda value: value in [*Overlong, RUN_ON],
    "tokenizer": lambda value: bool(Tokenizer.from_document(value)),
}
_DRAW_SETTINGS: dict[str, Callable[[Any], bool]] = {
    "sample": lambda value: value in list(Sample),
    "seed": lambda value: type(value) is int,
    "epoch": lambda value: type(value) is int,
}
_SHARD_SETTINGS: dict[str, Callable[[Any], bool]] = {
    "rows_per_group": _at_least_one,
    "layout": lambda value: value in LAYOUTS,
}
"""What each setting can be; a tokenizer raises where it cannot."""
