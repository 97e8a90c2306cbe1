"""The series as a book: ``make book`` builds ``artifacts/book/`` from the saved notebooks, and runs none of them.

Sphinx makes one book for each language that is there, with MyST-NB and the book theme, in ``en/``, ``zh/``, … with the
same names of pages. They need no server and ask nothing of another host: opened from a file they have everything, the
search and the graphs too. A warning of Sphinx, or a link that leads nowhere, is an error.

``--measure`` writes how long it took and how large it is to ``helpers/measured/book.json``, for the README.
"""

import argparse
import io
import json
import os
import re
import shutil
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

from helpers.plumbing import paths
from helpers.workshop import address, book_sources
from helpers.workshop.translate import LANGUAGES

TEMPLATES = Path(__file__).parent / "templates/book"
SPHINX = {"zh": "zh_CN"}
"""What Sphinx calls a language, where it is not the name of the folder."""
LICENCES = {
    "text": "https://creativecommons.org/licenses/by/4.0/",
    "code": "https://opensource.org/license/mit",
}
HEAD = re.compile(r'<thead>\s*<tr[^>]*>(\s*<th class="head[^"]*">(<p></p>)?</th>)+\s*</tr>\s*</thead>')
"""The head of a table that has none: Markdown insists on it."""
HEADERLINK = re.compile(r'<a class="headerlink".*?</a>')
EXTENSIONS = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_copybutton"]


def languages(notebooks: Path = book_sources.NOTEBOOKS) -> list[str]:
    """The languages that are there: the source, and every other that has a folder of notebooks."""
    source, *others = LANGUAGES
    return [source, *(one for one in others if any((notebooks / one).glob("[0-9]*.ipynb")))]


def settings(language: str, title: str) -> dict:
    """What Sphinx and its extensions are told, as ``conf.py`` would."""
    words = book_sources.words(language)
    return {
        "project": title,
        "author": "",
        "language": SPHINX.get(language, language),
        "extensions": EXTENSIONS,
        "templates_path": [str(TEMPLATES)],
        "html_static_path": [str(TEMPLATES / "static")],
        "html_css_files": ["book.css"],
        "html_js_files": ["book.js"],
        "html_theme": "sphinx_book_theme",
        "html_title": title,
        "html_copy_source": False,
        "html_domain_indices": False,
        "html_show_copyright": False,
        "html_show_sphinx": False,
        "html_sidebars": {"**": ["navbar-logo.html", "search-button-field.html", "sbt-sidebar-nav.html"]},
        "html_theme_options": {
            "article_header_end": ["book-buttons.html", "article-header-buttons.html"],
            "use_download_button": False,
            "navbar_persistent": [],
            "search_bar_text": words["search"],
            "home_page_in_toc": False,
            "show_toc_level": 2,
        },
        "nb_execution_mode": "off",
        "nb_merge_streams": True,
        "nb_ipywidgets_js": {},
        "myst_heading_anchors": 3,
        "autodoc_member_order": "bysource",
        "autodoc_inherit_docstrings": False,
        "autodoc_typehints_format": "short",
        "napoleon_custom_sections": [("Shapes", "params_style")],
        "copybutton_selector": "div.cell_input div.highlight pre, div.highlight-console pre",
        "python_use_unqualified_type_names": True,
    }


class Book:
    """The book in one language.

    Args:
        language: the name of its folder.
        folder: where ``en/``, ``zh/``, … are written.
        others: the languages that will lie beside it, this one included.
        only: the beginnings of the names of the notebooks to take; all if empty.
        notebooks: the folder of the saved notebooks.
    """

    def __init__(
        self, language: str, folder: Path, others: list[str], only: tuple[str, ...], notebooks: Path
    ):
        self.language, self.folder, self.others = language, folder / language, others
        self.only, self.notebooks = only, notebooks
        self.address = address.address()
        self.texts: dict[str, str] = {}

    def build(self) -> str:
        """Build it.

        Returns:
            what Sphinx has to complain about; "" if nothing.
        """
        from sphinx.application import Sphinx

        from helpers.workshop.book_search import Chinese

        with tempfile.TemporaryDirectory(prefix="book-") as temporary:
            sources = Path(temporary, "sources")
            self.sources = book_sources.Sources(
                self.language, sources, self.address, self.only, self.notebooks
            )
            self.sources.write()
            front = (sources / "index.md").read_text(encoding="utf-8")
            self.title = front.partition("\n")[0].removeprefix("# ")
            complaints = io.StringIO()
            app = Sphinx(
                sources,
                None,
                self.folder,
                Path(temporary, "doctrees"),
                "html",
                confoverrides=settings(self.language, self.title),
                status=None,
                warning=complaints,
                freshenv=True,
            )
            app.add_search_language(Chinese)
            app.connect("doctree-read", self._hide_from_search)
            app.connect(
                "html-page-context", self._complete, priority=100
            )  # before the theme looks at its templates
            app.build()
        self._add_downloads()
        texts = json.dumps(self.texts, ensure_ascii=False)
        (self.folder / "texts.js").write_text(f"const TEXTS = {texts};\n", encoding="utf-8")
        for leftover in ("objects.inv", ".buildinfo", "_static/*.html", "_static/**/*.map"):
            for path in self.folder.glob(leftover):
                path.unlink()
        return complaints.getvalue()

    def _hide_from_search(self, app, doctree) -> None:
        """Who searches for a word does not want to read the answers to the exercises."""
        if app.env.docname.startswith("solutions/"):
            app.env.metadata[app.env.docname]["nosearch"] = "true"

    def _complete(self, app, page: str, template: str, context: dict, doctree) -> None:
        """Tell the templates what they need to know about a page."""
        facts = self.sources.facts.get(page, {})
        up = "../" * page.count("/")
        name = re.sub("<[^>]+>", "", context.get("title") or self.title)
        html = LANGUAGES[self.language]["html"]
        context["language"] = html
        if "body" in context:
            body = HEAD.sub("", context["body"])
            context["body"] = re.sub(r'<th class="head[^"]*">(<p></p>)?</th>', "<td></td>", body)
            if not page.startswith("solutions/"):
                self.texts[page] = " ".join(_Page(HEADERLINK.sub("", body)).text.split())
        site = pages_address(self.address)
        where = f"{site}/{self.language}/{page}.html" if site else ""
        description = facts.get("description") or self.sources.facts["index"]["description"]
        context["book"] = {
            "words": self.sources.words,
            "name": name,
            "description": description,
            "address": where,
            "card": f"{site}/card.png" if site else f"{up}../card.png",
            "languages": [
                LANGUAGES[one]
                | {"code": one, "here": one == self.language, "page": f"{up}../{one}/{page}.html"}
                for one in self.others
            ],
            "download": f"{up}download/{page}.ipynb" if "file" in facts else "",
            "colab": self._colab(facts.get("file")),
            "data": json.dumps(
                self._data(page, name, description, facts, html, where), ensure_ascii=False
            ).replace("</", "<\\/"),
        }

    def _data(self, page: str, name: str, description: str, facts: dict, html: str, where: str) -> dict:
        """What a page says about itself to search engines (schema.org, LearningResource)."""
        data = {
            "@context": "https://schema.org",
            "@type": "LearningResource",
            "name": name,
            "description": description,
            "inLanguage": html,
            "license": [LICENCES["text"], LICENCES["code"]],
            "isAccessibleForFree": True,
        }
        if where:
            data["url"] = where
        if page != "index":
            data["isPartOf"] = {"@type": "LearningResource", "name": self.title}
        if "minutes" in facts:
            data |= {
                "learningResourceType": "Jupyter notebook",
                "teaches": facts["teaches"],
                "timeRequired": f"PT{facts['minutes']}M",
            }
        return data

    def _colab(self, file: Path | None) -> str:
        """The address at which Colab opens a notebook; "" while nobody knows where the repository is."""
        if file is None or self.address is None or not file.is_relative_to(paths.ROOT):
            return ""
        name = self.address.removeprefix("https://github.com/")
        return f"https://colab.research.google.com/github/{name}/blob/HEAD/{file.relative_to(paths.ROOT)}"

    def _add_downloads(self) -> None:
        """Put the notebooks themselves beside their pages."""
        for page, facts in self.sources.facts.items():
            if "file" in facts:
                path = self.folder / "download" / f"{page}.ipynb"
                path.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(facts["file"], path)


def pages_address(where: str | None) -> str:
    """Where GitHub Pages shows the book of a repository; "" while nobody knows where that is."""
    found = address.GITHUB.fullmatch(where or "")
    return f"https://{found[1].lower()}.github.io/{found[2]}" if found else ""


class _Page(HTMLParser):
    """The places, the links and the text of a page; what is inside a frame is none of its."""

    def __init__(self, text: str):
        super().__init__()
        self.places: set[str] = {"", "top"}
        self.links: list[str] = []
        self.text, self._code = "", False
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        self._code = tag in ("script", "style")
        self.places |= {given[name] for name in ("id", "name") if given.get(name)}
        self.links += [given[name] for name in ("href", "src") if given.get(name)]

    def handle_data(self, data):
        self.text += "" if self._code else data

    def handle_endtag(self, tag):
        self._code = False


def broken_links(folder: Path) -> list[str]:
    """Every link in the pages of a folder that leads to no file, or to no place on its page."""
    pages = {path: _Page(path.read_text(encoding="utf-8")) for path in sorted(folder.rglob("*.html"))}
    broken = []
    for path, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = Path(os.path.normpath(path.parent / unquote(parts.path))) if parts.path else path
            places = pages[target].places if target in pages else None
            missing = not target.is_file() or (places is not None and unquote(parts.fragment) not in places)
            if missing:
                broken.append(f"{path.relative_to(folder)}: {link}")
    return broken


def draw_card(path: Path) -> None:
    """Draw the picture that goes with a link to the book (Open Graph, 1200×630)."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    from PIL import Image

    from helpers.figures import ACCENT, INK, SOFT

    figure, axis = plt.subplots(figsize=(12, 6.3), dpi=100)
    figure.subplots_adjust(0, 0, 1, 1)
    axis.axis("off")
    axis.set(xlim=(0, 1200), ylim=(0, 630))
    road = Image.open(book_sources.NOTEBOOKS / "road.png")
    width = 1080
    height = width * road.height / road.width
    axis.imshow(road, extent=(60, 60 + width, 70, 70 + height), aspect="auto", interpolation="lanczos")
    axis.text(66, 540, "Training with PyTorch,", size=46, weight="bold", color=INK, va="center")
    axis.text(66, 462, "shipped to an iPhone", size=46, weight="bold", color=ACCENT, va="center")
    axis.plot([0, 1200], [6, 6], color=SOFT, lw=16)
    with paths.replacing(path) as temporary:
        figure.savefig(temporary, dpi=100, metadata={"Software": None})
    plt.close(figure)


def front_door(found: list[str]) -> str:
    """The page above the languages: it leads to the reader's own, and has a link to each."""
    links = "".join(
        f'<li><a href="{one}/index.html" lang="{LANGUAGES[one]["html"]}" hreflang="{LANGUAGES[one]["html"]}">'
        f"{LANGUAGES[one]['name']}</a></li>"
        for one in found
    )
    text = (TEMPLATES / "front_door.html").read_text(encoding="utf-8")
    return text.replace("LINKS", links).replace("FOUND", json.dumps(found))


def build(folder: Path, only: tuple[str, ...] = (), notebooks: Path = book_sources.NOTEBOOKS) -> list[str]:
    """Build the book in every language that is there.

    Args:
        folder: is written anew.
        only: the beginnings of the names of the notebooks to take; all if empty.
        notebooks: the folder of the saved notebooks.

    Returns:
        the languages.

    Raises:
        ValueError: Sphinx warned of something, or a link leads nowhere.
    """
    found = languages(notebooks)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    books = [Book(one, folder, found, only, notebooks) for one in found]
    with ProcessPoolExecutor(max_workers=len(books)) as pool:
        complaints = "".join(pool.map(Book.build, books))
    if complaints:
        raise ValueError(f"Sphinx warns, and the book is not whole:\n{complaints}")
    draw_card(folder / "card.png")
    (folder / "index.html").write_text(front_door(found), encoding="utf-8")
    (folder / ".nojekyll").touch()  # GitHub Pages leaves out folders that begin with _ otherwise
    broken = broken_links(folder)
    if broken:
        raise ValueError("Links that lead nowhere:\n" + "\n".join(broken))
    return found


def main(arguments=None) -> int:
    """Build the book; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m helpers.workshop.book", description="The series as a book."
    )
    parser.add_argument("--measure", action="store_true", help="write time and size for the README")
    parser.add_argument("--only", nargs="*", default=[], help="notebooks, by the start of their names")
    parser.add_argument("--to", type=Path, help="the folder (default: artifacts/book)")
    parser.add_argument("--notebooks", type=Path, default=book_sources.NOTEBOOKS, help="the saved notebooks")
    given = parser.parse_args(arguments)
    folder = given.to or paths.artifacts_dir() / "book"
    start = time.perf_counter()
    try:
        found = build(folder, tuple(given.only), given.notebooks)
    except (ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    seconds = time.perf_counter() - start
    files = [path for path in folder.rglob("*") if path.is_file()]
    size, pages = sum(path.stat().st_size for path in files), sum(path.suffix == ".html" for path in files)
    print(f"{len(found)} languages, {pages} pages, {size / 1e6:.0f} MB in {seconds:.0f} seconds")
    print(f"Open {paths.shorten(folder / 'index.html')} in a browser.")
    if given.measure:
        measure(seconds, size, pages, found)
    return 0


def measure(seconds: float, size: int, pages: int, found: list[str]) -> None:
    """Write ``helpers/measured/book.json``."""
    from helpers.plumbing.device import describe_device

    measured = {
        "seconds": round(seconds),
        "megabytes": round(size / 1e6),
        "pages": pages,
        "languages": found,
        "machine": describe_device(),
    }
    with paths.replacing(paths.MEASURED / "book.json") as temporary:
        temporary.write_text(json.dumps(measured, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
