"""How fast this machine is, and how near to that a training step comes."""

import json
import resource
import subprocess
import sys
import time
from statistics import mean, median

import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode

from helpers.batches import Batches
from helpers.evaluation import evaluate
from helpers.plumbing.device import describe_device, pick_device, pick_precision
from helpers.recipe import Recipe
from helpers.training import time_per_step
from helpers.workshop import beginner
from helpers.workshop.jobs import BEGINNER_EPOCHS, PARTS, Job, part, steps


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
    ours = Batches(*beginner.split(data, recipe)[0], recipe, device)
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


# -- how long a benchmark will take --------------------------------------------------------------------


def pace(jobs: list[Job], data, threads: int = 1) -> dict:
    """Seconds that things take here, from a few of each: for every recipe that is no trick's, and for a beginner's loop.

    Returns:
        For each recipe ``step`` and ``answer`` (for one picture), for ``"beginner"`` ``picture``, from the file to
        the step that learns it, and ``answer``; and how many seconds were ``spent`` on finding out.
    """
    began, usual = time.perf_counter(), torch.get_num_threads()
    torch.set_num_threads(threads)
    device, found = pick_device(), {}
    few = part(data, 50, 2)
    for job in jobs:
        if job.training and job.recipe.seed == 0 and not job.what.startswith("without"):
            model = job.recipe.model().to(device)
            if job.what == "beginner":
                rows = beginner.learn(model, few, job.recipe, device=device, epochs=2, progress=False)
                images = [len(images) for images, _ in beginner.split(few, job.recipe)]
                seconds = rows[1]["seconds"] - rows[1]["validation_seconds"], rows[1]["validation_seconds"]
                found["beginner"] = {
                    name: one / max(count, 1)
                    for name, one, count in zip(("picture", "answer"), seconds, images, strict=True)
                }
            else:
                step = time_per_step(job.recipe, device=device, steps=3)
                started = time.perf_counter()
                evaluate(model, few.train_images, few.train_labels, precision=pick_precision(device))
                answer = (time.perf_counter() - started) / len(few.train_images)
                found[job.what] = {"step": step, "answer": answer}
    torch.set_num_threads(usual)
    return found | {"spent": time.perf_counter() - began}


def expected(job: Job, data, found: dict) -> float:
    """Seconds that a job will take at the pace that was ``found``, without the start of a process."""
    held = round(job.recipe.validation * len(data.train_images))
    learnt = len(data.train_images) - held
    if job.group == "limit":
        return learnt * found["beginner"]["picture"] + 25 * len(job.recipe.sizes) * found["quick"]["step"]
    if job.what.startswith("beginner"):
        one = found["beginner"]
        epoch = learnt * one["picture"] + held * one["answer"]
        asked = 2 * len(data.test_images) * found["quick"]["answer"]
        return BEGINNER_EPOCHS * epoch + asked if job.training else 2 * epoch / 10
    one = found.get(job.what, found["quick"])
    every = job.recipe.epochs * steps(data, job.recipe)
    if job.training:
        asked = job.recipe.epochs * held + 2 * len(data.test_images)
        return every * one["step"] + asked * one["answer"]
    warming = 3 * len(set(job.recipe.sizes))
    return (every / PARTS.get(job.what, 10) + warming) * one["step"] + held * one["answer"]


def plan(asked: list[Job], jobs: list[Job], data, command: list[str], processes: int) -> None:
    """Print how long these jobs will take here, one after another or side by side, at the pace of a few steps.

    Args:
        asked: what is asked for, whether it has been done or not.
        jobs: all that there is.
        data: as ``load_cifar10()`` returns.
        command: starts the benchmark; with ``--pace`` it finds its pace with one thread.
        processes: how many trainings will run side by side, and so many processes find their pace at once.
    """
    together = pace(jobs, data, torch.get_num_threads())
    began = time.perf_counter()
    running = [subprocess.Popen([*command, "--pace"], stdout=subprocess.PIPE) for _ in range(processes)]
    said = [process.communicate()[0].decode().splitlines() for process in running]
    found = max((json.loads(lines[-1]) for lines in said), key=lambda one: one["spent"])
    start = max(0.0, time.perf_counter() - began - found["spent"])
    parts: dict[str, list[float]] = {}
    rounds = {job.recipe.seed for job in asked if not job.training}
    for job in asked:
        kind = "trick by trick" if job.what.startswith("without") else job.what
        name = f"trainings: {kind}" if job.training else "turns"
        seconds = (
            (expected(job, data, found) + start) / processes
            if job.training
            else expected(job, data, together)
        )
        parts.setdefault(name, []).append(seconds)
    parts.setdefault("turns", []).extend([start] * len(rounds))
    print(f"Expected on: {describe_device()}; {processes} trainings side by side")
    for name, seconds in parts.items():
        print(f"  {name:<28} {sum(seconds) / 60:6.1f} minutes")
    print(f"  {'in all':<28} {sum(map(sum, parts.values())) / 60:6.1f} minutes")
