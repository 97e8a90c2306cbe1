"""Slides of every notebook, and a sheet of each for the class: ``make slides``.

``python -m helpers.workshop.slides`` makes them from the saved notebooks, by rule, so that no notebook has to say
what is a slide. They go to ``artifacts/slides/``, with reveal.js beside them, and ask nothing of another host:

- a heading begins a slide, and what does not fit goes on below it;
- of a long paragraph the slide has the first sentence, and the speaker's notes (key S) have all of it;
- what a cell gives out appears after its code: first the class may guess;
- a long output is cut, and says so.
"""

import argparse
import base64
import importlib.util
import io
import re
import shutil
import sys
from pathlib import Path

import nbformat
from nbconvert import SlidesExporter
from PIL import Image

from helpers.plumbing import paths
from helpers.workshop import pages

WIDTH, HEIGHT = 1280, 720
ACROSS = 1190
"""Pixels between the margins."""
FULL = 650
"""Pixels of a slide that are filled; the rest is margin, and room for an estimate that is too low."""
FIGURE = 470
"""Pixels that the largest figure is high."""
LONGEST = 190
"""Characters of a paragraph that a slide shows whole."""
LINES = 16
"""Lines of an output that a slide shows."""
COPIED = ("dist", "plugin/notes", "LICENSE")
"""What is needed of reveal.js."""


class Slides(pages.Page, SlidesExporter):
    """nbconvert's slides, with the template in ``templates/slides``."""


def blocks(source: str) -> list[str]:
    """A text in Markdown in its paragraphs, headings, items and tables; what is fenced or folded is one."""
    whole = r"^(?:```.*?^```|<details>.*?</details>)[ ]*$"
    parts = re.split(rf"({whole})", source, flags=re.M | re.S)
    found = []
    for part in parts:
        found += (
            [part] if re.match(whole, part, re.M | re.S) else re.split(r"\n\s*\n|\n(?=#|[-*+] |\d+\. )", part)
        )
    return [block.strip("\n") for block in found if block.strip()]


def shortened(block: str) -> str:
    """A block as the slide shows it: of a long paragraph its first sentence."""
    if len(block) <= LONGEST or re.match(r"[#|<>]|```", block):
        return block
    return re.split(r"(?<=[.!?])\s+(?=[A-Z*_`\"(\[])", block)[0]


def height(text: str, across: int = 78, line: int = 36) -> int:
    """The pixels that a text is estimated to be high, of so many characters across."""
    return 24 + line * sum(1 + len(one) // across for one in text.splitlines())


def _height_of_block(block: str) -> int:
    if block.startswith("#"):
        return 78
    if block.startswith("|"):
        return height(block, across=100, line=40)
    return height(block)


class Deck:
    """The cells of the slides, one after the other, and how full the last slide is."""

    def __init__(self) -> None:
        self.cells: list = []
        self._filled, self._first, self._notes = FULL, 0, []
        self._appears = False  # what is added to this slide appears with a click

    def add(self, cell, pixels: int, kind: str = "-") -> None:
        """Put a cell on the slide, or on a new one below, when it does not fit."""
        if kind not in ("slide", "subslide") and self._filled + pixels > FULL:
            kind = "subslide"
        if kind in ("slide", "subslide"):
            self.end_slide()
            self._filled, self._first, self._appears = 0, len(self.cells), False
        self._appears = self._appears or kind == "fragment"
        if self._appears:
            kind = "fragment"
        self._filled += pixels
        cell.metadata.slideshow = {"slide_type": kind}
        self.cells.append(cell)

    def end_slide(self) -> None:
        """Put the speaker's notes after the first cell of the slide: reveal.js shows one for each."""
        if self._notes:
            cell = nbformat.v4.new_markdown_cell("\n\n".join(self._notes))
            cell.metadata.slideshow = {"slide_type": "notes"}
            self.cells.insert(self._first + 1, cell)
        self._notes = []

    def add_text(self, source: str) -> None:
        """A text: its blocks, each short, and for the speaker what was left out."""
        for block in blocks(source):
            heading = re.match(r"#+", block)
            kind = "-" if not heading else "slide" if len(heading[0]) < 3 else "subslide"
            shown = shortened(block)
            self.add(nbformat.v4.new_markdown_cell(shown), _height_of_block(shown), kind)
            self._notes += [block] if shown != block else []

    def add_code(self, cell) -> None:
        """A cell: its code, and then what it gives out, which appears afterwards."""
        code = nbformat.v4.new_code_cell(cell.source, execution_count=cell.execution_count)
        self.add(code, height(cell.source, across=100, line=25))
        for output in together(cell.outputs):
            shown = nbformat.v4.new_code_cell("", outputs=[output], metadata={"tags": ["remove-input"]})
            self.add(shown, _height_of_output(output), "fragment")


def together(outputs: list) -> list:
    """The outputs of a cell: printed lines in one piece, and cut where they are many."""
    found: list = []
    for output in outputs:
        if output.output_type == "stream" and found and found[-1].output_type == "stream":
            found[-1].text += output.text
        else:
            found.append(nbformat.from_dict(output))
    for output in found:
        if output.output_type == "stream":
            output.text = cut(output.text)
        elif "text/plain" in output.get("data", {}):
            output.data["text/plain"] = cut(output.data["text/plain"])
    return found


def cut(text: str) -> str:
    """The first lines of an output, and how many follow."""
    lines = text.rstrip("\n").split("\n")
    if len(lines) <= LINES:
        return text
    return "\n".join([*lines[: LINES - 1], f"… and {len(lines) - LINES + 1} more lines in the notebook"])


def _height_of_output(output) -> int:
    data = output.get("data", {})
    if "text/html" in data:
        return 50 if str(data["text/html"]).startswith("<details>") else FIGURE + 12
    if "image/png" in data:
        across, down = Image.open(io.BytesIO(base64.b64decode(data["image/png"]))).size
        return 12 + min(down, FIGURE, down * ACROSS // across)
    text = output.get("text") or data.get("text/plain") or "\n".join(output.get("traceback", []))
    return height(text, across=94, line=25)


def deck(notebook):
    """The slides of a notebook, as a notebook whose cells say which slide they are on."""
    made = Deck()
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            made.add_text(cell.source)
        elif cell.cell_type == "code":
            made.add_code(cell)
    made.end_slide()
    return nbformat.v4.new_notebook(cells=made.cells, metadata=notebook.metadata)


def write(notebook, path: Path) -> None:
    """Write the slides of a notebook; reveal.js is expected in ``reveal.js/`` beside them."""
    exporter = Slides(
        "slides",
        reveal_url_prefix="reveal.js",
        reveal_theme="white",
        reveal_width=str(WIDTH),
        reveal_height=str(HEIGHT),
        config={"TagRemovePreprocessor": {"remove_input_tags": ["remove-input"], "enabled": True}},
    )
    metadata = {"name": pages.title(notebook) or path.stem, "path": str(pages.NOTEBOOKS)}
    text, _ = exporter.from_notebook_node(
        deck(notebook), resources={"metadata": metadata, "figure_height": FIGURE}
    )
    with paths.replacing(path, len(text)) as temporary:
        temporary.write_text(text, encoding="utf-8")


def copy_reveal(folder: Path) -> None:
    """Put what is needed of reveal.js into ``folder``.

    It comes with the package sphinx-revealjs, of which nothing else is used.

    Raises:
        ValueError: that package is not installed.
    """
    found = importlib.util.find_spec("sphinx_revealjs")
    if found is None or not found.submodule_search_locations:
        raise ValueError("reveal.js is not here: it comes with the workshop's tools. Type: make slides")
    source = Path(next(iter(found.submodule_search_locations))) / "_static/revealjs"
    for name in COPIED:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        if (source / name).is_dir():
            shutil.copytree(
                source / name,
                folder / name,
                dirs_exist_ok=True,
                ignore=shutil.ignore_patterns("*.map", "*.esm.js"),
            )
        else:
            shutil.copy(source / name, folder / name)


def sheet(notebook) -> str:
    """One page of a notebook for the class, as Markdown: its head, what was learned, the exercises without answers."""
    texts = [cell.source for cell in notebook.cells if cell.cell_type == "markdown"]
    parts = [block for block in blocks(texts[0]) if block.startswith(("# ", "|"))] if texts else []
    kept = False
    for block in (block for text in texts[1:] for block in blocks(text)):
        if re.match(r"##? ", block):
            kept = block.removeprefix("## ") in ("What you learned", "Exercises")
        if kept and not block.startswith(("<details>", "**Next:**", "**Back", "Guess before you run")):
            parts.append(block)
    return "\n\n".join(parts)


def write_handout(notebooks: list, path: Path) -> None:
    """Write the sheets of all notebooks, each on a page of its own when they are printed."""
    turn = '\n\n<div style="break-after: page"></div>'
    small = "<style>@media print { .jp-RenderedHTMLCommon { font-size: 12px; line-height: 1.4 } }</style>\n\n"
    cells = [nbformat.v4.new_markdown_cell(sheet(notebook) + turn) for notebook in notebooks[:-1]]
    cells += [nbformat.v4.new_markdown_cell(small + sheet(notebook)) for notebook in notebooks[-1:]]
    pages.write(nbformat.v4.new_notebook(cells=cells), path)


def main(arguments=None) -> int:
    """Make the slides and the handout of all saved notebooks; return the exit code."""
    argparse.ArgumentParser(
        prog="python -m helpers.workshop.slides", description="Slides and a handout of the saved notebooks."
    ).parse_args(arguments)
    folder = paths.artifacts_dir() / "slides"
    try:
        copy_reveal(folder / "reveal.js")
        notebooks = {
            path: nbformat.read(path, as_version=4)
            for path in sorted(pages.NOTEBOOKS.glob("[0-9][0-9]_*.ipynb"))
        }
        for path, notebook in notebooks.items():
            write(notebook, folder / f"{path.stem}.html")
            print(paths.shorten(folder / f"{path.stem}.html"), flush=True)
        write_handout(list(notebooks.values()), folder / "handout.html")
    except (ValueError, OSError) as error:
        print(f"\n{error}", file=sys.stderr)
        return 1
    print(f"{paths.shorten(folder / 'handout.html')}: a page of each notebook to print")
    print(
        "Open one in a browser. The arrow keys go on, F fills the screen, S opens the speaker's notes, Esc shows all."
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
