"""The rounds that read an earlier split, and what is said of what does not fit."""

from collections.abc import Generator, Sequence

from pipeline.engines.stage import Round, Task, TaskResult, total
from pipeline.stages.cluster.layout import CorpusLayout
from pipeline.stages.cluster.rounds import Ranked, complaint, for_each, scratch_of
from pipeline.stages.cluster.splits import join_pins, mark_part, read_pins


def pin(
    path: str, corpus: CorpusLayout, names: Sequence[TaskResult]
) -> Generator[Round, list[TaskResult], list[TaskResult]]:
    """Mark the records of an earlier split; returns the results, with counts and names.

    Args:
        path: The earlier split.
        corpus: Where the records are.
        names: Results of ``name_records``.
    """
    task = Task(name="earlier", function=read_pins, arguments={"corpus": corpus, "path": path})
    rows = yield Round(label="read splits", tasks=[task])
    arguments = {"names": scratch_of(names), "pins": scratch_of(rows)}
    joined = yield for_each("pin-join", join_pins, corpus, "bucket", arguments)
    marked = yield for_each("pin-mark", mark_part, corpus, "part", {"pinned": scratch_of(joined)})
    return [*rows, *joined, *marked]


def pin_complaints(pinned: Sequence[TaskResult], ranked: Ranked) -> list[str]:
    """What of an earlier split does not fit the corpus and its clusters."""
    results = [*pinned, *ranked.levels[0]]
    counts = total(results, "counts")
    told = [
        ("pins_unknown", "unknown", "accessions of the earlier split that no record of the corpus has"),
        (
            "pins_contradictory",
            "contradictory",
            "accessions that the earlier split has in two splits (test counts before valid, valid before train)",
        ),
        (
            "clusters_pinned_apart",
            "pinned_apart",
            "clusters whose members were in two splits (test counts before valid, valid before train)",
        ),
    ]
    return [text for count, key, sentence in told for text in complaint(counts.get(count, 0), sentence, key, results)]
