"""One input file to sorted runs: the first half of a shuffle that is a sort.

::

    file  ──▶ blocks ──▶ sieve: strip, check, filter, name, hash ──▶ runs, each sorted by key
                                                                     .scratch/chunk-00000.arrow

Memory: a few times one run.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pyarrow as pa

from pipeline.engines.stage import SCRATCH_NAME, TaskResult
from pipeline.engines.threads import in_threads
from pipeline.formats.detection import ReadOptions, detect_file, open_records, read_fasta_records
from pipeline.formats.fasta_spans import WHOLE
from pipeline.formats.problems import Problems
from pipeline.formats.records import RecordBlock
from pipeline.formats.runs import run_writer
from pipeline.formats.storage import atomic_path, write_text
from pipeline.stages.ingest.sieve import Reading, Sieve, Tally, dropped_writer


def read_chunk(folder: Path, *, reading: Reading) -> TaskResult:
    """Read one input file, or a span of one, into sorted runs in the scratch folder.

    Args:
        folder: The corpus.
        reading: What to read, and how.

    Raises:
        InputFormatError: The file is not what it should be or is cut short, or holds an invalid character under
            ``error``.
    """
    sieve = Sieve(reading)
    tally = Tally()
    problems = Problems(reading.on_error)
    run_name = f"{SCRATCH_NAME}/{reading.name}.arrow"
    with ExitStack() as stack:
        run_path = stack.enter_context(atomic_path(folder / run_name, durable=False))
        options = {"num_buckets": reading.num_buckets, "run_bytes": reading.run_bytes}
        writer = stack.enter_context(run_writer(run_path, **options, source_priority=reading.source_priority))
        dropped = stack.enter_context(dropped_writer(folder, reading.name)) if reading.keep_dropped else None
        # Decompressing, parsing and sorting go on beside each other in as many threads as this process may have.
        sieved = in_threads(sieve.sift, _blocks(reading, problems), num_threads=pa.cpu_count())
        for records in tally.gather(sieved, dropped):
            writer.add(records)
    tally.add_problems(problems)
    statistics_name = f"{SCRATCH_NAME}/{reading.name}.statistics.json"
    write_text(folder / statistics_name, tally.dropped.model_dump_json(), durable=False)
    return TaskResult(
        scratch={name: (folder / name).stat().st_size for name in (run_name, statistics_name)},
        counts=dict(tally.counts),
        reasons=dict(tally.reasons),
        warnings=(
            *(f"left out: {example}" for example in problems.examples),
            *_gap_warnings(reading, tally.reasons),
        ),
        values={"composition": tally.composition.tolist()},
    )


def _blocks(reading: Reading, problems: Problems) -> Iterator[RecordBlock]:
    if reading.span != WHOLE:
        return read_fasta_records(reading.path, reading.source, reading.span)
    return open_records(
        reading.path,
        file_format=reading.file_format or file_format_of(reading.path, reading.options),
        source=reading.source,
        options=reading.options,
        problems=problems,
    )


def file_format_of(path: Path, options: ReadOptions) -> str:
    """The format of a file, by content; A3M only if its name says so too.

    FASTA with gaps in it looks like A3M in one cut of a corpus and not in another; records with gaps would be dropped
    here and have their gaps removed there. An alignment is named ``.a3m`` or read with ``--format a3m``.
    """
    detected = detect_file(path, options)
    return "fasta" if detected == "a3m" and ".a3m" not in path.suffixes else detected


def _gap_warnings(reading: Reading, reasons: Counter[str]) -> list[str]:
    """What to tell of a file whose records were dropped for gaps although it looks like an alignment."""
    if reading.file_format or "invalid-gap" not in reasons or detect_file(reading.path, reading.options) != "a3m":
        return []
    told = "looks like an alignment and was read as FASTA, without the records that have gaps"
    return [f"{reading.path}: {told}: --format a3m removes the gaps instead"]
