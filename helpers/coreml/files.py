"""Core ML models as files: opened, named and written."""

import os
from pathlib import Path
from typing import Any

from helpers.coreml_runtime.archive import Archive
from helpers.plumbing import paths
from helpers.plumbing.quiet import coremltools

LABEL, PROBABILITIES = "classLabel", "classLabelProbs"
"""The outputs of every classifier here, in both formats: the text, and text → probability."""

PREVIEW = "com.apple.coreml.model.preview.type"
"""The name in a model's metadata under which Xcode looks for the kind of its Preview tab; without it the tab is empty
(coremltools' guide, "Xcode Model Preview Types")."""


def open_model(model: Any) -> Any:
    """A model to work on: an MLModel as it is, a path opened without running it.

    Args:
        model: a ``coremltools.models.MLModel``, or the path of an ``.mlmodel`` or ``.mlpackage``.

    Returns:
        ``coremltools.models.MLModel``

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not a Core ML model.
    """
    if not isinstance(model, str | Path):
        return model
    path = Path(model)
    specification(path)
    ct = coremltools()
    try:
        return ct.models.MLModel(str(path), skip_model_load=True)
    except Exception as error:  # coremltools raises half a dozen kinds for a damaged file
        raise ValueError(
            f"{paths.shorten(path)} is no Core ML model, or is damaged. Convert it again."
        ) from error


def specification(model: Any) -> Any:
    """The ``Model`` message of an MLModel or of a file; of a file it is read without trusting it."""
    if not isinstance(model, str | Path):
        return model.get_spec()
    return Archive(model).specification


def name_outputs(model: Any, label: str = LABEL) -> Any:
    """Call a classifier's outputs ``classLabel`` (or ``label``) and ``classLabelProbs``.

    Core ML Tools chooses other names: an ML program's probabilities are always
    ``classLabel_probs``, a neural network's have the name of a variable inside it.
    A classifier of pictures is also marked as one, so that Xcode's Preview tab takes pictures.

    Args:
        model: a ``coremltools.models.MLModel`` with class labels.
        label: the name of the output that holds the answer.

    Returns:
        A new MLModel with the two names.

    Raises:
        ValueError: the model has no class labels, or another input or output has one of the names.
    """
    ct = coremltools()
    spec = model.get_spec()
    own = {spec.description.predictedFeatureName, spec.description.predictedProbabilitiesName}
    if "" in own:
        raise ValueError(
            "The model has no class labels, so it has no outputs to call that. Convert it with class_labels."
        )
    others = {feature.name for feature in (*spec.description.input, *spec.description.output)} - own
    if {label, PROBABILITIES} & others or label == PROBABILITIES:
        raise ValueError(
            f"{label!r} or {PROBABILITIES!r} is the name of another input or output. Choose another."
        )
    renames = {spec.description.predictedFeatureName: label}
    renames[spec.description.predictedProbabilitiesName] = PROBABILITIES
    for old, new in renames.items():
        if old != new:
            ct.utils.rename_feature(spec, old, new)
    if any(feature.type.HasField("imageType") for feature in spec.description.input):
        spec.description.metadata.userDefined[PREVIEW] = "imageClassifier"
    return ct.models.MLModel(spec, weights_dir=model.weights_dir, skip_model_load=True)


def save(model: Any, path: str | os.PathLike) -> Path:
    """Write a model to ``.mlmodel`` (neural network) or ``.mlpackage`` (ML program), whole or not at all.

    Raises:
        ValueError: the ending does not fit the model.
        OSError: it cannot be written; an older one is then still whole.
    """
    path = Path(path)
    spec = model.get_spec()
    program = spec.HasField("mlProgram")
    wanted = ".mlpackage" if program else ".mlmodel"
    if path.suffix != wanted:
        kind = "an ML program" if program else "a neural network"
        raise ValueError(f"{path.name}: this model is {kind}, and its file must end in {wanted}.")
    if not program:
        with paths.replacing(path, spec.ByteSize()) as temporary:
            model.save(str(temporary))
        return path
    with paths.replacing_folder(path, size(model.package_path)) as fresh:
        model.save(str(fresh))
    return path


def size(path: str | os.PathLike) -> int:
    """Bytes of a file, or of all files in a folder (an ``.mlpackage`` is one)."""
    path = Path(path)
    if path.is_dir():
        return sum(inside.stat().st_size for inside in path.rglob("*") if inside.is_file())
    return path.stat().st_size
