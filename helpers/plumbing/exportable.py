"""Is a network one that can be written down for others? Asked before every export and conversion."""

import copy
import numbers
import pickle
import random
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves
from torch.utils.module_tracker import ModuleTracker

from helpers.plumbing.networks import are_probabilities, check_has_numbers, check_network

_KINDS = {
    "softmax": ("softmax", "special_softmax", "softmin", "gumbel_softmax"),
    "sigmoid": ("sigmoid", "sigmoid_", "special_expit", "hardsigmoid"),
}
SQUASH = {name: kind for kind, names in _KINDS.items() for name in names}
"""Functions whose results are probabilities, and what they are called."""

MOVES = {"flatten", "reshape", "view", "squeeze", "unsqueeze", "permute", "transpose", "contiguous", "clone"}
MOVES |= {"__getitem__", "to", "float"}
"""Functions whose results have the values of their first argument."""


class Unsteady(ValueError):
    """A network that still trains, or changes from call to call, in evaluation mode."""


def check_module(model: Any) -> None:
    """Refuse what is no network, a network in training mode, and one of which a layer still is.

    Raises:
        ValueError: the message says which, and what to do.
    """
    check_network(model)
    check_has_numbers(model)
    if model.training:
        raise ValueError(
            "The model is in training mode, and would be exported with the batch statistics of training. "
            "Call model.eval() first."
        )
    trains = torch.nn.modules.dropout._DropoutNd, torch.nn.modules.batchnorm._BatchNorm
    for name, layer in model.named_modules():
        if layer.training and isinstance(layer, trains) and getattr(layer, "p", 1):
            raise ValueError(
                f"The model is in evaluation mode, but its layer {name!r} ({type(layer).__name__}) is in training mode. "
                "Call model.eval() again, after the last change to the model; or change the code that keeps it so."
            )


def check_shape(shape: Any) -> tuple[int, int, int, int]:
    """The shape of one example, with the leading 1.

    Raises:
        ValueError: it is no 1×channels×height×width with one channel or three.
    """
    whole = isinstance(shape, Sequence) and all(isinstance(side, numbers.Integral) for side in shape)
    if not whole or len(shape) != 4 or shape[0] != 1 or shape[1] not in (1, 3) or min(shape) < 1:
        shown = tuple(shape) if isinstance(shape, Sequence) else shape
        raise ValueError(
            f"shape={shown!r:.60}: an app hands over one picture at a time. Give 1×3×height×width, or 1×1×… for grey."
        )
    batch, channels, height, width = map(int, shape)
    return batch, channels, height, width


def check_behaviour(model: torch.nn.Module, images: torch.Tensor) -> torch.Tensor:
    """Refuse a network that still trains although it is in evaluation mode.

    Args:
        model: in evaluation mode.
        images: what it takes, a few examples.

    Returns:
        What the network answers, whatever that is.

    Raises:
        Unsteady: it draws random numbers, uses the statistics of the batch, or changes from call to call; the
            message names the layer and the cure.
    """
    before = random_state(images.device)
    with torch.no_grad():
        with ModuleTracker() as where, _Watch(where):
            answer = model(images)
        drew = random_state(images.device) != before
        again = model(images)
    limits = {"rtol": 0.0, "atol": 0.0} if drew else {"rtol": 1e-2, "atol": 1e-3}
    if not _same(answer, again, **limits):
        cause = (
            "draws random numbers"
            if drew
            else "keeps something from one call to the next, or draws random numbers"
        )
        raise Unsteady(
            f"The model gives the same picture another answer each time, in evaluation mode too: {_unsteady(model, images)} "
            f"{cause}. Let it do so only while self.training is true."
        )
    return answer


def random_state(device: torch.device) -> bytes:
    """Where the generators of random numbers stand that a network draws from: PyTorch's, NumPy's and Python's."""
    states = [torch.get_rng_state().numpy(), np.random.get_state(legacy=False), random.getstate()]
    if device.type == "cuda":
        states.append(torch.cuda.get_rng_state(device).numpy())
    if device.type == "mps":
        states.append(torch.mps.get_rng_state().numpy())
    return pickle.dumps(states)


def _same(one, other, rtol: float = 0.0, atol: float = 0.0) -> bool:
    """Whether two answers have the same numbers."""
    return all(
        torch.allclose(a, b, rtol=rtol, atol=atol, equal_nan=True)
        for a, b in zip(tree_leaves(one), tree_leaves(other), strict=True)
        if isinstance(a, torch.Tensor)
    )


@torch.no_grad()
def _unsteady(model: torch.nn.Module, images: torch.Tensor) -> str:
    """The innermost layer that answers the same input differently the second time, in words."""
    calls: list[list] = [[], []]

    def note(name, call):
        return lambda layer, given, out: calls[call].append((name, layer, copy.deepcopy((given, out))))

    for call in range(2):
        hooks = [layer.register_forward_hook(note(name, call)) for name, layer in model.named_modules()]
        try:
            model(images)
        finally:
            for hook in hooks:
                hook.remove()
    for (name, layer, (given, out)), (_, _, (given_again, out_again)) in zip(*calls, strict=False):
        if name and _same(given, given_again) and not _same(out, out_again):
            return f"its layer {name!r} ({type(layer).__name__})"
    return f"the forward of {type(model).__name__}"


def made_by(tensor: object) -> str | None:
    """ "softmax" or "sigmoid" if one of them made what ``check_behaviour`` returned, else None."""
    return getattr(tensor, "_squashed_by", None)


def check_logits_only(answer: object, values: torch.Tensor | None = None) -> None:
    """Refuse probabilities of a softmax or a sigmoid, where a softmax is going to be added.

    Args:
        answer: what ``check_behaviour`` returned.
        values: N×classes, what the network answers to more pictures, if that is known.

    Raises:
        ValueError: with the cure.
    """
    seen = "softmax" if values is not None and are_probabilities(values) else None
    kind = seen or made_by(answer)
    if kind:
        raise ValueError(
            f"The network already returns probabilities (of a {kind}), and a softmax would be taken of them once more. "
            f"Give the network without its {kind}."
        )


class EvenPooling(TorchFunctionMode):
    """Adaptive pooling becomes what every exporter can write down: plain maxima, or slices of unlike windows.

    Window i of n reaches from i·size/n, rounded down, to (i+1)·size/n, rounded up, as PyTorch has it.
    """

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        name = getattr(function, "__name__", "")
        if name not in ("adaptive_avg_pool2d", "adaptive_max_pool2d") or kwargs.get("return_indices"):
            return function(*args, **kwargs)
        images = args[0] if args else kwargs["input"]
        wanted = args[1] if len(args) > 1 else kwargs["output_size"]
        wanted = wanted if isinstance(wanted, tuple | list) else (wanted, wanted)
        sizes = [(dim, int(images.shape[dim]), count) for dim, count in zip((-2, -1), wanted, strict=True)]
        if all(count is None or (count and size % count == 0) for _, size, count in sizes):
            if "avg" in name:
                return function(*args, **kwargs)
            return torch.nn.functional.max_pool2d(
                images, [size // (count or size) for _, size, count in sizes]
            )
        reduce = torch.mean if "avg" in name else torch.amax
        for dim, size, count in sizes:
            windows = [(i * size // count, -(-(i + 1) * size // count)) for i in range(count or 0)]
            parts = [reduce(images.narrow(dim, a, b - a), dim=dim, keepdim=True) for a, b in windows]
            images = torch.cat(parts, dim=dim) if parts else images
        return images


class _Watch(TorchFunctionMode):
    """Refuses the functions that train, and marks what a softmax or a sigmoid made."""

    def __init__(self, where):
        super().__init__()
        self.where = where

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        name = getattr(function, "__name__", "")
        self._refuse(name, args, kwargs)
        result = function(*args, **kwargs)
        if isinstance(result, torch.Tensor):
            kind = SQUASH.get(name) or (made_by(args[0]) if name in MOVES and args else None)
            if kind:
                result._squashed_by = kind  # type: ignore[attr-defined]
        return result

    def _refuse(self, name, args, kwargs):
        layer = max(self.where.parents - {"Global"}, key=len, default="the network")
        if "dropout" in name and not name.endswith("_"):
            probability = args[1] if len(args) > 1 else kwargs.get("p", 0.5)
            if (args[2] if len(args) > 2 else kwargs.get("training", True)) and probability:
                raise Unsteady(
                    f"F.{name} in {layer} drops values at random, in evaluation mode too: the same picture gets another "
                    f"answer each time. Write F.{name}(x, p, training=self.training), or use nn.Dropout."
                )
        if name == "batch_norm" and (args[5] if len(args) > 5 else kwargs.get("training", False)):
            raise Unsteady(
                f"The batch norm {layer} uses the statistics of the batch, in evaluation mode too, and a phone has one "
                "picture at a time. Build it with track_running_stats=True and train again (F.batch_norm: pass "
                "training=self.training and the running statistics)."
            )
