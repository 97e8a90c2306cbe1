"""Core ML models as files: fixed output names, writing, and what a saved file says about itself."""

import collections
import math
from pathlib import Path

from helpers.plumbing import paths
from helpers.plumbing.quiet import coremltools, quiet

LABEL, PROBABILITIES = "classLabel", "classLabelProbs"
"""The outputs of every classifier here, in both formats: the text, and text → probability."""

PREVIEW = "com.apple.coreml.model.preview.type"
"""The name in a model's metadata under which Xcode looks for the kind of its Preview tab; without it the tab is empty
(coremltools' guide, "Xcode Model Preview Types")."""

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


def open_model(model):
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
    _specification(path)
    ct = coremltools()
    try:
        return ct.models.MLModel(str(path), skip_model_load=True)
    except Exception as error:  # coremltools raises half a dozen kinds for a damaged file
        raise ValueError(
            f"{paths.shorten(path)} is no Core ML model, or is damaged. Convert it again."
        ) from error


def _specification(model):
    """The ``Model`` message of an MLModel or of a file; of a file it is read without trusting it."""
    if not isinstance(model, str | Path):
        return model.get_spec()
    from helpers.coreml_runtime.archive import Archive

    return Archive(model).specification


def identifier(name: str) -> str:
    """A name as Core ML Tools writes it: letters, digits and underscores, a letter first, no reserved word."""
    with quiet():
        from coremltools.converters.mil.mil.passes.defs.preprocess import NameSanitizer

    return NameSanitizer("var_").sanitize_name(name, allow_prefix_underscore=False)


def name_outputs(model, label=LABEL):
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


def save(model, path) -> Path:
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


def size(path) -> int:
    """Bytes of a file, or of all files in a folder (an ``.mlpackage`` is one)."""
    path = Path(path)
    if path.is_dir():
        return sum(inside.stat().st_size for inside in path.rglob("*") if inside.is_file())
    return path.stat().st_size


def describe(model) -> dict:
    """What stands in a model about itself, read from the file.

    Args:
        model: the path of an ``.mlmodel`` or ``.mlpackage``, or an MLModel.

    Returns:
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
    spec = _specification(model)
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
    labels = _labels(inside)
    return found | ({"labels": labels} if labels else {})


def _read_pipeline(pipeline) -> dict:
    """The parts of a pipeline, and the labels, weights and operations of them all."""
    parts = [_described(part) for part in pipeline.models]
    found = {"parts": [part["format"] for part in parts], "operations": collections.Counter()}
    numbers = collections.Counter()
    for part in parts:
        found |= {name: part[name] for name in ("labels", "scale", "bias") if name in part}
        found["operations"].update(part["operations"])
        numbers.update(part["numbers"])
    found["operations"] = dict(found["operations"].most_common())
    return found | {"stored": [name for name, _ in numbers.most_common()], "numbers": dict(numbers)}


def _labels(message) -> list:
    """The class labels of any kind of classifier; empty if it has none."""
    if not hasattr(message, "DESCRIPTOR") or "ClassLabels" not in message.DESCRIPTOR.oneofs_by_name:
        return []
    labels = message.WhichOneof("ClassLabels")
    return list(getattr(message, labels).vector) if labels else []


def last_operator(model) -> tuple[str, bool]:
    """What makes a classifier's probabilities, and whether it judges each class by itself (a sigmoid).

    Args:
        model: the path of an ``.mlmodel`` or ``.mlpackage``, or an MLModel.
    """
    spec = _specification(model)
    kind = spec.WhichOneof("Type")
    makers, reads = {}, {}
    if kind == "mlProgram":
        name = ""
        for function in spec.mlProgram.functions.values():
            for operation in function.block_specializations[function.opset].operations:
                x = operation.inputs["x"].arguments if "x" in operation.inputs else []
                for out in operation.outputs:
                    makers[out.name], reads[out.name] = operation.type, x[0].name if x else ""
                if operation.type == "classify":
                    name = operation.inputs["probabilities"].arguments[0].name
    else:
        network = getattr(spec, kind)
        for layer in network.layers:
            what = layer.WhichOneof("layer")
            what = layer.activation.WhichOneof("NonlinearityType") if what == "activation" else what
            for out in layer.output:
                makers[out], reads[out] = what, layer.input[0] if layer.input else ""
        name = getattr(network, "labelProbabilityLayerName", "") or next(reversed(makers), "")
    moves = ("reshape", "squeeze", "expand_dims", "cast", "identity", "flatten", "reshapeStatic")
    while makers.get(name) in moves:  # each name once, so that no circle of a damaged file goes on for ever
        makers.pop(name)
        name = reads[name]
    operator = makers.get(name, "its input")
    return operator, operator.startswith("sigmoid")


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
    found, stored, computed = {}, collections.Counter(), collections.Counter()
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
                stored[_number_type(out)] += _count(out)
            continue
        if operation.type.startswith("constexpr_"):
            stored[_compressed_name(operation, used, constants)] += _count(out)
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
    found |= {"stored": [name for name, _ in stored.most_common()], "numbers": dict(stored)}
    found["computed"] = [name for name, _ in computed.most_common() if name.startswith("float")]
    return found | {"operations": dict(kinds.most_common())}


def _read_network(network, inputs) -> dict:
    """Labels, preprocessing, weights and layers of a neural network."""
    found, stored = {}, collections.Counter()
    if network.DESCRIPTOR.name == "NeuralNetworkClassifier":
        found["labels"] = _labels(network)
    for step in network.preprocessing:
        if step.HasField("scaler"):
            scaler = step.scaler
            found["scale"] = scaler.channelScale
            grey = any("greyscale" in kind for kind in inputs.values())
            colours = [scaler.redBias, scaler.greenBias, scaler.blueBias]
            found["bias"] = [scaler.grayBias] if grey else colours
    for layer in network.layers:
        for weights in all_weights(getattr(layer, layer.WhichOneof("layer"))):
            stored.update(_weights_name(weights))
    found |= {"stored": [name for name, _ in stored.most_common()], "numbers": dict(stored)}
    kinds = collections.Counter(layer.WhichOneof("layer") for layer in network.layers)
    return found | {"operations": dict(kinds.most_common())}


def all_weights(message):
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


def _number_type(output) -> str:
    """``"float16"``, ``"int32"`` …, or ``"other"`` for what is no tensor."""
    kind = output.type
    if kind.WhichOneof("type") != "tensorType":
        return "other"
    return (
        kind.tensorType.DESCRIPTOR.fields_by_name["dataType"]
        .enum_type.values_by_number[kind.tensorType.dataType]
        .name.lower()
    )


def _count(output) -> int:
    return math.prod(dim.constant.size for dim in output.type.tensorType.dimensions)


def _compressed_name(operation, used, constants) -> str:
    """How a compressed weight is stored, in words."""

    def stored(name):
        """What the operation reads: an attribute up to iOS 17, an argument from iOS 18 on."""
        if name in operation.attributes:
            return operation.attributes[name]
        return _value(used[name], constants) if name in used else None

    lut, kind = stored("lut"), operation.type
    if lut is not None:
        if "lut" in operation.attributes:  # a list of 2^bits values; the indices are packed bytes
            return f"{lut.type.tensorType.dimensions[0].constant.size.bit_length() - 1}-bit palette"
        indices = stored("indices") or stored("indices_nonzero_data")
        return f"{_number_type(indices).lstrip('uint')}-bit palette" if indices else "palette"
    if "sparse" in kind:
        return "without its zeros"
    data = stored("quantized_data") or stored("data")
    return f"{_number_type(data).lstrip('uint')}-bit numbers" if data else kind


def _value(argument, constants):
    """What an operation's argument stands for, written beside it or in a constant of its own."""
    return constants.get(argument.name) if argument.name else argument.value


def _numbers(argument, constants) -> list[float]:
    """A small constant's values, whatever number type they have."""
    value = _value(argument, constants)
    tensor = value.immediateValue.tensor
    if tensor.HasField("bytes"):
        import numpy as np

        return np.frombuffer(tensor.bytes.values, np.float16).astype(float).tolist()
    return [float(number) for number in getattr(tensor, tensor.WhichOneof("value")).values]


def _list_values(argument, constants) -> list:
    """The class labels: texts, or whole numbers."""
    value = _value(argument, constants)
    labels = []
    for item in value.immediateValue.list.values:
        tensor = item.immediateValue.tensor
        labels.append(getattr(tensor, tensor.WhichOneof("value")).values[0])
    return labels


def _type_name(feature) -> str:
    kind = feature.type.WhichOneof("Type")
    if kind == "imageType":
        image = feature.type.imageType
        space = {10: "greyscale", 20: "RGB", 30: "BGR", 40: "greyscale in 16 bits"}.get(image.colorSpace, "?")
        return f"image, {space}, {image.width}×{image.height}"
    if kind == "multiArrayType":
        return "array, " + "×".join(str(n) for n in feature.type.multiArrayType.shape)
    return {"stringType": "text", "int64Type": "whole number", "dictionaryType": "text → number"}.get(
        kind, kind
    )
