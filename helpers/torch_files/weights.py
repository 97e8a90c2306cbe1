"""Finds in a file the tensors that a network has, by their names, and gives them to the network.

Training scripts often save more than the weights, or save them under names that a wrapper has changed.
"""

import contextlib
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from helpers.plumbing.paths import printable, shorten
from helpers.torch_files import Content, Unknown, read, refused

WRAPPERS = ("module", "_orig_mod")
"""What DataParallel and torch.compile put into the names of a network that they wrap."""


def load(model: nn.Module, path: str | Path) -> nn.Module:
    """Give a network the tensors of a file, in place, and return it.

    Raises:
        FileNotFoundError, PermissionError, ValueError: as ``fitting`` and ``put``, or the network's tensors
            have no values yet. The network is then unchanged.
    """
    own = model.state_dict()
    network = type(model).__name__
    unready = [name for name, tensor in own.items() if is_lazy(tensor) or tensor.is_meta]
    if unready:
        raise ValueError(
            f"This {network} has no values yet to load into: {unready[0]} is on the meta device or lazy. "
            "Build it on the CPU, and run it once if its layers are lazy."
        )
    put(model, fitting(own, path, f"this {network}"))
    return model


def fitting(wanted: dict[str, torch.Tensor], path: str | Path, network: str) -> dict[str, torch.Tensor]:
    """The tensors of a file by the names that the network has, and in its dtypes.

    Args:
        wanted: the network's ``state_dict``; the names, shapes and dtypes are used, so it may be on the meta device.
        path: a file of ``torch.save``.
        network: what an error calls the network, e.g. ``"this AlexNet"``.

    Raises:
        FileNotFoundError: there is no such file.
        PermissionError: it must not be read.
        ValueError: it is damaged, holds something else, or the tensors of another network; or one of
            them is of another kind (sparse, quantised, complex, whole numbers), or holds NaN or infinity.
    """
    where, state = _find(wanted, read(path), path)
    problems = _differences(wanted, state)
    if problems:
        raise ValueError(
            f"{shorten(path)} does not fit {network}: {_first(problems)}"
            f"{f' (compared with what is under {printable(where, 80)})' if where else ''}. "
            "Build the network as it was when it was saved: same classes, same width, same layers."
        )
    found = {name: converted(state[name], tensor) for name, tensor in wanted.items()}
    problems = [f"{name} {problem}" for name, problem in found.items() if isinstance(problem, str)]
    if problems:
        raise ValueError(
            f"{shorten(path)} holds no weights that can be used: {_first(problems)}. "
            "Save ordinary float tensors, or take another checkpoint."
        )
    return found


def put(model: nn.Module, tensors: dict[str, torch.Tensor]) -> None:
    """Give the network these values: all of them, or none if it is interrupted.

    Raises:
        ValueError: its tensors cannot be changed.
    """
    own = model.state_dict()
    before = {name: tensor.clone() for name, tensor in own.items()}
    try:
        for name, tensor in own.items():
            tensor.copy_(tensors[name])
    except BaseException as error:
        for name, tensor in before.items():
            with contextlib.suppress(RuntimeError):  # it was this one that could not be changed
                own[name].copy_(tensor)
        if not isinstance(error, RuntimeError):
            raise
        raise ValueError(
            f"The tensors of this {type(model).__name__} cannot be changed: {error}. Build it again, outside of "
            "torch.inference_mode() and without expanded tensors."
        ) from error


def _first(problems: list[str]) -> str:
    more = f" (and {len(problems) - 3} more)" if len(problems) > 3 else ""
    return "; ".join(problems[:3]) + more


def _find(wanted: dict, content: Content, path) -> tuple[str, dict]:
    """Where in a file the weights lie (``""``, ``"['net']"``), and the dict with the names that the network has.

    Raises:
        ValueError: there is none, or there are several.
    """
    inside = {where: _renamed(state, wanted) for where, state in dicts(content.value).items()}
    fit = [where for where, state in inside.items() if state.keys() == wanted.keys()]
    if len(fit) > 1:
        raise ValueError(
            f"{shorten(path)} holds several sets of weights that fit: {' and '.join(printable(where, 80) for where in fit[:3])}. "
            f"Take one: model.load_state_dict(checkpoints.read_state(path){fit[0]})."
        )
    if fit:
        return fit[0], inside[fit[0]]
    # The one with most tensors shows best what differs.
    tensors = {
        where: sum(isinstance(one, torch.Tensor) for one in state.values()) for where, state in inside.items()
    }
    best = max(tensors, key=tensors.__getitem__, default="")
    if tensors.get(best):
        return best, inside[best]
    raise _no_weights(content, path)


def _no_weights(content: Content, path) -> ValueError:
    """The error for a file in which no weights were found: it says what is there."""
    value = content.value
    found = value.values() if isinstance(value, dict) else [value]
    whole = next((one for one in found if isinstance(one, Unknown) and one.is_model), None)
    if whole is not None:
        return ValueError(
            f"{shorten(path)} was refused: it holds a whole {whole.name}, not a state_dict, and building one could run "
            "code. Use load_model(path); if the class is your own, load_model(path, allowed=[…])."
        )
    if content.unknown:
        return refused(path, content, "")
    return ValueError(
        f"{shorten(path)} holds a {type(value).__name__} without weights, not a state_dict. "
        "Save one: torch.save(model.state_dict(), path)."
    )


def dicts(value: Any) -> dict[str, dict]:
    """The dicts in a file that could be a state_dict, each once, by where they lie: ``""``, ``"['net']"``."""
    found: dict[str, dict] = {}
    seen: set[int] = set()
    waiting = [("", value)]
    while waiting and len(seen) < 1000:
        where, value = waiting.pop(0)
        if not isinstance(value, dict) or id(value) in seen:
            continue
        seen.add(id(value))
        if all(isinstance(name, str) for name in value):
            found[where] = value
        waiting += [
            (f"{where}[{printable(name, 80)!r}]", inside)
            for name, inside in value.items()
            if isinstance(inside, dict)
        ]
    return found


def _renamed(state: dict, wanted: dict) -> dict:
    """``state`` with the network's names, where the two differ only by what a wrapper added."""
    own = {_bare(name): name for name in wanted}
    bare = {_bare(name): tensor for name, tensor in state.items()}
    rest = {name.partition(".")[2]: tensor for name, tensor in bare.items()}
    one_head = len({name.partition(".")[0] for name in bare}) == 1  # such as Lightning's "model."
    for names in (bare, rest) if one_head else (bare,):
        if names.keys() == own.keys() and len(names) == len(state):
            return {own[name]: tensor for name, tensor in names.items()}
    return state


def _bare(name: str) -> str:
    return ".".join(part for part in name.split(".") if part not in WRAPPERS)


def _differences(wanted: dict, state: dict) -> list[str]:
    """How the names and shapes of a file differ from the network's."""
    problems = [f"it lacks {name}" for name in wanted if name not in state]
    problems += [
        f"it has {printable(name, 80)}, which the network has not" for name in state if name not in wanted
    ]
    for name, tensor in wanted.items():
        found = getattr(state.get(name), "shape", tensor.shape)
        if found != tensor.shape:
            problems.append(f"{name} is {tuple(found)} in the file and {tuple(tensor.shape)} in the network")
    return problems


def converted(found: Any, wanted: torch.Tensor) -> Any:
    """``found`` as a tensor in the dtype of ``wanted``, or a text that says what is wrong with it.

    Float takes any float; whole numbers take whole numbers. Nothing else is turned into the other.
    """
    if isinstance(found, Unknown):
        return f"is {found}"
    if not isinstance(found, torch.Tensor):
        return f"is a {type(found).__name__}, not a tensor"
    numbers = found.detach()
    if wanted.is_complex() != numbers.is_complex() or (
        wanted.is_floating_point() and not numbers.is_floating_point()
    ):
        return f"holds {dtype_name(found)}, and the network {dtype_name(wanted)}"
    numbers = numbers.to(wanted.dtype)
    exact = numbers if numbers.is_complex() else numbers.double()
    if not exact.isfinite().all():
        return "holds NaN or infinity"
    if not wanted.is_floating_point() and not torch.equal(exact, found.to(exact.dtype)):
        return f"holds {dtype_name(found)} that are no {dtype_name(wanted)}"
    return numbers


def dtype_name(tensor: torch.Tensor) -> str:
    """The dtype in one word, e.g. ``float32``."""
    return str(tensor.dtype).removeprefix("torch.")
