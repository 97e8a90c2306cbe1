"""Medians, ratios and counts of what ``helpers.workshop.bench`` measured.

A *training* counts for its accuracies, and a *turn* for its seconds; see there.
"""

import math
import os
import time
from importlib.metadata import version
from statistics import mean, median

from helpers.benchmark import TARGET
from helpers.plumbing.device import describe_device
from helpers.recipe import Recipe
from helpers.workshop.jobs import TURNS, beside
from helpers.workshop.tricks import TRICKS


def epochs_to(rows: list[dict], target: float = TARGET) -> float:
    """Epochs until validation first saw the target; infinite if it did not."""
    reached = (place for place, row in enumerate(rows, start=1) if row["validation_accuracy"] >= target)
    return next(reached, math.inf)


def _spread(values: list[float]) -> dict | None:
    if not values:
        return None
    return {"median": median(values), "lowest": min(values), "highest": max(values), "all": values}


def _turns(name: str, groups: dict[str, list]) -> list[dict]:
    """The turns of one name; the quick recipe has one beside each of the others."""
    if name != "quick":
        return groups.get(f"turn: {name}", [])
    return [one for turn in TURNS for one in groups.get(f"turn: {beside(turn[0])}", [])]


def _seconds(turns: list[dict]) -> list[float]:
    """Seconds of training of each epoch, the medians over the turns."""
    return [median(epoch) for epoch in zip(*(one["seconds"] for one in turns), strict=True)]


def _times_as_long(name: str, groups: dict[str, list]) -> dict:
    """How many times as long as ours an epoch takes: the ratio of every round in which both had a turn."""
    theirs, ours = (
        {one["seed"]: mean(one["seconds"]) for one in groups.get(f"turn: {turn}", [])}
        for turn in (name, beside(name))
    )
    ratios = [theirs[number] / ours[number] for number in sorted(theirs.keys() & ours.keys())]
    return {"times_as_long": median(ratios) if ratios else None, "rounds": ratios}


def _loop(trained: list[dict], seconds: list[float], images: int) -> dict | None:
    """How far a loop came, from its trainings, and how long it took, from the seconds of its epochs in turns.

    The seeds that never reach the target count as infinitely slow.
    """
    if not trained and not seconds:
        return None
    per_epoch = mean(seconds) if seconds else None
    reached = [epochs_to(one["rows"]) for one in trained]
    missed = [len(one["rows"]) for one, epochs in zip(trained, reached, strict=True) if epochs == math.inf]
    epochs = median(reached) if reached else math.inf
    gave_up = min(missed, default=None)
    rows = [
        {"validation_accuracy": row["validation_accuracy"], "seconds": seconds[place % len(seconds)]}
        for place, row in enumerate(trained[0]["rows"] if trained and seconds else [])
    ]
    return {
        "seconds_per_epoch": per_epoch,
        "epochs_to_80": None if epochs == math.inf else epochs,
        "time_to_80_s": None if epochs == math.inf or per_epoch is None else epochs * per_epoch,
        "reached_80": len(trained) - len(missed),
        "gave_up_epochs": gave_up,
        "gave_up_s": gave_up and per_epoch and gave_up * per_epoch,
        "images_per_s": per_epoch and images / per_epoch,
        "peak_memory": max((one["peak_memory"] for one in trained), default=None),
        "seeds": len(trained),
        "rows": rows,
    }


def _recipe(trained: list[dict], turns: list[dict]) -> dict | None:
    if not trained and not turns:
        return None
    seconds = _seconds(turns)
    validating = median(one["validation_seconds"] for one in turns) if turns else None
    return {
        "test": _spread([one["test_accuracy"] for one in trained]),
        "mirrored": _spread([one["mirrored"] for one in trained]),
        "validation": _spread([validation_accuracy(one) for one in trained]),
        "seconds": sum(seconds) if turns else None,
        "validation_share": len(seconds) * validating / sum(seconds) if turns else None,
        "seeds": len(trained),
    }


def validation_accuracy(training: dict) -> float:
    """After the last epoch of one training."""
    return training["rows"][-1]["validation_accuracy"]


def _ratio_to_80(theirs: dict | None, ours: dict | None) -> tuple[float | None, bool]:
    """How many times as long as ours a loop takes to the target, and whether that is only a lower bound."""
    if not theirs or not ours or not theirs["times_as_long"] or not ours["epochs_to_80"]:
        return None, False
    bound = theirs["epochs_to_80"] is None
    epochs = theirs["gave_up_epochs"] if bound else theirs["epochs_to_80"]
    return (theirs["times_as_long"] * epochs / ours["epochs_to_80"], bound) if epochs else (None, False)


def _tricks(groups: dict[str, list]) -> list[dict]:
    """What each trick is worth, by validation, over the seeds that were trained with it and without it."""
    rows = []
    for trick in TRICKS:
        without = groups.get(f"without {trick.name}", [])
        seeds = {one["seed"] for one in without}
        with_it = [one for one in groups.get("quick", []) if one["seed"] in seeds]
        if without and len(with_it) == len(without):
            row = {"name": trick.name, "why": trick.why, "source": trick.source}
            for how, trained in (("with", with_it), ("without", without)):
                row[how] = {"accuracy": median(map(validation_accuracy, trained)), "seeds": len(trained)}
            rows.append(row | _times_as_long(f"without {trick.name}", groups))
    return rows


def summarise(results: list[dict], data) -> dict:
    """Medians over the seeds of all results; None where something is not measured yet."""
    groups: dict[str, list] = {}
    for result in results:
        groups.setdefault(result["group"], []).append(result)
    loops = {}
    images = round((1 - Recipe.quick().validation) * len(data.train_images))
    # How many processes load the pictures changes a loop's time, and not what it learns.
    for key, name, trained in (
        ("a", "beginner", "beginner"),
        ("b", "beginner, 2 workers", "beginner"),
        ("c", "quick", "quick"),
    ):
        seconds = _seconds(_turns(name, groups))
        found = groups.get(trained, []) if name == trained or seconds else []
        loops[key] = loop = _loop(found, seconds, images)
        if loop:
            loop |= {"times_as_long": 1.0, "rounds": []} if key == "c" else _times_as_long(name, groups)
        if loop and name != trained:
            loop["peak_memory"] = None  # of several processes that share pages: not known
    ratio_to_80, bound = _ratio_to_80(loops["a"], loops["c"])
    recipes = {name: _recipe(groups.get(name, []), _turns(name, groups)) for name in ("quick", "full", "gpu")}
    limits = groups.get("limit", [None])[0]
    headline = {}
    for name in ("quick", "full"):
        recipe = recipes[name] or {}
        headline[f"{name}_accuracy"] = (recipe.get("test") or {}).get("median")
        headline[f"{name}_seconds"] = recipe.get("seconds")
    shown = ("matmul_rate", "step_flops", "step_seconds", "share", "loading")
    return {
        "time_to_80_s": (loops["c"] or {}).get("time_to_80_s"),
        "ratio_per_epoch": (loops["a"] or {}).get("times_as_long"),
        "ratio_to_80": ratio_to_80,
        **headline,
        "share_of_matmul_rate": limits and limits["share"],
        "ratio_to_80_is_a_lower_bound": bound,
        "data": data.source,
        "machine": describe_device(),
        "cores": os.cpu_count(),
        "versions": {name: version(name) for name in ("torch", "torchvision", "numpy", "pillow")},
        "date": time.strftime("%Y-%m-%d"),
        "limit": limits and {name: limits[name] for name in shown},
        "loops": loops,
        "recipes": recipes,
        "tricks": _tricks(groups),
    }
