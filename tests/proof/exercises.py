"""Every notebook with its exercises solved, in quick mode: ``python -m tests.proof.exercises [NAME …]``.

``tests/test_exercises.py`` gives each solution the values of a small stand-in for its notebook, on drawings. Here the
whole notebook runs, on the real data and with the network that a learner of quick mode has, and every check has to
say *right*. It takes minutes, and writes no table.
"""

import argparse
import os
import sys

import nbformat

from helpers.exercises import SOLUTIONS
from helpers.plumbing import paths
from helpers.workshop import exercises, run


def solved(path):
    """A notebook with the solutions in place of its exercises."""
    notebook = nbformat.read(run.NOTEBOOKS / path.name, as_version=4)
    code = {number: parts[1] for number, parts in exercises.solved(path).items()}
    for cell in notebook.cells:
        if cell.cell_type == "code" and "exercise" in cell.metadata:
            cell.source = code[cell.metadata["exercise"]]
    return notebook


def main(arguments=None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.proof.exercises")
    parser.add_argument(
        "names", nargs="*", help="only notebooks whose name starts with one of these, e.g. 03"
    )
    names = tuple(parser.parse_args(arguments).names)
    os.environ.setdefault("CHAPTER_MODE", "quick")
    wrong = []
    for path in sorted(SOLUTIONS.glob("*.ipynb")):
        if names and not path.name.startswith(names):
            continue
        copy = paths.artifact(f"scratch/solved/{path.name}")
        nbformat.write(solved(path), copy)
        notebook, _, error = run.execute(copy)
        print(error, end="")
        for cell in notebook.cells:
            if cell.cell_type == "code" and "exercise" in cell.metadata:
                text = "".join(output.get("text", "") for output in cell.outputs)
                if "✓  right. " not in text:
                    wrong.append(cell.metadata["exercise"])
                    print(text)
    print(f"\nnot right: {', '.join(wrong)}" if wrong else "\nEvery solution is right.")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
