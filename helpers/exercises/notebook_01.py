"""The checks of notebook 01."""

import math
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from helpers.history import History
from helpers.plumbing.language import marked
from helpers.plumbing.language import translated as _
from helpers.recipe import Recipe
from helpers.runs import Run

from . import Exercise, Wrong, call, number_is


def longer_steps(longer: Run, best: float, /, *, base: Recipe, others: list[Run]) -> None:
    _changed(longer, base, others[0], learning_rate=0.3)
    reached = {run.history.recipe.learning_rate: run.history.validation_accuracy for run in [*others, longer]}
    for rate, accuracy in reached.items():
        if _same(best, rate):
            if accuracy == max(reached.values()):
                return
            raise Wrong(
                "With {rate:g} it ended at {accuracy:.1%}; one of the three ended higher. Look at the last epochs.",
                rate=rate,
                accuracy=accuracy,
            )
    if any(best in (value, 100 * value) for value in reached.values()):
        raise Wrong("That is an accuracy. Asked is the learning rate that reached the highest one.")
    raise Wrong(
        "The three rates are {rates}. Which of them?",
        rates=", ".join(f"{rate:g}" for rate in sorted(reached)),
    )


def smaller_steps(slow: Run, closes: float, /, *, base: Recipe, with_norm: Run, without: Run) -> None:
    _changed(slow, base, without, batch_norm=False, learning_rate=base.learning_rate / 3)
    now, before, normal = (100 * run.history.validation_accuracy for run in (slow, without, with_norm))
    number_is(
        closes,
        now - before,
        [
            (before - now, _("The sign is turned round: a gap that gets wider closes by less than nothing.")),
            ((now - before) / 100, _("That is the share. A point is a hundredth: multiply it by 100.")),
            (normal - now, _("That is the gap that is left. By how much is it smaller than the one before?")),
            (normal - before, _("That is the gap before. By how much is it smaller with the smaller rate?")),
        ],
        _(
            "The gap to `with_norm` before, less the gap now, both in points of validation accuracy after the last epoch."
        ),
        within=0.06,
    )


def overtaking(overtakes: Callable, plain: Run, augmented: Run, /, *, base: Recipe) -> None:
    small = {"width": base.width / 2, "epochs": 3 * base.epochs}
    _changed(augmented, base, None, **small)
    _changed(plain, base, augmented, **small, crop_padding=0, flip=False)
    for train, validation, right, message in MADE_UP:
        made = _history(train, validation)
        said = call(overtakes, made)
        if said != right:
            raise Wrong(
                "For the training accuracies {train} and the validation accuracies {validation} it says {said}. {message}",
                train=train,
                validation=validation,
                said=said,
                message=_(message),
            )
    for run in (plain, augmented):
        said, right = call(overtakes, run.history), _overtakes(run.history)
        if said != right:
            raise Wrong(
                "For your own run of {epochs} epochs it says {said} instead of {right}.",
                epochs=len(run.history.rows),
                said=said,
                right=right,
            )


MADE_UP: list[tuple[list, list, int, str]] = [
    (
        [0.3, 0.5, 0.7, 0.8],
        [0.4, 0.5, 0.6, 0.6],
        3,
        marked("Epochs are counted from 1, and in the third it is ahead."),
    ),
    ([0.5, 0.5, 0.7, 0.8], [0.4, 0.6, 0.6, 0.7], 3, marked("It was ahead before, but not until the end.")),
    ([0.3, 0.4, 0.5], [0.4, 0.5, 0.6], 0, marked("It is never ahead, and 0 says so.")),
    (
        [0.5, 0.6, 0.6],
        [0.4, 0.5, 0.6],
        0,
        marked("At the end the two are equal: it is not ahead, and 0 says so."),
    ),
    ([0.5, 0.6], [0.4, 0.5], 1, marked("It is ahead from the first epoch to the last.")),
]
"""Training accuracy and validation accuracy of each epoch, the right answer, and why."""


def _history(train: list[float], validation: list[float]) -> History:
    rows = [
        {
            "epoch": epoch,
            "learning_rate": 0.0,
            "train_loss": 2 - mine,
            "train_accuracy": mine,
            "validation_accuracy": theirs,
            "validation_seconds": 0.1,
            "seconds": 1.0,
        }
        for epoch, (mine, theirs) in enumerate(zip(train, validation, strict=True), 1)
    ]
    return History(Recipe(epochs=len(rows)), rows=rows, finished=True)


def _overtakes(history: History) -> int:
    first = 0
    for row in reversed(history.rows):
        if row["train_accuracy"] <= row["validation_accuracy"]:
            break
        first = row["epoch"]
    return first


def _same(mine: Any, asked: Any) -> bool:
    """Equal; of numbers with a fraction, as nearly as one types them: a third of 0.05 is 0.0167."""
    return math.isclose(mine, asked, rel_tol=0.01) if isinstance(asked, float) else mine == asked


def _changed(run: Run, base: Recipe, beside: Run | None, **changes) -> None:
    """Refuse a run that differs from ``base`` in other things than these, or was not trained as the one beside it."""
    mine, first = asdict(run.history.recipe), asdict(base)
    for name, value in changes.items():
        if not _same(mine[name], value):
            asked = f"{value:.3g}" if isinstance(value, float) else repr(value)
            raise Wrong(
                "A run with {name}={value!r} is not the one that is asked for: {name}={asked}.",
                name=name,
                value=mine[name],
                asked=asked,
            )
    others = [name for name in mine if name not in ("name", *changes) and mine[name] != first[name]]
    if others:
        raise Wrong(
            "It differs from `base` in {others}, too. With several changes at once nobody knows which did it.",
            others=", ".join(others),
        )
    if not run.history.finished or (beside and run.history.steps != beside.history.steps):
        raise Wrong("It was not trained for as many steps as the run beside it. Train on `part`, to the end.")


EXERCISES = {
    "01.1": Exercise(
        longer_steps,
        "One seed and three epochs can show a large difference. Before you believe a small one, train with other seeds, too.",
        "As in section 9: `runs.train(replace(base, learning_rate=0.3), part)`.",
    ),
    "01.2": Exercise(
        smaller_steps,
        "The folklore is about trainings that break off. What a smaller rate does to one that does not, has to be measured.",
        "`replace(base, batch_norm=False, learning_rate=base.learning_rate / 3)`; a gap is `with_norm.history.validation_accuracy` "
        "less that of the run without. Multiply by 100 for points.",
    ),
    "01.3": Exercise(
        overtaking,
        "Overfitting is a matter of degree, and where it begins depends on what the network is shown.",
        "Go through `history.rows` from the last to the first, as long as the training accuracy is the higher one.",
    ),
}
