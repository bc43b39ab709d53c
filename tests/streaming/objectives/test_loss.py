"""Means of losses: what torch says where something is asked, 0 and a gradient of 0 where nothing is."""

import pytest

torch = pytest.importorskip("torch", reason="losses need torch: pip install 'protein-pipeline[torch]'")

from pipeline.streaming.objectives.loss import cross_entropy, masked_mean  # noqa: E402  (torch may be missing)


def batch(seed=0):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(3, 16, 33, generator=generator, requires_grad=True)
    labels = torch.randint(4, 24, (3, 16), generator=generator)
    labels[torch.rand(3, 16, generator=generator) < 0.7] = -100
    return logits, labels


@pytest.mark.parametrize("kind", [torch.int64, torch.int16])
def test_cross_entropy_is_that_of_torch(kind):
    logits, labels = batch()
    expected = torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten())
    assert torch.allclose(cross_entropy(logits, labels.to(kind)), expected)


def test_half_precision_logits_are_summed_in_float32():
    logits, labels = batch()
    assert cross_entropy(logits.to(torch.bfloat16), labels).dtype == torch.float32


def test_nothing_asked_is_0_and_so_is_the_gradient():
    logits, labels = batch()
    nothing = torch.full_like(labels, -100)
    assert torch.nn.functional.cross_entropy(logits.flatten(0, 1), nothing.flatten()).isnan()
    loss = cross_entropy(logits, nothing, torch.zeros(3, 16))
    loss.backward()
    assert loss.item() == 0
    assert torch.equal(logits.grad, torch.zeros_like(logits))


def test_weights_multiply_and_do_not_divide():
    losses, labels = torch.tensor([[1.0, 2.0, 4.0]]), torch.tensor([[5, -100, 6]])
    assert masked_mean(losses, labels) == 2.5
    assert masked_mean(losses, labels, torch.tensor([[0.5, 9.0, 0.25]])) == 0.75


def test_what_stands_where_nothing_is_asked_does_not_matter():
    losses, labels = torch.tensor([[1.0, float("nan"), float("inf")]]), torch.tensor([[5, -100, -100]])
    assert masked_mean(losses, labels) == 1
