"""Two processes, started by torchrun as a learner would, against one."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from helpers.batches import Batches
from helpers.plumbing import paths, processes
from helpers.recipe import Recipe
from tests import together


def torchrun(*arguments, **environment):
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", *map(str, arguments)]
    result = subprocess.run(
        command,
        cwd=paths.ROOT,
        env=os.environ | {"PYTHONPATH": str(paths.ROOT), "OMP_NUM_THREADS": "1"} | environment,
        capture_output=True,
        text=True,
        timeout=600,  # under load too
    )
    assert result.returncode == 0, result.stderr
    return result


@pytest.fixture(scope="module")
def outcome(tmp_path_factory, drawings):
    """What two processes made, what each of them holds, and what one process makes of the same."""
    folder = tmp_path_factory.mktemp("together")
    said = torchrun(Path(together.__file__), folder, CHAPTER_ARTIFACTS=str(folder))
    said.folder = folder
    two = [torch.load(folder / f"{rank}.pth") for rank in (0, 1)]
    return two, together.everything(drawings), said


def furthest(one: dict, other: dict) -> float:
    return max((one[name].double() - other[name].double()).abs().max().item() for name in one)


@pytest.mark.parametrize("name", together.RECIPES)
def test_step_by_step_the_weights_and_running_averages_are_those_of_one_process(outcome, name):
    (two, _), one, _ = outcome
    start = together.RECIPES[name].model().state_dict()
    for alone, shared in zip(one[name], two[name], strict=True):
        assert furthest(alone, shared) < 1e-9
    assert len(one[name]) == together.STEPS
    assert all((one[name][-1][k] - start[k]).abs().max() > 1e-3 for k in start if k.endswith("weight"))


def test_the_whole_training_learns_as_well(outcome):
    """In float32, rounding alone drives two such runs apart, so only the outcome is compared."""
    (two, _), one, _ = outcome
    first, second = (run["fit"]["rows"][-1] for run in (one, two))
    assert abs(first["train_loss"] - second["train_loss"]) < 0.1
    assert min(first["validation_accuracy"], second["validation_accuracy"]) > 0.5  # guessing gives 0.1


def test_both_hold_the_same_network_and_one_of_them_speaks(outcome):
    two, _, said = outcome
    for name in together.RECIPES:
        assert furthest(two[0][name][-1], two[1][name][-1]) == 0
    assert furthest(two[0]["fit"]["weights"], two[1]["fit"]["weights"]) == 0
    assert said.stdout.count("only once") == 1
    assert said.stdout.count("epoch  1/4") == 1
    assert two[0]["fit"]["device"].endswith(", 2 processes")
    assert "Warning" not in said.stderr


def test_the_first_process_saves_the_network_with_its_card(outcome):
    _, _, said = outcome
    card = json.loads((said.folder / "two.json").read_text())
    assert card["device"].endswith("2 processes")
    assert card["recipe"]["batch_size"] == 500
    assert (said.folder / "two.pth").exists()
    assert said.stdout.count(f"{card['test_accuracy']:.2%} on the test images") == 1


def test_a_batch_that_cannot_be_shared_evenly_is_refused(drawings):
    with pytest.raises(ValueError, match=r"3 processes cannot share a batch of 100 images evenly.*e\.g\. 99"):
        Batches(drawings.train_images, drawings.train_labels, together.SMALL, "cpu", world_size=3)


def test_more_processes_than_gpus_are_refused(monkeypatch):
    for name, value in {"LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2", "RANK": "1"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(ValueError, match=r"2 processes.*1 GPU.*--nproc-per-node"), processes.joined():
        pass


def test_alone_nothing_changes():
    model = Recipe(width=0.25).model()
    with processes.joined() as device:
        assert device is None
        assert (processes.rank(), processes.size()) == (0, 1)
        assert processes.shared(model) is model
        assert processes.one_after_the_other(lambda: 7) == 7
