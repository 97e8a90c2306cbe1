"""How fast is your processor? ``python -m helpers.workshop.bench --speedrun`` is a race on CIFAR-10.

The clock runs while the network learns, and stands while it is judged: that is done after each epoch,
on the 5,000 training images held out for validation. ``Recipe.quick()`` runs to 80 %, ``Recipe.full()``
to 90 %; the quick recipe is also timed beside a beginner's loop, on a tenth of the pictures.
"""

import json
import math
import time
from dataclasses import replace
from importlib.metadata import version
from statistics import mean, median

from helpers.plumbing import measured, paths
from helpers.plumbing.device import describe_device, pick_device
from helpers.recipe import Recipe
from helpers.training import fit
from helpers.workshop.jobs import Job
from helpers.workshop.measure import asked, turn
from helpers.workshop.summary import epochs_to

RACES = {0.80: Recipe.quick, 0.90: Recipe.full}
"""The validation accuracies to reach, and the recipe for each."""

ROUNDS = 3
"""How often our recipe and the beginner's loop take their turn."""

HEAD = [
    "processor",
    "torch",
    "to 80 %",
    "to 90 %",
    "test images",
    "a beginner's epoch",
    "in turns with ours",
    "date",
]


def race(recipe: Recipe, data, target: float) -> dict:
    """Train to the end: the seconds of training until validation saw the target, None if it did not; and the test."""
    device = pick_device()
    model = recipe.model()
    history = fit(model, data, recipe, device=device)
    if not history.finished:
        raise KeyboardInterrupt
    epochs = epochs_to(history.rows, target)
    rows = history.rows[: epochs if epochs < math.inf else 0]
    seconds = sum(row["seconds"] - row["validation_seconds"] for row in rows)
    return {"seconds": seconds or None, "validation_accuracy": history.validation_accuracy} | asked(
        model, data
    )


def speedrun(data, *, keep: bool = False, races=RACES) -> dict:
    """Run the race here, print it and the line for the README's table, and write ``artifacts/speedrun.json``.

    Args:
        data: as ``load_cifar10()`` returns.
        keep: put this processor's row into the table that ships.
        races: target → a function that returns the recipe.

    Returns:
        The row.
    """
    device = pick_device()
    quick = races[min(races)]()
    ratios, theirs = [], []
    for number in range(ROUNDS):
        first, second = (
            mean(turn(Job(f"turn: {what}", replace(quick, seed=number)), data, device)["seconds"])
            for what in ("beginner", "quick")
        )
        theirs.append(first)
        ratios.append(first / second)
        print(
            f"round {number + 1}: an epoch of the beginner's loop {first:.1f} s, of ours {second:.1f} s",
            flush=True,
        )
    row = {
        "machine": describe_device(),
        "torch": version("torch"),
        "data": data.source,
        "date": time.strftime("%Y-%m-%d"),
        "races": {f"{target:.0%}": race(recipe(), data, target) for target, recipe in races.items()},
        "beginner_seconds_per_epoch": median(theirs),
        "ratio_per_epoch": median(ratios),
    }
    with paths.replacing(paths.artifact("speedrun.json")) as temporary:
        temporary.write_text(json.dumps(row, indent=1) + "\n", encoding="utf-8")
    if keep:
        table = measured.read("speedrun") | {row["machine"]: row}
        with paths.replacing(paths.MEASURED / "speedrun.json") as temporary:
            temporary.write_text(json.dumps(table, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print("\nThe clock stood during validation. A line for the README's table:\n")
    print("| " + " | ".join(cells(row)) + " |")
    return row


def cells(row: dict) -> list[str]:
    """The cells of a row of the table, as ``HEAD`` names them."""
    races = row["races"].values()
    seconds = ["not reached" if one["seconds"] is None else f"{one['seconds']:.1f} s" for one in races]
    return [
        row["machine"],
        row["torch"],
        *seconds,
        " and ".join(f"{one['test_accuracy']:.2%}" for one in races),
        f"{row['beginner_seconds_per_epoch']:.1f} s",
        f"×{row['ratio_per_epoch']:.2f}",
        row["date"],
    ]
