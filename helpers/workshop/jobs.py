"""What ``helpers.workshop.bench`` measures: its jobs, and which stands beside which."""

import re
from dataclasses import dataclass, replace

import torch

from helpers.data import CIFAR10, hold_out
from helpers.plumbing.device import pick_device, pick_precision
from helpers.recipe import Recipe
from helpers.workshop.tricks import TRICKS, without

BEGINNER_EPOCHS = 15
"""Where a beginner's loop ends that has not reached the target."""

ROUNDS = 5
"""How often what is compared in time takes its turn."""

PARTS = {"full": 50, "gpu": 5}
"""A turn takes one of so many parts of the pictures; of those that are not named a tenth."""

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
    return f"quick {next(number for number, turn in enumerate(TURNS, start=1) if name in turn)}"


@dataclass(frozen=True)
class Job:
    """One thing to measure, with one seed.

    Attributes:
        group: ``"limit"``; a training, ``"quick"``, ``"full"``, ``"gpu"``, ``"beginner"`` or ``"without TRICK"``;
            or a turn, ``"turn: …"`` with one of these, with ``"beginner, 2 workers"`` or with ``"quick N"``.
        recipe: how to train; a beginner's loop takes its network, batch size, seed and validation only.
    """

    group: str
    recipe: Recipe

    @property
    def name(self) -> str:
        """A name for a file, e.g. ``"without-batch-norm-2"``."""
        return file_name(self.group, self.recipe.seed)

    @property
    def what(self) -> str:
        """The group without ``"turn: "``."""
        return self.group.removeprefix("turn: ")

    @property
    def workers(self) -> int:
        """How many processes load the pictures, for a beginner's loop."""
        return 2 if self.what == "beginner, 2 workers" else 0

    @property
    def training(self) -> bool:
        """Whether it may share the machine: no time is taken from it."""
        return self.group == self.what != "limit"


def file_name(group: str, seed: int) -> str:
    """What the result of a job is kept under."""
    return re.sub("[:, ]+", "-", f"{group}-{seed}")


def jobs(seeds: int | None = None, shrink=lambda recipe: recipe) -> list[Job]:
    """Everything to measure here, the shortest way to the headline first.

    A machine's speed drifts, by a third and more within an hour where others share it. So what is
    compared in time takes turns: each is measured right beside the quick recipe, five times over.

    Args:
        seeds: how many; default 5 for the two recipes and for the turns, 3 for all else.
        shrink: makes every recipe smaller, for tests.
    """
    device = pick_device()
    # Where there is no bfloat16, there is nothing to take away.
    left_out = "without bfloat16" if pick_precision(device) == torch.float32 else ""
    quick = shrink(Recipe.quick())
    usual = {"quick": 5, "full": 5, "beginner": 3}
    recipes = {"quick": quick, "full": shrink(Recipe.full()), "beginner": quick}
    if device.type == "cuda":
        usual["gpu"], recipes["gpu"] = 3, shrink(Recipe.gpu())
    for trick in TRICKS:
        recipes[f"without {trick.name}"], _ = without(trick, quick)

    names = [name for first, *second in TURNS for name in (first, beside(first), *second) if name != left_out]
    names += [name for name in PARTS if name in recipes]
    everything = [Job("limit", quick)]
    for number in range(seeds or ROUNDS):
        for name in names:
            everything.append(Job(f"turn: {name}", replace(recipes.get(name, quick), seed=number)))
    for name, recipe in recipes.items():
        if name != left_out:
            for seed in range(seeds or usual.get(name, 3)):
                everything.append(Job(name, replace(recipe, seed=seed)))
    return everything


def steps(data, recipe: Recipe) -> int:
    """Training steps in an epoch of our training."""
    return int((~hold_out(data.train_labels, recipe.validation)).sum()) // recipe.batch_size


def part(data, share: int, least: int) -> CIFAR10:
    """The first 1/``share`` of the training images, ``least`` at least, and the first test images."""
    train = max(len(data.train_labels) // share, least)
    test = max(len(data.test_labels) // share, 1)
    return CIFAR10(
        data.train_images[:train],
        data.train_labels[:train],
        data.test_images[:test],
        data.test_labels[:test],
        source=data.source,
    )
