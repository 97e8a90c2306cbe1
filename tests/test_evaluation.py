"""Evaluation counts right, and asks for what it can evaluate."""

import random
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from helpers.evaluation import Evaluation, evaluate
from helpers.recipe import Recipe
from helpers.training import fit

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


class Drawing(nn.Module):
    """A network that draws random numbers in evaluation mode too, of somebody's generator."""

    def __init__(self, draw):
        super().__init__()
        self.draw, self.body, self.head = draw, nn.Flatten(), nn.Linear(3072, 10)

    def forward(self, x):
        return self.head(self.draw(self.body(x)))


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (F.dropout, r"F\.dropout in the network|F\.dropout in Drawing"),
        (lambda x: x + torch.rand_like(x), "the forward of Drawing draws random numbers"),
        (lambda x: x * random.random(), "the forward of Drawing draws random numbers"),
        (lambda x: x * float(np.random.rand()), "the forward of Drawing draws random numbers"),
    ],
)
def test_a_network_that_is_random_in_evaluation_mode_is_named(drawings, draw, message):
    model = Drawing(draw).train()
    for images in (drawings.test_images[:20], drawings.test_images[:1]):
        with pytest.raises(ValueError, match=message):
            evaluate(model, images, drawings.test_labels[: len(images)])
    assert model.training
    with pytest.raises(ValueError, match=message):  # before any time is spent
        fit(
            model,
            drawings,
            replace(TINY, sizes=(32,)),
            progress=False,
            after_epoch=lambda history: pytest.fail("an epoch long"),
        )


def test_a_network_that_draws_and_does_not_use_it_and_one_in_channels_last_are_evaluated(drawings):
    class Unused(Drawing):
        def forward(self, x):
            self.draw(x)
            return self.head(x.view(len(x), -1))

    model = Unused(torch.rand_like)
    assert evaluate(model, drawings.test_images[:20], drawings.test_labels[:20]).probs.shape == (20, 10)
    dropout = nn.Sequential(nn.Flatten(), nn.Dropout(), nn.Linear(3072, 10)).train()
    before = torch.get_rng_state()
    evaluate(dropout, drawings.test_images[:20], drawings.test_labels[:20])
    assert torch.equal(before, torch.get_rng_state())
