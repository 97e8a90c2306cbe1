"""The slides and the handout of ``make slides``: what is on them, and that in a browser nothing runs over."""

import importlib.util
import re

import nbformat
import pytest
from bs4 import BeautifulSoup
from test_pages import axe, needs_chromium, open_page

from helpers import chapter
from helpers.plumbing import paths
from helpers.workshop import pages, slides

TEXT = """# 9 · A title

{long}

- one
- two: {long}

### A heading below

| a | b |
|---|---|
| 1 | 2 |

```python
x = 1

# no heading
```

<details><summary>Why?</summary>

Because.

</details>
"""
LONG = "This is the first sentence of `it`. " + " ".join(["Here follows what only the speaker says."] * 9)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """What ``make slides`` makes of the saved notebooks."""
    if importlib.util.find_spec("sphinx_revealjs") is None:
        pytest.skip("reveal.js is not installed: make test")
    folder = tmp_path_factory.mktemp("artifacts")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CHAPTER_ARTIFACTS", str(folder))
        assert slides.main([]) == 0
    return folder / "slides"


def cell(text="", **outputs):
    return nbformat.v4.new_code_cell(
        "x = 1", outputs=[nbformat.v4.new_output("stream", text=text)] if text else []
    )


def kinds(notebook):
    return [(one.metadata.slideshow["slide_type"], one.source) for one in slides.deck(notebook).cells]


def test_a_text_becomes_slides_and_the_speaker_has_what_they_leave_out():
    text = nbformat.v4.new_markdown_cell(TEXT.format(long=LONG))
    found = kinds(nbformat.v4.new_notebook(cells=[text]))
    assert [kind for kind, _ in found] == ["slide", "notes", "-", "-", "-", "subslide", "-", "-", "-"]
    assert found[0][1] == "# 9 · A title"
    assert found[1][1] == f"{LONG}\n\n- two: {LONG}"
    assert found[2][1] == "This is the first sentence of `it`."
    assert found[4][1] == "- two: This is the first sentence of `it`."
    assert found[7][1] == "```python\nx = 1\n\n# no heading\n```"
    assert found[8][1].startswith("<details>") and found[8][1].endswith("</details>")


def test_an_output_appears_after_its_code_and_a_long_one_is_cut():
    found = slides.deck(nbformat.v4.new_notebook(cells=[cell("a\n" * 5 + "b"), cell("c\n" * 99)])).cells
    assert [one.metadata.slideshow["slide_type"] for one in found[:3]] == ["subslide", "fragment", "fragment"]
    assert found[1].metadata.tags == ["remove-input"]
    assert found[1].outputs[0].text == "a\n" * 5 + "b"
    assert found[3].outputs[0].text.splitlines()[-1] == "… and 84 more lines in the notebook"
    assert len(found[3].outputs[0].text.splitlines()) == slides.LINES


def test_what_does_not_fit_goes_on_below():
    found = kinds(
        nbformat.v4.new_notebook(
            cells=[nbformat.v4.new_markdown_cell("# A"), *(cell("a\n" * 14) for _ in range(4))]
        )
    )
    assert [kind for kind, _ in found].count("subslide") >= 2
    assert len([kind for kind, _ in found if kind == "slide"]) == 1


def test_an_empty_notebook_is_no_reason_to_stop(tmp_path):
    with pytest.raises(ValueError, match="cannot create slideshow"):
        slides.write(nbformat.v4.new_notebook(), tmp_path / "empty.html")


@needs_chromium
@pytest.mark.parametrize("name", chapter.NOTEBOOKS)
def test_nothing_runs_over_and_nothing_foreign_is_asked_for(browser, made, name):
    page = open_page(browser, made / f"{name}.html", 1280)
    page.set_viewport_size({"width": 1280, "height": 720})
    page.wait_for_function("Reveal.isReady() && Reveal.getScale() == 1")
    over = page.evaluate(
        """() => Reveal.getSlides().filter(slide => {
            const place = Reveal.getIndices(slide);
            Reveal.slide(place.h, place.v, 99);
            return slide.scrollHeight > 720 || slide.scrollWidth > 1280;
        }).map(slide => slide.innerText.slice(0, 200))"""
    )
    assert over == []
    assert page.evaluate("Reveal.getTotalSlides()") > 5
    assert page.evaluate("Reveal.hasPlugin('notes')")
    assert page.foreign == []
    page.close()


@needs_chromium
def test_the_speakers_window_shows_the_notes(browser, made):
    page = open_page(browser, made / "01_train_alexnet.html", 1280)
    page.wait_for_function("Reveal.isReady()")
    page.evaluate(
        "Reveal.slide(Reveal.getIndices(document.querySelector('aside.notes').closest('section')).h, 0)"
    )
    with page.expect_popup() as popup:
        page.keyboard.press("s")
    popup.value.wait_for_selector(".speaker-controls-notes .value strong, .speaker-controls-notes .value p")
    page.close()


def test_every_figure_is_on_a_slide_with_its_alternative_text(made):
    for name in chapter.NOTEBOOKS:
        notebook = nbformat.read(pages.NOTEBOOKS / f"{name}.ipynb", as_version=4)
        outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
        expected = [output.get("metadata", {}).get("image/png", {}).get("alt") for output in outputs]
        page = BeautifulSoup((made / f"{name}.html").read_text(encoding="utf-8"), "html.parser")
        assert [image["alt"] for image in page.select(".jp-RenderedImage img")] == [*filter(None, expected)]
        assert len(page.select("aside.notes")) > 2


def test_the_handout_has_a_page_of_each_notebook(made):
    page = BeautifulSoup((made / "handout.html").read_text(encoding="utf-8"), "html.parser")
    titles = [heading.get_text() for heading in page.select("h1")]
    assert [int(title[0]) for title in titles] == list(range(len(chapter.NOTEBOOKS)))
    headings = [heading.get_text().rstrip("¶") for heading in page.select("h2")]
    assert headings == ["What you learned", "Exercises"] * len(titles)
    assert len(page.select("tr")) >= 3 * len(titles)
    assert not page.select("details")


@needs_chromium
def test_each_sheet_of_the_handout_is_one_page_of_paper(browser, made, tmp_path):
    page = open_page(browser, made / "handout.html", 1280)
    found = axe.Axe().run(page).response["violations"]
    assert [one["id"] for one in found if one["impact"] in ("serious", "critical")] == []
    printed = page.pdf(format="A4", path=tmp_path / "handout.pdf")
    assert len(re.findall(rb"/Type\s*/Page\b", printed)) == len(chapter.NOTEBOOKS)
    page.close()


def test_without_reveal_the_command_says_what_to_do(monkeypatch, capsys):
    monkeypatch.setattr(slides.importlib.util, "find_spec", lambda name: None)
    assert slides.main([]) == 1
    assert "reveal.js is not here" in capsys.readouterr().err
    assert not (paths.artifacts_dir() / "slides").exists()
