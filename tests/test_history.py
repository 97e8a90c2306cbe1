"""What a history keeps, reads and refuses."""

import json
import math
from dataclasses import asdict, replace

import pytest

from helpers import figures
from helpers.history import ROW, History
from helpers.recipe import Recipe
from helpers.training import fit

TINY = replace(Recipe.smoke(), width=0.25, batch_size=100, epochs=2)


def test_sizes_are_kept_by_a_history(tmp_path):
    history = History(replace(TINY, sizes=[16, 32]))
    history.save(tmp_path / "history.json")
    assert History.load(tmp_path / "history.json").recipe == history.recipe == replace(TINY, sizes=(16, 32))


def test_the_curves_say_where_the_pictures_grow(monkeypatch):
    shown = []
    monkeypatch.setattr(figures, "show", lambda figure, alt: shown.append((figure, alt)))
    row = {"epoch": 1, "train_loss": 1.0, "train_accuracy": 0.5, "validation_accuracy": 0.5}
    rows = [row | {"epoch": epoch, "validation_accuracy": 0.1 * epoch} for epoch in (1, 2, 3)]
    for sizes in ((16, 24, 24, 32), (32,)):
        figures.curves(History(replace(TINY, epochs=4, sizes=sizes), rows=rows))
    (grown, said), (plain, nothing) = shown
    assert "grow to 24×24 after 1 of 4 epochs, to 32×32 after 3 of 4 epochs." in said
    assert "grow" not in nothing
    for figure, lines in ((grown, 2), (plain, 0)):
        for axis in figure.axes:
            assert sum(line.get_linestyle() == ":" for line in axis.lines) == lines
    loss, accuracy = grown.axes
    assert {text.get_text() for text in loss.texts} == {"to 24×24", "to 32×32"}
    assert {text.get_text() for text in accuracy.texts} == {"train", "validation"}


def test_a_history_can_be_saved_and_read(drawings, tmp_path):
    history = fit(TINY.model(), drawings, TINY, progress=False)
    history.save(tmp_path / "history.json")
    again = History.load(tmp_path / "history.json")
    assert again.rows == history.rows
    assert again.recipe == TINY
    assert repr(again) == repr(history)
    assert "finished after 2 epochs" in repr(again)


@pytest.mark.parametrize(
    "change",
    [
        {"finished": "no"},
        {"finished": False},
        {"rows": []},
        {"steps": -1},
        {"steps": 3.5},
        {"device": {"name": "cpu"}},
        {"device": "\x1b[2J"},
        {"rows": [1, True]},
        {"rows": [1, float("nan")]},
        {"rows": [1, 10**400]},
        {"rows": [1, "2"]},
    ],
)
@pytest.mark.parametrize("name", ["seconds", "validation_accuracy"])
def test_a_history_that_says_what_cannot_be_is_no_history(tmp_path, name, change):
    judged = ("validation_accuracy", "validation_seconds")
    rows = [dict.fromkeys((*ROW, *judged), 1), dict.fromkeys((*ROW, *judged), 1.0)]
    history = History(TINY, "CPU", rows, 20, finished=True)
    history.save(tmp_path / "history.json")
    assert History.load(tmp_path / "history.json") == history
    kept = json.loads((tmp_path / "history.json").read_text())
    if change.get("rows"):
        change = {"rows": [rows[0] | {name: value} for value in change["rows"]]}
    (tmp_path / "history.json").write_text(json.dumps(kept | change))
    with pytest.raises(ValueError, match="is damaged, or no history"):
        History.load(tmp_path / "history.json")


def test_a_history_of_an_earlier_version_has_no_validation_accuracy():
    """It tested after each epoch. That is another number, and is not taken for this one."""
    row = dict.fromkeys(ROW, 1.0) | {"test_accuracy": 0.9}
    recipe = {name: value for name, value in asdict(TINY).items() if name != "validation"}
    history = History.of(
        {"recipe": recipe, "device": "CPU", "rows": [row] * 2, "steps": 20, "finished": True}
    )
    assert math.isnan(history.validation_accuracy)
    assert history.recipe.validation == 0
    assert "validation" not in repr(history)


def test_curves_without_a_validation_set_are_those_of_the_training(monkeypatch):
    shown = []
    monkeypatch.setattr(figures, "show", lambda figure, alt: shown.append((figure, alt)))
    row = {"train_loss": 1.0, "learning_rate": 0.1, "seconds": 1.0, "validation_accuracy": None}
    rows = [row | {"epoch": epoch, "train_accuracy": epoch / 4} for epoch in (1, 2)]
    history = History(replace(TINY, validation=0), rows=rows)
    figures.curves(history)
    figures.overlay({"one": history})
    assert "training accuracy goes from 25.0% to 50.0%" in shown[0][1]
    assert "Highest" not in shown[1][1]
