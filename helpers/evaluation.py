"""What a network says about a set of images: evaluate(), the Evaluation it returns, and how far two agree.

Notebook 01 introduces the first two: the test set is asked with them, and so is every exported file.
Notebook 03 introduces compare().
"""

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import nn

from helpers.plumbing.exportable import check_behaviour, random_state
from helpers.plumbing.networks import (
    ask,
    check_answer,
    check_has_numbers,
    check_network,
    device_of,
    dtype_of,
    scaled,
)


def check_split(images: torch.Tensor, labels: torch.Tensor, name: str, classes: int | None = None) -> None:
    """Check one split before any time is spent on it.

    Args:
        images: N×C×height×width, uint8 (0 to 255) or float32 (0 to 1); C is 1 for grey pictures and 3 for
            colours in the order R, G, B.
        labels: N, int64.
        name: ``"train"`` or ``"test"``, for the messages.
        classes: how many there are; None for any number.

    Raises:
        ValueError: a wrong shape, dtype or range, an empty split, or a label outside
            ``0 … classes - 1``; the message says which.
    """
    for what, given in (("images", images), ("labels", labels)):
        if not isinstance(given, torch.Tensor):
            raise ValueError(
                f"{name}_{what} is a {type(given).__name__}, not a torch.Tensor. Use torch.as_tensor({name}_{what})."
            )
        if given.layout != torch.strided or given.is_meta:
            raise ValueError(
                f"{name}_{what} is a tensor without a number in every place (sparse, or on the meta device). "
                f"Use {name}_{what}.to_dense(), or load it again."
            )
    if images.ndim != 4 or images.shape[1] not in (1, 3) or 0 in images.shape[2:]:
        raise ValueError(
            f"{name}_images has the shape {tuple(images.shape)}; pictures are N×channels×height×width with one channel "
            "(grey) or three (R, G, B), as N×3×32×32. A single image needs image[None], grey ones without channels "
            "images[:, None]; channels last needs images.permute(0, 3, 1, 2)."
        )
    if images.dtype not in (torch.uint8, torch.float32):
        raise ValueError(
            f"{name}_images holds {images.dtype}; fit() and evaluate() take torch.uint8 from 0 to 255, or torch.float32 "
            f"from 0 to 1. Use {name}_images.float(), divided by the largest value there can be."
        )
    if len(images) == 0:
        raise ValueError(f"{name}_images is empty: there is nothing to learn from. Check how it was cut.")
    if images.is_floating_point():
        _check_pixels(images, name)
    if labels.shape != (len(images),) or labels.dtype != torch.int64:
        raise ValueError(
            f"{name}_labels has the shape {tuple(labels.shape)} and holds {labels.dtype}; "
            f"it needs one torch.int64 per image: ({len(images)},)."
        )
    check_labels(labels, name, classes)


def _check_pixels(images, name: str) -> None:
    """Floats are from 0 to 1."""
    low, high = (end.item() for end in images.aminmax())
    if 0 <= low <= high <= 1:
        return
    do = f"Give them as they were, and put the normalisation into the network (notebook 01 shows it); check {name}_images."
    if low >= 0 and 1 < high <= 255:
        do = f"Use {name}_images / 255."
    raise ValueError(f"{name}_images runs from {low:g} to {high:g}; float pixels are from 0 to 1. {do}")


def check_labels(labels: torch.Tensor, name: str, classes: int | None) -> None:
    """Each label is the number of a class.

    Raises:
        ValueError: a label outside ``0 … classes - 1``, or below 0.
    """
    low, high = labels.min().item(), labels.max().item()
    if low < 0 or (classes is not None and high >= classes):
        many = f"with {classes} classes a label is 0 to {classes - 1}" if classes else "labels count from 0"
        raise ValueError(f"{name}_labels runs from {low} to {high}; {many}.")


@dataclass
class Evaluation:
    """What a model says about a set of images.

    Attributes:
        probs: N×classes, float32, rows sum to 1.
        labels: N, int64, the right answers.
    """

    probs: torch.Tensor = field(repr=False)
    labels: torch.Tensor = field(repr=False)
    loss: float = 0.0

    @property
    def predictions(self) -> torch.Tensor:
        """N, int64: the most probable class of each image."""
        return self.probs.argmax(1)

    @property
    def accuracy(self) -> float:
        """Share of right answers, 0 to 1."""
        return (self.predictions == self.labels).double().mean().item()

    def confusion(self) -> torch.Tensor:
        """classes×classes, int64: row = the right class, column = the model's answer."""
        classes = self.probs.shape[1]
        return torch.bincount(self.labels * classes + self.predictions, minlength=classes**2).view(
            classes, classes
        )


@torch.no_grad()
def evaluate(
    model: nn.Module,
    images: torch.Tensor,
    labels: torch.Tensor,
    *,
    precision: torch.dtype = torch.float32,
    batch_size: int = 1000,
) -> Evaluation:
    """Run ``model`` on all images, in evaluation mode, on the device where it is.

    Args:
        model: takes such images as float from 0 to 1 and returns N×classes logits. One with weights in half
            precision is shown images in half precision.
        images: N×C×height×width, uint8 (0 to 255) or float32 (0 to 1); C is 1 (grey) or 3 (R, G, B).
        labels: N, int64.
        precision: float32 for numbers that are to be compared with exported files;
            bfloat16 is faster where the hardware has it.
        batch_size: images per step; changes memory, not the result.

    Returns:
        The probabilities and labels on the CPU. The model's train/eval mode is
        left as it was.

    Raises:
        ValueError: images or labels of a wrong shape, dtype or range, a model that does not take such images
            or is random in evaluation mode (the message names the layer), or one that does not give logits.
    """
    check_network(model)
    check_has_numbers(model)
    check_split(images, labels, "test")
    if not isinstance(batch_size, int) or batch_size < 1:
        raise ValueError(f"batch_size={batch_size!r} must be a whole number, at least 1.")
    if precision not in (torch.float32, torch.bfloat16, torch.float16):
        raise ValueError(f"precision={precision!r} must be torch.float32, torch.bfloat16 or torch.float16.")
    device, own = device_of(model), dtype_of(model)
    was_training, layout, drawn = model.training, torch.channels_last, random_state(device)
    model.eval()
    answers: list[torch.Tensor] = []
    try:
        for batch in images.split(batch_size):
            batch = scaled(batch.to(device).contiguous(memory_format=layout)).to(own)
            with torch.autocast(device.type, precision, enabled=precision != torch.float32):
                answer, layout = ask(model, batch, layout)
            check_answer(answer, len(batch))
            if not answers:
                check_labels(labels, "test", answer.shape[1])
                if random_state(device) != drawn:  # only such a network is asked again
                    check_behaviour(model, batch.contiguous())
            answers.append(answer.float())
    finally:
        model.train(was_training)
    logits = torch.cat(answers).cpu()
    return Evaluation(logits.softmax(1), labels.cpu(), F.cross_entropy(logits, labels.cpu()).item())


@dataclass
class Agreement:
    """How far two runs of the same images agree.

    Attributes:
        images: how many were compared.
        max_abs_diff: the largest difference of any probability.
        same_labels: how many images got the same answer.
    """

    images: int
    max_abs_diff: float
    same_labels: int

    def __str__(self):
        return (
            f"largest difference of a probability: {self.max_abs_diff:.1e}; "
            f"same answer on {self.same_labels:,} of {self.images:,} images"
        )


def compare(one: Evaluation, other: Evaluation) -> Agreement:
    """Compare two evaluations of the same images, probability by probability.

    Raises:
        ValueError: they are not of the same images.
    """
    if one.probs.shape != other.probs.shape or not torch.equal(one.labels, other.labels):
        raise ValueError(
            f"These are not the same images: {tuple(one.probs.shape)} and {tuple(other.probs.shape)} probabilities. "
            "Evaluate both on the same images in the same order."
        )
    return Agreement(
        images=len(one.labels),
        max_abs_diff=(one.probs - other.probs).abs().max().item(),
        same_labels=int((one.predictions == other.predictions).sum()),
    )
