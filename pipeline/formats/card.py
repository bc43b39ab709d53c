"""The dataset card: README.md of a shards folder, read by people and by Hugging Face datasets.

The YAML header names the files of each split, so that ``load_dataset(folder)`` takes the Parquet files and leaves the
JSON beside them alone. Format: https://huggingface.co/docs/hub/datasets-cards
"""

import json

from pipeline.formats.manifest import Manifest, Source

ATTRIBUTIONS = {"CC-BY-4.0": "UniProt Consortium, https://www.uniprot.org, CC BY 4.0"}
"""What has to stand beside data of a licence, where the source is a UniProt file."""


def dataset_card(manifest: Manifest) -> str:
    """The text of the card.

    Args:
        manifest: Manifest of the shards; its ``files`` are the shards.
    """
    return f"{_header(manifest)}\n{_body(manifest)}"


def _header(manifest: Manifest) -> str:
    splits = dict.fromkeys(file.split for file in manifest.files if file.split)
    licences = sorted({source.licence.lower() for source in manifest.provenance if source.licence})
    lines = ["---", *(["license:", *(f"- {name}" for name in licences)] if licences else ["license: unknown"])]
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


def _provenance(manifest: Manifest) -> str:
    rows = ["| file | bytes | release | licence | source |", "|---|--:|---|---|---|"]
    rows += [_provenance_row(source) for source in manifest.provenance]
    attributions = sorted(
        {ATTRIBUTIONS[source.licence] for source in manifest.provenance if _is_uniprot(source) and source.licence}
    )
    return "\n".join([*rows, *(f"\nContains data of the {text}" for text in attributions)])


def _is_uniprot(source: Source) -> bool:
    return source.licence in ATTRIBUTIONS and "uniprot" in (source.url or "").lower()


def _provenance_row(source: Source) -> str:
    return (
        f"| {source.name} | {source.bytes:,} | {source.release or 'not given'} | {source.licence or 'not given'} "
        f"| {source.url or 'not given'} |"
    )


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
