"""The inputs and outputs that are pictures, and what happens to their pixels.

An image is 1×3×H×W in colour or 1×1×H×W in grey; an input may also be without the batch, or have the channels
last. ``preprocessing_args`` says what happens to each pixel from
0 to 255, ``deprocessing_args`` how an output's values become pixels: ``image_scale`` multiplies, ``red_bias``,
``green_bias``, ``blue_bias`` and ``gray_bias`` are added after that, ``is_bgr`` turns the channels round. One
dict is for all images; a list has one for each, and so has a dict of dicts by image name.
"""

import math
from dataclasses import dataclass, replace

import numpy as np

from . import graph

PREPROCESSING = {
    "is_bgr": False,
    "red_bias": 0.0,
    "green_bias": 0.0,
    "blue_bias": 0.0,
    "gray_bias": 0.0,
    "image_scale": 1.0,
}
"""The old package's ``preprocessing_args`` and their defaults: network input = pixel · scale + bias."""


FIRST, LAST = (0, 1, 2, 3), (0, 2, 3, 1)
"""The order of batch, channels, height and width with the channels first, or last."""


@dataclass
class Image:
    """An input or output that is a picture.

    Attributes:
        name: of the tensor.
        shape: 1 × channels × height × width.
        original: its shape in the file, which may be without the batch or have the channels last.
        order: which dimension of ``shape`` comes where in the file, were there a batch.
        colour: the channel order that the network sees: "RGB", "BGR" or "GRAYSCALE".
        scale: multiplies every value.
        bias: added after that, one per channel in the network's own order.
    """

    name: str
    shape: tuple[int, ...]
    colour: str
    scale: float
    bias: list[float]
    original: tuple[int, ...] = ()
    order: tuple[int, ...] = FIRST

    def as_in_the_file(self, values: np.ndarray) -> np.ndarray:
        """An array of ``shape`` in the file's own shape."""
        return values.transpose(self.order).reshape(self.original)


def _name_list(argument: str, given) -> list[str]:
    if isinstance(given, str):
        raise ValueError(f"{argument} is a list of names: write [{given!r}].")
    found = [str(name) for name in (given or ())]
    twice = next((name for name in found if found.count(name) > 1), None)
    if twice:
        raise ValueError(f"{argument} has {twice!r} twice.")
    return found


def _chosen(argument: str, given, values, renamed: dict, kind: str) -> list:
    """The inputs or outputs that the caller names, by the ONNX name or else by the one in Core ML."""
    by_name = {value.name: value for value in values}
    chosen = []
    for name in _name_list(argument, given):
        value = by_name.get(renamed.get(name, name))
        if value is None:
            raise ValueError(
                f"{argument} has {name!r}, and the model's {kind}s are {', '.join(by_name)}. "
                f"Use the name that {kind}_names gave it when it was exported."
            )
        if value in chosen:
            raise ValueError(f"{argument} has the {kind} {value.name!r} under two names: leave one out.")
        chosen.append(value)
    return chosen


def inputs(proto, renamed, names, arguments) -> dict[str, Image]:
    """The inputs that become images, by their names in Core ML.

    Args:
        renamed: the name in Core ML by the one in the ONNX file.
        names, arguments: ``image_input_names`` and ``preprocessing_args`` of ``convert``.
    """
    values = _chosen("image_input_names", names, graph.inputs(proto), renamed, "input")
    if arguments and not values:
        raise ValueError(
            "preprocessing_args says what happens to pixels, and no input is an image. "
            "Name it: image_input_names=['image']."
        )
    settings = _one_per_image("preprocessing_args", arguments, _name_list("", names))
    return {value.name: _in_the_file(value, setting) for value, setting in zip(values, settings, strict=True)}


def _in_the_file(value, setting: dict) -> Image:
    """An input that becomes a picture: with or without a batch, the channels first or last."""
    original = graph.shape(value)
    whole = original if len(original) == 4 else (1, *original)
    fits = {order: len(whole) == 4 and whole[order.index(1)] in (1, 3) for order in (FIRST, LAST)}
    order = LAST if fits[LAST] and not fits[FIRST] else FIRST
    shape = tuple(whole[order.index(axis)] for axis in FIRST) if fits[order] else original
    image = _image("preprocessing_args", value.name, shape, setting)
    changed = image.scale != 1 or any(image.bias)
    if graph.numpy_type(value) == np.uint8 and changed:
        raise ValueError(
            f"The image {value.name!r} takes bytes from 0 to 255 as they are, and preprocessing_args would change them: "
            "leave image_scale and the biases out."
        )
    return replace(image, original=original, order=order)


def outputs(proto, renamed, names, arguments) -> dict[str, Image]:
    """The outputs that become images; their scale and bias are added to the graph. Arguments as for ``inputs``."""
    values = _chosen("image_output_names", names, list(proto.graph.output), renamed, "output")
    if arguments and not values:
        raise ValueError(
            "deprocessing_args says how values become pixels, and no output is an image. "
            "Name it: image_output_names=['picture']."
        )
    settings = _one_per_image("deprocessing_args", arguments, _name_list("", names))
    images = {}
    for value, setting in zip(values, settings, strict=True):
        image = _image("deprocessing_args", value.name, graph.shape(value), setting)
        images[value.name] = image
        if image.scale != 1 or any(image.bias):
            graph.scale_output(proto, image.name, image.scale, image.bias)
    return images


def _one_per_image(argument: str, given, names: list[str]) -> list[dict]:
    """The settings of each image.

    Taken are one dict for all, one per image (a list, or a dict by image name), and the old
    package's own way of several images: ``{"image_scale": {"image": 0.5}}``.
    """
    if given is None:
        given = {}
    if isinstance(given, list | tuple):
        if len(given) != len(names):
            raise ValueError(f"{argument} has {len(given)} dicts for {len(names)} images. Give one for each.")
        settings = list(given)
    elif isinstance(given, dict) and given and set(given) <= set(names):
        settings = [given.get(name, {}) for name in names]
    else:
        settings = [given] * len(names)
    result = []
    for name, setting in zip(names, settings, strict=True):
        if not isinstance(setting, dict):
            raise ValueError(f"{argument} is {setting!r}. Write a dict, e.g. {{'image_scale': 1 / 255}}.")
        unknown = [key for key in setting if key not in PREPROCESSING]
        if unknown:
            raise ValueError(f"{argument} has {unknown[0]!r}. It may have {', '.join(PREPROCESSING)}.")
        single = {}
        for key, value in setting.items():
            if isinstance(value, dict):
                others = [other for other in value if other not in names]
                if others:
                    raise ValueError(
                        f"{argument}[{key!r}] is for {others[0]!r}, which is not one of the images {names}."
                    )
                value = value.get(name, PREPROCESSING[key])
            single[key] = _number(argument, key, value)
        result.append(PREPROCESSING | single)
    return result


def _number(argument: str, key: str, value):
    if key == "is_bgr":
        if value not in (True, False):
            raise ValueError(f"{argument}['is_bgr'] is {value!r}: use True or False.")
        return bool(value)
    advice = "Write a number."
    if key == "image_scale":
        advice = (
            "Core ML has one scale for all channels: put the mean and std of each into the network, with "
            "helpers.normalisation.normalise_inside."
        )
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise ValueError(f"{argument}[{key!r}] is {value!r}. {advice}") from None
    if not math.isfinite(number) or (key == "image_scale" and number == 0):
        raise ValueError(
            f"{argument}[{key!r}] is {value!r}, which leaves no picture. Write a number like 1/255."
        )
    return number


def _image(argument: str, name: str, shape: tuple[int, ...], setting: dict) -> Image:
    if len(shape) != 4 or shape[0] != 1 or shape[1] not in (1, 3) or 0 in shape:
        sizes = "×".join(str(size or "?") for size in shape)
        raise ValueError(
            f"{name!r} cannot be an image: its shape is {sizes}, and Core ML's images are 1×3×height×width "
            "(colour) or 1×1×height×width (grey) with fixed sizes. Export the model with batch=1 and fixed sizes, "
            "or leave it an array."
        )
    if shape[1] == 1:
        unused = [k for k in ("is_bgr", "red_bias", "green_bias", "blue_bias") if setting[k]]
        colour, bias = "GRAYSCALE", [setting["gray_bias"]]
    else:
        unused = ["gray_bias"] if setting["gray_bias"] else []
        colour = "BGR" if setting["is_bgr"] else "RGB"
        bias = [setting[f"{channel}_bias"] for channel in ("red", "green", "blue")]
        bias = bias[::-1] if setting["is_bgr"] else bias
    if unused:
        kind, use = (
            ("grey", "gray_bias") if shape[1] == 1 else ("coloured", "red_bias, green_bias and blue_bias")
        )
        raise ValueError(f"{argument} has {unused[0]!r}, and the image {name!r} is {kind}. Use {use}.")
    return Image(name, shape, colour, setting["image_scale"], bias)
