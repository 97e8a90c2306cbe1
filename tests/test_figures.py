"""Figures of hardly anything: whoever looks too early, or has no mistakes, is told so."""

from types import SimpleNamespace

import pytest
import torch

from helpers import calibration, figures
from helpers.evaluation import Evaluation
from helpers.history import History
from helpers.recipe import Recipe

CLASSES = ["cat", "dog", "ship"]
NONE = Evaluation(torch.zeros(0, 3), torch.zeros(0, dtype=torch.int64))
RIGHT = Evaluation(torch.eye(3), torch.arange(3))
PICTURES = torch.zeros(3, 3, 32, 32, dtype=torch.uint8)
ROW = {"epoch": 1, "train_loss": 2.0, "train_accuracy": 0.1, "test_accuracy": 0.2, "seconds": 1.0}


BROKEN = Evaluation(torch.full((2, 3), float("nan")), torch.tensor([0, 1]))


@pytest.fixture
def shown(monkeypatch):
    texts = []
    monkeypatch.setattr(figures, "show", lambda figure, alt: (figure.canvas.draw(), texts.append(alt)))
    return texts


@pytest.mark.parametrize(
    ("draw", "said"),
    [
        (lambda: figures.curves(History(Recipe())), "no epoch has ended yet"),
        (lambda: figures.overlay({"a": History(Recipe())}), "no run has ended an epoch yet"),
        (lambda: figures.overlay({}), "no run has ended an epoch yet"),
        (lambda: figures.mistakes(RIGHT, PICTURES, CLASSES), "there is no wrong answer"),
        (lambda: figures.mistakes(NONE, PICTURES[:0], CLASSES), "there is no wrong answer"),
        (lambda: figures.images(PICTURES[:0], [], alt="none"), "there is no picture"),
        (lambda: figures.reliability(NONE), "there is no answer"),
        (lambda: figures.reliability(BROKEN), "the network answers with NaN; its weights are broken"),
        (lambda: figures.class_counts({}, CLASSES), "there are no labels"),
        (lambda: figures.waterfall([], alt="none"), "there are no steps"),
        (lambda: figures.fault_curves({}, alt="none"), "there are no curves"),
        (lambda: figures.coverage({}, alt="none"), "there are no curves"),
        (
            lambda: figures.threshold(calibration.Coverage(*torch.zeros(3, 0)), SimpleNamespace(value=0.5)),
            "there is no answer",
        ),
    ],
)
def test_nothing_to_draw_is_said_in_a_sentence(shown, capsys, draw, said):
    draw()
    assert capsys.readouterr().out == f"Nothing to draw: {said}.\n"
    assert shown == []


@pytest.mark.parametrize(
    ("draw", "alt"),
    [
        (lambda: figures.curves(History(Recipe(), rows=[ROW])), "falls from 2.00 to 2.00"),
        (lambda: figures.overlay({"a": History(Recipe(), rows=[ROW]), "b": History(Recipe())}), "of 1 runs"),
        (lambda: figures.confusion(RIGHT.confusion(), CLASSES), "There is no mistake."),
        (lambda: figures.confusion(NONE.confusion(), CLASSES), "There is no mistake."),
        (lambda: figures.per_class(NONE.confusion(), CLASSES), "with 0.0%"),
        (lambda: figures.reliability(RIGHT), "calibration error 0.0%"),
        (lambda: figures.one_of_each(PICTURES[:1], torch.tensor([1]), CLASSES), "cat, dog, ship"),
        (
            lambda: figures.class_counts(dict.fromkeys("abc", torch.tensor([0])), CLASSES),
            "smallest bar has 0",
        ),
        (lambda: figures.filters(torch.rand(5, 3, 3, 3), torch.zeros(5, 3, 3, 3)), "kernels"),
        (lambda: figures.waterfall([("all", 0.0)], alt="one bar"), "one bar"),
    ],
)
def test_hardly_anything_is_drawn(shown, draw, alt):
    draw()
    assert alt in shown[0]
