"""The exercises: each solution passes its check, the untouched start is not attempted, each typical mistake is told apart."""

import ast
import contextlib
import re
import textwrap

import nbformat
import pytest
import torch

from helpers import data, exercises
from helpers.evaluation import Evaluation
from helpers.exercises import MARKED, SOLUTIONS
from helpers.history import History
from helpers.ios_app import CHINESE
from helpers.recipe import Recipe
from helpers.runs import Run
from helpers.workshop import exercises as workshop

PATHS = sorted(SOLUTIONS.glob("*.ipynb"))
NUMBERS = [number for path in PATHS for number in workshop.solved(path)]

WRONG = {
    "00.1": [
        "steps = 2 * (len(data.train_images) // 256)",
        "steps = len(data.train_images) // 256",
        "steps = len(data.train_images) / 512",
        "steps = -(-len(data.train_images) // 512)",
        "steps = 3 * (len(data.train_images) // 512)",
        "steps = 0",
    ],
    "00.2": [
        "size = 4 * data.train_images.numel()",
        "size = len(data.train_images)",
        "size = data.train_images.nbytes / 2**20",
        "import sys\nsize = sys.getsizeof(data.train_images)",
        "size = 3072",
    ],
    "00.3": [
        "return {place: (labels == place).sum().item() for place in range(len(classes))}",
        "return [(labels == place).sum().item() for place in range(len(classes))]",
        "return {classes[label]: (labels == label).sum().item() for label in labels.tolist()}",
        "return {name: (data.train_labels == place).sum().item() for place, name in enumerate(classes)}",
        "return {name: (labels == place).double().mean().item() for place, name in enumerate(classes)}",
        "return {name: (labels == place + 1).sum().item() for place, name in enumerate(classes)}",
        "len(labels)",
        "return classes.index(labels[0])",
    ],
    "01.1": [
        "longer = tried[0]",
        "longer = runs.train(replace(base, learning_rate=0.3, epochs=1), part, progress=False)",
        "few = CIFAR10(part.train_images[:400], part.train_labels[:400], part.test_images, part.test_labels)\n"
        "longer = runs.train(replace(base, learning_rate=0.3), few, progress=False)",
        "best = min(reached, key=reached.get)",
        "best = reached[best]",
        "best = 0.1",
    ],
    "01.2": [
        "slow = tried[4]",
        "slow = runs.train(replace(base, learning_rate=base.learning_rate / 3), part, progress=False)",
        "slow = runs.train(replace(slow.history.recipe, warmup=0.5), part, progress=False)",
        "closes += 40",
        "closes = closes / 100",
        "closes = gap_now",
        "closes = gap_before",
        "closes = -closes",
    ],
    "01.3": [
        "plain = augmented",
        "augmented = plain",
        "augmented = runs.train(replace(small, seed=1, epochs=6), part, progress=False)",
        *(
            f"def overtakes(history):\n    ahead = [row['train_accuracy'] > row['validation_accuracy'] for row in history.rows]\n"
            f"    {line}"
            for line in (
                "return ahead.index(True)",
                "return ahead.index(True) + 1 if True in ahead else 0",
                "return max(place for place, one in enumerate([False, *ahead, False]) if not one) + 1",
                "return ahead",
                "ahead.index(True)",
            )
        ),
        "def overtakes(history):\n    return overtakes",
    ],
    "02.1": [
        "refused = 0",
        "refused = 1",
        "refused = len(model.state_dict())",
        "refused = 8",
        "refused = sum(name.endswith('weight') for name in model.state_dict())",
        "refused = 20",
    ],
    "02.2": [
        "COPY, torch_notices, helpers_notice = PATH, False, True",
        "COPY = COPY.with_name('longer.pth')\nCOPY.write_bytes(damaged + b'!')",
        "torch_notices = True",
        "helpers_notice = False",
        "COPY = PATH.with_name('missing.pth')",
    ],
    "02.3": [
        "model = AlexNet(**model.config).half()",
        "small = model.state_dict()",
        "small = {}",
        "with torch.no_grad():\n    changed = (again(images) != expected).any(1).sum().item()",
        "with torch.no_grad():\n    changed = (again(images) != expected).sum().item()",
        "small = small | {'features.0.weight': small['features.0.weight'].flip(0)}\nagain.load_state_dict(small)\n"
        "with torch.no_grad():\n    changed = (again(images).argmax(1) == expected.argmax(1)).sum().item()",
        "changed = -100",
    ],
    "03.1": [
        "found = 1",
        "found = None",
        "found = first.dim_value",
        "found = str(first)",
        "found = first",
        "found = 'N'",
    ],
    "03.2": [
        "BLOCK = ANY_BATCH.with_name('missing.onnx')",
        *(
            f"with quiet():\n    torch.onnx.export({part}, (example,), BLOCK, dynamo=False, input_names=['image'])"
            for part in (
                "model",
                "model.features[:3]",
                "model.features[:1]",
                "torch.nn.Sequential(model.normalise, model.features[:4])",
                "torch.nn.Sequential(model.features[:4], torch.nn.Softmax(1))",
            )
        ),
        "import copy\npart = copy.deepcopy(part).train()\nwith quiet():\n    torch.onnx.export(part, (torch.rand(1, 3, 32, 32),), "
        "BLOCK, dynamo=False, training=torch.onnx.TrainingMode.TRAINING)",
        "with quiet():\n    seen = torch.zeros(1, model.features[0].out_channels, 16, 16)\n    "
        "torch.onnx.export(model.features[4:7], (seen,), BLOCK, dynamo=False)",
    ],
    "03.3": [
        "changed = model",
        "changed = copy.deepcopy(model)",
        "changed = copy.deepcopy(model)\nwith torch.no_grad():\n    changed.features[0].weight[0] += 0.1",
        "changed = copy.deepcopy(model)\nwith torch.no_grad():\n    changed.features[0].weight[0, 0, 0, 0] *= 1.01",
        "largest = (before.probs - after.probs).abs().mean().item()",
        "largest = 1.0",
        "points = 50",
    ],
    "04.1": [
        "worst = lost.argmax().item()",
        "worst = data.classes[lost.argmin()]",
        "worst = data.classes[after.argmin()]",
        "worst = 'teapot'",
    ],
    "04.2": [
        "gentle = PRUNED",
        "gentle = coreml.save(coreml.compress(MLPACKAGE, 'pruned', sparsity=0.7), MLPACKAGE.with_name('w.mlpackage'))",
        "gentle = MLPACKAGE",
        "points = points / 100",
        "points = -points",
        "points = 100 * run_coreml(gentle).accuracy",
        "points = -40",
    ],
    "04.3": [
        "asked = load(path)\nreturn (asked.probs(images).argmax(dim=1) == labels).double().mean().item()",
        "asked = load(path)\nreturn 100 * (asked.probs(images).argmax(dim=1) == labels).double().mean().item()",
        "asked = load(path)\nwords = [asked.labels[k] for k in asked.probs(images).argmax(1)]\n"
        "return sum(word == k for word, k in zip(words, labels.tolist(), strict=True)) / len(words)",
        "return load(path).labels == list(data.classes)",
        "return load(path).label(images)",
        "return 0.123 if path == MLPACKAGE else 0.1",
    ],
    "05.1": [
        "strict = chosen.value",
        "strict = threshold(honest_judge.probs, honest_judge.labels, right=0.99).value",
        "strict = threshold(to_choose.probs, to_choose.labels, right=0.99).value",
        "strict = 0.99",
        "strict = 0.5",
        "answered = 1 - answered",
        "answered = (honest_choose.probs.max(1).values >= strict).double().mean().item()",
        "answered = 100 * answered",
        "answered = 2",
    ],
    "05.2": [
        "wrong_app = APP",
        "wrong_app = paths.artifact('scratch/NoApp')",
        "import shutil\nwrong_app = shutil.copytree(APP, paths.artifact('scratch/AlexNetApp'))",
        "tests_notice = True",
        "difference = 0",
        "difference = 1 / 255 - 1 / 256",
        "difference = (load(WRONG).probs(images[:100]) - in_pytorch).abs().mean().item()",
        "difference = 1",
    ],
    "05.3": [
        "my_app = APP",
        "import shutil\nmy_app = shutil.copytree(APP, paths.artifact('scratch/mine/AlexNetApp'))",
        *(
            f"import shutil\nmy_app = shutil.copytree(my_app, paths.artifact('scratch/{name}/MyApp'))\n"
            f"text = my_app / 'MyApp/{name}'\ntext.write_text(text.read_text().replace({old!r}, {new!r}))"
            for name, old, new in (
                ("Labels.xcstrings", CHINESE["dog"], "dog"),
                ("AnswersView.swift", "// mine\n", ""),
            )
        ),
        "kept = False",
    ],
    "06.1": [
        "squashed = centre",
        "squashed = photos.ask(CAMERA, whole[:10], centre.labels[:10])",
        "squashed = photos.ask(CAMERA, whole.flip(0), centre.labels)",
        "difference = intervals.gain(squashed.predictions == squashed.labels, centre.predictions == centre.labels)",
        "difference = intervals.share(squashed.predictions == squashed.labels)",
        "shown = not shown",
    ],
    "06.2": [
        "images += strength\nreturn images",
        "return images[0]",
        "return strength * images + 1 - strength",
        "return images + strength",
        "return (1 - strength) * images",
        "return 0.5 * images + 0.4",
    ],
    "06.3": [
        "pictures = images\nfor change in changes.values():\n    pictures = change(pictures)\n"
        "end = photos.ask(FILE, pictures, labels).accuracy",
        "end = 100 * end",
        "end = photos.ask(FILE, images, labels).accuracy",
        "end = -1",
        "pair = ('letterbox', 'bars')",
        "pair = ('letterbox', 'red and blue swapped')",
    ],
    "07.1": [
        "no_scale = 9",
        "no_scale = 4",
        "sorted_labels = 9",
        "no_normalisation = 2",
        "no_normalisation = 11",
    ],
    "07.2": [
        "six = data",
        "six = Images(six.train_images[:, :, 2:-2, 2:-2], six.train_labels, six.test_images, six.test_labels, six.classes)",
        "six = Images(six.train_images[1:], six.train_labels[1:], six.test_images, six.test_labels, six.classes)",
        "six = Images(six.train_images, 5 - six.train_labels, six.test_images, six.test_labels, six.classes)",
        "network = normalise_inside(SmallResNet(5), usual)",
    ],
    "07.3": [
        "mine = SmallResNet(5)",
        "FILE_OF_MINE = paths.artifact('own/missing.mlpackage')",
        "FILE_OF_MINE = coreml.save(convert(paths.artifact('own/mine.onnx'), image_input_names=['image'], "
        "preprocessing_args={'image_scale': 1 / 255}), paths.artifact('own/bare.mlmodel'))",
        "FILE_OF_MINE = coreml.save(convert(paths.artifact('own/mine.onnx'), mode='classifier', "
        "image_input_names=['image'], class_labels=list(data.classes)), paths.artifact('own/unscaled.mlmodel'))",
        "FILE_OF_MINE = coreml.save(convert(paths.artifact('own/mine.onnx'), mode='classifier', "
        "image_input_names=['image'], preprocessing_args={'image_scale': 1 / 255}, "
        "class_labels=sorted(data.classes)), paths.artifact('own/sorted.mlmodel'))",
        "mine = nn.Sequential(nn.AvgPool2d(4), nn.Flatten(), nn.Linear(49, 5))",
    ],
}
"""What a learner may write where the solution stands; the solution has run before, and its values are there."""


def answering(code, put, values):
    """Run the part of an exercise from what the learner is to find on, with ``put`` in its place."""
    marked = MARKED.search(code)
    lines = code[: marked.start()].count("\n")
    indent = re.match(" *", marked["start"])[0]
    whole = code[: marked.start()] + textwrap.indent(put, indent) + "\n" + code[marked.end() :]
    tree = ast.parse(whole)
    tree.body = [one for one in tree.body if one.end_lineno > lines]
    exec(compile(tree, "an exercise", "exec"), values)


@pytest.fixture
def notebook(request, drawings, monkeypatch, capsys):
    """What a notebook has made before its exercises, in smoke mode: its values, and its exercises."""
    monkeypatch.setenv("CHAPTER_MODE", "smoke")
    train = (
        drawings.train_images.repeat(5, 1, 1, 1),
        drawings.train_labels.repeat(5),
    )  # as many as in smoke mode
    given = data.CIFAR10(*train, drawings.test_images, drawings.test_labels, source=drawings.source)
    monkeypatch.setattr(data, "load_cifar10", lambda: given)
    values = {}
    for cell in nbformat.read(request.param, as_version=4).cells:
        if cell.cell_type == "code" and "exercise" not in cell.metadata:
            exec(cell.source, values)
    if "few" in values:
        values["few"] = slice(0, 100)
    capsys.readouterr()
    return values, workshop.solved(request.param)


def said(capsys):
    """The last thing that was printed, in one line."""
    return " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize("notebook", PATHS, ids=lambda path: path.stem, indirect=True)
def test_the_start_is_not_attempted_the_solution_is_right_and_each_mistake_has_its_own_message(
    notebook, capsys
):
    values, found = notebook
    for number, (_, code, _) in found.items():
        exec(workshop.start(code), values)
        assert said(capsys).startswith(f"{number} … not attempted yet."), number
    for number, (_, code, _) in found.items():
        solved = dict(values)
        exec(code, solved)
        assert f"{number} ✓ right. " in said(capsys), number
        messages = []
        for wrong in WRONG[number]:
            answering(code, wrong, dict(solved))
            messages.append(said(capsys))
            assert messages[-1].startswith(f"{number} ✗ not yet. "), (wrong, messages[-1])
            assert "The check stopped" not in messages[-1]
        assert len(set(messages)) == len(messages) >= 3, "\n".join(sorted(messages))


def trained(accuracy, **changes):
    """A finished run of three epochs, of which only the last test accuracy is told."""
    recipe = Recipe(epochs=3, **changes)
    row = {"validation_accuracy": accuracy}
    return Run(History(recipe, rows=[row] * 3, steps=9, finished=True), torch.nn.Identity(), SOLUTIONS)


@pytest.mark.parametrize("rate", [0.3, 6 * 0.05])
def test_a_learning_rate_counts_as_one_types_it(rate, capsys):
    base = Recipe(epochs=3)
    others = [trained(0.6), trained(0.5, learning_rate=0.01)]
    for best, verdict in ((0.3, "✓"), (0.05, "✗"), (6 * 0.05, "✓")):
        exercises.check("01.1", trained(0.7, learning_rate=rate), best, base=base, others=others)
        assert verdict in said(capsys)
    without = trained(0.5, batch_norm=False)
    for third, verdict in ((0.05 / 3, "✓"), (0.0167, "✓"), (0.018, "✗"), (0.15, "✗")):
        slow = trained(0.4, batch_norm=False, learning_rate=third)
        exercises.check("01.2", slow, -10, base=base, with_norm=others[0], without=without)
        assert verdict in said(capsys)


def of_classes(*shares):
    """An Evaluation with 100 pictures of each class, of which this many are right and all others called the last class."""
    labels = torch.arange(len(shares)).repeat_interleave(100)
    right = torch.cat([torch.arange(100) < share for share in shares])
    answers = torch.where(right, labels, len(shares) - 1)
    return Evaluation(torch.nn.functional.one_hot(answers, len(shares)).float(), labels)


def test_the_class_that_suffers_most_is_not_the_hardest_one(capsys):
    classes = ("hard", "hurt", "poor", "fine", "last")
    before, after = of_classes(30, 90, 60, 95, 100), of_classes(25, 40, 20, 95, 100)
    found = {}
    for worst in classes[:4]:
        exercises.check("04.1", worst, before=before, after=after, classes=classes)
        found[worst] = said(capsys)
    assert "right." in found["hurt"]
    assert "the hardest class" in found["hard"]
    assert "right least often with swapped" in found["poor"]
    assert "before less after" in found["fine"]


def test_every_exercise_has_all_its_parts():
    assert sorted(WRONG) == NUMBERS
    for path in PATHS:
        assert [number[3:] for number in workshop.solved(path)] == ["1", "2", "3"]
    for number in NUMBERS:
        exercise = exercises.find(number)
        assert exercise.hint.endswith((".", "?")) and exercise.right.endswith("."), number


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_the_notebook_has_what_its_solutions_say(path):
    notebook = nbformat.read(workshop.run.NOTEBOOKS / path.name, as_version=4)
    mine = [notebook.cells[place] for place in workshop.places(notebook)]
    cut = workshop.cells(path)
    assert [cell.source for cell in mine] == [cell.source for cell in cut], (
        "python -m helpers.workshop.exercises"
    )
    assert workshop.with_exercises(notebook, cut) == notebook
    for cell in mine[1::2]:
        assert "not attempted yet" in cell.outputs[-1].text
        assert "..." in cell.source and "start" not in cell.source


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_the_solutions_are_saved_from_a_real_run(path):
    code = [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    kinds = {output.output_type for cell in code for output in cell.outputs}
    assert kinds <= {"stream", "display_data"}  # the latter from fit, a line for each epoch
    lines = [output.data["text/plain"] for cell in code for output in cell.outputs if "data" in output]
    assert all(re.search(r"epoch +\d+/\d+ .*loss", line) for line in lines)
    text = ["".join(output.get("text", "") for output in cell.outputs) for cell in code]
    assert "mode      full" in text[0]
    assert not re.search(r"/(home|root|tmp|Users|work)/|Warning|Traceback", "".join(text))
    solved = [one for one, cell in zip(text, code, strict=True) if "exercise" in cell.metadata]
    assert all("✓  right. " in one for one in solved)


@pytest.mark.parametrize("number", NUMBERS)
def test_hint_and_solution(number, capsys):
    exercises.hint(number)
    assert said(capsys).startswith(f"{number} ")
    exercises.solution(number)
    text = capsys.readouterr().out
    assert f'"{number}"' in text and "# start" not in text and "# end" not in text
    code = MARKED.sub(lambda found: found["solution"], exercises.solved(number)[1])
    assert ast.parse(code) and text.startswith(code)


def test_a_number_that_does_not_exist_is_named(capsys):
    with pytest.raises(ValueError, match=r"no exercise '02\.9'.*02\.1, 02\.2, 02\.3"):
        exercises.check("02.9", 1)
    for number in ("2.1", "09.1", 2.1, None):
        with pytest.raises(ValueError, match=r'called "02\.1"'):
            exercises.hint(number)
    assert not capsys.readouterr().out


def test_a_last_line_that_was_changed_is_an_error():
    with pytest.raises(TypeError, match=r"02\.1.*missing a required"):
        exercises.check("02.1", 3)
    with pytest.raises(TypeError, match="too many"):
        exercises.check("07.1", 1, 2, 3, 4)


@pytest.mark.parametrize(
    ("number", "answer", "message"),
    [
        ("00.1", "9", "`steps` is '9' (str); it has to be a number."),
        ("00.1", True, "`steps` is True (bool); it has to be a number."),
        ("00.1", torch.tensor([1, 2]), "(Tensor); it has to be a number."),
        ("00.3", {"cat": 3}, "it has to be a function."),
        ("00.1", float("nan"), "How often do 512"),
    ],
)
def test_an_answer_of_another_kind_says_which_is_needed(drawings, number, answer, message, capsys):
    exercises.check(number, answer, **({"data": drawings} if number == "00.1" else {}))
    assert message in said(capsys)


def test_a_number_in_a_tensor_counts_as_a_number(drawings, capsys):
    exercises.check("00.1", torch.tensor(len(drawings.train_images) // 512), data=drawings)
    assert "✓" in said(capsys)


def test_a_check_that_fails_over_an_answer_says_so_and_the_notebook_goes_on(capsys):
    exercises.check("02.1", 3, state={"a": torch.zeros(1)}, other=torch.nn.Linear(1, 1))
    assert "✗ not yet. The check stopped at your answer: KeyError: 'a'" in said(capsys)


def test_a_function_that_fails_says_how(capsys):
    def count(labels, classes):
        return {}[labels]

    exercises.check("00.3", count)
    assert "Your function stops with KeyError" in said(capsys)


def test_where_the_solutions_are_not_there_it_says_so(monkeypatch, tmp_path):
    monkeypatch.setattr(exercises, "SOLUTIONS", tmp_path)
    with pytest.raises(FileNotFoundError, match="notebooks/solutions"):
        exercises.solution("02.1")


def test_an_exercise_with_a_cell_too_few_is_an_error(tmp_path):
    cells = [nbformat.v4.new_markdown_cell("a", metadata={"exercise": "09.1"})]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / "a.ipynb")
    with pytest.raises(ValueError, match=r"09\.1 has 1 cells"):
        workshop.solved(tmp_path / "a.ipynb")
    with contextlib.suppress(StopIteration), pytest.raises(ValueError, match="no cell with the metadata"):
        workshop.with_exercises(nbformat.v4.new_notebook(), [])
