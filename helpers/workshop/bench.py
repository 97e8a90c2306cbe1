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
import resource
import shutil
import subprocess
import sys
import textwrap
import time
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from statistics import mean, median
from unittest import mock

import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode

from helpers import checkpoints, figures, runs, training
from helpers.batches import Batches
from helpers.data import CIFAR10, load_cifar10
from helpers.evaluation import evaluate
from helpers.plumbing import paths
from helpers.plumbing.device import describe_device, pick_device, pick_precision
from helpers.recipe import Recipe
from helpers.training import fit, time_per_step
from helpers.workshop import beginner

TARGET = 0.80
BEGINNER_EPOCHS = 15
"""Where a beginner's loop ends that has not reached the target."""

ROUNDS = 5
"""How often what is compared in time takes its turn."""

SHIPPED = paths.MEASURED / "bench.json"
"""The results that ship with the project, and beside them the figure."""


@dataclass(frozen=True)
class Trick:
    """Something in the recipe that is there to make it better or faster.

    Attributes:
        name: in a few words.
        why: what it does, in a sentence.
        source: where it comes from.
        without: the fields of the recipe that take it away; of ``learning_rate`` the factor.
        instead: or else what takes the place of a part of the trainer: where it stands, its name, the other part.
    """

    name: str
    why: str
    source: str
    without: dict = field(default_factory=dict)
    instead: tuple = ()


def in_float32(device) -> torch.dtype:
    """For ``pick_precision``: products of 32-bit numbers everywhere."""
    return torch.float32


def constant_rate(optimizer, recipe: Recipe, steps: int):
    """For ``make_scheduler``: the learning rate stays as it is."""
    return torch.optim.lr_scheduler.ConstantLR(optimizer, factor=1.0)


def plain_momentum(model, recipe: Recipe, make=training.make_optimizer):
    """For ``make_optimizer``: momentum that does not look ahead."""
    optimizer = make(model, recipe)
    for group in optimizer.param_groups:
        group["nesterov"] = False
    return optimizer


def by_chance(batches: Batches, epoch: int, generator: torch.Generator) -> torch.Tensor:
    """For ``Batches.mirrored``: a new coin for every image in every epoch."""
    return torch.randint(0, 2, (len(batches.labels),), generator=generator).bool()


TRICKS = [
    Trick(
        "bfloat16",
        "Products of 16-bit numbers, sums of 32-bit ones: twice the numbers in each instruction.",
        "Kalamkar et al., 2019, A Study of BFLOAT16 for Deep Learning Training",
        instead=(training, "pick_precision", in_float32),
    ),
    Trick(
        "small pictures first",
        "Small pictures cost little, and what is learnt from them need not be learnt again.",
        "Howard and Gugger, 2020, fastai: A Layered API for Deep Learning",
        {"sizes": (32,)},
    ),
    Trick(
        "channels last",
        "The channels of a pixel lie side by side in memory, as fast convolutions want them.",
        "PyTorch, Channels Last Memory Format",
        instead=(training, "LAYOUT", torch.contiguous_format),
    ),
    Trick(
        "pooling first",
        "Batch norm and ReLU after pooling have a quarter of the numbers to touch.",
        "ours: for ReLU and pooling alone the order makes no difference",
        {"pool_first": False},
    ),
    Trick(
        "Muon",
        "Steps in which every direction counts the same. Without it: SGD, with twice the rate and a weight decay of 0.0005.",
        "Jordan and others, 2024, Muon: An Optimizer for Hidden Layers",
        {"muon": False, "learning_rate": 2.0, "weight_decay": 5e-4, "bias_rate": 1.0},
    ),
    Trick(
        "fast biases",
        "Biases and batch norm learn ten times as fast as the weights.",
        "Jordan, 2024, 94% on CIFAR-10 in 3.29 Seconds, who takes 64",
        {"bias_rate": 1.0},
    ),
    Trick(
        "batch norm",
        "Each layer sees numbers of the same spread, so that large steps do no harm.",
        "Ioffe and Szegedy, 2015, Batch Normalization",
        {"batch_norm": False},
    ),
    Trick(
        "one-cycle rate",
        "Large steps find the region, small ones the place in it. Without it: half the rate, all the time.",
        "Smith and Topin, 2018, Super-Convergence",
        {"learning_rate": 0.5},
        instead=(training, "make_scheduler", constant_rate),
    ),
    Trick(
        "Nesterov",
        "Momentum that looks one step ahead.",
        "Sutskever et al., 2013, On the Importance of Initialization and Momentum",
        instead=(training, "make_optimizer", plain_momentum),
    ),
    Trick(
        "weight decay",
        "Weights that nothing needs shrink.",
        "Krogh and Hertz, 1991, A Simple Weight Decay Can Improve Generalization",
        {"weight_decay": 0.0},
    ),
    Trick(
        "label smoothing",
        "The target is 0.91, not 1: the network need not become ever surer.",
        "Szegedy et al., 2016, Rethinking the Inception Architecture",
        {"label_smoothing": 0.0},
    ),
    Trick(
        "shifts",
        "Pictures moved by a few pixels are new pictures.",
        "Krizhevsky, Sutskever and Hinton, 2012, ImageNet Classification",
        {"crop_padding": 0},
    ),
    Trick(
        "mirror images", "So are mirrored ones.", "Krizhevsky, Sutskever and Hinton, 2012", {"flip": False}
    ),
    Trick(
        "taking turns",
        "Each picture and its mirror image in turn, not by chance.",
        "Jordan, 2024, 94% on CIFAR-10 in 3.29 Seconds",
        instead=(Batches, "mirrored", by_chance),
    ),
]
"""Every trick of the quick recipe that can be taken away alone."""


def without(trick: Trick, recipe: Recipe):
    """The recipe without a trick, and a block (``with …:``) in which the trainer is without it, too."""
    change = dict(trick.without)
    if "learning_rate" in change:
        change["learning_rate"] *= recipe.learning_rate
    block = mock.patch.object(*trick.instead) if trick.instead else contextlib.nullcontext()
    return replace(recipe, **change), block


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


# -- the machine -------------------------------------------------------------------------------------


def matmul_rate(device, precision, size: int | None = None, seconds: float = 1.0) -> float:
    """FLOP/s of a large matrix product, the fastest thing this machine does: the median of many."""
    size = size or (8192 if device.type == "cuda" else 2048)
    one = torch.rand(size, size, device=device).to(precision)
    other = torch.rand(size, size, device=device).to(precision)
    times, began = [], time.perf_counter()
    while len(times) < 5 or time.perf_counter() - began < seconds:
        started = time.perf_counter()
        (one @ other)[0, 0].item()  # waits until a GPU has finished
        times.append(time.perf_counter() - started)
    return 2 * size**3 / median(times[2:])


def step_flops(recipe: Recipe) -> int:
    """FLOPs of one training step, forwards and backwards, as PyTorch counts them; the mean over ``recipe.sizes``."""
    model = recipe.model().train()
    labels = torch.zeros(recipe.batch_size, dtype=torch.int64)
    counts = []
    for size in recipe.sizes:
        with FlopCounterMode(display=False) as counter:
            F.cross_entropy(model(torch.rand(recipe.batch_size, 3, size, size)), labels).backward()
        counts.append(counter.get_total_flops())
    return round(mean(counts))


def limit(recipe: Recipe, device) -> dict:
    """How near a training step comes to the machine's limit, the rate of a large matrix product."""
    precision = pick_precision(device)
    before, step = matmul_rate(device, precision), time_per_step(recipe, device=device, steps=20)
    rate = median([before, matmul_rate(device, precision)])
    flops = step_flops(recipe)
    return {"matmul_rate": rate, "step_flops": flops, "step_seconds": step, "share": flops / step / rate}


def loading(data, recipe: Recipe, device) -> dict:
    """Seconds to hand out the batches of one epoch, with nothing learnt from them."""
    seconds = {}
    train, _ = beginner.loaders(data, recipe, workers=0)
    ours = Batches(data.train_images, data.train_labels, recipe, device)
    for name, batches in {"DataLoader": train, "in memory": ours.epoch(0)}.items():
        started = time.perf_counter()
        for images, labels in batches:
            images, labels = images.to(device), labels.to(device)
        labels[0].item()  # waits until a GPU has finished
        seconds[name] = time.perf_counter() - started
    return seconds


def peak_memory(device, workers: int = 0) -> int:
    """Bytes that this process had in use at most: of the GPU's memory, else of the machine's.

    Each worker is taken to be as large as the largest.
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    unit = 1 if sys.platform == "darwin" else 1024
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return unit * (own + workers * resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)


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
        rows = beginner.train(
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


LOOPS = {
    "a": "a beginner's loop: PIL, float32, Adam",
    "b": "a beginner's loop, two workers",
    "c": "ours, the quick recipe",
}


def tables(results: dict) -> list[tuple[list[str], list[list[str]]]]:
    """The results as tables: a head and rows of texts each. A table with no rows is left out."""

    def number(value, form, unit="", before=""):
        return "–" if value is None else f"{before}{value:{form}}{unit}"

    def in_turns(one):
        text = number(one["times_as_long"], ".2f", before="×")
        return text + (f" ({min(one['rounds']):.2f} to {max(one['rounds']):.2f})" if one["rounds"] else "")

    def to_target(one):
        if one["time_to_80_s"] or not one["gave_up_s"]:
            return number(one["time_to_80_s"], ".0f", " s")
        return f"not in {one['gave_up_s']:.0f} s, {one['gave_up_epochs']} epochs"

    loops = [
        [
            LOOPS[key],
            number(one["seconds_per_epoch"], ".1f", " s"),
            in_turns(one),
            to_target(one),
            f"{one['reached_80']} of {one['seeds']}",
            number(one["images_per_s"], ",.0f"),
            number(one["peak_memory"] / 1e6, ",.0f", " MB"),
        ]
        for key, one in results["loops"].items()
        if one
    ]
    recipes = [
        [
            f"`{name}`",
            f"{one['accuracy']:.2%}",
            f"{one['lowest']:.2%} to {one['highest']:.2%}",
            f"{one['seconds']:.0f} s",
            str(one["seeds"]),
        ]
        for name, one in results["recipes"].items()
        if one
    ]
    tricks = [
        [
            one["name"],
            f"{one['with']['accuracy']:.1%}",
            f"{one['without']['accuracy']:.1%}",
            in_turns(one),
            one["why"],
            one["source"],
        ]
        for one in results["tricks"]
    ]
    heads = [
        [
            "the same network, trained by",
            "an epoch",
            "in turns",
            f"to {TARGET:.0%}",
            "seeds that got there",
            "images per second",
            "memory at most",
        ],
        ["recipe", "median accuracy", "lowest to highest", "time", "seeds"],
        ["trick", "accuracy with", "without", "time without", "what it does", "source"],
    ]
    return [(head, rows) for head, rows in zip(heads, (loops, recipes, tricks), strict=True) if rows]


def in_words(results: dict) -> str:
    """Where it was measured, what the ratios are, how near the machine's limit a step comes, what loading costs, what is missing."""
    text = f"Measured on: {results['machine']}, {results['cores']} cores."
    if ratio := results["ratio_per_epoch"]:
        text += f" In turns with ours, an epoch of the beginner's loop takes {ratio:.2f} times as long as the mean of ours"
        if to_target := results["ratio_to_80"]:
            least = "at least " if results["ratio_to_80_is_a_lower_bound"] else ""
            text += f", and the way to {TARGET:.0%}, counted in such epochs, {least}{to_target:.1f} times"
        text += "."
    if one := results["limit"]:
        slow, fast = one["loading"]["DataLoader"], one["loading"]["in memory"]
        text += (
            f" A step of the quick recipe computes {one['step_flops'] / 1e9:.0f} GFLOP in "
            f"{1000 * one['step_seconds']:.0f} ms on average, at {one['share']:.0%} of the rate of a large matrix product. "
            f"Only handing out the batches of an epoch takes {slow:.0f} s with a DataLoader and {fast:.1f} s from memory."
        )
    missing = [LOOPS[key] for key, one in results["loops"].items() if not one]
    missing += [f"`{name}`" for name, one in results["recipes"].items() if not one]
    return text + (f" Not benchmarked yet: {'; '.join(missing)}." if missing else "")


def shipped() -> dict | None:
    """The results that ship with the project; None when nobody has measured them yet."""
    return json.loads(SHIPPED.read_text(encoding="utf-8")) if SHIPPED.exists() else None


WIDTH = 96
"""Characters that fit into a line of a notebook's output."""


def fitting(widths: list[int]) -> int:
    """How many columns, two characters apart, fit into a line."""
    ends = [sum(widths[:count]) + 2 * (count - 1) for count in range(1, len(widths) + 1)]
    return sum(end <= WIDTH for end in ends)


def show() -> None:
    """Print the shipped results as tables and draw them; say so when there are none.

    Columns at the end that a notebook's line has no room for are left out: the README has them.
    """
    results = shipped()
    if results is None:
        print("Not measured yet. On a machine that has nothing else to do, `make bench` measures it.")
        return
    print("\n".join(textwrap.wrap(in_words(results).replace("`", ""), WIDTH)))  # the README's marks
    for head, rows in tables(results):
        rows = [[cell.replace("`", "") for cell in row] for row in rows]
        widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
        columns = fitting(widths)
        print()
        for row in (head, *rows):
            cells = list(zip(row, widths, strict=True))[:columns]
            print("  ".join(f"{cell:<{width}}" for cell, width in cells).rstrip())
    figures.benchmark(results, target=TARGET)


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
        with paths.replacing(SHIPPED.with_name(name)) as temporary:
            shutil.copyfile(paths.artifact(name), temporary)


def take_shipped() -> None:
    """Put the shipped results where this run looks for finished jobs. Newer ones that are there stay."""
    path = SHIPPED.with_suffix(".jsonl")
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
