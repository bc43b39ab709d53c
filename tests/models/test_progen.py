"""ProGen2 and ProGen3: ids, both directions, the next token within a protein, and a falling loss."""

import numpy as np
import pytest

#           1  M   K   R   I   S   T   T   I   T   T   T   I   T   I   T   T   G   N   G  A  G  2
PROGEN2 = [3, 16, 14, 21, 13, 22, 23, 23, 13, 23, 23, 23, 13, 23, 13, 23, 23, 11, 17, 11, 5, 11, 4]
#         bos 1 M   K   R   I   S   T   T   I   T   T   T   I   T   I   T   T   G   N   G  A  G  2 eos
PROGEN3 = [1, 6, 20, 18, 25, 16, 26, 27, 27, 16, 27, 27, 27, 16, 27, 16, 27, 27, 14, 21, 14, 8, 14, 7, 2]


@pytest.mark.parametrize(
    ("name", "ids", "size", "length"), [("progen2", PROGEN2, 30, 1024), ("progen3", PROGEN3, 134, 2048)]
)
def test_ids_and_lengths(made, name, ids, size, length):
    assert made(name).ids() == ids
    assert made(name).tokenizer.vocabulary_size == size
    assert list(made(name).outcome.phases) == [length]
    assert made(name).outcome.manifest.counts["records_cropped"] == 0  # 1 and 2 are where proteins begin and end


@pytest.mark.parametrize(("name", "outer"), [("progen2", 0), ("progen3", 1)])
def test_half_of_the_proteins_are_turned_round_with_their_termini(made, segments, name, outer):
    options = {"batch_size": 32, "shuffle": False, "sequence_ids": "zero-based"}
    one, two = (made(name).tokenizer.tokens.index(token) for token in "12")
    turned = total = 0
    for plain, batch in zip(made(name).dataset(**options, objective=None), made(name).dataset(**options), strict=True):
        for row, begin, end in segments({"sequence_id": plain["sequence_id"]}):
            tokens, found = (one_of["input_ids"][row, begin:end].tolist() for one_of in (plain, batch))
            inner = slice(outer, len(tokens) - outer)
            is_turned = found[outer] == two
            assert found[inner] == (tokens[inner][::-1] if is_turned else tokens[inner])
            assert {found[outer], found[-1 - outer]} == {one, two}
            assert batch["labels"][row, begin:end].tolist() == [*found[1:], -100]
            turned, total = turned + is_turned, total + 1
    assert total > 1_200
    assert turned / total == pytest.approx(0.5, abs=0.05)


def test_sequence_ids_of_progen3_count_from_1_and_are_0_on_padding(made):
    batch = next(iter(made("progen3").dataset(batch_size=8)))
    assert np.array_equal(batch["sequence_id"] == 0, batch["input_ids"] == 0)
    assert int(batch["sequence_id"][:, 0].min()) == 1


@pytest.mark.parametrize(("name", "size"), [("progen2", 30), ("progen3", 134)])
def test_the_loss_falls(made, small, name, size):
    losses = small.train(lambda: small.Transformer(size, is_causal=True), made(name).dataset())
    assert small.falls(losses, by=0.3), losses
