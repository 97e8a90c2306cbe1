"""Moves the normalisation of the pixels into a network, so that whoever runs it has no numbers to copy.

Most training scripts normalise in the data loader, ``transforms.Normalize(mean, std)``. The network alone is then
wrong on every picture of an app, which knows pixels from 0 to 255 and, in Core ML, one scale for all channels.
"""

import collections
from typing import Any

import torch
from torch import nn

from helpers.model import Normalise
from helpers.plumbing.networks import check_network, device_of

LARGEST_PIXELS = (1, 255)


def normalise_inside(
    network: nn.Module, mean: Any = None, std: Any = None, *, largest_pixel: int = 1
) -> nn.Sequential:
    """One network that takes pixels from 0 to 1 and normalises them itself, as notebook 01's does.

    Args:
        network: takes normalised pixels, N×channels×height×width.
        mean, std: of each channel, numbers or tensors. Or in place of mean what the data loader had:
            torchvision's ``transforms.Normalize(mean, std)``, or a ``transforms.Compose`` (``transforms`` or
            ``transforms.v2``) of ``ToTensor()`` or what has taken its place, and ``Normalize``. One number
            stands for all channels.
        largest_pixel: what white was when the network was trained: 1, or 255 if it saw pixels from 0 to 255;
            ``mean`` and ``std`` are on that scale. Without them the pixels are multiplied and no more:
            ``normalise_inside(network, largest_pixel=255)``.

    Returns:
        A network with two parts, ``normalise`` and ``network``, in the mode (train, eval) of the one given, which
        it holds. A checkpoint of that one still loads: ``load_weights(network, path)`` before, or
        ``load_weights(whole.network, path)`` afterwards.

    Raises:
        ValueError: no network, or one that normalises already; a transform that is something else than this; numbers
            that are none, of different counts, on another scale than ``largest_pixel``, or a std that is not above 0.

    Example:
        >>> network = nn.Sequential(nn.Flatten(), nn.Linear(28 * 28, 5))
        >>> normalise_inside(network, 0.1307, 0.3081)(torch.zeros(1, 1, 28, 28)).shape
        torch.Size([1, 5])
    """
    check_network(network)
    if any(isinstance(module, Normalise) for module in network.modules()):
        raise ValueError(
            f"This {type(network).__name__} normalises its pixels itself already: use it as it is, or give "
            "its part without the Normalise."
        )
    if largest_pixel not in LARGEST_PIXELS:
        raise ValueError(f"largest_pixel={largest_pixel!r} is what white was in the training: 1 or 255.")
    if _is_transform(mean):
        if std is not None:
            raise ValueError("A transform has its own std. Leave std= out.")
        mean, std, largest_pixel = _taken_apart(mean, largest_pixel)
    elif mean is None and std is None and largest_pixel != 1:
        mean, std = 0, 1
    means, stds = _numbers("mean", mean), _numbers("std", std)
    _check(means, stds, largest_pixel)
    layer = Normalise()
    layer.mean = torch.tensor([number / largest_pixel for number in means]).view(-1, 1, 1)
    layer.std = torch.tensor([number / largest_pixel for number in stds]).view(-1, 1, 1)
    dtype = next((one.dtype for one in network.parameters() if one.is_floating_point()), torch.float32)
    whole = nn.Sequential(
        collections.OrderedDict(normalise=layer.to(device_of(network), dtype), network=network)
    )
    # train() would also change parts of the network that are to stay as they are.
    whole.training = layer.training = network.training
    return whole


def _numbers(name: str, given: Any) -> list[float]:
    """One number per channel."""
    try:
        found = torch.as_tensor(given, dtype=torch.float64)
    except (TypeError, ValueError, RuntimeError):
        found = torch.empty(0)
    if not found.numel() or found.numel() != max(found.shape, default=1) or not found.isfinite().all():
        raise ValueError(
            f"{name}={' '.join(repr(given).split()):.80} is not one number for each channel. Give mean and std, such as (0.4914, 0.4822, "
            "0.4465) and (0.2470, 0.2435, 0.2616), or the transforms.Normalize of the training."
        )
    return found.flatten().tolist()


def _check(means: list[float], stds: list[float], largest_pixel: int) -> None:
    if len(means) != len(stds) and 1 not in (len(means), len(stds)):
        raise ValueError(f"mean has {len(means)} numbers and std {len(stds)}. Give both one per channel.")
    if min(stds) <= 0:
        raise ValueError(f"std={min(stds):g}: the pixels are divided by it, so it is above 0.")
    if largest_pixel == 1 and max(means) > 1:
        raise ValueError(
            f"mean={max(means):g} is on a scale of 0 to 255. Pass largest_pixel=255, if the network was trained so."
        )
    if largest_pixel == 255 and 0 < max(means) < 1 and max(stds) < 1:
        raise ValueError(
            f"mean={max(means):g} and std={max(stds):g} are on a scale of 0 to 1. Leave largest_pixel out: the network "
            "was trained on pixels from 0 to 1, whatever the files hold."
        )


# -- torchvision's transforms, which are not imported for it ------------------------------------------


def _is_transform(thing: Any) -> bool:
    if isinstance(thing, list | tuple | nn.Sequential):
        return any(map(_is_transform, thing))
    return type(thing).__module__.startswith("torchvision.transforms")


def _taken_apart(transform: Any, largest_pixel: int) -> tuple[Any, Any, int]:
    """Mean and std of a ``Normalize``, alone or at the end of a ``Compose``, and what white is before it."""
    together = isinstance(transform, list | tuple | nn.Sequential)
    steps = list(transform if together else getattr(transform, "transforms", [transform]))
    last = steps.pop() if steps else transform
    others = [type(step).__name__ for step in steps if _white_after(step) is None]
    if others or type(last).__name__ != "Normalize":
        problem = (
            f"{others[0]} cannot go into the network" if others else f"{type(last).__name__} is no Normalize"
        )
        inside = "transform.mean, transform.std" if hasattr(transform, "mean") else "transforms.Normalize(…)"
        raise ValueError(
            f"{problem}: ToTensor and then Normalize can. Write normalise_inside(network, {inside}); what else was done "
            "to a picture, whoever runs the network has to do in the same way."
        )
    whites = [white for step in steps if (white := _white_after(step))]
    return last.mean, last.std, whites[-1] if whites else largest_pixel


def _white_after(step: Any) -> int | None:
    """What white is after a step of a transform; 0 if the step leaves it as it is, None for any other step."""
    name = type(step).__name__ if _is_transform(step) else ""
    if name == "ToDtype":
        floats = getattr(step, "dtype", None) in (torch.float32, torch.float16, torch.bfloat16, torch.float64)
        return (1 if step.scale else 255) if floats else None
    return _STEPS.get(name)


_STEPS = {
    "ToTensor": 1,
    "ConvertImageDtype": 1,
    "PILToTensor": 0,
    "ToImage": 0,
    "ToPureTensor": 0,
    "Identity": 0,
}
"""Steps that turn a picture into a tensor and change nothing else → what white is afterwards."""
