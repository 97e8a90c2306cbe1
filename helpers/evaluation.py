"""What a network says about a set of images: evaluate(), and the Evaluation it returns.

Notebook 01 introduces both. The test set is asked with them, and so is every exported file.
"""

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import nn

from helpers.plumbing.networks import VIEW, check_answer, check_network


def check_split(images: torch.Tensor, labels: torch.Tensor, name: str, classes: int = 10) -> None:
    """Check one split before any time is spent on it.

    Raises:
        ValueError: a wrong shape or dtype, an empty split, or a label outside
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
    if images.ndim != 4 or images.shape[1:] != (3, 32, 32):
        raise ValueError(
            f"{name}_images has the shape {tuple(images.shape)}; AlexNet takes N×3×32×32. "
            "A single image needs image[None]; channels last needs images.permute(0, 3, 1, 2)."
        )
    if images.dtype != torch.uint8:
        raise ValueError(
            f"{name}_images holds {images.dtype}; fit() and evaluate() take torch.uint8 from 0 to 255. "
            "For pixels from 0 to 1 use (images * 255).round().to(torch.uint8)."
        )
    if len(images) == 0:
        raise ValueError(f"{name}_images is empty: there is nothing to learn from. Check how it was cut.")
    if labels.shape != (len(images),) or labels.dtype != torch.int64:
        raise ValueError(
            f"{name}_labels has the shape {tuple(labels.shape)} and holds {labels.dtype}; "
            f"it needs one torch.int64 per image: ({len(images)},)."
        )
    low, high = labels.min().item(), labels.max().item()
    if low < 0 or high >= classes:
        raise ValueError(
            f"{name}_labels runs from {low} to {high}; with {classes} classes a label is 0 to {classes - 1}."
        )


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
        model: takes N×3×32×32 float from 0 to 1 and returns N×10 logits.
        images: N×3×32×32, uint8, 0 to 255.
        labels: N, int64.
        precision: float32 for numbers that are to be compared with exported files;
            bfloat16 is faster where the hardware has it.
        batch_size: images per step; changes memory, not the result.

    Returns:
        The probabilities and labels on the CPU. The model's train/eval mode is
        left as it was.

    Raises:
        ValueError: images or labels of a wrong shape, dtype or range, or a model that does not give logits.
    """
    check_network(model)
    check_split(images, labels, "test")
    if not isinstance(batch_size, int) or batch_size < 1:
        raise ValueError(f"batch_size={batch_size!r} must be a whole number, at least 1.")
    if precision not in (torch.float32, torch.bfloat16, torch.float16):
        raise ValueError(f"precision={precision!r} must be torch.float32, torch.bfloat16 or torch.float16.")
    device = next(model.parameters(), torch.empty(0)).device
    was_training, layout = model.training, torch.channels_last
    model.eval()
    answers = []
    try:
        for batch in images.split(batch_size):
            batch = batch.to(device).contiguous(memory_format=layout).float() / 255
            with torch.autocast(device.type, precision, enabled=precision != torch.float32):
                try:
                    answer = model(batch)
                except RuntimeError as error:
                    if VIEW not in str(error):
                        raise
                    layout = torch.contiguous_format
                    answer = model(batch.contiguous())
            check_answer(answer, len(batch))
            answers.append(answer.float())
    finally:
        model.train(was_training)
    logits = torch.cat(answers).cpu()
    check_split(images, labels, "test", classes=logits.shape[1])
    return Evaluation(logits.softmax(1), labels.cpu(), F.cross_entropy(logits, labels.cpu()).item())
