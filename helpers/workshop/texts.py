"""Every text that somebody may read, with its place: Markdown, the notebooks' cells, docstrings, comments, messages."""

import ast
import io
import json
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

from helpers.plumbing import paths

TRANSLATED = ("notebooks/zh/**/*.md", "notebooks/zh/**/*.ipynb", "README.zh.md")
"""The texts in another language than English, as patterns of ``Path.glob``; they may be none."""
MARKDOWN = ("*.md", "helpers/**/*.md", "notebooks/*.md", "notebooks/*.ipynb", "notebooks/solutions/*.ipynb")
CODE = (".ci/*.py", "helpers/**/*.py")


def files(*patterns: str) -> list[Path]:
    """The project's files of these patterns, English ones only unless the pattern names another language."""
    found = {path for pattern in patterns for path in paths.ROOT.glob(pattern)}
    if patterns != TRANSLATED:
        found -= set(files(*TRANSLATED))
    else:
        found -= set(paths.ROOT.glob("notebooks/*/STYLE.md"))  # English about another language
    return sorted(found)


def cells(path: Path, kind: str) -> Iterator[tuple[str, str]]:
    """The cells of this kind ("markdown", "code"): place, e.g. "notebooks/01_….ipynb, cell 3", and text."""
    notebook = json.loads(path.read_text(encoding="utf-8"))
    for number, cell in enumerate(notebook["cells"], 1):
        if cell["cell_type"] == kind:
            yield f"{place(path)}, cell {number}", "".join(cell["source"])


def markdown(*patterns: str) -> Iterator[tuple[Path, str, str]]:
    """Every Markdown text of these patterns: file, place, text; of a notebook cell by cell."""
    for path in files(*patterns):
        if path.suffix == ".ipynb":
            yield from ((path, *cell) for cell in cells(path, "markdown"))
        else:
            yield path, place(path), path.read_text(encoding="utf-8")


def sentences(source: str) -> Iterator[tuple[int, str]]:
    """What Python code says to a person: line from 1, and docstring, message or comment.

    A text is for a person if it has a space, and a capital or a mark.
    """
    for node in ast.walk(ast.parse(source)):
        text = getattr(node, "value", None) if isinstance(node, ast.Constant) else None
        if isinstance(text, str) and " " in text and re.search(r"[A-Z.,:?!]", text):
            yield node.lineno, text
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string


def english() -> Iterator[tuple[str, str]]:
    """Everything in English: place and text."""
    yield from ((where, text) for _, where, text in markdown(*MARKDOWN))
    for path in files(*CODE):
        for line, text in sentences(path.read_text(encoding="utf-8")):
            yield f"{place(path)}, line {line}", text
    for path in files(*MARKDOWN):
        for where, source in cells(path, "code") if path.suffix == ".ipynb" else ():
            yield from ((where, text) for _, text in sentences(source))


def place(path: Path) -> str:
    """A file of the project as a person names it, e.g. "helpers/data.py"."""
    return path.relative_to(paths.ROOT).as_posix()
