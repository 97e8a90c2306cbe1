"""Train on one NVIDIA GPU, as fast as it goes: ``python -m helpers.workshop.gpu``.

Two recipes, three seeds each. ``fit`` records their steps as CUDA graphs by itself; here ``torch.compile``
merges the kernels of a step, too. That takes its time before the clock starts, so it pays for whoever trains
a network many times.
"""

import argparse
import json
import sys
import time
from dataclasses import replace
from importlib.metadata import version
from statistics import median

import torch

from helpers.data import load_cifar10
from helpers.plumbing import measured, paths
from helpers.recipe import Recipe
from helpers.training import fit
from helpers.workshop.measure import asked

SEEDS = 3
HEAD = [
    "GPU",
    "network",
    "passes",
    "compiling",
    "training",
    "test images",
    "mirrored",
    "seeds",
    "torch",
    "date",
]


def recipes() -> dict[str, Recipe]:
    """What is measured, by name: ``Recipe.gpu()``, and a narrower network in larger batches for half its time."""
    gpu = Recipe.gpu()
    short = replace(
        gpu, name="gpu, short", epochs=45, batch_size=1024, learning_rate=0.06, width=3.0, cutout=8
    )
    return {one.name: one for one in (short, gpu)}


def train(recipe: Recipe, data, *, compiled: bool = True) -> dict:
    """Train once: the seconds of all epochs, and the accuracy on the test images, plain and mirrored."""
    model = recipe.model()
    if compiled:
        model.compile(dynamic=False)
        # By default PyTorch gives up after eight variants: training and judging, a batch and one image, three sizes.
        torch._dynamo.config.recompile_limit = 64
    history = fit(model, data, recipe, progress=False)
    if not history.finished:
        raise KeyboardInterrupt
    judged = recipe.model()  # which is not compiled: its batches are of other sizes
    judged.load_state_dict(model.state_dict())
    seconds = sum(row["seconds"] - row["validation_seconds"] for row in history.rows)
    return {"seed": recipe.seed, "seconds": seconds} | asked(judged.to(next(model.parameters()).device), data)


def run(recipe: Recipe, data, *, compiled: bool = True, seeds: int = SEEDS) -> dict:
    """Warm up, train with several seeds, and return the row of the table."""
    started = time.perf_counter()
    if compiled:
        torch.compiler.reset()
        train(replace(recipe, epochs=len(recipe.sizes)), data)  # an epoch of each size
    warm_up = time.perf_counter() - started
    results = []
    for seed in range(seeds):
        results.append(train(replace(recipe, seed=seed), data, compiled=compiled))
        print(
            f"{recipe.name}, seed {seed}: {results[-1]['seconds']:.1f} s, {results[-1]['test_accuracy']:.2%}, "
            f"mirrored {results[-1]['mirrored']:.2%}",
            flush=True,
        )
    return {
        "torch": version("torch"),
        "date": time.strftime("%Y-%m-%d"),
        "epochs": recipe.epochs,
        "width": recipe.width,
        "compiled": compiled,
        "warm_up_seconds": round(warm_up, 1),
        "results": results,
    }


def cells(gpu: str, row: dict) -> list[str]:
    """The cells of a row of the table, as ``HEAD`` names them."""
    results = row["results"]

    def every(key: str) -> str:
        values = sorted(one[key] for one in results)
        return f"{median(values):.2%} ({values[0]:.2%} to {values[-1]:.2%})"

    seconds = sorted(one["seconds"] for one in results)
    return [
        gpu,
        f"width {row['width']:g}",
        f"{row['epochs']}",
        f"{row['warm_up_seconds']:.0f} s" if row["compiled"] else "not compiled",
        f"{median(seconds):.1f} s ({seconds[0]:.1f} to {seconds[-1]:.1f})",
        every("test_accuracy"),
        every("mirrored"),
        f"{len(results)}",
        row["torch"],
        row["date"],
    ]


def main(arguments=None) -> None:
    """See the module."""
    parser = argparse.ArgumentParser(
        prog="python -m helpers.workshop.gpu", description=__doc__.split("\n\n")[0]
    )
    parser.add_argument("--keep", action="store_true", help="the results ship with the project")
    chosen = parser.parse_args(arguments)
    if not torch.cuda.is_available():
        parser.error(
            "PyTorch finds no NVIDIA GPU here. `python -m helpers.workshop.bench --speedrun` measures a processor."
        )
    data = load_cifar10()
    if data.source != "CIFAR-10":
        parser.error("no CIFAR-10 was found, and drawings say nothing about accuracy.")
    gpu = torch.cuda.get_device_name()
    rows = {name: run(recipe, data) for name, recipe in recipes().items()}
    for row in rows.values():
        print("| " + " | ".join(cells(gpu, row)) + " |")
    if chosen.keep:
        table = measured.read("gpu") | {gpu: rows}
        with paths.replacing(paths.MEASURED / "gpu.json") as temporary:
            temporary.write_text(json.dumps(table, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit("\nInterrupted.")
