import _thread
import json
from dataclasses import replace

import pytest
import torch

from helpers import figures, runs
from helpers.data import CIFAR10
from helpers.history import History
from helpers.recipe import Recipe
from helpers.training import fit

TINY = replace(Recipe.smoke(), width=0.125, batch_size=90, epochs=2)


@pytest.fixture(scope="module")
def small(drawings):
    return CIFAR10(
        drawings.train_images[:300],
        drawings.train_labels[:300],
        drawings.test_images[:100],
        drawings.test_labels[:100],
        source="drawings",
    )


@pytest.fixture
def trainings(monkeypatch):
    """How often fit() was really called."""
    calls = []

    def counted(*arguments, **options):
        calls.append(arguments)
        return fit(*arguments, **options)

    monkeypatch.setattr(runs, "fit", counted)
    return calls


def same(one, other):
    other = other.state_dict()
    return all(torch.equal(tensor, other[name]) for name, tensor in one.state_dict().items())


def test_a_run_that_is_there_is_loaded_and_repeated_only_when_asked(small, trainings, capsys):
    first = runs.train(TINY, small)
    assert (first.folder / "run.json").exists()
    second = runs.train(TINY, small)
    assert len(trainings) == 1
    assert "loaded, not trained" in capsys.readouterr().out
    assert same(first.model, second.model)
    assert second.history.rows == first.history.rows
    assert repr(second.history) == repr(first.history)
    runs.train(TINY, small, again=True)
    assert len(trainings) == 2


def test_another_recipe_other_data_and_other_code_are_other_runs(small, trainings, monkeypatch, tmp_path):
    runs.train(TINY, small, progress=False)
    runs.train(replace(TINY, name="called something else"), small, progress=False)
    assert len(trainings) == 1
    runs.train(replace(TINY, seed=1), small, progress=False)
    assert len(trainings) == 2
    changed = small.train_labels.clone()
    changed[0] = (changed[0] + 1) % 10
    runs.train(TINY, CIFAR10(**vars(small) | {"train_labels": changed}), progress=False)
    assert len(trainings) == 3
    monkeypatch.setattr(runs, "code_checksum", lambda: "other")
    runs.train(TINY, small, progress=False)
    assert len(trainings) == 4


def test_comments_do_not_make_code_different(tmp_path):
    def checksum(text):
        (tmp_path / "code.py").write_text(text)
        return runs.code_checksum([tmp_path / "code.py"])

    plain = checksum("def f(x):\n    return x + 1\n")
    assert (
        checksum('"""What f is."""\n\ndef f(x):  # adds\n    """Add one."""\n    return (x + 1)\n') == plain
    )
    assert checksum("def f(x):\n    return x + 2\n") != plain


class Stop(torch.nn.Module):
    """Presses Ctrl-C in the given call while training."""

    def __init__(self, model, call):
        super().__init__()
        self.model, self.call, self.calls = model, call, 0

    def forward(self, images):
        self.calls += self.training
        if self.training and self.calls == self.call:
            _thread.interrupt_main()
        return self.model(images)


@pytest.mark.parametrize("call", [2, 5])
def test_an_interrupted_run_is_kept_and_goes_on_as_if_nothing_had_happened(
    small, tmp_path, monkeypatch, call
):
    straight = runs.train(TINY, small, folder=tmp_path, progress=False)
    make = Recipe.model
    with monkeypatch.context() as patch:
        patch.setattr(Recipe, "model", lambda recipe, classes: Stop(make(recipe, classes), call))
        with pytest.raises(KeyboardInterrupt, match="the same call goes on"):
            runs.train(TINY, small, progress=False)
    (kept,) = runs.histories().values()
    assert not kept.finished
    # The wrapper's names are not the network's: what was saved is put right before going on.
    (path,) = runs.default_folder().glob("*/run.pth")
    content = torch.load(path)
    content["weights"] = {name.removeprefix("model."): w for name, w in content["weights"].items()}
    torch.save(content, path)
    run = runs.train(TINY, small, progress=False)
    assert run.history.finished
    assert same(run.model, straight.model)
    assert run.history.column("validation_accuracy") == straight.history.column("validation_accuracy")


def test_a_run_that_was_killed_goes_on_after_its_last_whole_epoch(
    small, trainings, monkeypatch, capsys, tmp_path
):
    straight = runs.train(TINY, small, folder=tmp_path, progress=False)
    save = runs._save

    def killed(*arguments):
        save(*arguments)
        raise SystemExit

    with monkeypatch.context() as patch:
        patch.setattr(runs, "_save", killed)
        with pytest.raises(SystemExit):
            runs.train(TINY, small, progress=False)
    run = runs.train(TINY, small)
    assert "interrupted after 1 epochs and goes on" in capsys.readouterr().out
    assert same(run.model, straight.model)
    assert len(run.history.rows) == 2


@pytest.mark.parametrize("damage", [b"", b"not a run", None])
def test_a_damaged_run_is_named_and_trained_again(small, trainings, capsys, damage):
    run = runs.train(TINY, small, progress=False)
    path = run.folder / "run.pth"
    path.write_bytes(path.read_bytes()[:5000] if damage is None else damage)
    again = runs.train(TINY, small)
    assert "run.pth is damaged" in capsys.readouterr().out
    assert len(trainings) == 2
    assert same(run.model, again.model)


def test_a_damaged_table_entry_is_named_and_the_others_are_shown(small, capsys):
    run = runs.train(TINY, small, progress=False)
    runs.train(replace(TINY, seed=1), small, progress=False)
    (run.folder / "run.json").write_text('{"recipe": {}}')
    assert len(runs.histories()) == 1
    assert "run.json is damaged" in capsys.readouterr().out


def test_the_table_says_what_is_special_about_each_run(small, capsys):
    one = runs.train(TINY, small, progress=False)
    two = runs.train(replace(TINY, learning_rate=0.02, seed=3), small, progress=False)
    capsys.readouterr()
    runs.table()
    head, first, second = capsys.readouterr().out.splitlines()
    assert head.split() == ["recipe", "epochs", "validation", "accuracy", "seconds", "seed"]
    assert first.split()[:3] == ["smoke", "2", f"{one.history.validation_accuracy:.1%}"]
    assert second.startswith("learning_rate=0.02, seed=3 ")
    assert second.split()[-1] == "3"
    assert f"{two.history.validation_accuracy:.1%}" in second


def test_an_empty_table_says_how_to_fill_it(capsys):
    runs.table()
    assert "runs.train(recipe, data)" in capsys.readouterr().out


def test_runs_are_drawn_on_top_of_each_other(monkeypatch):
    shown = []
    monkeypatch.setattr(figures, "show", lambda figure, alt: shown.append((figure, alt)))
    found = []
    for rate, accuracy in ((0.1, 0.5), (0.2, 0.7)):
        rows = [
            {"epoch": 1, "train_loss": 2.0, "validation_accuracy": 0.1, "seconds": 1.0},
            {"epoch": 2, "train_loss": 1.0, "validation_accuracy": accuracy, "seconds": 1.0},
        ]
        found.append(History(replace(TINY, learning_rate=rate), rows=rows))
    figures.overlay(runs.named(found))
    ((figure, alt),) = shown
    assert "Highest at the end: learning_rate=0.2 with 70.0%; lowest: smoke with 50.0%" in alt
    assert [line.get_ydata().tolist() for line in figure.axes[1].lines] == [[0.1, 0.5], [0.1, 0.7]]


def test_what_is_kept_can_be_read(small):
    run = runs.train(TINY, small, progress=False)
    kept = json.loads((run.folder / "run.json").read_text())
    assert kept["data"] == "drawings"
    assert kept["recipe"]["width"] == 0.125
    assert [row["validation_accuracy"] for row in kept["rows"]] == run.history.column("validation_accuracy")
