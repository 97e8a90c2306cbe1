"""Every trick of the quick recipe, and the training without it, for ``helpers.workshop.bench``."""

import contextlib
from dataclasses import dataclass, field, replace
from unittest import mock

import torch

from helpers import training
from helpers.batches import Batches
from helpers.recipe import Recipe


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
