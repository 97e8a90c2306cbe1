"""What a saved model says about itself: format, inputs, outputs, labels, weights, operations, texts."""

import collections
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from helpers.coreml_runtime.constants import declared, stored
from helpers.coreml_runtime.features import COLOURS, class_labels
from helpers.plumbing import paths

from .files import specification

AVAILABLE = {
    1: ("11", "10.13"),
    2: ("11.2", "10.13.2"),
    3: ("12", "10.14"),
    4: ("13", "10.15"),
    5: ("14", "11"),
    6: ("15", "12"),
    7: ("16", "13"),
    8: ("17", "14"),
    9: ("18", "15"),
    10: ("26", "26"),
}
"""Specification version → the first iOS and macOS that read it (``Model.proto`` in apple/coremltools)."""


def describe(model: Any) -> dict:
    """What stands in a model about itself, read from the file.

    Args:
        model: the path of an ``.mlmodel`` or ``.mlpackage``, or an MLModel.

    Returns:
        A dictionary with

        * ``format``: "ML program", "neural network" or another kind of Core ML model,
        * ``specification`` (version), ``iOS`` and ``macOS`` (the oldest that run it),
        * ``inputs`` and ``outputs``: name → type; ``texts``: name → what the metadata says about it,
        * ``labels``, for a classifier,
        * ``scale`` and ``bias``, for an image input: what the file does to each 0–255 pixel before the
          network sees it, the bias in the order red, green, blue (one number for grey),
        * ``stored``: how the weights are stored, the most frequent first, e.g. ``["float16"]``, and
          ``numbers``: how many are stored each way,
        * ``parts``: of a pipeline: the kinds of the models in it; labels, weights and operations are then those
          of all parts,
        * ``computed``: the number types of the results inside (ML programs),
        * ``operations``: kind → how many,
        * ``metadata``: description, author, licence, version, and whatever else was written there.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not a Core ML model.
    """
    spec = specification(model)
    try:
        return _described(spec)
    except (LookupError, AttributeError, TypeError, ValueError, RecursionError) as error:
        name = paths.shorten(model) if isinstance(model, str | Path) else "The model"
        raise ValueError(
            f"{name} cannot be described: a part of it is missing or damaged. Convert it again."
        ) from error


def _described(spec) -> dict:
    description, kind = spec.description, spec.WhichOneof("Type")
    program, network = kind == "mlProgram", kind.startswith("neuralNetwork")
    ios, macos = AVAILABLE.get(spec.specificationVersion, ("newer than this table",) * 2)
    found = {
        "format": "ML program" if program else "neural network" if network else kind,
        "specification": spec.specificationVersion,
        "iOS": ios,
        "macOS": macos,
        "inputs": {feature.name: _type_name(feature) for feature in description.input},
        "outputs": {feature.name: _type_name(feature) for feature in description.output},
        "texts": {
            feature.name: feature.shortDescription for feature in (*description.input, *description.output)
        },
        "stored": [],
        "computed": [],
        "numbers": {},
        "operations": {},
        "parts": [],
        "metadata": _metadata(description.metadata),
    }
    if program:
        return found | _read_program(spec.mlProgram, found["inputs"])
    if network:
        return found | _read_network(getattr(spec, kind), found["inputs"])
    inside = getattr(spec, kind)
    if kind.startswith("pipeline"):
        return found | _read_pipeline(inside if kind == "pipeline" else inside.pipeline)
    labels = class_labels(inside)
    return found | ({"labels": labels} if labels else {})


def _read_pipeline(pipeline) -> dict:
    """The parts of a pipeline, and the labels, weights and operations of them all."""
    parts = [_described(part) for part in pipeline.models]
    found: dict[str, Any] = {
        "parts": [part["format"] for part in parts],
        "operations": collections.Counter(),
    }
    numbers: collections.Counter[str] = collections.Counter()
    for part in parts:
        found |= {name: part[name] for name in ("labels", "scale", "bias") if name in part}
        found["operations"].update(part["operations"])
        numbers.update(part["numbers"])
    found["operations"] = dict(found["operations"].most_common())
    return found | _counted(numbers)


def _counted(numbers) -> dict:
    """How the weights are stored, the most frequent way first."""
    return {"stored": [name for name, _ in numbers.most_common()], "numbers": dict(numbers)}


def _metadata(metadata) -> dict:
    texts = {
        "description": metadata.shortDescription,
        "author": metadata.author,
        "licence": metadata.license,
        "version": metadata.versionString,
    }
    # A map in the file has no order of its own.
    return {name: text for name, text in (texts | dict(sorted(metadata.userDefined.items()))).items() if text}


def _read_program(program, inputs) -> dict:
    """Labels, preprocessing, weights and operations of an ML program."""
    found: dict[str, Any] = {}
    numbers: collections.Counter[str] = collections.Counter()
    computed: collections.Counter[str] = collections.Counter()
    operations = [
        operation
        for function in program.functions.values()
        for block in function.block_specializations.values()
        for operation in block.operations
    ]
    constants = {op.outputs[0].name: op.attributes["val"] for op in operations if op.type == "const"}
    images = {name for name, kind in inputs.items() if kind.startswith("image")}
    if images:
        grey = all("greyscale" in inputs[name] for name in images)
        found |= {"scale": 1.0, "bias": [0.0] * (1 if grey else 3)}
    for operation in operations:
        used = {name: inside.arguments[0] for name, inside in operation.inputs.items() if inside.arguments}
        out = operation.outputs[0]
        if operation.type == "const":
            if operation.attributes["val"].HasField("blobFileValue"):
                numbers[_number_type(out)] += _count(out)
            continue
        if operation.type.startswith("constexpr_"):
            numbers[_compressed_name(operation, used, constants)] += _count(out)
            continue
        computed[_number_type(out)] += 1
        if operation.type == "classify":
            found["labels"] = _list_values(used["classes"], constants)
        # Core ML Tools writes the pixels' scale and bias as two operations with marked names.
        elif "__scaled__" in out.name and operation.type == "mul":
            found["scale"] = _numbers(used["y"], constants)[0]
        elif "__biased__" in out.name and operation.type == "add":
            bias = _numbers(used["y"], constants)
            found["bias"] = bias[::-1] if any("BGR" in inputs[name] for name in images) else bias
    kinds = collections.Counter(
        operation.type
        for operation in operations
        if operation.type != "const" and not operation.type.startswith("constexpr_")
    )
    found |= _counted(numbers)
    found["computed"] = [name for name, _ in computed.most_common() if name.startswith("float")]
    return found | {"operations": dict(kinds.most_common())}


def _read_network(network, inputs) -> dict:
    """Labels, preprocessing, weights and layers of a neural network."""
    found: dict[str, Any] = {}
    numbers: collections.Counter[str] = collections.Counter()
    if network.DESCRIPTOR.name == "NeuralNetworkClassifier":
        found["labels"] = class_labels(network)
    for step in network.preprocessing:
        if step.HasField("scaler"):
            scaler = step.scaler
            found["scale"] = scaler.channelScale
            grey = any("greyscale" in kind for kind in inputs.values())
            colours = [scaler.redBias, scaler.greenBias, scaler.blueBias]
            found["bias"] = [scaler.grayBias] if grey else colours
    for layer in network.layers:
        for weights in all_weights(getattr(layer, layer.WhichOneof("layer"))):
            numbers.update(_weights_name(weights))
    found |= _counted(numbers)
    kinds = collections.Counter(layer.WhichOneof("layer") for layer in network.layers)
    return found | {"operations": dict(kinds.most_common())}


def all_weights(message: Any) -> Iterator[Any]:
    """Every ``WeightParams`` in a layer."""
    if message.DESCRIPTOR.name == "WeightParams":
        yield message
        return
    for field, value in message.ListFields():
        if field.message_type is None:
            continue
        for inside in [value] if hasattr(value, "DESCRIPTOR") else value:
            if hasattr(inside, "DESCRIPTOR"):
                yield from all_weights(inside)


def _weights_name(weights) -> dict:
    """How one weight of a neural network is stored → how many numbers it has."""
    if weights.float16Value:
        return {"float16": len(weights.float16Value) // 2}
    if weights.rawValue:
        bits = weights.quantization.numberOfBits
        palette = weights.quantization.HasField("lookupTableQuantization")
        return {f"{bits}-bit {'palette' if palette else 'numbers'}": len(weights.rawValue) * 8 // bits}
    return {"float32": len(weights.floatValue)}


def _number_type(typed) -> str:
    """``"float16"``, ``"int32"`` …, or ``"other"`` for what is no tensor."""
    return declared(typed.type)[0].lower() or "other"


def _count(typed) -> int:
    """How many numbers an array has; an open dimension counts as none."""
    return math.prod(size or 0 for size in declared(typed.type)[1] or ())


def _compressed_name(operation, used, constants) -> str:
    """How a compressed weight is stored, in words."""

    def given(name):
        """What the operation reads: an attribute up to iOS 17, an argument from iOS 18 on."""
        if name in operation.attributes:
            return operation.attributes[name]
        return _value(used[name], constants) if name in used else None

    lut, kind = given("lut"), operation.type
    if lut is not None:
        if "lut" in operation.attributes:  # a list of 2^bits values; the indices are packed bytes
            return f"{lut.type.tensorType.dimensions[0].constant.size.bit_length() - 1}-bit palette"
        indices = given("indices") or given("indices_nonzero_data")
        return f"{_number_type(indices).lstrip('uint')}-bit palette" if indices else "palette"
    if "sparse" in kind:
        return "without its zeros"
    data = given("quantized_data") or given("data")
    return f"{_number_type(data).lstrip('uint')}-bit numbers" if data else kind


def _value(argument, constants):
    """What an operation's argument stands for, written beside it or in a constant of its own."""
    return constants.get(argument.name) if argument.name else argument.value


def _numbers(argument, constants) -> list[float]:
    """A small constant's values, whatever number type they have."""
    values = stored(_value(argument, constants).immediateValue.tensor)
    return list(map(float, np.frombuffer(values, np.float16) if isinstance(values, bytes) else values))


def _list_values(argument, constants) -> list:
    """The class labels: texts, or whole numbers."""
    items = _value(argument, constants).immediateValue.list.values
    return [stored(item.immediateValue.tensor)[0] for item in items]


def _type_name(feature) -> str:
    kind = feature.type.WhichOneof("Type")
    if kind == "imageType":
        image = feature.type.imageType
        return f"image, {COLOURS.get(image.colorSpace, '?')}, {image.width}×{image.height}"
    if kind == "multiArrayType":
        return "array, " + "×".join(str(n) for n in feature.type.multiArrayType.shape)
    return {"stringType": "text", "int64Type": "whole number", "dictionaryType": "text → number"}.get(
        kind, kind
    )
