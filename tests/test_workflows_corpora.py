"""The recipes for public corpora: what their heads say to type is right, and they run, on a sample instead."""

import gzip
import re
import shutil
from itertools import pairwise

import pyarrow.parquet as pq
import pytest

from pipeline.cli import main
from pipeline.formats.manifest import read_manifest
from pipeline.formats.sources import known_sources

NAMES = ("bfd-uniref50", "esm3-mix", "swissprot", "uniref50", "uniref90-in-50")
NUM_RECORDS = 400


@pytest.fixture(scope="module")
def corpora(root):
    return root / "workflows" / "corpora"


def head_of(path):
    lines = [line for line in path.read_text().splitlines() if line.startswith("#     ")]
    return [
        command.strip() for command in "\n".join(line[1:].strip() for line in lines).replace("\\\n", "").split("\n")
    ]


def test_every_recipe_is_tried(corpora):
    assert sorted(path.stem for path in corpora.glob("*.toml")) == sorted(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_what_the_head_says_to_type(corpora, name):
    *downloads, run = head_of(corpora / f"{name}.toml")
    made = {}
    for command in downloads:
        what, options = re.fullmatch(r"pipeline download (\S+)(.*) --out downloads/", command).groups()
        named = re.search(r"--name (\S+)", options)
        source = next((source for source in known_sources() if source.name == what), None)
        assert (source is None) == (named is not None), command
        made[named[1] if named else what] = source
    recipe, inputs = re.fullmatch(r"pipeline run workflows/corpora/(\S+)\.toml((?: +--input \S+)+)", run).groups()
    assert recipe == name
    folders = [given.partition("=")[2] or given for given in re.findall(r"--input (\S+)", inputs)]
    existing = re.findall(r'"\.\./\.\./(downloads/[^/]+)/', (corpora / f"{name}.toml").read_text())
    for folder in folders:
        source = next(made[key] for key in sorted(made, reverse=True) if folder.startswith(f"downloads/{key}-"))
        release = folder.removeprefix(f"downloads/{source.name}-")
        assert release == (source.default_release or "RELEASE")
    assert len(folders) + len(existing) == len(made)


@pytest.fixture(scope="module")
def records(ecoli):
    """Some proteins of the sample: accession and residues."""
    texts = gzip.decompress(ecoli.read_bytes()).decode().split("\n>")[1 : NUM_RECORDS + 1]
    return {text.split("|")[1]: text.partition("\n")[2].replace("\n", "") for text in texts}


def write_fasta(path, name, records):
    """A FASTA file, names made by a pattern from accessions."""
    path.write_text("".join(f">{name.format(accession)}\n{residues}\n" for accession, residues in records))
    return path


def run(corpora, name, tmp_path, *inputs):
    """Run a recipe as it is, from a place where the folder of downloads is the test's own."""
    recipe = tmp_path / "workflows" / "corpora" / f"{name}.toml"
    recipe.parent.mkdir(parents=True)
    shutil.copy(corpora / recipe.name, recipe)
    given = [part for each in inputs for part in ("--input", str(each))]
    command = ["run", str(recipe), "--out", str(tmp_path / "out"), "--executor", "serial", "--quiet", *given]
    assert main(command) == 0
    return tmp_path / "out"


def column(folder, pattern, name):
    return [value for path in sorted(folder.glob(pattern)) for value in pq.read_table(path).column(name).to_pylist()]


@pytest.mark.parametrize(("name", "accession"), [("uniref50", "UniRef50_{}"), ("swissprot", "sp|{}|SOME_ECOLI")])
def test_one_database(corpora, records, tmp_path, name, accession):
    out = run(corpora, name, tmp_path, write_fasta(tmp_path / "some.fasta", accession, records.items()))
    assert set(column(out / "corpus", "part-*.parquet", "source")) == {name}
    assert read_manifest(out / "shards").counts["rows"] > 0
    assert (out / "clusters").exists() == (name == "swissprot")


def test_two_databases_become_one_corpus(corpora, records, tmp_path):
    proteins = list(records.items())
    uniref = write_fasta(tmp_path / "uniref.fasta", "UniRef50_{}", proteins[:200])
    bfd = write_fasta(tmp_path / "bfd.fasta", "SRR{}_1 ", proteins[100:300])
    corpus = run(corpora, "bfd-uniref50", tmp_path, uniref, f"bfd={bfd}") / "corpus"
    sources = column(corpus, "part-*.parquet", "source")
    assert set(sources) == {"uniref50", "bfd"}
    assert sources.count("uniref50") == len({residues for _, residues in proteins[:200]}), (
        "what both have is UniRef50's"
    )
    assert len(sources) == len({residues for _, residues in proteins[:300]})


def test_clusters_over_two_databases(corpora, records, tmp_path):
    proteins = list(records.items())
    uniref = write_fasta(tmp_path / "uniref.fasta", "UniRef90_{}", proteins[:200])
    # Some again, but for a few residues: each of them falls into the cluster of its original.
    again = [(f"{number:012d}", residues[8:]) for number, (_, residues) in enumerate(proteins[100:200])]
    mgnify = write_fasta(tmp_path / "mgnify.fasta", "MGYP{} FL=1", again)
    out = run(corpora, "esm3-mix", tmp_path, uniref, mgnify)
    assert set(column(out / "corpus", "part-*.parquet", "source")) == {"uniref90", "mgnify"}
    num_clusters = len(set(column(out / "clusters", "part-*.parquet", "representative")))
    assert num_clusters <= 210
    drawn = sum(map(len, column(out / "shards", "data/*.parquet", "accessions")))
    assert 100 < drawn <= num_clusters


def test_an_epoch_draws_a_member_of_each_published_cluster(corpora, records, tmp_path):
    accessions = list(records)
    fasta = write_fasta(tmp_path / "some.fasta", "UniRef90_{}", records.items())
    table = tmp_path / "downloads" / "uniref50-xml" / "uniref50.xml.gz"
    table.parent.mkdir(parents=True)
    # Four members in each; a table stands in for the XML.
    rows = [f"UniRef90_{accessions[at - at % 4]}\tUniRef90_{name}\n" for at, name in enumerate(accessions)]
    table.write_bytes(gzip.compress("".join(rows).encode()))
    out = run(corpora, "uniref90-in-50", tmp_path, fasta)
    cluster_of = dict(zip(accessions, [at // 4 for at in range(NUM_RECORDS)], strict=True))
    epochs = []
    for epoch in (0, 1):
        rows = column(out / f"shards-{epoch}", "data/train-*.parquet", "accessions")
        drawn = sorted(cluster_of[name.removeprefix("UniRef90_")] for row in rows for name in row)
        assert all(one < other for one, other in pairwise(drawn)), "one of each"
        assert len(drawn) >= NUM_RECORDS // 4 - 5
        epochs.append({name for row in rows for name in row})
    assert epochs[0] != epochs[1]
