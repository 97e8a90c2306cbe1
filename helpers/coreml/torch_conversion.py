"""PyTorch → Core ML in one step, to compare with the road through ONNX.

``coremltools`` reads a model that PyTorch has written down in one of two ways:
``torch.jit.trace`` runs it once and notes every operation, ``torch.export``
reads its Python code.
"""

import copy
import math
import numbers
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from helpers.onnx_export import WithSoftmax
from helpers.plumbing import exportable, labels, networks, private_coremltools
from helpers.plumbing.errors import first_line
from helpers.plumbing.folding import fold_batch_norm
from helpers.plumbing.quiet import coremltools, quiet

from . import examples, torch_operators
from .differences import LIMITS, largest_difference, says_nothing
from .files import PROBABILITIES, name_outputs
from .options import OF_A_CLASSIFIER, PROGRAM_TARGETS, check_name, check_target, for_core_ml_tools

EXPORTERS = ("export", "trace")


class ConversionError(ValueError):
    """The model cannot be converted, or the file computes something else than the model."""


def from_torch(
    model: torch.nn.Module,
    *,
    shape: Sequence[int] = (1, 3, 32, 32),
    class_labels: Any = None,
    exporter: str = "export",
    minimum_ios_deployment_target: str = "15",
    compute_precision: str = "float32",
    image_scale: float | None = 1 / 255,
    input_name: str = "image",
    output_names: Sequence[str] = ("output",),
    verify: bool = True,
) -> Any:
    """Convert a PyTorch model to Core ML without ONNX.

    Args:
        model: in evaluation mode; takes N×C×H×W float.
        shape: of one example, with the leading 1. One channel makes a greyscale image, three an RGB one.
        class_labels: make it a classifier: a list, or whatever ``helpers.plumbing.labels.in_order`` puts in order.
            The model then returns logits, 1×classes, and a softmax is added, as ``export_onnx`` does.
        exporter: "export" (``torch.export``) or "trace" (``torch.jit.trace``).
        minimum_ios_deployment_target: "11.2", "12" and "13" give a neural network (``.mlmodel``) for
            iOS 13, "15" to "18" and "26" an ML program (``.mlpackage``), as in ``helpers.onnx_coreml``.
        compute_precision: "float32" or "float16", for ML programs.
        image_scale: multiplies each pixel of 0 to 255 before the network sees it; None makes the
            input an array instead of an image.
        input_name, output_names: letters, digits and underscores; a classifier's outputs are
            ``classLabel`` and ``classLabelProbs``.
        verify: run the saved file on six inputs and compare it with the model before anything is returned.

    Returns:
        ``coremltools.models.MLModel``. Write it with ``save``.

    Raises:
        ValueError: an argument that does not fit the model, or a model that trains in evaluation mode, too.
        FileNotFoundError: ``class_labels`` names a file that is not there.
        ConversionError: PyTorch or Core ML Tools cannot convert the model, or the file computes something
            else. It is a ValueError.
    """
    exportable.check_module(model)
    shape = exportable.check_shape(shape)
    _check(exporter, image_scale)
    target = check_target(minimum_ios_deployment_target, compute_precision)
    job = _Job(model, shape, exporter, target, compute_precision, image_scale, input_name, output_names)
    job.ask(class_labels)
    converted = _converted(job)
    if verify:
        _verify(job, converted)
    return converted


@dataclass
class _Job:
    """A checked request: what to convert, and into what.

    ``ask`` adds the ``network`` that is converted, six ``examples``, the ``inputs`` that the network sees of
    them, and what is ``expected``: for each a list of its outputs.
    """

    model: torch.nn.Module
    shape: tuple
    exporter: str
    target: str
    precision: str
    scale: float | None
    input: str
    outputs: Sequence[str]
    labels: list | None = None

    def ask(self, class_labels) -> None:
        """Ask the model about the examples; with labels a softmax is added."""
        # A copy on the CPU: the caller's model stays where it is.
        self.network = copy.deepcopy(self.model).cpu().eval()
        self.examples = _examples(self.shape, self.scale is not None)
        scale: Any = np.float32(1 if self.scale is None else self.scale)
        self.inputs = [torch.from_numpy(example)[None] * scale for example in self.examples]
        self.expected = _answers(self.network, self.inputs, self.shape)
        if class_labels is not None:
            self.labels = _labels(class_labels, self.expected)
            self.network = WithSoftmax(fold_batch_norm(self.network, self.inputs[0])).eval()
            self.expected = [[logits.softmax(dim=1)] for (logits,) in self.expected]
            self.outputs = ("probabilities",)  # Core ML Tools adds an output called classLabel…
        _check_names(self)


def _converted(job):
    """The Core ML model of a checked job, not yet proved.

    Raises:
        ConversionError: PyTorch or Core ML Tools cannot make it.
    """
    ct = coremltools()
    options = for_core_ml_tools(job.target, job.precision, job.labels)
    options["outputs"] = [ct.TensorType(name=name) for name in job.outputs]
    if job.scale is None:
        options["inputs"] = [ct.TensorType(name=job.input, shape=job.shape, dtype=np.float32)]
        if job.labels is None and job.target in PROGRAM_TARGETS:  # from iOS 16 on they would become float16
            options["outputs"] = [ct.TensorType(name=name, dtype=np.float32) for name in job.outputs]
    else:
        layout = ct.colorlayout.GRAYSCALE if job.shape[1] == 1 else ct.colorlayout.RGB
        image = {"name": job.input, "shape": job.shape, "scale": job.scale, "color_layout": layout}
        options["inputs"] = [ct.ImageType(**image)]
    try:
        with (
            quiet(),
            torch.no_grad(),
            private_coremltools.torch_lowerings(torch_operators.LOWERINGS),
        ):
            converted = ct.convert(_written_down(job.network, job.inputs[0], job.exporter), **options)
    except Exception as error:  # PyTorch and Core ML Tools raise whatever the operator at hand raised
        raise ConversionError(
            f"PyTorch and Core ML Tools cannot convert this {type(job.model).__name__} with exporter={job.exporter!r} for "
            f"iOS {job.target}: {first_line(error)}. Try the other exporter, a later iOS, or the road through ONNX."
        ) from error
    return name_outputs(converted) if job.labels is not None else converted


def _written_down(network, example, exporter):
    """The model as one of PyTorch's two exporters writes it down."""
    if exporter == "trace":
        # A transformer's layers would be noted as one operator of PyTorch's own.
        fast = torch.backends.mha.get_fastpath_enabled()
        torch.backends.mha.set_fastpath_enabled(False)
        try:
            return torch.jit.trace(network, example)
        finally:
            torch.backends.mha.set_fastpath_enabled(fast)
    # Without this, torch.export leaves operations in the graph that Core ML Tools does not know.
    return torch.export.export(network, (example,)).run_decompositions({})


# What the caller asks for


def _check(exporter, image_scale) -> None:
    if image_scale is not None and not (
        isinstance(image_scale, numbers.Real) and math.isfinite(image_scale) and image_scale
    ):
        raise ValueError(
            f"image_scale={image_scale!r}: it multiplies each pixel. Write one number like 1/255, or None for an array; "
            "put the mean and std of each into the network, with helpers.normalisation.normalise_inside."
        )
    if exporter not in EXPORTERS:
        raise ValueError(f"exporter={exporter!r} is not known. Use one of {', '.join(EXPORTERS)}.")


def _answers(network, inputs, shape) -> list[list]:
    """What the network answers to each example, one at a time, as a phone asks it: a list of tensors."""
    found: list = []
    for values in inputs:
        try:
            with torch.no_grad():
                found.append(network(values) if found else exportable.check_behaviour(network, values))
        except exportable.Unsteady:
            raise
        except Exception as error:  # a network is anybody's code
            raise ValueError(
                f"The model does not take {'×'.join(map(str, shape))}: {networks.why_not(network, values, error)} Or give the "
                "shape that it was trained with: shape=(1, channels, height, width)."
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
    exportable.check_logits_only(logits, torch.cat([logits for (logits,) in expected]))
    return found


def _check_names(job) -> None:
    if isinstance(job.outputs, str):
        raise ValueError(f"output_names is a list of names: write [{job.outputs!r}].")
    names, count = [job.input, *job.outputs], len(job.expected[0])
    for name in names:
        check_name(name)
    if job.labels is not None:
        names += OF_A_CLASSIFIER
    if len(set(names)) != len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"The name {twice!r} stands for two inputs or outputs. Give each its own.")
    if len(job.outputs) != count:
        raise ValueError(
            f"The model returns {count} outputs, and output_names has {len(job.outputs)} names. Give one for each."
        )


# The proof


def _examples(shape, pictures: bool) -> list[np.ndarray]:
    """Six examples without the leading 1: uint8 pixels, or float32 numbers of any sign. Always the same ones."""
    random = np.random.default_rng(0)
    if pictures:
        return [examples.picture(kind, shape[1:], random) for kind in examples.PICTURES]
    return [examples.numbers(kind, shape[1:], random) for kind in examples.NUMBERS]


_NEXT = {
    "float32": "Try the other exporter, or the road through ONNX, whose error names the first layer that differs.",
    "float16": "Sixteen bits are too few for this network: use compute_precision='float32'.",
}


def _verify(job, converted) -> None:
    """Compare the saved file with the model on the examples.

    Raises:
        ConversionError: they differ by more than rounding, or the file cannot be run.
    """
    given = [{job.input: e[None] if job.scale is None else examples.as_core_ml(e)} for e in job.examples]
    try:
        answers = examples.answers(converted, given)
    except ValueError as error:
        raise ConversionError(
            f"The converted file cannot be run here, so its numbers are not proved: {examples.cause(error)} "
            "Try a later iOS, the other exporter, or verify=False, which returns it unproved."
        ) from error
    every = {
        name: [value.numpy() for value in values]
        for name, values in zip(job.outputs, zip(*job.expected, strict=True), strict=True)
    }
    for number, found in enumerate(answers):
        if job.labels is not None:
            probs = found.pop(PROBABILITIES)
            found = {"probabilities": np.array([[probs[label] for label in job.labels]])}
        if set(found) != set(every):
            raise ConversionError(
                f"The converted file has the outputs {', '.join(sorted(found))} instead of {', '.join(sorted(every))}. "
                f"{_NEXT['float32']}"
            )
        for name, values in every.items():
            off = largest_difference(
                values[number], found[name], LIMITS[job.precision], job.labels is not None, values
            )
            if off.too_large:
                what = (
                    off.reason
                    or f"{off.found:.4g} where PyTorch has {off.expected:.4g}; the limit is {off.limit:.1g}"
                )
                raise ConversionError(
                    f"The converted file does not compute what the model computes: its output {name!r} has {what}. "
                    f"{_NEXT[job.precision]}"
                )
    if len(every) == 1:
        _check_weak(*every.items())


def _check_weak(output) -> None:
    """Refuse the proof of a single output that says nothing.

    Raises:
        ConversionError: it is the same for every example, or no number.
    """
    name, values = output
    why = says_nothing(values)
    if why:
        raise ConversionError(
            f"The output {name!r} of the model is {why}, so there is nothing to prove. Is it trained, and are its weights "
            "loaded? verify=False converts it as it is."
        )
