"""Time our training against a beginner's loop, and every trick against its absence: ``make bench``.

What is timed is timed in *turns*, on a part of the pictures, with the machine to itself; what is
trained is trained once, in *trainings* from which no time is taken: as many at once as there
are processor cores, one thread each (on a GPU one after another).

``python -m helpers.workshop.bench`` does what is missing, and keeps every finished job in
``artifacts/bench/``: stop it when you like, and it goes on where it was. The results are in
``artifacts/bench.json`` (medians, under the kind of this machine's processor), ``bench.jsonl``
(every job) and a figure. ``--plan`` says first how long all that will take here. ``--keep``
makes the results ship with the project beside those of other kinds, ``--ship`` makes the full
recipe's median seed the shipped checkpoint, and ``--add`` measures only what the shipped
results lack. ``--speedrun`` is a race: see ``helpers.workshop.speedrun``.
"""

import argparse
import contextlib
import json
import shutil
import signal
import subprocess
import sys
import time
from statistics import mean

import psutil
import torch

from helpers import benchmark, checkpoints, figures, runs
from helpers.benchmark import TARGET
from helpers.data import load_cifar10
from helpers.evaluation import evaluate
from helpers.plumbing import measured, paths
from helpers.plumbing.device import pick_device
from helpers.workshop.jobs import Job, file_name, jobs
from helpers.workshop.limits import pace, plan
from helpers.workshop.measure import folder, measure, stamp
from helpers.workshop.speedrun import speedrun
from helpers.workshop.summary import summarise, validation_accuracy


def read(job: Job, wanted: dict) -> dict | None:
    """The kept result of a job; None when there is none, or it is damaged or holds for something else."""
    path = folder() / f"{job.name}.json"
    try:
        result = json.loads(path.read_text(encoding="utf-8"))
        if result["stamp"] == wanted and {"test_accuracy", "seconds", "share"} & result.keys():
            return result
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError):
        pass
    print(
        f"{paths.shorten(path)} is damaged, or was made by other code or on another machine: measured again."
    )
    return None


# -- in processes of their own -------------------------------------------------------------------------


def at_once(device) -> int:
    """How many trainings may run side by side: one per core and 4 GB of free memory; one on a GPU."""
    if device.type != "cpu":
        return 1
    return max(1, min(torch.get_num_threads(), psutil.virtual_memory().available // (4 * 10**9)))


def in_processes(groups: list[list[Job]], command: list[str], processes: int) -> bool:
    """Do each group of jobs in a process of its own, several at once; whether all went well.

    The first that fails ends the others: each goes on where it was when it is started again.
    """
    left, running = list(groups), []
    try:
        while left or running:
            while left and len(running) < processes:
                print(
                    f"{len(groups) - len(left) + 1}/{len(groups)}  {left[0][0].group}, seed {left[0][0].recipe.seed}",
                    flush=True,
                )
                running.append(subprocess.Popen([*command, "--jobs", *(job.name for job in left.pop(0))]))
            time.sleep(0.1)
            if any(process.poll() for process in running):
                for process in running:
                    process.send_signal(signal.SIGINT)
                return False
            running = [process for process in running if process.returncode is None]
        return True
    finally:
        for process in running:  # Ctrl-C has reached them, too: they keep what they have
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(10)
            process.terminate()
            process.wait()


def shares(missing: list[Job], processes: int) -> list[tuple[list[list[Job]], int]]:
    """What goes into one process each, and how many of these run at once: limit and rounds alone, then trainings."""
    alone: dict[str, list[Job]] = {}
    for job in missing:
        if not job.training:
            alone.setdefault(f"{job.group == 'limit'} {job.recipe.seed}", []).append(job)
    return [(list(alone.values()), 1), ([[job] for job in missing if job.training], processes)]


def done(job: Job, result: dict) -> None:
    """Say in a line what came out of a job."""
    text = "done"
    if "seconds" in result:
        text = f"{mean(result['seconds']):.1f} s an epoch"
    elif job.training:
        text = f"validation {validation_accuracy(result):.2%}, test {result['test_accuracy']:.2%}"
    print(f"    {job.group}, seed {job.recipe.seed}: {text}", flush=True)


# -- what comes out ----------------------------------------------------------------------------------


def figure_name() -> str:
    """What the figure of this machine's kind is called."""
    return f"bench-{benchmark.kind()}.png"


def write(summary: dict, results: list[dict]) -> None:
    """Put the medians, the results they come from and the figure into the artifacts folder."""
    texts = {
        "bench.json": json.dumps({benchmark.kind(): summary}, indent=1, ensure_ascii=False) + "\n",
        "bench.jsonl": "".join(f"{json.dumps(result)}\n" for result in results),
    }
    for name, text in texts.items():
        with paths.replacing(paths.artifact(name)) as temporary:
            temporary.write_text(text, encoding="utf-8")
    with paths.replacing(paths.artifact(figure_name())) as temporary:
        figures.benchmark(summary, target=TARGET, path=temporary)


def keep() -> None:
    """Make the results in the artifacts folder the ones that ship for this kind of processor."""
    fresh = json.loads(paths.artifact("bench.json").read_text(encoding="utf-8"))
    together = measured.read("bench") | fresh
    others = [line for line in shipped() if line["stamp"]["kind"] not in fresh]
    lines = [json.dumps(line) for line in others]
    lines += paths.artifact("bench.jsonl").read_text(encoding="utf-8").splitlines()
    for name, text in (
        ("bench.json", json.dumps(together, indent=1, ensure_ascii=False) + "\n"),
        ("bench.jsonl", "".join(f"{line}\n" for line in lines)),
    ):
        with paths.replacing(paths.MEASURED / name) as temporary:
            temporary.write_text(text, encoding="utf-8")
    with paths.replacing(paths.MEASURED / figure_name()) as temporary:
        shutil.copyfile(paths.artifact(figure_name()), temporary)


def shipped() -> list[dict]:
    """The result of every job that ships, of all kinds of processors."""
    path = paths.MEASURED / "bench.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return [json.loads(line) for line in lines]


def take_shipped(wanted: dict) -> None:
    """Put the shipped results of this stamp where this run looks for finished jobs. Newer ones that are there stay."""
    for result in shipped():
        own = folder() / f"{file_name(result['group'], result['seed'])}.json"
        if result["stamp"] == wanted and not own.exists():
            with paths.replacing(own) as temporary:
                temporary.write_text(json.dumps(result, indent=1), encoding="utf-8")


def ship(results: list[dict], data, path=checkpoints.SHIPPED) -> int:
    """Make the median seed of the full recipe, by validation, the shipped checkpoint.

    Args:
        results: of ``measure``; those of the group ``"full"`` count.
        path: where the checkpoint goes, its card beside it.

    Returns:
        That seed. ``Recipe.full()`` should have it.

    Raises:
        ValueError: no such run has been measured, or not on CIFAR-10.
    """
    full = sorted((one for one in results if one["group"] == "full"), key=validation_accuracy)
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


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m helpers.workshop.bench", description=__doc__.split("\n\n")[0]
    )
    add = parser.add_argument
    add("--only", nargs="+", metavar="GROUP", help='groups by their first letters, e.g. "quick"')
    add("--seeds", type=int, help="how many; default 5 for the recipes and the turns, 3 for the rest")
    add("--plan", action="store_true", help="measure a few steps, and say how long all will take here")
    add(
        "--speedrun",
        action="store_true",
        help="only a race to 80 %% and to 90 %%: a quick and a full training",
    )
    add(
        "--add",
        action="store_true",
        help="start from the shipped results, where they were measured on such a machine by the same code",
    )
    add("--keep", action="store_true", help="the results ship with the project")
    add("--ship", action="store_true", help="ship the full recipe's median seed")
    add("--jobs", nargs="+", help=argparse.SUPPRESS)  # in a process that main() starts for them
    add("--pace", action="store_true", help=argparse.SUPPRESS)  # the same, for plan()
    return parser


def main(arguments=None, data=None, shrink=lambda recipe: recipe) -> int:
    """See the module. ``data`` and ``shrink`` are for tests: all then happens in this process."""
    parser = _parser()
    chosen = parser.parse_args(arguments)
    alone = data is None
    data = data or load_cifar10()
    everything = jobs(chosen.seeds, shrink)
    if chosen.jobs:
        for job in everything:
            if job.name in chosen.jobs:
                done(job, measure(job, data))
        return 0
    if chosen.pace:
        print(json.dumps(pace(everything, data)))
        return 0
    if (chosen.keep or chosen.ship) and data.source != "CIFAR-10":
        parser.error("--keep and --ship are for results on CIFAR-10, and no CIFAR-10 was found.")
    if chosen.speedrun:
        speedrun(data, keep=chosen.keep)
        return 0
    first = tuple(chosen.only or [""])
    asked_for = [job for job in everything if job.group.startswith(first) or job.what.startswith(first)]
    if not asked_for:
        parser.error(
            f"no group starts with {', '.join(chosen.only)}: {', '.join({j.group for j in everything})}."
        )
    command = [sys.executable, "-m", "helpers.workshop.bench"]
    command += ["--seeds", str(chosen.seeds)] if chosen.seeds else []
    processes = at_once(pick_device())
    if chosen.plan:
        plan(asked_for, everything, data, command, processes)
        return 0
    wanted = stamp(data)
    if chosen.add:
        take_shipped(wanted)
    missing = [job for job in asked_for if read(job, wanted) is None]
    if not alone:
        for job in missing:
            done(job, measure(job, data, epochs=2))
    elif not all(in_processes(groups, command, count) for groups, count in shares(missing, processes)):
        print("A job failed; the others are kept. Run the same command again.", file=sys.stderr)
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
