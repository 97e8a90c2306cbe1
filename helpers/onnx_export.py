"""PyTorch → ONNX, with the proof that the numbers agree.

Notebook 03 introduces the export and calls ``torch.onnx.export`` itself.
"""

import importlib.util
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import onnx
import torch
from torch import nn

from helpers.evaluation import Evaluation, check_split
from helpers.plumbing import exportable, onnx_files, paths
from helpers.plumbing.errors import first_line
from helpers.plumbing.folding import fold_batch_norm
from helpers.plumbing.labels import in_order
from helpers.plumbing.networks import check_logits, device_of, scaled, why_not
from helpers.plumbing.quiet import quiet

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

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.model(image).softmax(dim=1)


def export_onnx(
    model: nn.Module,
    path: str | Path,
    *,
    classes: Any,
    dynamo: bool = True,
    batch: int | None = 1,
    metadata: dict | None = None,
    shape: Sequence[int] = (1, 3, 32, 32),
) -> onnx.ModelProto:
    """Export ``model`` with a softmax to one ONNX file, check the file, and return what it holds.

    Args:
        model: takes N×channels×height×width float from 0 to 1 and returns N×classes logits; in evaluation mode.
        path: where the file goes. It is replaced only when the new one is complete and valid.
        classes: the class names in order, a list or tuple, one per logit; they go into the file's metadata.
        dynamo: PyTorch's newer exporter (``torch.export``), or with False the TorchScript
            one, which the chapter of 2023 used.
        batch: images per call, or None for any number.
        metadata: more texts for the file, e.g. ``{"licence": "MIT"}``.
        shape: of one picture, with the leading 1, as ``coreml.from_torch`` takes it: 1×3×height×width for
            colours (R, G, B), 1×1×height×width for grey.

    Raises:
        ValueError: the model is no network; it is in training mode, and batch norm would be exported with the
            statistics of one batch; it does not take such images; it returns something else than one
            logit per class, probabilities for one; or the exporter cannot write it down.
        ModuleNotFoundError: the newer exporter's package is not installed.
        OSError: the file cannot be written; an older one is then still whole.
    """
    exportable.check_module(model)
    names = in_order(classes, argument="classes")
    if batch is not None and (type(batch) is not int or batch < 1):
        raise ValueError(
            f"batch={batch!r}: give the number of images per call, from 1, or None for any number."
        )
    if dynamo and importlib.util.find_spec("onnxscript") is None:
        raise ModuleNotFoundError(
            "PyTorch's newer exporter needs the package onnxscript, which is not installed. Run `make setup`, "
            "or take the older exporter with dynamo=False.",
            name="onnxscript",
        )
    _, *one = exportable.check_shape(shape)
    _check_answers(model, (batch or 2, *one), len(names))
    with paths.replacing(path) as temporary:
        _write(model, temporary, dynamo, batch, one)
        proto = onnx.load(str(temporary))
        colours = "RGB" if one[0] == 3 else "grey"
        texts = {"classes": json.dumps(names), "input": f"{colours} pixels from 0 to 1, N×{_times(one)}"}
        texts |= {str(key): str(value) for key, value in (metadata or {}).items()}
        onnx.helper.set_model_props(proto, texts)
        try:
            onnx.checker.check_model(proto, full_check=True)
        except Exception as error:  # of the checker, or of the shape inference
            raise _not_exported(model, dynamo, error) from error
        onnx.save(proto, str(temporary))
    return proto


def _times(shape) -> str:
    return "×".join(map(str, shape))


def _write(model: nn.Module, path, dynamo: bool, batch: int | None, one: list[int]) -> None:
    """Let the exporter write the file.

    Raises:
        ValueError: it cannot.
        OSError: the disk is full.
    """
    example = torch.zeros(batch or 2, *one, device=device_of(model))
    # A model on channels_last memory exports the same graph, but with the strides in its way.
    network = WithSoftmax(fold_batch_norm(model, torch.rand_like(example))).eval()
    options: dict[str, Any] = {"input_names": [INPUT], "output_names": [OUTPUT], "dynamo": dynamo}
    if dynamo:
        options["external_data"] = False  # one file, not a second one with the weights
        if batch is None:
            options["dynamic_shapes"] = {"image": {0: torch.export.Dim("batch")}}
    elif batch is None:
        options["dynamic_axes"] = {INPUT: {0: "batch"}, OUTPUT: {0: "batch"}}
    try:
        with quiet(), exportable.EvenPooling():
            torch.onnx.export(network, (example,), str(path), **options)
    except OSError:
        raise
    except Exception as error:  # PyTorch raises whatever the operator at hand raised
        raise _not_exported(model, dynamo, error) from error


def _not_exported(model, dynamo, error) -> ValueError:
    return ValueError(
        f"PyTorch cannot export this {type(model).__name__} with dynamo={dynamo}: {first_line(error)}. "
        f"Try the other exporter, dynamo={not dynamo}, or a fixed batch."
    )


@torch.no_grad()
def _check_answers(model: nn.Module, shape: tuple, classes: int) -> None:
    """Ask the network about a few pictures: noise, a ramp, black and white.

    Raises:
        ValueError: it does not take them, or its answers are no logits.
    """
    batch, *one = shape
    noise = torch.rand(5, *one, generator=torch.Generator().manual_seed(0))
    ramp = torch.linspace(0, 1, one[-1]).expand(1, *one)
    pictures = torch.cat([noise, ramp, torch.zeros(1, *one), torch.ones(1, *one)])
    pictures = pictures.repeat(-(-batch // 8), 1, 1, 1).to(device_of(model))
    parts = [part for part in pictures.split(batch) if len(part) == batch]
    for part in parts:
        try:
            answer = exportable.check_behaviour(model, part)
        except exportable.Unsteady:
            raise
        except Exception as error:  # a network is anybody's code
            colours = "RGB" if one[0] == 3 else "grey"
            raise ValueError(
                f"This {type(model).__name__} does not take {_times(shape)} float, {batch} {colours} pictures with pixels from "
                f"0 to 1: {why_not(model, part, error)} Or say what it takes: shape=(1, channels, height, width)."
            ) from error
        check_logits(answer, classes)
        exportable.check_logits_only(answer)


def run_onnx(
    path: str | Path, images: torch.Tensor, labels: torch.Tensor, batch_size: int = 1000
) -> Evaluation:
    """Run an ONNX file on all images with ONNX Runtime, on the CPU.

    Args:
        path: a file of ``export_onnx``; with a fixed batch the images go through in
            batches of that size, the last one filled up with black ones.
        images: N×channels×height×width, uint8 (0 to 255) or float32 (0 to 1).
        labels: N, int64.
        batch_size: images per call, if the file takes any number.

    Returns:
        The same ``Evaluation`` that ``helpers.evaluation.evaluate`` gives, without a loss.

    Raises:
        FileNotFoundError: there is no such file, or the one beside it that holds its weights is missing.
        ValueError: images or labels of a wrong shape, dtype or range, no ONNX file, or one with other
            inputs and outputs.
    """
    check_split(images, labels, "test")
    if type(batch_size) is not int or batch_size < 1:
        raise ValueError(f"batch_size={batch_size!r}: give a whole number from 1.")
    session = _session(path)
    fixed = _fixed_batch(session, path, list(images.shape[1:]))
    size = fixed or batch_size
    answers = []
    for batch in images.split(size):
        pixels = scaled(batch).cpu()
        if fixed:
            pixels = torch.cat([pixels, pixels.new_zeros(size - len(batch), *pixels.shape[1:])])
        try:
            (found,) = session.run([OUTPUT], {INPUT: pixels.numpy()})
        except Exception as error:  # ONNX Runtime's exceptions have no common base
            raise ValueError(
                f"{paths.shorten(path)} cannot be run: {first_line(error)}. Export it again."
            ) from error
        answers.append(torch.from_numpy(found)[: len(batch)])
    probs = torch.cat(answers)
    if probs.ndim != 2 or len(probs) != len(images) or probs.shape[1] <= int(labels.max()):
        raise ValueError(
            f"{paths.shorten(path)} gives {'×'.join(map(str, probs.shape))} for {len(images)} images, and N×classes is needed. "
            "Take a file of export_onnx."
        )
    return Evaluation(probs, labels.cpu())


def _session(path):
    """ONNX Runtime with this file.

    Raises:
        FileNotFoundError, ValueError: as ``run_onnx``.
    """
    import onnxruntime

    onnx_files.without_weights(Path(path), "Export the model first.")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # what goes wrong is in the exception
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its exceptions have no common base
        raise ValueError(
            f"{paths.shorten(path)} cannot be run by ONNX Runtime: {first_line(error)}. Export it again."
        ) from error


def _fixed_batch(session, path, one: list[int]) -> int | None:
    """The number of images that the file wants; None for any number.

    Raises:
        ValueError: it has other inputs or outputs than ``export_onnx`` gives, or takes other images than these.
    """
    inputs, outputs = session.get_inputs(), session.get_outputs()
    shape = inputs[0].shape if inputs else []
    ours = [one.name for one in inputs] == [INPUT] and OUTPUT in [one.name for one in outputs]
    if not ours or inputs[0].type != "tensor(float)" or len(shape) != 4:
        given = ", ".join(f"{one.name!r} of {_times(one.shape)}, {one.type}" for one in inputs)
        raise ValueError(
            f"{paths.shorten(path)} takes {paths.printable(given or 'nothing', 200)}. run_onnx is for files of export_onnx: "
            f"one input {INPUT!r} of N×channels×height×width, float, and the output {OUTPUT!r}."
        )
    if any(isinstance(side, int) and side != given for side, given in zip(shape[1:], one, strict=True)):
        raise ValueError(
            f"{paths.shorten(path)}: its input {INPUT!r} of {_times(shape)} takes N×{_times(shape[1:])}, and these images are "
            f"N×{_times(one)}. Give images of its size, or export the network for theirs, with shape=(1, {', '.join(map(str, one))})."
        )
    return shape[0] if isinstance(shape[0], int) else None
