"""Runs a saved Core ML model on any operating system, on torch.

Apple's Core ML exists only on Apple's systems. This package reads the file
itself, an ``.mlmodel`` (neural network) or an ``.mlpackage`` (ML program), and
computes every operator with torch, so that the numbers of a converted model can
be proved on Linux. It proves the *file*: weights, operators, preprocessing,
labels. It does not prove the phone: Core ML picks its own kernels there.

The rooms: ``archive`` opens files that a stranger may have written. ``program`` reads the
one format (with ``constants`` and ``compressed`` weights), ``network`` the other (with its
``layers``), ``pipeline`` several models in one file, ``features`` what they say of inputs and
labels. ``operators`` computes; each is one of the ``steps`` of a ``graph``, which checks them in
their order (by a ``dry_run`` without memory) and runs them. ``loaded`` is what you hold in your hand.
"""

import os

from .features import ArrayInput, ImageInput, Preprocessing
from .loaded import CoreMLModel

__all__ = ["ArrayInput", "CoreMLModel", "ImageInput", "Preprocessing", "load"]


def load(
    path: str | os.PathLike, precision: str = "stored", engine: str = "torch", compute_unit: str = "ALL"
) -> CoreMLModel:
    """Open a saved Core ML model.

    Args:
        path: an ``.mlmodel`` file or an ``.mlpackage`` folder.
        precision: what happens to float values on their way.

            * "stored": as the file says. A neural network computes in float32. In an ML program every
              result that it declares as float16 is rounded to float16, every other is float32.
            * "float32": nothing is rounded; float16 weights keep the values that they have.
            * "float16": the weights and every operator's result are rounded to float16.

            Rounding after each operator shows what float16's 11 bits and its largest number, 65504,
            do to a model: whether probabilities move in the third digit, whether a value overflows. It
            cannot show the phone's own last digits: sums are accumulated in float32 here, a Neural
            Engine may accumulate otherwise, fuse operators without rounding between them, or compute
            in float32 after all. Two honest float16 computers differ from each other about as much as
            each differs from float32.
        engine: "torch"; or on a Mac "coreml" (Core ML itself) or "both" (answers from Core ML, and
            ``largest_difference`` keeps the largest difference from torch).
        compute_unit: what Core ML may compute with: "ALL", "CPU_ONLY", "CPU_AND_GPU" or "CPU_AND_NE" (the
            Neural Engine). Torch computes on the CPU.

    Returns:
        The model, with ``predict`` for one example, ``probs`` and ``run`` for batches, and attributes
        that tell what the file says.

    Raises:
        FileNotFoundError: there is nothing at ``path``.
        ValueError: the file is damaged, cut short or forged, or has an operator that is not covered; the
            text names the file, the operator and its name in the file.
        RuntimeError: another engine than torch was asked for off a Mac.
        ImportError: coremltools is not installed.

    Example:
        >>> model = load("alexnet.mlpackage")  # doctest: +SKIP
        >>> model.predict({"image": picture})["classLabel"]  # doctest: +SKIP
        'cat'
    """
    return CoreMLModel(path, precision=precision, engine=engine, compute_unit=compute_unit)
