"""What a saved notebook was made by, kept in its metadata, so that a test can say when its outputs are out of date.

``made_by`` holds a checksum of each thing whose change changes numbers that a reader sees:

- ``cells``: the notebook's own code;
- ``training``: ``helpers.runs.CODE``, the code that decides how a training ends. Notebooks 02 to 06 go on with the
  network that 01 has trained;
- ``recipe``: the recipe of the mode, which is kept too;
- ``weights``: the checkpoints that ship.

Comments, docstrings and layout do not count, nor does the rest of ``helpers``: every mended message would ask for a
run of 46 minutes. Who changes what another helper *prints or draws* runs the notebook again without being told.
"""

import ast
import hashlib
import json
from dataclasses import asdict
from typing import Any

from helpers.plumbing import paths
from helpers.plumbing.mode import mode

AGAIN = (
    "Run it again, with the ones before it if it goes on with what they make: `make notebooks`, or for one \
CHAPTER_MODE=full python -m helpers.workshop.run --save "
)
"""What to do with a notebook that is out of date; its number follows."""


def made_by() -> dict[str, str]:
    """What decides the outputs of every notebook, as it is now in this mode."""
    from helpers import runs  # PyTorch, which `make run` does without
    from helpers.recipe import Recipe

    cards = sorted(paths.PRETRAINED.glob("*.json"))
    weights = [json.loads(path.read_text(encoding="utf-8"))["weights_sha256"] for path in cards]
    return {
        "mode": mode(),
        "training": _digest([shape(ast.parse(path.read_text(encoding="utf-8"))) for path in runs.CODE]),
        "recipe": _digest(sorted(asdict(Recipe.for_mode()).items())),
        "weights": _digest(weights),
    }


def cells(notebook) -> str:
    """A checksum of a notebook's code, apart from how it finds the project (``helpers.workshop.address``)."""
    trees = [ast.parse(cell.source) for cell in notebook.cells if cell.cell_type == "code"]
    if trees and trees[0].body and isinstance(trees[0].body[0], ast.Try):
        del trees[0].body[0]
    return _digest([shape(tree) for tree in trees])


def shape(node: Any) -> Any:
    """Code without comments, docstrings and layout, as nested lists; in every Python the same, unlike ``ast.dump``."""
    if isinstance(node, ast.JoinedStr):  # Python 3.12 ends some with an empty text
        return ["JoinedStr", *(shape(part) for part in node.values if getattr(part, "value", None) != "")]
    if isinstance(node, list):
        return [shape(one) for one in node if not _is_text(one)]
    if isinstance(node, ast.AST):
        fields = ((name, value) for name, value in ast.iter_fields(node) if value not in (None, []))
        return [type(node).__name__, *((name, shape(value)) for name, value in fields)]
    return repr(node)


def _is_text(line: Any) -> bool:
    return isinstance(line, ast.Expr) and isinstance(getattr(line.value, "value", None), str)


def _digest(what: Any) -> str:
    return hashlib.blake2b(repr(what).encode(), digest_size=8).hexdigest()


def out_of_date(notebook, made: dict[str, str]) -> list[str]:
    """What has changed since this notebook was saved: the names of it above; all if it has no record.

    Args:
        notebook: as nbformat reads it.
        made: as ``made_by()`` returns it in the mode in which notebooks are saved.
    """
    kept = notebook.metadata.get("made_by", {})
    return [name for name, now in (made | {"cells": cells(notebook)}).items() if kept.get(name) != now]
