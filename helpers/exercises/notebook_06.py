"""The checks of notebook 06."""

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from PIL.Image import Image

from helpers import intervals, photos
from helpers.evaluation import Evaluation
from helpers.plumbing.language import translated as _

from . import Exercise, Wrong, call, number_is


def squash(
    squashed: Evaluation,
    difference: intervals.Interval,
    shown: bool,
    /,
    *,
    centre: Evaluation,
    wide: Sequence[Image],
    file: Path,
) -> None:
    before = centre.predictions == centre.labels
    pictures = torch.stack([photos.shrink(one, "squash") for one in wide])
    right = photos.ask(file, pictures, centre.labels)
    if torch.equal(squashed.probs, centre.probs):
        raise Wrong(
            'These are the pictures with the middle cut out. `photos.shrink(one, "squash")` keeps all of it.'
        )
    if len(squashed.labels) != len(centre.labels) or not torch.equal(squashed.labels, centre.labels):
        raise Wrong(
            "These are other pictures. To compare like with like, take the same ones, in the same order."
        )
    if not torch.allclose(squashed.probs, right.probs, atol=1e-4):
        raise Wrong(
            'The answers are others than CAMERA gives for the pictures that `photos.shrink(one, "squash")` makes.'
        )
    after = right.predictions == right.labels
    gain = intervals.gain(before, after)
    number_is(
        difference.value,
        gain.value,
        [
            (
                -gain.value,
                _(
                    "That is what the middle gains over the whole. `gain(before, after)`: first the centre crop."
                ),
            ),
            (
                intervals.share(after).value,
                _("That is the accuracy. What is asked for is the difference, of the same pictures: `gain`."),
            ),
        ],
        _("`intervals.gain(before, after)`, with True for each picture that is right."),
        within=1e-6,
    )
    if shown != (not gain.low <= 0 <= gain.high):
        raise Wrong(
            "The interval goes from {low:.1f} to {high:.1f} points. {meaning}",
            low=100 * gain.low,
            high=100 * gain.high,
            meaning=_("It contains 0, so the true difference may be none.")
            if shown
            else _("It does not contain 0, so a difference is shown."),
        )


def fog(fog: Callable, /) -> None:
    images = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    kept = images.clone()
    half = call(fog, images, 0.5)
    if not torch.equal(images, kept):
        raise Wrong(
            "Your function changes the pictures that it was given. Make new ones: `a + b`, and no `a += b`."
        )
    if not torch.is_tensor(half) or half.shape != images.shape:
        raise Wrong("It has to give as many pictures as it was given, in the same shape, N×3×32×32.")
    none, all_white = call(fog, images, 0.0), call(fog, images, 1.0)
    if none.min() > 0.99 and torch.allclose(all_white, images, atol=1e-5):
        raise Wrong("The other way round: 0 is no fog, 1 is nothing but fog.")
    if half.max() > 1.0001:
        largest = half.max().item()
        raise Wrong(
            "A pixel becomes {largest:.3g}. White is 1 here; and it takes the place of the picture, it is not added to it.",
            largest=largest,
        )
    if torch.allclose(half, images * 0.5, atol=1e-5):
        raise Wrong("That is darkness: the pixels go towards 0, which is black. White is 1.")
    if not torch.allclose(half, (images + 1) / 2, atol=1e-5):
        raise Wrong("With a strength of 0.5 each pixel lies half-way between what it was and white.")
    if not torch.allclose(none, images, atol=1e-5) or not torch.allclose(
        all_white, torch.ones(()), atol=1e-5
    ):
        raise Wrong("At 0.5 it is right; but 0 has to leave the picture as it is, and 1 nothing of it.")


def reversed_order(
    end: float,
    pair: tuple,
    /,
    *,
    changes: dict[str, Callable],
    images: torch.Tensor,
    labels: torch.Tensor,
    file: Path,
) -> None:
    forth, back = images, images
    for name in changes:
        forth = changes[name](forth)
    for name in reversed(changes):
        back = changes[name](back)
    right = photos.ask(file, back, labels).accuracy
    number_is(
        end,
        right,
        [
            (
                photos.ask(file, forth, labels).accuracy,
                _("That is the end in the order of section 5. `reversed(changes.items())` turns it round."),
            ),
            (100 * right, _("A share is from 0 to 1.")),
            (
                photos.ask(file, images, labels).accuracy,
                _("That is the beginning: none of the five has been done."),
            ),
        ],
        _(
            "Do all five to the same pictures, one after the other from the last to the first, and ask FILE once."
        ),
        within=5e-4,
    )
    if len(pair) != 2 or not set(pair) <= set(changes):
        raise Wrong("`pair` is two of these names: {names}.", names=", ".join(changes))
    first, second = (changes[name] for name in pair)
    if torch.equal(first(second(images)), second(first(images))):
        raise Wrong(
            "{first} and {second}: in either order every pixel is the same. Which two get into each other's way?",
            first=pair[0],
            second=pair[1],
        )


EXERCISES = {
    "06.1": Exercise(
        squash,
        "Like was compared with like: the same pictures, each with both crops, and an interval that says what 60 of them can show.",
        '`photos.shrink(one, "squash")` for each, `torch.stack`, `photos.ask`; then `intervals.gain(centre.predictions == '
        "centre.labels, …)`.",
    ),
    "06.2": Exercise(
        fog,
        'A corruption is a function of pictures and a strength. With `camera.Corruption(fog, (0, 0.2, 0.4, 0.6, 0.8), "share '
        'of white")`, `curve` of section 4 draws how well each network stands it.',
        "Mixing two things with a share s: (1 − s) of the one and s of the other. White is 1 in every channel.",
    ),
    "06.3": Exercise(
        reversed_order,
        "Two operations that get into each other's way make other pixels in another order, so the end moves, and not only the bars.",
        "For `pair`, compare `changes[a](changes[b](images))` with `changes[b](changes[a](images))`, for instance for what "
        "makes bars and what darkens.",
    ),
}
