"""Reads a neural network (``.mlmodel``): its layers, weights and quantised weights.

The meaning of every field is that of ``NeuralNetwork.proto`` in apple/coremltools.
"""

import math

import numpy as np
import torch

from . import operators as op
from .archive import Archive, unpack_bits
from .graph import Name, Step

# Kept as they are when an old file (before iOS 13) counts the dimensions as sequence, batch, C, H, W:
# these look at the last three only, or at one value at a time.
_RANK_FREE = {
    "activation", "add", "average", "batchnorm", "bias", "concat", "convolution", "flatten", "innerProduct",
    "lrn", "max", "min", "multiply", "padding", "pooling", "scale", "slice", "softmax", "split", "unary",
    "upsample",
}  # fmt: skip


class NetworkReader:
    """Turns the layers of a neural network into steps.

    Args:
        archive: the opened model.
        network: its ``NeuralNetwork`` or ``NeuralNetworkClassifier`` message.
        precision: "stored", "float32" or "float16"; see ``load``.

    Attributes:
        steps: the layers in order.

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
        old = not arrays and network.imageInputShapeMapping == 0  # RANK5_IMAGE_MAPPING
        self.steps = []
        for layer in network.layers:
            kind = layer.WhichOneof("layer")
            where = f"the layer '{kind}' called '{layer.name}'"
            if kind not in LAYERS:
                raise archive.error(
                    f"{where} is not covered",
                    "Run this model on a Mac with load(path, engine='coreml'), or add the layer to LAYERS "
                    "in helpers/coreml_runtime/network.py.",
                )
            if old and kind not in _RANK_FREE:
                raise archive.error(
                    f"{where} counts its dimensions as before iOS 13, which is not covered",
                    "Convert the model again for iOS 13 or later.",
                )
            self._layer = where
            try:
                function, parameters = LAYERS[kind](getattr(layer, kind), self._weights)
            except (IndexError, OverflowError, TypeError) as error:
                raise archive.error(f"{where} cannot be read ({error!r})") from error
            self.steps.append(
                Step(
                    operator=kind,
                    name=layer.name,
                    function=function,
                    arguments=[Name(name) for name in layer.input],
                    parameters=parameters,
                    outputs=list(layer.output),
                    shapes=[None] * len(layer.output),
                    rounds=[precision == "float16"] * len(layer.output),
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
            raise self._archive.error(f"{self._layer} computes in 8-bit integers, which is not covered")
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


# One function per layer: (its parameters, weights()) → (a torch function, its keyword arguments).


def _two(values, default):
    """Two numbers for height and width, or the format's default when the field is empty."""
    return [int(value) for value in values] if len(values) else [default, default]


def _edges(amounts):
    """Border amounts as top, bottom, left, right."""
    edges = [int(size) for edge in amounts.borderAmounts for size in (edge.startEdgeSize, edge.endEdgeSize)]
    return edges or [0, 0, 0, 0]


def _padding(p, kind):
    """``pad_type`` and ``pad`` of a layer with windows."""
    if kind == "same":
        return {"pad_type": "same_lower" if p.same.asymmetryMode == 1 else "same"}
    if kind == "includeLastPixel":
        height, width = _two(p.includeLastPixel.paddingAmounts, 0)
        return {"pad_type": "custom", "pad": [height, height, width, width], "ceil_mode": True}
    return {"pad_type": "custom", "pad": _edges(p.valid.paddingAmounts)}


def _convolution(p, weights):
    if p.isDeconvolution:
        raise TypeError("deconvolution is not covered")
    shape = [p.outputChannels, p.kernelChannels, *_two(p.kernelSize, 3)]
    return op.conv, {
        "weight": weights(p.weights, shape),
        "bias": weights(p.bias, [p.outputChannels]) if p.hasBias else None,
        "strides": _two(p.stride, 1),
        "dilations": _two(p.dilationFactor, 1),
        "groups": p.nGroups or 1,
        **_padding(p, p.WhichOneof("ConvolutionPaddingType")),
    }


def _global_pool(x, kind):
    """One window over all of the last two dimensions."""
    if kind == 2:
        return torch.sqrt((x * x).sum((-2, -1), keepdim=True))
    return x.amax((-2, -1), keepdim=True) if kind == 0 else x.mean((-2, -1), keepdim=True)


def _pooling(p, weights):
    if p.globalPooling:
        return _global_pool, {"kind": p.type}
    function = (op.max_pool, op.avg_pool, op.l2_pool)[p.type]
    parameters = {
        "kernel_sizes": _two(p.kernelSize, 3),
        "strides": _two(p.stride, 1),
        # The format judges the last window of both dimensions when either is padded.
        "ceil_drops": "any",
        **_padding(p, p.WhichOneof("PoolingPaddingType")),
    }
    if p.type == 1:
        parameters["exclude_padding_from_average"] = p.avgPoolExcludePadding
    return function, parameters


def _inner_product_of(x, weight, bias):
    """A fully connected layer. From rank 4 on the last three dimensions are one, and come back as C×1×1."""
    if x.ndim < 4:
        return op.linear(x, weight, bias)
    return op.linear(x.flatten(-3), weight, bias)[..., None, None]


def _inner_product(p, weights):
    return _inner_product_of, {
        "weight": weights(p.weights, [p.outputChannels, p.inputChannels]),
        "bias": weights(p.bias, [p.outputChannels]) if p.hasBias else None,
    }


def _batched_matmul(p, weights):
    if not p.weightMatrixFirstDimension:
        return op.matmul, {"transpose_x": p.transposeA, "transpose_y": p.transposeB}
    # Constant weights are stored transposed, second dimension × first, whatever the flags say:
    # the flags are for two inputs.
    shape = [p.weightMatrixSecondDimension, p.weightMatrixFirstDimension]
    return op.linear, {
        "weight": weights(p.weights, shape),
        "bias": weights(p.bias, shape[:1]) if p.hasBias else None,
    }


def _batch_norm_of(x, mean, variance, gamma, beta, epsilon):
    """Batch norm along the third dimension from the end."""
    flat = x.reshape(-1, *x.shape[-3:])
    return op.batch_norm(flat, mean, variance, gamma, beta, epsilon).reshape(x.shape)


def _batchnorm(p, weights):
    if p.computeMeanVar or p.instanceNormalization:
        raise TypeError("statistics of the input itself are not covered")
    shape = [p.channels]
    return _batch_norm_of, {
        "mean": weights(p.mean, shape),
        "variance": weights(p.variance, shape),
        "gamma": weights(p.gamma, shape),
        "beta": weights(p.beta, shape),
        "epsilon": p.epsilon or 1e-5,
    }


def _activation(p, weights):
    kind = p.WhichOneof("NonlinearityType")
    a = getattr(p, kind) if kind else None
    plain = {"ReLU": torch.relu, "tanh": torch.tanh, "sigmoid": torch.sigmoid}
    plain["softsign"] = torch.nn.functional.softsign
    plain["softplus"] = torch.nn.functional.softplus
    if kind in plain:
        return plain[kind], {}
    if kind == "PReLU":
        slopes = len(a.alpha.floatValue) or len(a.alpha.float16Value) // 2
        return _prelu_of, {"alpha": weights(a.alpha, [slopes])}
    functions = {
        "linear": op.linear_activation,
        "scaledTanh": op.scaled_tanh,
        "sigmoidHard": op.sigmoid_hard,
        "leakyReLU": op.leaky_relu,
        "thresholdedReLU": op.thresholded_relu,
        "ELU": op.elu,
    }
    if kind not in functions:
        raise TypeError(f"the activation {kind} is not covered")
    two = kind in ("linear", "scaledTanh", "sigmoidHard")
    return functions[kind], {"alpha": a.alpha, "beta": a.beta} if two else {"alpha": a.alpha}


def _prelu_of(x, alpha):
    """One slope per channel, the third dimension from the end, or one for all."""
    return torch.where(x >= 0, x, alpha.reshape(-1, 1, 1) * x)


def _chain(function):
    """A function of two sides for any number of inputs; a single one meets ``alpha``."""

    def compute(*inputs, alpha):
        result = inputs[0] if len(inputs) > 1 else function(inputs[0], alpha)
        for other in inputs[1:]:
            result = function(result, other)
        return result

    return compute


_ADD, _MULTIPLY = _chain(op.add), _chain(op.mul)
_MAXIMUM, _MINIMUM = _chain(op.maximum), _chain(op.minimum)


def _average_of(*inputs):
    return sum(inputs) / len(inputs)


def _unary_of(x, kind, alpha, epsilon, shift, scale):
    """A function of scale · x + shift."""
    x = scale * x + shift
    functions = {
        0: lambda: torch.sqrt(x),
        1: lambda: torch.rsqrt(x + epsilon),
        2: lambda: 1.0 / (x + epsilon),
        3: lambda: torch.pow(x, alpha),
        4: lambda: torch.exp(x),
        5: lambda: torch.log(x),
        6: lambda: torch.abs(x),
        7: lambda: torch.clamp(x, min=alpha),
    }
    return functions[kind]()


def _unary(p, weights):
    # 0 cannot be told from "not set": the format says that it means the default.
    return _unary_of, {
        "kind": p.type,
        "alpha": p.alpha,
        "epsilon": p.epsilon or 1e-6,
        "shift": p.shift,
        "scale": p.scale or 1.0,
    }


def _scale_of(x, scale, bias):
    """scale · x + bias; both fit the last three dimensions."""
    return x * scale if bias is None else x * scale + bias


def _channels(shape):
    """A shape [C] as C×1×1, so that it fits the last three dimensions."""
    return [*shape, 1, 1] if len(shape) == 1 else list(shape)


def _scale(p, weights):
    bias = weights(p.bias, _channels(p.shapeBias)) if p.hasBias else None
    return _scale_of, {"scale": weights(p.scale, _channels(p.shapeScale)), "bias": bias}


def _bias(p, weights):
    return op.add, {"y": weights(p.bias, _channels(p.shape))}


def _reduce(function):
    def read(p, weights):
        return function, {"axes": None if p.reduceAll else list(p.axes), "keep_dims": p.keepDims}

    return read


def _concat_of(*inputs, axis, interleave=False):
    return op.concat(inputs, axis, interleave)


def _concat(p, weights):
    if p.sequenceConcat:
        raise TypeError("joining sequences is not covered")
    return _concat_of, {"axis": -3}


def _slice_of(x, begin, end, stride, axis):
    """x[begin:end:stride] along one of the last three dimensions."""
    axis = x.ndim - 3 + axis
    if stride < 1 or axis < 0:
        raise ValueError("a slice needs a positive stride and three dimensions")
    return x[(slice(None),) * axis + (slice(begin, end, stride),)]


def _slice(p, weights):
    return _slice_of, {"begin": p.startIndex, "end": p.endIndex, "stride": p.stride or 1, "axis": p.axis}


def _slice_static(p, weights):
    return op.slice_by_index, {
        "begin": list(p.beginIds),
        "end": list(p.endIds),
        "stride": list(p.strides),
        "begin_mask": list(p.beginMasks),
        "end_mask": list(p.endMasks),
        "squeeze_mask": list(p.squeezeMasks),
    }


def _flatten_of(x):
    """All of the last three dimensions in one: C·H·W × 1 × 1."""
    return x.flatten(-3)[..., None, None]


def _flatten(p, weights):
    if p.mode:
        raise TypeError("flattening with the channels last is not covered")
    return _flatten_of, {}


def _flatten_to_2d_of(x, axis):
    """The dimensions before ``axis`` in one, those from it on in another."""
    axis = axis % x.ndim
    return x.reshape(math.prod(x.shape[:axis]), math.prod(x.shape[axis:]))


def _pad_layer(p, weights):
    kind = p.WhichOneof("PaddingType") or "constant"
    mode = {"constant": "constant", "reflection": "reflect", "replication": "replicate"}[kind]
    return op.pad, {"pad": _edges(p.paddingAmounts), "mode": mode, "constant_val": p.constant.value}


def _layer_normalization(p, weights):
    shape = list(p.normalizedShape)
    return op.layer_norm, {
        "axes": list(range(-len(shape), 0)),
        "gamma": weights(p.gamma, shape),
        "beta": weights(p.beta, shape),
        "epsilon": p.eps or 1e-5,
    }


def _lrn_of(x, size, alpha, beta, k):
    flat = x.reshape(-1, *x.shape[-3:])
    return op.local_response_norm(flat, size, alpha, beta, k).reshape(x.shape)


def _load_constant(p, weights):
    return _constant_of, {"value": weights(p.data, p.shape)}


def _constant_of(value):
    return value


def _gelu(p, weights):
    names = ("EXACT", "TANH_APPROXIMATION", "SIGMOID_APPROXIMATION")
    return op.gelu, {"mode": names[p.mode]}


def _upsample(p, weights):
    if p.mode or p.fractionalScalingFactor:
        raise TypeError("only nearest-neighbour enlargement by whole factors is covered")
    height, width = _two(p.scalingFactor, 1)
    return op.upsample_nearest_neighbor, {"scale_factor_height": height, "scale_factor_width": width}


def _split_nd(p, weights):
    sizes = list(p.splitSizes)
    return op.split, {"axis": p.axis, "split_sizes": sizes} if sizes else {
        "axis": p.axis, "num_splits": p.numSplits
    }  # fmt: skip


def _plain(function):
    """A layer without parameters."""
    return lambda p, weights: (function, {})


LAYERS = {
    "activation": _activation,
    "add": lambda p, weights: (_ADD, {"alpha": p.alpha}),
    "addBroadcastable": _plain(op.add),
    "average": _plain(_average_of),
    "batchedMatmul": _batched_matmul,
    "batchnorm": _batchnorm,
    "bias": _bias,
    "clip": lambda p, weights: (op.clip, {"alpha": p.minVal, "beta": p.maxVal}),
    "concat": _concat,
    "concatND": lambda p, weights: (_concat_of, {"axis": p.axis, "interleave": p.interleave}),
    "convolution": _convolution,
    "copy": _plain(lambda x: x),
    "divideBroadcastable": _plain(op.real_div),
    "erf": _plain(torch.erf),
    "expandDims": lambda p, weights: (op.expand_dims, {"axes": list(p.axes)}),
    "flatten": _flatten,
    "flattenTo2D": lambda p, weights: (_flatten_to_2d_of, {"axis": p.axis}),
    "gelu": _gelu,
    "innerProduct": _inner_product,
    "layerNormalization": _layer_normalization,
    "loadConstantND": _load_constant,
    "lrn": lambda p, weights: (
        _lrn_of,
        {"size": p.localSize, "alpha": p.alpha, "beta": p.beta, "k": p.k or 1.0},
    ),
    "max": lambda p, weights: (_MAXIMUM, {"alpha": 0.0}),
    "maxBroadcastable": _plain(op.maximum),
    "min": lambda p, weights: (_MINIMUM, {"alpha": 0.0}),
    "minBroadcastable": _plain(op.minimum),
    "multiply": lambda p, weights: (_MULTIPLY, {"alpha": p.alpha}),
    "multiplyBroadcastable": _plain(op.mul),
    "padding": _pad_layer,
    "pooling": _pooling,
    "powBroadcastable": _plain(op.power),
    "rankPreservingReshape": lambda p, weights: (op.reshape, {"shape": list(p.targetShape)}),
    "reduceMax": _reduce(op.reduce_max),
    "reduceMean": _reduce(op.reduce_mean),
    "reduceMin": _reduce(op.reduce_min),
    "reduceSum": _reduce(op.reduce_sum),
    "reshapeStatic": lambda p, weights: (op.reshape, {"shape": list(p.targetShape)}),
    "scale": _scale,
    "slice": _slice,
    "sliceStatic": _slice_static,
    "softmax": _plain(lambda x: op.softmax(x, -3)),
    "softmaxND": lambda p, weights: (op.softmax, {"axis": p.axis}),
    "split": lambda p, weights: (op.split, {"axis": -3, "num_splits": p.nOutputs}),
    "splitND": _split_nd,
    "squeeze": lambda p, weights: (op.squeeze, {"axes": None if p.squeezeAll else list(p.axes)}),
    "subtractBroadcastable": _plain(op.sub),
    "tanh": _plain(torch.tanh),
    "transpose": lambda p, weights: (op.transpose, {"perm": list(p.axes)}),
    "unary": _unary,
    "upsample": _upsample,
}
"""Every layer of neural networks that is covered; any other is refused by name."""
