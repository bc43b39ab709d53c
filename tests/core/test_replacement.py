"""Replacement rules against plain dictionaries."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.replacement import IDENTITY, replace_residues, replacement_table
from pipeline.errors import ConfigurationError


def test_the_rule_of_prottrans():
    table = replacement_table("UZOB=X")
    assert len(table) == 256
    assert b"MUZOBKXJ".translate(table) == b"MXXXXKXJ"
    assert {character for character in range(256) if table[character] != character} == set(b"UZOB")


def test_several_rules_apply_at_once_in_any_order_and_case():
    assert replacement_table("uzob=x", "J=l") == replacement_table("J=L", "BOZU=X")
    assert replacement_table("U=C", "U=C") == replacement_table("U=C")
    assert replacement_table() == IDENTITY


@given(st.binary(max_size=40), st.dictionaries(st.sampled_from("ABCDE"), st.sampled_from("VWXYZ"), max_size=5))
def test_residues_are_replaced_and_counted(text, rules):
    residues = np.frombuffer(text, dtype=np.uint8)
    table = replacement_table(*(f"{letter}={replacement}" for letter, replacement in rules.items()))
    replaced, number = replace_residues(residues, table)
    expected = bytes(ord(rules.get(chr(character), chr(character))) for character in text)
    assert replaced.tobytes() == expected
    assert replaced.dtype == np.uint8
    assert number == sum(chr(character) in rules for character in text)
    assert (replaced is residues) == (number == 0)
    assert residues.tobytes() == text


@pytest.mark.parametrize(
    ("rules", "found"),
    [
        (("UZOB",), "expected letters, '=' and one letter"),
        (("",), "expected letters, '=' and one letter"),
        (("=X",), "expected letters, '=' and one letter"),
        (("U=",), "expected letters, '=' and one letter"),
        (("U=XX",), "expected letters, '=' and one letter"),
        (("U=X=Y",), "expected letters, '=' and one letter"),
        (("U*=X",), r"expected letters A to Z, found '\*'"),
        (("U=-",), "expected letters A to Z, found '-'"),
        (("Ü=X",), "expected letters A to Z, found 'Ü'"),
        (("UX=X",), "X would be replaced by itself"),
        (("U=X", "U=C"), "expected one replacement of U, found X and C"),
        (("U=X", "X=A"), "X is both replaced and a replacement"),
    ],
)
def test_nonsense_is_refused_in_a_sentence(rules, found):
    with pytest.raises(ConfigurationError, match=found) as caught:
        replacement_table(*rules)
    assert "replace " in caught.value.message
