"""PyTorch → Core ML in one step, to compare with the road through ONNX.

``coremltools`` reads a model that PyTorch has written down in one of two ways:
``torch.jit.trace`` runs it once and notes every operation, ``torch.export``
reads its Python code.
"""

import copy
import math
import numbers

import numpy as np
import torch

from helpers.plumbing import exportable, labels
from helpers.plumbing.quiet import coremltools, quiet

from . import agreement, torch_operators
from .agreement import LIMITS
from .files import LABEL, PROBABILITIES, identifier, name_outputs

EXPORTERS = ("export", "trace")
TARGETS = ("11.2", "12", "13", "15", "16", "17", "18", "26")


class ConversionError(ValueError):
    """The model cannot be converted, or the file computes something else than the model."""


def from_torch(
    model,
    *,
    shape=(1, 3, 32, 32),
    class_labels=None,
    exporter="export",
    minimum_ios_deployment_target="15",
    compute_precision="float32",
    image_scale=1 / 255,
    input_name="image",
    output_names=("output",),
    verify=True,
):
    """Convert a PyTorch model to Core ML without ONNX.

    Args:
        model: in evaluation mode; takes N×C×H×W float.
        shape: of one example, with the leading 1. One channel makes a greyscale image, three an RGB one.
        class_labels: make it a classifier: a list, or whatever ``helpers.plumbing.labels.in_order`` puts in order.
            The model then returns logits, 1×classes, and a softmax is added, as
            ``helpers.onnx_export.export_onnx`` does.
        exporter: "export" (``torch.export``) or "trace" (``torch.jit.trace``).
        minimum_ios_deployment_target: "11.2", "12" and "13" give a neural network (``.mlmodel``) for
            iOS 13, "15" to "18" and "26" an ML program (``.mlpackage``), as in ``helpers.onnx_coreml``.
        compute_precision: "float32" or "float16", for ML programs.
        image_scale: multiplies each pixel of 0 to 255 before the network sees it; None makes the
            input an array instead of an image.
        input_name, output_names: their names, letters, digits and underscores; a classifier's outputs are
            ``classLabel`` and ``classLabelProbs``.
        verify: run the saved file with ``helpers.coreml_runtime`` on six inputs and compare it with the
            model, before anything is returned.

    Returns:
        ``coremltools.models.MLModel``. Write it with ``save``.

    Raises:
        ValueError: an argument that does not fit the model, or a model that trains in evaluation mode, too;
            the message says which and why.
        FileNotFoundError: ``class_labels`` names a file that is not there.
        ConversionError: PyTorch or Core ML Tools cannot convert the model, or the file computes something
            else. It is a ValueError.
    """
    exportable.check_module(model)
    _check(shape, exporter, minimum_ios_deployment_target, compute_precision, image_scale)
    ct = coremltools()
    # A copy on the CPU: the caller's model stays where it is.
    network = copy.deepcopy(model).cpu().eval()
    examples = _examples(shape, image_scale is not None)
    inputs = [
        torch.from_numpy(e)[None] * np.float32(1 if image_scale is None else image_scale) for e in examples
    ]
    expected = _answers(network, inputs, shape)
    if class_labels is not None:
        class_labels = _labels(class_labels, expected)
        network = _Classifier(network).eval()
        expected = [[logits.softmax(dim=1)] for (logits,) in expected]
        output_names = ("probabilities",)  # Core ML Tools adds an output called classLabel…
    _check_names(input_name, output_names, len(expected[0]), class_labels)

    program = float(minimum_ios_deployment_target) >= 15
    options = {
        "convert_to": "mlprogram" if program else "neuralnetwork",
        # Core ML Tools knows no target before iOS 13.
        "minimum_deployment_target": _target(ct, minimum_ios_deployment_target),
        "outputs": [ct.TensorType(name=name) for name in output_names],
        "skip_model_load": True,
    }
    if not program:
        # It makes a layer of channel shuffles that only iOS 14 knows.
        options["pass_pipeline"] = ct.PassPipeline.DEFAULT
        options["pass_pipeline"].remove_passes(["common::detect_concat_interleave"])
    if program:
        options["compute_precision"] = getattr(ct.precision, compute_precision.upper())
    if image_scale is None:
        options["inputs"] = [ct.TensorType(name=input_name, shape=shape, dtype=np.float32)]
        if class_labels is None and program:  # from iOS 16 on they would become float16
            options["outputs"] = [ct.TensorType(name=name, dtype=np.float32) for name in output_names]
    else:
        layout = ct.colorlayout.GRAYSCALE if shape[1] == 1 else ct.colorlayout.RGB
        options["inputs"] = [
            ct.ImageType(name=input_name, shape=shape, scale=image_scale, color_layout=layout)
        ]
    if class_labels is not None:
        # A new one for every call: Core ML Tools changes the object that it is given.
        options["classifier_config"] = ct.ClassifierConfig(
            class_labels, predicted_feature_name=LABEL, predicted_probabilities_output="probabilities"
        )
    try:
        with quiet(), torch.no_grad():
            torch_operators.register()
            converted = ct.convert(_written_down(network, inputs[0], exporter), **options)
    except Exception as error:  # PyTorch and Core ML Tools raise whatever the operator at hand raised
        reason = (str(error).strip() or repr(error)).splitlines()[0]
        raise ConversionError(
            f"PyTorch and Core ML Tools cannot convert this {type(model).__name__} with exporter={exporter!r} for "
            f"iOS {minimum_ios_deployment_target}: {reason} Try the other exporter, a later iOS, or the road through ONNX."
        ) from error
    if class_labels is not None:
        converted = name_outputs(converted)
    if verify:
        given = [{input_name: e[None] if image_scale is None else agreement.as_core_ml(e)} for e in examples]
        answers = [dict(zip(output_names, values, strict=True)) for values in expected]
        _verify(converted, given, answers, class_labels, compute_precision if program else "float32")
    return converted


class _Classifier(torch.nn.Module):
    """A network of logits, with the softmax that an app needs."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, image):
        return self.model(image).softmax(dim=1)


def _written_down(network, example, exporter):
    """The model as one of PyTorch's two exporters writes it down."""
    if exporter == "trace":
        return torch.jit.trace(network, example)
    # Without this, torch.export leaves operations in the graph that Core ML Tools does not know.
    return torch.export.export(network, (example,)).run_decompositions({})


def _target(ct, ios: str):
    return getattr(ct.target, f"iOS{max(13, int(float(ios)))}")


def _check(shape, exporter, target, compute_precision, image_scale) -> None:
    if image_scale is not None and not (
        isinstance(image_scale, numbers.Real) and math.isfinite(image_scale) and image_scale
    ):
        raise ValueError(
            f"image_scale={image_scale!r}: it multiplies each pixel. Write one number like 1/255, or None for an array; "
            "normalise each channel inside the model."
        )
    if len(shape) != 4 or shape[0] != 1 or shape[1] not in (1, 3) or min(shape) < 1:
        raise ValueError(
            f"shape={tuple(shape)}: an app hands over one picture at a time. Give 1×3×height×width, or 1×1×… for grey."
        )
    if exporter not in EXPORTERS:
        raise ValueError(f"exporter={exporter!r} is not known. Use one of {', '.join(EXPORTERS)}.")
    if str(target) not in TARGETS:
        raise ValueError(
            f"minimum_ios_deployment_target={target!r} is not known. Use one of {', '.join(TARGETS)}."
        )
    if compute_precision not in LIMITS:
        raise ValueError(f"compute_precision={compute_precision!r}: use 'float32' or 'float16'.")
    if compute_precision == "float16" and float(target) < 15:
        raise ValueError(
            f"compute_precision='float16' is for ML programs, and iOS {target} gets a neural network. Use "
            "minimum_ios_deployment_target='15', or compress(model, 'float16') for half the size."
        )


def _answers(network, inputs, shape) -> list[list]:
    """What the network answers to each example, one at a time, as a phone asks it: a list of tensors."""
    try:
        first = exportable.check_behaviour(network, inputs[0])
        with torch.no_grad():
            found = [first] + [network(values) for values in inputs[1:]]
    except (RuntimeError, IndexError, TypeError) as error:
        raise ValueError(
            f"The model does not take {'×'.join(map(str, shape))}: {str(error).strip().splitlines()[0]:.200}. Give the shape "
            "that it was trained with: shape=(1, channels, height, width)."
        ) from error
    found = [list(answer) if isinstance(answer, tuple | list) else [answer] for answer in found]
    for value in found[0]:
        if not isinstance(value, torch.Tensor):
            raise ValueError(
                f"The model returns a {type(value).__name__}, and Core ML's outputs are tensors. Wrap it in an nn.Module "
                "whose forward returns a tensor, or a tuple of tensors."
            )
    return found


def _labels(given, expected) -> list[str]:
    """The labels in order, for logits that become probabilities."""
    logits = expected[0][0]
    if len(expected[0]) != 1 or logits.ndim != 2:
        sizes = " and ".join("×".join(map(str, value.shape)) for value in expected[0])
        raise ValueError(
            f"class_labels are for one output of 1×classes, and the model returns {sizes}. Flatten it, or return the "
            "logits only."
        )
    found = labels.in_order(given, count=logits.shape[1])
    if len(found) == 1:
        raise ValueError(
            "There is one class label, and a softmax over one output is always 1. Train with two outputs, yes and no."
        )
    values = torch.cat([logits for (logits,) in expected])
    kind = exportable.made_by(logits)
    if values.min() >= 0 and torch.allclose(values.sum(1), torch.ones(len(values)), atol=1e-3):
        kind = "softmax"
    if kind:
        raise ValueError(
            f"The model already returns probabilities (of a {kind}), and from_torch adds a softmax of its own. "
            f"Give it the network without its {kind}."
        )
    return found


def _check_names(input_name, output_names, count: int, class_labels) -> None:
    if isinstance(output_names, str):
        raise ValueError(f"output_names is a list of names: write [{output_names!r}].")
    names = [input_name, *output_names]
    for name in names:
        if not isinstance(name, str) or identifier(name) != name:
            raise ValueError(
                f"{name!r} is no name for Core ML: it has letters, digits and underscores only, a letter first, and is no "
                f"word that Core ML needs itself. Use e.g. {identifier(str(name))!r}."
            )
    if class_labels is not None:
        names += [LABEL, PROBABILITIES, f"{LABEL}_probs"]
    if len(set(names)) != len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"The name {twice!r} stands for two inputs or outputs. Give each its own.")
    if len(output_names) != count:
        raise ValueError(
            f"The model returns {count} outputs, and output_names has {len(output_names)} names. Give one for each."
        )


def _examples(shape, pictures: bool) -> list[np.ndarray]:
    """Six examples without the leading 1: uint8 pixels, or float32 numbers of any sign. Always the same ones."""
    random = np.random.default_rng(0)
    if pictures:
        return [agreement.picture(kind, shape[1:], random) for kind in agreement.PICTURES]
    return [agreement.numbers(kind, shape[1:], random) for kind in agreement.NUMBERS]


_NEXT = {
    "float32": "Try the other exporter, or the road through ONNX, whose error names the first layer that differs.",
    "float16": "Sixteen bits are too few for this network: use compute_precision='float32'.",
}


def _verify(converted, given, expected, class_labels, precision) -> None:
    """Compare the saved file with the model on the examples.

    Args:
        given: what the file gets, for each example. expected: what the model answers, by output name.

    Raises:
        ConversionError: they differ by more than rounding, or the file cannot be run.
    """
    try:
        answers = agreement.answers(converted, given)
    except ValueError as error:
        raise ConversionError(
            f"The converted file cannot be run here, so its numbers are not proved: {agreement.cause(error)} "
            "Try a later iOS, the other exporter, or verify=False, which returns it unproved."
        ) from error
    every = {name: [answer[name].numpy() for answer in expected] for name in expected[0]}
    for number, found in enumerate(answers):
        if class_labels is not None:
            probs = found.pop(PROBABILITIES)
            found = {"probabilities": np.array([[probs[label] for label in class_labels]])}
        if set(found) != set(every):
            raise ConversionError(
                f"The converted file has the outputs {', '.join(sorted(found))} instead of {', '.join(sorted(every))}. "
                f"{_NEXT['float32']}"
            )
        for name, values in every.items():
            off = agreement.compare(
                values[number], found[name], LIMITS[precision], class_labels is not None, values
            )
            if off.too_large:
                what = (
                    off.reason
                    or f"{off.found:.4g} where PyTorch has {off.expected:.4g}; the limit is {off.limit:.1g}"
                )
                raise ConversionError(
                    f"The converted file does not compute what the model computes: its output {name!r} has {what}. "
                    f"{_NEXT[precision]}"
                )
    for name, why in ((name, agreement.says_nothing(values)) for name, values in every.items()):
        if why and len(every) == 1:
            raise ConversionError(
                f"The output {name!r} of the model is {why}, so there is nothing to prove. Is it trained, and are its weights "
                "loaded? verify=False converts it as it is."
            )
