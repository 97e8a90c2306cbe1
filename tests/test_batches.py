"""The order, the shifts, the mirror images and the sizes of the batches."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from helpers.batches import Batches
from helpers.recipe import Recipe
from helpers.training import fit

TINY = replace(Recipe.smoke(), width=0.25, batch_size=100, epochs=2)


def test_a_batch_larger_than_the_data_is_refused(drawings):
    with pytest.raises(ValueError, match="A batch of 5000 cannot be filled from 900 images"):
        fit(TINY.model(), drawings, replace(TINY, batch_size=5000), progress=False)


@pytest.mark.parametrize("seed", [20240501, 2**63, 2**64 - 1])
def test_a_large_seed_is_a_seed_as_any_other(drawings, seed):
    first = {}
    for number in (seed, seed - 1):
        recipe = replace(TINY, seed=number, augment="camera")
        batches = Batches(drawings.train_images, drawings.train_labels, recipe, "cpu")
        first[number] = next(batches.epoch(1))[0]
    assert not torch.equal(*first.values())
    one, other = (replace(TINY, seed=number).model().classifier[1].weight for number in (seed, seed - 1))
    assert not torch.equal(one, other)


def test_what_seed_and_epoch_decide_stays_as_it_was(drawings):
    """Another order of the images would be another run under the same name."""
    recipe = replace(TINY, seed=7, crop_padding=0, flip=False)
    (_, labels), *_ = Batches(drawings.train_images, drawings.train_labels, recipe, "cpu").epoch(1)
    order = torch.randperm(1000, generator=torch.Generator().manual_seed(7 * 100_003 + 1))
    assert torch.equal(labels, drawings.train_labels[order[:100]])


def numbered(count=40):
    """Images whose pixels tell which image, row and column they come from, and labels that count them."""
    images = torch.zeros(count, 3, 32, 32, dtype=torch.uint8)
    images[:, 0] = torch.arange(count, dtype=torch.uint8)[:, None, None]
    images[:, 1] = torch.arange(32, dtype=torch.uint8)[:, None]
    images[:, 2] = torch.arange(32, dtype=torch.uint8)[None, :]
    return images, torch.arange(count)


def epoch(recipe, number, **share):
    images, labels = numbered()
    pairs = list(Batches(images, labels, recipe, torch.device("cpu"), **share).epoch(number))
    return (torch.cat([i for i, _ in pairs]) * 255).round().to(torch.uint8), torch.cat([n for _, n in pairs])


def test_without_augmentation_an_epoch_is_the_data_in_another_order():
    recipe = Recipe(batch_size=10, crop_padding=0, flip=False)
    pixels, labels = epoch(recipe, 0)
    assert torch.equal(pixels, numbered()[0][labels])
    assert sorted(labels.tolist()) == list(range(40))
    assert labels.tolist() != list(range(40))
    assert labels.tolist() != epoch(recipe, 1)[1].tolist()


def test_a_flip_mirrors_columns_only_and_takes_turns():
    recipe = Recipe(batch_size=10, crop_padding=0, flip=True)
    seen = {}
    for number in (0, 1):
        pixels, labels = epoch(recipe, number)
        for picture, label in zip(pixels, labels.tolist(), strict=True):
            original = numbered()[0][label]
            mirrored = torch.equal(picture, original.flip(-1))
            assert mirrored or torch.equal(picture, original)
            seen.setdefault(label, []).append(mirrored)
    assert all(first != second for first, second in seen.values())
    assert 5 < sum(first for first, _ in seen.values()) < 35


def test_a_shift_moves_rows_and_columns_by_at_most_the_padding():
    recipe = Recipe(batch_size=10, crop_padding=3, flip=False)
    pixels, _ = epoch(recipe, 0)
    middle = pixels[:, 1:, 16, 16].int() - 16
    assert middle.min() == -3
    assert middle.max() == 3
    assert len(middle.unique(dim=0)) > 10


def test_pictures_grow_in_equal_shares_of_the_steps():
    recipe = Recipe(batch_size=10, epochs=3, crop_padding=0, flip=False, sizes=(16, 24))
    images, labels = numbered()
    batches = Batches(images, labels, recipe, torch.device("cpu"))
    sides = [pixels.shape[-2:] for number in range(3) for pixels, _ in batches.epoch(number)]
    assert sides == [(16, 16)] * 6 + [(24, 24)] * 6
    resumed = [pixels.shape[-1] for pixels, _ in batches.epoch(1, first_step=1)]
    assert resumed == [16, 24, 24]
    large, _ = next(Batches(images, labels, replace(recipe, sizes=(32,)), torch.device("cpu")).epoch(0))
    small, _ = next(batches.epoch(0))
    means = nn.functional.avg_pool2d(large, 2)  # of four pixels
    torch.testing.assert_close(small, means)


def test_cutout_hides_one_square_and_changes_nothing_else():
    recipe = Recipe(batch_size=10, crop_padding=2, cutout=8)
    pixels, labels = epoch(recipe, 0)
    whole, same = epoch(replace(recipe, cutout=0), 0)
    assert torch.equal(labels, same)
    changed = (pixels != whole).any(1)
    sides = torch.stack([changed.any(2).sum(1), changed.any(1).sum(1)])
    assert sides.max() == 8
    assert sides.min() >= 3  # a square at the border is cut off; one of its columns may already be grey
    hidden = (pixels == 128).all(1)
    assert (hidden & changed).sum() == changed.sum()
    assert len(hidden.flatten(1).float().argmax(1).unique()) > 20  # at another place in each image


def test_two_processes_share_every_batch():
    recipe = Recipe(batch_size=10, crop_padding=2)
    whole = epoch(recipe, 0)[1]
    halves = [epoch(recipe, 0, rank=rank, world_size=2)[1] for rank in (0, 1)]
    assert sorted(torch.cat(halves).tolist()) == sorted(whole.tolist())
    assert set(halves[0].tolist()).isdisjoint(halves[1].tolist())
