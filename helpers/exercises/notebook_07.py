"""The checks of notebook 07."""

import math
from pathlib import Path

import torch
from torch import nn

from helpers import coreml
from helpers.coreml_runtime import load
from helpers.data import Images
from helpers.plumbing.language import marked
from helpers.plumbing.language import translated as _

from . import Exercise, Wrong

CAUSES = {"no_scale": 2, "sorted_labels": 6, "no_normalisation": 4}
LINES = {
    1: marked("Line 1 asks about the size, which is right."),
    2: marked("Line 2 asks about the scale, which is right."),
    3: marked("Line 3 asks how many channels there are, which is right."),
    4: marked(
        "Line 4 asks about the normalisation. Whatever else is wrong falls over there, too, under a wrong name."
    ),
    5: marked("Line 5 asks whether there is a softmax. There is: the numbers still sum to 1."),
    6: marked("Line 6 asks whether the words are in order, which they are."),
    7: marked("Line 7 asks whether neighbours matter. They do not."),
    8: marked("Line 8 is about 16 bits. Whatever else is wrong falls over there, too, under a wrong name."),
    9: marked("Line 9 compares everything, so it tells that something is wrong, and not what."),
    10: marked("Line 10 asks about the photo, before it comes to the file."),
}


def lines(no_scale: float, sorted_labels: float, no_normalisation: float, /) -> None:
    for (name, right), value in zip(CAUSES.items(), (no_scale, sorted_labels, no_normalisation), strict=True):
        if value == 9 and name == "sorted_labels":
            raise Wrong(
                "`sorted_labels`: line 9 compares probabilities place by place, and these are right. The words are not."
            )
        if value != right:
            line = _(LINES[int(value)]) if value in LINES else _("The checklist has the lines 1 to 10.")
            raise Wrong("`{name}`: {line}", name=name, line=line)


def six_classes(six: Images, network: nn.Module, /, *, names: dict, cifar10: Images) -> None:
    if len(six.classes) != 6:
        raise Wrong("There are {names} names. The truck needs one, too.", names=len(six.classes))
    if tuple(six.train_images.shape[1:]) != (1, 28, 28):
        raise Wrong(
            "A picture is {shape}. As in section 1, it has to be 1×28×28.",
            shape="×".join(map(str, six.train_images.shape[1:])),
        )
    chosen = [cifar10.classes.index(name) for name in [*names, "truck"]]
    for theirs, mine in ((cifar10.train_labels, six.train_labels), (cifar10.test_labels, six.test_labels)):
        kept = theirs[torch.isin(theirs, torch.tensor(chosen))]
        if len(mine) != len(kept):
            raise Wrong(
                "There are {mine:,} pictures in a part where the six classes have {kept:,}. Which are missing?",
                mine=len(mine),
                kept=len(kept),
            )
        if mine.max() > 5 or not torch.equal(torch.tensor(chosen)[mine], kept):
            raise Wrong(
                "The labels do not fit the names: a label is the place of its name in `classes`, and the truck's is 5."
            )
    with torch.no_grad():
        outputs = network.eval()(torch.zeros(1, 1, 28, 28)).shape
    if tuple(outputs) != (1, 6):
        raise Wrong(
            "The network gives {numbers} numbers for a picture. It needs one for each of the six classes.",
            numbers=outputs[-1],
        )


def own_network(
    network: nn.Module, file: Path, /, *, ours: type, images: torch.Tensor, classes: tuple
) -> None:
    if any(isinstance(part, ours) for part in network.modules()):
        raise Wrong(
            "This is {name}, the network of this notebook. Put another in its place.", name=ours.__name__
        )
    if not file.exists():
        raise Wrong(
            "There is no file {name}. `coreml.save(converted, path)` returns where it is.", name=file.name
        )
    said = coreml.describe(file)
    if said.get("labels") is None:
        raise Wrong(
            'The file has no labels, so an app would get numbers. `mode="classifier"` and `class_labels=` bring them.'
        )
    if tuple(said["labels"]) != tuple(classes):
        raise Wrong(
            "The file says {labels}, the data {classes}. The order counts.",
            labels=", ".join(said["labels"]),
            classes=", ".join(classes),
        )
    if not math.isclose(said["scale"] or 1, 1 / 255, rel_tol=1e-6):
        raise Wrong(
            "The file hands on pixels from 0 to 255 as they are; the network takes 0 to 1. Line 2 of the checklist."
        )
    training = network.training
    with torch.no_grad():
        expected = network.eval()(images / 255)
    network.train(training)
    probs = load(file).probs(images)
    if torch.allclose(probs, expected.softmax(1), atol=1e-4):
        return
    if torch.allclose(probs, expected.softmax(1).softmax(1), atol=1e-4):
        raise Wrong(
            "There are two softmaxes, one in your network and one that the export adds. Give it the logits."
        )
    raise Wrong(
        "The file computes something else than your network in evaluation mode. Export it again after `.eval()`."
    )


EXERCISES = {
    "07.1": Exercise(
        lines,
        "Where the numbers are wrong, several lines fall over, and the first of them names the cause. Where only the words "
        "are, one line does.",
        "Convert once more with the fault, put the file in place of `FILE`, and run section 9 from its first cell.",
    ),
    "07.2": Exercise(
        six_classes,
        "Two places: the names, from which the labels follow, and the size of the last layer. Everything after takes both from there.",
        "`cut` reads OWN_NAMES. Let it take the names as an argument, or write it again for six.",
    ),
    "07.3": Exercise(
        own_network,
        "Your network has walked the whole road, and its file was proved against it. Line by line, section 9 asks the rest.",
        "Whatever takes N×1×28×28 from 0 to 1 and gives one logit per class will do, even one that has not been trained: "
        "`nn.Sequential(nn.Flatten(), nn.Linear(784, 5)).eval()`.",
    ),
}
