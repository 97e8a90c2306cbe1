"""A saved notebook says what made it, and a test says when that has changed."""

from dataclasses import replace

import nbformat
import pytest

from helpers import runs
from helpers.plumbing import paths
from helpers.recipe import Recipe
from helpers.workshop import address, run, saved

FOLDER = paths.ROOT / "notebooks"
NOTEBOOKS = [path for part in (".", "solutions", "zh") for path in sorted((FOLDER / part).glob("*.ipynb"))]
EPOCHS = "epochs = 3  # why\nprint(f'{epochs:{5}}')"


@pytest.fixture
def made(monkeypatch):
    monkeypatch.setenv("CHAPTER_MODE", "full")
    return saved.made_by()


def recorded(path):
    """The notebook, whose test is known to fail as long as it was saved before there were records."""
    record = "made_by" in nbformat.read(path, as_version=4).metadata
    marks = (
        ()
        if record
        else pytest.mark.xfail(strict=True, reason="saved before notebooks recorded what made them")
    )
    return pytest.param(path, marks=marks, id=path.relative_to(FOLDER).as_posix())


@pytest.mark.parametrize("path", [recorded(path) for path in NOTEBOOKS])
def test_a_saved_notebook_is_that_of_todays_code_and_recipe(path, made):
    changed = saved.out_of_date(nbformat.read(path, as_version=4), made)
    assert not changed, f"{path.name}: changed since it was saved: {changed}. {saved.AGAIN}{path.name[:2]}"


def notebook(code=EPOCHS, where=None):
    v4 = nbformat.v4
    first = v4.new_code_cell(address.beginning(where) + "\nimport this")
    return v4.new_notebook(cells=[first, v4.new_markdown_cell("A text."), v4.new_code_cell(code)])


def kept(tmp_path, made=None):
    run.save_outputs(notebook(), tmp_path / "09.ipynb", made)
    return nbformat.read(tmp_path / "09.ipynb", as_version=4)


def test_what_was_just_saved_is_up_to_date_and_what_has_no_record_is_not(tmp_path, made):
    assert saved.out_of_date(kept(tmp_path), made) == []
    assert saved.out_of_date(notebook(), made) == ["mode", "training", "recipe", "weights", "cells"]


@pytest.mark.parametrize(
    ("code", "changed"),
    [
        ('# how\nepochs=3\nprint(f"{epochs:{5}}")', []),
        ("'''What it does.'''\n" + EPOCHS, []),
        (EPOCHS.replace("3", "4"), ["cells"]),
        (EPOCHS.replace("{epochs", "{ epochs }{epochs"), ["cells"]),
        (EPOCHS + "\n", []),
        (EPOCHS + "\nprint(None)", ["cells"]),
    ],
)
def test_code_counts_and_comments_texts_and_layout_do_not(tmp_path, made, code, changed):
    notebook_now = kept(tmp_path)
    notebook_now.cells[1].source = "Another text."
    notebook_now.cells[2].source = code
    assert saved.out_of_date(notebook_now, made) == changed


def test_the_address_of_the_project_does_not_count(tmp_path, made):
    notebook_now = notebook(where="https://github.com/nobody-7/road-to.iphone")
    notebook_now.metadata = kept(tmp_path).metadata
    assert saved.out_of_date(notebook_now, made) == []


def test_the_mode_the_recipe_the_training_and_the_weights_count(tmp_path, made, monkeypatch):
    now = kept(tmp_path)
    monkeypatch.setenv("CHAPTER_MODE", "quick")
    assert saved.out_of_date(now, saved.made_by()) == ["mode", "recipe"]
    monkeypatch.setenv("CHAPTER_MODE", "full")
    with monkeypatch.context() as patch:
        full = replace(Recipe.full(), epochs=16)
        patch.setattr(Recipe, "full", lambda: full)
        assert saved.out_of_date(now, saved.made_by()) == ["recipe"]
    with monkeypatch.context() as patch:
        code = tmp_path / "training.py"
        code.write_text(runs.CODE[-1].read_text(encoding="utf-8") + "\nX = 1\n", encoding="utf-8")
        patch.setattr(runs, "CODE", [*runs.CODE[:-1], code])
        assert saved.out_of_date(now, saved.made_by()) == ["training"]
    with monkeypatch.context() as patch:
        patch.setattr(paths, "PRETRAINED", tmp_path)
        (tmp_path / "a.json").write_text('{"weights_sha256": "00"}')
        assert saved.out_of_date(now, saved.made_by()) == ["weights"]


def test_what_changes_while_the_notebooks_run_makes_them_out_of_date(tmp_path, made):
    """``make notebooks`` asks before it runs, and not when it saves."""
    before = made | {"training": "what it was before"}
    assert saved.out_of_date(kept(tmp_path, before), made) == ["training"]


def test_a_run_that_saves_records_what_it_found(tmp_path, made, monkeypatch):
    monkeypatch.setattr(run, "NOTEBOOKS", tmp_path)
    nbformat.write(notebook(), tmp_path / "00_hello.ipynb")
    assert run.main(["--save", "00"]) == 0
    assert saved.out_of_date(nbformat.read(tmp_path / "00_hello.ipynb", as_version=4), made) == []
