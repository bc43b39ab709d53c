"""By what names records go: their accessions, and those of the records that were merged into them."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.engines.stage import SCRATCH_NAME, TaskResult
from pipeline.formats.exchange import exchange_writer
from pipeline.formats.memberships import kinds_of
from pipeline.formats.parquet import read_columns
from pipeline.stages.cluster.layout import CorpusLayout, name_buckets

NAME_SCHEMA = pa.schema([("name", pa.string()), ("number", pa.int64()), ("is_alias", pa.bool_())])
EXAMPLES = 3
"""Names that are shown of those that something is wrong with."""


def name_records(folder: Path, *, corpus: CorpusLayout, part: int) -> TaskResult:
    """All names of the records of a part, by the hash of the name; ``values["kinds"]`` says of what kinds they are."""
    table = read_columns(corpus.path(part), ["accession", "aliases"])
    numbers, aliases = pa.array(corpus.numbers(part)), table.column("aliases").combine_chunks()
    accessions = table.column("accession").combine_chunks()
    names = pa.concat_arrays([accessions, pc.list_flatten(aliases)])
    columns = {
        "name": names,
        "number": pa.concat_arrays([numbers, numbers.take(pc.list_parent_indices(aliases))]),
        "is_alias": np.arange(len(names)) >= len(accessions),
    }
    made = f"{SCRATCH_NAME}/names-{part:05d}.arrow"
    with exchange_writer(folder / made, NAME_SCHEMA, corpus.num_parts) as exchange:
        exchange.add(columns, name_buckets(names, corpus.num_parts))
    return TaskResult(scratch={made: (folder / made).stat().st_size}, values={"kinds": sorted(kinds_of(names))})


def first_names(names: pa.ChunkedArray) -> list[str]:
    """As many names as are shown, each once."""
    return sorted(pc.unique(names).to_pylist())[:EXAMPLES]
