"""Law 8: what a model says about a packed row is what it says about each segment alone.

The rows are laid here by hand, in the form that shards and the reader have them: esm2's special tokens, sequence_id
0-based and dense with -1 on padding, position_ids from 0 in each segment.
"""

from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="law 8 needs torch: pip install 'protein-pipeline[torch]'")

CLS, PAD, EOS = 0, 1, 2
LENGTH = 96
TOLERANCE = 1e-5


def load_small_transformer():
    # Tests are imported by path (--import-mode=importlib), so that a neighbour is too.
    path = Path(__file__).with_name("small_transformer.py")
    spec = spec_from_file_location("small_transformer", path)
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.SmallTransformer


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(params=["rotary", "learned"])
def model(request):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        small = load_small_transformer()(request.param).eval()
    small.positioned_by = request.param
    return small


def protein(rng, num_residues):
    return np.array([CLS, *rng.integers(4, 24, num_residues), EOS])


def pack_row(segments, alignment=1):
    """input_ids, sequence_id and position_ids of one row, and the place of each segment."""
    input_ids, sequence_id = np.full(LENGTH, PAD), np.full(LENGTH, -1)
    position_ids, places, first = np.zeros(LENGTH, dtype=np.int64), [], 0
    for number, tokens in enumerate(segments):
        here = slice(first, first + len(tokens))
        input_ids[here], sequence_id[here], position_ids[here] = tokens, number, np.arange(len(tokens))
        places.append(here)
        first += -(-len(tokens) // alignment) * alignment
    return (input_ids, sequence_id, position_ids), places


def logits(model, input_ids, sequence_id, position_ids):
    batch = [
        None if array is None else torch.as_tensor(array)[None] for array in (input_ids, sequence_id, position_ids)
    ]
    with torch.inference_mode():
        return model(*batch)[0]


def alone(model, tokens):
    return logits(model, tokens, np.zeros(len(tokens), dtype=np.int64), np.arange(len(tokens)))


def largest_difference(model, segments, row, places):
    packed = logits(model, *row)
    assert packed.isfinite().all()
    pairs = [(packed[place], alone(model, tokens)) for tokens, place in zip(segments, places, strict=True)]
    return max((together - apart).abs().max().item() for together, apart in pairs)


def rows_of_segments():
    rng = np.random.default_rng(0)
    lengths = {
        "short tail": [40, 25, 13],
        "no padding": [60, 32],
        "one": [94],
        "many": [1] * 20 + [9],
        "empty": [30, 0, 5],
    }
    return {name: [protein(rng, length) for length in row] for name, row in lengths.items()}


ROWS = rows_of_segments()
SEVERAL = [name for name, segments in ROWS.items() if len(segments) > 1]


@pytest.mark.parametrize("name", ROWS)
def test_packed_equals_unpacked(model, name):
    row, places = pack_row(ROWS[name])
    assert largest_difference(model, ROWS[name], row, places) < TOLERANCE


@pytest.mark.parametrize("alignment", [2, 8, 16])
def test_packed_equals_unpacked_with_padding_between_segments(model, alignment):
    segments = ROWS["short tail"][1:]
    row, places = pack_row(segments, alignment)
    assert np.any(np.diff(np.flatnonzero(row[0] != PAD)) > 1)
    assert largest_difference(model, segments, row, places) < TOLERANCE


def test_what_lies_in_the_other_segments_does_not_matter(model):
    rng = np.random.default_rng(1)
    segments = ROWS["short tail"]
    others = [segments[0], *(protein(rng, len(tokens) - 2) for tokens in segments[1:])]
    (row, places), (changed, _) = pack_row(segments), pack_row(others)
    first = places[0]
    assert torch.equal(logits(model, *row)[first], logits(model, *changed)[first])


@pytest.mark.parametrize("name", SEVERAL)
def test_without_sequence_id_segments_leak_into_each_other(model, name):
    """The law can fail: this is what a trainer that ignores sequence_id computes."""
    (input_ids, _, position_ids), places = pack_row(ROWS[name])
    assert largest_difference(model, ROWS[name], (input_ids, None, position_ids), places) > 1000 * TOLERANCE


@pytest.mark.parametrize("name", SEVERAL)
def test_a_padding_mask_instead_of_sequence_id_leaks_too(model, name):
    (input_ids, sequence_id, position_ids), places = pack_row(ROWS[name])
    padding_mask = np.where(sequence_id >= 0, 0, -1)
    assert largest_difference(model, ROWS[name], (input_ids, padding_mask, position_ids), places) > 1000 * TOLERANCE


@pytest.mark.parametrize("name", SEVERAL)
def test_positions_must_start_anew_where_they_are_learned(model, name):
    """Rotary attention knows distances only, so positions that run on through the row change nothing but rounding."""
    (input_ids, sequence_id, _), places = pack_row(ROWS[name])
    difference = largest_difference(model, ROWS[name], (input_ids, sequence_id, np.arange(LENGTH)), places)
    if model.positioned_by == "rotary":
        assert difference < TOLERANCE
    else:
        assert difference > 1000 * TOLERANCE
