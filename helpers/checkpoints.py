"""The two ways to save and load a model, and the one that ships with the project.

Notebook 02 introduces both ways and shows what is inside each file.

Beside a checkpoint ``NAME.pth`` lies its card ``NAME.json``: the accuracy, the
recipe, the versions, the data it was trained on with their checksum, and what the
network says about 100 drawings, which can be checked anywhere.
"""

import json
import pickle
import zipfile
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

import torch
from torch import nn

from helpers import paths
from helpers.drawings import make_drawings
from helpers.model import AlexNet, Normalise

SHIPPED = paths.PRETRAINED / "alexnet.pth"
CAMERA = paths.PRETRAINED / "alexnet_camera.pth"
"""The second checkpoint: the shipped one, trained further on pictures with a camera's faults (notebook 06)."""

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


def save_weights(model: nn.Module, path) -> None:
    """The first way: save the ``state_dict``, that is the tensors and their names.

    Raises:
        OSError: the file cannot be written; an older one is then still whole.
    """
    with paths.replacing(path, _size(model)) as temporary:
        torch.save(model.state_dict(), temporary)


def load_weights(model: nn.Module, path) -> nn.Module:
    """Load a saved ``state_dict`` into ``model`` (in place) and return it in evaluation mode.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is damaged, holds something else, or belongs to another network;
            the model is then unchanged.
    """
    state = _load(path)
    if isinstance(state, nn.Module) or not isinstance(state, dict):
        raise ValueError(
            f"{paths.shorten(path)} holds a {type(state).__name__}, not a state_dict. "
            "If it was saved with torch.save(model, path), use load_model(path)."
        )
    mine = model.state_dict()
    problems = [f"it lacks {name}" for name in mine if name not in state]
    problems += [f"it has {name}, which the network has not" for name in state if name not in mine]
    for name, tensor in mine.items():
        found = getattr(state.get(name), "shape", tensor.shape)
        if found != tensor.shape:
            problems.append(f"{name} is {tuple(found)} in the file and {tuple(tensor.shape)} in the network")
    if problems:
        more = f" (and {len(problems) - 3} more differences)" if len(problems) > 3 else ""
        raise ValueError(
            f"{paths.shorten(path)} does not fit this {type(model).__name__}: {'; '.join(problems[:3])}{more}. "
            "Build the network as it was when it was saved: same classes, same width, same layers."
        )
    model.load_state_dict(state)
    return model.eval()


def save_model(model: nn.Module, path) -> None:
    """The second way: save the whole object, that is a pickle naming its classes.

    Raises:
        OSError: the file cannot be written; an older one is then still whole.
    """
    with paths.replacing(path, _size(model)) as temporary:
        torch.save(model, temporary)


def _size(model: nn.Module) -> int:
    """The bytes of a model's tensors, which is nearly all that a file of it holds."""
    return sum(tensor.nbytes for tensor in (*model.parameters(), *model.buffers()))


def load_model(path, allowed=()) -> nn.Module:
    """Load a whole saved model, building only classes that are on the allow-list.

    Args:
        path: a file that ``save_model`` or ``torch.save(model, path)`` wrote.
        allowed: classes to add to ``ALLOWED``, e.g. a network of your own.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is damaged or asks for a class or function that is not allowed;
            nothing of it has been run then.
    """
    with torch.serialization.safe_globals([*ALLOWED, *allowed]):
        model = _load(path)
    if not isinstance(model, nn.Module):
        raise ValueError(
            f"{paths.shorten(path)} holds a {type(model).__name__}, not a model. "
            "If it is a state_dict, build the network and use load_weights(model, path)."
        )
    return model.eval()


def _load(path):
    """``torch.load`` that runs no code, with errors in plain words."""
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(
            f"There is no file {paths.shorten(path)}. Run the notebook that writes it, or check the name."
        )
    try:
        # torch.load does not look at the archive's checksums: a flipped bit would pass for a weight.
        if zipfile.is_zipfile(path) and zipfile.ZipFile(path).testzip() is not None:
            raise _damaged(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        wanted = _not_allowed(path)
        if not zipfile.is_zipfile(path) and "GLOBAL" not in str(error):
            raise _damaged(path) from error
        raise ValueError(
            f"{paths.shorten(path)} was refused: it asks for {' and '.join(wanted) or 'code'}, which is not on the "
            "allow-list, and loading it could run that code. If you trust whoever made it, and it is a model class "
            "of yours, name the class in load_model(path, allowed=[…])."
        ) from error
    except (RuntimeError, EOFError, KeyError, ValueError, OSError, zipfile.BadZipFile) as error:
        raise _damaged(path) from error


def _not_allowed(path) -> list[str]:
    """The classes and functions that a file asks for and that are not on the allow-list, read without calling any."""
    try:
        return sorted(torch.serialization.get_unsafe_globals_in_checkpoint(path))
    except (pickle.UnpicklingError, RuntimeError, ValueError, OSError):
        return []


def _damaged(path) -> ValueError:
    return ValueError(
        f"{paths.shorten(path)} is damaged or no PyTorch file. Delete it and make it again, or copy it again."
    )


def save_card(path, *, history, evaluation, data, share: float = 1.0) -> dict:
    """Write the card of a checkpoint: ``alexnet.json`` beside ``alexnet.pth``.

    Args:
        path: the checkpoint; its weights have been saved there.
        history: of the training (``helpers.training.History``).
        evaluation: on the test images, in float32 (``helpers.training.Evaluation``).
        data: as ``load_cifar10()`` returns.
        share: of this training in the weights, where they are a mean (``helpers.camera_network``).

    Returns:
        The card.
    """
    recipe = history.recipe
    saved = load_weights(recipe.model(), path)
    confusion = evaluation.confusion()
    right = (confusion.diag() / confusion.sum(1)).tolist()
    card = {
        "data": data.source,
        "data_checksum": data.checksum(),
        "classes": list(data.classes),
        "test_images": len(evaluation.labels),
        "test_accuracy": round(evaluation.accuracy, 4),
        "test_accuracy_per_class": {
            name: round(share, 3) for name, share in zip(data.classes, right, strict=True)
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


def load_checkpoint(path=SHIPPED) -> tuple[AlexNet, dict]:
    """A checkpoint and its card: the network is built as its recipe says, then loaded.

    Returns:
        The network in evaluation mode, on the CPU, and the card.

    Raises:
        FileNotFoundError: the checkpoint or its card is missing.
        ValueError: one of them is damaged, or they do not belong together.
    """
    path = Path(path)
    card_path = path.with_suffix(".json")
    if not card_path.exists():
        raise FileNotFoundError(
            f"There is no {paths.shorten(card_path)}: the card that says how to build the network."
        )
    try:
        card = json.loads(card_path.read_text(encoding="utf-8"))
        recipe, classes = card["recipe"], card["classes"]
        pool_first = recipe.get("pool_first", True)
        model = AlexNet(len(classes), recipe["width"], recipe["batch_norm"], pool_first)
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{paths.shorten(card_path)} is damaged ({error}). Make the checkpoint again."
        ) from error
    return load_weights(model, path), card


def load_camera() -> tuple[AlexNet, dict]:
    """The network for the app: the shipped one, trained further on pictures with a camera's faults.

    Returns:
        The network in evaluation mode, on the CPU, and its card. Notebook 06 measures what it is worth.
    """
    return load_checkpoint(CAMERA)


def load_trained(data) -> tuple[AlexNet, dict]:
    """The network that the learner trained on this data, or else the one that ships.

    So every notebook can be opened first. It prints which of the two it took.

    Args:
        data: as ``load_cifar10()`` returns. A network trained on the drawings is not
            taken for CIFAR-10, nor the other way round.
    """
    own = paths.artifacts_dir() / TRAINED
    if own.exists():
        model, card = load_checkpoint(own)
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
