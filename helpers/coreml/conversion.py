"""PyTorch → Core ML in one step, to compare with the road through ONNX.

``coremltools`` reads a model that PyTorch has written down in one of two ways:
``torch.jit.trace`` runs it once and notes every operation, ``torch.export``
reads its Python code.
"""

import copy
import tempfile
from pathlib import Path

import numpy as np
import torch

from helpers.quiet import coremltools, quiet

from .files import name_outputs, save

EXPORTERS = ("export", "trace")
TARGETS = ("11.2", "12", "13", "15", "16", "17", "18", "26")
LIMITS = {"float32": 1e-4, "float16": 0.02}
"""How far an output may be from PyTorch's: a probability, or another value per size of the largest one.

float32: sums in another order. float16: every result keeps three digits, and the layers add their errors up.
"""


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
        class_labels: a list of texts makes it a classifier. The model then returns logits, 1×classes,
            and a softmax is added, as ``helpers.onnx_export.export_onnx`` does.
        exporter: "export" (``torch.export``) or "trace" (``torch.jit.trace``).
        minimum_ios_deployment_target: "11.2", "12" and "13" give a neural network (``.mlmodel``) for
            iOS 13, "15" to "18" and "26" an ML program (``.mlpackage``), as in ``helpers.onnx_coreml``.
        compute_precision: "float32" or "float16", for ML programs.
        image_scale: multiplies each pixel of 0 to 255 before the network sees it; None makes the
            input an array instead of an image.
        input_name, output_names: their names; a classifier's outputs are ``classLabel`` and
            ``classLabelProbs``.
        verify: run the saved file with ``helpers.coreml_runtime`` on eight inputs and compare it with
            the model, before anything is returned.

    Returns:
        ``coremltools.models.MLModel``. Write it with ``save``.

    Raises:
        ValueError: an argument that does not fit the model; the message says which and why.
        ConversionError: PyTorch or Core ML Tools cannot convert the model, or the file computes something
            else. It is a ValueError.
    """
    _check(model, shape, exporter, minimum_ios_deployment_target, compute_precision)
    ct = coremltools()
    # A copy on the CPU: the caller's model stays where it is.
    network = copy.deepcopy(model).cpu().eval()
    images = _examples(shape)
    if class_labels is not None:
        labels = [str(label) for label in class_labels]
        network = _Classifier(network).eval()
        _check_labels(labels, network, images * (image_scale or 1 / 255))
        output_names = ("probabilities",)  # Core ML Tools adds an output called classLabel…

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
            labels, predicted_feature_name="classLabel", predicted_probabilities_output="probabilities"
        )
    try:
        with quiet(), torch.no_grad():
            _repair_sizes()
            converted = ct.convert(_written_down(network, images[:1], exporter), **options)
    except Exception as error:  # PyTorch and Core ML Tools raise whatever the operator at hand raised
        reason = (str(error).strip() or repr(error)).splitlines()[0]
        raise ConversionError(
            f"PyTorch and Core ML Tools cannot convert this {type(model).__name__} with exporter={exporter!r} for "
            f"iOS {minimum_ios_deployment_target}: {reason} Try the other exporter, a later iOS, or the road through ONNX."
        ) from error
    if class_labels is not None:
        converted = name_outputs(converted)
    if verify:
        _verify(converted, network, images, image_scale, compute_precision if program else "float32")
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


def _repair_sizes():
    """Let Core ML Tools 9 read the sizes in a trace: they are lists of one number, and NumPy 2.4 makes no int of one."""
    from coremltools.converters.mil import Builder, register_torch_op
    from coremltools.converters.mil.frontend.torch import ops

    @register_torch_op(torch_alias=["int"], override=True)
    def _int(context, node):
        value = context[node.inputs[0]].val
        if value is None or np.size(value) != 1:
            return ops._int(context, node)
        number = Builder.const(val=np.int32(np.ravel(value)[0]), name=node.name)
        return context.add(number, node.name)


def _target(ct, ios: str):
    return getattr(ct.target, f"iOS{max(13, int(float(ios)))}")


def _check(model, shape, exporter, target, compute_precision) -> None:
    if model.training:
        raise ValueError(
            "The model is in training mode, and would be converted with the batch statistics of training. "
            "Call model.eval() first."
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


def _check_labels(labels, network, images) -> None:
    with torch.no_grad():
        logits, probs = network.model(images), network(images)
    if probs.ndim != 2 or probs.shape[1] != len(labels):
        raise ValueError(
            f"There are {len(labels)} class labels for an output of {'×'.join(map(str, probs.shape[1:]))}. "
            "Give one label per output."
        )
    if len(set(labels)) != len(labels):
        twice = next(label for label in labels if labels.count(label) > 1)
        raise ValueError(f"The class label {twice!r} stands twice. Core ML keeps one probability per label.")
    if logits.min() >= 0 and torch.allclose(logits.sum(1), torch.ones(len(images)), atol=1e-4):
        raise ValueError(
            "The model already returns probabilities, and from_torch adds a softmax of its own. "
            "Give it the network without its softmax."
        )


def _examples(shape) -> torch.Tensor:
    """Eight pictures, 0 to 255: noise of three kinds, a ramp, black and white. Always the same ones."""
    noise = torch.Generator().manual_seed(0)
    smooth = torch.rand(2, shape[1], 4, 4, generator=noise)
    smooth = torch.nn.functional.interpolate(smooth, size=shape[2:], mode="bilinear")
    ramp = torch.linspace(0, 1, shape[3]).expand(1, *shape[1:])
    edges = torch.stack([torch.zeros(shape[1:]), torch.ones(shape[1:])])
    pictures = [torch.rand(3, *shape[1:], generator=noise), smooth, ramp, edges]
    return (torch.cat(pictures) * 255).round()


_NEXT = {
    "float32": "Try the other exporter, or the road through ONNX, whose error names the first layer that differs.",
    "float16": "Sixteen bits are too few for this network: use compute_precision='float32'.",
}


def _verify(converted, network, images, image_scale, precision) -> None:
    """Compare the saved file with the model on the examples.

    Raises:
        ConversionError: they differ by more than rounding.
    """
    from helpers import coreml_runtime

    with torch.no_grad():
        expected = network(images if image_scale is None else images * image_scale)
    expected = expected if isinstance(expected, tuple | list) else [expected]
    program = converted.get_spec().HasField("mlProgram")
    with tempfile.TemporaryDirectory() as folder:
        path = save(converted, Path(folder) / f"model.{'mlpackage' if program else 'mlmodel'}")
        found = coreml_runtime.load(path).run(images if image_scale is None else images.to(torch.uint8))
    for (name, ours), theirs in zip(found.items(), expected, strict=True):
        difference = (ours.reshape(theirs.shape) - theirs).abs()
        limit = LIMITS[precision] * max(1.0, theirs.abs().max().item())
        if not difference.max() <= limit:  # a NaN is no agreement either
            place = int(difference.nan_to_num(torch.inf).argmax())
            raise ConversionError(
                f"The converted file does not compute what the model computes: its output {name!r} has "
                f"{ours.flatten()[place]:.4g} where PyTorch has {theirs.flatten()[place]:.4g}; the limit is {limit:.1g}. "
                f"{_NEXT[precision]}"
            )
