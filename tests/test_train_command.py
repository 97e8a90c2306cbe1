"""``python -m helpers.workshop.train``: a recipe changed from outside, and an interruption."""

import signal
from dataclasses import replace

import pytest

from helpers import training
from helpers.recipe import Recipe
from helpers.workshop.train import changed, train_and_save

TINY = replace(Recipe.smoke(), width=0.25, batch_size=100, epochs=2)


def test_a_recipe_can_be_changed_from_the_command_line():
    assert changed(TINY, ["width=2", "batch_norm=False"]) == replace(TINY, width=2, batch_norm=False)
    with pytest.raises(ValueError, match="no field 'depth'"):
        changed(TINY, ["depth=3"])
    with pytest.raises(ValueError, match="'wide' is no number"):
        changed(TINY, ["width=wide"])
    assert changed(TINY, ["augment=camera", "name=a b", "sizes=16,32"]) == replace(
        TINY, augment="camera", name="a b", sizes=(16, 32)
    )
    assert changed(TINY, ['augment="camera"']).augment == "camera"
    for wrong in ("augment=lens", "epochs=1.5", "flip=0", "sizes=32", "width", "width={[]: 1}"):
        with pytest.raises(ValueError, match=wrong.partition("=")[0]):
            changed(TINY, [wrong])


def test_an_interrupted_training_of_the_command_line_leaves_the_saved_network_alone(
    drawings, monkeypatch, scratch_artifacts
):
    saved = scratch_artifacts / "net.pth"
    scratch_artifacts.mkdir()
    saved.write_text("what was there")
    monkeypatch.setattr(training, "_check_finite", lambda *_: signal.raise_signal(signal.SIGINT))
    with pytest.raises(KeyboardInterrupt, match="is as it was"):
        train_and_save(TINY, drawings, "net.pth")
    assert saved.read_text() == "what was there"
