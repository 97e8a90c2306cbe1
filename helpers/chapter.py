"""What every notebook says first, and what it proved: the thread through the series."""

import json
import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from helpers.plumbing import paths
from helpers.plumbing.language import marked, padded, translated
from helpers.plumbing.measured import read
from helpers.plumbing.mode import mode

MEANING = {
    "quick": marked("a short training, for reading along"),
    "full": marked("the recipe of the shipped checkpoint"),
    "smoke": marked("seconds, on drawings: a test, not a lesson"),
}


NOTEBOOKS = {
    "00_start_here": marked("check the machine, get the data, see the road"),
    "01_train_alexnet": marked("write and train AlexNet, read its curves and mistakes"),
    "02_save_and_load": marked("save and load both ways, safely"),
    "03_export_to_onnx": marked("leave Python: export, read the graph, prove the numbers"),
    "04_convert_to_coreml": marked("arrive at Core ML, and prove it without a Mac"),
    "05_into_an_ios_app": marked("put the model into an app, with a proof that travels"),
    "06_why_80_becomes_60": marked("take a failure apart, measure it, repair it"),
    "07_your_own_network": marked("take a network that is not ours down the whole road"),
}
"""Every notebook, in order, and what it is for in a few words."""

_current: str | None = None
_recorded: dict = {}
"""The notebook that runs, and what it has recorded. It is not read back: another run may be writing there."""


def begin(notebook: str, *packages: str) -> None:
    """Print the mode of this run, the device, and the versions of the packages that matter here.

    Args:
        notebook: its name without ``.ipynb``. ``record`` files its results under it.
        packages: names as pip knows them, e.g. ``"torch", "onnx"``.

    Raises:
        ValueError: there is no notebook, or no package, of that name.
    """
    from helpers.plumbing.device import describe_device

    global _current
    if notebook not in tuple(NOTEBOOKS):
        raise ValueError(f"There is no notebook {notebook!r}. They are {', '.join(NOTEBOOKS)}.")
    versions = [f"Python {platform.python_version()}"] + [f"{name} {_version(name)}" for name in packages]
    _current = notebook
    _recorded.clear()
    paths.remove_leftovers(paths.artifacts_dir(), below=True)
    meaning = translated(MEANING[mode()])
    print(translated("mode      {mode} ({meaning})", mode=mode(), meaning=meaning))
    print(translated("device    {device}", device=describe_device()))
    print(translated("versions  {versions}", versions=", ".join(versions)))


def _version(package: str) -> str:
    try:
        return version(package)
    except (PackageNotFoundError, TypeError, ValueError) as error:
        raise ValueError(
            f"There is no package {package!r} here. Check its name; `make setup` installs what the notebooks need."
        ) from error


def in_words(seconds: float) -> str:
    """A time as one says it: ``"20 seconds"``, ``"3 minutes"``."""
    return f"{seconds:.0f} seconds" if seconds < 90 else f"{seconds / 60:.0f} minutes"


def _in_words(seconds: float) -> str:
    """The same in the learner's language."""
    number, unit = in_words(seconds).split()
    words = marked("{number} seconds") if unit == "seconds" else marked("{number} minutes")
    return translated(words, number=number)


def show_map() -> None:
    """Print every notebook, what it is for, and how long it took where it was measured."""
    measured = read("notebooks")
    modes = [name for name in ("quick", "full") if name in measured]
    first, second = translated("notebook"), translated("you learn to")
    print(f"{padded(first, 22)} {padded(second, 56)}" + "".join(f"{name:>12}" for name in modes))
    for notebook, purpose in NOTEBOOKS.items():
        times = [measured[name]["seconds"].get(notebook) for name in modes]
        columns = "".join(padded("–" if time is None else _in_words(time), 12, before=True) for time in times)
        print(f"{notebook:<22} {padded(translated(purpose), 56)}{columns}")
    for machine, where in measured_on(measured).items():
        said = f"{machine}: {where}" if where else machine
        print(translated("measured on {machine}", machine=said))


def measured_on(measured: dict) -> dict[str, str]:
    """The machines that the times come from, each with its notebooks (in all modes) by number; "" for all of them.

    Args:
        measured: mode → ``seconds`` and ``machines`` by notebook, as ``helpers/measured/notebooks.json`` holds them.
    """
    machines: dict[str, set[str]] = {}
    for one in measured.values():
        for notebook, machine in one["machines"].items():
            machines.setdefault(machine, set()).add(notebook[:2])
    if len(machines) == 1:
        return dict.fromkeys(machines, "")
    return {machine: "notebooks " + ", ".join(sorted(numbers)) for machine, numbers in machines.items()}


def record(**measured: Any) -> None:
    """Keep what this notebook measured, for the table at the end of ``make run``.

    Args:
        measured: numbers and short texts, e.g. ``test_accuracy=0.81``. A later call adds to it; ``begin``
            starts afresh.

    Raises:
        RuntimeError: ``begin`` has not been called.
        ValueError: a value cannot be written as JSON, or is NaN or infinite. What was recorded before stays.
    """
    if _current is None:
        raise RuntimeError(
            "chapter.record() does not know the notebook: run its first cell, chapter.begin(…)."
        )
    try:
        text = json.dumps(_recorded | {"mode": mode()} | measured, indent=1, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"chapter.record() keeps numbers, texts, and lists and dicts of them, and this is something else ({error}). "
            "Of a tensor take .item()."
        ) from error
    _recorded.update({"mode": mode()} | measured)
    with paths.replacing(paths.artifact(f"results/{_current}.json")) as temporary:
        temporary.write_text(text, encoding="utf-8")


def results() -> dict[str, dict]:
    """Everything recorded so far: notebook → what it measured."""
    folder = paths.artifacts_dir() / "results"
    return {path.stem: _read(path) for path in sorted(folder.glob("*.json"))}


def _read(path) -> dict:
    """What a notebook recorded; nothing where it has not, or where the file is damaged: it is made again."""
    if not path.is_file():  # to open a pipe is to wait for its writer
        return {}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
