"""A search finds what an alignment of all with all finds, short sequences too, and goes on after a kill."""

import gzip
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time

import pytest

from pipeline.engines import mmseqs_search
from pipeline.engines.mmseqs import find_mmseqs
from pipeline.engines.mmseqs_search import FEW_TARGETS, Search, memory_needed_to_search, search_sequences

LETTERS = "ACDEFGHIKLMNPQRSTVWY"


def mutated(rng, text, fraction):
    """A relative: so many residues are drawn anew, and one in fifty is lost or doubled."""
    copy = [rng.choice(LETTERS) if rng.random() < fraction else letter for letter in text]
    return "".join(letter * rng.choice([1] * 48 + [0, 2]) for letter in copy) or "A"


@pytest.fixture(scope="module")
def proteins(ecoli):
    records = gzip.decompress(ecoli.read_bytes()).decode().split(">")[1:]
    return ["".join(record.split("\n")[1:]) for record in records]


@pytest.fixture(scope="module")
def sequences(proteins):
    """Queries and targets: proteins and peptides, and relatives of them, the more distant the later."""
    rng = random.Random(5)
    peptides = [text[9 : 9 + length] for length in range(8, 60, 3) for text in rng.sample(proteins[:900], 2)]
    targets = [*proteins[1_000:1_015], *(text for text in peptides if len(text) > 7)]
    relatives = [mutated(rng, text, fraction) for text in targets for fraction in (0.0, 0.3, 0.45, 0.52)]
    return [*proteins[:80], *relatives], targets


@pytest.fixture
def work(tmp_path, sequences):
    folder = tmp_path / "work"
    folder.mkdir()
    write(folder, *sequences)
    return folder


def write(folder, queries, targets):
    for name, texts in (("queries", queries), ("targets", targets)):
        text = "".join(f">{10 * number + 3}\n{residues}\n" for number, residues in enumerate(texts))
        (folder / f"{name}.fasta").write_text(text)


def found(work, search=None, *, num_threads=2):
    table = work.parent / "table.txt"
    search_sequences(find_mmseqs(), search or Search(), work, table, num_threads=num_threads)
    numbers = [int(line) for line in table.read_text().split()]
    assert numbers == sorted(set(numbers))
    assert all(number % 10 == 3 for number in numbers)
    return [number // 10 for number in numbers]


@pytest.fixture(scope="module")
def by_hand(tmp_path_factory, sequences):
    """Queries of the hits that ``mmseqs easy-search`` has when it aligns all with all, under two kinds of scoring."""
    folder, hits = tmp_path_factory.mktemp("by-hand"), set()
    write(folder, *sequences)
    columns = ["--format-output", "query,fident,qcov,tcov", "--prefilter-mode", "2", "--max-seqs", "10000"]
    for correction in (0, 1):
        command = [find_mmseqs(), "easy-search", "queries.fasta", "targets.fasta", "out.tsv", "tmp", *columns]
        scoring = ["--alignment-mode", "3", "-e", "inf", "--comp-bias-corr", str(correction), "--threads", "2"]
        subprocess.run([*command, *scoring], cwd=folder, check=True, capture_output=True)
        for line in (folder / "out.tsv").read_text().splitlines():
            query, *found = line.split("\t")
            if all(float(value) >= least for value, least in zip(found, (0.5, 0.8, 0.8), strict=True)):
                hits.add(int(query) // 10)
    return sorted(hits)


def test_it_finds_what_is_found_by_hand_with_all_against_all(work, by_hand, sequences):
    assert found(work) == by_hand
    exact = range(80, len(sequences[0]), 4)
    assert set(exact) <= set(by_hand)
    assert 1.5 * len(sequences[1]) < len(by_hand) < 3.5 * len(sequences[1])


def test_kmers_and_pairs_of_short_ones_find_the_same(work, by_hand, sequences, monkeypatch):
    monkeypatch.setattr(mmseqs_search, "FEW_TARGETS", 10)
    queries, targets = sequences
    write(work, queries[::6], targets)
    # The limit is less than mmseqs takes: it is raised.
    search = Search(split_memory_limit=1_000_000)
    assert found(work, search) == [number // 6 for number in by_hand if number % 6 == 0]
    assert (work / "likely.dbtype").exists()


def test_queries_are_found_alone_and_with_others(work, by_hand, sequences):
    queries, targets = sequences
    half = len(queries) // 2
    hits = []
    for start, part in ((0, queries[:half]), (half, queries[half:])):
        shutil.rmtree(work)
        work.mkdir()
        write(work, part, targets)
        hits += [start + number for number in found(work, num_threads=1)]
    assert hits == by_hand


def test_thresholds_are_heeded(work, by_hand):
    strict = found(work, Search(min_seq_id=0.9, coverage=0.9))
    assert 0 < len(strict) < 0.6 * len(by_hand)
    assert set(strict) <= set(by_hand)


@pytest.mark.parametrize("text", ["Q" * 60, "PGPGPGAPGPGPGAPGPGPGA" * 3, "ACDEFGH", "M"])
def test_low_complexity_and_the_shortest_are_similar_to_themselves(tmp_path, text):
    work = tmp_path / "work"
    work.mkdir()
    write(work, ["WWWW", text, "HKHKHKHK"], ["CCCCCCC", text])
    assert found(work) == [1]


_SEARCH = """
import sys
from pathlib import Path
from pipeline.engines.mmseqs import find_mmseqs
from pipeline.engines.mmseqs_search import Search, search_sequences
work = Path(sys.argv[1])
search_sequences(find_mmseqs(), Search(), work, work.parent / "table.txt", num_threads=1)
"""


@pytest.mark.parametrize("finished", ["hits-paired-0.dbtype", "hits-paired-1.dbtype"])
def test_it_goes_on_from_the_last_finished_step_after_a_kill(work, by_hand, finished):
    process = subprocess.Popen([sys.executable, "-c", _SEARCH, str(work)])
    while not (work / finished).exists():
        assert process.poll() is None, "it was done before it could be killed"
        time.sleep(0.001)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    time.sleep(0.1)  # until the watcher has ended mmseqs, too
    (work / "mmseqs.log").unlink()
    assert found(work) == by_hand
    said = (work / "mmseqs.log").read_text()
    assert "createdb " not in said
    left = {"hits-paired-0.dbtype": 1, "hits-paired-1.dbtype": 0}[finished]
    assert len(re.findall(r"^align ", said, re.MULTILINE)) <= left


def test_a_long_gap_does_not_hide_a_hit(tmp_path, proteins):
    work, text = tmp_path / "work", max(proteins[:500], key=len)
    work.mkdir()
    inserted = "".join(random.Random(1).choices(LETTERS, k=450))
    write(work, [proteins[0], text[:800]], [text[:400] + inserted + text[400:800]])
    assert found(work) == [1]


def test_memory_counts_what_is_indexed():
    few = memory_needed_to_search(
        Search(), num_queries=10**6, num_targets=FEW_TARGETS, target_residues=10**6, num_threads=1
    )
    assert few.tables == 0
    many = memory_needed_to_search(Search(), num_queries=10**6, num_targets=10**6, target_residues=10**9, num_threads=4)
    assert many.tables > 8 * 10**9
    assert many.others > 10**9
    search = Search(split_memory_limit=2 * 10**9)
    split = memory_needed_to_search(search, num_queries=10**6, num_targets=10**6, target_residues=10**9, num_threads=4)
    assert split.tables == 2 * 10**9
