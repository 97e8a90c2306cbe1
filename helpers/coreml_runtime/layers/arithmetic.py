"""Products, one value at a time, two values, and reductions."""

import torch

from ..archive import NotCovered
from ..operators import arithmetic
from .forms import as_float, fields, plain, vector


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


_OLD_MODES = ["sum", "mean", "prod", "-", "sum_square", "l1_norm", "l2_norm", "max", "min"]


def _reduce_old(p, weights):
    """The reduction of files from before iOS 13, which keeps the dimensions."""
    axes, epsilon = ([-3, -2, -1], [-2, -1], [-3], [-2], [-1])[p.axis], p.epsilon or 1e-6
    if p.mode == 9:
        return as_float(arithmetic.FORMULAS["reduce_argmax"]), {"axis": axes[0], "keep_dims": True}
    if p.mode == 3:
        return lambda x: torch.log(x + epsilon).sum(axes, keepdim=True), {}
    return getattr(arithmetic, f"reduce_{_OLD_MODES[p.mode]}"), {"axes": axes, "keep_dims": True}


def _dot_of(x, y, cosine):
    """The products of two vectors of channels, which may be made one long before."""
    if cosine:
        x, y = (v / torch.linalg.vector_norm(v, dim=-3, keepdim=True) for v in (x, y))
    return (x * y).sum(-3, keepdim=True)


def _argument_of(function):
    """Where the largest or smallest value is."""
    return lambda p, weights: (as_float(vector(function)), {"axis": p.axis, "keep_dims": not p.removeDim})


_ONES = "acos acosh asin asinh atan atanh ceil cos cosh erf exp2 floor round sign sin sinh tan"
_TWO = {"add": "add", "divide": "real_div", "floorDiv": "floor_div", "max": "maximum", "min": "minimum"}
_TWO |= {"mod": "mod", "multiply": "mul", "pow": "pow", "subtract": "sub"}
_COMPARISONS = {"equal": "equal", "notEqual": "not_equal", "greaterThan": "greater", "lessThan": "less"}
_COMPARISONS |= {"greaterEqual": "greater_equal", "lessEqual": "less_equal"}
_REDUCES = {"L1": "l1_norm", "L2": "l2_norm", "LogSum": "log_sum", "LogSumExp": "log_sum_exp", "Max": "max"}
_REDUCES |= {"Mean": "mean", "Min": "min", "Prod": "prod", "Sum": "sum", "SumSquare": "sum_square"}

LAYERS = {name: plain(getattr(torch, name)) for name in _ONES.split()}
LAYERS |= {f"{name}Broadcastable": plain(getattr(arithmetic, same)) for name, same in _TWO.items()}
LAYERS |= {name: _compare(getattr(arithmetic, same)) for name, same in _COMPARISONS.items()}
LAYERS |= {
    f"logical{name}": _logical(getattr(torch, f"logical_{name.lower()}"))
    for name in ("And", "Or", "Xor", "Not")
}
LAYERS |= {f"reduce{name}": _reduce(getattr(arithmetic, f"reduce_{same}")) for name, same in _REDUCES.items()}
LAYERS |= {
    "add": fields(_ADD, alpha="alpha"),
    "argMax": _argument_of(arithmetic.FORMULAS["reduce_argmax"]),
    "argMin": _argument_of(arithmetic.FORMULAS["reduce_argmin"]),
    "average": plain(lambda *inputs: sum(inputs) / len(inputs)),
    "batchedMatmul": _batched_matmul,
    "bias": lambda p, weights: (arithmetic.add, {"y": weights(p.bias, _channels(p.shape))}),
    "dot": fields(_dot_of, cosine="cosineSimilarity"),
    "innerProduct": _inner_product,
    "max": lambda p, weights: (_MAXIMUM, {"alpha": 0.0}),
    "min": lambda p, weights: (_MINIMUM, {"alpha": 0.0}),
    "multiply": fields(_MULTIPLY, alpha="alpha"),
    "reduce": _reduce_old,
    "scale": _scale,
    "unary": _unary,
    "whereBroadcastable": plain(arithmetic.FORMULAS["select"]),
}
