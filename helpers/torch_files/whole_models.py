"""Loads a whole saved model, of allowed classes only, and refuses what only looks like one."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from helpers.plumbing.paths import shorten
from helpers.torch_files import Unknown, damaged, read, refused
from helpers.torch_files.weights import converted, dicts


def load(path: str | Path, known: list[type], allowed: Iterable | type | Callable) -> nn.Module:
    """The model in a file of ``torch.save``, or the only one in a dict, with the tensors and settings that the file holds.

    Args:
        path: of the file.
        known: classes of which objects may be made.
        allowed: more of them, and functions that an object may keep, as a learner names them.

    Raises:
        FileNotFoundError: there is no such file.
        PermissionError: it must not be read.
        ValueError: it is damaged, holds NaN or infinity, or asks for a class or function that is not
            allowed; nothing of it has been run then. Or ``allowed`` holds something else than these.
    """
    content = read(path, [*known, *_classes(allowed)])
    model = content.value
    if isinstance(model, dict):  # some training scripts keep it beside other things
        models = [value for value in model.values() if isinstance(value, nn.Module)]
        model = models[0] if len(models) == 1 else model
    if content.unknown and not _weights_alone(model):
        raise refused(
            path,
            content,
            "If it is a model class of yours, or of a package that you trust, name it in load_model(path, allowed=[…]); "
            "or save the state_dict where the model was made, and use load_weights(model, path).",
        )
    if not isinstance(model, nn.Module):
        raise ValueError(
            f"{shorten(path)} holds a {type(model).__name__}, not a model. "
            "If it holds a state_dict, build the network and use load_weights(model, path)."
        )
    _check(model, path)
    return model


def _classes(allowed) -> list:
    """The classes and functions of an argument ``allowed``.

    Raises:
        ValueError: it is no list, or something in it is neither a class nor a function.
    """
    things = list(allowed) if isinstance(allowed, list | tuple | set | frozenset) else [allowed]
    for thing in things:
        if not callable(thing) or not hasattr(thing, "__qualname__") or not hasattr(thing, "__module__"):
            raise ValueError(
                f"allowed=[… {thing!r} …]: it is no class. Give the classes themselves, e.g. [MyNet]."
            )
    return things


def _weights_alone(value) -> bool:
    """Whether there are weights in it, and no model: then the advice is another function, whatever else is there."""
    inside = [one for state in dicts(value).values() for one in state.values()]
    return any(isinstance(one, torch.Tensor) for one in inside) and not any(
        isinstance(one, nn.Module) or (isinstance(one, Unknown) and one.is_model) for one in inside
    )


def _check(model: nn.Module, path) -> None:
    """Refuse what only looks like a model: parts that are missing, of a wrong kind, or nested without end.

    Raises:
        ValueError: as ``load``.
    """
    waiting, seen, checked = [(model, 1)], 0, set()
    while waiting:
        module, depth = waiting.pop()
        seen += 1
        held = vars(module) if isinstance(module, nn.Module) else {}
        stores: list[Any] = [held.get(name) for name in ("_parameters", "_buffers", "_modules")]
        if seen > 10_000 or depth > 100 or not all(isinstance(store, dict) for store in stores):
            raise damaged(path)
        if any(_would_run(module, str(name), value) for name, value in held.items()):
            raise ValueError(
                f"{shorten(path)} was refused: its {type(module).__name__} has a hook or a method of its own, which the "
                "first use of the model would run. Save its state_dict, and use load_weights."
            )
        parameters, buffers, modules = stores
        for tensor in (*parameters.values(), *buffers.values()):
            if tensor is not None and id(tensor) not in checked:
                checked.add(id(tensor))
                _check_tensor(tensor, path)
        waiting += [(child, depth + 1) for child in modules.values() if child is not None]


def _would_run(module: nn.Module, name: str, value) -> bool:
    """Whether this attribute takes the place of a method, or is a dict of hooks with something in it."""
    is_hook = name.startswith("_") and "_hooks" in name and bool(value)
    return is_hook or callable(getattr(type(module), name, None))


def _check_tensor(tensor, path) -> None:
    if not isinstance(tensor, torch.Tensor):
        raise damaged(path)
    if isinstance(problem := converted(tensor, tensor), str):
        raise ValueError(
            f"{shorten(path)} holds no weights that can be used: one {problem}. Take another checkpoint."
        )
