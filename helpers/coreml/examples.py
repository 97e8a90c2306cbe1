"""Examples of what a model takes, and what a saved file answers to them: the evidence of every proof here.

A Core ML file is written to a scratch folder, read back by ``helpers.coreml_runtime``, and gets a few
examples; so does what it was made from. A wrong operator is wrong almost everywhere, so six find it.
"""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from helpers import coreml_runtime
from helpers.coreml_runtime import archive

from .files import save

PICTURES = ("noise", "noise", "smooth", "ramp", "black", "white")
"""The examples of a picture."""


def picture(kind: str, shape: tuple[int, ...], random: np.random.Generator) -> np.ndarray:
    """One example of a picture: channels × height × width, uint8."""
    channels, height, width = shape
    if kind == "noise":
        return random.integers(0, 256, shape, np.uint8)
    if kind == "smooth":  # a few large areas of one colour each: noise looks the same to a deep network
        coarse = random.integers(0, 256, (channels, 4, 4))
        rows, columns = (np.arange(size) * 4 // size for size in (height, width))
        return coarse[:, rows][:, :, columns].astype(np.uint8)
    if kind == "ramp":
        line = np.linspace(0, 255, width).round().astype(np.uint8)
        return np.broadcast_to(line, shape).copy()
    return np.full(shape, 255 if kind == "white" else 0, np.uint8)


def as_core_ml(pixels: np.ndarray) -> np.ndarray:
    """Channels × height × width as Core ML's ``predict`` takes a picture: H×W×3, or H×W for grey."""
    return np.ascontiguousarray(pixels.transpose(1, 2, 0)) if len(pixels) == 3 else pixels[0]


NUMBERS = ("normal", "normal", "wide", "edges", "zeros", "ones")
"""The examples of an array."""

_EDGES = (-2.5, -1.5, -1.0, -0.5, 0.0, 0.5, 1.0, 1.5, 2.5)


def numbers(kind: str, shape: tuple[int, ...], random: np.random.Generator) -> np.ndarray:
    """One example of an array, float32: of the usual size, far out on both sides, or where a rule changes."""
    if kind in ("zeros", "ones"):
        return np.full(shape, float(kind == "ones"), np.float32)
    if kind == "edges":
        return random.choice(np.array(_EDGES, np.float32), shape).astype(np.float32)
    return (random.standard_normal(shape) * (8 if kind == "wide" else 1)).astype(np.float32)


def answers(converted: Any, examples: list[dict]) -> list[dict]:
    """What a model answers to each example, once it is saved and read back.

    Args:
        converted: a ``coremltools.models.MLModel``.
        examples: input name → value, as ``helpers.coreml_runtime.CoreMLModel.predict`` takes it.

    Raises:
        ValueError: the file has something that is not covered.
    """
    with tempfile.TemporaryDirectory() as folder:
        program = converted.get_spec().HasField("mlProgram")
        path = save(converted, Path(folder) / f"model.{'mlpackage' if program else 'mlmodel'}")
        model = coreml_runtime.load(path)
        return [model.predict(values) for values in examples]


def cause(error: ValueError) -> str:
    """What the runtime says about a file that has just been written: it is not damaged."""
    text = str(error)
    for advice in (archive.CONVERT_AGAIN, archive.ON_A_MAC, archive.UNFIT):
        text = text.replace(advice, "")
    return f"{text.rstrip('. ')}."
