"""Arrays of residues against plain loops over strings."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.core import alphabet

RECORDS = st.lists(st.text(alphabet="ACXUO*-.3b?", max_size=8).map(str.encode), max_size=12)


def join(records: list[bytes]) -> tuple[np.ndarray, np.ndarray]:
    residues = np.frombuffer(b"".join(records), dtype=np.uint8)
    return residues, np.cumsum([0, *map(len, records)], dtype=np.int64)


def split(residues: np.ndarray, offsets: np.ndarray) -> list[bytes]:
    assert residues.dtype == np.uint8
    assert offsets.dtype == np.int64
    assert offsets[0] == 0
    assert offsets[-1] == len(residues)
    return [residues[start:end].tobytes() for start, end in itertools.pairwise(offsets)]


def reason_of(character: int) -> str:
    if character in b"-.":
        return "invalid-gap"
    if character in b"*":
        return "invalid-stop"
    return "invalid-digit" if character in b"0123456789" else "invalid-character"


def is_residue(character: int) -> bool:
    return chr(character) in "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


@settings(deadline=None)
@given(RECORDS)
def test_stops_at_the_end_of_records_are_stripped_and_no_others(records):
    residues, offsets = join(records)
    stripped, new_offsets, num_stripped = alphabet.strip_stops(residues, offsets)
    assert split(stripped, new_offsets) == [record.rstrip(b"*") for record in records]
    assert num_stripped == sum(record.endswith(b"*") for record in records)
    assert split(residues, offsets) == records


def test_a_record_of_stops_behind_one_that_ends_in_a_stop_becomes_empty():
    stripped = alphabet.strip_stops(*join([b"M*A**", b"***", b"", b"*C", b"*"]))
    assert split(*stripped[:2]) == [b"M*A", b"", b"", b"*C", b""]
    assert stripped[2] == 3


def test_nothing_is_copied_when_there_is_nothing_to_strip():
    residues, offsets = join([b"M*A", b""])
    assert alphabet.strip_stops(residues, offsets)[0] is residues


@settings(deadline=None)
@given(RECORDS)
def test_the_first_invalid_character_of_each_record_is_found(records):
    expected = []
    for index, record in enumerate(records):
        invalid = [position for position, character in enumerate(record) if not is_residue(character)]
        if invalid:
            character = record[invalid[0]]
            expected.append((index, invalid[0], character, reason_of(character)))
    found = alphabet.find_invalid(*join(records))
    reasons = [alphabet.INVALID_REASONS[code] for code in found.reason]
    columns = found.record.tolist(), found.position.tolist(), found.character.tolist(), reasons
    assert list(zip(*columns, strict=True)) == expected


def test_a_chain_break_is_no_fault_where_it_is_allowed():
    residues, offsets = np.frombuffer(b"MK|VMK-V", dtype=np.uint8), np.array([0, 4, 8])
    assert alphabet.find_invalid(residues, offsets).record.tolist() == [0, 1]
    invalid = alphabet.find_invalid(residues, offsets, allowed=alphabet.CHAIN_BREAK)
    assert (invalid.record.tolist(), invalid.position.tolist()) == ([1], [2])
    assert alphabet.replace_invalid(residues, allowed=alphabet.CHAIN_BREAK)[0].tobytes() == b"MK|VMKXV"
    assert alphabet.replace_invalid(residues)[0].tobytes() == b"MKXVMKXV"


def test_every_character_is_a_residue_or_invalid_for_one_reason():
    found = alphabet.find_invalid(np.arange(256, dtype=np.uint8), np.arange(257, dtype=np.int64))
    reasons = {
        int(character): alphabet.INVALID_REASONS[code]
        for character, code in zip(found.character, found.reason, strict=True)
    }
    assert reasons == {character: reason_of(character) for character in range(256) if not is_residue(character)}
    assert set(reasons.values()) == set(alphabet.INVALID_REASONS)


@settings(deadline=None)
@given(RECORDS)
def test_invalid_characters_become_x_in_a_copy(records):
    residues, _ = join(records)
    replaced, num_replaced = alphabet.replace_invalid(residues)
    expected = bytes(character if is_residue(character) else ord("X") for character in residues)
    assert replaced.tobytes() == expected
    assert num_replaced == sum(not is_residue(character) for character in residues)
    assert residues.tobytes() == b"".join(records)


@settings(deadline=None)
@given(RECORDS, st.data())
def test_selected_records_keep_their_residues_and_order(records, data):
    keep = data.draw(st.lists(st.booleans(), min_size=len(records), max_size=len(records)))
    selected = alphabet.select_records(*join(records), np.array(keep, dtype=bool))
    assert split(*selected) == [record for record, kept in zip(records, keep, strict=True) if kept]


@settings(deadline=None)
@given(RECORDS, RECORDS)
def test_compositions_add_up(first, second):
    counts = alphabet.composition(join(first)[0]) + alphabet.composition(join(second)[0])
    joined = b"".join([*first, *second])
    assert counts.tolist() == [joined.count(character) for character in range(256)]
    assert counts.dtype == np.int64


def test_composition_of_more_than_one_piece():
    residues = np.tile(np.frombuffer(b"ACD", dtype=np.uint8), 1_000_000)
    counts = alphabet.composition(residues)
    assert counts[list(b"ACD")].tolist() == [1_000_000] * 3
    assert counts.sum() == 3_000_000


@pytest.mark.parametrize(
    ("text", "fraction", "nucleotides"),
    [
        (b"ACGTUN" * 100, 1.0, True),
        (b"ACGT-." * 100, 1.0, True),
        (b"ACGT" * 24 + b"MKVL", 0.96, False),
        (b"ACGT" * 240 + b"MKVL" * 10, 0.96, True),
        (b"ACGT" * 95 + b"MKVL" * 5, 0.95, False),
        (b"MKVLW" * 100, 0.0, False),
        (b"---" * 100, 0.0, False),
        (b"", 0.0, False),
    ],
)
def test_almost_only_nucleotides_are_noticed(text, fraction, nucleotides):
    counts = alphabet.composition(np.frombuffer(text, dtype=np.uint8))
    assert alphabet.nucleotide_fraction(counts) == pytest.approx(fraction)
    assert alphabet.looks_like_nucleotides(counts) is nucleotides


def test_the_tables_say_what_the_text_says():
    assert len(set(alphabet.STANDARD_RESIDUES)) == 20
    assert set(alphabet.RESIDUES) - set(alphabet.STANDARD_RESIDUES) == set(b"XBZUOJ")
    assert b"aBz*\xe9\n C".translate(alphabet.NORMALISE, alphabet.WHITE_SPACE) == b"ABZ*\xe9C"
