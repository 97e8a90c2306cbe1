"""Time our training against a beginner's loop, and every trick against its absence: ``make bench``.

``python -m helpers.workshop.bench`` runs what is missing, each run in a process of its own,
and keeps every finished one in ``artifacts/bench/``: stop it when you like, and it
goes on where it was. The results are in ``artifacts/bench.json`` (medians),
``bench.jsonl`` (every seed) and ``bench.png``. ``--keep`` makes them the ones that
ship with the project, ``--ship`` the median seed of the full recipe the shipped
checkpoint, and ``--add`` measures only what the shipped results lack.
"""

import argparse
import contextlib
import json
import math
import os
import re
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from importlib.metadata import version
from statistics import mean, median

import torch

from helpers import checkpoints, figures, runs
from helpers.benchmark import TARGET
from helpers.data import CIFAR10, load_cifar10
from helpers.evaluation import evaluate
from helpers.plumbing import paths
from helpers.plumbing.device import describe_device, pick_device, pick_precision
from helpers.recipe import Recipe
from helpers.training import fit
from helpers.workshop import beginner
from helpers.workshop.limits import limit, loading, peak_memory
from helpers.workshop.tricks import TRICKS, without

BEGINNER_EPOCHS = 15
"""Where a beginner's loop ends that has not reached the target."""

ROUNDS = 5
"""How often what is compared in time takes its turn."""

COMPARED = ["beginner", "beginner, 2 workers", *(f"without {trick.name}" for trick in TRICKS)]
"""What is compared with the quick recipe."""


TURNS = [
    ("beginner", "beginner, 2 workers"),
    ("without bfloat16", "without small pictures first"),
    ("without channels last",),
    ("without pooling first", "without Muon"),
    ("without fast biases", "without batch norm"),
    ("without one-cycle rate", "without Nesterov"),
    ("without weight decay", "without label smoothing"),
    ("without shifts", "without mirror images"),
    ("without taking turns",),
]
"""Which of them share a turn of the quick recipe: one is measured right before it, the other right after it."""


def beside(name: str) -> str:
    """The turn of the quick recipe that stands next to this one's."""
    return f"ours {next(number for number, turn in enumerate(TURNS, start=1) if name in turn)}"


@dataclass(frozen=True)
class Job:
    """One thing to measure, with one seed.

    Attributes:
        group: ``"limit"``, ``"quick"``, ``"full"``, one of ``COMPARED``, or ``"turn: …"`` with one of
            those or with ``"ours N"``: the same on a tenth of the pictures, for its time only.
        recipe: how to train; a beginner's loop takes its network, batch size and seed only.
        workers: processes that load data, for a beginner's loop.
    """

    group: str
    recipe: Recipe
    workers: int = 0

    @property
    def name(self) -> str:
        """A name for a file, e.g. ``"without-batch-norm-2"``."""
        return file_name(self.group, self.recipe.seed)


def file_name(group: str, seed: int) -> str:
    """What the result of a job is kept under."""
    return re.sub("[:, ]+", "-", f"{group}-{seed}")


def jobs(seeds: int | None = None, shrink=lambda recipe: recipe) -> list[Job]:
    """Everything to measure, the shortest way to the headline first.

    A machine's speed drifts, by a third and more within an hour where others share it. So what is
    compared in time takes turns: each is measured right beside the quick recipe, five times over.

    Args:
        seeds: how many; default 5 for the two recipes and for the turns, 3 for all else, and 1 for the loop with
            two workers, who change its time and not what it learns.
        shrink: makes every recipe smaller, for tests.
    """
    quick, full = shrink(Recipe.quick()), shrink(Recipe.full())
    recipes = {"limit": quick, "quick": quick, "full": full} | dict.fromkeys(COMPARED, quick)
    for trick in TRICKS:
        recipes[f"without {trick.name}"], _ = without(trick, quick)
    workers = {"beginner, 2 workers": 2}

    def several(group, usual):
        for seed in range(seeds or usual):
            yield Job(group, replace(recipes[group], seed=seed), workers.get(group, 0))

    def turns():
        for number in range(seeds or ROUNDS):
            for first, *second in TURNS:
                for name in (first, beside(first), *second):
                    recipe = replace(recipes.get(name, quick), seed=number)
                    yield Job(f"turn: {name}", recipe, workers.get(name, 0))

    plan = [Job("limit", quick), *several("quick", 5), *turns()]
    plan += [*several("beginner", 3), *several("beginner, 2 workers", 1)]
    plan += several("full", 5)
    for group in COMPARED[2:]:
        plan += several(group, 3)
    return plan


# -- measuring ---------------------------------------------------------------------------------------


def folder():
    """``artifacts/bench``: one file per finished job, and the runs."""
    path = paths.artifacts_dir() / "bench"
    path.mkdir(exist_ok=True)
    return path


def measure(job: Job, data, epochs: int = BEGINNER_EPOCHS) -> dict:
    """Do one job here and now, and keep its result."""
    device = pick_device()
    result = {"group": job.group, "seed": job.recipe.seed, "stamp": stamp(data)}
    trick = next((one for one in TRICKS if job.group.endswith(f"without {one.name}")), None)
    with without(trick, job.recipe)[1] if trick else contextlib.nullcontext():
        result |= _measure(job, data, device, epochs)
    result["peak_memory"] = peak_memory(device, job.workers)
    with paths.replacing(folder() / f"{job.name}.json") as temporary:
        temporary.write_text(json.dumps(result, indent=1), encoding="utf-8")
    return result


def _measure(job: Job, data, device, epochs: int) -> dict:
    what = job.group.removeprefix("turn: ")
    turn = what != job.group
    part = a_tenth(data) if turn else data
    if what == "limit":
        return limit(job.recipe, device) | {"loading": loading(data, job.recipe, device)}
    if what.startswith("beginner"):
        rows = beginner.learn(
            job.recipe.model(),
            part,
            job.recipe,
            workers=job.workers,
            device=device,
            epochs=job.recipe.epochs if turn else epochs,
            target=TARGET,
        )
        return {"rows": rows}
    if turn:
        history = fit(job.recipe.model(), part, job.recipe, device=device)
        if not history.finished:
            raise KeyboardInterrupt
        return {"rows": history.rows}
    # A trick that is no field of the recipe would be taken for the quick recipe's run: a folder for each.
    place = folder() / "runs" if what in ("quick", "full") else folder() / "runs" / file_name(what, 0)
    run = runs.train(job.recipe, data, folder=place)
    return {"rows": run.history.rows, "run": run.folder.name}


def a_tenth(data) -> CIFAR10:
    """The first tenth of the training and of the test images."""
    train, test = len(data.train_labels) // 10, len(data.test_labels) // 10
    return CIFAR10(
        data.train_images[:train],
        data.train_labels[:train],
        data.test_images[:test],
        data.test_labels[:test],
        source=data.source,
    )


def stamp(data) -> dict:
    """What a result holds for: another machine, other training code or other data give other results."""
    return {
        "machine": describe_device(),
        "torch": version("torch"),
        "data": data.source,
        "checksum": data.checksum(),
        "code": runs.code_checksum([*runs.CODE, beginner.__file__]),
    }


def read(job: Job, wanted: dict) -> dict | None:
    """The kept result of a job; None when there is none, or it is damaged or holds for something else."""
    path = folder() / f"{job.name}.json"
    try:
        result = json.loads(path.read_text(encoding="utf-8"))
        if result["stamp"] == wanted and ("rows" in result or "share" in result):
            return result
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError):
        pass
    print(
        f"{paths.shorten(path)} is damaged, or was made by other code or on another machine: measured again."
    )
    return None


# -- what comes out ----------------------------------------------------------------------------------


def epochs_to(rows: list[dict], target: float = TARGET) -> float:
    """Epochs until the target was first seen; infinite if it was not."""
    return next(
        (place for place, row in enumerate(rows, start=1) if row["test_accuracy"] >= target), math.inf
    )


def seconds_to(rows: list[dict], target: float = TARGET) -> float:
    """Seconds of training and testing until the target was first seen; infinite if it was not."""
    epochs = epochs_to(rows, target)
    return math.inf if epochs == math.inf else sum(row["seconds"] for row in rows[:epochs])


def _finite(value: float) -> float | None:
    return None if value == math.inf else value


def _loop(found: list[dict], images: int) -> dict | None:
    if not found:
        return None
    per_epoch = median(mean(row["seconds"] for row in one["rows"]) for one in found)
    reached = [epochs_to(one["rows"]) for one in found]
    missed = [one["rows"] for one, epochs in zip(found, reached, strict=True) if epochs == math.inf]
    return {
        "seconds_per_epoch": per_epoch,
        "epochs_to_80": _finite(median(reached)),
        "time_to_80_s": _finite(median(seconds_to(one["rows"]) for one in found)),
        "reached_80": len(found) - len(missed),
        "gave_up_epochs": min(map(len, missed), default=None),
        "gave_up_s": min((sum(row["seconds"] for row in rows) for rows in missed), default=None),
        "images_per_s": images / per_epoch,
        "peak_memory": max(one["peak_memory"] for one in found),
        "seeds": len(found),
        "rows": found[0]["rows"],
    }


def _recipe(found: list[dict]) -> dict | None:
    if not found:
        return None
    accuracies = [one["rows"][-1]["test_accuracy"] for one in found]
    seconds = [sum(row["seconds"] for row in one["rows"]) for one in found]
    return {
        "accuracy": median(accuracies),
        "lowest": min(accuracies),
        "highest": max(accuracies),
        "seconds": median(seconds),
        "seeds": len(found),
        "accuracies": accuracies,
    }


def _times_as_long(name: str, groups: dict[str, list]) -> dict:
    """How many times as long as ours an epoch takes: the ratio of every round in which both had a turn."""
    theirs, ours = (
        {one["seed"]: mean(row["seconds"] for row in one["rows"]) for one in groups.get(f"turn: {turn}", [])}
        for turn in (name, beside(name))
    )
    ratios = [theirs[number] / ours[number] for number in sorted(theirs.keys() & ours.keys())]
    return {"times_as_long": median(ratios) if ratios else None, "rounds": ratios}


def _ratio_to_80(theirs: dict | None, ours: dict | None) -> tuple[float | None, bool]:
    """How many times as long as ours a loop takes to the target, and whether that is only a lower bound."""
    if not theirs or not ours or not theirs["times_as_long"] or not ours["epochs_to_80"]:
        return None, False
    bound = theirs["epochs_to_80"] is None
    epochs = theirs["gave_up_epochs"] if bound else theirs["epochs_to_80"]
    return theirs["times_as_long"] * epochs / ours["epochs_to_80"], bound


def summarise(results: list[dict], data) -> dict:
    """Medians over the seeds of all results; None where something is not measured yet."""
    groups: dict[str, list] = {}
    for result in results:
        groups.setdefault(result["group"], []).append(result)
    names = {"a": "beginner", "b": "beginner, 2 workers", "c": "quick"}
    loops = {key: _loop(groups.get(name, []), len(data.train_images)) for key, name in names.items()}
    for key, loop in loops.items():
        if loop:
            loop |= {"times_as_long": 1.0, "rounds": []} if key == "c" else _times_as_long(names[key], groups)
    ratio_to_80, bound = _ratio_to_80(loops["a"], loops["c"])
    recipes = {name: _recipe(groups.get(name, [])) for name in ("quick", "full")}
    tricks = []
    for trick in TRICKS:
        without = groups.get(f"without {trick.name}", [])
        seeds = {one["seed"] for one in without}
        with_it = [one for one in groups.get("quick", []) if one["seed"] in seeds]
        if without and len(with_it) == len(without):
            row = {"name": trick.name, "why": trick.why, "source": trick.source}
            row |= {"with": _recipe(with_it), "without": _recipe(without)}
            tricks.append(row | _times_as_long(f"without {trick.name}", groups))
    limits = groups.get("limit", [None])[0]
    quick, full = recipes["quick"] or {}, recipes["full"] or {}
    return {
        "time_to_80_s": (loops["c"] or {}).get("time_to_80_s"),
        "ratio_per_epoch": (loops["a"] or {}).get("times_as_long"),
        "ratio_to_80": ratio_to_80,
        "quick_accuracy": quick.get("accuracy"),
        "quick_seconds": quick.get("seconds"),
        "full_accuracy": full.get("accuracy"),
        "full_seconds": full.get("seconds"),
        "share_of_matmul_rate": limits and limits["share"],
        "ratio_to_80_is_a_lower_bound": bound,
        "data": data.source,
        "machine": describe_device(),
        "cores": os.cpu_count(),
        "versions": {name: version(name) for name in ("torch", "torchvision", "numpy", "pillow")},
        "date": time.strftime("%Y-%m-%d"),
        "limit": limits
        and {
            name: limits[name] for name in ("matmul_rate", "step_flops", "step_seconds", "share", "loading")
        },
        "loops": loops,
        "recipes": recipes,
        "tricks": tricks,
    }


KEPT = ("bench.json", "bench.jsonl", "bench.png")
"""What is written: the medians, every job with its seed (a line each), and the figure."""


def write(summary: dict, results: list[dict]) -> None:
    """Put the medians, the results they come from and the figure into the artifacts folder."""
    texts = [json.dumps(summary, indent=1, ensure_ascii=False), *map(json.dumps, results)]
    for name, lines in zip(KEPT, (texts[:1], texts[1:]), strict=False):
        with paths.replacing(paths.artifact(name)) as temporary:
            temporary.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    with paths.replacing(paths.artifact("bench.png")) as temporary:
        figures.benchmark(summary, target=TARGET, path=temporary)


def keep() -> None:
    """Make the results in the artifacts folder the ones that ship."""
    for name in KEPT:
        with paths.replacing(paths.MEASURED / name) as temporary:
            shutil.copyfile(paths.artifact(name), temporary)


def take_shipped() -> None:
    """Put the shipped results where this run looks for finished jobs. Newer ones that are there stay."""
    path = paths.MEASURED / "bench.jsonl"
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        result = json.loads(line)
        own = folder() / f"{file_name(result['group'], result['seed'])}.json"
        if not own.exists():
            with paths.replacing(own) as temporary:
                temporary.write_text(json.dumps(result, indent=1), encoding="utf-8")


def ship(results: list[dict], data, path=checkpoints.SHIPPED) -> int:
    """Make the median seed of the full recipe the shipped checkpoint.

    Args:
        results: of ``measure``; those of the group ``"full"`` count.
        path: where the checkpoint goes, its card beside it.

    Returns:
        That seed. ``Recipe.full()`` should have it.

    Raises:
        ValueError: no such run has been measured, or not on CIFAR-10.
    """
    full = sorted(
        (one for one in results if one["group"] == "full"), key=lambda one: one["rows"][-1]["test_accuracy"]
    )
    if not full or data.source != "CIFAR-10":
        raise ValueError(
            "Only finished runs of the full recipe on CIFAR-10 can be shipped: run without --only."
        )
    chosen = full[(len(full) - 1) // 2]
    run = runs.read(folder() / "runs" / chosen["run"])
    checkpoints.save_weights(run.model, path)
    result = evaluate(run.model, data.test_images, data.test_labels)
    checkpoints.save_card(path, history=run.history, evaluation=result, data=data)
    return chosen["seed"]


def main(arguments=None, data=None, shrink=lambda recipe: recipe) -> int:
    """See the module. ``data`` and ``shrink`` are for tests: all then happens in this process."""
    parser = argparse.ArgumentParser(
        prog="python -m helpers.workshop.bench", description=__doc__.split("\n\n")[0]
    )
    parser.add_argument(
        "--only", nargs="+", metavar="GROUP", help='groups by their first letters, e.g. "quick"'
    )
    parser.add_argument(
        "--seeds", type=int, help="how many; default 5 for the recipes, 3 or fewer for the rest"
    )
    parser.add_argument(
        "--add",
        action="store_true",
        help="start from the shipped results, where they were measured on such a machine by the same code",
    )
    parser.add_argument("--keep", action="store_true", help="the results ship with the project")
    parser.add_argument("--ship", action="store_true", help="ship the full recipe's median seed")
    parser.add_argument("--job", help=argparse.SUPPRESS)  # one job, in the process that main() starts for it
    chosen = parser.parse_args(arguments)
    alone = data is None
    data = data or load_cifar10()
    everything = jobs(chosen.seeds, shrink)
    if pick_precision(pick_device()) == torch.float32:  # there is nothing to take away
        everything = [job for job in everything if not job.group.endswith("without bfloat16")]
    if chosen.job:
        measure(next(job for job in everything if job.name == chosen.job), data)
        return 0
    if (chosen.keep or chosen.ship) and data.source != "CIFAR-10":
        parser.error("--keep and --ship are for results on CIFAR-10, and no CIFAR-10 was found.")
    if chosen.add:
        take_shipped()
    wanted = stamp(data)
    asked = [job for job in everything if not chosen.only or job.group.startswith(tuple(chosen.only))]
    if not asked:
        parser.error(
            f"no group starts with {', '.join(chosen.only)}: {', '.join({j.group for j in everything})}."
        )
    command = [
        sys.executable,
        "-m",
        "helpers.workshop.bench",
        *(["--seeds", str(chosen.seeds)] if chosen.seeds else []),
    ]
    for number, job in enumerate(asked, start=1):
        if read(job, wanted) is None:
            print(f"\n{number}/{len(asked)}  {job.group}, seed {job.recipe.seed}", flush=True)
            if not alone:
                measure(job, data, epochs=2)
            elif subprocess.run([*command, "--job", job.name]).returncode:
                print(f"{job.name} failed; the others are kept. Run the same command again.", file=sys.stderr)
                return 1
    results = [result for job in everything if (result := read(job, wanted))]
    summary = summarise(results, data)
    write(summary, results)
    for name, value in list(summary.items())[:8]:
        print(f"{name:<22} {'not measured' if value is None else f'{value:.4g}'}")
    if chosen.keep:
        keep()
    if chosen.ship:
        seed = ship(results, data)
        print(f"{paths.shorten(checkpoints.SHIPPED)} is seed {seed} now: Recipe.full() should have it too.")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit("\nInterrupted. Run the same command again: it goes on where it stopped.")
