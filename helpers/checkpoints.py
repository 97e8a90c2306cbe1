"""The two ways to save and load a model, and the one that ships with the project.

Notebook 02 introduces both ways and shows what is inside each file.

Beside a checkpoint ``NAME.pth`` lies its card ``NAME.json``: the accuracy, the
recipe, the versions, the data it was trained on with their checksum, and what the
network says about 100 drawings, which can be checked anywhere.
"""

import contextlib
import hashlib
import json
import pickle
from collections.abc import Callable, Iterable
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from helpers import torch_files
from helpers.data import CIFAR10
from helpers.drawings import make_drawings
from helpers.evaluation import Evaluation
from helpers.history import History
from helpers.model import AlexNet, Normalise
from helpers.plumbing import files, paths
from helpers.plumbing.networks import check_network
from helpers.recipe import Recipe
from helpers.torch_files import Content, Unknown

SHIPPED = paths.PRETRAINED / "alexnet.pth"
CAMERA = paths.PRETRAINED / "alexnet_camera.pth"
"""The second checkpoint: the shipped one, fine-tuned on pictures with a camera's corruptions (notebook 06)."""

TRAINED = "alexnet.pth"
"""Name of the checkpoint that notebook 01 writes into the artifacts folder."""

ALLOWED = [
    AlexNet,
    Normalise,
    nn.Sequential,
    nn.Conv2d,
    nn.MaxPool2d,
    nn.AdaptiveMaxPool2d,
    nn.BatchNorm2d,
    nn.ReLU,
    nn.Flatten,
    nn.Linear,
]
"""The classes that a whole saved AlexNet is made of. ``load_model`` builds these and no other."""


def save_weights(model: nn.Module, path: str | Path) -> None:
    """The first way: save the ``state_dict``, that is the tensors and their names.

    Raises:
        ValueError: ``model`` is no network.
        OSError: the file cannot be written; an older one is then still whole.
    """
    check_network(model)
    _save(model.state_dict(), path, model)


def save_model(model: nn.Module, path: str | Path) -> None:
    """The second way: save the whole object, that is a pickle naming its classes.

    Raises:
        ValueError: ``model`` is no network, or it holds something that has no name to be found by, such as a lambda.
        OSError: the file cannot be written; an older one is then still whole.
    """
    check_network(model)
    try:
        _save(model, path, model)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise ValueError(
            f"This {type(model).__name__} cannot be saved whole: {error}. Use save_weights(model, path)."
        ) from error


def _save(thing, path, model: nn.Module) -> None:
    size = sum(tensor.nbytes for tensor in (*model.parameters(), *model.buffers()))  # nearly all of the file
    with paths.replacing(path, size) as temporary:
        torch.save(thing, temporary)


def load_weights(model: nn.Module, path: str | Path) -> nn.Module:
    """Load a saved ``state_dict`` into ``model`` (in place) and return it in evaluation mode.

    Training scripts often save more than the weights: a dict that holds them beside the optimiser's state, or names
    that begin with ``module.`` or ``_orig_mod.``, because the network was wrapped. The weights
    are found in it by their names; nothing else is looked at.

    Args:
        model: the network, built as it was when it was saved.
        path: a file that ``save_weights`` or ``torch.save`` wrote.

    Raises:
        FileNotFoundError: there is no such file.
        PermissionError: it must not be read.
        ValueError: the file is damaged, holds something else, or belongs to another network; a
            tensor in it is of another kind (sparse, quantised, complex, whole numbers), or holds NaN or
            infinity. The model is then unchanged, as it is after a Ctrl-C.
    """
    check_network(model)
    mine = model.state_dict()
    unready = [name for name, tensor in mine.items() if is_lazy(tensor) or tensor.is_meta]
    if unready:
        raise ValueError(
            f"This {type(model).__name__} has no values yet to load into: {unready[0]} is on the meta device or lazy. "
            "Build it on the CPU, and run it once if its layers are lazy."
        )
    _put(model, _fitting(mine, path, f"this {type(model).__name__}"))
    return model.eval()


def _put(model: nn.Module, tensors: dict) -> None:
    """Give the network these values: all of them, or none if it is interrupted."""
    mine = model.state_dict()
    before = {name: tensor.clone() for name, tensor in mine.items()}
    try:
        for name, tensor in mine.items():
            tensor.copy_(tensors[name])
    except BaseException as error:
        for name, tensor in before.items():
            with contextlib.suppress(RuntimeError):  # it was this one that could not be changed
                mine[name].copy_(tensor)
        if not isinstance(error, RuntimeError):
            raise
        raise ValueError(
            f"The tensors of this {type(model).__name__} cannot be changed: {error}. Build it again, outside of "
            "torch.inference_mode() and without expanded tensors."
        ) from error


def _fitting(mine: dict, path, network: str) -> dict:
    """The tensors of a file by the names that the network has, and in its dtypes.

    Raises:
        FileNotFoundError, PermissionError, ValueError: as ``load_weights``.
    """
    where, state = _find(mine, torch_files.read(path), path)
    problems = _differences(mine, state)
    if problems:
        raise ValueError(
            f"{paths.shorten(path)} does not fit {network}: {_first(problems)}"
            f"{f' (compared with what is under {paths.printable(where, 80)})' if where else ''}. "
            "Build the network as it was when it was saved: same classes, same width, same layers."
        )
    found = {name: _converted(state[name], tensor) for name, tensor in mine.items()}
    problems = [f"{name} {problem}" for name, problem in found.items() if isinstance(problem, str)]
    if problems:
        raise ValueError(
            f"{paths.shorten(path)} holds no weights that can be used: {_first(problems)}. "
            "Save ordinary float tensors, or take another checkpoint."
        )
    return found


def _first(problems: list[str]) -> str:
    more = f" (and {len(problems) - 3} more)" if len(problems) > 3 else ""
    return "; ".join(problems[:3]) + more


def _find(mine: dict, content: Content, path) -> tuple[str, dict]:
    """Where in a file the weights lie (``""``, ``"['net']"``), and the dict with the names that the network has.

    Raises:
        ValueError: there is none, or there are several.
    """
    inside = {where: _renamed(state, mine) for where, state in _dicts(content.value).items()}
    fitting = {where: state for where, state in inside.items() if state.keys() == mine.keys()}
    if len(fitting) > 1:
        raise ValueError(
            f"{paths.shorten(path)} holds several sets of weights that fit: {' and '.join(paths.printable(name, 80) for name in list(fitting)[:3])}. Take one: "
            f"model.load_state_dict(checkpoints.read_state(path){next(iter(fitting))})."
        )
    # If none fits, the one with most tensors shows best what differs.
    tensors = {
        where: sum(isinstance(one, torch.Tensor) for one in inside[where].values()) for where in inside
    }
    best = next(iter(fitting), None) or max(tensors, key=tensors.__getitem__, default="")
    if best in fitting or tensors.get(best):
        return best, inside[best]
    _refuse_model(content.value, path)
    if content.unknown:
        raise _refused(path, content, "")
    raise ValueError(
        f"{paths.shorten(path)} holds a {type(content.value).__name__} without weights, not a state_dict. "
        "Save one: torch.save(model.state_dict(), path)."
    )


def _refuse_model(value, path) -> None:
    """Say that a file holds a whole model, where its weights are wanted."""
    found = value.values() if isinstance(value, dict) else [value]
    whole = next((one for one in found if isinstance(one, Unknown) and one.is_model), None)
    if whole is not None:
        raise ValueError(
            f"{paths.shorten(path)} was refused: it holds a whole {whole.name}, not a state_dict, and building one could run "
            "code. Use load_model(path); if the class is your own, load_model(path, allowed=[…])."
        )


def _dicts(value) -> dict[str, dict]:
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
            (f"{where}[{paths.printable(name, 80)!r}]", inside)
            for name, inside in value.items()
            if isinstance(inside, dict)
        ]
    return found


WRAPPERS = ("module", "_orig_mod")
"""What DataParallel and torch.compile put into the names of a network that they wrap."""


def _renamed(state: dict, mine: dict) -> dict:
    """``state`` with the network's names, where the two differ only by what a wrapper added."""
    ours = {_bare(name): name for name in mine}
    bare = {_bare(name): tensor for name, tensor in state.items()}
    rest = {name.partition(".")[2]: tensor for name, tensor in bare.items()}
    one_head = len({name.partition(".")[0] for name in bare}) == 1  # such as Lightning's "model."
    for names in (bare, rest) if one_head else (bare,):
        if names.keys() == ours.keys() and len(names) == len(state):
            return {ours[name]: tensor for name, tensor in names.items()}
    return state


def _bare(name: str) -> str:
    return ".".join(part for part in name.split(".") if part not in WRAPPERS)


def _differences(mine: dict, state: dict) -> list[str]:
    """How the names and shapes of a file differ from the network's."""
    problems = [f"it lacks {name}" for name in mine if name not in state]
    problems += [
        f"it has {paths.printable(name, 80)}, which the network has not" for name in state if name not in mine
    ]
    for name, tensor in mine.items():
        found = getattr(state.get(name), "shape", tensor.shape)
        if found != tensor.shape:
            problems.append(f"{name} is {tuple(found)} in the file and {tuple(tensor.shape)} in the network")
    return problems


def _converted(found, wanted: torch.Tensor):
    """``found`` in the dtype of ``wanted``, or what is wrong with it.

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
        return f"holds {_dtype(found)}, and the network {_dtype(wanted)}"
    numbers = numbers.to(wanted.dtype)
    exact = numbers if numbers.is_complex() else numbers.double()
    if not exact.isfinite().all():
        return "holds NaN or infinity"
    if not wanted.is_floating_point() and not torch.equal(exact, found.to(exact.dtype)):
        return f"holds {_dtype(found)} that are no {_dtype(wanted)}"
    return numbers


def _dtype(tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def read_state(path: str | Path) -> Any:
    """What is in a file of ``torch.save``: numbers, texts, lists, dicts and tensors, on the CPU. Nothing of it is run.

    Raises:
        FileNotFoundError: there is no such file.
        PermissionError: it must not be read.
        ValueError: the file is damaged, or holds something else than that.
    """
    content = torch_files.read(path)
    if content.unknown:
        raise _refused(path, content, "Save numbers, texts, lists, dicts and tensors only.")
    return content.value


def load_model(path: str | Path, allowed: Iterable | type | Callable = ()) -> nn.Module:
    """Load a whole saved model, building only classes that are on the allow-list.

    The file does not choose what they are built with: each object is made empty, without ``__init__``,
    and then gets the tensors and settings that the file holds.

    Args:
        path: a file that ``save_model`` or ``torch.save(model, path)`` wrote.
        allowed: classes to add to ``ALLOWED``, e.g. a network of your own, and functions that it
            only keeps, such as ``torch.nn.functional.relu``.

    Raises:
        FileNotFoundError: there is no such file.
        PermissionError: it must not be read.
        ValueError: the file is damaged, holds NaN or infinity, or asks for a class or function that is not
            allowed; nothing of it has been run then.
    """
    content = torch_files.read(path, [*ALLOWED, *_named(allowed)])
    model = content.value
    if isinstance(model, dict):  # some training scripts keep it beside other things
        models = [value for value in model.values() if isinstance(value, nn.Module)]
        model = models[0] if len(models) == 1 else model
    if content.unknown and not _weights_alone(model):
        raise _refused(
            path, content, "If it is a model class of yours, name it in load_model(path, allowed=[…])."
        )
    if not isinstance(model, nn.Module):
        raise ValueError(
            f"{paths.shorten(path)} holds a {type(model).__name__}, not a model. "
            "If it holds a state_dict, build the network and use load_weights(model, path)."
        )
    _check_model(model, path)
    return model.eval()


def _weights_alone(value) -> bool:
    """Whether there are weights in it, and no model: then the advice is another function, whatever else is there."""
    inside = list(_dicts(value).values())
    return any(isinstance(one, torch.Tensor) for state in inside for one in state.values()) and not any(
        isinstance(one, nn.Module) or (isinstance(one, Unknown) and one.is_model)
        for state in inside
        for one in state.values()
    )


def _named(allowed) -> list:
    """The classes of an argument ``allowed``.

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


def _refused(path, content: Content, advice: str) -> ValueError:
    """The error for a file that asks for more than is allowed."""
    if content.called:
        return ValueError(
            f"{paths.shorten(path)} was refused: it calls {' and '.join(content.called[:5])} with arguments of its own, "
            f"which is done for no class, allowed or not. {_TRUST}"
        )
    more = f" and {len(content.unknown) - 5} more" if len(content.unknown) > 5 else ""
    wanted = " and ".join(content.unknown[:5]) + more
    return ValueError(
        f"{paths.shorten(path)} was refused: it asks for {wanted}, which is not on the "
        f"allow-list, and loading it could run that code. {advice} {_TRUST}".replace("  ", " ")
    )


_TRUST = "Only if you trust whoever made it: torch.load(path, weights_only=False) builds everything, and runs its code."


def _check_model(model: nn.Module, path) -> None:
    """Refuse what only looks like a model: parts that are missing, of a wrong kind, or nested without end.

    Raises:
        ValueError: as ``load_model``.
    """
    waiting, seen, checked = [(model, 1)], 0, set()
    while waiting:
        module, depth = waiting.pop()
        seen += 1
        held = vars(module) if isinstance(module, nn.Module) else {}
        stores: list[Any] = [held.get(name) for name in ("_parameters", "_buffers", "_modules")]
        if seen > 10_000 or depth > 100 or not all(isinstance(store, dict) for store in stores):
            raise torch_files.damaged(path)
        if any(_would_run(module, str(name), value) for name, value in held.items()):
            raise ValueError(
                f"{paths.shorten(path)} was refused: its {type(module).__name__} has a hook or a method of its own, which the "
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
        raise torch_files.damaged(path)
    if isinstance(problem := _converted(tensor, tensor), str):
        raise ValueError(
            f"{paths.shorten(path)} holds no weights that can be used: one {problem}. Take another checkpoint."
        )


def checksum(model: nn.Module) -> str:
    """SHA-256 of the network's tensors: their names, shapes, dtypes and numbers. 64 hex digits.

    Not of the file: the same weights saved by another version of PyTorch make another file, and their card still holds.
    """
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {_dtype(tensor)} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def save_card(
    path: str | Path, *, history: History, evaluation: Evaluation, data: CIFAR10, share: float = 1.0
) -> dict:
    """Write the card of a checkpoint: ``alexnet.json`` beside ``alexnet.pth``.

    Args:
        path: the checkpoint; its weights have been saved there.
        history: of the training (``helpers.history.History``).
        evaluation: on the test images, in float32 (``helpers.evaluation.Evaluation``).
        data: as ``load_cifar10()`` returns.
        share: of this training in the weights, where they are a mean (``helpers.workshop.camera_network``).

    Returns:
        The card.

    Raises:
        ValueError: the weights there are not those that were evaluated; another training has replaced them.
        OSError: the file cannot be written; an older one is then still whole.
    """
    recipe = history.recipe
    saved = load_weights(recipe.model(), path)
    _check_evaluated(saved, evaluation, data, path)
    confusion = evaluation.confusion()
    right = (confusion.diag() / confusion.sum(1)).tolist()
    card = {
        "data": data.source,
        "data_checksum": data.checksum(),
        "weights_sha256": checksum(saved),
        "classes": list(data.classes),
        "test_images": len(evaluation.labels),
        "test_accuracy": round(evaluation.accuracy, 4),
        "test_accuracy_per_class": {
            name: round(share, 3) if share == share else None  # no test image of this class
            for name, share in zip(data.classes, right, strict=True)
        },
        "on_drawings": on_drawings(saved),
        "recipe": asdict(recipe) | {"sizes": list(recipe.sizes)},  # as JSON has it
        "share_of_this_training": share,
        "epochs_done": len(history.rows),
        "device": history.device,
        "seconds": round(history.seconds, 1),
        "versions": {name: version(name) for name in ("torch", "torchvision")},
        "licence": "MIT",
    }
    with paths.replacing(Path(path).with_suffix(".json")) as temporary:
        temporary.write_text(json.dumps(card, indent=1), encoding="utf-8")
    return card


@torch.no_grad()
def _check_evaluated(saved: nn.Module, evaluation, data, path) -> None:
    """Ask the saved network about a few test images: it has to answer as it did when it was evaluated."""
    few = min(100, len(evaluation.labels))
    if not torch.equal(evaluation.labels[:few], data.test_labels[:few]):
        return  # evaluated on other images
    probs = saved(data.test_images[:few].float() / 255).softmax(1)
    if (probs - evaluation.probs[:few]).abs().max() > 0.05:
        raise ValueError(
            f"{paths.shorten(path)} does not hold the network that was evaluated: another training has written its own there. "
            "Save these weights again, under another name, and then their card."
        )


@torch.no_grad()
def on_drawings(model: nn.Module) -> dict:
    """What a network says about 100 drawings of the ten classes; the same drawings on every machine.

    Accuracy alone would not notice a small change of the weights; the loss does.

    Args:
        model: in evaluation mode, on the CPU; takes N×3×32×32 float from 0 to 1 and returns logits.

    Returns:
        ``accuracy`` (0 to 1) and ``loss`` (mean cross-entropy).
    """
    _, _, images, labels = make_drawings(train=0, test=100)
    logits = model(images.float() / 255)
    accuracy = (logits.argmax(1) == labels).double().mean().item()
    return {"accuracy": accuracy, "loss": round(nn.functional.cross_entropy(logits, labels).item(), 5)}


def load_checkpoint(path: str | Path = SHIPPED) -> tuple[AlexNet, dict]:
    """A checkpoint and its card: the network is built as its recipe says, then loaded.

    The card has to belong to these weights: it holds their checksum. An older card without one is
    believed if the network says about the drawings what the card says.

    Returns:
        The network in evaluation mode, on the CPU, and the card.

    Raises:
        FileNotFoundError: the checkpoint or its card is missing.
        PermissionError: one of them must not be read.
        ValueError: one of them is damaged, or they do not belong together.
    """
    path = Path(path)
    card_path = path.with_suffix(".json")
    try:
        card = _read_card(card_path)
        recipe, classes = Recipe.of(card["recipe"]), len(card["classes"])
        with torch.device("meta"):  # costs nothing, however wide the card says that it is
            names = recipe.model(classes).state_dict()
        tensors = _fitting(names, path, f"the AlexNet of {card_path.name}")
        model = recipe.model(classes).eval()
        _put(model, tensors)
        _check_pair(model, card, path)
    except ValueError as error:
        raise ValueError(f"{error} {_again(path)}") from error
    return model, card


def _again(path: Path) -> str:
    if path.parent == paths.PRETRAINED:
        return "`git checkout -- helpers/pretrained` brings back what ships."
    return "Train it again (notebook 01): that writes the weights and their card."


LARGEST_CARD = 10**6
"""Bytes. A card has about 2,000."""


def _read_card(path: Path) -> dict:
    """A card, if all in it that is used is what it should be.

    Raises:
        FileNotFoundError: there is none.
        PermissionError: it must not be read.
        ValueError: it is damaged; the message says what is wrong.
    """
    advice = f"It is the card, which says how to build the network. {_again(path)}"
    files.check_file(path, advice, LARGEST_CARD)
    try:
        card = json.loads(path.read_text(encoding="utf-8"), parse_constant=_no_number)
        problem = _problem(card)
    except (ValueError, RecursionError) as error:
        problem = paths.printable(error, 80)
    if problem:
        raise ValueError(f"{paths.shorten(path)} is damaged or was changed: {problem}.")
    return card


def _no_number(name: str):
    raise ValueError(f"{name} is no number")


def _problem(card) -> str:
    """What is wrong with a card; empty if nothing is."""
    if not isinstance(card, dict):
        return f"it holds a {type(card).__name__}, not a card"
    for name, (fits, wanted) in _CARD.items():
        if name not in card and name in ("data", "classes", "test_accuracy", "recipe"):
            return f"{name} is missing"
        if name in card and not fits(card[name]):
            return f"{name} is {paths.printable(repr(card[name]), 40)}, not {wanted}"
    per_class = card.get("test_accuracy_per_class")
    if per_class is not None and list(per_class) != card["classes"]:
        return "its classes and the accuracy of each are not in the same order"
    try:
        Recipe.of(card["recipe"])
    except ValueError as error:
        return paths.printable(error, 200).rstrip(".")
    return ""


def _is_text(value) -> bool:
    return isinstance(value, str) and 0 < len(value) <= 200 and value.isprintable()


def _is_share(value) -> bool:
    return type(value) in (int, float) and 0 <= value <= 1


def _are_classes(value) -> bool:
    return (
        isinstance(value, list)
        and 2 <= len(value) <= 1000
        and all(map(_is_text, value))
        and len({*value}) == len(value)
    )


def _are_shares(value) -> bool:
    return isinstance(value, dict) and all(share is None or _is_share(share) for share in value.values())


def _is_said(value) -> bool:
    return (
        isinstance(value, dict)
        and _is_share(value.get("accuracy"))
        and type(value.get("loss")) in (int, float)
    )


_CARD = {
    "data": (_is_text, "a name"),
    "classes": (_are_classes, "a list of different names"),
    "test_accuracy": (_is_share, "a number from 0 to 1"),
    "test_accuracy_per_class": (_are_shares, "a number from 0 to 1 for each class"),
    "on_drawings": (_is_said, "an accuracy and a loss"),
    "weights_sha256": (lambda value: isinstance(value, str), "a checksum"),
    "recipe": (lambda value: isinstance(value, dict), "the fields of a recipe"),
}
"""What is used of a card: name → whether a value fits, and what it should be."""


def _check_pair(model: nn.Module, card: dict, path: Path) -> None:
    """Refuse a card that was written for other weights.

    Raises:
        ValueError: it was.
    """
    if "weights_sha256" in card:
        belongs = card["weights_sha256"] == checksum(model)
    else:  # written before cards had a checksum
        said, found = card.get("on_drawings"), on_drawings(model)
        belongs = said is not None and abs(said["loss"] - found["loss"]) < 1e-3
    if not belongs:
        raise ValueError(
            f"{paths.shorten(path.with_suffix('.json'))} does not belong to {path.name}: one of the two was written or changed "
            "without the other."
        )


def load_camera() -> tuple[AlexNet, dict]:
    """The network for the app: the shipped one, fine-tuned on pictures with a camera's corruptions.

    Returns:
        The network in evaluation mode, on the CPU, and its card. Notebook 06 measures what it is worth.
    """
    return load_checkpoint(CAMERA)


def load_trained(data: CIFAR10) -> tuple[AlexNet, dict]:
    """The network that the learner trained on this data, or else the one that ships.

    So every notebook can be opened first. It prints which of the two it took, and why the
    learner's own was not taken if it is there.

    Args:
        data: as ``load_cifar10()`` returns. A network trained on the drawings is not
            taken for CIFAR-10, nor the other way round.

    Raises:
        FileNotFoundError, PermissionError, ValueError: the one that ships cannot be used, see ``load_checkpoint``.
    """
    own = paths.artifacts_dir() / TRAINED
    if own.exists() or own.with_suffix(".json").exists():
        try:
            model, card = load_checkpoint(own)
            if card["data"] == data.source and card["classes"] != list(data.classes):
                raise ValueError(
                    f"{paths.shorten(own)} has other classes than the data, or in another order."
                )
        except (OSError, ValueError) as error:
            print(f"Your own network is not used. {error}")
        else:
            if card["data"] == data.source:
                print(
                    f"{paths.shorten(own)}, trained by notebook 01 on {card['data']}: "
                    f"{card['test_accuracy']:.2%} on the test images"
                )
                return model, card
            print(f"{paths.shorten(own)} was trained on {card['data']}, and this run uses {data.source}.")
    model, card = load_checkpoint()
    print(
        f"{paths.shorten(SHIPPED)}, the checkpoint that ships with the project, trained on {card['data']}: "
        f"{card['test_accuracy']:.2%} on its test images"
    )
    return model, card
