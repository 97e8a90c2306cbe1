"""The checks of notebook 04."""

from collections.abc import Callable
from pathlib import Path

from helpers import coreml
from helpers.coreml_runtime import load
from helpers.data import Images
from helpers.evaluation import Evaluation
from helpers.plumbing.language import translated as _

from . import Exercise, Wrong, call, number_is


def most_hurt(worst: str, /, *, before: Evaluation, after: Evaluation, classes: tuple) -> None:
    if worst not in classes:
        raise Wrong("{worst!r} is no class. They are {classes}.", worst=worst, classes=", ".join(classes))
    tables = [one.confusion() for one in (before, after)]
    shares = [table.diagonal() / table.sum(1).clamp(min=1) for table in tables]
    lost = shares[0] - shares[1]
    place = classes.index(worst)
    if lost[place] >= lost.max() - 0.01:
        return
    cost = _(
        "{worst} loses {points:.0f} points, and another class more.", worst=worst, points=100 * lost[place]
    )
    if lost[place] == lost.min():
        raise Wrong("{cost} Most of all is the largest difference: before less after.", cost=cost)
    if shares[1][place] == shares[1].min():
        raise Wrong(
            "{cost} It is right least often with swapped colours; but it was not much better without.",
            cost=cost,
        )
    if shares[0][place] == shares[0].min():
        raise Wrong("{cost} It is the hardest class, and was so before the colours were swapped.", cost=cost)
    answers = [table.diagonal() / table.sum(0).clamp(min=1) for table in tables]
    if place == (answers[0] - answers[1]).argmax():
        raise Wrong(
            "{cost} You divided by the columns: of the answers {worst}, how many are right. A class is a row.",
            cost=cost,
            worst=worst,
        )
    raise Wrong(
        "{cost} Divide the diagonal by the sum of each row, before and after, and take the difference.",
        cost=cost,
    )


def gentler(gentle: Path, points: float, /, *, compression: dict, data: Images) -> None:
    whole, half = (compression[name] for name in ("float32", "pruned"))
    if not gentle.exists():
        raise Wrong(
            "There is no file {name}. `coreml.save(model, path)` returns where it is.", name=gentle.name
        )
    kept = coreml.size(gentle) / whole["bytes"]
    if abs(kept - half["bytes"] / whole["bytes"]) < 0.01:
        raise Wrong("Half of the weights are zero in this file, as without `sparsity`.")
    if kept < half["bytes"] / whole["bytes"]:
        raise Wrong(
            "This file has fewer weights than the one that lost half. `sparsity` is the share that goes, not that stays."
        )
    if abs(kept - 0.73) > 0.03:
        raise Wrong(
            "This file has {kept:.0%} of the bytes. With three weights in ten left out it has about 73 %.",
            kept=kept,
        )
    accuracy = Evaluation(load(gentle).probs(data.test_images), data.test_labels).accuracy
    right = 100 * (accuracy - half["accuracy"])
    number_is(
        points,
        right,
        [
            (right / 100, _("That is a share. A point is one in a hundred: times 100.")),
            (
                100 * (accuracy - whole["accuracy"]),
                _("That is what is lost against the whole file. What comes back is counted from the half."),
            ),
            (
                -right,
                _("The other way round: the accuracy of this file less that of the file that lost half."),
            ),
            (
                100 * accuracy,
                _("That is the accuracy itself. How much more is it than with half of the weights?"),
            ),
        ],
        _(
            "This file is right on {accuracy:.2%}, the one that lost half on {half:.2%}.",
            accuracy=accuracy,
            half=half["accuracy"],
        ),
        within=0.011,
    )


def words(right_words: Callable, /, *, good: Path, turned: Path, data: Images) -> None:
    images, labels = data.test_images[:300], data.test_labels[:300]
    found = [call(right_words, path, images, labels) for path in (good, turned)]
    if any(isinstance(one, bool) or not isinstance(one, int | float) for one in found):
        raise Wrong(
            "Your function gives {found!r:.60}. A share is a number from 0 to 1; of a tensor take .item().",
            found=found[0],
        )
    expected = []
    for path in (good, turned):
        model = load(path)
        names = model.labels or []
        said = [names[place] for place in model.probs(images).argmax(1)]
        pairs = zip(said, labels.tolist(), strict=True)
        expected.append(sum(word == data.classes[label] for word, label in pairs) / len(labels))
    if all(abs(one - other) < 0.005 for one, other in zip(found, expected, strict=True)):
        return
    if max(found) > 1:
        raise Wrong(
            "Your function gives {found:g}: a share is the count, divided by the number of pictures.",
            found=found[0],
        )
    if found == [0, 0]:
        raise Wrong(
            "Nothing is right in either file. A word is never equal to a number: `data.classes[label]` is the right word."
        )
    if found[0] == found[1] > 0:
        raise Wrong(
            "Both files come out the same, so it goes by the place and not by the word. Each file has labels of its own: `load(path).labels`."
        )
    if abs(found[0] - expected[1]) < 0.005:
        raise Wrong(
            "The right file comes out as the wrong one. Whose labels does your function take for the answer?"
        )
    raise Wrong(
        "The share of right words is {right:.1%} in the right file; your function says {found:.1%}.",
        right=expected[0],
        found=found[0],
    )


EXERCISES = {
    "04.1": Exercise(
        most_hurt,
        "Which class it is depends on the network; what can be told by its colour suffers, and grey things hardly notice.",
        "The diagonal of `confusion()` counts the right answers of each class, and the sum of its row all pictures of it.",
    ),
    "04.2": Exercise(
        gentler,
        "Weights near zero do little, so the first three tenths cost next to nothing, and the next two a lot.",
        '`coreml.compress(MLPACKAGE, "pruned", sparsity=0.3)`, then save it and let `run_coreml` count, as section 9 does.',
    ),
    "04.3": Exercise(
        words,
        "The numbers were proved, and the words were wrong: a proof covers what it compares. Notebook 07 asks for words, too.",
        "`load(path)` has `.labels` and `.probs(images)`. The word for a picture is the label at the place of its largest "
        "probability; the right word is `data.classes[label]`.",
    ),
}
