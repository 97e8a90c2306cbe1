"""Cut the notebooks' exercises from their solutions: ``python -m helpers.workshop.exercises``.

An exercise is written once, in ``notebooks/solutions/``: its text, the code that solves it, and why. Between
``# start: …`` and ``# end`` stands what the learner is to find; the notebook has there what the comments say. With
``--run`` the solutions are run first (in the mode that is set), and saved with their outputs.
"""

import argparse
import re
import sys
from pathlib import Path

import nbformat

from helpers.exercises import MARKED, SOLUTIONS
from helpers.plumbing import paths
from helpers.workshop import run, saved


def start(code: str) -> str:
    """The code of a solution as the exercise begins with it."""
    return MARKED.sub(lambda found: re.sub(r"^( *)# start: ?", r"\1", found["start"], flags=re.M), code)


def solved(path: Path) -> dict[str, list[str]]:
    """The exercises of a notebook of solutions: number → text, code with its marks, why it is right.

    Raises:
        ValueError: an exercise has more or less than these three cells.
    """
    found: dict[str, list[str]] = {}
    for cell in nbformat.read(path, as_version=4).cells:
        if "exercise" in cell.metadata:
            found.setdefault(cell.metadata["exercise"], []).append(cell.source)
    for number, parts in found.items():
        if len(parts) != 3:
            raise ValueError(
                f"{path.name}: {number} has {len(parts)} cells, not a text, a code and a reason."
            )
    return found


def cells(path: Path) -> list:
    """The cells of the exercises of a notebook, cut from its solutions."""
    made = []
    for number, (text, code, _) in solved(path).items():
        name, metadata = f"exercise-{number.replace('.', '-')}", {"exercise": number}
        made.append(nbformat.v4.new_markdown_cell(text, id=f"{name}-text", metadata=metadata))
        made.append(nbformat.v4.new_code_cell(start(code).rstrip(), id=name, metadata=metadata))
    return made


def places(notebook) -> list[int]:
    """Where a notebook has exercises: the places of their cells."""
    return [place for place, cell in enumerate(notebook.cells) if "exercise" in cell.metadata]


def with_exercises(notebook, made: list):
    """A notebook with these exercises, in the place of those it has. A cell that has not changed keeps its outputs.

    Raises:
        ValueError: it has none, so nobody knows where they belong.
    """
    before = {cell.source: cell for cell in notebook.cells if "exercise" in cell.metadata}
    first = places(notebook)[:1]
    if not first:
        raise ValueError("The notebook has no cell with the metadata `exercise`: put one where they belong.")
    fresh = [before.get(cell.source, cell) for cell in made]
    rest = [cell for cell in notebook.cells if "exercise" not in cell.metadata]
    return nbformat.from_dict({**notebook, "cells": [*rest[: first[0]], *fresh, *rest[first[0] :]]})


def main(arguments=None) -> int:
    """Cut the exercises anew; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m helpers.workshop.exercises", description="Cut the exercises from their solutions."
    )
    parser.add_argument("--run", action="store_true", help="run the solutions first, and save their outputs")
    parser.add_argument(
        "names", nargs="*", help="only notebooks whose name starts with one of these, e.g. 03"
    )
    chosen = parser.parse_args(arguments)
    for solutions in sorted(SOLUTIONS.glob("*.ipynb")):
        if chosen.names and not solutions.name.startswith(tuple(chosen.names)):
            continue
        if chosen.run:
            made = saved.made_by()
            notebook, _, error = run.execute(solutions)
            if error:
                print(f"\n{solutions.name} stopped with an error:\n\n{error}", file=sys.stderr)
                return 1
            run.save_outputs(notebook, solutions, made)
        path = run.NOTEBOOKS / solutions.name
        notebook = nbformat.read(path, as_version=4)
        with paths.replacing(path) as temporary:
            nbformat.write(with_exercises(notebook, cells(solutions)), temporary)
    return 0


if __name__ == "__main__":
    sys.exit(main())
