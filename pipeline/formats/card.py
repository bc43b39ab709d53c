"""The dataset card: README.md of a shards folder, read by people and by Hugging Face datasets.

The YAML header names the files of each split, so that ``load_dataset(folder)`` takes the Parquet files and leaves the
JSON beside them alone, and the one licence that binds the whole. Format: https://huggingface.co/docs/hub/datasets-cards
"""

import json
from collections.abc import Iterable

from pipeline.formats.licences import SHARE_ALIKE, Licence, Terms, combine, find_licence
from pipeline.formats.manifest import Manifest, Source
from pipeline.formats.plan import SPLITS, has_clusters
from pipeline.formats.report_words import counted, listed

ATTRIBUTIONS = {"CC-BY-4.0": "UniProt Consortium, https://www.uniprot.org, CC BY 4.0"}
"""What has to stand beside data of a licence, where the source is a UniProt file."""

MOST_NAMES = 5
"""Files that a sentence names; UniParc has about 200."""


def dataset_card(manifest: Manifest) -> str:
    """The text of the card.

    Args:
        manifest: Manifest of the shards; its ``files`` are the shards.
    """
    return f"{_header(manifest)}\n{_body(manifest)}"


def _header(manifest: Manifest) -> str:
    splits = dict.fromkeys(file.split for file in manifest.files if file.split)
    identifiers = _terms(manifest).identifiers
    several = ["license:", *(f"- {name}" for name in identifiers)]
    lines = ["---", *(several if len(identifiers) > 1 else [f"license: {identifiers[0]}"])]
    lines += ["tags:", "- biology", "- protein", "- protein-language-model", "configs:", "- config_name: default"]
    if splits:
        lines += ["  data_files:"]
    for split in splits:
        lines += [f"  - split: {split}", f"    path: data/{split}-*.parquet"]
    return "\n".join([*lines, "---"])


def _body(manifest: Manifest) -> str:
    configuration, counts = manifest.configuration, manifest.counts
    length = configuration["length"]
    filled = counts["tokens"] / max(1, counts["rows"] * length)
    return f"""# Packed protein sequences

{counts["rows"]:,} rows of {length:,} tokens, {100 * filled:.2f} % of them real, from {counts["records"]:,} proteins
({counts["residues_packed"]:,} residues).
Tokenizer: {configuration["tokenizer"]["name"]}.
Packed by {configuration["algorithm"]}, seed {configuration["seed"]}.
Records longer than a row: {configuration["overlong"]}.
{_splits(manifest)}
Fingerprint: `{manifest.fingerprint}`

| column | meaning |
|---|---|
| input_ids | tokens of the row |
| sequence_id | which segment of the row a token belongs to; -1 on padding |
| lengths | tokens of each segment, special tokens included |
| accessions, record_keys, starts | which protein each segment is, and its first residue |
| num_tokens, num_sequences | tokens that are not padding, and segments |

## Where the proteins come from

{_provenance(manifest)}

## Licence

{_licence(manifest)}

## Left out

{_reasons(manifest)}

## Training

```python
from pipeline.streaming.dataset import PackedDataset
from pipeline.streaming.objectives import MaskedLM
dataset = PackedDataset("shards/", split="train", batch_size=32, objective=MaskedLM("betalinear30"))
```

Configuration: `{json.dumps({key: value for key, value in configuration.items() if key != "tokenizer"})}`
"""


def _splits(manifest: Manifest) -> str:
    """Splits by clusters, and which records of train this epoch has; nothing where there are no clusters."""
    if not has_clusters(manifest):
        return ""
    configuration, counts = manifest.configuration, manifest.counts
    level = f", level {configuration['level']}" if "level" in configuration else ""
    rows = [
        f"| {split} | {counts[f'rows_{split}']:,} | {counts[f'records_{split}']:,} | {counts[f'tokens_{split}']:,} |"
        for split in SPLITS
        if counts[f"rows_{split}"]
    ]
    told = f"Sampling of train: {configuration['sample']}{level}, epoch {configuration['epoch']}."
    kept = "Valid and test are the same in every epoch."
    return "\n".join([told, kept, "", "| split | rows | proteins | tokens |", "|---|--:|--:|--:|", *rows, ""])


def _provenance(manifest: Manifest) -> str:
    rows = ["| file | bytes | release | licence | source |", "|---|--:|---|---|---|"]
    rows += [_provenance_row(source) for source in manifest.provenance]
    attributions = sorted(
        {ATTRIBUTIONS[source.licence] for source in manifest.provenance if _is_uniprot(source) and source.licence}
    )
    return "\n".join([*rows, *(f"\nContains data of the {text}" for text in attributions)])


def _terms(manifest: Manifest) -> Terms:
    return combine([source.licence for source in manifest.provenance])


def _licence(manifest: Manifest) -> str:
    """Which licence binds the whole, which source is why, and what it asks for."""
    terms = _terms(manifest)
    unknown = [source for source in manifest.provenance if find_licence(source.licence) is None]
    paragraphs = []
    if unknown:
        names = _listed(f"{_shown(source.name)} ({_licence_name(source)})" for source in unknown)
        paragraphs.append(f"**Unknown: ask the publisher** of {names} before you pass this dataset on.")
    elif not manifest.provenance:
        paragraphs.append("**Unknown: ask the publisher** of the proteins before you pass this dataset on.")
    if terms.strictest is not None:
        paragraphs += _known_licence(manifest, terms.strictest, is_all=not terms.has_unknown)
    if terms.is_contradictory:
        paragraphs.append(
            "**The licences of the sources contradict each other:** no single one meets what all of them ask for. "
            "Leave one of these sources out, or ask its publisher, before you pass this dataset on."
        )
    return "\n\n".join(paragraphs)


def _known_licence(manifest: Manifest, strictest: Licence, *, is_all: bool) -> list[str]:
    bound = [source for source in manifest.provenance if find_licence(source.licence) == strictest]
    names = _listed(_shown(source.name) for source in bound)
    whole = "This dataset is under" if is_all else "Of what is known, the strictest licence is"
    others = len(bound) < len(manifest.provenance)
    why = f", the strictest licence of its sources, because of {names}" if others and is_all else ""
    why = why or (f", that of {names}" if others else ", as all of its sources are")
    paragraphs = [f"{whole} **{strictest.identifier}**{why}."]
    if strictest.demands:
        paragraphs.append("\n".join(["It asks you to", "", *(f"- {demand}" for demand in strictest.demands)]))
    if SHARE_ALIKE in strictest.terms and others:
        paragraphs.append(
            "Share-alike binds the whole: rows hold proteins of all sources side by side, so in this form those of the "
            f"freer sources, too, can be passed on only under {strictest.identifier}. At their publishers they stay "
            "as free as they were, and so does a dataset that is made without the share-alike source."
        )
    return paragraphs


def _listed(names: Iterable[str]) -> str:
    different = list(dict.fromkeys(names))
    rest = len(different) - MOST_NAMES
    return listed([*different[:MOST_NAMES], *([counted(rest, "other file")] if rest > 0 else [])])


def _licence_name(source: Source) -> str:
    return f"it says {_shown(source.licence)}" if source.licence else "none is given"


def _shown(text: str) -> str:
    """Text from outside in one line of Markdown, without what would end a cell of a table or begin an element."""
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")


def _is_uniprot(source: Source) -> bool:
    return source.licence in ATTRIBUTIONS and "uniprot" in (source.url or "").lower()


def _provenance_row(source: Source) -> str:
    texts = [source.release or "not given", source.licence or "unknown: ask the publisher", source.url or "not given"]
    return f"| {_shown(source.name)} | {source.bytes:,} | {' | '.join(map(_shown, texts))} |"


def _reasons(manifest: Manifest) -> str:
    left_out = [f"- {reason}: {number:,} records" for reason, number in manifest.reasons.items() if number]
    counts = manifest.counts
    left_out += (
        [f"- merged as exact duplicates: {counts['records_merged']:,} records"] if counts["records_merged"] else []
    )
    if counts["records_cropped"]:
        lost = f"{counts['residues_lost']:,} residues lost"
        left_out.append(f"- cropped to the length of a row: {counts['records_cropped']:,} records, {lost}")
    return "\n".join(left_out) or "Nothing."
