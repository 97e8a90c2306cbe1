"""Run every notebook in order, each in its own kernel: ``make run``.

``python -m helpers.run`` writes the executed notebooks and a page of each to
``artifacts/executed/``, and a table of what was measured to
``artifacts/summary.json``. With ``--save`` (``make notebooks``) the outputs also
go back into ``notebooks/``, cleaned so that two builds differ only where numbers
do; with ``--measure`` the summary goes into ``helpers/measured/notebooks.json``,
from which the README and the notebooks take every time and accuracy they state;
with ``--ship`` the checkpoint that notebook 01 trained becomes the shipped one.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import time

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, DeadKernelError
from nbconvert import HTMLExporter
from traitlets.config import Config

from helpers import chapter, checkpoints, netron_view, paths, readme
from helpers.coreml import size
from helpers.mode import mode
from helpers.training import describe_device

NOTEBOOKS = paths.ROOT / "notebooks"
CELL_LIMIT_S = 3600
PICTURED = ("alexnet.onnx", "AlexNet.mlpackage")
"""The models whose graphs the notebooks show."""
# What a cleaned notebook does not keep: it changes from machine to machine and says nothing.
VOLATILE = "metadata.language_info.version metadata.widgets"


def first_line(source: str) -> str:
    """The first line of a cell that says something, cut to fit a terminal."""
    lines = [line.strip() for line in source.splitlines()]
    line = next((line for line in lines if line and not line.startswith(("#", "%"))), "")
    return line if len(line) <= 60 else line[:59] + "…"


def execute(path) -> tuple[nbformat.NotebookNode, float, str]:
    """Run one notebook and print each cell with its time as it ends.

    Returns:
        The executed notebook, the seconds it took, and the error text ("" when all went well).
    """
    notebook = nbformat.read(path, as_version=4)
    cells = [index for index, cell in enumerate(notebook.cells) if cell.cell_type == "code"]
    started: dict[int, float] = {}

    def on_start(cell, cell_index):
        if cell_index in cells:
            started[cell_index] = time.perf_counter()
            if sys.stdout.isatty():
                number = cells.index(cell_index) + 1
                print(
                    f"  cell {number:2d}/{len(cells)}     …    {first_line(cell.source)}",
                    end="\r",
                    flush=True,
                )

    def on_done(cell, cell_index, **_):
        number = cells.index(cell_index) + 1
        seconds = time.perf_counter() - started[cell_index]
        print(f"  cell {number:2d}/{len(cells)} {seconds:7.1f} s  {first_line(cell.source)}", flush=True)

    client = NotebookClient(
        notebook,
        timeout=CELL_LIMIT_S,
        kernel_name="python3",
        resources={"metadata": {"path": str(path.parent)}},
        on_cell_start=on_start,
        on_cell_executed=on_done,
        record_timing=False,
        # Without it every kernel warns that others on this machine could listen in.
        config=Config(KernelManager={"transport_encryption": "required"}),
    )
    began, error = time.perf_counter(), ""
    print(f"\n{path.stem}", flush=True)
    try:
        client.execute()
    except (CellExecutionError, DeadKernelError) as problem:
        error = re.sub(r"\x1b\[[\d;]*m", "", str(problem))  # a traceback comes in colours
    return notebook, time.perf_counter() - began, error


def write_page(notebook, name: str) -> None:
    """Write one executed notebook and its HTML page, which needs no network, to ``artifacts/executed/``."""
    folder = paths.artifacts_dir() / "executed"
    folder.mkdir(exist_ok=True)
    with paths.replacing(folder / f"{name}.ipynb") as temporary:
        nbformat.write(notebook, temporary)
    exporter = HTMLExporter(mathjax_url="", require_js_url="", jquery_url="", embed_images=True)
    page, _ = exporter.from_notebook_node(
        notebook, resources={"metadata": {"name": name, "path": str(NOTEBOOKS)}}
    )
    with paths.replacing(folder / f"{name}.html", len(page)) as temporary:
        temporary.write_text(page, encoding="utf-8")


def save_outputs(notebook, path) -> None:
    """Put the outputs back into ``notebooks/``, without what changes from run to run."""
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
    with paths.replacing(path) as temporary:
        nbformat.write(notebook, temporary)
        clean = [
            sys.executable,
            "-m",
            "nbstripout",
            "--keep-output",
            "--keep-count",
            "--extra-keys",
            VOLATILE,
        ]
        subprocess.run([*clean, str(temporary)], check=True)


def summarise(seconds: dict[str, float]) -> dict:
    """Gather what the notebooks recorded, and write ``artifacts/summary.json``."""
    results = {name: found for name, found in chapter.results().items() if name in seconds}
    merged = {key: value for recorded in results.values() for key, value in recorded.items()}
    folder = paths.artifacts_dir()
    skipped = {"executed", "results", "scratch", "summary.json", "runs", "bench"}
    files = {
        p.name: size(p)
        for p in sorted(folder.iterdir())
        if p.name not in skipped and not p.name.startswith(".")
    }
    summary = {
        "source": merged.pop("source", None),
        "mode": mode(),
        "test_accuracy": merged.pop("test_accuracy", None),
        "onnx_max_abs_diff": merged.pop("onnx_max_abs_diff", None),
        **{key: value for key, value in merged.items() if key != "mode"},
        "files": files,
        "seconds": {name: round(value, 1) for name, value in seconds.items()},
    }
    with paths.replacing(folder / "summary.json") as temporary:
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
    if summary["test_accuracy"] is not None:
        row("accuracy on the test images", f"{summary['test_accuracy']:.2%}")
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
    for name in PICTURED:
        netron_view.save_picture(paths.artifact(name))


def keep_measured(summary: dict) -> None:
    """Put the summary of this mode into the numbers that ship, and bring the README up to date.

    A run of some notebooks only replaces what these measured.
    """
    measured = chapter.read_measured()
    everything = set(summary["seconds"]) >= set(chapter.NOTEBOOKS)
    kept = {} if everything else measured.get(mode(), {})
    fresh = {key: value for key, value in summary.items() if value is not None}
    fresh["machines"] = dict.fromkeys(summary["seconds"], describe_device())
    for key in ("machines", "seconds", "files"):
        fresh[key] = kept.get(key, {}) | fresh[key]
    measured[mode()] = kept | fresh
    with paths.replacing(chapter.MEASURED) as temporary:
        temporary.write_text(json.dumps(measured, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    readme.update()


def ship() -> None:
    """Make the checkpoint that notebook 01 has just trained the one that ships."""
    for name in (checkpoints.SHIPPED, checkpoints.SHIPPED.with_suffix(".json")):
        with paths.replacing(name) as temporary:
            shutil.copyfile(paths.artifact(name.name), temporary)


def main(arguments=None) -> int:
    parser = argparse.ArgumentParser(prog="python -m helpers.run", description="Run every notebook in order.")
    parser.add_argument("--save", action="store_true", help="save the outputs into notebooks/ as well")
    parser.add_argument("--measure", action="store_true", help="keep the summary as the numbers that ship")
    parser.add_argument("--ship", action="store_true", help="ship the checkpoint that notebook 01 trains")
    parser.add_argument(
        "names", nargs="*", help="only notebooks whose name starts with one of these, e.g. 03"
    )
    chosen = parser.parse_args(arguments)
    notebooks = sorted(NOTEBOOKS.glob("[0-9][0-9]_*.ipynb"))
    if chosen.names:
        notebooks = [path for path in notebooks if path.stem.startswith(tuple(chosen.names))]
    if not notebooks:
        print(
            f"No notebook in {paths.shorten(NOTEBOOKS)} starts with {', '.join(chosen.names)}.",
            file=sys.stderr,
        )
        return 2
    os.environ["CHAPTER_MODE"] = mode()
    if not chosen.names:
        # What an earlier run recorded must not pass for this one's.
        shutil.rmtree(paths.artifacts_dir() / "results", ignore_errors=True)

    seconds = {}
    for path in notebooks:
        notebook, seconds[path.stem], error = execute(path)
        write_page(notebook, path.stem)
        if error:
            print(f"\n{path.name} stopped with an error:\n\n{error}", file=sys.stderr)
            return 1
        if chosen.ship and path.stem.startswith("01"):
            ship()
        if chosen.save:
            save_outputs(notebook, path)
    summary = summarise(seconds)
    print_table(summary)
    if chosen.save and not chosen.names:
        keep_pictures()
    if chosen.measure:
        keep_measured(summary)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit("\nInterrupted. Run the same command again: finished files are whole, none is half-written.")
