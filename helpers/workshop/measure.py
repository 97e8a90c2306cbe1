"""Do one job of ``helpers.workshop.bench``, and keep its result: see ``helpers.workshop.jobs``."""

import contextlib
import json
import time
from importlib.metadata import version

import torch

from helpers import benchmark, runs
from helpers.benchmark import TARGET
from helpers.data import hold_out
from helpers.evaluation import evaluate
from helpers.plumbing import paths
from helpers.plumbing.device import describe_device, pick_device, pick_precision
from helpers.training import fit, time_per_step
from helpers.workshop import beginner, tricks
from helpers.workshop.jobs import BEGINNER_EPOCHS, PARTS, Job, file_name, part, steps
from helpers.workshop.limits import limit, loading, peak_memory
from helpers.workshop.tricks import TRICKS, without


def folder():
    """``artifacts/bench``: one file per finished job, and the runs."""
    path = paths.artifacts_dir() / "bench"
    path.mkdir(exist_ok=True)
    return path


def measure(job: Job, data, epochs: int = BEGINNER_EPOCHS) -> dict:
    """Do one job here and now, and keep its result."""
    device = pick_device()
    result = {"group": job.group, "seed": job.recipe.seed, "stamp": stamp(data)}
    trick = next((one for one in TRICKS if job.what == f"without {one.name}"), None)
    with without(trick, job.recipe)[1] if trick else contextlib.nullcontext():
        if job.group == "limit":
            result |= limit(job.recipe, device) | {"loading": loading(data, job.recipe, device)}
        elif job.training:
            with one_thread():
                result |= training(job, data, device, epochs)
        else:
            result |= turn(job, data, device)
    with paths.replacing(folder() / f"{job.name}.json") as temporary:
        temporary.write_text(json.dumps(result, indent=1), encoding="utf-8")
    return result


@contextlib.contextmanager
def one_thread():
    """A block that computes with one thread of the processor."""
    usual = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(usual)


def training(job: Job, data, device, epochs: int) -> dict:
    """Train to the end, judged by validation, and ask about the test set once."""
    result: dict = {}
    if job.what == "beginner":
        model = job.recipe.model()
        learn = {"device": device, "epochs": epochs, "target": TARGET, "progress": False}
        result["rows"] = beginner.learn(model, data, job.recipe, **learn)
    else:
        # A trick that is no field of the recipe would be taken for the quick recipe's run: a folder for each.
        place = folder() / "runs" / file_name(job.what, 0)
        run = runs.train(job.recipe, data, folder=place, progress=False)
        model, result["run"], result["rows"] = run.model, f"{place.name}/{run.folder.name}", run.history.rows
    result["peak_memory"] = peak_memory(device)
    return result | asked(model.to(device), data)


def asked(model, data) -> dict:
    """The accuracy on the test images, and that with the answers to each and to its mirror image averaged."""
    plain, mirrored = (
        evaluate(model, images, data.test_labels) for images in (data.test_images, data.test_images.flip(3))
    )
    both = (plain.probs + mirrored.probs).argmax(1) == plain.labels
    return {"test_accuracy": plain.accuracy, "mirrored": both.double().mean().item()}


def turn(job: Job, data, device) -> dict:
    """The seconds of training that each epoch on the whole data takes, from a training on a part of it."""
    cut = part(data, PARTS.get(job.what, 10), 2 * job.recipe.batch_size)
    model = job.recipe.model()
    if job.what.startswith("beginner"):
        # The first epoch is for warming up.
        learn = {"device": device, "epochs": 2, "workers": job.workers, "progress": False}
        rows = beginner.learn(model, cut, job.recipe, **learn)[1:]
        times = len(data.train_labels) / len(
            cut.train_labels
        )  # the last, smaller batch is trained on as well
    else:
        time_per_step(job.recipe, device=device, steps=1)  # warms up
        history = fit(model, cut, job.recipe, device=device, progress=False)
        if not history.finished:
            raise KeyboardInterrupt
        rows, times = history.rows, steps(data, job.recipe) / steps(cut, job.recipe)
    result: dict = {"seconds": [times * (row["seconds"] - row["validation_seconds"]) for row in rows]}
    if job.what.startswith(("quick", *PARTS)):
        held = hold_out(data.train_labels, job.recipe.validation)
        images, labels = data.train_images[held], data.train_labels[held]
        started = time.perf_counter()
        evaluate(model, images, labels, precision=pick_precision(device))
        result["validation_seconds"] = time.perf_counter() - started
    return result


def stamp(data) -> dict:
    """What a result holds for: another machine, other training code or other data give other results."""
    return {
        "kind": benchmark.kind(),
        "machine": describe_device(),
        "torch": version("torch"),
        "data": data.source,
        "checksum": data.checksum(),
        "code": runs.code_checksum([*runs.CODE, beginner.__file__, tricks.__file__]),
    }
