"""How sure a measured accuracy is: 95 % confidence intervals, for a share and for a difference of two.

Notebook 06 introduces them. An accuracy that was counted on a few hundred
pictures would have come out differently on a few hundred others; the interval
says by how much.
"""

import math
from dataclasses import dataclass

import torch

from helpers.plumbing.language import columns, padded

Z = 1.959964
"""Standard deviations that hold 95 % of a normal distribution."""


@dataclass(frozen=True)
class Interval:
    """A measured share, or difference of shares, and the 95 % interval around it.

    Attributes:
        value: what was measured. low, high: the ends of the interval.
        count: on how many pictures.
    """

    value: float
    low: float
    high: float
    count: int

    def __str__(self) -> str:
        return f"{self.value:.1%} ({self.low:.1%} to {self.high:.1%})"

    @property
    def points(self) -> str:
        """A difference in percentage points, with its interval: ``"−3.2 (−5.0 to −1.4)"``."""
        value, low, high = (f"{100 * x:+.1f}".replace("-", "−") for x in (self.value, self.low, self.high))
        return f"{value} ({low} to {high})"


def share(right: torch.Tensor) -> Interval:
    """The share of right answers with Wilson's interval.

    It stays between 0 and 1, and it is honest for few pictures and for shares near 1 (Wilson, 1927,
    "Probable Inference, the Law of Succession, and Statistical Inference").

    Args:
        right: one True or False per picture.

    Raises:
        ValueError: there is no picture, or an answer is neither True nor False.
    """
    right = _answers(right)
    if right.ndim != 1 or not len(right):
        raise ValueError("There is no answer to count. Give True or False for at least one picture.")
    if not ((right == 0) | (right == 1)).all():
        raise ValueError(
            "An answer is right or wrong, True or False, and these are other numbers. Compare them first."
        )
    n = len(right)
    p = right.double().mean().item()
    middle = (p + Z * Z / (2 * n)) / (1 + Z * Z / n)
    half = Z / (1 + Z * Z / n) * math.sqrt(p * (1 - p) / n + Z * Z / (4 * n * n))
    return Interval(p, max(0.0, middle - half), min(1.0, middle + half), n)


def _answers(values) -> torch.Tensor:
    try:
        values = torch.as_tensor(values)
        known = values.isfinite().all().item()
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"Answers are a tensor or a list of True and False, not {values!r:.80}.") from error
    if not known:
        raise ValueError("An answer is right or wrong, True or False, and one of these is NaN or infinite.")
    return values


def needed(share: Interval, points: float = 0.05) -> int:
    """How many pictures it takes until Wilson's interval is no wider than plus and minus ``points``.

    The further pictures are taken to be right as often as the middle of the interval says: a share of a few
    pictures is often 0 or 1 by chance.

    Args:
        share: what was measured so far.
        points: half the width of the interval, above 0.

    Returns:
        The number of pictures in all, at least ``share.count``.

    Raises:
        ValueError: ``points`` is not above 0.
    """
    if not points > 0:
        raise ValueError(f"points={points!r} is half the width of an interval: a number above 0, e.g. 0.05.")
    if share.high - share.low <= 2 * points:
        return share.count
    # points² (n + Z²)² = Z² (p (1 - p) n + Z²/4), solved for n
    p, z = (share.low + share.high) / 2, Z * Z
    spread = p * (1 - p)
    whole = z * (spread + math.sqrt(spread * spread + points**2 * (1 - 4 * spread))) / (2 * points**2)
    return max(share.count, math.ceil(whole - z))


def gain(before: torch.Tensor, after: torch.Tensor) -> Interval:
    """How much larger the share of right answers is ``after`` than ``before``, on the same pictures.

    Only the pictures whose answer changed sides say anything, so this interval is much narrower than
    those of the two shares (the normal approximation for paired shares; Agresti, "Categorical Data
    Analysis", section 11.1). Several answers to one picture are averaged first.

    Args:
        before, after: one True or False per picture, in the same order; or pictures × conditions.

    Raises:
        ValueError: they are not of the same pictures, there are fewer than two, or one is no number.
    """
    before, after = _answers(before), _answers(after)
    if before.shape != after.shape or before.ndim == 0 or len(before) < 2 or not before.numel():
        raise ValueError(
            f"These are {tuple(before.shape)} and {tuple(after.shape)} answers. "
            "Compare the answers to the same pictures, two at least."
        )
    change = (after.double() - before.double()).reshape(len(before), -1).mean(1)
    half = Z * (change.std() / math.sqrt(len(change))).item()
    value = change.mean().item()
    return Interval(value, value - half, value + half, len(change))


def conclusion(before: torch.Tensor, after: torch.Tensor) -> str:
    """Whether a difference on the same pictures is more than chance: "better", "worse" or "nothing can be concluded".

    The sign test counts those that became better and those that became worse: were it chance, each would be a throw
    of a coin. It is exact for the smallest number, where the interval of ``gain`` is too narrow; with fewer than six
    changes it concludes nothing (McNemar, 1947; Agresti, "Categorical Data Analysis", section 11.1).

    Args:
        before, after: one True or False, or one share, per picture or thing, in the same order.

    Raises:
        ValueError: they are not of the same pictures, or one is no number.
    """
    before, after = _answers(before).double(), _answers(after).double()
    if before.shape != after.shape or before.ndim != 1:
        raise ValueError(
            f"These are {tuple(before.shape)} and {tuple(after.shape)} answers. Compare the answers to the same "
            "pictures, one each."
        )
    change = after - before
    better, worse = int((change > 0).sum()), int((change < 0).sum())
    tails = sum(math.comb(better + worse, count) for count in range(max(better, worse), better + worse + 1))
    if 2 * tails >= 0.05 * 2 ** (better + worse):
        return "nothing can be concluded"
    return "better" if better > worse else "worse"


def show(rows: dict) -> None:
    """Print a table of shares with their intervals, and of gains where there are any.

    Args:
        rows: name → an ``Interval``, or a pair of the share and its gain.

    Raises:
        ValueError: it is something else.
    """
    pairs = {}
    for name, row in rows.items() if isinstance(rows, dict) else [("rows", rows)]:
        pairs[str(name)] = pair = row if isinstance(row, tuple) and len(row) == 2 else (row, None)
        if not isinstance(pair[0], Interval) or not isinstance(pair[1], Interval | None):
            raise ValueError(
                f"{name!r} is {row!r:.80}, and no Interval. Give a dict, name → what share() returns, or a pair of that and "
                "what gain() returns."
            )
    wide = max(map(columns, pairs), default=0)
    for name, (right, change) in pairs.items():
        more = f"   {change.points} points" if change else ""
        print(
            f"{padded(name, wide)}  {right.value:6.1%}  ({right.low:.1%} to {right.high:.1%}){more}".rstrip()
        )
