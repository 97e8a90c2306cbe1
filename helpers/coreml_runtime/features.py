"""What a model takes, as its description says: images and arrays; and the class labels."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from .archive import Archive

COLOURS = {10: "greyscale", 20: "RGB", 30: "BGR", 40: "float16 greyscale"}
"""The colour spaces of images (``FeatureTypes.proto``)."""

PIL_MODES = {"greyscale": "L", "RGB": "RGB", "BGR": "RGB", "float16 greyscale": "F"}
"""Pillow's mode for each."""

UNBOUNDED = 2**28
"""Stands for "any size" in a range of the file. No input has more numbers."""


def _size_text(ends) -> str:
    low, high = ends
    return str(low) if low == high else f"({low} or more)" if high == UNBOUNDED else f"({low} to {high})"


class _Shapes:
    """The shapes that an input may have: its own, or one of ``others``, ranges of each dimension."""

    shape: tuple
    others: tuple

    def allows(self, shape: tuple) -> bool:
        """Whether the file takes a tensor of this shape."""
        return shape == self.shape or any(
            len(shape) == len(ranges)
            and all(low <= n <= high for n, (low, high) in zip(shape, ranges, strict=True))
            for ranges in self.others
        )

    def takes(self, *sides: int) -> str:
        """The shapes, or some ``sides`` of them, for an error's text: "3×224×224 or 3×(64 to 512)×224"."""
        texts = []
        for ranges in self.others or [[(size, size) for size in self.shape]]:
            picked = [ranges[side] for side in sides] if sides else ranges
            texts.append("×".join(map(_size_text, picked)) or "()")
        return " or ".join(texts[:8] + ["others"] * (len(texts) > 8))


@dataclass(frozen=True)
class ImageInput(_Shapes):
    """An image that the model takes.

    Attributes:
        name: its name.
        width, height: in pixels. Core ML takes no other size unless the file names some (``others``); an
            app's Vision request resizes.
        colour: the channel order that the network sees: "RGB", "BGR", "greyscale" or "float16 greyscale".
        shape: of the tensor, 1 × channels × height × width.
        others: which other shapes it takes, each the smallest and largest size of every dimension.
    """

    name: str
    width: int
    height: int
    colour: str
    shape: tuple
    others: tuple = ()


@dataclass(frozen=True)
class ArrayInput(_Shapes):
    """An array that the model takes: its name, its shape with the leading 1, and ``others`` as for an image."""

    name: str
    shape: tuple
    others: tuple = ()


@dataclass(frozen=True)
class Preprocessing:
    """What the file does to pixels before the first layer: ``scale · pixel + bias``.

    Attributes:
        scale: multiplies a pixel of 0 to 255.
        bias: added after that, one number per channel, in the order that the network sees the channels.
        mean_image: whether a picture of means is subtracted, too.
    """

    scale: float
    bias: tuple
    mean_image: bool = False


def read_inputs(archive: Archive) -> dict[str, ImageInput | ArrayInput]:
    """The inputs by name, from the model's description."""
    inputs: dict[str, ImageInput | ArrayInput] = {}
    for feature in archive.specification.description.input:
        kind = feature.type.WhichOneof("Type")
        if kind == "imageType":
            inputs[feature.name] = _image(archive, feature.name, feature.type.imageType)
        elif kind == "multiArrayType":
            array = feature.type.multiArrayType
            boxes = [[(n, n) for n in choice.shape] for choice in array.enumeratedShapes.shapes]
            if array.WhichOneof("ShapeFlexibility") == "shapeRange":
                boxes = [[_range(size) for size in array.shapeRange.sizeRanges]]
            shape = tuple(array.shape) or tuple(low for box in boxes[:1] for low, _ in box)
            if any(size < 1 for size in shape) or np.prod(shape, dtype=float) > 2**28:
                raise archive.error(f"the input '{feature.name}' has the shape {shape}")
            inputs[feature.name] = ArrayInput(feature.name, shape, tuple(map(tuple, boxes)))
        else:
            raise archive.error(
                f"the input '{feature.name}' is of the kind '{kind}'",
                "It is not covered: only images and arrays are.",
            )
    if not inputs:
        raise archive.error("it has no input")
    return inputs


def _range(size) -> tuple[int, int]:
    """The smallest and largest size of one dimension; the format writes "any" as a negative number."""
    return max(1, size.lowerBound), size.upperBound if size.upperBound >= 0 else UNBOUNDED


def _image(archive, name, image) -> ImageInput:
    """One image of the description; without a size the first of the enumerated or the smallest counts."""
    colour = COLOURS.get(image.colorSpace)
    if colour is None:
        raise archive.error(
            f"the image '{name}' has the colour space {image.colorSpace}",
            f"It is not covered: only {', '.join(COLOURS.values())} are.",
        )
    channels = 3 if PIL_MODES[colour] == "RGB" else 1
    sides = [((size.height, size.height), (size.width, size.width)) for size in image.enumeratedSizes.sizes]
    if image.WhichOneof("SizeFlexibility") == "imageSizeRange":
        sides = [(_range(image.imageSizeRange.heightRange), _range(image.imageSizeRange.widthRange))]
    smallest = [low for low, _ in sides[0]] if sides else [0, 0]
    height, width = image.height or smallest[0], image.width or smallest[1]
    if not (0 < width <= 2**15 and 0 < height <= 2**15):
        raise archive.error(f"the image '{name}' is {width}×{height}")
    others = tuple(((1, 1), (channels, channels), *two) for two in sides)
    return ImageInput(name, width, height, colour, (1, channels, height, width), others)


def class_labels(message: Any) -> list:
    """The class labels of any kind of classifier; empty if it has none."""
    if "ClassLabels" not in message.DESCRIPTOR.oneofs_by_name:
        return []
    kind = message.WhichOneof("ClassLabels")
    return list(getattr(message, kind).vector) if kind else []
