"""``make book``: a small book in two languages, built once, and looked at in a browser that has no network.

The Chinese of these tests is a toy: the English notebooks with a few paragraphs replaced.
"""

import ast
import json
import os
import re
import shutil
import subprocess
import sys

import nbformat
import pytest

from helpers.netron_view import pictures
from helpers.plumbing import paths
from helpers.workshop import address, book, book_reference, book_search, book_sources

pytest.importorskip("sphinx_book_theme", reason="the book theme is not installed: make test")
pytest.importorskip("playwright.sync_api", reason="playwright is not installed: make test")
axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is not installed: make test")
needs_chromium = pytest.mark.skipif(
    pictures.browser() is None, reason="no Chromium: sudo apt-get install chromium, or set CHROMIUM"
)

LOCAL = ("file:", "data:", "blob:", "about:")
CHINESE = "3 · 导出为 ONNX"


def toy_edition(folder):
    """The English notebooks and texts, and beside them an edition of which a little is Chinese."""
    ignored = shutil.ignore_patterns(".*", "zh")
    shutil.copytree(book_sources.NOTEBOOKS, folder / "notebooks", ignore=ignored)
    (folder / "notebooks/zh").mkdir()
    for path in (folder / "notebooks").glob("*.md"):
        shutil.copy(path, folder / "notebooks/zh")
    for path in (folder / "notebooks").glob("0*.ipynb"):
        notebook = nbformat.read(path, as_version=4)
        notebook.cells[0].source = notebook.cells[0].source.replace("3 · Export to ONNX", CHINESE)
        notebook.cells[0].source += "\n\n像素的归一化（normalisation）在网络里面。"
        nbformat.write(notebook, folder / "notebooks/zh" / path.name)
    text = (paths.ROOT / "README.md").read_text(encoding="utf-8").replace("](notebooks/0", "](notebooks/zh/0")
    (folder / "README.zh.md").write_text(text, encoding="utf-8")
    return folder / "notebooks"


def made(folder, *options):
    """Build a book as ``make book`` does, in a process of its own."""
    command = [sys.executable, "-m", "helpers.workshop.book", "--to", str(folder / "book"), *options]
    done = subprocess.run(command, text=True, capture_output=True, cwd=paths.ROOT, env={**os.environ})
    assert done.returncode == 0, done.stderr
    assert "warning" not in (done.stdout + done.stderr).lower()
    return folder / "book"


@pytest.fixture(scope="session")
def small(tmp_path_factory):
    """A book of notebook 03, which has a graph of Netron's, in two languages."""
    folder = tmp_path_factory.mktemp("book")
    return made(folder, "--notebooks", str(toy_edition(folder)), "--only", "03")


class Tab:
    """A page of a browser that reaches files only, and notes what else it asks for and what goes wrong in it."""

    def __init__(self, browser, width=1280, **options):
        self.context = browser.new_context(viewport={"width": width, "height": 900}, **options)
        self.foreign, self.errors = [], []
        self.context.route("**/*", self._answer)
        self.page = self.context.new_page()
        self.page.set_default_timeout(60_000)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))

    def _answer(self, route):
        if route.request.url.startswith(LOCAL):
            route.continue_()
        else:
            self.foreign.append(route.request.url)
            route.abort()

    def open(self, path, question=""):
        self.page.goto(path.as_uri() + question)
        return self.page

    def close(self):
        self.context.close()
        assert self.foreign == [] and self.errors == []


@pytest.fixture
def tab(browser):
    opened = []

    def open_one(*given, **options):
        opened.append(Tab(browser, *given, **options))
        return opened[-1]

    yield open_one
    for one in opened:
        one.close()


@needs_chromium
def test_the_whole_book_is_built_without_a_warning_and_every_link_leads_somewhere(tmp_path, tab):
    folder = made(tmp_path)
    one = tab()
    for path in sorted(folder.rglob("*.html")):
        one.open(path)
        for width in (1280, 390):
            one.page.set_viewport_size({"width": width, "height": 900})
            assert one.page.evaluate("document.documentElement.scrollWidth") <= width, path
    for name in book_sources.TEXTS:
        assert (folder / f"en/{name}.html").exists()


def test_a_link_that_leads_nowhere_is_found(tmp_path):
    (tmp_path / "a.html").write_text('<p id="here"></p><a href="b.html">b</a><a href="#here">a</a>')
    (tmp_path / "b.html").write_text('<a href="a.html#here">a</a><a href="https://example.com/none">e</a>')
    assert book.broken_links(tmp_path) == []
    (tmp_path / "b.html").write_text(
        '<a href="a.html#gone"></a><img src="none.png"><a href="a.html#here"></a>'
    )
    assert book.broken_links(tmp_path) == ["b.html: a.html#gone", "b.html: none.png"]


def test_what_sphinx_warns_of_is_an_error(tmp_path):
    notebooks = toy_edition(tmp_path)
    text = (notebooks / "glossary.md").read_text(encoding="utf-8")
    (notebooks / "glossary.md").write_text(f"{text}\n[x](#nowhere)\n", encoding="utf-8")
    shutil.rmtree(notebooks / "zh")
    with pytest.raises(ValueError, match="nowhere"):
        book.build(tmp_path / "book", ("07",), notebooks)


@needs_chromium
@pytest.mark.parametrize(
    ("language", "question", "page"),
    [
        ("en", "normalisation", "03_export_to_onnx"),
        ("en", "convert", "03_export_to_onnx"),
        ("en", "netron_view", "reference/netron_view"),
        ("zh", "归一化", "03_export_to_onnx"),
        ("zh", "像素归一化", None),
        ("zh", "normalisation", "03_export_to_onnx"),
        ("zh", "convert", "03_export_to_onnx"),
    ],
)
def test_search_finds(small, tab, language, question, page):
    shown = tab().open(small / language / "search.html", f"?q={question}")
    shown.wait_for_function("document.querySelector('.search-summary')?.innerText.length > 0")
    found = shown.locator("ul.search li a").evaluate_all("all => all.map(one => one.getAttribute('href'))")
    if page is None:
        assert found == []
        return
    assert any(one.startswith(f"{page}.html") for one in found)
    assert not [one for one in found if one.startswith("solutions/")]
    shown.locator("ul.search p.context").first.wait_for()


def test_two_neighbouring_signs_are_a_term():
    assert book_search.split("像素的归一化，convert() 和 AlexNet") == [
        "像素", "素的", "的归", "归一", "一化", "convert", "和", "AlexNet",
    ]  # fmt: skip
    assert book_search.split("用PyTorch训练") == ["用", "PyTorch", "训练"]


@needs_chromium
def test_the_switch_keeps_the_page_and_the_front_door_knows_the_readers_language(small, tab):
    shown = tab(locale="zh-CN").open(small / "index.html")
    shown.wait_for_url("**/zh/index.html")
    shown = tab(locale="de-DE").open(small / "index.html")
    shown.wait_for_url("**/en/index.html")
    for name in ("03_export_to_onnx", "glossary", "reference/onnx_export", "solutions/03_export_to_onnx"):
        shown.goto((small / f"en/{name}.html").as_uri())
        assert shown.locator("html").get_attribute("lang") == "en"
        shown.locator("a.language").click()
        shown.wait_for_url(f"**/zh/{name}.html")
        assert shown.locator("html").get_attribute("lang") == "zh-Hans"
    shown.goto((small / "zh/03_export_to_onnx.html").as_uri())
    assert CHINESE in shown.locator("h1").last.inner_text()


@needs_chromium
def test_the_graph_is_alive_and_a_layer_answers(small, tab):
    shown = tab().open(small / "zh/03_export_to_onnx.html")
    frame = shown.frame_locator("iframe").first
    shown.locator("iframe").first.scroll_into_view_if_needed()
    frame.locator("html[data-state]").wait_for()
    frame.get_by_text("Conv", exact=True).first.click()
    frame.locator("#sidebar").get_by_text("weight").first.wait_for()


@needs_chromium
@pytest.mark.parametrize(
    ("name", "scheme", "width"),
    [
        ("index", "light", 390),
        ("index", "dark", 1280),
        ("03_export_to_onnx", "light", 1280),
        ("03_export_to_onnx", "dark", 390),
        ("reference/onnx_export", "light", 390),
        ("reference/onnx_export", "dark", 1280),
    ],
)
def test_everybody_can_use_it_and_nothing_runs_off(small, tab, name, scheme, width):
    shown = tab(width, color_scheme=scheme).open(small / f"en/{name}.html")
    shown.wait_for_load_state("load")
    found = axe.Axe().run(shown, options={"iframes": False}).response["violations"]
    serious = [one for one in found if one["impact"] in ("serious", "critical")]
    assert [(one["id"], [node["html"][:200] for node in one["nodes"]]) for one in serious] == []
    assert shown.evaluate("document.documentElement.scrollWidth") <= width


@needs_chromium
def test_on_paper_there_is_the_text_alone_and_what_is_folded_is_open(small, tab):
    shown = tab(700).open(small / "en/03_export_to_onnx.html")
    shown.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    shown.emulate_media(media="print")
    assert shown.locator("details:not([open])").count() == 0 < shown.locator("details").count()
    for gone in (".bd-sidebar-primary", ".book-buttons", ".prev-next-footer"):
        assert not shown.locator(gone).first.is_visible()
    cut = "all => all.filter(one => one.scrollWidth > one.clientWidth + 1).map(one => one.outerHTML.slice(0, 200))"
    assert shown.locator("main pre, main table").evaluate_all(cut) == []


def test_a_page_says_what_it_is(small):
    text = (small / "zh/03_export_to_onnx.html").read_text(encoding="utf-8")
    data = json.loads(re.search(r'<script type="application/ld\+json">(.+?)</script>', text)[1])
    assert data["@type"] == "LearningResource" and data["inLanguage"] == "zh-Hans"
    assert data["name"] == CHINESE and re.fullmatch(r"PT\d+M", data["timeRequired"]) and data["teaches"]
    assert book.LICENCES["text"] in data["license"]
    for page in small.glob("*/*.html"):
        head = page.read_text(encoding="utf-8").partition("</head>")[0]
        assert re.search(r'<meta name="description" content="[^"]{15,}">', head), page
        assert re.search(r'<meta property="og:image" content="[^"]+card.png">', head), page
    from PIL import Image

    with Image.open(small / "card.png") as card:
        assert card.size == (1200, 630)


def test_a_notebook_can_be_downloaded_and_opened_in_colab(small, monkeypatch, tmp_path):
    shipped = (book_sources.NOTEBOOKS / "03_export_to_onnx.ipynb").read_bytes()
    assert (small / "en/download/03_export_to_onnx.ipynb").read_bytes() == shipped
    assert "colab" not in (small / "en/03_export_to_onnx.html").read_text(encoding="utf-8")
    monkeypatch.setattr(address, "address", lambda: "https://github.com/somebody/series")
    one = book.Book("en", tmp_path, ["en"], ("03",), book_sources.NOTEBOOKS)
    assert one.build() == ""
    text = (tmp_path / "en/03_export_to_onnx.html").read_text(encoding="utf-8")
    where = (
        "https://colab.research.google.com/github/somebody/series/blob/HEAD/notebooks/03_export_to_onnx.ipynb"
    )
    assert f'href="{where}"' in text
    assert 'content="https://somebody.github.io/series/card.png"' in text
    assert 'href="https://github.com/somebody/series/blob/HEAD/CONTRIBUTING.md"' in (
        tmp_path / "en/index.html"
    ).read_text(encoding="utf-8")


def test_a_term_leads_to_its_row_in_the_glossary(small):
    text = (small / "en/03_export_to_onnx.html").read_text(encoding="utf-8")
    places = set(re.findall(r'<a class="term" href="glossary.html#([\w-]+)"', text))
    assert {"term-onnx", "term-operator", "term-graph"} <= places
    glossary = (small / "en/glossary.html").read_text(encoding="utf-8")
    assert places <= set(re.findall(r'<span id="([\w-]+)"', glossary))


def test_every_bold_term_of_the_notebooks_gets_its_link(tmp_path):
    """As many links as the glossary has terms: each is bold once."""
    sources = book_sources.Sources("en", tmp_path / "sources", None)
    sources.write()
    text = "".join(path.read_text(encoding="utf-8") for path in (tmp_path / "sources").glob("0*.ipynb"))
    linked = set(re.findall(r"glossary\.html#([\w-]+)", text))
    assert linked == set(
        book_sources.terms((book_sources.NOTEBOOKS / "glossary.md").read_text("utf-8")).values()
    )


def test_the_reference_has_every_public_name_and_the_notebook_that_introduces_it(small):
    for module in ("onnx_export", "netron_view"):
        page = (small / f"en/reference/{module}.html").read_text(encoding="utf-8")
        names = book_reference.public_names(module)
        assert names and not [name for name in names if f'id="helpers.{module}.{name}"' not in page]
        assert 'href="../03_export_to_onnx.html"' in page


def test_every_public_name_of_the_lessons_has_a_docstring_for_the_reference():
    for path in (paths.ROOT / "helpers").glob("*.py"):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
                assert ast.get_docstring(node), f"{path.name}: {node.name}"


def test_every_language_has_all_the_words_of_the_book():
    assert all(found.keys() == book_sources.WORDS["en"].keys() for found in book_sources.WORDS.values())
    assert book_sources.words("none") == book_sources.WORDS["en"]
