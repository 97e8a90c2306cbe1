"""What everybody asks who is given some network: is it one, where is it, and are its answers logits?"""

import inspect
import itertools
import os
from typing import Any

import torch
from torch import nn


def check_network(model: object) -> None:
    """Refuse what is no network: a state_dict, the name of a file, a class.

    Raises:
        ValueError: it is no ``nn.Module``; the message says what it is and how to get the network from it.
    """
    if isinstance(model, nn.Module):
        return
    raise ValueError(f"A network (nn.Module) is needed, and this is {_what(model)}")


def _what(thing) -> str:
    """What somebody passed for a network, and what to do."""
    if inspect.isclass(thing):
        return f"the class {thing.__name__}, not a network of it. Build one: {thing.__name__}(…)."
    if isinstance(thing, str | os.PathLike):
        return (
            f"the name of a file, {os.fspath(thing)!r}. Load it first, load_weights(AlexNet(), path) or "
            "load_model(path), and pass the network."
        )
    if isinstance(thing, dict) and any(isinstance(value, torch.Tensor) for value in thing.values()):
        return "a state_dict. Build the network, load_weights(model, path), and pass the network."
    if isinstance(thing, tuple | list) and any(isinstance(value, nn.Module) for value in thing):
        return f"a {type(thing).__name__} that holds one. Take it out: network, card = load_checkpoint()."
    if isinstance(thing, torch.export.ExportedProgram):
        return "an exported program. Pass program.module()."
    return f"a {type(thing).__name__}. Build the network, and pass it."


def device_of(model: nn.Module) -> torch.device:
    """Where the network's tensors are; the CPU for a network that has none."""
    held = itertools.chain(model.parameters(), model.buffers())
    return next((tensor.device for tensor in held), torch.device("cpu"))


def check_answer(answer: object, images: int | None, classes: int | None = None) -> None:
    """Refuse a network's answer that is not one row of numbers for each image.

    Args:
        answer: what the network returned.
        images: how many it was shown; None for any number.
        classes: how many numbers a row is to have; None for any number.

    Raises:
        ValueError: it is no tensor of N×classes; the message says what it is.
    """
    if not isinstance(answer, torch.Tensor):
        raise ValueError(
            f"The network returns a {type(answer).__name__}, not one tensor of logits. Let its forward() return the "
            "logits alone, or wrap it in a module that does."
        )
    if answer.ndim != 2 or images not in (None, len(answer)) or classes not in (None, answer.shape[1]):
        shape, count = (
            "×".join(map(str, answer.shape)) or "one number",
            images or (len(answer) if answer.ndim else 1),
        )
        raise ValueError(
            f"The network returns {shape} for {count} images, and {count}×{classes or 'classes'} logits are needed, one per "
            "class. Change its last layer."
        )


def check_logits(logits: Any, classes: int | None = None) -> None:
    """Refuse a network's answers that are no logits: a softmax that is added to them would be wrong.

    Args:
        logits: what the network returned for N pictures that differ.
        classes: how many there are to be; None for any number.

    Raises:
        ValueError: it is no tensor of N×classes, it holds NaN, or it holds probabilities already.
    """
    check_answer(logits, None, classes)
    logits = logits.detach().double()
    if not logits.isfinite().all():
        raise ValueError(
            "The network answers with NaN or infinity: its weights are broken. Load or train it again."
        )
    if logits.min() >= 0 and ((logits.sum(1) - 1).abs() < 1e-2).all():
        raise ValueError(
            "The network already returns probabilities, and a softmax would be taken of them once more. "
            "Give the network without its softmax."
        )


VIEW = "view size is not compatible"
"""What PyTorch says of ``view`` on images that are laid out channels last, where ``reshape`` would do."""


def check_model(
    model: nn.Module,
    sizes: tuple[int, ...],
    device: torch.device,
    classes: int,
    layout: torch.memory_format,
) -> torch.memory_format:
    """Move a network that is to be trained to the device, and let it answer once, before any time is spent on it.

    Args:
        model: the network.
        sizes: sides in pixels of the images that it is trained with; 32 is always tried.
        device: where it is to be trained.
        classes: how many logits it has to give.
        layout: how its numbers are to lie in memory.

    Returns:
        How they lie now: not channels last if the model cannot be.

    Raises:
        ValueError: it has nothing to train, does not take images of every size that it is
            to be trained with, or does not give a logit for each class; the message says what to do.
    """
    check_network(model)
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise ValueError(
            f"No weight of this {type(model).__name__} can be trained: it has none, or all are frozen. "
            "model.requires_grad_(True) sets them free."
        )
    was_training = model.training
    try:
        _try(model.eval(), sizes, device, classes, layout)
        return layout
    except RuntimeError as error:
        if VIEW not in str(error):
            raise
        _try(model, sizes, device, classes, torch.contiguous_format)
        return torch.contiguous_format
    finally:
        model.train(was_training)


def _try(model, sizes, device, classes: int, layout) -> None:
    """Let the model answer to an image of every size."""
    model.to(device).to(memory_format=layout)
    for size in sorted({32, *sizes}, reverse=True):
        image = torch.zeros(1, 3, size, size, device=device).contiguous(memory_format=layout)
        check_answer(_answer(model, image, sizes), 1, classes)


@torch.no_grad()
def _answer(model, image, sizes):
    """What the model says of an image, or what to do if it does not take one."""
    size = image.shape[-1]
    try:
        return model(image)
    except Exception as error:  # whatever a model of the learner's own raises
        if out_of_memory(error) or (VIEW in str(error) and not image.is_contiguous()):
            raise
        do = (
            "Use dataclasses.replace(recipe, sizes=(32,)), or put an nn.AdaptiveMaxPool2d before the first linear layer."
            if size != 32
            else "It has to take N×3×32×32, float32, pixels from 0 to 1."
        )
        raise ValueError(
            f"The recipe trains with images of the sizes {sizes}, and the model does not take {size}×{size}: "
            f"{error}. {do}"
        ) from error


def out_of_memory(error: Exception) -> bool:
    """Whether that is what it says. torch.OutOfMemoryError is one; the CPU's has no class of its own."""
    return "out of memory" in str(error).lower() or "can't allocate memory" in str(error)
