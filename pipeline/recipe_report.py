"""How the result of a recipe looks: facts for a person, the Python that trains from it, and one JSON object."""

from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from pipeline.console import Console, count, percent, reasons_text
from pipeline.reports import artefact_sentence, show_verification, stage_document, verification_document

if TYPE_CHECKING:  # a report should load no stage
    from pipeline.workflow import Reading, RecipeOutcome


def recipe_document(outcome: "RecipeOutcome") -> dict[str, Any]:
    """What a run came to, as JSON."""
    reading, clusters, epochs = outcome.reading, outcome.clusters, outcome.epochs
    made = [
        {
            "plan": stage_document(epoch.plan, epoch.plan_folder),
            "shards": stage_document(epoch.shards, epoch.shards_folder),
        }
        for epoch in epochs
    ]
    return {
        "corpus": stage_document(outcome.corpus, outcome.folder / "corpus"),
        **({} if clusters is None else {"clusters": stage_document(clusters, outcome.folder / "clusters")}),
        **(made[0] if len(made) == 1 else {"epochs": made}),
        "verification": [verification_document(report) for report in outcome.reports],
        "reading": None if reading is None else _reading_document(reading),
    }


def _reading_document(reading: "Reading") -> dict[str, Any]:
    derived = ("tokens_per_second", "padding", "places_per_token")
    return asdict(reading) | {name: getattr(reading, name) for name in derived}


def show_recipe(outcome: "RecipeOutcome", console: Console) -> None:
    """What a person wants to know at the end of a run."""
    for report in outcome.reports:
        if not report.is_sound:
            show_verification(report, console)
    console.facts(f"{outcome.folder}", _recipe_facts(outcome))
    if console.is_human and all(report.is_sound for report in outcome.reports):
        console.note("\nTrain from them (pip install 'protein-pipeline[torch]'):\n")
        for line in training_lines(outcome):
            console.note(f"    {line}")
    told = [f"{epoch.shards_folder}: {artefact_sentence(epoch.shards.manifest)}" for epoch in outcome.epochs]
    console.note("\n" + "\n".join(told) + f"; next: pipeline inspect {outcome.shards_folders[0]} --row 0")


def training_lines(outcome: "RecipeOutcome") -> list[str]:
    """The three lines of Python that train from the shards."""
    reader = {"objective": "betalinear30"} | outcome.reader if outcome.reading is None else outcome.reader
    labels = ", labels" if "objective" in reader else ""
    length = outcome.manifest.configuration["length"]
    shape = f"[{reader['batch_size']}, {f'up to {length}' if 'trim' in reader else length}]"
    quoted = [f'"{folder}"' for folder in outcome.shards_folders]
    shards = quoted[0] if len(quoted) == 1 else f"[{', '.join(quoted)}]"
    arguments = ", ".join(f"{name}={_python(value)}" for name, value in reader.items())
    return [
        "from pipeline.streaming.dataset import PackedDataset",
        f"dataset = PackedDataset({shards}, {arguments})",
        f"for batch in dataset: ...  # input_ids, sequence_id, position_ids{labels}: tensors of {shape}",
    ]


def _python(value: Any) -> str:
    """As a person would write it."""
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_python, value))}]"
    return f'"{value}"' if isinstance(value, str) else repr(value)


def _recipe_facts(outcome: "RecipeOutcome") -> Iterator[tuple[str, str]]:
    corpus, counts = outcome.corpus.manifest, outcome.manifest.counts
    length = outcome.manifest.configuration["length"]
    rows, segments, tokens = counts["rows"], counts["segments"], counts["tokens"]
    bound = counts["rows_lower_bound"]
    yield "proteins in", f"{corpus.counts['records_read']:,}"
    yield "kept", f"{corpus.counts['records']:,}, {corpus.counts['records_merged']:,} merged as exact duplicates"
    yield "dropped", reasons_text({**corpus.reasons, **outcome.manifest.reasons})
    if outcome.clusters is not None:
        yield "clusters", artefact_sentence(outcome.clusters.manifest)
    if len(outcome.phases) > 1:
        yield "phases", f"rows of {' and of '.join(f'{length:,}' for length in outcome.phases)} tokens"
    if len(outcome.shards_folders) > 1:
        yield "epochs", f"{len(outcome.shards_folders):,}, each drawn anew"
    if len(outcome.epochs) > 1:
        yield "shown here", str(outcome.shards_folders[0])
    yield "cropped", f"{counts['records_cropped']:,} proteins, {counts['residues_lost']:,} residues lost"
    yield "rows", f"{rows:,} of {length:,} tokens; lower bound {bound:,}; one protein a row would be {segments:,}"
    packed, padded = percent(tokens, rows * length), percent(tokens, segments * length)
    yield "packing", f"{packed} of the tokens are real, {padded} with padding: {segments / rows:.2f} times fewer rows"
    if outcome.reports:
        sound = all(report.is_sound for report in outcome.reports)
        yield "verified", "every residue, from the files alone" if sound else "NOT sound: see the warnings"
    if outcome.reading is not None:
        reading = outcome.reading
        speed = f"{reading.tokens_per_second / 1e6:,.1f} million tokens/s"
        yield "read back", f"{reading.tokens:,} tokens in {count(reading.batches, 'batches')}, {speed}"
        yield "padding", _padding_words(reading)
    yield "shards", ", ".join(str(epoch.shards_folder) for epoch in outcome.epochs)


def _padding_words(reading: "Reading") -> str:
    """What a model is given besides tokens, and how much more that would be in whole rows."""
    cost = f"{100 * reading.padding:.1f} % of {reading.places:,}: {reading.places_per_token:.2f} for each real token"
    if reading.places == reading.whole_places or not reading.tokens:
        return cost
    return f"{cost}, {reading.whole_places / reading.tokens:.2f} if batches were not trimmed"
