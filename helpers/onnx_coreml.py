"""ONNX → Core ML: ``convert()``, called like the retired onnx_coreml package.

Notebook 04 introduces it. The operators are lowered by onnx2coreml; what is
added here is what an app needs around them: an image as the input, pixel
preprocessing, class labels, and the same names in both formats.
"""

from pathlib import Path

import onnx

from helpers import coreml, paths
from helpers.quiet import coremltools, quiet

PREPROCESSING = {
    "is_bgr": False,
    "red_bias": 0.0,
    "green_bias": 0.0,
    "blue_bias": 0.0,
    "gray_bias": 0.0,
    "image_scale": 1.0,
}
"""The old package's ``preprocessing_args`` and their defaults: network input = pixel · scale + bias."""

TARGETS = ("11.2", "12", "13", "14", "15", "16", "17", "18")


def convert(
    model,
    mode=None,
    image_input_names=(),
    preprocessing_args=None,
    class_labels=None,
    predicted_feature_name="classLabel",
    minimum_ios_deployment_target="13",
    compute_precision="float32",
):
    """Convert an ONNX model to Core ML.

    The arguments are those of ``onnx_coreml.convert`` (2018–2020), with their old meaning.

    Args:
        model: path of an ONNX file, or a ``ModelProto``. Its one input is 1×C×H×W with fixed
            sizes; for a classifier its one output is 1×classes and ends in a softmax.
        mode: ``"classifier"``, or None for a model that returns its output array.
        image_input_names: the inputs that become images, e.g. ``["image"]``.
        preprocessing_args: what happens to each 0–255 pixel: ``image_scale`` (multiplied),
            ``red_bias``, ``green_bias``, ``blue_bias`` (added after that), ``is_bgr``. Without it
            the network gets 0 to 255, as it did in the old package.
        class_labels: a list of texts, or the path of a file with one label per line.
        predicted_feature_name: name of the label output; only ``"classLabel"`` is offered.
        minimum_ios_deployment_target: ``"11.2"`` to ``"14"`` give a neural network (``.mlmodel``),
            ``"15"`` and later an ML program (``.mlpackage``).
        compute_precision: ``"float32"`` or ``"float16"``, for ML programs.

    Returns:
        ``coremltools.models.MLModel``; for a classifier with the outputs ``classLabel`` and
        ``classLabelProbs``. Write it with ``helpers.coreml.save``.

    Raises:
        FileNotFoundError: there is no such ONNX or label file.
        ValueError: an argument that does not fit the model; the message says which and why.
    """
    proto = _load(model)
    _check(proto, mode, image_input_names, predicted_feature_name, compute_precision)
    target = _target_number(minimum_ios_deployment_target)
    labels = _labels(class_labels, proto) if mode == "classifier" else None
    pixels = _preprocessing(preprocessing_args)
    name = proto.graph.input[0].name
    shape = _shape(proto.graph.input[0])

    ct = coremltools()
    # Core ML Tools adds an output called classLabel…; the tensor inside needs another name.
    inside = "probabilities" if labels else proto.graph.output[0].name
    if labels:
        _rename_tensor(proto, proto.graph.output[0].name, inside)
    ios = {
        14: ct.target.iOS14,
        15: ct.target.iOS15,
        16: ct.target.iOS16,
        17: ct.target.iOS17,
        18: ct.target.iOS18,
    }
    program = target >= 15
    options = {"convert_to": "mlprogram" if program else "neuralnetwork"}
    options["minimum_deployment_target"] = ios.get(int(target), ct.target.iOS13)
    if program:
        options["compute_precision"] = getattr(ct.precision, compute_precision.upper())
    if name in image_input_names:
        # Core ML Tools takes the biases in the order of the channels, so blue comes first for BGR.
        layout, order = ct.colorlayout.RGB, ("red_bias", "green_bias", "blue_bias")
        if shape[1] == 1:
            layout, order = ct.colorlayout.GRAYSCALE, ("gray_bias",)
        elif pixels["is_bgr"]:
            layout, order = ct.colorlayout.BGR, order[::-1]
        biases = [pixels[channel] for channel in order]
        bias = biases if len(biases) > 1 else biases[0]
        options["inputs"] = [
            ct.ImageType(name=name, shape=shape, scale=pixels["image_scale"], bias=bias, color_layout=layout)
        ]
    if labels:
        # A new one for every call: Core ML Tools changes the object that it is given.
        options["classifier_config"] = ct.ClassifierConfig(
            labels, predicted_feature_name=predicted_feature_name, predicted_probabilities_output=inside
        )
    with quiet():
        from onnx2coreml.converter import Converter

        mil = Converter().to_mil(proto, target=options["minimum_deployment_target"])
        converted = ct.convert(mil, skip_model_load=True, **options)
    return coreml.name_outputs(converted) if labels else converted


def _load(model) -> onnx.ModelProto:
    if isinstance(model, onnx.ModelProto):
        copy = onnx.ModelProto()
        copy.CopyFrom(model)
        return copy
    path = Path(model)
    if not path.exists():
        raise FileNotFoundError(
            f"There is no {paths.shorten(path)}. Run notebook 03, which exports it, first."
        )
    try:
        return onnx.load(str(path))
    except Exception as error:  # protobuf's DecodeError has no common base with the others
        raise ValueError(f"{paths.shorten(path)} is no ONNX file, or is damaged. Export it again.") from error


def _check(proto, mode, image_input_names, predicted_feature_name, compute_precision) -> None:
    if mode not in (None, "classifier"):
        raise ValueError(
            f"mode={mode!r} is not known here. Use 'classifier', or None for a plain output array."
        )
    weights = {tensor.name for tensor in proto.graph.initializer}
    inputs = [value.name for value in proto.graph.input if value.name not in weights]
    if isinstance(image_input_names, str):
        raise ValueError(f"image_input_names is a list of names: write [{image_input_names!r}].")
    unknown = [name for name in image_input_names if name not in inputs]
    if unknown:
        raise ValueError(
            f"image_input_names has {unknown[0]!r}, and the model's inputs are {', '.join(inputs)}. "
            "Use the name that input_names gave it when it was exported."
        )
    if len(inputs) != 1 or len(proto.graph.output) != 1:
        raise ValueError(
            f"The model has {len(inputs)} inputs and {len(proto.graph.output)} outputs; "
            "one of each can be converted here."
        )
    if mode == "classifier":
        last = next(node for node in proto.graph.node if proto.graph.output[0].name in node.output)
        if last.op_type != "Softmax":
            raise ValueError(
                f"The model ends in {last.op_type}, so its output is not probabilities. Add a softmax before the "
                "export (helpers.onnx_export.WithSoftmax)."
            )
        if predicted_feature_name != coreml.LABEL:
            raise ValueError(
                f"predicted_feature_name={predicted_feature_name!r}: only 'classLabel' is offered."
            )
    if any(node.op_type == "BatchNormalization" and len(node.output) > 1 for node in proto.graph.node):
        raise ValueError("The model was exported in training mode. Call model.eval() and export it again.")
    if compute_precision not in ("float32", "float16"):
        raise ValueError(f"compute_precision={compute_precision!r}: use 'float32' or 'float16'.")


def _target_number(target) -> float:
    text = str(target)
    if text not in TARGETS:
        raise ValueError(
            f"minimum_ios_deployment_target={target!r} is not known. Use one of {', '.join(TARGETS)}."
        )
    return float(text)


def _shape(value) -> tuple[int, ...]:
    dims = [dim.dim_value for dim in value.type.tensor_type.shape.dim]
    if 0 in dims:
        raise ValueError(
            f"The input {value.name!r} has no fixed shape. An app classifies one picture at a time: "
            "export the model with batch=1."
        )
    return tuple(dims)


def _labels(class_labels, proto) -> list[str]:
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
        class_labels = [
            line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()
        ]
    labels = [str(label) for label in class_labels]
    outputs = proto.graph.output[0].type.tensor_type.shape.dim[-1].dim_value
    if len(labels) != outputs:
        raise ValueError(
            f"There are {len(labels)} class labels for {outputs} outputs. Give one label per output."
        )
    if len(set(labels)) != len(labels):
        twice = next(label for label in labels if labels.count(label) > 1)
        raise ValueError(f"The class label {twice!r} stands twice. Core ML keeps one probability per label.")
    return labels


def _preprocessing(arguments) -> dict:
    arguments = dict(arguments or {})
    unknown = [name for name in arguments if name not in PREPROCESSING]
    if unknown:
        raise ValueError(f"preprocessing_args has {unknown[0]!r}. It may have {', '.join(PREPROCESSING)}.")
    return PREPROCESSING | arguments


def _rename_tensor(proto, old: str, new: str) -> None:
    """Rename one tensor everywhere in the graph."""
    taken = {name for node in proto.graph.node for name in (*node.input, *node.output)}
    if new in taken and new != old:
        _rename_tensor(proto, new, f"{new}_before")
    for node in proto.graph.node:
        for names in (node.input, node.output):
            for index, name in enumerate(names):
                if name == old:
                    names[index] = new
    for value in (*proto.graph.output, *proto.graph.value_info):
        if value.name == old:
            value.name = new
