"""Reads a neural network (``.mlmodel``): its layers, weights and quantised weights.

The meaning of every field is that of ``NeuralNetwork.proto`` in apple/coremltools.
"""

import inspect
import math

import numpy as np
import torch

from . import operators as op
from .archive import ON_A_MAC, Archive, NotCovered, Unfit, unpack_bits
from .graph import Name, Step, half

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


def _batched(function):
    """A function of N×C×H×W for any rank from 3 on: what comes before the channels is all batch."""

    def compute(x, **parameters):
        if x.ndim == 4:
            return function(x, **parameters)
        result = function(x.reshape(-1, *x.shape[-3:]), **parameters)
        return result.reshape(*x.shape[:-3], *result.shape[1:])

    return compute


def _deconvolution(p, weights):
    if list(p.dilationFactor) not in ([], [1, 1]):
        raise NotCovered("a dilated deconvolution, whose dilation the format ignores")
    groups = p.nGroups or 1
    shape = [p.kernelChannels, p.outputChannels // groups, *_two(p.kernelSize, 3)]
    padding = _padding(p, p.WhichOneof("ConvolutionPaddingType"))
    return _batched(_deconvolution_of), {
        "weight": weights(p.weights, shape),
        "bias": weights(p.bias, [p.outputChannels]) if p.hasBias else None,
        "strides": _two(p.stride, 1),
        "groups": groups,
        "size": list(p.outputShape),
        **padding,
    }


def _deconvolution_of(x, weight, size, **parameters):
    """A transposed convolution. The format does not say where a result of another size would lie."""
    result = op.conv_transpose(x, weight, **parameters)
    if size and list(result.shape[2:]) != size:
        raise NotCovered(f"a deconvolution to {size} instead of {list(result.shape[2:])}")
    return result


def _three(p, name):
    return [getattr(p, f"{name}{axis}") or 1 for axis in ("Depth", "Height", "Width")]


def _padding_3d(p):
    if p.paddingType:
        return {"pad_type": ("custom", "valid", "same")[p.paddingType]}
    sides = ("Front", "Back", "Top", "Bottom", "Left", "Right")
    return {"pad_type": "custom", "pad": [getattr(p, f"customPadding{side}") for side in sides]}


def _convolution_3d(p, weights):
    if p.isDeconvolution:
        raise NotCovered("a deconvolution of volumes")
    groups = p.nGroups or 1
    shape = [p.outputChannels, p.inputChannels // groups, *_three(p, "kernel")]
    return op.conv, {
        "weight": weights(p.weights, shape),
        "bias": weights(p.bias, [p.outputChannels]) if p.hasBias else None,
        "strides": _three(p, "stride"),
        "dilations": _three(p, "dilation"),
        "groups": groups,
        **_padding_3d(p),
    }


def _pooling_3d(p, weights):
    parameters = {"kernel_sizes": _three(p, "kernel"), "strides": _three(p, "stride"), **_padding_3d(p)}
    if p.type == 0:
        return op.max_pool, parameters
    return op.avg_pool, {"exclude_padding_from_average": p.countExcludePadding, **parameters}


def _convolution(p, weights):
    if p.isDeconvolution:
        return _deconvolution(p, weights)
    shape = [p.outputChannels, p.kernelChannels, *_two(p.kernelSize, 3)]
    return _batched(op.conv), {
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
    return _batched(function), parameters


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


def _matmul_of(x, y, **flags):
    """A matrix product, for which a vector is a row on the left and a column on the right, and stays one."""
    return op.matmul(x[None] if x.ndim == 1 else x, y[:, None] if y.ndim == 1 else y, **flags)


def _batched_matmul(p, weights):
    if not p.weightMatrixFirstDimension:
        return _matmul_of, {"transpose_x": p.transposeA, "transpose_y": p.transposeB}
    # Constant weights are stored transposed, second dimension × first, whatever the flags say:
    # the flags are for two inputs.
    shape = [p.weightMatrixSecondDimension, p.weightMatrixFirstDimension]
    return op.linear, {
        "weight": weights(p.weights, shape),
        "bias": weights(p.bias, shape[:1]) if p.hasBias else None,
    }


def _batchnorm(p, weights):
    shape = [p.channels]
    if p.computeMeanVar and p.instanceNormalization:
        return _batched(op.instance_norm), {
            "gamma": weights(p.gamma, shape),
            "beta": weights(p.beta, shape),
            "epsilon": p.epsilon or 1e-5,
        }
    if p.computeMeanVar or p.instanceNormalization:
        raise NotCovered("statistics of the batch itself")
    return _batched(op.batch_norm), {
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
    plain["softplus"] = op.softplus
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
        raise NotCovered(f"the function {kind}")
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
        5: lambda: torch.log(x + epsilon),
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


def _vector(function):
    """In a neural network a single number has one dimension."""

    def compute(x, **parameters):
        return torch.atleast_1d(function(x, **parameters))

    return compute


def _reduce(function):
    def read(p, weights):
        if not (p.reduceAll or p.axes):
            raise NotCovered("a reduction of no dimensions")
        return _vector(function), {"axes": None if p.reduceAll else list(p.axes), "keep_dims": p.keepDims}

    return read


def _concat_of(*inputs, axis, interleave=False):
    return op.concat(inputs, axis, interleave)


def _concat(p, weights):
    if p.sequenceConcat:
        raise NotCovered("joining sequences")
    return _concat_of, {"axis": -3}


def _slice_of(x, begin, end, stride, axis):
    """x[begin:end:stride] along one of the last three dimensions."""
    axis = x.ndim - 3 + axis
    if stride < 1 or axis < 0:
        raise Unfit("a slice needs a positive stride and three dimensions")
    return x[(slice(None),) * axis + (slice(begin, end, stride),)]


def _slice(p, weights):
    return _slice_of, {"begin": p.startIndex, "end": p.endIndex, "stride": p.stride or 1, "axis": p.axis}


def _slice_static(p, weights):
    return _vector(op.slice_by_index), {
        "begin": list(p.beginIds),
        "end": list(p.endIds),
        "stride": list(p.strides),
        "begin_mask": list(p.beginMasks),
        "end_mask": list(p.endMasks),
        "squeeze_mask": list(p.squeezeMasks),
    }


def _flatten_of(x, channels_last):
    """All of the last three dimensions in one: C·H·W × 1 × 1, or H·W·C × 1 × 1."""
    x = x.movedim(-3, -1) if channels_last else x
    return x.flatten(-3)[..., None, None]


def _flatten(p, weights):
    return _flatten_of, {"channels_last": p.mode == 1}


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


def _load_constant(p, weights):
    return _constant_of, {"value": weights(p.data, p.shape)}


def _constant_of(value):
    return value


def _gelu(p, weights):
    names = ("EXACT", "TANH_APPROXIMATION", "SIGMOID_APPROXIMATION")
    return op.gelu, {"mode": names[p.mode]}


def _upsample(p, weights):
    height, width = list(p.fractionalScalingFactor) or _two(p.scalingFactor, 1)
    if p.mode and p.linearUpsampleMode == 0:
        return _upsample_default, {"height": height, "width": width}
    if p.mode:
        parameters = {"scale_factor_height": height, "scale_factor_width": width}
        return op.upsample_bilinear, {"align_corners": p.linearUpsampleMode == 1, **parameters}
    return op.upsample_nearest_neighbor, {"scale_factor_height": height, "scale_factor_width": width}


def _upsample_default(x, height, width):
    """Bilinear, as ``resize_bilinear`` samples unless told otherwise."""
    return op.resize_bilinear(x, math.floor(x.shape[-2] * height), math.floor(x.shape[-1] * width))


def _resize_bilinear(p, weights):
    modes = ("STRICT_ALIGN_CORNERS", "ALIGN_CORNERS", "DEFAULT", "OFFSET_CORNERS")
    height, width = _two(p.targetSize, 1)
    parameters = {"target_size_height": height, "target_size_width": width}
    return op.resize_bilinear, {"sampling_mode": modes[p.mode.samplingMethod], **parameters}


def _reorganize_data(p, weights):
    functions = (op.space_to_depth, op.depth_to_space, op.pixel_shuffle)
    names = ("block_size", "block_size", "upscale_factor")
    return functions[p.mode], {names[p.mode]: p.blockSize}


def _crop(p, weights):
    edges = _edges(p.cropAmounts)
    return op.crop, {"crop_height": edges[:2], "crop_width": edges[2:]}


def _constant_pad(p, weights):
    if p.padToGivenOutputSizeMode:
        raise NotCovered("padding to a given size")
    return op.pad, {"pad": list(p.padAmounts), "mode": "constant", "constant_val": p.value}


def _compare(function):
    """Two inputs, or one that meets ``alpha``."""

    def compute(*inputs, alpha):
        return function(*inputs) if len(inputs) > 1 else function(inputs[0], alpha)

    return lambda p, weights: (_as_float(compute), {"alpha": p.alpha})


def _as_float(function):
    """In a neural network every number is a float: true is 1, and so are places and sizes."""

    def compute(*inputs, **parameters):
        result = function(*inputs, **parameters)
        several = isinstance(result, tuple)
        return tuple(value.float() for value in result) if several else result.float()

    return compute


def _logical(function):
    """Every number but 0 is true."""

    def compute(*inputs):
        return function(*(value != 0 for value in inputs))

    return _plain(_as_float(compute))


def _argument_of(function):
    """Where the largest or smallest value is."""

    def read(p, weights):
        return _as_float(_vector(function)), {"axis": p.axis, "keep_dims": not p.removeDim}

    return read


def _top_k(p, weights):
    return _as_float(op.topk), {"k": p.K, "axis": p.axis, "ascending": p.useBottomK}


def _embedding_of(x, weight, bias):
    """One row of a table for each number; the last dimension of size 1 becomes the row."""
    places = x.squeeze(-1).long()
    rows = weight.t()[places]
    return rows if bias is None else rows + bias


def _embedding_nd(p, weights):
    return _embedding_of, {
        "weight": weights(p.weights, [p.embeddingSize, p.vocabSize]),
        "bias": weights(p.bias, [p.embeddingSize]) if p.hasBias else None,
    }


_SCATTER_MODES = ("update", "add", "sub", "mul", "div", "max", "min")


def _scatter(function):
    def read(p, weights):
        where = {} if function is op.scatter_nd else {"axis": p.axis}
        return function, {"mode": _SCATTER_MODES[p.mode], **where}

    return read


def _one_hot(p, weights):
    return op.one_hot, {
        "one_hot_vector_size": p.oneHotVectorSize,
        "axis": p.axis,
        "on_value": p.onValue,
        "off_value": p.offValue,
    }


def _mvn(p, weights):
    return _mvn_of, {
        "axes": [-3, -2, -1] if p.acrossChannels else [-2, -1],
        "scaled": p.normalizeVariance,
        "epsilon": p.epsilon or 1e-6,
    }


def _mvn_of(x, axes, scaled, epsilon):
    """Mean 0, and variance 1 if asked for."""
    variance, mean = torch.var_mean(x, axes, correction=0, keepdim=True)
    return (x - mean) * torch.rsqrt(variance + epsilon) if scaled else x - mean


def _reduce_old(p, weights):
    """The reduction of files from before iOS 13, which keeps the dimensions."""
    axes = ([-3, -2, -1], [-2, -1], [-3], [-2], [-1])[p.axis]
    if p.mode in (3, 9):
        raise NotCovered("a sum of logarithms and the place of the largest value")
    functions = {0: op.reduce_sum, 1: op.reduce_mean, 2: op.reduce_prod, 4: op.reduce_sum_square}
    functions |= {5: op.reduce_l1_norm, 6: op.reduce_l2_norm, 7: op.reduce_max, 8: op.reduce_min}
    return functions[p.mode], {"axes": axes, "keep_dims": True}


_ACTIVATION_NAMES = {"linear": "linear", "ReLU": "relu", "sigmoid": "sigmoid", "tanh": "tanh"}


def _lstm_weights(p, w, weights):
    """One direction's weights as the operator of ML programs wants them: input, forget, output, cell."""
    gates, hidden = ("inputGate", "forgetGate", "outputGate", "blockInput"), p.outputVectorSize

    def joined(what, shape, names=gates):
        return torch.cat([weights(getattr(w, f"{gate}{what}"), shape) for gate in names])

    return {
        "weight_ih": joined("WeightMatrix", [hidden, p.inputVectorSize]),
        "weight_hh": joined("RecursionMatrix", [hidden, hidden]),
        "bias": joined("BiasVector", [hidden]) if p.params.hasBiasVectors else None,
        "peephole": joined("PeepholeVector", [hidden], gates[:3]) if p.params.hasPeepholeVectors else None,
    }


def _lstm_options(p, activations):
    kinds = [activation.WhichOneof("NonlinearityType") for activation in activations]
    linear = [a.linear for a, kind in zip(activations, kinds, strict=True) if kind == "linear"]
    if any(kind not in _ACTIVATION_NAMES for kind in kinds) or any(
        (a.alpha, a.beta) != (1, 0) for a in linear
    ):
        raise NotCovered(f"the activations {', '.join(map(str, kinds))}")
    if p.params.forgetBias or p.params.coupledInputAndForgetGate:
        raise NotCovered("a forget bias or coupled gates")
    names = ("recurrent_activation", "cell_activation", "activation")
    options = dict(zip(names, (_ACTIVATION_NAMES[kind] for kind in kinds), strict=True))
    return options | {"clip": p.params.cellClipThreshold or 50.0, "output_sequence": p.params.sequenceOutput}


def _lstm_of(x, *states, direction, **parameters):
    """Vectors lie in the third dimension from the end of sequence × batch × size × 1 × 1."""
    x = x.flatten(2)
    two = direction == "bidirectional"
    hidden = parameters["weight_hh"].shape[1] * (2 if two else 1)
    if not states:
        h = c = x.new_zeros(x.shape[1], hidden)
    elif two:
        h, c = (
            torch.cat([s.reshape(x.shape[1], -1) for s in pair], -1) for pair in (states[::2], states[1::2])
        )
    else:
        h, c = (state.reshape(x.shape[1], -1) for state in states)
    y, h, c = op.lstm(x, h, c, direction=direction, **parameters)
    if not two:
        return tuple(value[..., None, None] for value in (y, h[None], c[None]))
    (h, h_back), (c, c_back) = h.chunk(2, -1), c.chunk(2, -1)
    return tuple(v[..., None, None] for v in (y, h[None], c[None], h_back[None], c_back[None]))


def _lstm(p, weights):
    parameters = _lstm_weights(p, p.weightParams, weights) | _lstm_options(p, p.activations)
    return _lstm_of, {"direction": "reverse" if p.reverseInput else "forward", **parameters}


def _lstm_two_ways(p, weights):
    forward, back = (_lstm_weights(p, w, weights) for w in p.weightParams)
    options = _lstm_options(p, p.activationsForwardLSTM)
    if _lstm_options(p, p.activationsBackwardLSTM) != options:
        raise NotCovered("other activations backwards")
    both = forward | {f"{name}_back": value for name, value in back.items()}
    return _lstm_of, {"direction": "bidirectional", **both, **options}


def _fill_like_of(x, value):
    return torch.full_like(x, value)


def _split_nd(p, weights):
    if p.splitSizes:
        return op.split, {"axis": p.axis, "split_sizes": list(p.splitSizes)}
    return _split_of, {"axis": p.axis, "parts": p.numSplits}


def _split_of(x, axis, parts):
    """As equal as can be: the first parts are one longer."""
    if not 0 < parts <= x.shape[axis]:
        raise Unfit(f"{x.shape[axis]} cannot be split into {parts} parts")
    return torch.tensor_split(x, parts, axis)


def _plain(function):
    """A layer without parameters."""
    return lambda p, weights: (function, {})


LAYERS = {
    "acos": _plain(torch.acos),
    "acosh": _plain(torch.acosh),
    "activation": _activation,
    "add": lambda p, weights: (_ADD, {"alpha": p.alpha}),
    "addBroadcastable": _plain(op.add),
    "argMax": _argument_of(op.reduce_argmax),
    "argMin": _argument_of(op.reduce_argmin),
    "argSort": lambda p, weights: (_as_float(op.argsort), {"axis": p.axis, "ascending": not p.descending}),
    "asin": _plain(torch.asin),
    "asinh": _plain(torch.asinh),
    "atan": _plain(torch.atan),
    "atanh": _plain(torch.atanh),
    "average": _plain(_average_of),
    "batchedMatmul": _batched_matmul,
    "batchnorm": _batchnorm,
    "biDirectionalLSTM": _lstm_two_ways,
    "bias": _bias,
    "broadcastToStatic": lambda p, weights: (torch.broadcast_to, {"size": list(p.targetShape)}),
    "ceil": _plain(torch.ceil),
    "clampedReLU": lambda p, weights: (op.clamped_relu, {"alpha": p.alpha, "beta": p.beta}),
    "clip": lambda p, weights: (op.clip, {"alpha": p.minVal, "beta": p.maxVal}),
    "concat": _concat,
    "concatND": lambda p, weights: (_concat_of, {"axis": p.axis, "interleave": p.interleave}),
    "constantPad": _constant_pad,
    "convolution": _convolution,
    "convolution3d": _convolution_3d,
    "copy": _plain(lambda x: x),
    "cos": _plain(torch.cos),
    "cosh": _plain(torch.cosh),
    "crop": _crop,
    "cumSum": lambda p, weights: (
        op.cumsum,
        {"axis": p.axis, "exclusive": p.excludeFinalSum, "reverse": p.reverse},
    ),
    "divideBroadcastable": _plain(op.real_div),
    "embeddingND": _embedding_nd,
    "equal": _compare(op.equal),
    "erf": _plain(torch.erf),
    "exp2": _plain(torch.exp2),
    "expandDims": lambda p, weights: (op.expand_dims, {"axes": list(p.axes)}),
    "fillDynamic": lambda p, weights: (op.fill, {"shape": None, "value": p.value}),
    "fillLike": lambda p, weights: (_fill_like_of, {"value": p.value}),
    "fillStatic": lambda p, weights: (op.fill, {"shape": list(p.targetShape), "value": p.value}),
    "flatten": _flatten,
    "flattenTo2D": lambda p, weights: (op.flatten2d, {"axis": p.axis}),
    "floor": _plain(torch.floor),
    "floorDivBroadcastable": _plain(op.floor_div),
    "gather": lambda p, weights: (op.gather, {"axis": p.axis}),
    "gatherAlongAxis": lambda p, weights: (op.gather_along_axis, {"axis": p.axis}),
    "gatherND": _plain(op.gather_nd),
    "gelu": _gelu,
    "getShape": _plain(_as_float(op.shape)),
    "globalPooling3d": lambda p, weights: (
        op.reduce_mean if p.type else op.reduce_max,
        {"axes": [-3, -2, -1], "keep_dims": True},
    ),
    "greaterEqual": _compare(op.greater_equal),
    "greaterThan": _compare(op.greater),
    "innerProduct": _inner_product,
    "l2normalize": lambda p, weights: (op.l2_norm, {"epsilon": p.epsilon or 1e-6}),
    "layerNormalization": _layer_normalization,
    "lessEqual": _compare(op.less_equal),
    "lessThan": _compare(op.less),
    "loadConstant": _load_constant,
    "loadConstantND": _load_constant,
    "logicalAnd": _logical(torch.logical_and),
    "logicalNot": _logical(torch.logical_not),
    "logicalOr": _logical(torch.logical_or),
    "logicalXor": _logical(torch.logical_xor),
    "lrn": lambda p, weights: (
        _batched(op.local_response_norm),
        {"size": p.localSize, "alpha": p.alpha, "beta": p.beta, "k": p.k or 1.0},
    ),
    "matrixBandPart": lambda p, weights: (op.band_part, {"lower": p.numLower, "upper": p.numUpper}),
    "max": lambda p, weights: (_MAXIMUM, {"alpha": 0.0}),
    "maxBroadcastable": _plain(op.maximum),
    "min": lambda p, weights: (_MINIMUM, {"alpha": 0.0}),
    "minBroadcastable": _plain(op.minimum),
    "modBroadcastable": _plain(op.mod),
    "multiply": lambda p, weights: (_MULTIPLY, {"alpha": p.alpha}),
    "multiplyBroadcastable": _plain(op.mul),
    "mvn": _mvn,
    "notEqual": _compare(op.not_equal),
    "oneHot": _one_hot,
    "padding": _pad_layer,
    "pooling": _pooling,
    "pooling3d": _pooling_3d,
    "powBroadcastable": _plain(op.power),
    "rankPreservingReshape": lambda p, weights: (op.reshape, {"shape": list(p.targetShape)}),
    "reduce": _reduce_old,
    "reduceL1": _reduce(op.reduce_l1_norm),
    "reduceL2": _reduce(op.reduce_l2_norm),
    "reduceLogSum": _reduce(op.reduce_log_sum),
    "reduceLogSumExp": _reduce(op.reduce_log_sum_exp),
    "reduceMax": _reduce(op.reduce_max),
    "reduceMean": _reduce(op.reduce_mean),
    "reduceMin": _reduce(op.reduce_min),
    "reduceProd": _reduce(op.reduce_prod),
    "reduceSum": _reduce(op.reduce_sum),
    "reduceSumSquare": _reduce(op.reduce_sum_square),
    "reorganizeData": _reorganize_data,
    "reshapeStatic": lambda p, weights: (op.reshape, {"shape": list(p.targetShape)}),
    "resizeBilinear": _resize_bilinear,
    "reverse": lambda p, weights: (op.reverse, {"axes": [i for i, turn in enumerate(p.reverseDim) if turn]}),
    "round": _plain(torch.round),
    "scale": _scale,
    "scatter": _scatter(op.scatter),
    "scatterAlongAxis": _scatter(op.scatter_along_axis),
    "scatterND": _scatter(op.scatter_nd),
    "sign": _plain(torch.sign),
    "sin": _plain(torch.sin),
    "sinh": _plain(torch.sinh),
    "slice": _slice,
    "sliceStatic": _slice_static,
    "softmax": _plain(lambda x: op.softmax(x, -3)),
    "softmaxND": lambda p, weights: (op.softmax, {"axis": p.axis}),
    "split": lambda p, weights: (op.split, {"axis": -3, "num_splits": p.nOutputs}),
    "splitND": _split_nd,
    "squeeze": lambda p, weights: (_vector(op.squeeze), {"axes": None if p.squeezeAll else list(p.axes)}),
    "stack": lambda p, weights: (lambda *inputs, axis: op.stack(inputs, axis), {"axis": p.axis}),
    "subtractBroadcastable": _plain(op.sub),
    "tan": _plain(torch.tan),
    "tanh": _plain(torch.tanh),
    "tile": lambda p, weights: (op.tile, {"reps": list(p.reps)}),
    "topK": _top_k,
    "transpose": lambda p, weights: (op.transpose, {"perm": list(p.axes)}),
    "unary": _unary,
    "uniDirectionalLSTM": _lstm,
    "upsample": _upsample,
    "whereBroadcastable": _plain(op.select),
}
"""Every layer of neural networks that is covered; any other is refused by name."""
