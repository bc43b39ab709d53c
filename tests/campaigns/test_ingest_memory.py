"""Memory that does not grow with the input: the peak of the whole tree of processes under ``--memory``.

What is compared is the upper bound that benchmarks/process_tree.py tells, with shared pages counted in each process.
"""

import shutil
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.formats.manifest import read_manifest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]

MEMORY_BYTES = 10**9
COPIES = 3_000_000


def ingest_in_bounds(process_tree, file, out, workers):
    """Peak bytes of a run that is told to keep to a gigabyte."""
    arguments = ["ingest", str(file), "--out", str(out), "--workers", str(workers), "--memory", "1GB", "--quiet"]
    command = [sys.executable, "-m", "pipeline", *arguments]
    usage = process_tree.measure(command, sample_seconds=process_tree.SAMPLE_SECONDS)
    print(f"{file.name}, {workers} workers, {usage.seconds:.1f} s: {usage.memory.megabytes()}")
    return usage.memory.resident


@pytest.fixture(scope="module")
def inputs(tmp_path_factory, generate):
    """Files of one and of ten million records."""
    folder = tmp_path_factory.mktemp("memory")
    paths = [folder / "1-million.fasta", folder / "10-million.fasta"]
    for path, num_records in zip(paths, (1_000_000, 10_000_000), strict=True):
        generate.write_fasta(path, num_records)
    yield paths
    shutil.rmtree(folder)


@pytest.mark.parametrize("workers", [1, 2])
def test_ten_million_records_take_the_memory_of_one_million(inputs, tmp_path, process_tree, workers):
    peaks = []
    for file in inputs:
        peaks.append(ingest_in_bounds(process_tree, file, tmp_path / "corpus", workers))
        shutil.rmtree(tmp_path / "corpus")
    assert max(peaks) < MEMORY_BYTES
    assert 0.9 < peaks[1] / peaks[0] < 1.1


@pytest.fixture(scope="module")
def skewed(tmp_path_factory, generate):
    """A million records, and three million that all have the sequence of the first, dealt among them."""
    path = tmp_path_factory.mktemp("skewed") / "skewed.fasta"
    summary = generate.write_fasta(path, 1_000_000, copies=COPIES)
    yield path, summary
    shutil.rmtree(path.parent)


@pytest.mark.parametrize("workers", [1, 2])
def test_one_sequence_three_million_times_takes_no_more_memory(skewed, tmp_path, process_tree, workers):
    file, summary = skewed
    out = tmp_path / "corpus"
    peak = ingest_in_bounds(process_tree, file, out, workers)
    counts = read_manifest(out).counts
    rows = pa.concat_tables(
        pq.read_table(path, columns=["num_merged", "aliases"], filters=[("num_merged", ">", COPIES)])
        for path in sorted(out.glob("part-*.parquet"))
    ).to_pylist()
    shutil.rmtree(out)
    assert counts["records_read"] == summary.records == 1_000_000 + COPIES
    assert counts["records"] + counts["records_merged"] == summary.records
    assert len(rows) == 1
    assert len(rows[0]["aliases"]) == 1000
    assert peak < MEMORY_BYTES
