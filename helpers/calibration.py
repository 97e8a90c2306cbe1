"""Calibration: what a probability is worth. Temperature scaling corrects it, a threshold says "not sure".

A network's "80 %" is a number it was trained to give, and nobody promised that
80 % of such answers are right. Both tools below learn from images with known
labels; choose with some of them and judge the result with others. Notebook 05
introduces them.
"""

import numbers
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F


@dataclass(frozen=True)
class Coverage:
    """What happens as a threshold falls: more and more images get an answer, less and less surely.

    Attributes:
        thresholds: each top probability that occurs, falling, float32, 0 to 1. An image gets an answer
            when its top probability is at least the threshold.
        share: the share of images that then get an answer, rising to 1.
        right: the share of those answers that are right.
    """

    thresholds: torch.Tensor = field(repr=False)
    share: torch.Tensor = field(repr=False)
    right: torch.Tensor = field(repr=False)


@dataclass(frozen=True)
class Threshold:
    """A threshold, and what it did on the images that it was chosen with.

    Attributes:
        value: an answer below this probability is "not sure".
        share: the share of images that get an answer.
        right: the share of those answers that are right.
    """

    value: float
    share: float
    right: float


def temperature(probs, labels) -> float:
    """The temperature that makes the probabilities most honest about these labels.

    Logits are divided by it: above 1 it makes the network more modest, below 1 surer. No answer changes,
    as the largest logit stays the largest. The best one is where the cross-entropy is smallest (Guo et
    al., 2017, "On Calibration of Modern Neural Networks", section 4.2).

    Args:
        probs: N×classes, float, 0 to 1, rows sum to 1. From logits: ``logits.softmax(1)``.
        labels: N, int64.

    Returns:
        The temperature, from 0.05 to 20.

    Raises:
        ValueError: probabilities or labels of a wrong shape, type or range.
    """
    logits = _log(_checked(probs, labels))
    low, high = torch.tensor(20.0).log().neg().item(), torch.tensor(20.0).log().item()
    # The cross-entropy has one valley along 1/T. A golden section closes in on it.
    golden = (5**0.5 - 1) / 2
    while high - low > 1e-5:
        left, right = high - golden * (high - low), low + golden * (high - low)
        if _loss(logits, labels, left) < _loss(logits, labels, right):
            high = right
        else:
            low = left
    return torch.tensor((low + high) / 2).exp().item()


def with_temperature(probs, temperature: float) -> torch.Tensor:
    """The probabilities that the network would give if its logits were divided by ``temperature``.

    Args:
        probs: N×classes, float, 0 to 1, rows sum to 1.

    Returns:
        N×classes, float32, rows sum to 1.

    Raises:
        ValueError: the temperature is not above 0, or probabilities of a wrong shape, type or range.
    """
    if not isinstance(temperature, numbers.Real) or not temperature > 0:
        raise ValueError(
            f"temperature={temperature!r}: logits are divided by it, so it must be a number above 0."
        )
    _check_probabilities(probs)
    return (_log(probs) / temperature).softmax(1).float()


def coverage_curve(probs, labels) -> Coverage:
    """How many images get an answer, and how many of the answers are right, for every threshold.

    Args:
        probs: N×classes, float, 0 to 1, rows sum to 1.
        labels: N, int64.

    Raises:
        ValueError: probabilities or labels of a wrong shape, type or range.
    """
    top, answer = _checked(probs, labels).max(1)
    top, order = top.sort(descending=True)
    right = (answer == labels)[order].double().cumsum(0)
    answered = torch.arange(1, len(top) + 1).double()
    # Images with the same top probability get an answer together or not at all.
    last = torch.cat([top[1:] != top[:-1], torch.tensor([True])])
    return Coverage(top[last], (answered / len(top))[last], (right / answered)[last])


def threshold(probs, labels, right: float = 0.9) -> Threshold:
    """The smallest threshold with which at least the share ``right`` of the answers is right.

    Args:
        probs: N×classes, float, 0 to 1, rows sum to 1.
        labels: N, int64.
        right: the share that is asked for, above 0, at most 1.

    Raises:
        ValueError: no threshold reaches that share; or an argument of a wrong shape, type or range.

    Example:
        >>> probs = torch.tensor([[0.9, 0.1], [0.8, 0.2], [0.6, 0.4]])
        >>> threshold(probs, torch.tensor([0, 0, 1]))
        Threshold(value=0.800000011920929, share=0.6666666666666666, right=1.0)
    """
    if not isinstance(right, numbers.Real) or not 0 < right <= 1:
        raise ValueError(f"right={right!r} is a share of the answers: above 0, at most 1, e.g. 0.9.")
    curve = coverage_curve(probs, labels)
    reached = (curve.right >= right).nonzero()
    if not len(reached):
        raise ValueError(
            f"No threshold makes {right:.0%} of the answers right; the best reaches {curve.right.max():.0%}. "
            "Ask for less, or train a better network."
        )
    place = reached[-1, 0]
    return Threshold(curve.thresholds[place].item(), curve.share[place].item(), curve.right[place].item())


def _checked(probs, labels) -> torch.Tensor:
    """The probabilities, once they and the labels are what they should be."""
    _check_probabilities(probs)
    if not _dense(labels) or labels.dtype != torch.int64 or labels.shape != probs.shape[:1]:
        raise ValueError(f"The labels are an int64 tensor, one for each of the {len(probs)} images.")
    if labels.min() < 0 or labels.max() >= probs.shape[1]:
        raise ValueError(f"A label lies outside 0 to {probs.shape[1] - 1}.")
    return probs


def _check_probabilities(probs) -> None:
    if not _dense(probs) or probs.ndim != 2 or not probs.is_floating_point() or not len(probs):
        raise ValueError("The probabilities are a float tensor, images × classes, with at least one image.")
    if not ((probs >= 0).all() and ((probs.sum(1) - 1).abs() < 1e-3).all()):
        raise ValueError(
            "The rows of the probabilities do not sum to 1. If these are logits, take logits.softmax(1)."
        )


def _dense(values) -> bool:
    """Whether this is a tensor with a number in every place."""
    return torch.is_tensor(values) and values.layout == torch.strided and not values.is_meta


def _log(probs) -> torch.Tensor:
    """Logits again, up to a constant in each row, which a softmax does not see."""
    return probs.double().clamp(min=torch.finfo(torch.float32).tiny).log()


def _loss(logits, labels, log_temperature: float) -> float:
    return F.cross_entropy(logits * torch.tensor(-log_temperature).exp(), labels).item()


__all__ = ["Coverage", "Threshold", "coverage_curve", "temperature", "threshold", "with_temperature"]
