"""Corruptions: what a camera does to a picture, done to whole batches of pictures.

Notebook 06 introduces them, one by one and at several strengths, after the "common corruptions" of
Hendrycks and Dietterich (2019, https://arxiv.org/abs/1903.12261), and the mixture of them with which
``Recipe.camera()`` augments its data. Every function takes and
gives N×C×H×W, float32, 0 to 1, on any device, and returns new pictures. C is 3 for colours (R, G, B)
and 1 for grey pictures, which have no white balance to lose.

Lengths are given in pixels of a picture 32 wide. On a picture of another size
they grow with it, so the same strength looks the same.
"""

import io
import math
import numbers
from collections.abc import Callable, Sized
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

Strength = float | Tensor
"""How strong a fault is: one number, or one for each image."""

SIZE = 32
"""The width of the picture in whose pixels lengths are given."""

SURROUNDINGS = 2.5
"""How strongly invented surroundings are blurred: the radius in pixels of 32."""

GAMMA = 2.2
"""A pixel value is about the light to the power of 1/2.2 (the sRGB curve, roughly)."""


def check(images: object, *strengths: object) -> None:
    """Check that these are pictures and strengths as the functions here take them.

    Raises:
        ValueError: another shape or dtype, or a strength that is no number; the message says how to change it.
    """
    if not isinstance(images, torch.Tensor):
        raise ValueError(
            f"The camera's corruptions take a torch.Tensor, not a {type(images).__name__}. Use torch.as_tensor(images)."
        )
    if images.ndim != 4 or images.shape[1] not in (1, 3) or images.dtype != torch.float32:
        raise ValueError(
            f"The camera's corruptions take N×3×H×W (or N×1×H×W, grey), float32, 0 to 1, not {tuple(images.shape)} of {images.dtype}. "
            "For one picture use image[None], for pixels from 0 to 255 images.float() / 255, for other floats images.float()."
        )
    for strength in strengths:
        if isinstance(strength, numbers.Real) and math.isfinite(strength):
            continue
        if not isinstance(strength, torch.Tensor):
            raise ValueError(
                f"A corruption's strength is a number, not {strength!r}. helpers.camera.CORRUPTIONS has some."
            )
        if strength.numel() not in (1, len(images)):
            raise ValueError(
                f"These are {strength.numel()} strengths for {len(images)} images. Give one number, or one for each image."
            )


def check_generator(generator: object) -> None:
    """Check that these are random numbers as the functions here draw them.

    Raises:
        ValueError: it is no ``torch.Generator`` on the CPU.
    """
    if not isinstance(generator, torch.Generator) or generator.device.type != "cpu":
        raise ValueError(
            f"generator={generator!r:.80}: random numbers come from a generator on the CPU. Give torch.Generator().manual_seed(3)."
        )


def blur(images: Tensor, sigma: Strength) -> Tensor:
    """Out of focus: each pixel becomes a weighted mean of its neighbours (a Gaussian).

    Args:
        sigma: radius in pixels of 32; one number, or one for each image.
    """
    check(images, sigma)
    if not images.numel():
        return images.clone()
    radius = torch.as_tensor(sigma, dtype=torch.float32, device=images.device) * images.shape[-1] / SIZE
    radius = radius.expand(len(images)).clamp(min=1e-3)
    wanted = max(1, math.ceil(3 * radius.max().item()))
    down, across = (
        min(wanted, side - 1) for side in images.shape[2:]
    )  # a reflection is no wider than the picture

    def kernels(reach):
        at = torch.arange(-reach, reach + 1, device=images.device)
        return torch.softmax(-(at**2) / (2 * radius[:, None] ** 2), dim=1).repeat_interleave(
            images.shape[1], 0
        )[:, None]

    padded = F.pad(images, (across, across, down, down), mode="reflect").flatten(0, 1)[None]
    # One group for each channel of each image: every image has its own kernel.
    rows = F.conv2d(padded, kernels(across)[:, :, None, :], groups=padded.shape[1])
    return F.conv2d(rows, kernels(down)[:, :, :, None], groups=padded.shape[1]).view_as(images)


def motion_blur(images: Tensor, length: float) -> Tensor:
    """The hand moved: a mean along a line of ``length`` pixels of 32, from left to right."""
    check(images, length)
    length = abs(length) * images.shape[-1] / SIZE
    reach = min(math.ceil(length / 2), images.shape[-1] - 1)
    at = torch.arange(-reach, reach + 1, device=images.device)
    # How much of each neighbour lies on the line: all of it, or a part at the ends.
    weights = (length / 2 + 0.5 - at.abs()).clamp(0, 1)
    channels = images.shape[1]
    kernel = (weights / weights.sum()).expand(channels, 1, 1, -1)
    return F.conv2d(F.pad(images, (reach, reach, 0, 0), mode="reflect"), kernel, groups=channels)


def noise(images: Tensor, amount: Strength, generator: torch.Generator | None = None) -> Tensor:
    """Little light: a random number is added to each pixel value, of spread ``amount`` (0 to 1).

    ``generator`` decides the numbers; without one they are the same at every call. The grains are
    as large as a pixel of 32, so on a larger picture they survive being made small.
    """
    check(images, amount)
    generator = torch.Generator().manual_seed(0) if generator is None else generator
    check_generator(generator)
    grains = torch.randn(len(images), images.shape[1], SIZE, SIZE, generator=generator).to(images.device)
    return (images + amount * F.interpolate(grains, images.shape[2:])).clamp(0, 1)


def exposure(images: Tensor, stops: Strength) -> Tensor:
    """Too dark (negative) or too bright: each stop halves or doubles the light.

    Twice the light makes a pixel value 2 ** (1 / 2.2) = 1.37 times larger; above white it is cut off.
    """
    check(images, stops)
    return (images * 2 ** (stops / GAMMA)).clamp(0, 1)


def white_balance(images: Tensor, stops: Strength) -> Tensor:
    """Too warm (positive) or too cold: red gets ``stops`` more light, blue as much less.

    Raises:
        ValueError: grey pictures, or as ``check``.
    """
    check(images, stops)
    if images.shape[1] == 1:
        raise ValueError(
            "Grey pictures have no white balance: it moves red against blue. Leave this corruption out for them."
        )
    each = torch.as_tensor(stops, dtype=torch.float32, device=images.device).reshape(-1, 1)
    gains = 2 ** (torch.cat([each, 0 * each, -each], dim=1) / GAMMA)
    return (images * gains[:, :, None, None]).clamp(0, 1)


def jpeg(images: Tensor, quality: float) -> Tensor:
    """Saved as JPEG, by Pillow, with a quality of 1 (worst) to 95.

    Raises:
        ValueError: another quality.
    """
    check(images, quality)
    if isinstance(quality, torch.Tensor) or not 1 <= quality <= 95:
        raise ValueError(f"quality={quality!r}: a JPEG is saved with one number from 1 (worst) to 95.")
    pixels = (images * 255).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
    saved = []
    for picture in pixels:
        file = io.BytesIO()
        Image.fromarray(picture.squeeze(2) if images.shape[1] == 1 else picture).save(
            file, "JPEG", quality=int(quality)
        )
        saved.append(np.asarray(Image.open(file)).reshape(picture.shape))
    if not saved:
        return images.clone()
    return torch.from_numpy(np.stack(saved)).permute(0, 3, 1, 2).to(images.device) / 255


def rotation(images: Tensor, degrees: Strength) -> Tensor:
    """Held at an angle. See ``move`` for the corners."""
    return move(images, degrees=degrees)


def distance(images: Tensor, times: float) -> Tensor:
    """Taken from ``times`` as far: the object is so much smaller (``move`` invents the surroundings).

    It is blurred before pixels are left out, as a lens would have averaged over them.
    """
    check(images, times)
    return move(blur(images, 0.4 * max(0.0, times - 1)), zoom=times)


def move(
    images: Tensor,
    *,
    degrees: Strength = 0.0,
    zoom: Strength = 1.0,
    stretch: Strength = 1.0,
    shift: tuple[Strength, Strength] = (0.0, 0.0),
) -> Tensor:
    """Turn, shrink, stretch and shift about the middle.

    What lies outside the picture is filled by its reflection, strongly blurred: surroundings of the
    right colours, but not a second object.

    Args:
        degrees: anticlockwise. zoom: above 1 the object gets smaller. stretch: above 1 it gets
            narrower. Each is one number, or one for each image.
        shift: to the right and down, in halves of the picture's width and height; a pair of the same.
    """
    if isinstance(shift, str) or not isinstance(shift, Sized) or len(shift) != 2:
        raise ValueError(f"shift={shift!r:.80} is a pair: to the right and down, e.g. (0.1, 0.0).")
    check(images, degrees, zoom, stretch, *shift)
    if not images.numel():
        return images.clone()

    def each(value):
        return torch.as_tensor(value, dtype=torch.float32, device=images.device).expand(len(images))

    turn = torch.deg2rad(each(degrees))
    across, down = each(zoom) * each(stretch), each(zoom) / each(stretch)
    tall = images.shape[2] / images.shape[3]  # places are counted in halves of the width and of the height
    # Where each pixel of the result comes from: the opposite movement.
    first = torch.stack([across * turn.cos(), -across * turn.sin() * tall, -each(shift[0])], dim=1)
    second = torch.stack([down * turn.sin() / tall, down * turn.cos(), -each(shift[1])], dim=1)
    grid = F.affine_grid(torch.stack([first, second], dim=1), list(images.shape), align_corners=False)
    moved = F.grid_sample(images, grid, padding_mode="reflection", align_corners=False).clamp(0, 1)
    outside = (grid.abs() > 1).any(-1)[:, None]
    return torch.where(outside, blur(moved, SURROUNDINGS), moved) if outside.any() else moved


def on_pixels(corruption: Callable[..., Tensor], images: Tensor, strength: float) -> Tensor:
    """A corruption done to pixels from 0 to 255, as the data sets hold them.

    Args:
        corruption: one of the functions above. images: N×C×H×W, uint8. strength: what it takes.

    Returns:
        N×C×H×W, uint8.
    """
    corrupted = [corruption(part.float() / 255, strength) for part in images.split(500)]
    return (torch.cat(corrupted) * 255).round().to(torch.uint8)


@dataclass(frozen=True)
class Corruption:
    """One corruption: how to make it, and at which strengths it is shown.

    Attributes:
        apply: takes images and a strength.
        strengths: from none to a lot; the first changes nothing that can be seen.
        unit: of the strengths, in words.
        trained: whether ``augment`` has it, so that a network trained with that has met it.
    """

    apply: Callable[..., Tensor]
    strengths: tuple[float, ...]
    unit: str
    trained: bool = True


CORRUPTIONS = {
    "blur": Corruption(blur, (0, 0.5, 1, 1.5, 2), "radius in pixels of 32"),
    "motion blur": Corruption(motion_blur, (0, 2, 4, 6, 8), "pixels of 32", trained=False),
    "noise": Corruption(noise, (0, 0.05, 0.1, 0.15, 0.2), "spread, of 1"),
    "too dark": Corruption(exposure, (0, -1, -2, -3, -4), "stops"),
    "too bright": Corruption(exposure, (0, 0.5, 1, 1.5, 2), "stops"),
    "too warm": Corruption(white_balance, (0, 0.5, 1, 1.5, 2), "stops"),
    "JPEG": Corruption(jpeg, (95, 50, 25, 10, 5), "quality", trained=False),
    "rotation": Corruption(rotation, (0, 10, 20, 30, 45), "degrees"),
    "distance": Corruption(distance, (1, 1.25, 1.5, 2, 2.5), "times as far"),
}
"""The corruptions of notebook 06 by name."""


def augment(images: Tensor, generator: torch.Generator, *, untouched: float = 0.4) -> Tensor:
    """Data augmentation: a training batch as cameras might have taken it, every image with a mixture of its own.

    Two corruptions are left out on purpose, ``motion_blur`` and ``jpeg``: how a network copes with those
    shows what it has learnt beyond the ones that it was shown.

    Args:
        images: N×C×H×W, float, 0 to 1. Grey ones (C is 1) keep their white balance.
        generator: a ``torch.Generator`` on the CPU, which decides everything random.
        untouched: the share of images that stays as it is, so that clean pictures are not forgotten.

    Returns:
        N×C×H×W, float, 0 to 1.

    Raises:
        ValueError: ``untouched`` is no share, ``generator`` no such generator; or as ``check``.
    """
    check(images)
    check_generator(generator)
    if not isinstance(untouched, numbers.Real) or not 0 <= untouched <= 1:
        raise ValueError(f"untouched={untouched!r} is a share of the images: a number from 0 to 1.")
    n = len(images)
    touched = torch.rand(n, generator=generator) >= untouched

    def some(low, high, share, neutral=0.0):
        """One number from low to high for a share of the images, the neutral one for the others."""
        values = low + (high - low) * torch.rand(n, generator=generator)
        chosen = touched & (torch.rand(n, generator=generator) < share)
        return torch.where(chosen, values, neutral).to(images.device)

    images = move(
        images,
        degrees=some(-20, 20, 0.5),
        zoom=some(math.log(0.7), math.log(1.9), 0.8).exp(),
        stretch=some(-0.15, 0.15, 0.5).exp(),
        shift=(some(-0.2, 0.2, 0.8), some(-0.2, 0.2, 0.8)),
    )
    # Sharpening is blur with the sign turned round: photos that were made small are often sharper than CIFAR-10's.
    soft = some(0.3, 1.5, 0.4)
    sharp = torch.where(soft > 0, torch.zeros_like(soft), some(0.2, 1.2, 0.5))[:, None, None, None]
    softened = blur(images, torch.where(soft > 0, soft, (sharp.flatten() > 0).float() * 0.7))
    images = torch.where(soft[:, None, None, None] > 0, softened, images + sharp * (images - softened))

    grey = images.mean(1, keepdim=True)
    images = grey + some(0.4, 1.5, 0.4, neutral=1.0)[:, None, None, None] * (images - grey)
    middle = images.mean((1, 2, 3), keepdim=True)
    images = middle + some(0.6, 1.4, 0.4, neutral=1.0)[:, None, None, None] * (images - middle)
    images = exposure(images, some(-2, 1, 0.5)[:, None, None, None])
    warmth = some(-1, 1, 0.4)
    images = white_balance(images, warmth) if images.shape[1] == 3 else images
    grains = some(0.01, 0.1, 0.25)[:, None, None, None]
    return noise(images, grains, generator)
