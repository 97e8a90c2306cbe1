"""A temperature that corrects probabilities, and the threshold for "not sure"."""

import doctest

import pytest
import torch

from helpers import calibration
from helpers.calibration import coverage_curve, temperature, threshold, with_temperature


def sample(count=20000, seed=0):
    """Probabilities that are honest, and labels drawn from them."""
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(count, 10, generator=generator)
    probs = logits.softmax(1)
    return logits, probs, torch.multinomial(probs, 1, generator=generator)[:, 0]


@pytest.mark.parametrize("wrong", [0.5, 1.0, 3.0])
def test_the_temperature_undoes_what_spoilt_honest_probabilities(wrong):
    logits, _, labels = sample()
    spoilt = (logits * wrong).softmax(1)
    assert temperature(spoilt, labels) == pytest.approx(wrong, rel=0.03)


def test_a_temperature_divides_the_logits():
    logits, probs, _ = sample(100)
    assert torch.allclose(with_temperature(probs, 1.7), (logits / 1.7).softmax(1), atol=1e-6)
    assert torch.equal(with_temperature(probs, 1.7).argmax(1), probs.argmax(1))


def test_a_probability_of_zero_is_no_end_of_the_world():
    probs = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
    found = temperature(probs, torch.tensor([0, 1, 1]))
    assert 1 < found <= 20
    assert with_temperature(probs, found).isfinite().all()


def test_the_curve_counted_by_hand():
    probs = torch.tensor([[0.9, 0.1], [0.8, 0.2], [0.2, 0.8], [0.6, 0.4]])
    curve = coverage_curve(probs, torch.tensor([0, 0, 0, 0]))
    # The two images at 0.8, one right and one wrong, come in together.
    assert torch.allclose(curve.thresholds, torch.tensor([0.9, 0.8, 0.6]))
    assert torch.allclose(curve.share, torch.tensor([0.25, 0.75, 1.0]).double())
    assert torch.allclose(curve.right, torch.tensor([1.0, 2 / 3, 0.75]).double())


@pytest.mark.parametrize("right", [0.5, 0.75, 0.9, 0.99])
def test_the_threshold_does_what_it_says_and_no_lower_one_does(right):
    _, probs, labels = sample(2000)
    chosen = threshold(probs, labels, right)
    top, answer = probs.max(1)
    correct = answer == labels

    def share_right(value):
        return correct[top >= value].double().mean().item()

    assert share_right(chosen.value) >= right
    assert chosen.right == pytest.approx(share_right(chosen.value))
    assert chosen.share == pytest.approx((top >= chosen.value).double().mean().item())
    assert all(share_right(value) < right for value in top[top < chosen.value])


def test_everything_is_answered_where_everything_is_right():
    probs = torch.tensor([[0.9, 0.1], [0.4, 0.6]])
    assert threshold(probs, torch.tensor([0, 1]), right=1.0).share == 1


GOOD, LABELS = torch.tensor([[0.9, 0.1], [0.4, 0.6]]), torch.tensor([0, 1])


@pytest.mark.parametrize(
    "probs, labels, says",
    [
        (GOOD[0], LABELS, "images × classes"),
        (GOOD[:0], LABELS[:0], "at least one image"),
        ((GOOD * 100).long(), LABELS, "float tensor"),
        (GOOD, LABELS[:1], "one for each of the 2 images"),
        (GOOD, LABELS.float(), "int64"),
        (GOOD.log(), LABELS, "If these are logits"),
        (GOOD * float("nan"), LABELS, "do not sum to 1"),
        (GOOD, LABELS + 1, "outside 0 to 1"),
        (GOOD.to("meta"), LABELS, "float tensor"),
        (GOOD.to_sparse(), LABELS, "float tensor"),
        (GOOD, LABELS.to("meta"), "int64"),
    ],
)
@pytest.mark.parametrize("tool", [temperature, coverage_curve, threshold])
def test_wrong_arguments_are_named(tool, probs, labels, says):
    with pytest.raises(ValueError, match=says):
        tool(probs, labels)


def test_a_share_that_cannot_be_reached_is_an_error():
    with pytest.raises(ValueError, match="No threshold makes 90% of the answers right; the best reaches 50%"):
        threshold(GOOD, torch.tensor([1, 1]))
    with pytest.raises(ValueError, match="share of the answers"):
        threshold(GOOD, LABELS, right=90)
    with pytest.raises(ValueError, match="share of the answers"):
        threshold(GOOD, LABELS, right="0.9")
    for heat in (0, float("nan"), "2", None):
        with pytest.raises(ValueError, match="above 0"):
            with_temperature(GOOD, heat)
    for probs in (GOOD[0], GOOD.log(), GOOD * float("nan"), None):
        with pytest.raises(ValueError, match="probabilities"):
            with_temperature(probs, 2.0)


def test_its_examples_are_true():
    assert doctest.testmod(calibration).failed == 0
