"""The two ways to save and load a model, and the one that ships with the project.

Notebook 02 introduces both ways and shows what is inside each file.

Beside a checkpoint ``NAME.pth`` lies its card ``NAME.json``: the accuracy, the recipe, the versions, the data it
was trained on with their checksum, and what the network says about 100 drawings, which can be checked anywhere.
"""

import hashlib
import json
import math
import pickle
from collections.abc import Callable, Iterable
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import nn

from helpers import torch_files
from helpers.data import CIFAR10
from helpers.drawings import make_drawings
from helpers.evaluation import Evaluation
from helpers.history import History
from helpers.model import AlexNet, Normalise
from helpers.plumbing import files, paths
from helpers.plumbing.networks import check_network
from helpers.recipe import Recipe
from helpers.torch_files import weights, whole_models

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


def load_weights(model: nn.Module, path: str | Path, *, under: str = "") -> nn.Module:
    """Load a saved ``state_dict`` into ``model`` (in place) and return it in evaluation mode.

    Training scripts often save more than the weights: a dict that holds them beside the optimiser's state, or names
    that begin with ``module.``, ``_orig_mod.`` or ``model.``, because the network was wrapped. The weights
    are found in it by their names and shapes; nothing else is looked at.

    Args:
        model: the network, built as it was when it was saved.
        path: a file that ``save_weights`` or ``torch.save`` wrote.
        under: where in the file the weights are, such as ``"ema"``. It is needed only if several sets of
            weights in it fit; the error says how they are called.

    Raises:
        FileNotFoundError: there is no such file.
        PermissionError: it must not be read.
        ValueError: the file is damaged, holds something else, belongs to another network or fits in several ways; a
            tensor in it is of another kind (sparse, quantised, complex, whole numbers), or holds NaN or
            infinity. The model is then unchanged, as it is after a Ctrl-C.
    """
    check_network(model)
    return weights.load(model, path, under).eval()


def read_state(path: str | Path) -> Any:
    """What is in a file of ``torch.save``: numbers, texts, lists, dicts and tensors, on the CPU. Nothing of it is run.

    Raises:
        FileNotFoundError: there is no such file.
        PermissionError: it must not be read.
        ValueError: the file is damaged, or holds something else than that.
    """
    content = torch_files.read(path)
    if content.unknown:
        raise torch_files.refused(path, content, "Save numbers, texts, lists, dicts and tensors only.")
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
    return whole_models.load(path, ALLOWED, allowed).eval()


def checksum(model: nn.Module) -> str:
    """SHA-256 of the network's tensors: their names, shapes, dtypes and numbers. 64 hex digits.

    Not of the file: the same weights saved by another version of PyTorch make another file, and their card still holds.
    """
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {weights.dtype_name(tensor)} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def save_card(
    path: str | Path, *, history: History, evaluation: Evaluation, data: CIFAR10, share: float = 1.0
) -> dict:
    """Write the card of a checkpoint, ``alexnet.json`` beside ``alexnet.pth``, and return it.

    Args:
        path: the checkpoint; its weights have been saved there.
        history: of the training (``helpers.history.History``).
        evaluation: on the test images, in float32 (``helpers.evaluation.Evaluation``).
        data: as ``load_cifar10()`` returns.
        share: of this training in the weights, where they are a mean (``helpers.workshop.camera_network``).

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
        "validation_accuracy": _rounded(history.validation_accuracy),
        "test_images": len(evaluation.labels),
        "test_accuracy": round(evaluation.accuracy, 4),
        "test_accuracy_per_class": {
            name: _rounded(share, 3)  # None: no test image of this class
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


def _rounded(share: float, digits: int = 4) -> float | None:
    return None if math.isnan(share) else round(share, digits)


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
        tensors = weights.fitting(names, path, f"the AlexNet of {card_path.name}")
        model = recipe.model(classes).eval()
        weights.put(model, tensors)
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
    """A card, if all in it that is used is what it should be; raises as ``load_checkpoint``."""
    advice = f"It is the card, which says how to build the network. {_again(path)}"
    files.check_file(path, advice, LARGEST_CARD)
    try:
        card = _json(path)
        _check_card(card)
    except ValueError as error:
        problem = paths.printable(error, 200).rstrip(".")
        raise ValueError(f"{paths.shorten(path)} is damaged or was changed: {problem}.") from error
    return card


def _json(path: Path) -> Any:
    def no_number(name):
        raise ValueError(f"{name} is no number")

    try:
        return json.loads(path.read_text(encoding="utf-8"), parse_constant=no_number)
    except (ValueError, RecursionError) as error:
        raise ValueError(paths.printable(error, 80)) from error


def _check_card(card: Any) -> None:
    """Refuse what is no card; the error says what is wrong, and the caller in which file."""
    if not isinstance(card, dict):
        raise ValueError(f"it holds a {type(card).__name__}, not a card")
    for name, (fits, wanted) in _CARD.items():
        if name not in card and name in ("data", "classes", "test_accuracy", "recipe"):
            raise ValueError(f"{name} is missing")
        if name in card and not fits(card[name]):
            raise ValueError(f"{name} is {paths.printable(repr(card[name]), 40)}, not {wanted}")
    if "test_accuracy_per_class" in card and list(card["test_accuracy_per_class"]) != card["classes"]:
        raise ValueError("its classes and the accuracy of each are not in the same order")
    Recipe.of(card["recipe"])


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and 0 < len(value) <= 200 and value.isprintable()


def _is_number(value: Any, largest: float = 1) -> bool:
    return type(value) in (int, float) and 0 <= value <= largest


def _are_classes(value: Any) -> bool:
    return isinstance(value, list) and 2 <= len({*filter(_is_text, value)}) == len(value) <= 1000


def _are_shares(value: Any) -> bool:
    return isinstance(value, dict) and all(share is None or _is_number(share) for share in value.values())


def _is_said(said: Any) -> bool:
    return isinstance(said, dict) and _is_number(said.get("accuracy")) and _is_number(said.get("loss"), 1e9)


_CARD: dict[str, tuple[Callable[[Any], bool], str]] = {
    "data": (_is_text, "a name"),
    "classes": (_are_classes, "a list of different names"),
    "validation_accuracy": (
        lambda value: value is None or _is_number(value),
        "a number from 0 to 1, or null",
    ),
    "test_accuracy": (_is_number, "a number from 0 to 1"),
    "test_accuracy_per_class": (_are_shares, "a number from 0 to 1 for each class"),
    "on_drawings": (_is_said, "an accuracy and a loss"),
    "weights_sha256": (lambda value: isinstance(value, str), "a checksum"),
    "recipe": (lambda value: isinstance(value, dict), "the fields of a recipe"),
}
"""What is used of a card: name → whether a value fits, and what it should be."""


def _check_pair(model: nn.Module, card: dict, path: Path) -> None:
    """Refuse a card that was written for other weights."""
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
    name = paths.shorten(own)
    if own.exists() or own.with_suffix(".json").exists():
        try:
            model, card = load_checkpoint(own)
            if card["data"] == data.source and card["classes"] != list(data.classes):
                raise ValueError(f"{name} has other classes than the data, or in another order.")
        except (OSError, ValueError) as error:
            print(f"Your own network is not used. {error}")
        else:
            if card["data"] == data.source:
                print(
                    f"{name}, trained by notebook 01 on {card['data']}: {card['test_accuracy']:.2%} on the test images"
                )
                return model, card
            print(f"{name} was trained on {card['data']}, and this run uses {data.source}.")
    model, card = load_checkpoint()
    print(
        f"{paths.shorten(SHIPPED)}, the checkpoint that ships with the project, trained on {card['data']}: "
        f"{card['test_accuracy']:.2%} on its test images"
    )
    return model, card
