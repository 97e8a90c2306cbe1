"""What Sphinx reads to make the book: the saved notebooks and texts of one language, made ready for it.

Nothing is translated and nothing is run here. A notebook's text gets links from its bold terms to the glossary, its
figures their alternative texts; links between the files become links between the pages.
"""

import os
import re
import shutil
from pathlib import Path

import nbformat

from helpers.plumbing import paths
from helpers.workshop import book_reference, readme

NOTEBOOKS = paths.ROOT / "notebooks"
TEXTS = ("glossary", "troubleshooting", "teaching")
"""The texts beside the notebooks, in the order of the book."""
FRONT = 2
"""How many sections of the README stand on the book's first page. The others have a page of their own."""

LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^)\s]+)\)")
BOLD = re.compile(r"\*\*(.+?)\*\*")
HEADING = re.compile(r"^(#.*|\s*(?:(?:[-*]|\d+\.)\s+)?\*\*.+?\*\*)")
"""A title, or what is bold at the start of a line: headings, and no terms."""

WORDS = {
    "en": {
        "notebooks": "Notebooks",
        "beside": "Beside them",
        "project": "Measured, and how it is done",
        "reference": "Reference",
        "reference_text": "The code behind the notebooks: every module of `helpers` that they use, in the order in "
        "which they introduce it.",
        "module": "module",
        "purpose": "what it is for",
        "notebook": "notebook",
        "name": "name",
        "introduced": "Introduced in",
        "solutions": "Solutions",
        "solutions_text": "The exercises of every notebook, each solved in one way, and why it is right. Try them "
        "there first.",
        "solved": "One way to solve each exercise:",
        "download": "Download this notebook",
        "colab": "Open in Colab",
        "search": "Search the book …",
    },
    "zh": {
        "notebooks": "笔记本",
        "beside": "附录",
        "project": "测量结果与使用说明",
        "reference": "参考",
        "reference_text": "笔记本背后的代码：它们用到的 `helpers` 的每个模块，按首次介绍的顺序排列。说明文字取自代码，为英文。",
        "module": "模块",
        "purpose": "用途",
        "notebook": "笔记本",
        "name": "名称",
        "introduced": "首次介绍于",
        "solutions": "参考答案",
        "solutions_text": "每个笔记本的练习各给出一种解法，并说明它为什么正确。请先自己试一试。",
        "solved": "每道练习的一种解法：",
        "download": "下载此笔记本",
        "colab": "在 Colab 中打开",
        "search": "搜索本书……",
    },
}
"""The few words that stand in the book and in no notebook or text. A language that has none here gets the English ones."""


def words(language: str) -> dict[str, str]:
    """The book's own words in a language."""
    return WORDS["en"] | WORDS.get(language, {})


class Sources:
    """The sources of the book in one language, in a folder that Sphinx reads.

    Attributes:
        folder: where they are written.
        facts: page → ``description``, and of a notebook ``teaches``, ``minutes`` and ``file``, the notebook itself.

    Args:
        only: the beginnings of the names of the notebooks to take, for a small book; all if empty.
    """

    def __init__(
        self,
        language: str,
        folder: Path,
        address: str | None,
        only: tuple[str, ...] = (),
        notebooks: Path = NOTEBOOKS,
    ):
        self.folder, self.address, self.words = folder, address, words(language)
        self.facts: dict[str, dict] = {}
        self._texts = notebooks / language if language != "en" else notebooks
        readme_name = "README.md" if language == "en" else f"README.{language}.md"
        self._readme = notebooks.parent / readme_name
        if not self._readme.exists():
            self._readme = paths.ROOT / "README.md"
        solutions = self._texts / "solutions"
        self._solutions = solutions if solutions.is_dir() else notebooks / "solutions"
        self._notebooks = [
            path
            for path in sorted(self._texts.glob("[0-9][0-9]_*.ipynb"))
            if path.name.startswith(only or "")
        ]
        self._pages = {self._readme: "index.md"}
        for place in (self._texts, notebooks):
            self._pages |= {place / f"{name}.md": f"{name}.md" for name in TEXTS}
            self._pages |= {place / path.name: path.name for path in self._notebooks}
        self._pages |= {self._solutions / path.name: f"solutions/{path.name}" for path in self._notebooks}
        self._terms = terms((self._texts / "glossary.md").read_text(encoding="utf-8"))

    def write(self) -> None:
        """Write all sources."""
        (self.folder / "solutions").mkdir(parents=True)
        for path in self._notebooks:
            self._notebook(path, path.stem)
            if (solution := self._solutions / path.name).exists():
                self._notebook(solution, f"solutions/{path.stem}")
        for name in TEXTS:
            text = (self._texts / f"{name}.md").read_text(encoding="utf-8")
            text = anchored(text) if name == "glossary" else text
            self._page(name, self._linked(text, self._texts / f"{name}.md"))
        self._from_readme()
        names = [path.stem for path in self._notebooks]
        self._page(
            "solutions/index",
            f"# {self.words['solutions']}\n\n{self.words['solutions_text']}\n\n{toctree(names)}",
        )
        for name, text in book_reference.pages(self.words, self._notebooks).items():
            self._page(f"reference/{name}", text)

    def _from_readme(self) -> None:
        text = self._readme.read_text(encoding="utf-8")
        text = re.sub(r"^\[English\]\(README.*\n\n", "", text, flags=re.M)  # every page has its switch
        text = self._linked(text, self._readme)
        head, *sections = re.split(r"^(?=## )", text, flags=re.M)
        front = "".join([head, *sections[:FRONT]])
        trees = [
            toctree([path.stem for path in self._notebooks], self.words["notebooks"]),
            toctree([*TEXTS, "project"], self.words["beside"]),
            toctree(["reference/index", "solutions/index"], self.words["reference"]),
        ]
        self._page("index", "\n\n".join([front, *trees]))
        self._page("project", f"# {self.words['project']}\n\n{''.join(sections[FRONT:])}")
        title = head.partition("\n")[0].removeprefix("# ")
        self.facts["project"]["description"] = f"{title}: {self.words['project']}"

    def _page(self, name: str, text: str) -> None:
        path = self.folder / f"{name}.{'rst' if text.startswith('.. ') else 'md'}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        found = re.search(r"\n\n((?![#|.<`]|\{).+)", text)
        self.facts[name] = {"description": plain(found[1]) if found else ""}

    def _notebook(self, path: Path, name: str) -> None:
        """Write a notebook's source, and note what the page says about itself."""
        notebook = nbformat.read(path, as_version=4)
        for place, cell in enumerate(notebook.cells):
            if cell.cell_type == "markdown":
                if "/" in name:  # a solution: its exercises come right below the title
                    text = re.sub(r"^##(?=# )", "#", cell.source, flags=re.M)
                else:
                    text = self._with_terms(cell.source, in_head=place == 0)
                cell.source = self._linked(text, path, below=name)
            elif cell.cell_type == "code":
                describe_figures(cell)
        rows = re.findall(r"^\|[^|]*\| (.+) \|$", notebook.cells[0].source, re.M)
        paragraph = notebook.cells[0].source.split("\n\n")[1]
        self.facts[name] = {"description": plain(paragraph), "file": path}
        if "/" not in name:
            self.facts[name] |= {"teaches": plain(rows[2]), "minutes": readme.reading_minutes(notebook)}
            solved = f"{self.words['solved']} [{self.words['solutions']}](solutions/{path.stem}.ipynb)"
            if (self._solutions / path.name).exists():
                notebook.cells.insert(-1, nbformat.v4.new_markdown_cell(solved))
        notebook.metadata.pop("widgets", None)
        nbformat.write(notebook, self.folder / f"{name}.ipynb")

    def _with_terms(self, text: str, in_head: bool) -> str:
        """A text with a link from each bold term to its row in the glossary."""

        def link(found: re.Match) -> str:
            slug = self._terms.get(found[1].casefold()) or self._terms.get(found[1].casefold().rstrip("s"))
            slug = slug or self._terms.get(re.sub("es$", "", found[1].casefold()))
            return f'<a class="term" href="glossary.html#{slug}">{found[1]}</a>' if slug else found[0]

        lines = []
        for line in text.split("\n"):
            heading = HEADING.match(line)
            start = heading.end() if heading else 0
            whole = in_head and line.startswith("|")
            lines.append(line if whole else line[:start] + BOLD.sub(link, line[start:]))
        return "\n".join(lines)

    def _linked(self, text: str, source: Path, below: str = "") -> str:
        """A text whose links lead to the book's pages, else into the repository; its pictures come along."""

        def link(found: re.Match) -> str:
            picture, label, target = found.groups()
            if re.match(r"https?:|#|mailto:", target):
                return found[0]
            target, _, place = target.partition("#")
            path = Path(os.path.normpath(source.parent / target))
            if picture and path.exists():
                shutil.copy(path, self.folder / path.name)
                return f"![{label}]({path.name})"
            if path in self._pages:
                up = "../" * below.count("/")
                return f"[{label}]({up}{self._pages[path]}{'#' + place if place else ''})"
            inside = path.is_relative_to(paths.ROOT) and path.exists() and self.address
            return f"[{label}]({self.address}/blob/HEAD/{path.relative_to(paths.ROOT)})" if inside else label

        return LINK.sub(link, text)


def toctree(names: list[str], caption: str = "") -> str:
    """The part of a page that says which pages come below it."""
    title = [f":caption: {caption}", ":hidden:"] if caption else []
    return "\n".join(["```{toctree}", ":maxdepth: 1", *title, "", *names, "```"])


def plain(text: str) -> str:
    """A text without the signs of Markdown and without tags."""
    text = LINK.sub(lambda found: found[2], text)
    return re.sub(r"<[^>]+>|[*`]", "", text).strip()


def describe_figures(cell) -> None:
    """Give a cell's figures the alternative text that is saved with them."""
    for output in cell.outputs:
        metadata = output.get("metadata", {}).get("image/png", {})
        if "alt" in metadata:
            cell.metadata["mystnb"] = {"image": {"alt": metadata["alt"]}}


def rows(glossary: str) -> list[list[str]]:
    """The cells of the glossary's rows: the term, a sentence, the term in the other language, the notebook."""
    lines = [line for line in glossary.splitlines() if line.startswith("|")]
    return [re.split(r"\s\|\s", line.strip("| ")) for line in lines[2:]]


def slug(row: list[str]) -> str:
    """The name of a row's place on the page: of its English term, so that it is the same in every language."""
    english = next((cell for cell in (row[0], row[2]) if cell.isascii()), row[0])
    return "term-" + re.sub(r"\W+", "-", english.casefold()).strip("-")


def terms(glossary: str) -> dict[str, str]:
    """Each term of the glossary as it may stand in a text, in small letters, and its place on the page."""
    found = {}
    for row in rows(glossary):
        for one in (row[0], *re.split(r"[（、，）]", row[2])):
            found.setdefault(one.strip("（）* ").casefold(), slug(row))
    return found


def anchored(glossary: str) -> str:
    """The glossary with a place for links in every row."""
    for row in rows(glossary):
        glossary = glossary.replace(f"\n| {row[0]} |", f'\n| <span id="{slug(row)}"></span>{row[0]} |', 1)
    return glossary
