"""The card: one licence for the whole in its header, why, and what it asks for; nothing is dropped in silence."""

import pytest

from pipeline.formats.card import dataset_card
from pipeline.formats.manifest import File, Manifest, Source

COUNTS = {"tokens": 90, "rows": 10, "records": 5, "residues_packed": 80, "records_merged": 0, "records_cropped": 0}
CONFIGURATION = {
    "length": 10,
    "tokenizer": {"name": "esm2"},
    "algorithm": "first-fit-decreasing",
    "seed": 0,
    "overlong": "drop",
}


def card(*sources):
    """Header and body of a card of sources (name, licence)."""
    provenance = tuple(Source(name=name, bytes=1, xxh3_128="0", licence=licence) for name, licence in sources)
    file = File(path="data/train-00000-of-00001.parquet", split="train", rows=10, bytes=1, xxh3_64="0", content="0")
    manifest = Manifest(
        kind="shards",
        fingerprint="f00d",
        configuration=CONFIGURATION,
        inputs=(),
        files=(file,),
        counts=COUNTS,
        reasons={},
        provenance=provenance,
        software={},
    )
    _, header, body = dataset_card(manifest).split("---\n", 2)
    return header, body


def licence_section(body):
    return body.partition("## Licence\n")[2].partition("\n## ")[0]


def test_one_licence():
    header, body = card(("a", "CC-BY-4.0"), ("b", "CC-BY-4.0"))
    assert "license: cc-by-4.0\n" in header
    section = licence_section(body)
    assert "This dataset is under **CC-BY-4.0**, as all of its sources are." in section
    assert "- name the sources" in section
    assert "share-alike" not in section.lower()


def test_the_public_domain_asks_for_nothing():
    header, body = card(("a", "CC0-1.0"))
    assert "license: cc0-1.0\n" in header
    assert "asks you" not in licence_section(body)


def test_the_strictest_one_with_the_source_that_forces_it_and_what_share_alike_means():
    header, body = card(("uniref50.fasta.gz", "CC-BY-4.0"), ("bfd.tar.gz", "cc-by-sa-4.0"), ("mgnify", "CC0-1.0"))
    assert "license: cc-by-sa-4.0\n" in header
    assert header.count("cc") == 1
    section = licence_section(body)
    assert "under **CC-BY-SA-4.0**, the strictest licence of its sources, because of bfd.tar.gz." in section
    assert "under this same licence and no other (share-alike)" in section
    assert "can be passed on only under CC-BY-SA-4.0" in section
    for name, licence in (("uniref50.fasta.gz", "CC-BY-4.0"), ("bfd.tar.gz", "cc-by-sa-4.0"), ("mgnify", "CC0-1.0")):
        assert f"| {name} | 1 | not given | {licence} | not given |" in body


def test_share_alike_alone_needs_no_words_about_other_sources():
    _, body = card(("bfd.tar.gz", "CC-BY-SA-4.0"))
    assert "(share-alike)" in licence_section(body)
    assert "freer sources" not in licence_section(body)


@pytest.mark.parametrize("licence", [None, "My own licence"])
def test_what_is_not_known_is_said_beside_what_is(licence):
    header, body = card(("mine.fasta", licence), ("bfd.tar.gz", "CC-BY-SA-4.0"), ("uniref", "CC-BY-4.0"))
    assert "license:\n- unknown\n- cc-by-sa-4.0\ntags:" in header
    section = licence_section(body)
    told = "it says My own licence" if licence else "none is given"
    assert f"**Unknown: ask the publisher** of mine.fasta ({told}) before you pass" in section
    assert "Of what is known, the strictest licence is **CC-BY-SA-4.0**, that of bfd.tar.gz." in section
    assert f"| mine.fasta | 1 | not given | {licence or 'unknown: ask the publisher'} |" in body


def test_a_sentence_names_a_few_of_many_files():
    _, body = card(*((f"p{number}", "CC-BY-SA-4.0") for number in range(200)), ("a", "CC0-1.0"))
    assert "because of p0, p1, p2, p3, p4 and 195 other files." in licence_section(body)


@pytest.mark.parametrize("sources", [(), (("a", None),), (("a", None), ("b", "x"))])
def test_nothing_known_at_all(sources):
    header, body = card(*sources)
    assert "license: unknown\n" in header
    assert "**Unknown: ask the publisher**" in licence_section(body)
    assert "strictest" not in licence_section(body)


def test_licences_that_contradict_each_other():
    header, body = card(("bfd", "CC-BY-SA-4.0"), ("mine", "CC-BY-NC-4.0"))
    assert "license: cc-by-nc-4.0\n" in header
    assert "contradict each other" in licence_section(body)
    assert "contradict" not in card(("bfd", "CC-BY-SA-4.0"), ("mine", "CC-BY-4.0"))[1]


def test_what_comes_from_outside_stays_text():
    hostile = "x | y\n---\nlicense: mit\n# <script>"
    header, body = card((hostile, hostile))
    assert "mit" not in header
    assert "<script" not in body
    assert "\nlicense: mit" not in body
    assert "| x \\| y --- license: mit # &lt;script> |" in body


def test_the_header_is_yaml():
    yaml = pytest.importorskip("yaml", reason="PyYAML is not installed")
    header, _ = card(("a", None), ("b", "CC-BY-4.0"))
    document = yaml.safe_load(header)
    assert document["license"] == ["unknown", "cc-by-4.0"]
    assert document["configs"][0]["data_files"] == [{"split": "train", "path": "data/train-*.parquet"}]
    assert yaml.safe_load(card(("b", "CC-BY-4.0"))[0])["license"] == "cc-by-4.0"
