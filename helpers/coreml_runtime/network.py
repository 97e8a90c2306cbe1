"""Reads a neural network (``.mlmodel``): its layers, weights and quantised weights.

The meaning of every field is that of ``NeuralNetwork.proto`` in apple/coremltools.
"""

import inspect
import math

import numpy as np
import torch

from .archive import ON_A_MAC, Archive, NotCovered, reason, unpack_bits
from .features import ImageInput, Preprocessing
from .layers import LAYERS
from .steps import Name, Step, half

_SINCE_IOS13 = 600
"""Layers with this number or a higher one in the format came with iOS 13, and so did shapes of any rank."""

# Inputs that decide about the shape of the result: which one, and the parameter that it takes the place of.
_SHAPE_INPUTS = {
    "fillDynamic": (0, "shape"),
    "oneHot": (1, "one_hot_vector_size"),
    "tile": (1, "reps"),
    "topK": (1, "k"),
}


class NetworkReader:
    """Turns the layers of a neural network into steps.

    Args:
        archive: the opened model.
        network: its ``NeuralNetwork`` or ``NeuralNetworkClassifier`` message.
        inputs: the model's inputs by name.
        precision: "stored", "float32" or "float16"; see ``load``.

    Attributes:
        steps: the layers in order, and before them what happens to the inputs.
        preprocessing: ``Preprocessing`` by the name of the image input.
        old: whether it counts the dimensions as sequence, batch, C, H, W, of which Core ML answers C, H, W.

    Raises:
        ValueError: a layer is not covered, or weights are missing or of another size than declared.
    """

    def __init__(self, archive: Archive, network, inputs, precision: str):
        self._archive = archive
        self._precision = precision
        self._layer = "?"
        self.old = False
        self.preprocessing: dict[str, Preprocessing] = {}
        self.steps: list[Step] = []
        self._now = {name: Name(name) for name in inputs}  # what the layers get for an input
        for name, feature in inputs.items():
            image = isinstance(feature, ImageInput)
            if image:
                self.preprocessing[name] = Preprocessing(1.0, (0.0,) * feature.shape[1])
            if (network.imageInputShapeMapping if image else network.arrayInputShapeMapping) == 0:
                self.old = True
                if not image and len(feature.shape) not in (1, 3):
                    raise archive.error(
                        f"its array '{name}' has {len(feature.shape)} dimensions, not C or C×H×W"
                    )
                self._prepare("as sequence, batch, C, H, W", feature, _of_rank_5, {})
        self._preprocess(network.preprocessing, inputs)
        for layer in network.layers:
            self._read(layer)

    def _prepare(self, operator, feature, function, parameters):
        """A step before the first layer. The layers read an input by its name, and shall get the result."""
        name = self._now[feature.name]
        self._now[feature.name] = Name(f"{name}, {operator}")
        self._add(operator, feature.name, function, [name], parameters, [self._now[feature.name]])

    def _preprocess(self, messages, inputs):
        """What the file does to the pixels of its images: scale and bias, or a picture of means taken off."""
        images = list(self.preprocessing)
        for message in messages:
            name = message.featureName or (images[0] if len(images) == 1 else "")
            if name not in images:
                raise self._archive.error(f"its preprocessing is for '{name}', which is no image input")
            feature, kind = inputs[name], message.WhichOneof("preprocessor")
            plain = Preprocessing(1.0, (0.0,) * feature.shape[1])
            # 0 cannot be told from "not set", and an image times 0 is of no use to anyone.
            wanted = Preprocessing(
                message.scaler.channelScale or 1.0, _biases(feature.colour, message.scaler)
            )
            if kind == "scaler" and wanted == plain:
                continue
            if kind not in ("scaler", "meanImage") or self.preprocessing[name] != plain:
                raise self._archive.error(
                    f"it preprocesses the image '{name}' twice, in an order that the format leaves open",
                    ON_A_MAC,
                )
            if kind == "scaler":
                values = torch.tensor([half(b) if self._precision == "float16" else b for b in wanted.bias])
                parameters = {"scale": wanted.scale, "bias": values.view(-1, 1, 1)}
                self._prepare(kind, feature, _scaled, parameters)
            else:
                wanted, mean = (
                    Preprocessing(1.0, plain.bias, True),
                    np.array(message.meanImage.meanImage, np.float32),
                )
                if mean.size != np.prod(feature.shape):
                    raise self._archive.error(f"its mean image has {mean.size} numbers for {feature.takes()}")
                parameters = {"other": torch.from_numpy(mean.reshape(feature.shape[1:]))}
                self._prepare(kind, feature, torch.sub, parameters)
            self.preprocessing[name] = wanted

    def _read(self, layer):
        """One layer."""
        kind = layer.WhichOneof("layer")
        self._layer = where = f"the layer '{kind}' called '{layer.name}'"
        if kind not in LAYERS:
            raise self._archive.refuse(where, NotCovered(reason(str(kind))))
        if self.old and layer.DESCRIPTOR.fields_by_name[kind].number >= _SINCE_IOS13:
            raise self._archive.error(
                f"{where} came with iOS 13, but the file counts its dimensions as before",
                "Core ML refuses such a file: convert the model again for iOS 13 or later.",
            )
        arguments = [self._now.get(name, Name(name)) for name in layer.input]
        with self._archive.reading(where):
            if kind == "convolution" and len(arguments) > 1:
                raise NotCovered("weights as an input")
            function, parameters = LAYERS[kind](getattr(layer, kind), self._weights)
            place, name = _SHAPE_INPUTS.get(kind, (len(arguments), ""))
            if place < len(arguments):
                parameters[name] = arguments.pop(place)
            _check_inputs(function, arguments, parameters)
        self._add(kind, layer.name, function, arguments, parameters, list(layer.output))

    def _add(self, operator, name, function, arguments, parameters, outputs):
        rounds = self._precision == "float16"
        if rounds:
            parameters = {
                key: half(value)
                if isinstance(value, float) and not key.endswith(("height", "width"))
                else value
                for key, value in parameters.items()
            }
        n, made = len(outputs), (operator, name, function, arguments, parameters, outputs)
        self.steps.append(Step(*made, [None] * n, [rounds] * n, ["float"] * n))

    def _weights(self, params, shape) -> torch.Tensor:
        """One weight, decoded to float32.

        Args:
            params: a ``WeightParams`` message.
            shape: what the layer's other fields say its shape is.

        Raises:
            ValueError: it is stored in no known way, or not with that many values.
        """
        shape = [int(size) for size in shape]
        count = math.prod(shape)
        self._archive.take(count, 4, self._layer)
        stored = len(params.floatValue) or len(params.float16Value) / 2
        if params.int8RawValue:
            raise NotCovered("it computes in 8-bit integers")
        if params.rawValue:
            values = self._quantised(params, shape, count)
        elif stored != count:
            raise self._archive.error(
                f"{self._layer} has {stored:g} weights, its shape {tuple(shape)} needs {count}"
            )
        elif params.floatValue:
            values = np.array(params.floatValue, np.float32)
        else:
            values = np.frombuffer(params.float16Value, np.float16).astype(np.float32)
        if self._precision == "float16":
            with np.errstate(over="ignore"):
                values = values.astype(np.float16).astype(np.float32)
        return torch.from_numpy(np.ascontiguousarray(values.reshape(shape), np.float32))

    def _quantised(self, params, shape, count) -> np.ndarray:
        """Weights of 1 to 8 bits: a table of values, or scale · number + bias per output channel."""
        quantisation = params.quantization
        bits = quantisation.numberOfBits
        if not 1 <= bits <= 8 or len(params.rawValue) != math.ceil(count * bits / 8):
            raise self._archive.error(
                f"{self._layer} has {len(params.rawValue)} bytes of weights, "
                f"its shape {tuple(shape)} needs {count} numbers of {bits} bits"
            )
        numbers = unpack_bits(np.frombuffer(params.rawValue, np.uint8), bits, count, first="big")
        if quantisation.WhichOneof("QuantizationType") == "lookupTableQuantization":
            table = np.array(quantisation.lookupTableQuantization.floatValue, np.float32)
            if table.size != 2**bits:
                raise self._archive.error(f"{self._layer} has a table of {table.size} values for {bits} bits")
            return table[numbers]
        scale = np.array(quantisation.linearQuantization.scale, np.float32)
        bias = np.array(quantisation.linearQuantization.bias, np.float32)
        channels = shape[0] if shape else 1
        if scale.size not in (1, channels) or bias.size not in (0, 1, channels):
            raise self._archive.error(
                f"{self._layer} has {scale.size} scales and {bias.size} biases for {channels} channels"
            )
        numbers = numbers.reshape(channels, -1).astype(np.float32)
        return numbers * scale.reshape(-1, 1) + (bias.reshape(-1, 1) if bias.size else 0)


def _of_rank_5(x):
    """C, C×H×W or 1×C×H×W as 1×1×C×H×W."""
    return x.reshape(1, 1, *(x.shape[-3:] if x.ndim > 1 else (len(x), 1, 1)))


def _biases(colour, scaler) -> tuple:
    """A bias for each channel, in the order that the network sees them."""
    order = {"RGB": ("red", "green", "blue"), "BGR": ("blue", "green", "red")}.get(colour, ("gray",))
    return tuple(getattr(scaler, f"{name}Bias") for name in order)


def _scaled(image, scale, bias):
    return image * scale + bias


def _check_inputs(function, inputs, parameters):
    """The function takes as many inputs as the file gives it. torch's own functions do not say."""
    try:
        signature = inspect.signature(function)
    except ValueError:
        return
    try:
        signature.bind(*inputs, **parameters)
    except TypeError:
        raise NotCovered(f"its form with {len(inputs)} inputs") from None
