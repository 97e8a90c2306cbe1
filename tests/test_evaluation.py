"""Evaluation counts right, and asks for what it can evaluate."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from helpers.evaluation import Evaluation, evaluate
from helpers.recipe import Recipe

TINY = replace(Recipe.smoke(), width=0.25, batch_size=100, epochs=2)


@pytest.mark.parametrize("wrong", [{"batch_size": 0}, {"batch_size": 1.5}, {"precision": torch.int8}])
def test_a_batch_or_a_precision_that_cannot_be_is_named(drawings, wrong):
    with pytest.raises(ValueError, match=r"=.* must be "):
        evaluate(
            nn.Sequential(nn.Flatten(), nn.Linear(3072, 10)),
            drawings.test_images,
            drawings.test_labels,
            **wrong,
        )


def test_evaluation_is_in_evaluation_mode_and_puts_the_mode_back(drawings):
    model = TINY.model().train()
    whole = evaluate(model, drawings.test_images, drawings.test_labels)
    one_by_one = evaluate(model, drawings.test_images[:5], drawings.test_labels[:5], batch_size=1)
    torch.testing.assert_close(whole.probs[:5], one_by_one.probs)
    assert model.training
    torch.testing.assert_close(whole.probs.sum(1), torch.ones(500))


def test_accuracy_and_confusion_count_right():
    probs = torch.eye(3)[[0, 1, 1, 2]]
    result = Evaluation(probs, torch.tensor([0, 1, 2, 2]))
    assert result.accuracy == 0.75
    assert result.confusion().tolist() == [[1, 0, 0], [0, 1, 0], [0, 1, 1]]
