"""Writes ``schemas/``: JSON Schemas of what people write, and the columns of what programs read.

``make schemas`` runs it; a test fails when a model and its schema have drifted apart.
"""

import json
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipeline.engines.job_queue import JobQueue
from pipeline.formats.alignments import ALIGNMENTS_SCHEMA
from pipeline.formats.clusters import clusters_schema
from pipeline.formats.corpus import CORPUS_SCHEMA
from pipeline.formats.manifest import Manifest, Run
from pipeline.formats.plan import PLAN_SCHEMA
from pipeline.formats.shards import LAYOUTS, ShardMetadata, shard_schema
from pipeline.formats.splits import SPLITS_SCHEMA
from pipeline.recipe import Recipe


def schema_documents() -> dict[str, str]:
    """File name and text of every schema."""
    documents: dict[str, Any] = {
        "recipe.schema.json": Recipe.model_json_schema(),
        "manifest.schema.json": Manifest.model_json_schema(),
        "run.schema.json": Run.model_json_schema(),
        "site.schema.json": JobQueue.model_json_schema(),
        "corpus.arrow.json": _columns(CORPUS_SCHEMA),
        "alignments.arrow.json": _columns(ALIGNMENTS_SCHEMA),
        # Each finer level has the first three columns once more, with _2, _3 … behind their names.
        "clusters.arrow.json": _columns(clusters_schema(1)),
        "splits.arrow.json": _columns(SPLITS_SCHEMA),
        "plan.arrow.json": _columns(PLAN_SCHEMA),
        **{f"shards-{layout}.arrow.json": _columns(shard_schema(_example(layout))) for layout in LAYOUTS},
    }
    return {name: json.dumps(document, indent=2) + "\n" for name, document in documents.items()}


def _example(layout: str) -> ShardMetadata:
    # Length and type of the tokens differ from dataset to dataset; these are the commonest.
    return ShardMetadata(
        fingerprint="", dtype="uint8", length=1024, alignment=1, pad_id=1, num_prefix=1, num_suffix=1, layout=layout
    )


def _columns(schema: pa.Schema) -> list[dict[str, Any]]:
    return [{"name": field.name, "type": str(field.type), "nullable": field.nullable} for field in schema]


def main(folder: Path) -> None:
    """Write every schema into ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in schema_documents().items():
        (folder / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
