"""The pages of ``make run``: notebooks and texts as HTML that needs no network, for a screen, a phone and paper.

nbconvert makes them with the template in ``templates/page``, which adds to its own what a screen reader, a narrow
screen and a printer need.
"""

import html
import re
from collections.abc import Collection
from pathlib import Path

import nbformat
from jinja2 import pass_context
from nbconvert import HTMLExporter

from helpers import chapter
from helpers.plumbing import paths

NOTEBOOKS = paths.ROOT / "notebooks"
TEMPLATES = Path(__file__).parent / "templates"
EMPTY_HEAD = re.compile(r"<thead>\s*<tr>(\s*<td[^>]*></td>)+\s*</tr>\s*</thead>")
"""The head of a table that has none: Markdown insists on it."""
LINK = re.compile(r'<a href="(\w+)\.(?:ipynb|md)(#[^"]*)?">(.*?)</a>', re.DOTALL)
"""A link from one notebook or text of ``notebooks/`` to another."""
OFFLINE = dict.fromkeys(("mathjax_url", "require_js_url", "jquery_url", "mermaid_js_url"), "")
"""No page asks anything of another host. (Nor are pictures of a text embedded, of which there are none: nbconvert
would close every ``<details>`` before its contents.)"""


class Page(HTMLExporter):
    """Makes one page.

    Args:
        template: the folder in ``templates/``.
        beside: the names, without ending, of the pages that lie beside it. Links lead to these only.
    """

    def __init__(self, template: str = "page", beside: Collection[str] = (), **settings):
        super().__init__(
            template_name=template, extra_template_basedirs=[str(TEMPLATES)], **OFFLINE, **settings
        )
        self.beside = beside

    @pass_context
    def markdown2html(self, context, source):
        text = super().markdown2html(context, source)
        text = re.sub(r"<th\b([^>]*)></th>", r"<td\1></td>", text)  # a heading that says nothing is none
        text = EMPTY_HEAD.sub("", text)
        return LINK.sub(self._link, text)

    def _link(self, found: re.Match) -> str:
        name, place, words = found.groups(default="")
        return f'<a href="{name}.html{place}">{words}</a>' if name in self.beside else words


def title(notebook) -> str:
    """What the first heading of a notebook says; "" if there is none."""
    found = re.search(r"^# (.+)$", notebook.cells[0].source if notebook.cells else "", re.M)
    return found[1] if found else ""


def texts() -> list[Path]:
    """The texts that lie beside the notebooks."""
    return sorted(NOTEBOOKS.glob("*.md"))


def navigation(name: str, beside: Collection[str]) -> str:
    """Links to all pages that lie beside this one: the notebooks by number, then the texts."""
    links = []
    for other in sorted(beside):
        words = f"{int(other[:2])} · {other[3:]}" if other in chapter.NOTEBOOKS else other
        here = ' aria-current="page"' if other == name else ""
        links.append(f'<a href="{other}.html"{here}>{html.escape(words.replace("_", " "))}</a>')
    return f'<nav aria-label="All pages">{" ".join(links)}</nav>' if len(links) > 1 else ""


def write(notebook, path: Path, beside: Collection[str] = ()) -> None:
    """Write the page of a notebook, whole or not at all.

    Args:
        notebook: as nbformat reads it, with its outputs.
        path: of the page, ``….html``.
        beside: the names, without ending, of the pages that will lie beside it.
    """
    page, _ = Page(beside=beside).from_notebook_node(
        notebook,
        resources={
            "metadata": {"name": title(notebook) or path.stem, "path": str(NOTEBOOKS)},
            "navigation": navigation(path.stem, beside),
        },
    )
    with paths.replacing(path, len(page)) as temporary:
        temporary.write_text(page, encoding="utf-8")


def write_texts(folder: Path, beside: Collection[str]) -> None:
    """Write the page of each text in ``notebooks/`` into ``folder``."""
    for path in texts():
        cell = nbformat.v4.new_markdown_cell(path.read_text(encoding="utf-8"))
        write(nbformat.v4.new_notebook(cells=[cell]), folder / f"{path.stem}.html", beside)
