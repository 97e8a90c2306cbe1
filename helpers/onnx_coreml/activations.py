"""Activations, one value at a time and over the classes; the formulas are those of onnx.ai/onnx/operators."""

from .access import attribute, builder, given, number


def _selu(context, node):
    """gamma · elu(x)."""
    mb, x = builder(), given(context, node, 0)
    alpha = attribute(node, "alpha", 1.67326319217681884765625)
    gamma = attribute(node, "gamma", 1.05070102214813232421875)
    return mb.mul(x=mb.elu(x=x, alpha=number(x, alpha)), y=number(x, gamma), name=node.output[0])


def _celu(context, node):
    """alpha · elu(x / alpha)."""
    mb, x = builder(), given(context, node, 0)
    alpha = number(x, attribute(node, "alpha", 1.0))
    inside = mb.real_div(x=x, y=alpha)
    return mb.mul(x=mb.elu(x=inside, alpha=number(x, 1)), y=alpha, name=node.output[0])


def _softsign(context, node):
    return builder().softsign(x=given(context, node, 0), name=node.output[0])


def _gelu(context, node):
    modes = {"none": "EXACT", "tanh": "TANH_APPROXIMATION"}
    mode = modes[attribute(node, "approximate", "none")]
    return builder().gelu(x=given(context, node, 0), mode=mode, name=node.output[0])


def _mish(context, node):
    """x · tanh(log(1 + eˣ))."""
    mb, x = builder(), given(context, node, 0)
    return mb.mul(x=x, y=mb.tanh(x=mb.softplus(x=x)), name=node.output[0])


def _swish(context, node):
    """x · sigmoid(alpha · x)."""
    mb, x = builder(), given(context, node, 0)
    inside = mb.mul(x=x, y=number(x, attribute(node, "alpha", 1.0)))
    return mb.mul(x=x, y=mb.sigmoid(x=inside), name=node.output[0])


def _thresholded_relu(context, node):
    """x above alpha, else 0. Core ML's own keeps alpha itself, too."""
    mb, x = builder(), given(context, node, 0)
    above = mb.greater(x=x, y=number(x, attribute(node, "alpha", 1.0)))
    return mb.mul(x=x, y=mb.cast(x=above, dtype="fp32"), name=node.output[0])


def _shrink(context, node):
    """x + bias below -lambd, x - bias above lambd, else 0."""
    mb, x = builder(), given(context, node, 0)
    lambd, bias = (number(x, attribute(node, *pair)) for pair in (("lambd", 0.5), ("bias", 0.0)))
    low = mb.cast(x=mb.less(x=x, y=-lambd), dtype="fp32")
    high = mb.cast(x=mb.greater(x=x, y=lambd), dtype="fp32")
    low, high = mb.mul(x=mb.add(x=x, y=bias), y=low), mb.mul(x=mb.sub(x=x, y=bias), y=high)
    return mb.add(x=low, y=high, name=node.output[0])


def _log_softmax(context, node):
    """x minus the logarithm of the sum of eˣ: the logarithm of a softmax is -∞ where that is 0."""
    mb, x = builder(), given(context, node, 0)
    axis = attribute(node, "axis", -1)
    total = mb.reduce_log_sum_exp(x=x, axes=[axis], keep_dims=True)
    return mb.sub(x=x, y=total, name=node.output[0])


ACTIVATIONS = {
    "Celu": _celu,
    "Gelu": _gelu,
    "LogSoftmax": _log_softmax,
    "Mish": _mish,
    "Selu": _selu,
    "Shrink": _shrink,
    "Softsign": _softsign,
    "Swish": _swish,
    "ThresholdedRelu": _thresholded_relu,
}
"""By ONNX operator."""
