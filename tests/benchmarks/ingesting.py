"""How fast FASTA becomes a corpus, and in how much memory: this package beside parsers and scripts, in one run.

    python tests/benchmarks/ingesting.py [--records 1000000] [--repeats 3] [--large 0] [--work FOLDER] [--json]

The input is what generate.py makes, as plain FASTA and as one gzip stream. Every figure is from a fresh process, pinned
to as many processors as its row says; the repeats of all rows take turns; figures are medians. MB are 10⁶ bytes, of
FASTA text where speed is meant. Three groups: parsing alone and decompression alone, both on one processor and without
imports, see parsing.py; then from file to Parquet, the whole process: `pipeline ingest` beside scripts as a user would
write them, see by_hand.py, which must come to as many records and residues and to the same keys.

Where others use the machine too, the columns of processor seconds say more. «× needle» compares those with needletail's
parser at its fastest. Peak memory is of the whole tree of processes («at most»: shared pages counted in each of them),
from one more run of each row, since looking takes time: see process_tree.py. --large N looks once more at the rows with
`--memory 1GB`, with N records. Peers that are not installed are named: pip install -e '.[bench]'. Linux only.
"""

import argparse
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from generate import Summary, write_fasta
from ingest_report import Target, print_table, print_targets, targets
from ingest_rows import FILE, OUT, Row, all_rows
from process_tree import SAMPLE_SECONDS, Usage, measure

Result = tuple[int, ...]


def run_all(rows: Sequence[Row], work: Path, repeats: int) -> None:
    """Every row as often as asked, in turns; then once more, for its memory, what writes a corpus."""
    for repeat in range(repeats):
        for row in rows:
            if usage := attempt(row, work, f"{repeat + 1} of {repeats}"):
                row.seconds.append(usage.seconds)
                row.processor_seconds.append(usage.processor_seconds)
    for row in rows:
        if row.group == "ingest" and (usage := attempt(row, work, "memory", SAMPLE_SECONDS)):
            row.memory = usage.memory
    check_results([row for row in rows if not row.absent])


def attempt(row: Row, work: Path, label: str, sample_seconds: float | None = None) -> Usage | None:
    """One repeat; a row that fails once is left out, and the others go on."""
    if row.absent:
        return None
    try:
        usage = run_once(row, work, sample_seconds)
    except RuntimeError as error:
        row.seconds, row.absent = [], "failed"
        tell(f"{row.key} ({label}): {error}")
        return None
    memory = f", peak {usage.memory.megabytes()}" if usage.memory else ""
    tell(f"{row.key} ({label}): {usage.seconds:.2f} s, {usage.processor_seconds:.2f} s of processors{memory}")
    return usage


def run_once(row: Row, work: Path, sample_seconds: float | None = None) -> Usage:
    """One repeat of a row, in a fresh process; seconds are the process's own where only a part of it counts."""
    out = work / "out"
    path = work / ("proteins.fasta.gz" if row.compressed else "proteins.fasta")
    command = [{FILE: str(path), OUT: str(out)}.get(word, word) for word in row.command]
    os.sync()  # so that nobody waits for what the last one wrote
    usage = measure(command, cpus=sorted(os.sched_getaffinity(0))[-row.num_cpus :], sample_seconds=sample_seconds)
    if row.group == "ingest":
        result = take_result(row, out)
    else:
        seconds, processor_seconds, *rest = json.loads(usage.output).values()
        result = tuple(rest)
        usage = Usage(seconds=seconds, processor_seconds=processor_seconds, memory=usage.memory, output=usage.output)
    assert row.result in {(), result}, f"{row.key}: {result} now, {row.result} before"
    row.result = result
    return usage


def take_result(row: Row, out: Path) -> Result:
    """Records, residues and the sum of all record keys, modulo 2^64, of a corpus, which is removed."""
    parts = sorted(out.glob("part-*.parquet")) if out.is_dir() else [out]
    row.out_bytes = sum(path.stat().st_size for path in parts)
    tables = [pq.read_table(path, columns=["record_key", "length"]) for path in parts]
    keys = np.concatenate([table.column("record_key").to_numpy() for table in tables])
    lengths = np.concatenate([table.column("length").to_numpy() for table in tables])
    shutil.rmtree(out) if out.is_dir() else out.unlink()
    return len(keys), int(lengths.sum(dtype=np.int64)), int(keys.sum(dtype=np.uint64))


def check_results(rows: Sequence[Row]) -> None:
    corpora = {row.key: row.result for row in rows if row.group == "ingest"}
    assert len(set(corpora.values())) == 1, f"corpora differ: {corpora}"
    parsed = [row for row in rows if row.group != "ingest"]
    for column in range(3):
        seen = {row.key: row.result[column] for row in parsed if row.result[column]}
        assert len(set(seen.values())) == 1, f"parsers differ: {seen}"


def run_large(rows: Sequence[Row], work: Path, num_records: int) -> None:
    """Look at the memory of rows with a bound on it, with many records of plain FASTA."""
    write_fasta(work / "proteins.fasta", num_records)
    for row in rows:
        if row.is_bounded and not row.compressed:
            large = replace(row, result=())
            usage = attempt(large, work, f"memory, {num_records:,} records", SAMPLE_SECONDS)
            row.large_memory, row.absent = usage.memory if usage else None, large.absent


def as_document(rows: Sequence[Row], found: Sequence[Target], summary: Summary, repeats: int) -> str:
    return json.dumps(
        {
            "input": asdict(summary),
            "repeats": repeats,
            "rows": [row.figures(summary.bytes) for row in rows],
            "targets": [asdict(target) | {"verdict": target.verdict} for target in found],
        },
        indent=2,
        ensure_ascii=False,
    )


def tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--large", type=int, default=0, help="records of the large input; 0: none")
    parser.add_argument("--work", type=Path, help="a folder on the disk to measure on; by default a temporary one")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    rows = all_rows()
    present = [row for row in rows if not row.absent]
    with tempfile.TemporaryDirectory(dir=options.work) as temporary:
        work = Path(temporary)
        tell(f"making {options.records:,} records")
        summary = write_fasta(work / "proteins.fasta", options.records)
        write_fasta(work / "proteins.fasta.gz", options.records, compress=True)
        run_all(present, work, options.repeats)
        if options.large:
            run_large(present, work, options.large)
    found = list(targets(rows, summary.bytes))
    if options.json:
        print(as_document(rows, found, summary, options.repeats))
    else:
        print(f"{summary.records:,} records, {summary.bytes / 1e6:,.1f} MB of FASTA, medians of {options.repeats}")
        print_table(rows, summary.bytes)
        print_targets(found)
    sys.exit(any(row.absent == "failed" for row in rows))


if __name__ == "__main__":
    main()
