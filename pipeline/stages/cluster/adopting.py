"""The rounds that join clusters that others made to a corpus, and what is said of what does not fit."""

from collections.abc import Sequence
from pathlib import Path

from pipeline.engines.stage import Round, Task, TaskResult, total
from pipeline.errors import ConfigurationError
from pipeline.formats.memberships import HIERARCHY, TABLE, detect_memberships
from pipeline.stages.cluster.existing import decide_part, join_bucket, read_rows
from pipeline.stages.cluster.layout import CorpusLayout
from pipeline.stages.cluster.ranking import assigned_name
from pipeline.stages.cluster.rounds import Ranked, Ranking, complaint, for_each, rank, scratch_of
from pipeline.stages.cluster.splits import Splitting


def adopt(existing: Sequence[str], corpus: CorpusLayout, splitting: Splitting, names: Sequence[TaskResult]) -> Ranking:
    """Join existing clusters to a corpus, and rank their members.

    Args:
        existing: Files.
        corpus: Where the records are.
        splitting: What decides the splits of the coarsest clusters.
        names: Results of ``name_records``.
    """
    kinds = sorted({kind for result in names for kind in result.values["kinds"]})
    tasks = [
        Task(
            name=f"rows-{index:05d}",
            function=read_rows,
            arguments={"corpus": corpus, "path": path, "index": index, "level": index, "kinds": kinds},
        )
        for index, path in enumerate(existing)
    ]
    rows = yield Round(label="read clusters", tasks=tasks)
    arguments = {"names": scratch_of(names), "rows": scratch_of(rows)}
    joined = yield for_each("join", join_bucket, corpus, "bucket", arguments)
    num_levels = num_existing_levels(existing)
    found = {"num_levels": num_levels, "found": scratch_of(joined)}
    decided = yield for_each("decide", decide_part, corpus, "part", found)
    counts = total([*rows, *joined, *decided], "counts")
    levels = []
    for level in range(num_levels):
        assigned = [assigned_name(level, part) for part in range(corpus.num_parts)]
        levels.append((yield rank(level, corpus, assigned, splitting)))
    not_nested = sum(result.counts.get("clusters_not_nested_2", 0) for result in levels[-1])
    warnings = _complaints(counts, [*joined, *decided]) + _nesting_complaint(not_nested)
    return Ranked(levels=levels, counts=counts, warnings=warnings)


def num_existing_levels(existing: Sequence[str]) -> int:
    """How many levels files of clusters have.

    Raises:
        ConfigurationError: They are not of one kind.
    """
    kinds = [detect_memberships(Path(name)) for name in existing]
    if set(kinds) == {TABLE}:
        return len(kinds)
    if TABLE in kinds:
        raise ConfigurationError(
            f"--existing: expected tables of two columns, or files of UniRef's hierarchy, found {', '.join(kinds)}"
        )
    return len(HIERARCHY)


def _complaints(counts: dict[str, int], results: Sequence[TaskResult]) -> list[str]:
    told = [
        ("rows_unknown", "unknown", "rows of existing clusters that name no record of the corpus"),
        (
            "rows_contradictory",
            "contradictory",
            "rows that contradict another about the same name (the smallest representative counts)",
        ),
        ("records_unlisted", "unlisted", "records in no row (each is a cluster of its own, unless one has its name)"),
    ]
    return [text for count, key, sentence in told for text in complaint(counts[count], sentence, key, results)]


def _nesting_complaint(num_clusters: int) -> list[str]:
    if not num_clusters:
        return []
    return [f"the levels do not nest: clusters of a finer one that are in several of the coarser: {num_clusters:,}"]
