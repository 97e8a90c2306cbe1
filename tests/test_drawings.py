"""The drawn data set: its form, its determinism, and that its classes can be told apart."""

import random

import numpy as np
import pytest
import torch

from helpers.data import CLASSES
from helpers.drawings import FIGURES, draw, make_drawings


@pytest.fixture(scope="module")
def drawings():
    return make_drawings(train=1500, test=500, seed=3)


def test_has_the_shapes_and_types_of_cifar10(drawings):
    train_images, train_labels, test_images, test_labels = drawings
    assert train_images.shape == (1500, 3, 32, 32)
    assert test_images.shape == (500, 3, 32, 32)
    assert train_images.dtype == test_images.dtype == torch.uint8
    assert train_labels.dtype == test_labels.dtype == torch.int64
    assert all(tensor.is_contiguous() for tensor in drawings)


def test_classes_are_balanced(drawings):
    assert torch.bincount(drawings[1]).tolist() == [150] * 10
    assert torch.bincount(drawings[3]).tolist() == [50] * 10


def test_the_figures_are_in_the_order_of_the_class_names():
    assert tuple(figure.__name__.removeprefix("_") for figure in FIGURES) == CLASSES


def test_the_same_seed_gives_the_same_bytes_and_another_seed_does_not():
    first, again, other = (make_drawings(train=40, test=20, seed=seed) for seed in (1, 1, 2))
    for one, two, three in zip(first, again, other, strict=True):
        assert torch.equal(one, two)
        if one.ndim == 4:
            assert not torch.equal(one, three)


def test_global_random_generators_are_neither_read_nor_changed():
    def seed_everything(seed):
        random.seed(seed)
        np.random.seed(seed)
        torch.manual_seed(seed)

    seed_everything(0)
    state = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
    first = make_drawings(train=40, test=20)
    assert state == (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist())
    seed_everything(99)
    assert torch.equal(first[0], make_drawings(train=40, test=20)[0])


def test_no_picture_occurs_twice_so_training_and_test_are_disjoint(drawings):
    pictures = [image.numpy().tobytes() for image in (*drawings[0], *drawings[2])]
    assert len(set(pictures)) == len(pictures)


def test_pictures_use_the_range_of_light(drawings):
    images = drawings[0].float()
    assert 90 < images.mean() < 180
    # The faintest picture still has light and dark in it, and none is burnt out.
    contrast = images.mean(dim=1).flatten(1).std(dim=1)
    assert contrast.min() > 5
    assert (drawings[0] == 255).flatten(1).float().mean(dim=1).max() < 0.9


def test_every_class_differs_from_every_other(drawings):
    """A linear model on the pixels, solved exactly, keeps each pair of classes apart."""
    train_images, train_labels, test_images, test_labels = drawings
    x, x_test = ((images.flatten(1).double() - 128) / 64 for images in (train_images, test_images))
    targets = torch.nn.functional.one_hot(train_labels, 10).double() - 0.1
    # Ridge regression in its dual form: as many unknowns as pictures, not as pixels.
    weights = torch.linalg.solve(x @ x.T + 1000 * torch.eye(len(x), dtype=x.dtype), targets)
    predicted = (x_test @ x.T @ weights).argmax(dim=1)
    confusion = torch.zeros(10, 10)
    confusion.index_put_((test_labels, predicted), torch.ones(len(predicted)), accumulate=True)
    confusion /= confusion.sum(dim=1, keepdim=True)

    assert confusion.diagonal().mean() > 0.6
    for a in range(10):
        for b in range(a):
            mistaken = (confusion[a, b] + confusion[b, a]) / 2
            assert mistaken < 0.3, f"{CLASSES[a]} and {CLASSES[b]} look alike"


@pytest.mark.parametrize("size", [1, 32, 224])
def test_draw_gives_an_rgb_picture_of_the_size_asked_for(size):
    for label in range(10):
        picture = draw(label, np.random.default_rng(label), size)
        assert (picture.mode, picture.size) == ("RGB", (size, size))


@pytest.mark.parametrize("label", range(10))
def test_a_generator_gives_the_same_scene_at_every_size(label):
    def pixels(seed, size):
        return np.asarray(draw(label, np.random.default_rng(seed), size).reduce(size // 32), dtype=float)

    same = np.abs(pixels(5, 32) - pixels(5, 128)).mean()
    other = np.abs(pixels(5, 32) - pixels(6, 128)).mean()
    assert same < 12
    assert same < other / 2


def test_a_second_call_gives_another_drawing():
    rng = np.random.default_rng(0)
    assert draw(4, rng).tobytes() != draw(4, rng).tobytes()


@pytest.mark.parametrize("label", [-1, 10, "cat"])
def test_a_class_that_does_not_exist_is_named(label):
    with pytest.raises(ValueError, match=f"no class {label!r}.*0 to 9"):
        draw(label, np.random.default_rng(0))
    assert draw(1.0, np.random.default_rng(0)) == draw(1, np.random.default_rng(0))


def test_a_size_without_pixels_is_refused():
    with pytest.raises(ValueError, match="size of 1 or more"):
        draw(0, np.random.default_rng(0), size=0)
    for size in (1.5, "32", None, 10**9):
        with pytest.raises(ValueError, match="size of 1 or more"):
            draw(0, np.random.default_rng(0), size=size)


@pytest.mark.parametrize(
    "wrong", [{"train": -1}, {"test": 1.5}, {"train": "3"}, {"test": True}, {"seed": -1}, {"seed": "a"}]
)
def test_a_number_that_cannot_be_counted_is_named(wrong):
    ((name, value),) = wrong.items()
    with pytest.raises(ValueError, match=f"{name}={value!r} must be a whole number, 0 or more"):
        make_drawings(**{"train": 1, "test": 1} | wrong)
    assert [len(tensor) for tensor in make_drawings(np.int64(1), 0)] == [1, 1, 0, 0]


@pytest.mark.parametrize("rng", [None, 3, np.random, np.random.default_rng])
def test_what_is_no_generator_is_named(rng):
    with pytest.raises(ValueError, match=r"rng=.*Use np\.random\.default_rng\(3\)"):
        draw(3, rng)
