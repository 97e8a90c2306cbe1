"""What a recipe takes and refuses, and how it is printed."""

import json
from dataclasses import asdict, fields, replace

import numpy as np
import pytest
import torch

from helpers.recipe import RECIPES, Recipe

TINY = replace(Recipe.smoke(), width=0.25, batch_size=100, epochs=2)


def test_making_a_model_leaves_the_global_random_state_alone():
    before = torch.get_rng_state()
    TINY.model()
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"batch_size": 0}, r"Recipe\(batch_size=0\): batch_size must be a number, at least 1"),
        ({"learning_rate": -0.1}, "learning_rate"),
        ({"learning_rate": float("nan")}, "learning_rate"),
        ({"crop_padding": 32}, "from 0 to 31"),
        ({"width": "wide"}, "width='wide'"),
        ({"width": 0}, "from 0.01 to 64"),
        ({"epochs": 1.5}, r"Recipe\(epochs=1.5\): epochs must be a number, at least 1, and whole"),
        ({"batch_size": 100.0}, "and whole"),
        ({"crop_padding": 1.5}, "from 0 to 31, and whole"),
        ({"learning_rate": float("inf")}, "learning_rate must be a number, at least 0"),
        ({"epochs": True}, "epochs must be a number"),
        ({"seed": "a"}, "seed must be a number, from 0"),
        ({"seed": -1}, "seed must be a number, from 0"),
        ({"flip": "no"}, "flip must be True or False"),
        ({"muon": 1}, "muon must be True or False"),
        ({"name": None}, "name must be a text"),
        ({"name": "a\x1b[2Jb"}, "on one line, without control characters"),
        ({"learning_rate": 1e308}, "learning_rate must be a number, at most 1e.30"),
        ({"augment": "lens"}, "augment must be '' or 'camera'"),
    ],
)
def test_a_recipe_that_cannot_be_trained_is_refused_when_it_is_made(change, message):
    with pytest.raises(ValueError, match=message):
        replace(TINY, **change)


ODD = [
    None,
    "",
    "1",
    b"1",
    1,
    0.5,
    -1,
    10**400,
    2**64,
    True,
    float("nan"),
    -float("inf"),
    1j,
    [],
    (20,),
    [True],
]
ODD += [{}, torch.tensor(1), np.int64(20), np.float32(0.5), np.bool_(True), lambda: 1]


@pytest.mark.parametrize("name", [f.name for f in fields(Recipe)])
def test_a_field_of_a_recipe_holds_its_own_type_or_is_named(name):
    """Whatever it is given; what is taken can be trained, printed and written as JSON."""
    refused = 0
    for value in ODD:
        try:
            recipe = Recipe(**{name: value})
        except ValueError as error:
            refused += 1
            assert str(error).startswith(f"Recipe({name}={value!r:.60}): {name} must be ")
        else:
            assert type(getattr(recipe, name)) is type(getattr(Recipe(), name))
            assert eval(repr(recipe)) == recipe == Recipe(**json.loads(json.dumps(asdict(recipe))))
    assert refused > len(ODD) / 2


def test_a_printed_recipe_leaves_out_what_is_as_usual():
    assert "cutout" not in repr(Recipe.quick())
    assert repr(Recipe.gpu()).endswith("seed=0, cutout=12)")
    assert eval(repr(Recipe.gpu())) == Recipe.gpu()


def test_every_recipe_is_an_alexnet():
    for make in RECIPES.values():
        layers = [type(layer).__name__ for layer in make().model().modules()]
        assert layers.count("Conv2d") == 5
        assert layers.count("Linear") == 2


@pytest.mark.parametrize("sizes", [(), 32, (8, 32), (64,), (16.5,), "16"])
def test_sizes_that_cannot_be_trained_are_refused(sizes):
    with pytest.raises(ValueError, match="whole numbers from 16 to 32"):
        Recipe(sizes=sizes)
