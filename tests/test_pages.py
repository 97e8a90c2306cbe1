"""The pages of ``make run`` in a real browser: for a screen reader, a phone of 390 pixels, and on paper."""

import itertools
import re

import nbformat
import pytest
from bs4 import BeautifulSoup

from helpers import chapter, figures
from helpers.netron_view import pictures
from helpers.plumbing import paths
from helpers.workshop import pages

pytest.importorskip("playwright.sync_api", reason="playwright is not installed: make test")
axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is not installed: make test")
needs_chromium = pytest.mark.skipif(
    pictures.browser() is None, reason="no Chromium: sudo apt-get install chromium, or set CHROMIUM"
)

BESIDE = {*chapter.NOTEBOOKS, *(path.stem for path in pages.texts())}
WIDTHS = itertools.cycle([390, 1280])
every_page = pytest.mark.parametrize("name", sorted(BESIDE))

HARD = """# 9 · A page with everything

| | |
|---|---|
| **You will** | see [another page](01_train_alexnet.ipynb#top), the [glossary](glossary.md) and [none](nowhere.ipynb) |

Text with `a_name_that_is_very_long_indeed_and_has_no_place_to_break_anywhere_in_it_at_all_really_none` and
[a link](https://example.com).

## A table

| | accuracy | loss | something else | and a column more | and another one |
|---|---:|---|---|---|---|
| first | 1 | 2 | unbreakable_words_stand | in_every_column_of_it | unbreakable_words_stand |

<details><summary>Which one?</summary>

The second, **because**.

</details>
"""


CODE = """
@staticmethod
class A(B):
    def f(x): return len([None, 1.5, "a", *x]) if x not in range(3) else f"{x!r}"
%time f(True) ; import b
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A page of every saved notebook and text, and one of what is hardest to show."""
    made = tmp_path_factory.mktemp("pages")
    pages.write_texts(made, BESIDE)
    for name in chapter.NOTEBOOKS:
        notebook = nbformat.read(pages.NOTEBOOKS / f"{name}.ipynb", as_version=4)
        pages.write(notebook, made / f"{name}.html", BESIDE)
    pages.write(hard(), made / "09_hard.html", {*BESIDE, "09_hard"})
    return made


def hard():
    """A notebook with long lines, wide tables of text, a folded part and a figure."""
    v4 = nbformat.v4
    wide = "  ".join(f"column {number}" for number in range(30))
    code = f"value = some_function({', '.join(f'argument_{n}=1' for n in range(30))})  # a comment\n{CODE}"
    figure = v4.new_output(
        "display_data",
        {
            "image/png": "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
        },
        metadata={"image/png": {"alt": 'a "quoted" <b> & more'}},
    )
    cell = v4.new_code_cell(code, execution_count=1)
    cell.outputs = [v4.new_output("stream", name="stdout", text=f"{wide}\n{wide}\n"), figure]
    return v4.new_notebook(cells=[v4.new_markdown_cell(HARD), cell])


def open_page(browser, path, width, **options):
    page = browser.new_page(viewport={"width": width, "height": 844}, **options)
    page.foreign = []
    page.on("request", lambda request: page.foreign.append(request.url))
    page.goto(path.as_uri())
    page.foreign = [url for url in page.foreign if not url.startswith(("file:", "data:", "blob:"))]
    return page


@needs_chromium
@pytest.mark.parametrize(
    ("name", "width"), [("09_hard", 390), ("09_hard", 1280), *zip(sorted(BESIDE), WIDTHS, strict=False)]
)
def test_axe_finds_nothing_serious_and_nothing_runs_off(browser, folder, name, width):
    page = open_page(browser, folder / f"{name}.html", width)
    found = axe.Axe().run(page).response["violations"]
    least = {"minor", "moderate", "serious", "critical"} if name == "09_hard" else {"serious", "critical"}
    assert [(one["id"], one["nodes"][0]["html"]) for one in found if one["impact"] in least] == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.foreign == []
    page.close()


@every_page
def test_every_figure_carries_its_text_and_every_link_leads_to_a_page(folder, name):
    text = (folder / f"{name}.html").read_text(encoding="utf-8")
    assert "No description has been provided" not in text
    links = re.findall(r'<a [^>]*href="([^"#]+)', text)
    assert not [link for link in links if link.endswith((".ipynb", ".md"))]
    assert re.findall(r'<(?:img|script|link)[^>]*(?:src|href)="(?!data:)[^"]', text) == []
    assert {f"{other}.html" for other in BESIDE} <= set(links)
    assert all((folder / link).exists() for link in links if not link.startswith("http"))


@pytest.mark.parametrize("name", chapter.NOTEBOOKS)
def test_the_alternative_text_on_the_page_is_that_of_the_figure(folder, name):
    notebook = nbformat.read(pages.NOTEBOOKS / f"{name}.ipynb", as_version=4)
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    metadata = [output.get("metadata", {}).get("image/png", {}) for output in outputs]
    page = BeautifulSoup((folder / f"{name}.html").read_text(encoding="utf-8"), "html.parser")
    shown = [image["alt"] for image in page.select(".jp-RenderedImage img")]
    assert shown == [one["alt"] for one in metadata if "alt" in one]


def test_a_figure_of_our_own_carries_its_text_to_the_page(monkeypatch, tmp_path):
    shown = []
    monkeypatch.setattr(figures, "display", lambda figure, metadata: shown.append(metadata))
    import matplotlib.pyplot as plt

    figures.show(plt.figure(), "A curve that falls.")
    notebook = hard()
    notebook.cells[1].outputs[1].metadata = shown[0]
    pages.write(notebook, tmp_path / "page.html")
    assert 'alt="A curve that falls."' in (tmp_path / "page.html").read_text(encoding="utf-8")


@needs_chromium
def test_what_is_wide_scrolls_on_a_phone_and_code_goes_on_in_the_next_line(browser, folder):
    page = open_page(browser, folder / "09_hard.html", 390)
    assert page.locator("img").get_attribute("alt") == 'a "quoted" <b> & more'
    wide = "one => one.scrollWidth > one.clientWidth + 1 && getComputedStyle(one).overflowX == 'auto'"
    assert page.locator(".jp-OutputArea-output:has(pre)").evaluate(wide)
    assert not page.locator(".jp-InputArea-editor").evaluate("one => one.scrollWidth > one.clientWidth + 1")
    page.locator(".jp-OutputArea-output:has(pre)").focus()
    page.keyboard.press("ArrowRight")
    page.wait_for_function("document.activeElement.scrollLeft > 0")
    page.close()


@needs_chromium
def test_on_paper_nothing_is_cut_off_and_what_is_folded_is_open(browser, folder, tmp_path):
    for name in ("09_hard", "04_convert_to_coreml", "05_into_an_ios_app"):
        page = open_page(
            browser, folder / f"{name}.html", 690
        )  # A4 at 96 to the inch, less nbconvert's margins
        page.emulate_media(media="print")
        cut = page.evaluate(
            "[...document.querySelectorAll('pre, table, img')].filter(one => one.scrollWidth > one.clientWidth + 1 "
            "|| one.getBoundingClientRect().right > 691).map(one => one.outerHTML.slice(0, 200))"
        )
        assert cut == [], name
        folded = page.locator("details > :not(summary)").evaluate_all(
            "all => all.filter(one => one.checkVisibility({contentVisibilityAuto: true}) && one.offsetHeight).length"
        )
        assert folded == page.locator("details > :not(summary)").count() > 0 or name.startswith("04")
        page.close()


def test_links_lead_only_to_pages_that_are_there(folder):
    text = (folder / "09_hard.html").read_text(encoding="utf-8")
    assert '<a href="01_train_alexnet.html#top">another page</a>' in text
    assert '<a href="glossary.html">glossary</a>' in text
    assert "nowhere" not in text and "none" in text
    assert 'href="https://example.com"' in text


def test_an_empty_heading_of_a_table_is_no_heading(folder):
    text = (folder / "09_hard.html").read_text(encoding="utf-8")
    assert not re.search(r"<th[^>]*>\s*</th>", text)
    assert text.count("<thead>") == 1  # of the table that has headings
    assert "accuracy</th>" in text


def test_run_writes_pages_that_lead_to_each_other(tmp_path, monkeypatch, scratch_artifacts):
    from helpers.workshop import run

    monkeypatch.setattr(run, "NOTEBOOKS", tmp_path)
    for name, other in (("00_start_here", "01_train_alexnet"), ("01_train_alexnet", "07_missing")):
        cells = [nbformat.v4.new_markdown_cell(f"# A\n\n[on]({other}.ipynb), [words](glossary.md)")]
        nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / f"{name}.ipynb")
    assert run.main([]) == 0
    made = paths.artifacts_dir() / "executed"
    first, second = ((made / f"{name}.html").read_text() for name in ("00_start_here", "01_train_alexnet"))
    assert '<a href="01_train_alexnet.html">on</a>' in first
    assert "07_missing" not in second
    assert (made / "glossary.html").exists()
    assert ".ipynb" not in (first + second).split("<body")[1]
