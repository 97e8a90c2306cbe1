"""How far may two computations of one network be apart, and where are they most? What every proof here asks.

Shapes, kinds of numbers and values are compared: in a conversion by both roads, and in a compression.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

LIMITS = {"float32": 1e-4, "float16": 0.02}
"""The largest difference that passes, of probabilities, or of other values per size of the largest one.

float32: two right programs add up in another order, which moves the 6th or 7th digit, and a deep network
carries that on. float16: every result keeps 11 bits, 3 digits, and errors of 0.0005 add up from layer to layer.
A network whose probabilities move more than that loses labels in float16, and its owner should know.
"""


@dataclass
class Difference:
    """The place where two arrays differ most.

    Attributes:
        size: |expected - found| there; infinite where one is no number and the other is.
        limit: what is allowed.
        where: the index in the flat array.
        expected, found: the two values.
        reason: what else is wrong: the shape, or the kind of numbers; else empty.
    """

    size: float
    limit: float
    where: int
    expected: float
    found: float
    reason: str = ""

    @property
    def too_large(self) -> bool:
        return self.size > self.limit

    def __str__(self):
        return self.reason or f"{self.expected:.6g} expected, {self.found:.6g} found"


def largest_difference(
    expected: ArrayLike,
    found: ArrayLike,
    limit: float,
    probabilities: bool = False,
    among: Sequence[ArrayLike] | None = None,
) -> Difference:
    """Where two arrays differ most.

    Args:
        expected, found: two arrays; a single number of ONNX or PyTorch is an array of one in Core ML.
        limit: the largest difference that passes, before it is fitted to the values (see ``allowed``).
        probabilities: whether the values are probabilities.
        among: what is expected of this output for all examples, when there are several.
    """
    wanted, shape = np.shape(expected), np.shape(found)
    if shape not in (wanted, wanted or (1,)):
        texts = ["×".join(map(str, sizes)) or "that of one number" for sizes in (shape, wanted)]
        return _of_kind(limit, f"its shape is {texts[0]} instead of {texts[1]}")
    if np.asarray(expected).dtype.kind == "f" and np.asarray(found).dtype.kind in "iu":
        return _of_kind(limit, "its numbers are whole ones instead of floats")
    limits = np.broadcast_to(allowed(expected, limit, probabilities, among), wanted).ravel()
    expected, found = (np.asarray(values, np.float64).ravel() for values in (expected, found))
    if not expected.size:
        return Difference(0.0, limit, 0, 0.0, 0.0)
    same = (expected == found) | (np.isnan(expected) & np.isnan(found))
    with np.errstate(invalid="ignore"):
        distance = np.where(same, 0.0, np.abs(expected - found))
    distance[np.isnan(distance)] = math.inf
    where = int((distance - limits).argmax())
    off, most, one, other = (float(values[where]) for values in (distance, limits, expected, found))
    return Difference(off, most, where, one, other)


def _of_kind(limit: float, reason: str) -> Difference:
    """Two arrays whose values cannot be compared."""
    return Difference(math.inf, limit, 0, math.nan, math.nan, reason)


def allowed(
    expected: ArrayLike,
    limit: float,
    probabilities: bool = False,
    among: Sequence[ArrayLike] | None = None,
) -> float | np.ndarray:
    """How far each value of an output may be off: one number, or an array of the output's shape.

    Args:
        expected: what is expected of it for one example.
        limit: of ``LIMITS``. For values that are not probabilities it grows with the largest one.
        among: what is expected of it for all examples. A channel of smaller values has a limit of its own
            then: a detector's boxes do not excuse its scores. In float32 the limit is also at most a hundredth
            of how far they are apart: where a network says nearly the same of all pictures, a wrong one
            does, too, and the last digits decide.
    """
    if np.asarray(expected).dtype == np.float16:
        limit = max(limit, 1e-3)  # its own last bit; a neural network keeps more of them
    top = limit if probabilities else limit * np.maximum(1.0, _around(expected, among))
    if limit > LIMITS["float32"] or among is None or len(among) < 2:
        return top
    return np.minimum(top, max(spread(among) / 100, max(map(_largest, among)) * 1e-6, 1e-7))


FEW = 32
"""Fewer numbers than this are no channel: their size does not say what they were computed from."""


def _around(expected, among):
    """The largest value of an output, or of the smallest row, column or channel that each value lies in."""
    shape = np.shape(expected)
    around = np.full(shape, _largest(expected))
    if among is None or not around.size:
        return around
    values = np.abs(np.stack([np.asarray(answer, np.float64) for answer in among]))
    values[~np.isfinite(values)] = 0
    for axis, size in enumerate(shape, 1):
        if around.size >= FEW * size:
            others = tuple(other for other in range(values.ndim) if other != axis)
            around = np.minimum(around, values.max(axis=others, keepdims=True)[0])
    return around


def spread(answers: Sequence[ArrayLike]) -> float:
    """How far an output's values move from example to example; infinite where they become no number."""
    values = np.stack([np.asarray(answer, np.float64).ravel() for answer in answers])
    if not values.size:
        return 0.0
    if (np.isfinite(values) != np.isfinite(values[0])).any():
        return math.inf
    values = values[:, np.isfinite(values[0])]
    return float((values.max(0) - values.min(0)).max(initial=0.0))


def says_nothing(answers: Sequence[ArrayLike]) -> str:
    """Why an output proves nothing, empty if it proves something.

    Args:
        answers: what is expected of it for each example.
    """
    floats = [np.asarray(answer) for answer in answers if np.asarray(answer).dtype.kind == "f"]
    if floats and all(answer.size and np.isnan(answer).all() for answer in floats):
        return "NaN for every example"
    if len(answers) > 1 and spread(answers) <= max(1e-7, 1e-6 * max(map(_largest, answers))):
        return "the same for every example"
    return ""


def _largest(answer) -> float:
    values = np.abs(np.asarray(answer, np.float64).ravel())
    return float(values[np.isfinite(values)].max(initial=0.0))
