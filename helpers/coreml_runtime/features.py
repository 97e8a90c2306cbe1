"""What a model takes, as its description says: images and arrays; and the class labels."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from .archive import Archive

COLOURS = {10: "greyscale", 20: "RGB", 30: "BGR", 40: "greyscale in 16 bits"}
"""The colour spaces of images (``FeatureTypes.proto``)."""

PIL_MODES = {"greyscale": "L", "RGB": "RGB", "BGR": "RGB"}
"""Those that are covered, and Pillow's mode for each."""


@dataclass(frozen=True)
class ImageInput:
    """An image that the model takes.

    Attributes:
        name: its name.
        width, height: in pixels; Core ML takes no other size (an app's Vision request resizes).
        colour: the channel order that the network sees: "RGB", "BGR" or "greyscale".
        shape: of the tensor, 1 × channels × height × width.
    """

    name: str
    width: int
    height: int
    colour: str
    shape: tuple


@dataclass(frozen=True)
class ArrayInput:
    """An array that the model takes: its name and its shape, the leading 1 included."""

    name: str
    shape: tuple


@dataclass(frozen=True)
class Preprocessing:
    """What the file does to pixels before the first layer: ``scale · pixel + bias``.

    Attributes:
        scale: multiplies a pixel of 0 to 255.
        bias: added after that, one number per channel, in the order that the network sees the channels.
    """

    scale: float
    bias: tuple


def read_inputs(archive: Archive) -> dict[str, ImageInput | ArrayInput]:
    """The inputs by name, from the model's description."""
    inputs: dict[str, ImageInput | ArrayInput] = {}
    for feature in archive.specification.description.input:
        kind = feature.type.WhichOneof("Type")
        if kind == "imageType":
            image = feature.type.imageType
            colour = COLOURS.get(image.colorSpace)
            if colour not in PIL_MODES:
                raise archive.error(
                    f"the image '{feature.name}' has the colour space {image.colorSpace}",
                    "It is not covered: only RGB, BGR and 8-bit greyscale are.",
                )
            if not (0 < image.width <= 2**15 and 0 < image.height <= 2**15):
                raise archive.error(f"the image '{feature.name}' is {image.width}×{image.height}")
            shape = (1, 1 if colour == "greyscale" else 3, image.height, image.width)
            inputs[feature.name] = ImageInput(feature.name, image.width, image.height, colour, shape)
        elif kind == "multiArrayType":
            shape = tuple(feature.type.multiArrayType.shape)
            if any(size < 1 for size in shape) or np.prod(shape, dtype=float) > 2**28:
                raise archive.error(f"the input '{feature.name}' has the shape {shape}")
            inputs[feature.name] = ArrayInput(feature.name, shape)
        else:
            raise archive.error(
                f"the input '{feature.name}' is of the kind '{kind}'",
                "It is not covered: only images and arrays are.",
            )
    if not inputs:
        raise archive.error("it has no input")
    return inputs


def class_labels(message: Any) -> list:
    """The class labels of any kind of classifier; empty if it has none."""
    if "ClassLabels" not in message.DESCRIPTOR.oneofs_by_name:
        return []
    kind = message.WhichOneof("ClassLabels")
    return list(getattr(message, kind).vector) if kind else []
