"""Figures of hardly anything: whoever looks too early, or has no mistakes, is told so."""

import itertools
import re
from types import SimpleNamespace

import matplotlib.pyplot as plt
import pytest
import torch
from matplotlib.colors import to_rgb
from matplotlib.text import Text

from helpers import calibration, figures
from helpers.evaluation import Evaluation
from helpers.history import History
from helpers.intervals import share
from helpers.recipe import Recipe

CLASSES = ["cat", "dog", "ship"]
NONE = Evaluation(torch.zeros(0, 3), torch.zeros(0, dtype=torch.int64))
RIGHT = Evaluation(torch.eye(3), torch.arange(3))
PICTURES = torch.zeros(3, 3, 32, 32, dtype=torch.uint8)
ROW = {"epoch": 1, "train_loss": 2.0, "train_accuracy": 0.1, "validation_accuracy": 0.2, "seconds": 1.0}


BROKEN = Evaluation(torch.full((2, 3), float("nan")), torch.tensor([0, 1]))


@pytest.fixture
def shown(monkeypatch):
    texts = []
    monkeypatch.setattr(
        figures, "show", lambda figure, alt: (figure.canvas.draw(), texts.append(alt), plt.close(figure))
    )
    return texts


@pytest.mark.parametrize(
    "draw",
    [
        lambda: figures.curves(History(Recipe())),
        lambda: figures.overlay({"a": History(Recipe())}),
        lambda: figures.overlay({}),
        lambda: figures.mistakes(RIGHT, PICTURES, CLASSES),
        lambda: figures.mistakes(NONE, PICTURES[:0], CLASSES),
        lambda: figures.images(PICTURES[:0], [], alt="none"),
        lambda: figures.reliability(NONE),
        lambda: figures.reliability(BROKEN),
        lambda: figures.class_counts({}, CLASSES),
        lambda: figures.waterfall([], alt="none"),
        lambda: figures.corruption_curves({}, alt="none"),
        lambda: figures.coverage({}, alt="none"),
        lambda: figures.threshold(calibration.Coverage(*torch.zeros(3, 0)), SimpleNamespace(value=0.5)),
    ],
)
def test_nothing_to_draw_is_said_in_a_sentence(shown, capsys, draw):
    draw()
    assert re.fullmatch(r"Nothing to draw: .+\.\n", capsys.readouterr().out)
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


WRONG = Evaluation(torch.eye(3).flip(0), torch.arange(3))


@pytest.mark.parametrize(
    ("draw", "says"),
    [
        (
            lambda: figures.images(PICTURES, CLASSES, columns=0, alt="x"),
            "columns=0 must be a whole number, at least 1",
        ),
        (lambda: figures.images(PICTURES, CLASSES, columns=1.5, alt="x"), "columns=1.5 must be"),
        (lambda: figures.one_of_each(PICTURES, torch.arange(3), CLASSES, rows=-1), "rows=-1 must be"),
        (
            lambda: figures.one_of_each(PICTURES, torch.arange(3), CLASSES[:2]),
            "labels of 2 classes are whole numbers",
        ),
        (lambda: figures.class_counts({"a": torch.arange(3)}, CLASSES[:2]), "from 0 to 1.*one name for each"),
        (
            lambda: figures.class_counts({"a": torch.tensor([-1])}, CLASSES),
            "from 0 to 2, and here are others",
        ),
        (lambda: figures.class_counts({"a": torch.zeros(3)}, CLASSES), "whole numbers"),
        (
            lambda: figures.confusion(RIGHT.confusion(), CLASSES[:2]),
            "2 class names for 3 classes.*one name for each",
        ),
        (lambda: figures.confusion(RIGHT.confusion(), [*CLASSES, "x"]), "4 class names for 3 classes"),
        (lambda: figures.confusion(torch.zeros(0, 0), []), "0 class names for 0 classes"),
        (lambda: figures.per_class(RIGHT.confusion(), CLASSES[:2]), "2 class names for 3 classes"),
        (lambda: figures.per_class(torch.zeros(0, 0), []), "0 class names for 0 classes"),
        (lambda: figures.mistakes(WRONG, PICTURES, CLASSES[:2]), "2 class names for 3 classes"),
        (
            lambda: figures.mistakes(WRONG, PICTURES, CLASSES, count=-1),
            "count=-1 must be a whole number, at least 0",
        ),
        (
            lambda: figures.mistakes(WRONG, PICTURES[:1], CLASSES),
            "1 pictures and 3 answers. Give the pictures",
        ),
        (lambda: figures.reliability(RIGHT, bins=0), "bins=0 must be a whole number, at least 1"),
        (lambda: figures.reliability(RIGHT, bins=1.5), "bins=1.5 must be"),
        (lambda: figures.reliability(RIGHT, bins=True), "bins=True must be"),
    ],
)
def test_what_cannot_be_drawn_is_named(shown, draw, says):
    with pytest.raises(ValueError, match=says):
        draw()
    assert shown == []


@pytest.mark.parametrize(
    "pictures",
    [
        PICTURES.numpy(),
        torch.rand(3, 1, 28, 40),
        torch.rand(3, 3, 8, 8, dtype=torch.float64),
        torch.zeros(3, 1, 8, 8, dtype=torch.int64),
        torch.rand(3, 3, 8, 8).bfloat16(),
    ],
)
def test_pictures_of_every_kind_are_drawn(shown, pictures):
    figures.images(pictures, CLASSES, alt="three")
    assert shown == ["three"]


@pytest.mark.parametrize(
    ("draw", "says"),
    [
        (lambda: figures.images(PICTURES[0], CLASSES, alt="x"), r"\(3, 32, 32\).*picture\[None\]"),
        (
            lambda: figures.images(PICTURES.permute(0, 2, 3, 1), CLASSES, alt="x"),
            r"\(3, 32, 32, 3\).*permute\(0, 3, 1, 2\)",
        ),
        (lambda: figures.images(list(PICTURES), CLASSES, alt="x"), "torch.stack"),
        (lambda: figures.images("cat.png", CLASSES, alt="x"), "The pictures are str"),
        (lambda: figures.images(PICTURES, "cat", alt="x"), "'cat' as titles"),
        (lambda: figures.images(PICTURES, CLASSES[:2], alt="x"), "3 pictures and .* as titles"),
        (lambda: figures.filters(torch.rand(8, 3), torch.rand(8, 3)), r"The kernels are \(8, 3\)"),
        (lambda: figures.filters(torch.rand(8, 64, 3, 3), torch.rand(8, 64, 3, 3)), r"\(8, 64, 3, 3\)"),
        (lambda: figures.filters(None, None), "The kernels are NoneType.*first convolution"),
        (lambda: figures.confusion(torch.zeros(3, 2), CLASSES), r"classes×classes, and this is \(3, 2\)"),
        (lambda: figures.per_class(torch.zeros(3), CLASSES), r"classes×classes, and this is \(3,\)"),
    ],
)
def test_pictures_kernels_and_matrices_of_another_shape_are_named(shown, draw, says):
    with pytest.raises(ValueError, match=says):
        draw()
    assert shown == []


@pytest.mark.parametrize("shape", [(8, 1, 3, 3), (12, 3, 5, 5), (20, 3, 11, 7), (1, 1, 1, 1)])
def test_kernels_of_every_number_and_size_are_drawn(shown, shape):
    figures.filters(torch.rand(shape), torch.rand(shape))
    assert len(shown) == 1


def test_curves_name_the_sizes_that_the_images_had(shown):
    recipe = Recipe(epochs=2, sizes=(16, 32))
    rows = [ROW, ROW | {"epoch": 2}]
    figures.curves(History(recipe, rows=rows))
    figures.curves(History(recipe, rows=rows, sizes=[(14, 20), (28, 40)]))
    assert "grow to 32×32 after 1 of 2 epochs" in shown[0]
    assert "grow to 28×40 after 1 of 2 epochs" in shown[1]


LOGITS = torch.randn(500, 10, generator=torch.Generator().manual_seed(0))
DRAWN = torch.distributions.Categorical(logits=LOGITS)
LABELS = torch.multinomial(DRAWN.probs, 1, generator=torch.Generator().manual_seed(0)).flatten()
UNSURE = calibration.coverage_curve(DRAWN.probs, LABELS)
RUN = History(
    Recipe(epochs=3, sizes=(16, 32)),
    rows=[ROW | {"epoch": k, "validation_accuracy": k / 4} for k in (1, 2, 3)],
)
HALF = [share(torch.arange(100) < count) for count in (90, 50)]
FAULT = {"strengths": [0, 1], "unit": "pixels", "plain network": HALF, "camera network": HALF[::-1]}
LOOP = {"rows": RUN.rows, "time_to_80_s": 2.0}
EVERY = {
    "curves": lambda: figures.curves(RUN),
    "overlay": lambda: figures.overlay({str(k): RUN for k in range(5)}),
    "overlay of nine": lambda: figures.overlay({str(k): RUN for k in range(9)}),
    "benchmark": lambda: figures.benchmark(
        {"loops": {"a": LOOP, "b": LOOP, "c": LOOP}, "tricks": []}, target=0.8
    ),
    "class_counts": lambda: figures.class_counts({"a": LABELS, "b": LABELS}, list("abcdefghij")),
    "per_class": lambda: figures.per_class(RIGHT.confusion(), CLASSES),
    "reliability": lambda: figures.reliability(Evaluation(DRAWN.probs, LABELS)),
    "waterfall": lambda: figures.waterfall(
        [("all", 0.9), ("dark", 0.6), ("repaired", 0.7)], alt="three bars"
    ),
    "corruption_curves": lambda: figures.corruption_curves({"blur": FAULT}, alt="two curves"),
    "coverage": lambda: figures.coverage({"a": UNSURE, "b": UNSURE}, alt="two curves"),
    **{
        f"threshold {right}": lambda right=right: figures.threshold(
            UNSURE, calibration.threshold(DRAWN.probs, LABELS, right=right)
        )
        for right in (0.5, 0.7, 0.9)
    },
}


def luminance(colour):
    """Of a colour, from 0 to 1, as WCAG 2 defines it."""
    channels = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(colour)]
    return sum(weight * c for weight, c in zip((0.2126, 0.7152, 0.0722), channels, strict=True))


def grey(colour):
    """What a printer without colours makes of it, 0 to 1 (ITU-R BT.601)."""
    return sum(weight * c for weight, c in zip((0.299, 0.587, 0.114), to_rgb(colour), strict=True))


@pytest.mark.parametrize("name", EVERY)
def test_in_grey_print_texts_can_be_read_and_lines_told_apart(name, monkeypatch):
    def look(figure, alt):
        figure.canvas.draw()
        texts = [one for one in figure.findobj(Text) if one.get_visible() and one.get_text().strip()]
        assert texts
        for text in texts:
            assert 1.05 / (luminance(text.get_color()) + 0.05) >= 4.5, text.get_text()
        for axis in figure.axes:
            lines = [line for line in axis.lines if len(line.get_xdata()) > 1]
            lines = [line for line in lines if line.get_linewidth() > 1]
            looks = [(line.get_linestyle(), line.get_marker()) for line in lines]
            assert len(set(looks)) == len(looks)
            for a, b in itertools.combinations(
                lines if len(lines) <= 5 else [], 2
            ):  # of more, the marks have to tell some
                dashes = a.get_linestyle() != b.get_linestyle()
                assert dashes or abs(grey(a.get_color()) - grey(b.get_color())) > 0.1
            boxes = [one.get_window_extent() for one in axis.texts]
            assert not any(a.overlaps(b) for a, b in itertools.combinations(boxes, 2))
        plt.close(figure)
        seen.append(alt)

    seen = []
    monkeypatch.setattr(figures, "show", look)
    EVERY[name]()
    assert len(seen) == 1
