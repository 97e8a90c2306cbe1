"""What a Core ML model needs on the phone: fixed names, metadata, a look at what is inside.

Notebook 04 introduces it. coremltools is imported when it is first used.
"""

import shutil
from pathlib import Path

from helpers import paths
from helpers.quiet import coremltools

LABEL, PROBABILITIES = "classLabel", "classLabelProbs"
"""The outputs of every classifier here, in both formats: the text, and text → probability."""


def name_outputs(model):
    """Call a classifier's outputs ``classLabel`` and ``classLabelProbs``.

    Core ML Tools chooses other names: an ML program's probabilities are always
    ``classLabel_probs``, a neural network's have the name of a variable inside it.

    Args:
        model: a ``coremltools.models.MLModel`` with class labels.

    Returns:
        A new MLModel with the two names.
    """
    ct = coremltools()
    spec = model.get_spec()
    renames = {spec.description.predictedFeatureName: LABEL}
    renames[spec.description.predictedProbabilitiesName] = PROBABILITIES
    for old, new in renames.items():
        if old != new:
            ct.utils.rename_feature(spec, old, new)
    return ct.models.MLModel(spec, weights_dir=model.weights_dir, skip_model_load=True)


def set_metadata(model, *, description: str, author: str = "", licence: str = "", version: str = ""):
    """Write what Xcode shows about a model: description, author, licence, version, and a line per feature.

    Args:
        model: a ``coremltools.models.MLModel``; it is changed in place and returned.
    """
    model.short_description = description
    model.author, model.license, model.version = author, licence, version
    texts = {LABEL: "the most probable class", PROBABILITIES: "the probability of each class, 0 to 1"}
    for feature in model.get_spec().description.output:
        if feature.name in texts:
            model.output_description[feature.name] = texts[feature.name]
    for feature in model.get_spec().description.input:
        if feature.type.WhichOneof("Type") == "imageType":
            size = feature.type.imageType
            model.input_description[feature.name] = f"a colour picture, {size.width}×{size.height} pixels"
    return model


def save(model, path) -> Path:
    """Write a model to ``.mlmodel`` (neural network) or ``.mlpackage`` (ML program), whole or not at all.

    Raises:
        ValueError: the ending does not fit the model.
        OSError: it cannot be written; an older one is then still whole.
    """
    path = Path(path)
    program = model.get_spec().HasField("mlProgram")
    wanted = ".mlpackage" if program else ".mlmodel"
    if path.suffix != wanted:
        kind = "an ML program" if program else "a neural network"
        raise ValueError(f"{path.name}: this model is {kind}, and its file must end in {wanted}.")
    if not program:
        with paths.replacing(path) as temporary:
            model.save(str(temporary))
        return path
    # A package is a folder, which cannot be replaced in one step: the old one steps aside first.
    fresh, old = path.with_name(f".new-{path.name}"), path.with_name(f".old-{path.name}")
    shutil.rmtree(fresh, ignore_errors=True)
    try:
        model.save(str(fresh))
        shutil.rmtree(old, ignore_errors=True)
        if path.exists():
            path.rename(old)
        fresh.rename(path)
    finally:
        if not path.exists() and old.exists():
            old.rename(path)
        shutil.rmtree(fresh, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)
    return path


def size(path) -> int:
    """Bytes of a file, or of all files in a folder (an ``.mlpackage`` is one)."""
    path = Path(path)
    if path.is_dir():
        return sum(inside.stat().st_size for inside in path.rglob("*") if inside.is_file())
    return path.stat().st_size


def describe(path) -> dict:
    """What stands in a saved model's own description, read from the file.

    Returns:
        ``format``, ``specification`` (version), ``iOS`` (the oldest that runs it), ``inputs``
        and ``outputs`` (name → type), ``labels``, and for an image input ``scale`` and ``bias``
        (what the file does to each 0–255 pixel before the network sees it).

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not a Core ML model.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(
            f"There is no {paths.shorten(path)}. Run the cell that converts the model first."
        )
    ct = coremltools()
    try:
        spec = ct.models.MLModel(str(path), skip_model_load=True).get_spec()
    except Exception as error:  # the reader below raises half a dozen kinds for a damaged file
        raise ValueError(
            f"{paths.shorten(path)} is no Core ML model, or is damaged. Convert it again."
        ) from error
    description = spec.description
    program = spec.HasField("mlProgram")
    found = {
        "format": "ML program" if program else "neural network",
        "specification": spec.specificationVersion,
        "iOS": FIRST_IOS.get(spec.specificationVersion, "newer than this table"),
        "inputs": {feature.name: _type_name(feature) for feature in description.input},
        "outputs": {feature.name: _type_name(feature) for feature in description.output},
    }
    if program:
        operations = [op for block in _blocks(spec.mlProgram) for op in block.operations]
        constants = {op.outputs[0].name: op.attributes["val"] for op in operations if op.type == "const"}
        for operation in operations:
            used = {name: inside.arguments[0] for name, inside in operation.inputs.items()}
            if operation.type == "classify":
                values = used["classes"].value.immediateValue.list.values
                found["labels"] = [value.immediateValue.tensor.strings.values[0] for value in values]
            if operation.type == "mul" and used["x"].name in found["inputs"]:
                # In an ML program the scale is the network's first multiplication.
                found["scale"] = constants[used["y"].name].immediateValue.tensor.floats.values[0]
    elif spec.HasField("neuralNetworkClassifier"):
        network = spec.neuralNetworkClassifier
        found["labels"] = list(network.stringClassLabels.vector)
        for step in network.preprocessing:
            if step.HasField("scaler"):
                scaler = step.scaler
                found["scale"] = scaler.channelScale
                found["bias"] = [scaler.redBias, scaler.greenBias, scaler.blueBias]
    return found


FIRST_IOS = {1: "11", 2: "11.2", 3: "12", 4: "13", 5: "14", 6: "15", 7: "16", 8: "17", 9: "18", 10: "26"}
"""Specification version → the first iOS that reads it (Core ML's Model.proto)."""


def _blocks(program):
    for function in program.functions.values():
        yield from function.block_specializations.values()


def _type_name(feature) -> str:
    kind = feature.type.WhichOneof("Type")
    if kind == "imageType":
        image = feature.type.imageType
        space = {10: "greyscale", 20: "RGB", 30: "BGR"}.get(image.colorSpace, "?")
        return f"image, {space}, {image.width}×{image.height}"
    if kind == "multiArrayType":
        return "array, " + "×".join(str(n) for n in feature.type.multiArrayType.shape)
    return {"stringType": "text", "int64Type": "whole number", "dictionaryType": "text → number"}.get(
        kind, kind
    )
