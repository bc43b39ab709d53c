"""One licence binds a dataset: the strictest of its parts, and none is known where that of a part is not."""

from itertools import permutations, product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.formats.licences import LICENCES, combine, find_licence
from pipeline.formats.sources import known_sources

IDENTIFIERS = [licence.identifier for licence in LICENCES]
NAMES = st.sampled_from([*IDENTIFIERS, None, "", "MIT", "Custom-1", "CC-BY"])


def test_every_public_corpus_has_a_licence_that_is_known():
    for source in known_sources():
        assert find_licence(source.licence).identifier == source.licence


@pytest.mark.parametrize(
    ("name", "identifier"),
    [
        ("CC-BY-4.0", "CC-BY-4.0"),
        ("cc-by-4.0", "CC-BY-4.0"),
        (" CC BY-SA 4.0\n", "CC-BY-SA-4.0"),
        ("CC0", "CC0-1.0"),
        ("CC0 1.0", "CC0-1.0"),
    ],
)
def test_names_are_found_as_people_write_them(name, identifier):
    assert find_licence(name).identifier == identifier


@pytest.mark.parametrize("name", [None, "", " ", "CC-BY", "CC-BY-5.0", "MIT", "CC-BY-4.0 OR MIT", "unknown"])
def test_names_that_are_not_known(name):
    assert find_licence(name) is None


def test_the_strictest_of_the_corpora_here():
    freest_first = ["CC0-1.0", "CC-BY-4.0", "CC-BY-SA-4.0", "CC-BY-NC-4.0"]
    for number in range(1, 5):
        for names in permutations(freest_first[:number]):
            assert combine(names).strictest.identifier == freest_first[number - 1]
            assert combine(names).identifiers == (freest_first[number - 1].lower(),)


@given(st.lists(NAMES))
def test_an_unknown_part_makes_the_whole_unknown(names):
    terms = combine(names)
    known = [name for name in names if name in IDENTIFIERS]
    assert terms.has_unknown == (len(known) < len(names) or not names)
    assert terms.identifiers[:1] == (("unknown",) if terms.has_unknown else (terms.strictest.identifier.lower(),))
    assert len(terms.identifiers) == terms.has_unknown + bool(known)
    assert (terms.strictest is None) == (not known)


@given(st.lists(NAMES, min_size=1), st.randoms(use_true_random=False))
def test_neither_order_nor_repetition_matters(names, rng):
    other = [*names, rng.choice(names)]
    rng.shuffle(other)
    assert combine(names) == combine(other)


@given(st.lists(st.sampled_from(IDENTIFIERS), min_size=1), st.sampled_from(IDENTIFIERS))
def test_another_part_never_makes_it_freer(names, name):
    before, after = combine(names), combine([*names, name])
    assert LICENCES.index(after.strictest) >= LICENCES.index(before.strictest)
    assert after.is_contradictory >= before.is_contradictory


def test_what_contradicts_what():
    contradicting = {frozenset(pair) for pair in product(IDENTIFIERS, repeat=2) if combine(pair).is_contradictory}
    no_derivatives = {name for name in IDENTIFIERS if "ND" in name}
    expected = {frozenset({one, other}) for one in no_derivatives for other in IDENTIFIERS if one != other}
    same_licence = {"CC-BY-SA-3.0", "CC-BY-SA-4.0"}
    expected |= {frozenset({one, other}) for one in same_licence for other in ("CC-BY-NC-4.0", "CC-BY-NC-SA-4.0")}
    assert contradicting == expected


def test_what_each_asks_for():
    assert find_licence("CC0-1.0").demands == ()
    (name,) = find_licence("CC-BY-4.0").demands
    assert "name the sources" in name
    assert "share-alike" in find_licence("CC-BY-SA-4.0").demands[1]
    assert len(find_licence("CC-BY-NC-ND-4.0").demands) == 3
