"""What ``torchrun`` starts in test_processes.py: train on small drawings, and save what came out.

``torchrun --nproc-per-node=2 tests/together.py FOLDER``
"""

import sys
from dataclasses import replace
from pathlib import Path

import torch
import torch.nn.functional as F

from helpers import processes, training
from helpers.data import CIFAR10
from helpers.drawings import make_drawings
from helpers.training import Recipe, fit

SMALL = replace(Recipe.smoke(), width=0.25, batch_size=100, epochs=4, bfloat16=False)
PLAIN = replace(SMALL, epochs=1, batch_norm=False)
# Rounding is what drives one and two processes apart. Muon enlarges it where a gradient is nearly zero, most of
# all after a change of size, so the two that must agree have Muon with one size, or several sizes without it.
RECIPES = {
    "batch norm": SMALL,
    "Muon": replace(PLAIN, sizes=(32,)),
    "SGD": replace(PLAIN, muon=False),
}


def train(recipe, data) -> dict:
    model = recipe.model()
    history = fit(model, data, recipe, device="cpu")
    return {"weights": model.state_dict(), "rows": history.rows, "device": history.device}


def gradients(data) -> dict:
    """The gradients of one step and the running averages after it, in float64, where rounding cannot hide anything."""
    model = SMALL.model().double().train()
    trained = processes.shared(model)
    share = slice(processes.rank(), 40, processes.size())
    F.cross_entropy(trained(data.train_images[share] / 255.0), data.train_labels[share]).backward()
    network = trained if processes.size() == 1 else trained.module
    return {name: p.grad for name, p in network.named_parameters()} | dict(network.named_buffers())


def everything(data) -> dict:
    return {name: train(recipe, data) for name, recipe in RECIPES.items()} | {"gradients": gradients(data)}


if __name__ == "__main__":
    with processes.joined("cpu") as device:
        small = CIFAR10(*make_drawings(train=1000, test=500), source="drawings")
        torch.save(everything(small), Path(sys.argv[1]) / f"{processes.rank()}.pth")
        training.train_and_save(replace(SMALL, epochs=1, batch_size=500), small, "two.pth", device)
        print("only once")
