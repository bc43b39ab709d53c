"""A public corpus from its publisher's server to the card of its shards, by the commands that people type.

Small files of the publishers' own layouts, from a server on this machine.
"""

import gzip
import hashlib
import io
import json
import sys
import tarfile
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from pipeline.cli import main


def load(name):
    """A module of the tests of the engines: tests are no packages."""
    spec = spec_from_file_location(name, Path(__file__).parent / "engines" / f"{name}.py")
    sys.modules[name] = module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


RangeServer = load("range_server").RangeServer

BFD = "bfd_metaclust_clu_complete_id30_c90_final_seq.sorted_opt"
ALIGNMENTS = {
    "1": ">SRR5512133_130811_consensus\nMKVLA\n>SRR5512133_130811 \nMKVLA\n>ERR1711966_109761 \nMkk-VLA\n",
    "2": "#2\n>ss_pred\nCCCC\n>tr|A0A161UNY6|X a protein OX=9\nMKVA\n>SRR1_2 \nM-VA\n",
    "3": ">MK_scaffold84181_2 # 210 # 1007 # -1 # ID=84181_2;partial=00;start_type=ATG\nMKVLAWW\n",
}


def tar(files, mode="w"):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def database(entries):
    """Data and index of an ffindex database, sorted by name."""
    data, index = b"", b""
    for name, text in entries.items():
        entry = text + b"\0"
        index += f"{name}\t{len(data)}\t{len(entry)}\n".encode()
        data += entry
    return data, index


def bfd():
    kinds = {
        "a3m": {name: text.encode() for name, text in ALIGNMENTS.items()},
        "cs219": dict.fromkeys(ALIGNMENTS, b"\x03\xd8binary>"),
        "hhm": dict.fromkeys(ALIGNMENTS, b"HHsearch 1.5\nNAME x\n//\n"),
    }
    files = {}
    for kind, entries in kinds.items():
        for suffix, content in zip(("ffdata", "ffindex"), database(entries), strict=True):
            files[f"{BFD}_{kind}.{suffix}"] = content
    return tar(files, "w:gz")


def uniref(level, clusters):
    entries = "".join(
        f'<entry id="UniRef{level}_{key}" updated="2023-01-18">\n<name>Cluster: Protein &lt;{key}&gt;</name>\n'
        f'<property type="member count" value="2"/>\n<property type="common taxon" value="root"/>\n'
        f'<property type="common taxon ID" value="1"/>\n<representativeMember>\n'
        f'<dbReference type="UniProtKB ID" id="{key}_X">\n</dbReference>\n'
        f'<sequence length="{len(residues)}" checksum="0">{residues}</sequence>\n</representativeMember>\n</entry>\n'
        for key, residues in clusters.items()
    )
    declaration = '<?xml version="1.0" encoding="ISO-8859-1" ?>\n'
    root = f'<UniRef{level} xmlns="http://uniprot.org/uniref" \n releaseDate="2023-02-22" version="2023_01"> \n'
    return tar({
        "README": b"UniRef\n======\n",
        f"uniref{level}.release_note": b"UniProt Release: 2023_01\n",
        f"uniref{level}.xml.gz": gzip.compress(f"{declaration}{root}{entries}</UniRef{level}>\n".encode()),
    })  # fmt: skip


def metalink(version, files):
    entries = "".join(
        f'<file name="{name}"><size>{len(data)}</size><verification><hash type="md5">{hashlib.md5(data).hexdigest()}'
        "</hash></verification></file>"
        for name, data in files.items()
    )
    text = f'<metalink version="3.0" xmlns="http://www.metalinker.org/"><version>{version}</version>'
    return f"{text}<files>{entries}</files></metalink>".encode()


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch):
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def command(capsys):
    def run(*arguments):
        code = main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        assert code == 0, captured.err
        return captured.out, captured.err

    return run


def records(corpus):
    rows = [row for path in sorted(corpus.glob("part-*.parquet")) for row in pq.read_table(path).to_pylist()]
    return {row["accession"]: row["sequence"] for row in rows}


def header(folder):
    """The YAML header of the card, and the text behind it."""
    _, yaml, body = (folder / "README.md").read_text().split("---\n", 2)
    return yaml.splitlines(), body


def shards_of(command, folder, *corpora):
    command("ingest", *corpora, "--out", folder / "corpus", "--executor", "serial")
    command("pack", folder / "corpus", "--out", folder / "plan", "--length", 32, "--executor", "serial")
    command("shard", folder / "plan", "--out", folder / "shards", "--executor", "serial")
    command("verify", folder / "shards", "--executor", "serial")
    return header(folder / "shards")


def test_bfd_with_its_licence_on_the_card(command, tmp_path):
    with RangeServer({f"/{BFD}.tar.gz": bfd()}) as server:
        _, err = command("download", "bfd", "--mirror", server.url, "--out", tmp_path)
    assert f"next: pipeline ingest {tmp_path / 'bfd-id30_c90'}" in err
    yaml, body = shards_of(command, tmp_path, tmp_path / "bfd-id30_c90")
    assert records(tmp_path / "corpus") == {
        "SRR5512133_130811": "MKVLA",
        "ERR1711966_109761": "MKKVLA",
        "A0A161UNY6": "MKVA",
        "SRR1_2": "MVA",
        "MK_scaffold84181_2": "MKVLAWW",
    }
    manifest = json.loads((tmp_path / "corpus" / "manifest.json").read_text())
    assert manifest["counts"]["skipped_consensus"] == manifest["counts"]["skipped_pseudo_record"] == 1
    assert "license: cc-by-sa-4.0" in yaml
    assert "CC-BY-SA-4.0" in body
    assert f"{BFD}.tar.gz" in body
    assert server.url in body


@pytest.fixture
def publisher():
    clusters = {"A0A001": "MKVLAWW", "A0A002": "MKVLA", "A0A003": "MKV"}
    levels = {level: dict(list(clusters.items())[:number]) for level, number in ((100, 3), (90, 2), (50, 1))}
    archive = tar({f"uniref{level}.tar": uniref(level, some) for level, some in levels.items()}, "w:gz")
    sprot = tar({
        "LICENSE": b"CC BY 4.0\n",
        "uniprot_sprot.dat.gz": gzip.compress(b"ID   X_Y  Reviewed;  1 AA.\n"),
        "uniprot_sprot.fasta.gz": gzip.compress(b">sp|P1|A_B one OX=9606\nMKVLA\n>sp|P2|A_C two OX=9606\nMKWW\n"),
        "uniprot_sprot_varsplic.fasta.gz": gzip.compress(b">sp|P1-2|A_B one OX=9606\nMKLA\n"),
        "docs/userman.htm": b"<html>",
    }, "w:gz")  # fmt: skip
    base = "/previous_releases/release-2023_01"
    files = {
        "uniref": {"uniref2023_01.tar.gz": archive},
        "knowledgebase": {"uniprot_sprot-only2023_01.tar.gz": sprot},
    }
    served = {f"{base}/{kind}/{name}": data for kind, some in files.items() for name, data in some.items()}
    served |= {f"{base}/{kind}/RELEASE.metalink": metalink("2023_01", some) for kind, some in files.items()}
    for folder in ("uniref/uniref50", "uniref/uniref90", "uniref/uniref100", "knowledgebase/complete"):
        served[f"/current_release/{folder}/RELEASE.metalink"] = metalink("2025_03", {"README": b""})
    with RangeServer(served) as server:
        yield server


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("uniref50", {"UniRef50_A0A001": "MKVLAWW"}),
        ("uniref90", {"UniRef90_A0A001": "MKVLAWW", "UniRef90_A0A002": "MKVLA"}),
        ("uniref100", {"UniRef100_A0A001": "MKVLAWW", "UniRef100_A0A002": "MKVLA", "UniRef100_A0A003": "MKV"}),
        ("swissprot", {"P1": "MKVLA", "P2": "MKWW"}),
    ],
)
def test_an_older_release_is_one_archive_of_which_the_right_file_is_read(command, publisher, tmp_path, name, expected):
    _, err = command("download", name, "--release", "2023_01", "--mirror", publisher.url, "--out", tmp_path)
    assert "an older release comes as one archive" in err
    yaml, body = shards_of(command, tmp_path, tmp_path / f"{name}-2023_01")
    assert records(tmp_path / "corpus") == expected
    manifest = json.loads((tmp_path / "corpus" / "manifest.json").read_text())
    assert manifest["counts"]["skipped_other_file"] == (4 if name == "swissprot" else 8)
    assert manifest["counts"]["records_read"] == len(expected)
    assert "license: cc-by-4.0" in yaml
    assert "2023_01" in body


def test_the_archive_by_its_own_path_is_the_same_corpus(command, publisher, tmp_path):
    command("download", "uniref50", "--release", "2023_01", "--mirror", publisher.url, "--out", tmp_path)
    folder = tmp_path / "uniref50-2023_01"
    command("ingest", folder, "--out", tmp_path / "a", "--executor", "serial")
    command("ingest", folder / "uniref2023_01.tar.gz", "--out", tmp_path / "b", "--executor", "serial")
    one, two = (json.loads((tmp_path / name / "manifest.json").read_text()) for name in "ab")
    assert one["fingerprint"] == two["fingerprint"]


def test_the_strictest_licence_of_several_corpora_is_on_the_card(command, publisher, tmp_path):
    command("download", "swissprot", "--release", "2023_01", "--mirror", publisher.url, "--out", tmp_path)
    with RangeServer(
        {f"/{BFD}.tar.gz": bfd(), "/2022_05/mgy_clusters.fa.gz": gzip.compress(b">MGYP1 FL=1\nMKK\n")}
    ) as server:
        command("download", "bfd", "--mirror", server.url, "--out", tmp_path)
        command("download", "mgnify", "--mirror", server.url, "--out", tmp_path)
    folders = [tmp_path / name for name in ("swissprot-2023_01", "bfd-id30_c90", "mgnify-2022_05")]
    yaml, body = shards_of(command, tmp_path, *folders)
    assert "license: cc-by-sa-4.0" in yaml
    for licence in ("CC0-1.0", "CC-BY-4.0", "CC-BY-SA-4.0"):
        assert licence in body
