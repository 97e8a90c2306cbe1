"""What ``torchrun`` starts in test_processes.py: train on small drawings, and save what came out.

``torchrun --nproc-per-node=2 tests/together.py FOLDER``
"""

import sys
from dataclasses import replace
from pathlib import Path

import torch
import torch.nn.functional as F

from helpers import training
from helpers.batches import Batches
from helpers.data import CIFAR10
from helpers.drawings import make_drawings
from helpers.plumbing import processes
from helpers.recipe import Recipe
from helpers.training import fit, make_optimizer, make_scheduler
from helpers.workshop.train import train_and_save

SMALL = replace(Recipe.smoke(), width=0.25, batch_size=100, epochs=4)
STEPS = 6
RECIPES = {"Muon": SMALL, "SGD": replace(SMALL, muon=False)}
"""What is trained step by step in float64."""


def train(data) -> dict:
    model = SMALL.model()
    history = fit(model, data, SMALL, device="cpu")
    return {"weights": model.state_dict(), "rows": history.rows, "device": history.device}


def steps(recipe: Recipe, data) -> list[dict]:
    """Weights and running averages after each of the first steps, in float64.

    Two processes add up in another order than one. In float32 that changes the seventh digit, and sooner or later
    max pooling then takes the other of two nearly equal values, another one on each processor: from there on the
    runs have nothing to do with each other. In float64 it changes the sixteenth, and values that near do not occur.
    """
    model = recipe.model().double().train()
    trained = processes.shared(model)
    batches = Batches(data.train_images, data.train_labels, recipe, "cpu", processes.rank(), processes.size())
    optimizer = make_optimizer(trained, recipe)
    scheduler = make_scheduler(optimizer, recipe, recipe.epochs * batches.steps)
    seen = []
    for _, (images, labels) in zip(range(STEPS), batches.epoch(0), strict=False):
        optimizer.zero_grad()
        F.cross_entropy(trained(images.double()), labels).backward()
        optimizer.step()
        scheduler.step()
        processes.take_back(trained, model)
        seen.append({name: tensor.clone() for name, tensor in model.state_dict().items()})
    return seen


def everything(data) -> dict:
    return {name: steps(recipe, data) for name, recipe in RECIPES.items()} | {"fit": train(data)}


if __name__ == "__main__":
    training.pick_precision = lambda device: torch.float32  # so that one process and two can be compared
    with processes.joined("cpu") as device:
        small = CIFAR10(*make_drawings(train=1000, test=500), source="drawings")
        torch.save(everything(small), Path(sys.argv[1]) / f"{processes.rank()}.pth")
        train_and_save(replace(SMALL, epochs=1, batch_size=500), small, "two.pth", device)
        print("only once")
