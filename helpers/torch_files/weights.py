"""Finds in a file the tensors that a network has, by their names, and gives them to the network.

Training scripts often save more than the weights, or save them under names that a wrapper has changed.
"""

import contextlib
import re
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from helpers.plumbing.paths import printable, shorten
from helpers.torch_files import Content, Unknown, read, refused

WRAPPERS = ("module", "_orig_mod")
"""What DataParallel and torch.compile put into the names of a network that they wrap."""

COUNTER = "num_batches_tracked"
"""What batch norm counts since PyTorch 0.4.1. A file without it is loaded, as PyTorch does: the count is then 0."""

MOST_WRAPPERS = 3
"""Wrappers in each other."""


def load(model: nn.Module, path: str | Path, under: str = "") -> nn.Module:
    """Give a network the tensors of a file, in place, and return it; ``under`` is as in ``fitting``.

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
    put(model, fitting(own, path, f"this {network}", under))
    return model


def fitting(
    wanted: dict[str, torch.Tensor], path: str | Path, network: str, under: str = ""
) -> dict[str, torch.Tensor]:
    """The tensors of a file by the names that the network has, and in its dtypes.

    Args:
        wanted: the network's ``state_dict``; the names, shapes and dtypes are used, so it may be on the meta device.
        path: a file of ``torch.save``.
        network: what an error calls the network, e.g. ``"this AlexNet"``.
        under: the place in the file, if several fit: as the error calls it, e.g. ``"ema"``.

    Raises:
        FileNotFoundError: there is no such file.
        PermissionError: it must not be read.
        ValueError: it is damaged, holds something else, or the tensors of another network; or one of
            them is of another kind (sparse, quantised, complex, whole numbers), or holds NaN or infinity.
    """
    content = read(path)
    place = _find(wanted, content, path, under)
    problems = _differences(wanted, place)
    if problems:
        where = f" (compared with what is under {place.where})" if place.where else ""
        raise ValueError(
            f"{shorten(path)} does not fit {network}: {_first(problems)}{where}. {_part(wanted, content)}"
        )
    zero = torch.tensor(0)
    found = {name: converted(place.state.get(name, zero), tensor) for name, tensor in wanted.items()}
    problems = [f"{name} {problem}" for name, problem in found.items() if isinstance(problem, str)]
    if problems:
        raise ValueError(
            f"{shorten(path)} holds no weights that can be used: {_first(problems)}. "
            "Save ordinary float tensors, or take another checkpoint."
        )
    return found


def _part(wanted: dict, content: Content) -> str:
    """What to do about a file that does not fit: it may fit a part of the network, such as one that was wrapped since."""
    tensors = (
        sum(isinstance(one, torch.Tensor) for one in state.values())
        for state in dicts(content.value).values()
    )
    largest = max(tensors, default=0)
    parts = sorted({name.partition(".")[0] for name in wanted if "." in name})
    for part in parts if len(parts) < 5 else []:
        inside = {
            name.removeprefix(f"{part}."): one for name, one in wanted.items() if name.startswith(f"{part}.")
        }
        places = (place for place in _places(content.value, inside) if len(place.state) >= largest > 0)
        if any(not _differences(inside, place) for place in places):
            whose = f"model[{part}]" if part.isdigit() else f"model.{part}"
            return f"It fits a part of the network: load_weights({whose}, path)."
    return "Build the network as it was when it was saved: same classes, same width, same layers."


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


@dataclass
class _Place:
    """Tensors of a file that could be a network's.

    Attributes:
        where: the dict that they are in, and how their names in it begin: ``""``, ``"['net']"``, ``"['net']['model.…']"``.
        state: those that the network has, by its names.
        other: the names of those that it has not.
    """

    where: str
    state: dict[str, Any]
    other: list[str]


def _find(wanted: dict, content: Content, path, under: str) -> _Place:
    """Where in a file the network's weights are; if none fit, the place that shows best what differs.

    Raises:
        ValueError: there are no weights, or several that fit.
    """
    places = list(_places(content.value, wanted))
    fit = [place for place in places if not _differences(wanted, place)]
    chosen = [place for place in fit if not under or _words(place.where) == _words(under)]
    if under and not chosen:
        raise ValueError(
            f"{shorten(path)} has no weights under {under!r} that fit; {_named(fit) or 'nothing else'} does."
        )
    if len({tuple(map(id, place.state.values())) for place in chosen}) > 1:
        raise ValueError(
            f"{shorten(path)} holds several sets of weights that fit: {_named(chosen)}. "
            f"Say which: load_weights(model, path, under={'.'.join(_words(chosen[-1].where))!r})."
        )
    if chosen:
        return chosen[0]
    best = max(places, key=lambda place: (len(place.state), len(place.other)), default=_Place("", {}, []))
    if not (best.state or best.other):
        raise _no_weights(content, path)
    return best


def _named(places: list[_Place]) -> str:
    return " and ".join(place.where or "the file itself" for place in places[:3])


def _words(where: str) -> list[str]:
    return re.findall(r"\w+", where)


def _places(value: Any, wanted: dict) -> Iterator[_Place]:
    """Every dict in a file, and in it the beginnings of names after which names of the network follow."""
    own = {_bare(name): name for name in wanted}
    wrappers = WRAPPERS if len(own) == len(wanted) else ()  # else a part of the network is itself called so
    own = own if wrappers else {name: name for name in wanted}
    deepest = max((name.count(".") for name in own), default=0) + 1 + MOST_WRAPPERS
    ends = {name.rpartition(".")[2] for name in own}
    for where, state in dicts(value).items():
        found: dict[str, dict[str, str]] = {"": {}}  # beginning → name in the file → name in the network
        for name in state:
            parts = name.split(".") if name.rpartition(".")[2] in ends else []
            for cut in range(max(0, len(parts) - deepest), len(parts)):
                rest = ".".join(part for part in parts[cut:] if part not in wrappers)
                if rest in own and parts[cut] not in wrappers:
                    found.setdefault("".join(f"{part}." for part in parts[:cut]), {})[name] = own[rest]
        for head, names in sorted(found.items(), key=lambda item: -len(item[1]))[:20]:
            here = where + (f"[{printable(head, 80) + '…'!r}]" if head else "")
            tensors = (
                name for name, one in state.items() if isinstance(one, torch.Tensor) and name.startswith(head)
            )
            mine = {
                fits: name for name, fits in names.items()
            }  # of two names for one tensor of the network, the last
            other = [name for name in tensors if mine.get(names.get(name, "")) != name]
            yield _Place(here, {fits: state[name] for fits, name in mine.items()}, other)


def _bare(name: str) -> str:
    return ".".join(part for part in name.split(".") if part not in WRAPPERS)


def _no_weights(content: Content, path) -> ValueError:
    """The error for a file in which no weights were found: it says what is there."""
    value = content.value
    found = (
        value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else [value]
    )
    whole = next((one for one in found if isinstance(one, Unknown) and one.is_model), None)
    if whole is not None:
        return ValueError(
            f"{shorten(path)} was refused: it holds a whole {whole.name}, not a state_dict, and building one could run "
            "code. Use load_model(path); if the class is your own, load_model(path, allowed=[…])."
        )
    if content.unknown:
        return refused(path, content, "")
    tensors = sum(isinstance(one, torch.Tensor) for one in found)
    what = f"a {type(value).__name__} without weights"
    if is_optimiser(value):
        what = "the state of an optimiser, not of a network"
    elif tensors:
        what = f"{tensors} tensor{'s' * (tensors > 1)} without a name, which could be any layer's"
    return ValueError(
        f"{shorten(path)} holds {what}. Save the network's state_dict: torch.save(model.state_dict(), path)."
    )


def is_optimiser(value: Any) -> bool:
    """Whether this is the ``state_dict`` of a ``torch.optim.Optimizer``."""
    return isinstance(value, dict) and {"state", "param_groups"} <= value.keys()


def dicts(value: Any) -> dict[str, dict]:
    """The dicts in a file that could be a state_dict, each once, by where they lie: ``""``, ``"['net']"``, ``"[0]"``."""
    found: dict[str, dict] = {}
    seen: set[int] = set()
    waiting = deque([("", value)])
    while waiting and len(seen) < 1000:
        where, value = waiting.popleft()
        if not isinstance(value, dict | list | tuple) or id(value) in seen or is_optimiser(value):
            continue
        seen.add(id(value))
        items = list(value.items() if isinstance(value, dict) else enumerate(value))
        if isinstance(value, dict) and all(isinstance(name, str) for name in value):
            found[where] = value
        waiting += [
            (f"{where}[{name if isinstance(name, int) else printable(name, 80)!r}]", inside)
            for name, inside in items
            if isinstance(inside, dict | list | tuple)
        ]
    return found


def _differences(wanted: dict, place: _Place) -> list[str]:
    """How the names and shapes of a place differ from the network's."""
    problems = [
        f"it lacks {name}" for name in wanted if name not in place.state and not name.endswith(COUNTER)
    ]
    problems += [f"it has {printable(name, 80)}, which the network has not" for name in place.other]
    for name, tensor in wanted.items():
        found = getattr(place.state.get(name), "shape", tensor.shape)
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
