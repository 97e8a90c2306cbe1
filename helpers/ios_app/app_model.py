"""The model of the app: is it what the Swift code asks for, and where its threshold is written."""

import json
import os
import unicodedata
from pathlib import Path

from helpers.coreml import LABEL, PREVIEW, PROBABILITIES
from helpers.coreml_runtime import CoreMLModel, ImageInput, load
from helpers.plumbing import paths
from helpers.plumbing.quiet import coremltools

IMAGE = "image"
"""The input that the Swift code asks for. The outputs are named in ``helpers.coreml``."""

NEWEST_SPECIFICATION = 8
"""The newest model specification that iOS 17 reads (``helpers.coreml.description.AVAILABLE``)."""

LONGEST_LABEL = 200
"""Characters. A list of synonyms, as ImageNet has it, is long."""

UNSEEN = (*range(32), *range(127, 160), *range(0x2028, 0x202F), *range(0x2066, 0x206A))
"""Control characters, ends of lines, and marks that turn the writing round."""

NOT_IN_A_LABEL = {"%", *map(chr, UNSEEN)}
"""A strings catalog takes what follows a ``%`` for a place where a number goes."""


def read_model(path: str | os.PathLike) -> tuple[CoreMLModel, dict[str, bytes]]:
    """Open a model, check it, and read its files.

    Returns:
        The model as ``helpers.coreml_runtime`` runs it, and its files: path inside the project's folder
        of sources → content. An ``.mlmodel`` is one file, an ``.mlpackage`` a folder.

    Raises:
        FileNotFoundError, ValueError: see ``helpers.ios_app.write_app``.
    """
    path = Path(path)
    if path.suffix not in (".mlpackage", ".mlmodel"):
        raise ValueError(
            f"{paths.shorten(path)} is no Core ML model: its name ends in .mlpackage or .mlmodel. "
            "Notebook 04 makes one."
        )
    loaded = load(path)
    _check(loaded, paths.shorten(path))
    if path.is_file():
        return loaded, {path.name: path.read_bytes()}
    inside = sorted(file for file in path.rglob("*") if file.is_file() and not file.is_symlink())
    return loaded, {f"{path.name}/{file.relative_to(path).as_posix()}": file.read_bytes() for file in inside}


def with_threshold(files: dict[str, bytes], threshold: float) -> dict[str, bytes]:
    """The same files, with the threshold in the model's own metadata: Xcode shows it, the app reads it.

    A model that does not say what Xcode's Preview tab is to offer is marked as a classifier of pictures.

    Args:
        files: as ``read_model`` gives them.
        threshold: 0 to 1.
    """
    from coremltools.proto import Model_pb2  # coremltools has been imported, quietly, by read_model

    name = _specification(files)
    specification = Model_pb2.Model.FromString(files[name])
    texts = specification.description.metadata.userDefined
    texts["threshold"] = f"{threshold:g}"
    texts[PREVIEW] = texts[PREVIEW] or "imageClassifier"
    return files | {name: specification.SerializeToString(deterministic=True)}


def _specification(files) -> str:
    """Which of the files is the model's description: the only one, or the one that the package's list names."""
    if len(files) == 1:
        return next(iter(files))
    manifest = next(name for name in files if name.count("/") == 1 and name.endswith("/Manifest.json"))
    listed = json.loads(files[manifest])
    inside = listed["itemInfoEntries"][listed["rootModelIdentifier"]]["path"]
    return f"{manifest.removesuffix('Manifest.json')}Data/{inside}"


def _check(model: CoreMLModel, name: str) -> None:
    pictures = [feature for feature in model.inputs.values() if isinstance(feature, ImageInput)]
    if len(model.inputs) != 1 or not pictures:
        raise ValueError(
            f"{name} takes {', '.join(model.inputs)}, and the app has one picture to give. "
            "Convert it with image_input_names=['image']."
        )
    if pictures[0].name != IMAGE:
        raise ValueError(
            f"{name} calls its picture {pictures[0].name!r}, and the Swift code asks for {IMAGE!r}. "
            f"Export it with input_names=[{IMAGE!r}] and convert it again."
        )
    if model.labels is None:
        raise ValueError(
            f"{name} has no class labels, so it cannot say what it sees. Convert it with mode='classifier'."
        )
    if set(model.outputs) != {LABEL, PROBABILITIES}:
        raise ValueError(
            f"{name} calls its outputs {', '.join(model.outputs)}; the Swift code asks for {LABEL} and "
            f"{PROBABILITIES}. Give them these names with helpers.coreml.name_outputs."
        )
    specification = coremltools().utils.load_spec(str(model.path)).specificationVersion
    if specification > NEWEST_SPECIFICATION:
        raise ValueError(
            f"{name} needs a newer system than iOS 17, from which on the app runs. "
            "Convert it with minimum_ios_deployment_target='17' or lower."
        )
    _check_labels(model.labels, name)


def _check_labels(labels, name: str) -> None:
    """Labels are keys of a strings catalog and are shown as they are."""
    seen: dict[str, str] = {}
    for label in labels:
        if not isinstance(label, str):
            raise ValueError(f"{name} has the label {label!r}, which is no text. Convert it with names.")
        unfit = sorted(NOT_IN_A_LABEL & set(label))
        if not label or label != label.strip() or len(label) > LONGEST_LABEL or unfit:
            why = (
                f"it has {unfit[0]!r} in it"
                if unfit
                else "it is empty, too long, or begins or ends with a space"
            )
            raise ValueError(
                f"{name} has the label {label!r}, which cannot be used as a name: {why}. Convert it with "
                "plain words as class_labels."
            )
        # For Swift two texts are equal that only write an accent in two ways.
        other = seen.setdefault(unicodedata.normalize("NFC", label), label)
        if other is not label:
            raise ValueError(
                f"{name} has the labels {other!r} and {label!r}, which are the same, or differ only in how an accent is "
                "written. Give each class a name of its own."
            )
