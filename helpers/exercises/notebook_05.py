"""The checks of notebook 05."""

import json
import math
from pathlib import Path

from torch import nn

from helpers import coreml
from helpers.calibration import threshold
from helpers.coreml_runtime import load
from helpers.evaluation import Evaluation, evaluate
from helpers.ios_app import CHINESE, template_files
from helpers.plumbing.language import translated as _

from . import Exercise, Wrong, number_is


def stricter(
    strict: float, answered: float, /, *, choose: Evaluation, judge: Evaluation, before: Evaluation
) -> None:
    right = _threshold(choose, 0.99)
    number_is(
        strict,
        right,
        [
            (_threshold(choose, 0.95), _("That is the threshold for 0.95, as it was.")),
            (
                _threshold(judge, 0.99),
                _("That is chosen with the pictures that judge. It would be marking its own work."),
            ),
            (
                _threshold(before, 0.99),
                _("That is chosen before the temperature. The model has it inside, so `honest_choose`."),
            ),
            (
                0.99,
                _(
                    "0.99 is the share that has to be right. The probability from which on it is, has to be looked for."
                ),
            ),
        ],
        "`threshold(honest_choose.probs, honest_choose.labels, right=0.99).value`",
        within=1e-6,
    )
    gets = (judge.probs.max(1).values >= right).double()
    good = (judge.predictions == judge.labels).double()
    share = gets.mean().item()
    number_is(
        answered,
        share,
        [
            (1 - share, _("That is the share without an answer.")),
            (
                (gets * good).sum().item() / max(gets.sum().item(), 1),
                _("That is the share of the answers that are right. Asked is how many get one."),
            ),
            (
                (choose.probs.max(1).values >= right).double().mean().item(),
                _("Those are the pictures that the threshold was chosen with. Judge with the test images."),
            ),
            (100 * share, _("A share is from 0 to 1.")),
            (gets.sum().item(), _("That is a count: divide it by the number of pictures.")),
        ],
        _("The share of `honest_judge.probs.max(1).values` that reach your threshold."),
        within=1e-4,
    )


def _threshold(evaluation: Evaluation, right: float) -> float:
    try:
        return threshold(evaluation.probs, evaluation.labels, right=right).value
    except ValueError:
        return math.nan  # no threshold reaches that


def wrong_model(
    wrong_app: Path, by_the_table: bool, by_pytorch: float, /, *, app: Path, honest: nn.Module, images, labels
) -> None:
    model = _model_in(wrong_app, app)
    scale = coreml.describe(model)["scale"]
    if scale == 1:
        raise Wrong("The model in it has no scale at all. Asked is 1/256 in place of 1/255.")
    if not math.isclose(scale, 1 / 256, rel_tol=1e-6):
        raise Wrong(
            "The model in it multiplies each pixel by 1/{scale:.0f}. Asked is the wrong one, 1/256.",
            scale=1 / scale,
        )
    if by_the_table:
        raise Wrong(
            "The table was computed from the very model that lies beside it, so it has the same fault, and the two agree. "
            "The table proves that the phone computes what the file says."
        )
    expected = evaluate(honest, images, labels).probs
    differences = (load(model).probs(images) - expected).abs()
    right = differences.max().item()
    if abs(by_pytorch) < 1e-5:
        raise Wrong(
            "That is rounding: two files that compute the same. Compare the wrong file with `honest`, the network in PyTorch."
        )
    number_is(
        by_pytorch,
        right,
        [
            (differences.mean().item(), _("That is the mean difference. Asked is the largest.")),
            (
                1 / 255 - 1 / 256,
                _("That is the difference of the scales. Asked is that of the probabilities."),
            ),
        ],
        _(
            "`(load(file).probs(images[:100]) - evaluate(honest, images[:100], labels[:100]).probs).abs().max()`, with the "
            "file in the wrong app."
        ),
        within=right / 100,
    )


def _model_in(folder: Path, *others: Path) -> Path:
    """The model of an app that ``write_app`` wrote into a folder, which is none of the others."""
    if folder.resolve() in [Path(other).resolve() for other in others]:
        raise Wrong(
            "This is the app of section 4, and it has the wrong model in it now. Run section 4 again, and take a folder of your own."
        )
    found = sorted(folder.glob(f"{folder.name}/*.mlpackage")) + sorted(
        folder.glob(f"{folder.name}/*.mlmodel")
    )
    if not found:
        raise Wrong(
            "There is no app in {name}: write_app makes one, with the model inside.", name=folder.name
        )
    return found[0]


def own_words(my_app: Path, kept: bool, /, *, app: Path) -> None:
    _model_in(my_app, app)
    text = (my_app / my_app.name / "Labels.xcstrings").read_text(encoding="utf-8")
    words = {
        label: entry["localizations"]["zh-Hans"]["stringUnit"]["value"]
        for label, entry in json.loads(text)["strings"].items()
    }
    if words.get("cat") != "小猫":
        raise Wrong(
            "In Labels.xcstrings the cat is {word}. `chinese=` brings other words.", word=words.get("cat")
        )
    if words.get("dog") != CHINESE["dog"]:
        raise Wrong('The other nine have lost their Chinese. Give all of them: {**CHINESE, "cat": "小猫"}.')
    mine = (my_app / my_app.name / "AnswersView.swift").read_bytes()
    written = {
        path: data
        for path, data in template_files(my_app.name, "x").items()
        if path.endswith("/AnswersView.swift")
    }
    if mine in written.values():
        raise Wrong(
            "AnswersView.swift is as it was written. Change a line between the first call of write_app and the second."
        )
    if not kept:
        raise Wrong(
            "Look into the file: your change is there. write_app knows what it wrote, and keeps what is not its own."
        )


EXERCISES = {
    "05.1": Exercise(
        stricter,
        "A stricter promise costs answers. Which app one would rather use is not a question of mathematics.",
        "Section 2 with 0.99 in place of 0.95: choose with `honest_choose`, count with `honest_judge`.",
    ),
    "05.2": Exercise(
        wrong_model,
        "The table travels with the file, faults and all. That the file is right is what the comparison with PyTorch proves.",
        'Section 3 with `"image_scale": 1 / 256` and another path, then `write_app` into a folder of your own, for example '
        '`paths.artifact("scratch/WrongApp")`.',
    ),
    "05.3": Exercise(
        own_words,
        "What you edit is yours: a file that was changed by hand is kept, and the call says which.",
        "Write the app, change the file with `read_text` and `write_text`, and call `write_app` once more in the same way, "
        "with `overwrite=True`.",
    ),
}
