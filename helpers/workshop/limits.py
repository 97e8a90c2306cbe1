"""How fast this machine is, and how near to that a training step comes."""

import resource
import sys
import time
from statistics import mean, median

import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode

from helpers.batches import Batches
from helpers.plumbing.device import pick_precision
from helpers.recipe import Recipe
from helpers.training import time_per_step
from helpers.workshop import beginner


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
