"""Run every notebook in order, each in its own kernel: ``make run``.

``python -m helpers.workshop.run`` writes the executed notebooks and a page of each to
``artifacts/executed/``, and a table of what was measured to
``artifacts/summary.json``. With ``--save`` (``make notebooks``) the outputs also
go back into ``notebooks/``, cleaned so that two builds differ only where numbers
do; with ``--measure`` the summary goes into ``helpers/measured/notebooks.json``,
from which the README and the notebooks take every time and accuracy they state.
Either trains anew what lies finished in ``artifacts/runs/``.
"""

import os
import signal
import sys

INTERRUPTED = "Interrupted. Run the same command again: finished files are whole, none is half-written."


def say_and_leave(number, _=None):
    """Ctrl-C while nothing has been started yet: one sentence, and the exit code of a command that was interrupted."""
    os.write(2, f"\n{INTERRUPTED}\n".encode())
    os._exit(128 + number)


def answer_interrupts(answer) -> None:
    """Let ``answer`` answer Ctrl-C, unless whoever started this process has it ignored."""
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, answer)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT, signal.SIGTERM])  # `make run` holds it back


if __name__ == "__main__":
    answer_interrupts(say_and_leave)  # the imports take longest on a slow disk

import argparse
import ast
import asyncio
import contextlib
import json
import logging
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nbformat
import psutil
from IPython.core.inputtransformer2 import TransformerManager
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from nbstripout import strip_output
from traitlets.config import Config

from helpers import chapter
from helpers.plumbing import paths
from helpers.plumbing.mode import mode
from helpers.workshop import pages, reset, saved
from helpers.workshop.environment import alone

NOTEBOOKS = paths.ROOT / "notebooks"
CELL_LIMIT_S = 3600
START_LIMIT_S = 600
PICTURED = ("alexnet.onnx", "AlexNet.mlpackage")
"""The models whose graphs the notebooks show."""
VOLATILE = [
    "metadata.language_info.version",
    "metadata.signature",
    "metadata.widgets",
    "cell.metadata.collapsed",
    "cell.metadata.execution",
    "cell.metadata.scrolled",
]
"""What a cleaned notebook does not keep: it changes from machine to machine and says nothing."""


class Interruption:
    """How Ctrl-C ends a run: at once, or when the file being written is whole.

    Attributes:
        kernel_files: the folder of the kernel at work, if there is one.
    """

    def __init__(self):
        self.kernel_files, self._writing, self._pressed = None, False, False

    def __call__(self, number, _=None):
        """The answer to the signal: end every process that was started, and leave."""
        if self._writing and not self._pressed:
            self._pressed = number
            return
        for ignored in (signal.SIGINT, signal.SIGTERM):
            signal.signal(ignored, signal.SIG_IGN)
        end_children()
        if self.kernel_files:
            shutil.rmtree(self.kernel_files, ignore_errors=True)
        say_and_leave(number)

    @contextlib.contextmanager
    def later(self):
        """In this block Ctrl-C waits for its end. Pressed twice, it does not."""
        self._writing = True
        try:
            yield
        finally:
            self._writing = False
            if self._pressed:
                self(self._pressed)


def end_children() -> None:
    """End the processes that this one has started, and those that they have: first politely, then for certain."""
    for number in (signal.SIGINT, signal.SIGKILL, signal.SIGKILL):
        children = psutil.Process().children(recursive=True)
        for child in children:
            with contextlib.suppress(psutil.NoSuchProcess):
                child.send_signal(number)
        psutil.wait_procs(children, timeout=1)  # a cell that was interrupted clears up after itself


interruption = Interruption()


def first_line(source: str) -> str:
    """The first line of a cell that says something, cut to fit a terminal."""
    lines = [line.strip() for line in source.splitlines()]
    line = next((line for line in lines if line and not line.startswith(("#", "%"))), "")
    return line if len(line) <= 60 else line[:59] + "…"


class Cells:
    """Prints each cell with its time as it ends.

    Attributes:
        place: the number of the cell at work, from 1; 0 before the first.
        line: what its first line says.
    """

    def __init__(self, notebook, started=lambda seconds: None):
        self._cells = [index for index, cell in enumerate(notebook.cells) if cell.cell_type == "code"]
        self.place, self.line, self._began = 0, "", 0.0
        self._made, self._started = time.perf_counter(), started

    def _show(self, time_or_dots: str, end: str) -> None:
        print(f"  cell {self.place:2d}/{len(self._cells)} {time_or_dots}  {self.line}", end=end, flush=True)

    def start(self, cell, cell_index, **_) -> None:
        if self._started:
            self._started(time.perf_counter() - self._made)
            self._started = None
        if cell_index in self._cells:
            self.place, self._began = self._cells.index(cell_index) + 1, time.perf_counter()
            self.line = first_line(cell.source)
            if sys.stdout.isatty():
                self._show("    …    ", "\r")

    def end(self, **_) -> None:
        self._show(f"{time.perf_counter() - self._began:7.1f} s", "\n")


def import_seconds(notebook) -> float:
    """Seconds that the imports in this notebook's cells take together, in a Python of their own.

    What a notebook wrote itself is not there to be imported, and does not count.
    """
    lines = []
    for cell in notebook.cells:
        if cell.cell_type == "code":
            for node in ast.walk(ast.parse(TransformerManager().transform_cell(cell.source))):
                if isinstance(node, (ast.Import, ast.ImportFrom)):
                    lines.append(ast.unparse(node))
    lines = [f"with suppress(ImportError): {line}" for line in lines]
    began = "from contextlib import suppress; import time; began = time.perf_counter()"
    code = "\n".join([began, *lines, "print(time.perf_counter() - began)"])
    said = subprocess.run(
        [sys.executable, "-c", code], cwd=NOTEBOOKS, capture_output=True, text=True, check=True
    )
    return float(said.stdout.splitlines()[-1])


def execute(path, started=lambda seconds: None) -> tuple[nbformat.NotebookNode, float, str]:
    """Run one notebook and print each cell with its time as it ends.

    Args:
        started: is called with the seconds that the kernel's start took, when it has ended.

    Returns:
        The executed notebook, the seconds it took, and the error text ("" when all went well).

    Raises:
        ValueError: the file is no notebook.
    """
    try:
        notebook = nbformat.read(path, as_version=4)
    except Exception as error:  # nbformat has many errors for a damaged file
        name = paths.shorten(path)
        raise ValueError(
            f"{name} is no notebook, or damaged ({type(error).__name__}). Get it back with: make reset"
        ) from error
    began, cells = time.perf_counter(), Cells(notebook, started)
    print(f"\n{path.stem}", flush=True)
    with tempfile.TemporaryDirectory(prefix="kernel-") as folder, ThreadPoolExecutor(1) as pool:
        interruption.kernel_files = folder
        try:
            # Outside the main thread nbclient leaves the signals alone: Ctrl-C is answered here.
            error = pool.submit(asyncio.run, _execute(notebook, path, Path(folder), cells)).result()
        except BaseException:
            end_children()
            raise
        finally:
            interruption.kernel_files = None
    return notebook, time.perf_counter() - began, error


async def _execute(notebook, path, folder: Path, cells: Cells) -> str:
    """Run a notebook's cells in a new kernel, whose files go to ``folder``; return the error text."""
    silent = logging.getLogger("helpers.workshop.run.nbclient")
    silent.addHandler(logging.NullHandler())
    silent.propagate = False  # what it would say is said below
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: None)
    client = NotebookClient(
        notebook,
        timeout=CELL_LIMIT_S,
        startup_timeout=START_LIMIT_S,
        kernel_name="python3",
        resources={"metadata": {"path": str(path.parent)}},
        on_cell_start=cells.start,
        on_cell_executed=cells.end,
        record_timing=False,
        log=silent,
        # Without encryption every kernel warns that others on this machine could listen in.
        config=Config(
            KernelManager={
                "transport_encryption": "required",
                "connection_file": str(folder / "connection.json"),
            }
        ),
    )
    with open(folder / "said", "w+b") as said:
        try:
            await client.async_execute(stdout=said, stderr=said)
        except CellExecutionError as problem:
            return re.sub(r"\x1b\[[\d;]*m", "", str(problem))  # a traceback comes in colours
        except CellTimeoutError:
            return (
                f"Cell {cells.place} was still at work after {chapter.in_words(CELL_LIMIT_S)}, the limit of "
                f"`make run`: {cells.line}\nTake a shorter mode (MODE=quick), or run the notebook in "
                "JupyterLab (make lab), which has no limit."
            )
        except (DeadKernelError, RuntimeError, AssertionError):
            said.seek(0)
            last = "\n".join(said.read().decode(errors="replace").splitlines()[-5:])
            when = f"in cell {cells.place}" if cells.place else "before its first cell"
            return (
                f"Its kernel ended {when}, most often because the memory was used up. Close other programs, "
                f"or take a shorter mode (MODE=quick), then run the same command again.\n{last}"
            )
    return ""


def pages_folder() -> Path:
    folder = paths.artifacts_dir() / "executed"
    folder.mkdir(exist_ok=True)
    return folder


def write_page(notebook, name: str, beside: Collection[str] = ()) -> None:
    """Write one executed notebook and its HTML page, which needs no network, to ``artifacts/executed/``.

    ``beside`` names the pages that this run writes.
    """
    folder = pages_folder()
    with paths.replacing(folder / f"{name}.ipynb") as temporary:
        nbformat.write(notebook, temporary)
    pages.write(notebook, folder / f"{name}.html", beside)


def save_outputs(notebook, path, made: dict[str, str] | None = None) -> None:
    """Put the outputs back into ``notebooks/``, without what changes from run to run.

    ``made`` is ``saved.made_by()`` as it was before the notebook ran; by default it is asked now.
    """
    notebook.metadata["made_by"] = (made or saved.made_by()) | {"cells": saved.cells(notebook)}
    strip_output(notebook, keep_output=True, keep_count=True, keep_id=False, extra_keys=VOLATILE)
    with paths.replacing(path) as temporary:
        nbformat.write(notebook, temporary)


def made_files() -> dict[str, int]:
    """The files and folders in ``artifacts/`` that a reader may want, and their bytes."""
    skipped = {"executed", "slides", "results", "scratch", "summary.json", "runs", "bench"}
    made = {}
    for path in sorted(paths.artifacts_dir().iterdir()):
        if path.name not in skipped and not path.name.startswith("."):
            with contextlib.suppress(FileNotFoundError):  # a notebook that is open elsewhere writes, too
                made[path.name] = sum(p.stat().st_size for p in [path, *path.rglob("*")] if p.is_file())
    return made


def summarise(seconds: dict[str, float]) -> dict:
    """Gather what the notebooks recorded, and write ``artifacts/summary.json``."""
    results = {name: found for name, found in chapter.results().items() if name in seconds}
    merged = {key: value for recorded in results.values() for key, value in recorded.items()}
    summary = {
        "source": merged.pop("source", None),
        "mode": mode(),
        "test_accuracy": merged.pop("test_accuracy", None),
        "onnx_max_abs_diff": merged.pop("onnx_max_abs_diff", None),
        **{key: value for key, value in merged.items() if key != "mode"},
        "files": made_files(),
        "seconds": {name: round(value, 1) for name, value in seconds.items()},
    }
    with paths.replacing(paths.artifact("summary.json")) as temporary:
        temporary.write_text(json.dumps(summary, indent=1, ensure_ascii=False), encoding="utf-8")
    return summary


def print_table(summary: dict) -> None:
    """The end of ``make run``: the data, the accuracy, the proofs, the files and the times."""

    def row(name, value):
        print(f"  {name:<34} {value}")

    def short(value):
        if isinstance(value, dict):
            return ", ".join(f"{name.replace('_', ' ')} {short(inside)}" for name, inside in value.items())
        return (
            f"{value:.2g}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else value
        )

    print("\nWhat was made and measured")
    row("data", summary["source"])
    row("mode", summary["mode"])
    accuracy = summary["test_accuracy"]
    if accuracy is not None:
        row("accuracy on the test images", f"{accuracy:.2%}" if isinstance(accuracy, float) else accuracy)
    known = {"source", "mode", "test_accuracy", "files", "seconds"}
    for name, value in summary.items():
        if isinstance(value, dict) and name not in known:
            for inside, numbers in value.items():
                row(f"{name}: {inside}", short(numbers))
        elif name not in known:
            row(name.replace("_", " "), short(value))
    print("\nFiles in", paths.shorten(paths.artifacts_dir()))
    for name, size_in_bytes in summary["files"].items():
        row(name, f"{size_in_bytes:>12,} bytes")
    print("\nTime")
    for name, value in summary["seconds"].items():
        row(name, f"{value:8.1f} s")
    row("in all", f"{sum(summary['seconds'].values()):8.1f} s")
    print(f"\nRead them: {paths.shorten(paths.artifacts_dir() / 'executed')}/*.html")


def keep_pictures() -> None:
    """Draw the graphs that the notebooks show, for readers who have no Chromium."""
    from helpers import netron_view

    for name in PICTURED:
        netron_view.save_picture(paths.artifact(name))


def keep_measured(summary: dict, starting: float, importing: float) -> None:
    """Put the summary of this mode into the numbers that ship, and bring the README up to date.

    A run of some notebooks only replaces what these measured; the seconds of ``starting`` the kernels
    and of ``importing`` are those of a run of all.
    """
    from helpers.plumbing.device import describe_device
    from helpers.plumbing.measured import read
    from helpers.workshop import readme

    measured = read("notebooks")
    everything = set(summary["seconds"]) >= set(chapter.NOTEBOOKS)
    kept = {} if everything else measured.get(mode(), {})
    fresh = {key: value for key, value in summary.items() if value is not None}
    fresh |= {"starting": starting, "importing": importing} if everything else {}
    fresh["machines"] = dict.fromkeys(summary["seconds"], describe_device())
    for key in ("machines", "seconds", "files"):
        fresh[key] = kept.get(key, {}) | fresh[key]
    measured[mode()] = kept | fresh
    with paths.replacing(paths.MEASURED / "notebooks.json") as temporary:
        temporary.write_text(json.dumps(measured, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    readme.update()


@contextlib.contextmanager
def without_kept_runs():
    """Put the trainings in ``artifacts/runs`` aside for the time: what is measured or saved trains anew.

    Those that were not trained again come back at the end; after a kill, with the next call.
    """
    runs, aside = paths.artifacts_dir() / "runs", paths.artifacts_dir() / ".runs-before"

    def come_back() -> None:
        runs.mkdir(exist_ok=True)
        for kept in aside.glob("*"):
            if not (runs / kept.name).exists():
                kept.rename(runs / kept.name)
        shutil.rmtree(aside, ignore_errors=True)

    come_back()
    runs.rename(aside)
    try:
        yield
    finally:
        with interruption.later():
            come_back()


def run_all(notebooks, chosen) -> int:
    """Run the notebooks, keep what is to be kept of each, and print the table; return the exit code."""
    seconds: dict[str, float] = {}
    starting: list[float] = []
    importing: list[float] = []
    beside = {path.stem for path in [*notebooks, *pages.texts(), *pages_folder().glob("*.html")]}
    made = saved.made_by() if chosen.save else None
    for path in notebooks:
        notebook, seconds[path.stem], error = execute(path, starting.append)
        with interruption.later():
            write_page(notebook, path.stem, beside)
        if error:
            print(f"\n{path.name} stopped with an error:\n\n{error}", file=sys.stderr)
            return 1
        with interruption.later():
            if chosen.save:
                save_outputs(notebook, path, made)
        if chosen.measure:
            importing.append(import_seconds(notebook))
    with interruption.later():
        pages.write_texts(pages_folder(), beside)
        summary = summarise(seconds)
        print_table(summary)
    if chosen.save and not chosen.names:
        keep_pictures()
    if chosen.measure:
        keep_measured(summary, round(sum(starting), 1), round(sum(importing), 1))
    return 0


def find(names: list[str]) -> list[Path]:
    """The notebooks whose name starts with one of ``names``; all, if there are none.

    Raises:
        ValueError: there is none.
    """
    notebooks = sorted(NOTEBOOKS.glob("[0-9][0-9]_*.ipynb"))
    found = [path for path in notebooks if not names or path.stem.startswith(tuple(names))]
    if not found:
        which = f" starts with {', '.join(map(paths.printable, names))}" if names else ", where they belong"
        raise ValueError(f"No notebook in {paths.shorten(NOTEBOOKS)}{which}.")
    return found


def main(arguments=None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m helpers.workshop.run", description="Run every notebook in order."
    )
    parser.add_argument("--save", action="store_true", help="save the outputs into notebooks/ as well")
    parser.add_argument("--measure", action="store_true", help="keep the summary as the numbers that ship")
    parser.add_argument(
        "names", nargs="*", help="only notebooks whose name starts with one of these, e.g. 03"
    )
    chosen = parser.parse_args(arguments)
    try:
        os.environ["CHAPTER_MODE"] = mode()
        notebooks = find(chosen.names)
        reset.keep()
        # Two runs at once would take each other's network for their own.
        with alone(
            paths.artifacts_dir(), "Another `make run` is at work in this folder. This one waits for its end."
        ):
            if not chosen.names:
                # What an earlier run recorded must not pass for this one's, and what was killed lies about.
                paths.remove_leftovers(paths.artifacts_dir(), below=True)
                shutil.rmtree(paths.artifacts_dir() / "results", ignore_errors=True)
            trained_anew = chosen.save or chosen.measure
            with without_kept_runs() if trained_anew else contextlib.nullcontext():
                return run_all(notebooks, chosen)
    except BrokenPipeError:  # `make run | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (ValueError, OSError) as error:
        print(f"\n{error}", file=sys.stderr)
        return 2 if isinstance(error, ValueError) else 1


def answering(arguments=None) -> int:
    """``main``, ended by Ctrl-C with one sentence."""
    answer_interrupts(interruption)
    code = main(arguments)
    answer_interrupts(signal.SIG_IGN)  # all is done
    return code


if __name__ == "__main__":
    sys.exit(answering())
