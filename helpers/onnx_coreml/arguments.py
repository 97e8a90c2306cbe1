"""Checks what the caller of ``convert`` asks for, and turns it into one ``Job``.

The arguments are those of the retired package's ``convert`` (onnx/onnx-coreml, converter.py).
None is taken and ignored: what today's Core ML cannot do is an error that says what to use.
"""

import inspect
import math
from dataclasses import dataclass, field
from pathlib import Path

import onnx

from helpers import coreml, paths

from . import graph

PREPROCESSING = {
    "is_bgr": False,
    "red_bias": 0.0,
    "green_bias": 0.0,
    "blue_bias": 0.0,
    "gray_bias": 0.0,
    "image_scale": 1.0,
}
"""The old package's ``preprocessing_args`` and their defaults: network input = pixel · scale + bias."""

NETWORK_TARGETS = ("11.2", "12", "13")
PROGRAM_TARGETS = ("15", "16", "17", "18", "26")


@dataclass
class Image:
    """An input or output that is a picture.

    Attributes:
        name: of the tensor.
        shape: 1 × channels × height × width.
        colour: the channel order that the network sees: "RGB", "BGR" or "GRAYSCALE".
        scale: multiplies every value.
        bias: added after that, one per channel in the network's own order.
    """

    name: str
    shape: tuple[int, ...]
    colour: str
    scale: float
    bias: list[float]


@dataclass
class Job:
    """A checked request: what to convert, and into what.

    Attributes:
        proto: the ONNX model, edited; the caller's own stays as it was.
        target: the iOS version, as a text of ``NETWORK_TARGETS`` or ``PROGRAM_TARGETS``.
        precision: "float32" or "float16".
        images: the inputs that are pictures, by name.
        image_outputs: the outputs that are pictures, by name.
        labels: the class labels, None without a classifier.
        label_name: what the output with the label is called.
        probabilities: the output that becomes the probabilities, None without a classifier.
        regressor: whether the file says that it is one.
        lowerings: the caller's own lowerings by operator or by the name of a node.
    """

    proto: onnx.ModelProto
    target: str
    precision: str
    images: dict[str, Image] = field(default_factory=dict)
    image_outputs: dict[str, Image] = field(default_factory=dict)
    labels: list[str] | None = None
    label_name: str = coreml.LABEL
    probabilities: str | None = None
    regressor: bool = False
    lowerings: dict = field(default_factory=dict)

    @property
    def program(self) -> bool:
        """Whether it becomes an ML program."""
        return self.target in PROGRAM_TARGETS


def read(
    model,
    mode,
    image_input_names,
    preprocessing_args,
    image_output_names,
    deprocessing_args,
    class_labels,
    predicted_feature_name,
    add_custom_layers,
    custom_conversion_functions,
    onnx_coreml_input_shape_map,
    minimum_ios_deployment_target,
    compute_precision,
) -> Job:
    """The checked request. Arguments and errors are those of ``convert``."""
    proto = graph.read(model)
    if mode not in (None, "classifier", "regressor"):
        raise ValueError(
            f"mode={mode!r} is not known. Use 'classifier', 'regressor', or None for plain output arrays."
        )
    job = Job(proto, _target(minimum_ios_deployment_target), _precision(compute_precision))
    if job.precision == "float16" and not job.program:
        raise ValueError(
            "compute_precision='float16' is for ML programs, and target "
            f"{job.target} gives a neural network. Take target '15' or later; for a smaller .mlmodel use "
            "helpers.coreml.compress."
        )
    _refuse_training_mode(proto)
    job.lowerings = _lowerings(proto, custom_conversion_functions)
    _use_core_ml_names(proto)
    job.images = _input_images(proto, image_input_names, preprocessing_args)
    _check_inputs(proto, job.images)
    _check_shape_map(proto, onnx_coreml_input_shape_map, job.images)
    job.image_outputs = _output_images(proto, image_output_names, deprocessing_args)
    if not isinstance(add_custom_layers, bool):
        raise ValueError(f"add_custom_layers={add_custom_layers!r}: use True or False.")
    _refuse_unknown_operators(proto, job.lowerings, add_custom_layers)

    if mode == "classifier":
        _classifier(job, class_labels, predicted_feature_name)
    elif class_labels is not None:
        raise ValueError("class_labels are for a classifier: add mode='classifier', or leave them out.")
    elif predicted_feature_name != coreml.LABEL:
        raise ValueError(
            f"predicted_feature_name={predicted_feature_name!r} names a classifier's label: add "
            "mode='classifier', or leave it out."
        )
    if mode == "regressor":
        _regressor(job)
    return job


def _target(target) -> str:
    text = str(target).removesuffix(".0")
    if text == "14":
        raise ValueError(
            "minimum_ios_deployment_target='14': ML programs need iOS 15, and the newest neural network that is "
            "written here runs from iOS 13 on. Take '13' for a file that runs on iOS 14, or '15' for an ML program."
        )
    if text not in NETWORK_TARGETS + PROGRAM_TARGETS:
        known = ", ".join(NETWORK_TARGETS + PROGRAM_TARGETS)
        raise ValueError(f"minimum_ios_deployment_target={target!r} is not known. Use one of {known}.")
    return text


def _precision(precision) -> str:
    if precision not in ("float32", "float16"):
        raise ValueError(f"compute_precision={precision!r}: use 'float32' or 'float16'.")
    return precision


def _refuse_training_mode(proto) -> None:
    constants = {t.name: t for t in proto.graph.initializer}
    for node in proto.graph.node:
        if node.op_type == "Constant" and node.attribute and node.attribute[0].name == "value":
            constants[node.output[0]] = node.attribute[0].t
    for node in proto.graph.node:
        flags = {a.name: a.i for a in node.attribute}
        training = node.op_type == "BatchNormalization" and (
            sum(map(bool, node.output)) > 1 or flags.get("training_mode")
        )
        if node.op_type == "Dropout" and len(node.input) > 2 and node.input[2] in constants:
            training = bool(onnx.numpy_helper.to_array(constants[node.input[2]]))
        if training:
            raise ValueError(
                "The model was exported in training mode. Call model.eval() and export it again."
            )


def _use_core_ml_names(proto) -> None:
    """ "input.1" of an old export becomes "input_1", "list" becomes "list_workaround"."""
    for value in (*graph.inputs(proto), *proto.graph.output):
        wanted = graph.identifier(value.name)
        if wanted != value.name:
            graph.rename(proto, value.name, graph.free_name(proto, wanted))


# Pictures


def _name_list(argument: str, given) -> list[str]:
    if isinstance(given, str):
        raise ValueError(f"{argument} is a list of names: write [{given!r}].")
    found = [str(name) for name in (given or ())]
    twice = next((name for name in found if found.count(name) > 1), None)
    if twice:
        raise ValueError(f"{argument} has {twice!r} twice.")
    return found


def _chosen(argument: str, given, values, kind: str) -> list:
    """The inputs or outputs that the caller names, by the ONNX name or the one in Core ML."""
    by_name = {value.name: value for value in values}
    chosen = []
    for name in _name_list(argument, given):
        value = by_name.get(name) or by_name.get(graph.identifier(name))
        if value is None:
            raise ValueError(
                f"{argument} has {name!r}, and the model's {kind}s are {', '.join(by_name)}. "
                f"Use the name that {kind}_names gave it when it was exported."
            )
        chosen.append(value)
    return chosen


def _input_images(proto, names, arguments) -> dict[str, Image]:
    values = _chosen("image_input_names", names, graph.inputs(proto), "input")
    if arguments and not values:
        raise ValueError(
            "preprocessing_args says what happens to pixels, and no input is an image. "
            "Name it: image_input_names=['image']."
        )
    settings = _one_per_image("preprocessing_args", arguments, _name_list("", names))
    return {
        value.name: _image("preprocessing_args", value, setting)
        for value, setting in zip(values, settings, strict=True)
    }


def _output_images(proto, names, arguments) -> dict[str, Image]:
    values = _chosen("image_output_names", names, list(proto.graph.output), "output")
    if arguments and not values:
        raise ValueError(
            "deprocessing_args says how values become pixels, and no output is an image. "
            "Name it: image_output_names=['picture']."
        )
    settings = _one_per_image("deprocessing_args", arguments, _name_list("", names))
    images = {}
    for value, setting in zip(values, settings, strict=True):
        image = images[value.name] = _image("deprocessing_args", value, setting)
        if image.scale != 1 or any(image.bias):
            graph.scale_output(proto, image.name, image.scale, image.bias)
    return images


def _one_per_image(argument: str, given, names: list[str]) -> list[dict]:
    """The settings of each image.

    Taken are one dict for all, one per image (a list, or a dict by image name), and the old
    package's own way of several images: ``{"image_scale": {"image": 0.5}}``.
    """
    if given is None:
        given = {}
    if isinstance(given, list | tuple):
        if len(given) != len(names):
            raise ValueError(f"{argument} has {len(given)} dicts for {len(names)} images. Give one for each.")
        settings = list(given)
    elif isinstance(given, dict) and given and set(given) <= set(names):
        settings = [given.get(name, {}) for name in names]
    else:
        settings = [given] * len(names)
    result = []
    for name, setting in zip(names, settings, strict=True):
        if not isinstance(setting, dict):
            raise ValueError(f"{argument} is {setting!r}. Write a dict, e.g. {{'image_scale': 1 / 255}}.")
        unknown = [key for key in setting if key not in PREPROCESSING]
        if unknown:
            raise ValueError(f"{argument} has {unknown[0]!r}. It may have {', '.join(PREPROCESSING)}.")
        single = {}
        for key, value in setting.items():
            if isinstance(value, dict):
                others = [other for other in value if other not in names]
                if others:
                    raise ValueError(
                        f"{argument}[{key!r}] is for {others[0]!r}, which is not one of the images {names}."
                    )
                value = value.get(name, PREPROCESSING[key])
            single[key] = _number(argument, key, value)
        result.append(PREPROCESSING | single)
    return result


def _number(argument: str, key: str, value):
    if key == "is_bgr":
        if value not in (True, False):
            raise ValueError(f"{argument}['is_bgr'] is {value!r}: use True or False.")
        return bool(value)
    advice = "Write a number."
    if key == "image_scale":
        advice = "Core ML has one scale for all channels: normalise each channel inside the model."
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise ValueError(f"{argument}[{key!r}] is {value!r}. {advice}") from None
    if not math.isfinite(number) or (key == "image_scale" and number == 0):
        raise ValueError(
            f"{argument}[{key!r}] is {value!r}, which leaves no picture. Write a number like 1/255."
        )
    return number


def _image(argument: str, value, setting: dict) -> Image:
    shape = graph.shape(value)
    if len(shape) != 4 or shape[0] != 1 or shape[1] not in (1, 3) or 0 in shape:
        sizes = "×".join(str(size or "?") for size in shape)
        raise ValueError(
            f"{value.name!r} cannot be an image: its shape is {sizes}, and Core ML's images are 1×3×height×width "
            "(colour) or 1×1×height×width (grey) with fixed sizes. Export the model with batch=1 and fixed sizes, "
            "or leave it an array."
        )
    if shape[1] == 1:
        unused = [k for k in ("is_bgr", "red_bias", "green_bias", "blue_bias") if setting[k]]
        colour, bias = "GRAYSCALE", [setting["gray_bias"]]
    else:
        unused = ["gray_bias"] if setting["gray_bias"] else []
        colour = "BGR" if setting["is_bgr"] else "RGB"
        bias = [setting[f"{channel}_bias"] for channel in ("red", "green", "blue")]
        bias = bias[::-1] if setting["is_bgr"] else bias
    if unused:
        kind, use = (
            ("grey", "gray_bias") if shape[1] == 1 else ("coloured", "red_bias, green_bias and blue_bias")
        )
        raise ValueError(f"{argument} has {unused[0]!r}, and the image {value.name!r} is {kind}. Use {use}.")
    return Image(value.name, shape, colour, setting["image_scale"], bias)


# Inputs, operators


def _dims(value):
    return value.type.tensor_type.shape.dim


def _check_inputs(proto, images) -> None:
    for value in graph.inputs(proto):
        if any(dim.WhichOneof("value") == "dim_value" and not dim.dim_value for dim in _dims(value)):
            raise ValueError(f"The input {value.name!r} is empty, and Core ML has no empty arrays.")
        if 0 in graph.shape(value) or not value.type.HasField("tensor_type"):
            raise ValueError(
                f"The input {value.name!r} has no fixed shape. An app classifies one picture at a time: "
                "export the model with batch=1."
            )
        kind = graph.numpy_type(value)
        if kind.kind not in "fi" or kind.itemsize < 2 or kind == "int16":
            raise ValueError(
                f"The input {value.name!r} is of the type {kind}, and Core ML takes arrays of float or 32-bit "
                "integer numbers. Begin the model with a cast from float, and export it again."
            )
        if value.name in images and kind.kind != "f":
            raise ValueError(
                f"The image {value.name!r} is of the type {kind}, and Core ML gives a network floats. "
                "Export the model with a float input."
            )


def _check_shape_map(proto, shape_map, images) -> None:
    """The old map told where the sizes of an array belong in sequence, batch, channel, height, width."""
    known = {value.name: graph.shape(value) for value in graph.inputs(proto)}
    for name, places in dict(shape_map or {}).items():
        if name not in known and graph.identifier(name) not in known:
            raise ValueError(
                f"onnx_coreml_input_shape_map has {name!r}, and the model's inputs are {', '.join(known)}."
            )
        if graph.identifier(name) in images and list(places) == [1, 2, 3, 4]:
            continue  # batch, channel, height, width: what an image is anyway
        shape = "×".join(map(str, known.get(name, known.get(graph.identifier(name)))))
        raise ValueError(
            f"onnx_coreml_input_shape_map={{{name!r}: {places!r}}}: since iOS 13 Core ML keeps the shape of an "
            f"array as it is, and {name!r} will be {shape}. Leave the map out; for another order of the sizes "
            "transpose inside the model and export it again."
        )


def _lowerings(proto, functions) -> dict:
    """The caller's functions, by operator or by the name of a node."""
    own = {}
    for name, function in dict(functions or {}).items():
        if not callable(function):
            raise ValueError(f"custom_conversion_functions[{name!r}] is {function!r}, which is no function.")
        try:
            inspect.signature(function).bind("context", "node")
        except TypeError:
            raise ValueError(
                f"custom_conversion_functions[{name!r}] does not take (context, node). The old package gave it a "
                "layer builder; today it makes operators with coremltools' Builder (mb) and returns the result: "
                "def lower(context, node): return mb.relu(x=context.values_map[node.input[0]], name=node.output[0])."
            ) from None
        if any(name in (node.op_type, node.name) for node in proto.graph.node):
            own[name] = function
            continue
        node = graph.maker(proto, name)
        if node is None:
            raise ValueError(
                f"custom_conversion_functions has {name!r}, which is no operator, node or output of this model."
            )
        # Outputs are renamed on the way; a node keeps its name.
        node.name = node.name or f"maker of {name}"
        own[node.name] = function
    return own


def _refuse_unknown_operators(proto, own: dict, add_custom_layers: bool) -> None:
    """No lowering, no conversion; the old package's way out, custom layers, is gone."""
    from .lowerings import known

    # Nodes that compute with constants only are folded before the operators are looked up.
    constant = {tensor.name for tensor in proto.graph.initializer} | {""}
    unknown = []
    for node in proto.graph.node:
        if set(node.input) <= constant:
            constant |= set(node.output)
        elif not known(node, own):
            unknown.append(node)
    if not unknown:
        return
    kinds = ", ".join(sorted({node.op_type for node in unknown}))
    custom = (
        "add_custom_layers=True has no equivalent today: a custom layer is Swift code, which an ML program "
        "cannot hold and nothing here could prove. "
        if add_custom_layers
        else ""
    )
    raise ValueError(
        f"No lowering is known for the operator {kinds}. {custom}Write one from Core ML's operators and pass it: "
        f"custom_conversion_functions={{{unknown[0].op_type!r}: function(context, node)}}, or export the model "
        "with other operators."
    )


# Classifier and regressor


def _classifier(job: Job, class_labels, label_name) -> None:
    proto = job.proto
    labels = _labels(class_labels)
    _check_label_name(label_name, proto)
    fitting = [
        value
        for value in proto.graph.output
        if value.name not in job.image_outputs and math.prod(graph.shape(value)) == len(labels)
    ]
    if not fitting:
        counts = ", ".join(str(math.prod(graph.shape(v))) for v in proto.graph.output)
        raise ValueError(
            f"There are {len(labels)} class labels for {counts} outputs. Give one label per output."
        )
    if len(fitting) > 1:
        raise ValueError(
            f"{len(fitting)} outputs have {len(labels)} values: {', '.join(v.name for v in fitting)}. Export the "
            "model with one output for the classes."
        )
    job.labels, job.label_name = labels, label_name
    # Core ML Tools adds an output called classLabel…; the tensor inside needs another name.
    old = fitting[0].name
    job.probabilities = old if old == "probabilities" else graph.free_name(proto, "probabilities")
    if old != job.probabilities:
        graph.rename(proto, old, job.probabilities)


def _labels(class_labels) -> list[str]:
    if class_labels is None:
        raise ValueError(
            "mode='classifier' needs class_labels: a list of texts, or a file with one label per line."
        )
    if isinstance(class_labels, str | Path):
        path = Path(class_labels)
        if not path.exists():
            raise FileNotFoundError(
                f"There is no label file {paths.shorten(path)}. Write one label per line."
            )
        try:
            lines = path.read_text(encoding="utf-8-sig").splitlines()
        except (UnicodeDecodeError, IsADirectoryError) as error:
            raise ValueError(
                f"{paths.shorten(path)} is no text file in UTF-8. Write one label per line."
            ) from error
        class_labels = [line.strip() for line in lines if line.strip()]
    labels = [str(label) for label in class_labels]
    if not labels:
        raise ValueError("class_labels is empty. Give one label per output.")
    if len(set(labels)) != len(labels):
        twice = next(label for label in labels if labels.count(label) > 1)
        raise ValueError(f"The class label {twice!r} stands twice. Core ML keeps one probability per label.")
    return labels


def _check_label_name(name, proto) -> None:
    taken = {value.name for value in (*graph.inputs(proto), *proto.graph.output)} | {coreml.PROBABILITIES}
    if not isinstance(name, str) or graph.identifier(name) != name:
        raise ValueError(
            f"predicted_feature_name={name!r} is no name for Core ML: it has letters, digits and underscores only, "
            "a letter first, and is no word that Core ML needs itself. Use e.g. 'classLabel'."
        )
    if name in taken:
        raise ValueError(
            f"predicted_feature_name={name!r} is the name of another input or output. Choose another, "
            "e.g. 'classLabel'."
        )


def _regressor(job: Job) -> None:
    if job.program:
        raise ValueError(
            f"mode='regressor' with target {job.target}: an ML program has no kind of its own for regressors. Use "
            "mode=None, which gives the same numbers under the output's own name, or a target up to '13'."
        )
    outputs = job.proto.graph.output
    if len(outputs) != 1 or job.image_outputs:
        raise ValueError(
            f"mode='regressor' predicts one output array, and the model has {len(outputs)} outputs"
            f"{', an image among them' if job.image_outputs else ''}. Use mode=None."
        )
    job.regressor = True
