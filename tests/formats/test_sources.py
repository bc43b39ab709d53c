"""The table is whole, every URL is formed as its publisher forms it, and a mistake is told with what to do."""

import re

import pytest

from pipeline.errors import ConfigurationError
from pipeline.formats.sources import (
    DOMAINS,
    edition_of,
    find_source,
    known_sources,
    looks_like_address,
    metalink_url,
    remote_files,
    source_url,
)

UNIPROT = "https://ftp.uniprot.org/pub/databases/uniprot"
PROTEOMES = "current_release/knowledgebase/reference_proteomes"
ALPHAFOLD = "https://storage.googleapis.com/alphafold-databases"
SPDX = {"CC-BY-4.0", "CC-BY-SA-4.0", "CC0-1.0"}
NAMES = [source.name for source in known_sources()]


def urls(name, release=None, newest="2025_03", **options):
    source = find_source(name, **options)
    release = release or source.default_release or newest
    edition = edition_of(source, release, newest)
    return [file.url for file in remote_files(source, edition, release)], metalink_url(source, edition, release)


def test_the_corpora_there_are():
    assert NAMES == [
        "uniref50", "uniref90", "uniref100", "swissprot", "trembl", "uniparc",
        "bfd", "bfd-small", "mgnify", "colabfold-env", "proteome",
    ]  # fmt: skip


@pytest.mark.parametrize("source", known_sources(), ids=NAMES)
def test_every_row_is_whole(source):
    assert source.licence in SPDX
    assert source.description
    assert (source.num_bytes is None) == (source.size_status == "unknown")
    assert (source.num_records is None) == (source.records_of is None)
    assert all(re.fullmatch(r"https://[a-z.]+(/[a-z0-9_-]+)*", mirror) for mirror in source.mirrors)
    assert (source.default_release is None) == (source.current.metalink is not None)
    assert source.default_release is None or re.fullmatch(source.release_pattern, source.default_release)
    for edition in filter(None, (source.current, source.previous)):
        assert edition.format
        assert bool(edition.files) != bool(edition.pattern)
        assert not edition.folder.startswith("/")
        assert not edition.folder.endswith("/")


@pytest.mark.parametrize("source", known_sources(), ids=NAMES)
def test_licences_are_those_of_the_publishers(source):
    share_alike = {"bfd", "bfd-small", "colabfold-env"}
    expected = "CC-BY-SA-4.0" if source.name in share_alike else "CC0-1.0" if source.name == "mgnify" else "CC-BY-4.0"
    assert source.licence == expected


@pytest.mark.parametrize(
    ("name", "url"),
    [
        ("uniref50", f"{UNIPROT}/current_release/uniref/uniref50/uniref50.fasta.gz"),
        ("uniref100", f"{UNIPROT}/current_release/uniref/uniref100/uniref100.fasta.gz"),
        ("swissprot", f"{UNIPROT}/current_release/knowledgebase/complete/uniprot_sprot.fasta.gz"),
        ("trembl", f"{UNIPROT}/current_release/knowledgebase/complete/uniprot_trembl.fasta.gz"),
        ("bfd", "https://bfd.mmseqs.com/bfd_metaclust_clu_complete_id30_c90_final_seq.sorted_opt.tar.gz"),
        (
            "bfd-small",
            "https://storage.googleapis.com/alphafold-databases/reduced_dbs/bfd-first_non_consensus_sequences.fasta.gz",
        ),
        (
            "mgnify",
            "https://ftp.ebi.ac.uk/pub/databases/metagenomics/peptide_database/2022_05/mgy_clusters.fa.gz",
        ),
        ("colabfold-env", "https://opendata.mmseqs.org/colabfold/colabfold_envdb_202108.tar.gz"),
        (
            "proteome:UP000000625",
            f"{UNIPROT}/{PROTEOMES}/Bacteria/UP000000625/UP000000625_83333.fasta.gz",
        ),
    ],
)
def test_where_the_newest_release_is(name, url):
    found, metalink = urls(name)
    assert found == [url]
    folder = url.rpartition("/")[0]
    assert metalink == (f"{folder}/RELEASE.metalink" if url.startswith(UNIPROT) else None)


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("uniref50", "uniref/uniref2021_02.tar.gz"),
        ("uniref90", "uniref/uniref2021_02.tar.gz"),
        ("swissprot", "knowledgebase/uniprot_sprot-only2021_02.tar.gz"),
        ("trembl", "knowledgebase/knowledgebase2021_02.tar.gz"),
    ],
)
def test_where_an_older_release_is(name, file):
    base = f"{UNIPROT}/previous_releases/release-2021_02"
    found, metalink = urls(name, "2021_02")
    assert found == [f"{base}/{file}"]
    assert metalink == f"{base}/{file.partition('/')[0]}/RELEASE.metalink"


@pytest.mark.parametrize(
    ("name", "members"),
    [
        ("uniref50", ("uniref50.xml.gz", "uniref50.fasta.gz")),
        ("uniref100", ("uniref100.xml.gz", "uniref100.fasta.gz")),
        ("swissprot", ("uniprot_sprot.fasta.gz",)),
        ("trembl", ("uniprot_trembl.fasta.gz",)),
    ],
)
def test_which_files_of_an_older_release_are_a_source_s(name, members):
    source = find_source(name)
    assert source.previous.members == members
    assert source.current.members == ()
    assert "{" not in source.previous.note
    assert (name in source.previous.note) == (name != "swissprot")


def test_uniparc_is_as_many_files_as_are_listed():
    source = find_source("uniparc")
    listed = ["README", *(f"uniparc_active_p{number}.fasta.gz" for number in range(1, 201)), "uniparc_active.xml.gz"]
    files = remote_files(source, source.current, "2025_03", listed=listed)
    assert len(files) == 200
    assert files[199].url == f"{UNIPROT}/current_release/uniparc/fasta/active/uniparc_active_p200.fasta.gz"
    assert remote_files(source, source.current, "2025_03") == ()


def test_another_mirror_has_the_same_folders():
    source = find_source("mgnify")
    (file,) = remote_files(source, source.current, "2019_05", mirror="http://127.0.0.1:8/pub/")
    assert file.url == "http://127.0.0.1:8/pub/2019_05/mgy_clusters.fa.gz"


def test_a_proteome_that_is_not_known_needs_its_place():
    with pytest.raises(ConfigurationError, match="depends on its taxon and domain") as caught:
        find_source("proteome:UP000008183")
    assert "--taxon" in caught.value.hint
    (url,), _ = urls("proteome:up000008183", taxon=243274, domain="bacteria")
    assert url.endswith("/Bacteria/UP000008183/UP000008183_243274.fasta.gz")


@pytest.mark.parametrize(
    ("name", "options", "sentence"),
    [
        ("uniref5", {}, r"did you mean uniref50\?"),
        ("nr", {}, "known are uniref50"),
        ("proteome", {}, "expected which one"),
        ("proteome:../../etc", {}, "expected UP and nine digits"),
        ("proteome:UP1", {}, "expected UP and nine digits"),
        ("proteome:UP000008183", {"taxon": 1, "domain": "Moon"}, ", ".join(DOMAINS)),
    ],
)
def test_names_that_are_not_known(name, options, sentence):
    with pytest.raises(ConfigurationError) as caught:
        find_source(name, **options)
    assert re.search(sentence, str(caught.value))


@pytest.mark.parametrize(
    ("name", "release", "sentence"),
    [
        ("uniref50", "../../x", "expected one like 2025_03"),
        ("uniref50", "2025-03", "expected one like 2025_03"),
        ("mgnify", "latest", "expected one like 2022_05"),
        ("bfd", "2019_01", "expected one like id30_c90"),
        ("uniparc", "2021_02", "the publisher keeps no older ones"),
        ("proteome:UP000000625", "2021_02", "the newest is 2025_03"),
    ],
)
def test_releases_that_cannot_be(name, release, sentence):
    with pytest.raises(ConfigurationError, match=sentence):
        urls(name, release)


def test_addresses_are_told_from_names(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert looks_like_address("https://host/x")
    assert looks_like_address("./uniref50")
    assert not looks_like_address("uniref50")
    assert not looks_like_address("proteome:UP000000625")
    assert not looks_like_address("mine.fasta")
    for name in ("mine.fasta", "uniref50"):
        (tmp_path / name).write_text("")
    assert looks_like_address("mine.fasta")
    assert not looks_like_address("uniref50")


def test_what_a_list_shows():
    assert source_url(find_source("uniref50")).endswith("/uniref50.fasta.gz")
    assert source_url(find_source("uniparc")) == f"{UNIPROT}/current_release/uniparc/fasta/active/"


def test_no_place_is_left_open():
    for source in known_sources():
        for edition in filter(None, (source.current, source.previous)):
            for file in remote_files(source, edition, "2025_03"):
                assert source.name == "proteome" or "{" not in file.url
    assert "{" not in urls("proteome:UP000000625")[0][0]
