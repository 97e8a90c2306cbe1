"""What everybody asks who is given some network: is it one, where is it, and are its answers logits?"""

import inspect
import itertools
import os
import traceback
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from helpers.plumbing.errors import first_line


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


def dtype_of(model: nn.Module) -> torch.dtype:
    """The type of the network's first floating-point weight; float32 for a network that has none."""
    return next((p.dtype for p in model.parameters() if p.is_floating_point()), torch.float32)


def scaled(images: torch.Tensor) -> torch.Tensor:
    """Images as networks see them: float32, 0 to 1; uint8 is divided by 255."""
    return images if images.is_floating_point() else images.float() / 255


def are_probabilities(values: torch.Tensor) -> bool:
    """Whether N×classes numbers are none below 0 and sum up to 1 in every row."""
    values = values.detach().double()
    return bool(values.min() >= 0 and ((values.sum(1) - 1).abs() < 1e-2).all())


def check_answer(
    answer: object, images: int | None, classes: int | None = None, do: str = "Change its last layer."
) -> None:
    """Refuse a network's answer that is not one row of numbers for each image.

    Args:
        answer: what the network returned.
        images: how many it was shown; None for any number.
        classes: how many numbers a row is to have; None for any number.
        do: what to do about another number, for the message.

    Raises:
        ValueError: it is no tensor of N×classes; the message says what it is.
    """
    if not isinstance(answer, torch.Tensor):
        raise ValueError(
            f"The network returns a {type(answer).__name__}, not one tensor of logits. Let its forward() return the "
            "logits alone, or wrap it in a module that does."
        )
    if not answer.is_floating_point():
        raise ValueError(
            f"The network returns {answer.dtype}, not logits: one floating-point number per class. Leave its argmax out."
        )
    if answer.ndim != 2 or images not in (None, len(answer)) or classes not in (None, answer.shape[1]):
        shape, count = (
            "×".join(map(str, answer.shape)) or "one number",
            images or (len(answer) if answer.ndim else 1),
        )
        if answer.ndim == 2 and len(answer) > count:
            do = "A .view(-1, n) with an n for images of another size makes several rows of one image: write .flatten(1)."
        raise ValueError(
            f"The network returns {shape} for {count} images, and {count}×{classes or 'classes'} logits are needed, one per "
            f"class. {do}"
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
    if not logits.isfinite().all():
        raise ValueError(
            "The network answers with NaN or infinity: its weights are broken. Load or train it again."
        )
    if are_probabilities(logits):
        raise ValueError(
            "The network already returns probabilities, and a softmax would be taken of them once more. "
            "Give the network without its softmax."
        )


VIEW = "view size is not compatible"
"""What PyTorch says of ``view`` on images that are laid out channels last, where ``reshape`` would do."""


def ask(
    model: nn.Module, images: torch.Tensor, layout: torch.memory_format = torch.contiguous_format
) -> tuple[Any, torch.memory_format]:
    """What a network answers to images, and how they had to lie in memory for it.

    Args:
        model: any network.
        images: N×channels×height×width, float.
        layout: how they are laid out; contiguous all the same for a network that flattens with ``view``.

    Raises:
        ValueError: the network does not take them; the message names the layer, what it says, and what to do.
        RuntimeError: there is not enough memory.
    """
    try:
        return model(images.contiguous(memory_format=layout)), layout
    except Exception as error:  # a network is anybody's code
        if out_of_memory(error):
            raise
        if VIEW not in str(error) or layout == torch.contiguous_format:
            _, channels, height, width = images.shape
            raise ValueError(
                f"This {type(model).__name__} does not take {height}×{width} pixels in {channels} "
                f"channel{'s' * (channels > 1)}, {len(images)} at a time: {why_not(model, images, error)}"
            ) from error
    return ask(model, images)


def layer_of(model: nn.Module, error: BaseException) -> str:
    """The layer of a network in which an error was raised, in words."""
    names = {id(layer): name for name, layer in model.named_modules()}
    found = [
        (names[id(layer)], type(layer).__name__)
        for frame, _ in traceback.walk_tb(error.__traceback__)
        if id(layer := frame.f_locals.get("self")) in names
    ]
    name, kind = found[-1] if found else ("", type(model).__name__)
    return f"its layer {name!r} ({kind})" if name else f"the forward of {kind}"


def why_not(model: nn.Module, images: torch.Tensor, error: Exception) -> str:
    """Which layer of a network does not take these images, what it says, and what to do."""
    _, channels, height, width = images.shape
    weights = [(name, tensor) for name, tensor in model.named_parameters() if tensor.is_floating_point()]
    other = next(
        (f"{name} is {tensor.dtype}" for name, tensor in weights if tensor.dtype != images.dtype), None
    )
    devices = {str(tensor.device) for _, tensor in weights}
    text = first_line(error)
    do = f"It has to take N×{channels}×{height}×{width}, float32, pixels from 0 to 1."
    if VIEW in text:
        do = "Write .flatten(1), or .reshape(…), where it says .view(…)."
    elif "more than 1 value per channel" in text:
        do = "Batch norm has nothing to compare one picture with: choose a batch_size of 2 or more."
    elif len(devices) > 1:
        do = f"Its weights are on several devices ({', '.join(sorted(devices))}). Call model.to('cpu')."
    elif other:
        do = f"{do[:-1]}, and {other}. Call model.float()."
    elif "is invalid for input of size" in text:
        do = f"{do} Its view or reshape is made for images of another size."
    return f"{layer_of(model, error)} says: {text}. {do}"


def check_has_numbers(model: nn.Module) -> None:
    """Refuse a network on the meta device, where tensors have a shape and no numbers.

    Raises:
        ValueError: with the name of the first such tensor.
    """
    held = itertools.chain(model.named_parameters(), model.named_buffers())
    empty = next((name for name, tensor in held if tensor.is_meta), None)
    if empty:
        raise ValueError(
            f"The network's {empty!r} is on the meta device, which holds no numbers. Build the network without it, or "
            "load weights with model.load_state_dict(state_dict, assign=True)."
        )


def check_model(
    model: nn.Module,
    shapes: Sequence[tuple[int, int, int]],
    device: torch.device,
    classes: int | None,
    layout: torch.memory_format,
) -> tuple[torch.memory_format, int]:
    """Move a network that is to be trained to the device, and let it answer once, before any time is spent on it.

    Args:
        model: the network.
        shapes: channels, height and width of the data's images, then of those that it is trained with.
        device: where it is to be trained.
        classes: how many logits it has to give; None for any number.
        layout: how its numbers are to lie in memory.

    Returns:
        How they lie now: not channels last if the model cannot be. And how many logits it gives.

    Raises:
        ValueError: it has nothing to train, does not take images of every size that it is
            to be trained with, or does not give a logit for each class; the message says what to do.
    """
    check_network(model)
    check_has_numbers(model)
    if not any(parameter.requires_grad for parameter in model.parameters()):
        why = "all are frozen. model.requires_grad_(True) sets them free"
        if next(model.parameters(), None) is None:
            why = "it has none. evaluate() tells what it is worth as it is"
        raise ValueError(f"No weight of this {type(model).__name__} can be trained: {why}.")
    was_training = model.training
    model.eval()
    try:
        try:
            return layout, _logits(model, shapes, device, classes, layout)
        except ValueError as error:
            if VIEW not in str(error):
                raise
        layout = torch.contiguous_format
        return layout, _logits(model, shapes, device, classes, layout)
    finally:
        model.train(was_training)


@torch.no_grad()
def _logits(model, shapes, device, classes, layout) -> int:
    """How many logits the model gives for an image, one of every shape."""
    model.to(device)
    if any(map(nn.parameter.is_lazy, model.parameters())):
        ask(model, torch.zeros(1, *shapes[0], device=device))  # which decides the sizes of its weights
    model.to(memory_format=layout)
    counts: list[int] = []
    for shape in dict.fromkeys(shapes):
        try:
            answer, fits = ask(model, torch.zeros(1, *shape, device=device), layout)
        except ValueError as error:
            if not counts:
                raise
            raise ValueError(
                f"The recipe trains with images that grow, and not every size fits. {error} Use dataclasses.replace(recipe, "
                "sizes=(32,)), which leaves the images as they are, or put an nn.AdaptiveMaxPool2d before the first linear layer."
            ) from error
        if fits != layout:
            raise ValueError(VIEW)
        do = "Change its last layer" + (f", or data.classes, which has {classes} names." if classes else ".")
        check_answer(answer, 1, classes, do)
        counts.append(answer.shape[1])
    return counts[0]


def train_mode(model: nn.Module) -> None:
    """Training mode for the parts of a network that are trained.

    A part whose weights are all frozen stays in evaluation mode: its batch norm would go on
    learning statistics, and its dropout would spoil what it has learnt.
    """
    model.train()
    for part in model.modules():
        weights = list(part.parameters())
        if weights and not any(weight.requires_grad for weight in weights):
            part.eval()


def out_of_memory(error: Exception) -> bool:
    """Whether that is what it says. torch.OutOfMemoryError is one; the CPU's has no class of its own."""
    return "out of memory" in str(error).lower() or "can't allocate memory" in str(error)
