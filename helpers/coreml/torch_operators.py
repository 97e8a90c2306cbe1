"""Right lowerings where those of Core ML Tools' PyTorch front end are wrong or refuse too much."""

import numpy as np

from helpers.plumbing import private_coremltools

from . import deconvolution, places, pooling


def _int(context, node):
    """Sizes in a trace are lists of one number, and NumPy 2.4 makes no int of one."""
    from coremltools.converters.mil import Builder

    value = context[node.inputs[0]].val
    if value is None or np.size(value) != 1:
        return private_coremltools.torch_int(context, node)
    number = Builder.const(val=np.int32(np.ravel(value)[0]), name=node.name)
    return context.add(number, node.name)


def _windows(context, node, order: dict):
    """The input of a pooling node and its settings; ``order`` says which argument is which.

    The stride may be left out (``F.max_pool2d(x, 2)``), and is that of the kernel then.
    """
    inputs = private_coremltools.torch_inputs(context, node)
    x, count = inputs[0], inputs[0].rank - 2

    def numbers(name, default):
        place = order.get(name, len(inputs))
        value = inputs[place] if place < len(inputs) else None
        given = np.ravel(getattr(value, "val", value) if value is not None else [])
        found = [int(number) for number in given] or list(np.broadcast_to(default, count))
        return [int(number) for number in np.broadcast_to(found, count)]

    kernel = numbers("kernel", 1)
    strides, dilations = numbers("stride", kernel), numbers("dilation", 1)
    pads = [(amount, amount) for amount in numbers("padding", 0)]
    spans = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
    more = [0] * count
    if any(numbers("ceil_mode", 0)):
        more = pooling.more_for_ceil(x.shape[2:], spans, strides, pads)
    return inputs, (x, kernel, strides, dilations, pads, more)


_ORDER = {"kernel": 1, "stride": 2, "padding": 3}


def _max_pool(context, node):
    _, windows = _windows(context, node, _ORDER | {"dilation": 4, "ceil_mode": 5})
    pooled = pooling.max_pool(*windows, name=node.name)
    context.add((pooled, None) if "with_indices" in node.kind else pooled, torch_name=node.name)


def _average_pool(context, node):
    inputs, windows = _windows(context, node, _ORDER | {"ceil_mode": 4})
    counts = inputs[5] if len(inputs) > 5 else None
    if len(inputs) > 6 and inputs[6] is not None:
        raise ValueError(
            "divisor_override of an average pooling has no equal in Core ML: scale the result instead"
        )
    pooled = pooling.average_pool(*windows, padding_counts=counts is None or bool(counts.val), name=node.name)
    context.add(pooled)


def _select(context, node):
    x, axis, index = private_coremltools.torch_inputs(context, node)
    if x.rank < 2 or axis.val is None or index.val is None:
        return private_coremltools.torch_select(context, node)
    context.add(places.one(x, int(axis.val), int(index.val), name=node.name))


def _alias(context, node):
    """The same values under another name: what torch.export leaves after some operators, and dropout in evaluation mode."""
    context.add(private_coremltools.torch_inputs(context, node)[0], node.name)


_TRANSPOSED = {"stride": 3, "padding": 4, "output_padding": 5, "groups": 6, "dilation": 7}
_EITHER = {"stride": 3, "padding": 4, "dilation": 5, "transposed": 6, "output_padding": 7, "groups": 8}
"""Which input of PyTorch's convolutions is which."""


def _convolution(context, node):
    """Of the transposed ones those with ``output_padding``: Core ML Tools wants it to be no larger than the padding."""
    inputs = private_coremltools.torch_inputs(context, node)
    order = _TRANSPOSED if node.kind.startswith("conv_transpose") else _EITHER
    given = {name: getattr(inputs[at], "val", None) for name, at in order.items() if at < len(inputs)}
    if not given.get("transposed", True) or not np.any(given.get("output_padding", 0)):
        return private_coremltools.torch_convolution(context, node)
    x, weight, bias = inputs[:3]

    def sizes(name, default):
        return [int(n) for n in np.broadcast_to(given.get(name, default), x.rank - 2)]

    pads = [(a, a - more) for a, more in zip(sizes("padding", 0), sizes("output_padding", 0), strict=True)]
    parts = x, weight, bias, sizes("stride", 1), sizes("dilation", 1), int(given.get("groups") or 1), pads
    context.add(deconvolution.conv_transpose(*parts, name=node.name))


LOWERINGS = {"alias": _alias, "int": _int, "select": _select}
LOWERINGS |= dict.fromkeys(("alpha_dropout", "feature_alpha_dropout", "feature_dropout"), _alias)
LOWERINGS |= dict.fromkeys(("_convolution", "convolution", "conv_transpose1d"), _convolution)
LOWERINGS |= {f"conv_transpose{n}d.input": _convolution for n in (2, 3)}
LOWERINGS |= {f"max_pool{n}d{more}": _max_pool for n in (1, 2, 3) for more in ("", "_with_indices")}
LOWERINGS |= {f"avg_pool{n}d": _average_pool for n in (1, 2, 3)}
"""By PyTorch's operator; every other one is Core ML Tools' own."""
