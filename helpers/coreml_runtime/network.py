"""Reads a neural network (``.mlmodel``): its layers, weights and quantised weights.

The meaning of every field is that of ``NeuralNetwork.proto`` in apple/coremltools.
"""

import inspect
import math

import numpy as np
import torch

from .archive import ON_A_MAC, Archive, NotCovered, unpack_bits
from .layers import LAYERS
from .steps import Name, Step, half

# Kept as they are when an old file (before iOS 13) counts the dimensions as sequence, batch, C, H, W:
# these look at the last three only, or at one value at a time.
_RANK_FREE = {
    "activation", "add", "average", "batchnorm", "bias", "concat", "convolution", "flatten", "innerProduct",
    "lrn", "max", "min", "multiply", "padding", "pooling", "scale", "slice", "softmax", "split", "unary",
    "upsample",
}  # fmt: skip

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
        precision: "stored", "float32" or "float16"; see ``load``.

    Attributes:
        steps: the layers in order.
        old: whether it counts the dimensions as sequence, batch, C, H, W, of which Core ML answers C, H, W.

    Raises:
        ValueError: a layer is not covered, or weights are missing or of another size than declared.
    """

    def __init__(self, archive: Archive, network, precision: str):
        self._archive = archive
        self._precision = precision
        self._layer = "?"
        inputs = archive.specification.description.input
        arrays = any(feature.type.WhichOneof("Type") == "multiArrayType" for feature in inputs)
        if arrays and network.arrayInputShapeMapping == 0:  # RANK5_ARRAY_MAPPING
            raise archive.error(
                "it counts the dimensions of its array input as before iOS 13, which is not covered",
                "Convert the model again for iOS 13 or later.",
            )
        # RANK5_IMAGE_MAPPING
        self.old = old = not arrays and network.imageInputShapeMapping == 0
        self.steps = []
        for layer in network.layers:
            kind = layer.WhichOneof("layer")
            where = f"the layer '{kind}' called '{layer.name}'"
            if kind not in LAYERS:
                raise archive.error(f"{where} is not covered", ON_A_MAC)
            if old and kind not in _RANK_FREE:
                raise archive.error(
                    f"{where} counts its dimensions as before iOS 13, which is not covered",
                    "Convert the model again for iOS 13 or later.",
                )
            self._layer = where
            arguments = [Name(name) for name in layer.input]
            with archive.reading(where):
                if kind == "convolution" and len(arguments) > 1:
                    raise NotCovered("weights as an input")
                function, parameters = LAYERS[kind](getattr(layer, kind), self._weights)
                place, name = _SHAPE_INPUTS.get(kind, (len(arguments), ""))
                if place < len(arguments):
                    parameters[name] = arguments.pop(place)
                _check_inputs(function, arguments, parameters)
            if precision == "float16":
                parameters = {
                    key: half(value)
                    if isinstance(value, float) and not key.endswith(("height", "width"))
                    else value
                    for key, value in parameters.items()
                }
            self.steps.append(
                Step(
                    operator=kind,
                    name=layer.name,
                    function=function,
                    arguments=arguments,
                    parameters=parameters,
                    outputs=list(layer.output),
                    shapes=[None] * len(layer.output),
                    rounds=[precision == "float16"] * len(layer.output),
                    kinds=["float"] * len(layer.output),
                )
            )

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
