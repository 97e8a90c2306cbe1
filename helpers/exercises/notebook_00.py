"""The checks of notebook 00."""

import math
from collections.abc import Callable

import torch

from helpers.data import Images
from helpers.plumbing.language import translated as _
from helpers.recipe import Recipe

from . import Exercise, Wrong, call, number_is


def steps(steps: float, /, *, data: Images) -> None:
    images = len(data.train_images)
    number_is(
        steps,
        images // 512,
        [
            (
                2 * (images // 256),
                _("That is twice as many. A larger batch takes more pictures at once, so fewer steps."),
            ),
            (images // 256, _("That is the number for 256, as in the cell above.")),
            (
                math.ceil(images / 512),
                _(
                    "The last pictures do not fill a batch, and this series leaves them out: `//` rounds down."
                ),
            ),
            (images / 512, _("There is no such thing as a part of a step: `//` divides and rounds down.")),
            (
                Recipe.quick().epochs * (images // 512),
                _(
                    "That is all of the quick training, which goes through the pictures several times. Asked is once."
                ),
            ),
        ],
        _("How often do 512 pictures fit into {images:,}?", images=images),
        within=1e-9,
    )


def size(size: float, /, *, data: Images) -> None:
    images = data.train_images
    right = images.numel()
    unit = _("The number is right, the unit is not: asked are bytes.")
    number_is(
        size,
        right,
        [
            (
                4 * right,
                _(
                    "That would be 32 bits for each number. Look at `data.train_images.dtype`: uint8 is 8 bits."
                ),
            ),
            (8 * right, _("Those are bits. Eight of them make a byte.")),
            (len(images), _("That is the number of pictures. Each has 3 × 32 × 32 numbers.")),
            (right / len(images), _("That is one picture.")),
            *((right / factor, unit) for factor in (1e3, 1024, 1e6, 2**20)),
        ],
        _(
            "That is no more than a Python object needs to know where the numbers are; sys.getsizeof does not count them."
        )
        if 0 < size < 1000
        else _("Multiply how many numbers there are by the bytes of one."),
        within=0.5,
    )


LABELS, CLASSES = [0, 0, 2, 0], ("cat", "dog", "ship")


def count(count: Callable, /) -> None:
    counts = call(count, torch.tensor(LABELS), CLASSES)
    asked = _(
        "Asked about the labels {LABELS} of the classes {classes}, your function",
        LABELS=LABELS,
        classes=", ".join(CLASSES),
    )
    if not isinstance(counts, dict):
        raise Wrong(
            "{asked} gives {counts}, and not a dictionary. A number without its class says nothing.",
            asked=asked,
            counts=counts,
        )
    if counts and not any(isinstance(name, str) for name in counts):
        raise Wrong(
            "{asked} names the classes {names}. A label is the place in `classes`: take the name there.",
            asked=asked,
            names=list(counts),
        )
    found = {name: float(value) for name, value in counts.items()}
    if sum(found.values()) > len(LABELS):
        raise Wrong(
            "{asked} counts {total:,.0f}. Count the labels that are given to it, not all of `data`.",
            asked=asked,
            total=sum(found.values()),
        )
    if "dog" not in found:
        raise Wrong("{asked} does not name dog. There is no dog, and that is worth saying: 0.", asked=asked)
    if found == {"cat": 0.75, "dog": 0.0, "ship": 0.25}:
        raise Wrong("{asked} gives shares. Asked is how many.", asked=asked)
    if found != {"cat": 3.0, "dog": 0.0, "ship": 1.0}:
        raise Wrong(
            "{asked} gives {counts}. There are three cats, no dog and one ship.", asked=asked, counts=counts
        )


EXERCISES = {
    "00.1": Exercise(
        steps,
        "A larger batch means fewer steps, and each takes longer; how much longer depends on the machine.",
        "In each step the network sees one batch. How often does a batch fit into all training pictures?",
    ),
    "00.2": Exercise(
        size,
        "One byte for each number: 8 bits are enough for 0 to 255. As 32-bit numbers they would take four times as much.",
        "`data.train_images.shape` and `.dtype` say how many numbers there are and of which kind; `.nbytes` has the answer.",
    ),
    "00.3": Exercise(
        count,
        "With it you can look at any data set before you train on it: where one class is rare, an accuracy says little.",
        "For one class, `(labels == place).sum()` counts. Go through `classes` with `enumerate`, and use `.item()` to "
        "make a plain number of a tensor.",
    ),
}
