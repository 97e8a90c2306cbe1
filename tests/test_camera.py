"""Each corruption does what its name says, and no more."""

from dataclasses import replace

import pytest
import torch

from helpers import camera
from helpers.batches import Batches
from helpers.recipe import Recipe


@pytest.fixture
def images():
    return torch.rand(6, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def smooth(count=2, size=64):
    """Pictures with a bright disc in the middle of a dark ground."""
    along = torch.linspace(-1, 1, size)
    disc = (along[:, None] ** 2 + along[None] ** 2 < 0.6**2).float()
    return (0.2 + 0.6 * disc).expand(count, 3, size, size).clone()


def disc_share(images):
    return (images > 0.5).float().mean().item()


@pytest.mark.parametrize("name", camera.CORRUPTIONS)
def test_a_corruption_keeps_shape_and_range_and_grows_with_its_strength(name, images):
    corruption = camera.CORRUPTIONS[name]
    pictures = smooth()
    changes = []
    for strength in corruption.strengths:
        for given in (images, pictures):
            result = corruption.apply(given, strength)
            assert result.shape == given.shape
            assert result.min() >= 0 and result.max() <= 1
        changes.append((result - pictures).abs().mean().item())
    if name == "rotation":  # a disc looks the same from every side, but not its corners
        assert changes[0] < 1e-5
    else:
        assert changes == sorted(changes)
        assert changes[0] < 0.01 < changes[-1]


def test_the_same_strength_looks_the_same_on_a_larger_picture(images):
    """Four times the pixels, then made small: what is left of the corruption is the same."""
    for name in ("blur", "motion blur", "distance", "rotation", "noise"):
        # Fine detail shows whether it was smoothed as much; a disc, whether it was moved as far.
        small = images if name in ("blur", "motion blur", "noise") else smooth(size=32)
        large = torch.nn.functional.interpolate(small, scale_factor=4)
        corruption = camera.CORRUPTIONS[name]
        after = torch.nn.functional.avg_pool2d(corruption.apply(large, corruption.strengths[2]), 4)
        assert (after - corruption.apply(small, corruption.strengths[2])).abs().mean() < 0.03, name


def test_every_image_can_have_a_blur_of_its_own(images):
    sigmas = torch.tensor([0.0, 0.3, 0.6, 1.0, 1.5, 2.0])
    together = camera.blur(images, sigmas)
    for i, sigma in enumerate(sigmas):
        assert torch.allclose(together[i], camera.blur(images[i : i + 1], sigma)[0], atol=2e-3)
    assert torch.allclose(together[0], images[0], atol=1e-6)


def test_blur_keeps_the_light_and_loses_the_detail(images):
    soft = camera.blur(images, 1.0)
    assert abs(soft.mean() - images.mean()) < 0.01
    assert soft.std() < 0.5 * images.std()


def test_twice_as_far_is_a_quarter_of_the_area():
    pictures = smooth()
    middle = camera.distance(pictures, 2.0)[..., 16:48, 16:48]  # all that is real; around it is invented
    assert disc_share(middle) == pytest.approx(disc_share(pictures), rel=0.1)


def test_a_picture_moves_where_it_is_told():
    image = torch.zeros(1, 3, 32, 32)
    image[..., 16, 16] = 1
    moved = camera.move(image, shift=(8 / 16, -4 / 16))
    assert divmod(moved[0, 0].argmax().item(), 32) == (12, 24)
    turned = camera.move(torch.cat([image[..., :16] * 0, image[..., 16:]], -1).roll(6, -1), degrees=90)
    row, column = divmod(turned[0, 0].argmax().item(), 32)
    assert row < 12 and 14 <= column <= 17, "what was on the right is above: anticlockwise"


def test_light_is_measured_in_stops():
    grey = torch.full((1, 3, 4, 4), 0.25)
    one = camera.exposure(grey, 1)
    assert one.mean().item() ** 2.2 == pytest.approx(2 * 0.25**2.2, rel=1e-5)
    warm = camera.white_balance(grey, 1.0)[0, :, 0, 0]
    assert warm[0] > warm[1] > warm[2] and warm[1] == 0.25


def test_augment_is_decided_by_its_generator_and_leaves_some_alone(images):
    images = images.repeat(50, 1, 1, 1)

    def once(seed):
        return camera.augment(images, torch.Generator().manual_seed(seed))

    first = once(1)
    assert torch.equal(first, once(1)) and not torch.equal(first, once(2))
    same = (first - images).abs().amax((1, 2, 3)) < 1e-4
    assert 0.3 < same.float().mean() < 0.5
    assert first.min() >= 0 and first.max() <= 1


def test_the_recipe_s_batches_are_the_same_when_a_run_goes_on(drawings):
    recipe = Recipe.camera()
    batches = Batches(drawings.train_images, drawings.train_labels, recipe, torch.device("cpu"))
    whole = list(batches.epoch(1))
    again = next(batches.epoch(1, first_step=2))
    assert torch.equal(whole[2][0], again[0])
    bare = replace(recipe, augment="")
    plain = next(Batches(drawings.train_images, drawings.train_labels, bare, torch.device("cpu")).epoch(1))
    assert not torch.allclose(whole[0][0], plain[0], atol=0.05)


def test_wrong_input_is_named(images, drawings):
    with pytest.raises(ValueError, match="for pixels from 0 to 255"):
        camera.blur((images * 255).to(torch.uint8), 1)
    with pytest.raises(ValueError, match="For one picture"):
        camera.distance(images[0], 2)
    with pytest.raises(ValueError, match="for other floats"):
        camera.motion_blur(images.double(), 2)
    with pytest.raises(ValueError, match="not a ndarray"):
        camera.rotation(images.numpy(), 2)
    with pytest.raises(ValueError, match="augment='lens'"):
        replace(Recipe.camera(), augment="lens")


@pytest.mark.parametrize("size", [(16, 128), (128, 16), (1, 40), (40, 1), (1, 1), (2, 2), (33, 7)])
@pytest.mark.parametrize("name", camera.CORRUPTIONS)
def test_a_picture_of_any_shape_can_be_corrupted(name, size):
    corruption, wide = (
        camera.CORRUPTIONS[name],
        torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(0)),
    )
    for strength in corruption.strengths:
        result = corruption.apply(wide, strength)
        assert result.shape == wide.shape
        assert result.isfinite().all() and result.min() >= 0 and result.max() <= 1
    assert corruption.apply(wide[:0], corruption.strengths[2]).shape == (0, 3, *size)


@pytest.mark.parametrize("strength", ["1", None, float("nan"), float("inf")])
@pytest.mark.parametrize("name", camera.CORRUPTIONS)
def test_a_strength_that_is_no_number_is_named(images, name, strength):
    with pytest.raises(ValueError, match=f"strength is a number, not {strength!r}"):
        camera.CORRUPTIONS[name].apply(images, strength)


def test_a_hand_that_moved_to_the_left_moved_as_far(images):
    assert torch.equal(camera.motion_blur(images, -4), camera.motion_blur(images, 4))


def test_a_wide_picture_is_blurred_and_turned_as_a_square_one_is():
    """A dot in the middle of a square of 96 and of the strip of 24×96 that is cut out of it; seen where neither invents."""
    square = torch.zeros(1, 3, 96, 96)
    square[..., 47:49, 50:52] = 1
    for corruption in (lambda images: camera.blur(images, 1.0), lambda images: camera.rotation(images, 30)):
        wide = corruption(square[..., 36:60, :])
        middle = slice(38, 58)
        torch.testing.assert_close(
            wide[..., 6:18, middle], corruption(square)[..., 42:54, middle], atol=1e-4, rtol=0
        )
        assert wide[..., 6:18, middle].max() > 0.05


@pytest.mark.parametrize("quality", [0, -5, 96, torch.tensor([50.0])])
def test_a_quality_that_jpeg_does_not_have_is_named(images, quality):
    with pytest.raises(ValueError, match=r"one number from 1 \(worst\) to 95"):
        camera.jpeg(images, quality)


@pytest.mark.parametrize("untouched", [2, -0.1, float("nan"), "x"])
def test_a_share_of_untouched_images_is_a_share(images, untouched):
    with pytest.raises(ValueError, match=f"untouched={untouched!r} is a share"):
        camera.augment(images, torch.Generator(), untouched=untouched)


@pytest.mark.parametrize("fault", [camera.blur, camera.exposure, camera.white_balance, camera.rotation])
def test_strengths_for_another_number_of_images_are_named(images, fault):
    with pytest.raises(
        ValueError, match=r"4 strengths for 6 images\. Give one number, or one for each image"
    ):
        fault(images, torch.ones(4))


@pytest.mark.parametrize("generator", [3, "seed", torch.Generator])
def test_what_is_no_generator_is_named(images, generator):
    for call in (camera.noise, camera.augment):
        with pytest.raises(ValueError, match=r"generator=.*Give torch\.Generator\(\)\.manual_seed\(3\)"):
            call(images, generator=generator, **({"amount": 0.1} if call is camera.noise else {}))


@pytest.mark.parametrize("shift", [3, (0.1,), (0.1, 0.2, 0.3), "ab", None, torch.zeros(3)])
def test_a_shift_that_is_no_pair_of_numbers_is_named(images, shift):
    with pytest.raises(ValueError, match=r"shift=.* is a pair"):
        camera.move(images, shift=shift)
    assert torch.equal(
        camera.move(images, shift=torch.tensor([0.1, 0.2])), camera.move(images, shift=[0.1, 0.2])
    )
