"""PyTorch → ONNX, with the proof that the numbers agree.

Notebook 03 introduces the export and calls ``torch.onnx.export`` itself.
"""

import importlib.util
import json
from dataclasses import dataclass
from pathlib import Path

import onnx
import torch
from torch import nn

from helpers import paths
from helpers.quiet import quiet
from helpers.training import Evaluation, check_split

INPUT, OUTPUT = "image", "classLabelProbs"
"""The names in the file. Core ML and the Swift code use the same two."""


class WithSoftmax(nn.Module):
    """A network whose output is probabilities: what a file for others should give.

    Training wants logits (``cross_entropy`` takes the softmax itself), an app wants
    probabilities. So the softmax is added when the model leaves the house.
    """

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model

    def forward(self, image):
        return self.model(image).softmax(dim=1)


def export_onnx(model, path, *, classes, dynamo=True, batch=1, metadata=None) -> onnx.ModelProto:
    """Export ``model`` with a softmax to one ONNX file, check the file, and return what it holds.

    Args:
        model: takes N×3×32×32 float from 0 to 1 and returns N×10 logits; in evaluation mode.
        path: where the file goes. It is replaced only when the new one is complete and valid.
        classes: the class names in order; they go into the file's metadata.
        dynamo: PyTorch's newer exporter (``torch.export``), or with False the TorchScript
            one, which the chapter of 2023 used.
        batch: images per call, or None for any number.
        metadata: more texts for the file, e.g. ``{"licence": "MIT"}``.

    Raises:
        ValueError: the model is in training mode: batch norm would then be exported with
            the statistics of one batch.
        ModuleNotFoundError: the newer exporter's package is not installed.
        onnx.checker.ValidationError: the exporter wrote an invalid file.
        OSError: the file cannot be written; an older one is then still whole.
    """
    if model.training:
        raise ValueError(
            "The model is in training mode, and would be exported with the batch statistics of training. "
            "Call model.eval() first."
        )
    if dynamo and importlib.util.find_spec("onnxscript") is None:
        raise ModuleNotFoundError(
            "PyTorch's newer exporter needs the package onnxscript, which is not installed. Run `make setup`, "
            "or take the older exporter with dynamo=False.",
            name="onnxscript",
        )
    device = next(model.parameters()).device
    example = torch.zeros(batch or 2, 3, 32, 32, device=device)
    # A model on channels_last memory exports the same graph, but with the strides in its way.
    network = WithSoftmax(model).eval()
    options = {"input_names": [INPUT], "output_names": [OUTPUT], "dynamo": dynamo}
    if dynamo:
        options["external_data"] = False  # one file, not a second one with the weights
        if batch is None:
            options["dynamic_shapes"] = {"image": {0: torch.export.Dim("batch")}}
    elif batch is None:
        options["dynamic_axes"] = {INPUT: {0: "batch"}, OUTPUT: {0: "batch"}}
    with paths.replacing(path) as temporary:
        with quiet():
            torch.onnx.export(network, (example,), str(temporary), **options)
        proto = onnx.load(str(temporary))
        texts = {"classes": json.dumps(list(classes)), "input": "RGB pixels from 0 to 1, N×3×32×32"}
        onnx.helper.set_model_props(proto, texts | (metadata or {}))
        onnx.checker.check_model(proto, full_check=True)
        onnx.save(proto, str(temporary))
    return proto


def run_onnx(path, images, labels, batch_size: int = 1000) -> Evaluation:
    """Run an ONNX file on all images with ONNX Runtime, on the CPU.

    Args:
        path: a file of ``export_onnx``; with a fixed batch the images go through in
            batches of that size.
        images: N×3×32×32, uint8, 0 to 255.
        labels: N, int64.

    Returns:
        The same ``Evaluation`` that ``helpers.training.evaluate`` gives, without a loss.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: images or labels of a wrong shape, dtype or range, or no ONNX file.
    """
    import onnxruntime

    check_split(images, labels, "test")
    if not Path(path).exists():
        raise FileNotFoundError(f"There is no {paths.shorten(path)}. Export the model first.")
    try:
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    except Exception as error:  # its exceptions have no common base
        raise ValueError(f"{paths.shorten(path)} is no ONNX file, or is damaged. Export it again.") from error
    fixed = session.get_inputs()[0].shape[0]
    size = fixed if isinstance(fixed, int) else batch_size
    probs = [
        torch.from_numpy(session.run([OUTPUT], {INPUT: (batch.float() / 255).numpy()})[0])
        for batch in images.split(size)
    ]
    return Evaluation(torch.cat(probs), labels)


@dataclass
class Agreement:
    """How far two runs of the same images agree.

    Attributes:
        images: how many were compared.
        max_abs_diff: the largest difference of any probability.
        same_labels: how many images got the same answer.
    """

    images: int
    max_abs_diff: float
    same_labels: int

    def __str__(self):
        return (
            f"largest difference of a probability: {self.max_abs_diff:.1e}; "
            f"same answer on {self.same_labels:,} of {self.images:,} images"
        )


def compare(one: Evaluation, other: Evaluation) -> Agreement:
    """Compare two evaluations of the same images, probability by probability.

    Raises:
        ValueError: they are not of the same images.
    """
    if one.probs.shape != other.probs.shape or not torch.equal(one.labels, other.labels):
        raise ValueError(
            f"These are not the same images: {tuple(one.probs.shape)} and {tuple(other.probs.shape)} probabilities. "
            "Evaluate both on the same images in the same order."
        )
    return Agreement(
        images=len(one.labels),
        max_abs_diff=(one.probs - other.probs).abs().max().item(),
        same_labels=int((one.predictions == other.predictions).sum()),
    )
