"""The second checkpoint: the shipped network, fine-tuned on corrupted pictures."""

import dataclasses

import pytest
import torch

from helpers import checkpoints
from helpers.data import hold_out
from helpers.evaluation import evaluate
from helpers.recipe import Recipe
from helpers.workshop import camera_network


def test_the_camera_network_that_ships_is_the_one_that_its_recipe_makes():
    network, card = checkpoints.load_camera()
    assert Recipe.of(card["recipe"]) == Recipe.camera()
    assert card["share_of_this_training"] == camera_network.SHARE
    shipped = checkpoints.load_checkpoint()[1]
    assert shipped["test_accuracy"] - card["test_accuracy"] <= 0.01, (
        "run: python -m helpers.workshop.camera_network"
    )
    found = checkpoints.on_drawings(network)
    assert found["loss"] == pytest.approx(card["on_drawings"]["loss"], abs=1e-3)
    assert not network.training


def test_the_mean_of_two_networks_lies_between_them():
    before = {"weight": torch.tensor([0.0, 1.0]), "steps": torch.tensor(3)}
    after = {"weight": torch.tensor([1.0, -1.0]), "steps": torch.tensor(5)}
    mixed = camera_network.mean(before, after, 0.75)
    torch.testing.assert_close(mixed["weight"], torch.tensor([0.75, -0.5]))
    assert mixed["steps"] == 5


def test_the_camera_network_is_the_shipped_one_trained_further(drawings, tmp_path):
    recipe = dataclasses.replace(Recipe.camera(), epochs=1, learning_rate=1e-5, width=0.5)
    with pytest.raises(ValueError, match="trained on CIFAR-10, and this is drawings"):
        camera_network.fine_tune(drawings, tmp_path / "camera.pth", recipe)
    as_photos = dataclasses.replace(drawings, source="CIFAR-10")
    card = camera_network.fine_tune(as_photos, tmp_path / "camera.pth", recipe)
    made, read = checkpoints.load_checkpoint(tmp_path / "camera.pth")
    assert read == card and card["recipe"]["augment"] == "camera"
    assert card["recipe"]["width"] == Recipe.full().width, "the shipped network's, whatever the recipe says"
    held = hold_out(as_photos.train_labels, recipe.validation)
    judged = evaluate(made, as_photos.train_images[held], as_photos.train_labels[held])
    assert card["validation_accuracy"] == pytest.approx(judged.accuracy, abs=1e-4)
    before = checkpoints.load_checkpoint()[0].classifier[-1].weight
    step = (made.classifier[-1].weight - before).abs().max().item()
    assert 0 < step < 1e-2, "a small step away from the shipped network"
