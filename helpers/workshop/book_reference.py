"""The book's reference: every module of the lessons and every machine, from their docstrings.

Which notebook introduces a module stands in the docstring of ``helpers``; which one first uses a name is read from
the notebooks' code. Sphinx's autodoc does the rest.
"""

import ast
import re
from pathlib import Path

import nbformat

import helpers
from helpers.plumbing import paths

ROW = re.compile(r"^(\w+) +(\d\d)  (.+)$", re.M)
"""A row of the tables in the docstring of ``helpers``: the module, the notebook's number, what it is for."""


def public_names(module: str) -> list[str]:
    """The public functions and classes of a module of ``helpers``, in the order of its source; of a machine ``__all__``."""
    folder = paths.ROOT / "helpers" / module
    path = folder / "__init__.py" if folder.is_dir() else folder.with_suffix(".py")
    found = []
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return ast.literal_eval(node.value)
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            found.append(node.name)
    return found


def first_use(name: str, notebooks: dict[str, str], introduced: str) -> str:
    """The first notebook, from the module's own on, whose code has this name; the module's own where none has it."""
    later = [stem for stem in sorted(notebooks) if stem >= introduced]
    return next((stem for stem in later if re.search(rf"\b{name}\b", notebooks[stem])), introduced)


def pages(words: dict[str, str], notebooks: list[Path]) -> dict[str, str]:
    """The reference's pages: the name of each and its text."""
    code = {}
    for path in notebooks:
        cells = nbformat.read(path, as_version=4).cells
        code[path.stem] = "\n".join(cell.source for cell in cells if cell.cell_type == "code")
    found, lines = {}, []
    for module, number, purpose in ROW.findall(helpers.__doc__ or ""):
        stem = next((stem for stem in code if stem.startswith(number)), None)
        if stem is None:  # a small book
            continue
        found[module] = _page(module, stem, words, code)
        link = f"[{number}](/{stem}.ipynb)"
        lines.append(f"| [`{module}`](/reference/{module}.rst) | {purpose} | {link} |")
    table = "\n".join(
        [f"| {words['module']} | {words['purpose']} | {words['notebook']} |", "|---|---|---|", *lines]
    )
    tree = "\n".join(["```{toctree}", ":hidden:", "", *found, "```"])
    found["index"] = f"# {words['reference']}\n\n{words['reference_text']}\n\n{table}\n\n{tree}\n"
    return found


def _page(module: str, introduced: str, words: dict[str, str], code: dict[str, str]) -> str:
    """A module's page, in reStructuredText: the notebook, its names, its docstrings."""
    table = [
        ".. list-table::",
        "   :header-rows: 1",
        "",
        f"   * - {words['name']}",
        f"     - {words['notebook']}",
    ]
    for name in public_names(module):
        stem = first_use(name, code, introduced)
        table += [
            f"   * - :py:obj:`{name} <helpers.{module}.{name}>`",
            f"     - :doc:`{stem[:2]} </{stem}>`",
        ]
    imported = "   :imported-members:\n" if (paths.ROOT / "helpers" / module).is_dir() else ""
    parts = [
        f".. _reference-{module}:",
        f"{module}\n{'=' * len(module)}",
        f"{words['introduced']} :doc:`/{introduced}`",
        "\n".join(table),
        f".. automodule:: helpers.{module}\n   :members:\n   :member-order: bysource\n{imported}",
    ]
    return "\n\n".join(parts)
