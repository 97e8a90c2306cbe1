"""How sure a measured share is: Wilson's interval, and a difference counted picture by picture."""

import pytest
import torch

from helpers import intervals


def answers(right, wrong):
    return torch.tensor([True] * right + [False] * wrong)


def test_wilsons_interval():
    """The formula worked out by hand for 8 of 10, 0 of 5 and 10 of 10."""
    measured = intervals.share(answers(8, 2))
    assert (measured.value, measured.count) == (0.8, 10)
    assert measured.low == pytest.approx(0.4902, abs=1e-4) and measured.high == pytest.approx(
        0.9433, abs=1e-4
    )
    assert str(measured) == "80.0% (49.0% to 94.3%)"
    assert round(intervals.share(answers(0, 5)).high, 4) == 0.4345
    assert intervals.share(answers(10, 0)).high == pytest.approx(1.0)
    with pytest.raises(ValueError, match="at least one picture"):
        intervals.share(answers(0, 0))
    for wrong in (torch.tensor([2, 3]), torch.tensor([float("nan")]), torch.ones(2, 2), torch.tensor(True)):
        with pytest.raises(ValueError, match="True"):
            intervals.share(wrong)
    assert intervals.share([True, False]) == intervals.share(answers(1, 1))
    for wrong in (None, "ab", [[1], [1, 2]]):
        with pytest.raises(ValueError, match="a tensor or a list of True and False, not "):
            intervals.share(wrong)
    intervals.show({})


def test_wilsons_interval_holds_the_truth_95_times_in_100():
    generator = torch.Generator().manual_seed(0)
    held = 0
    for _ in range(1000):
        s = intervals.share(torch.rand(50, generator=generator) < 0.9)
        held += s.low <= 0.9 <= s.high
    assert 930 <= held <= 985


def test_a_gain_is_counted_picture_by_picture():
    before, after = answers(50, 50), answers(60, 40)
    change = intervals.gain(before, after)
    assert change.value == pytest.approx(0.1) and change.low > 0.03
    assert change.points.startswith("+10.0 (+4.")
    assert intervals.gain(after, before).points.startswith("−10.0")
    unpaired = intervals.gain(before, after[torch.randperm(100, generator=torch.Generator().manual_seed(0))])
    assert unpaired.low < 0, "the same shares of other pictures say much less"
    both = intervals.gain(torch.stack([before, before], 1), torch.stack([after, before], 1))
    assert both.value == pytest.approx(0.05)
    with pytest.raises(ValueError, match="Compare the answers to the same pictures"):
        intervals.gain(before, after[:-1])
    for wrong, says in (("ab", "a list of True and False"), ([float("nan"), 1.0], "one of these is NaN")):
        with pytest.raises(ValueError, match=says):
            intervals.gain(wrong, wrong)


@pytest.mark.parametrize(
    "rows", [{"a": 3}, {"a": (intervals.share([True]), 3)}, {"a": None}, {"a": ()}, 3, None, [1]]
)
def test_a_table_of_something_else_is_named(rows, capsys):
    with pytest.raises(ValueError, match=r"is .*, and no Interval. Give a dict"):
        intervals.show(rows)
    assert capsys.readouterr().out == ""


def test_how_many_pictures_narrow_an_interval():
    assert intervals.needed(intervals.share([True] * 200 + [False] * 200)) == 400  # it is narrow already
    some = intervals.share([True] * 16 + [False] * 7)
    count = intervals.needed(some)
    middle = (some.low + some.high) / 2
    right = round(middle * count)
    wide = intervals.share([True] * right + [False] * (count - right))
    assert (wide.high - wide.low) / 2 == pytest.approx(0.05, abs=2e-4)
    assert intervals.needed(some, 0.1) < count < intervals.needed(some, 0.02)
    assert intervals.needed(intervals.share([True])) > 300  # one right answer does not say that all will be
    for wrong in (0, -1, float("nan")):
        with pytest.raises(ValueError, match="points="):
            intervals.needed(some, wrong)


def test_a_few_changes_conclude_nothing():
    """Two-sided sign test by hand: 5 of 5 has p = 0.0625, 6 of 6 0.031, 7 of 8 0.070, 8 of 9 0.039."""
    for better, worse, same, said in (
        (0, 0, 9, "nothing can be concluded"),
        (5, 0, 0, "nothing can be concluded"),
        (6, 0, 3, "better"),
        (0, 6, 0, "worse"),
        (7, 1, 90, "nothing can be concluded"),
        (8, 1, 0, "better"),
    ):
        before = torch.tensor([0.0] * better + [1.0] * worse + [0.5] * same)
        after = torch.tensor([0.5] * better + [0.0] * worse + [0.5] * same)
        assert intervals.conclusion(before, after) == said
    assert intervals.conclusion(answers(0, 6), answers(6, 0)) == "better"
    assert intervals.conclusion([False], [True]) == intervals.conclusion([], []) == "nothing can be concluded"
    for wrong in (answers(6, 1), torch.ones(6, 2), torch.tensor(1.0)):
        with pytest.raises(ValueError, match="same pictures"):
            intervals.conclusion(answers(0, 6), wrong)
