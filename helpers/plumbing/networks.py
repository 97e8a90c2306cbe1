"""What everybody asks who is given some network: is it one, where is it, and are its answers logits?"""

import inspect
import itertools
import os

import torch
from torch import nn


def check_network(model) -> None:
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


def are_probabilities(values: torch.Tensor) -> bool:
    """Whether N×classes numbers are none below 0 and sum up to 1 in every row."""
    values = values.detach().double()
    return bool(values.min() >= 0 and ((values.sum(1) - 1).abs() < 1e-2).all())


def check_logits(logits, classes: int | None = None) -> None:
    """Refuse a network's answers that are no logits: a softmax that is added to them would be wrong.

    Args:
        logits: what the network returned for N pictures that differ.
        classes: how many there are to be; None for any number.

    Raises:
        ValueError: it is no tensor of N×classes, it holds NaN, or it holds probabilities already.
    """
    if not isinstance(logits, torch.Tensor):
        raise ValueError(
            f"The network returns a {type(logits).__name__}, not one tensor. Wrap it in a module that returns "
            "the logits alone."
        )
    if logits.ndim != 2 or (classes is not None and logits.shape[1] != classes):
        wanted = "N×classes" if classes is None else f"N×{classes}, one logit per class"
        raise ValueError(
            f"The network returns {'×'.join(map(str, logits.shape)) or 'one number'} for {len(logits) if logits.ndim else 'some'} "
            f"pictures, and {wanted}, is needed. Give it as many outputs as there are classes."
        )
    if not logits.isfinite().all():
        raise ValueError(
            "The network answers with NaN or infinity: its weights are broken. Load or train it again."
        )
    if are_probabilities(logits):
        raise ValueError(
            "The network already returns probabilities, and a softmax would be taken of them once more. "
            "Give the network without its softmax."
        )
