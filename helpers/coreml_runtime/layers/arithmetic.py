"""Products, one value at a time, two values, and reductions."""

import torch

from ..archive import NotCovered
from ..operators import arithmetic
from .forms import as_float, plain, vector


def _inner_product_of(x, weight, bias):
    """A fully connected layer. From rank 4 on the last three dimensions are one, and come back as C×1×1."""
    if x.ndim < 4:
        return arithmetic.linear(x, weight, bias)
    return arithmetic.linear(x.flatten(-3), weight, bias)[..., None, None]


def _inner_product(p, weights):
    return _inner_product_of, {
        "weight": weights(p.weights, [p.outputChannels, p.inputChannels]),
        "bias": weights(p.bias, [p.outputChannels]) if p.hasBias else None,
    }


def _matmul_of(x, y, **flags):
    """A matrix product, for which a vector is a row on the left and a column on the right, and stays one."""
    return arithmetic.matmul(x[None] if x.ndim == 1 else x, y[:, None] if y.ndim == 1 else y, **flags)


def _batched_matmul(p, weights):
    if not p.weightMatrixFirstDimension:
        return _matmul_of, {"transpose_x": p.transposeA, "transpose_y": p.transposeB}
    # Constant weights are stored transposed, second dimension × first, whatever the flags say:
    # the flags are for two inputs.
    shape = [p.weightMatrixSecondDimension, p.weightMatrixFirstDimension]
    return arithmetic.linear, {
        "weight": weights(p.weights, shape),
        "bias": weights(p.bias, shape[:1]) if p.hasBias else None,
    }


def _chain(function):
    """A function of two sides for any number of inputs; a single one meets ``alpha``."""

    def compute(*inputs, alpha):
        result = inputs[0] if len(inputs) > 1 else function(inputs[0], alpha)
        for other in inputs[1:]:
            result = function(result, other)
        return result

    return compute


_ADD, _MULTIPLY = _chain(arithmetic.add), _chain(arithmetic.mul)
_MAXIMUM, _MINIMUM = _chain(arithmetic.maximum), _chain(arithmetic.minimum)


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
    return arithmetic.add, {"y": weights(p.bias, _channels(p.shape))}


def _compare(function):
    """Two inputs, or one that meets ``alpha``."""

    def compute(*inputs, alpha):
        return function(*inputs) if len(inputs) > 1 else function(inputs[0], alpha)

    return lambda p, weights: (as_float(compute), {"alpha": p.alpha})


def _logical(function):
    """Every number but 0 is true."""

    def compute(*inputs):
        return function(*(value != 0 for value in inputs))

    return plain(as_float(compute))


def _reduce(function):
    def read(p, weights):
        if not (p.reduceAll or p.axes):
            raise NotCovered("a reduction of no dimensions")
        return vector(function), {"axes": None if p.reduceAll else list(p.axes), "keep_dims": p.keepDims}

    return read


_REDUCTIONS = (
    *(arithmetic.reduce_sum, arithmetic.reduce_mean, arithmetic.reduce_prod, None),
    *(arithmetic.reduce_sum_square, arithmetic.reduce_l1_norm, arithmetic.reduce_l2_norm),
    *(arithmetic.reduce_max, arithmetic.reduce_min),
)


def _reduce_old(p, weights):
    """The reduction of files from before iOS 13, which keeps the dimensions."""
    axes, epsilon = ([-3, -2, -1], [-2, -1], [-3], [-2], [-1])[p.axis], p.epsilon or 1e-6
    if p.mode == 9:
        return as_float(arithmetic.reduce_argmax), {"axis": axes[0], "keep_dims": True}
    if p.mode == 3:
        return lambda x: torch.log(x + epsilon).sum(axes, keepdim=True), {}
    return _REDUCTIONS[p.mode], {"axes": axes, "keep_dims": True}


def _dot_of(x, y, cosine):
    """The products of two vectors of channels, which may be made one long before."""
    if cosine:
        x, y = (v / torch.linalg.vector_norm(v, dim=-3, keepdim=True) for v in (x, y))
    return (x * y).sum(-3, keepdim=True)


def _argument_of(function):
    """Where the largest or smallest value is."""

    def read(p, weights):
        return as_float(vector(function)), {"axis": p.axis, "keep_dims": not p.removeDim}

    return read


_ONES = "acos acosh asin asinh atan atanh ceil cos cosh erf exp2 floor round sign sin sinh tan"

LAYERS = {name: plain(getattr(torch, name)) for name in _ONES.split()}
LAYERS |= {
    "add": lambda p, weights: (_ADD, {"alpha": p.alpha}),
    "addBroadcastable": plain(arithmetic.add),
    "argMax": _argument_of(arithmetic.reduce_argmax),
    "argMin": _argument_of(arithmetic.reduce_argmin),
    "average": plain(_average_of),
    "batchedMatmul": _batched_matmul,
    "bias": _bias,
    "divideBroadcastable": plain(arithmetic.real_div),
    "dot": lambda p, weights: (_dot_of, {"cosine": p.cosineSimilarity}),
    "equal": _compare(arithmetic.equal),
    "floorDivBroadcastable": plain(arithmetic.floor_div),
    "greaterEqual": _compare(arithmetic.greater_equal),
    "greaterThan": _compare(arithmetic.greater),
    "innerProduct": _inner_product,
    "lessEqual": _compare(arithmetic.less_equal),
    "lessThan": _compare(arithmetic.less),
    "logicalAnd": _logical(torch.logical_and),
    "logicalNot": _logical(torch.logical_not),
    "logicalOr": _logical(torch.logical_or),
    "logicalXor": _logical(torch.logical_xor),
    "max": lambda p, weights: (_MAXIMUM, {"alpha": 0.0}),
    "maxBroadcastable": plain(arithmetic.maximum),
    "min": lambda p, weights: (_MINIMUM, {"alpha": 0.0}),
    "minBroadcastable": plain(arithmetic.minimum),
    "modBroadcastable": plain(arithmetic.mod),
    "multiply": lambda p, weights: (_MULTIPLY, {"alpha": p.alpha}),
    "multiplyBroadcastable": plain(arithmetic.mul),
    "notEqual": _compare(arithmetic.not_equal),
    "powBroadcastable": plain(arithmetic.pow),
    "reduce": _reduce_old,
    "reduceL1": _reduce(arithmetic.reduce_l1_norm),
    "reduceL2": _reduce(arithmetic.reduce_l2_norm),
    "reduceLogSum": _reduce(arithmetic.reduce_log_sum),
    "reduceLogSumExp": _reduce(arithmetic.reduce_log_sum_exp),
    "reduceMax": _reduce(arithmetic.reduce_max),
    "reduceMean": _reduce(arithmetic.reduce_mean),
    "reduceMin": _reduce(arithmetic.reduce_min),
    "reduceProd": _reduce(arithmetic.reduce_prod),
    "reduceSum": _reduce(arithmetic.reduce_sum),
    "reduceSumSquare": _reduce(arithmetic.reduce_sum_square),
    "scale": _scale,
    "subtractBroadcastable": plain(arithmetic.sub),
    "unary": _unary,
    "whereBroadcastable": plain(arithmetic.select),
}
