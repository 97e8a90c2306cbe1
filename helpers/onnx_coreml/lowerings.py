"""Right lowerings where onnx2coreml's own are wrong, missing or refuse too much.

A lowering takes onnx2coreml's context and an ONNX node, makes Core ML operators with coremltools'
Builder and returns what the node's outputs are: ``context.values_map`` has the node's inputs by name.
The ONNX operators are specified at onnx.ai/onnx/operators, Core ML's by the classes in
``coremltools.converters.mil.mil.ops.defs``. The official tests of ONNX hold each to its specification
(``tests/proof/nodes.py``).
"""

import math

import numpy as np

from helpers.quiet import quiet


def converter(proto, own: dict):
    """onnx2coreml's converter with the lowerings of this room, and the caller's own before them.

    Args:
        proto: the ONNX model.
        own: functions (context, node) by operator, or by the name of a node.
    """
    with quiet():
        from onnx2coreml._lowering import resolve
        from onnx2coreml.converter import Converter

    made = Converter()
    for kind in {*LOWERINGS, *map(_kind, proto.graph.node)}:
        default = LOWERINGS.get(kind) or resolve(kind)

        def lower(context, node, default=default):
            function = own.get(node.name) or own.get(node.op_type) or default
            return function(context, node)

        made.register(kind)(lower)
    return made


def known(node, own: dict) -> bool:
    """Whether there is a lowering for the operator of this node."""
    with quiet():
        from onnx2coreml._lowering import resolve

    kind = _kind(node)
    return bool({node.op_type, node.name} & set(own)) or kind in LOWERINGS or resolve(kind) is not None


def _kind(node) -> str:
    """An operator as onnx2coreml calls it."""
    return node.op_type if node.domain in ("", "ai.onnx", "ai.onnx.ml") else f"{node.domain}::{node.op_type}"


# What every lowering needs


def _mb():
    from coremltools.converters.mil import Builder

    return Builder


def _attribute(node, name, default=None):
    """An attribute's value; texts as str."""
    import onnx

    for attribute in node.attribute:
        if attribute.name == name:
            value = onnx.helper.get_attribute_value(attribute)
            return value.decode() if isinstance(value, bytes) else value
    return default


def _input(context, node, index):
    """What an input is, None if it is left out."""
    if index >= len(node.input) or not node.input[index]:
        return None
    return context.values_map[node.input[index]]


def _constant(context, node, index):
    """An input as an array, None if it is left out.

    Raises:
        ValueError: its value is known only when the model runs.
    """
    value = _input(context, node, index)
    if value is None:
        return None
    if value.val is None:
        raise ValueError(f"its input {node.input[index]!r} has to be a constant")
    return np.asarray(value.val)


# Windows


def _windows(node, sizes):
    """Kernel, strides, dilations and (before, after) of a pooling node, its ``ceil_mode`` made explicit.

    Returns:
        The three lists, the padding that the node asks for, and how much more at the end lets the
        last windows of ``ceil_mode`` fit. ONNX drops a window that would begin in that padding.
    """
    kernel = list(_attribute(node, "kernel_shape"))
    count = len(kernel)
    strides = list(_attribute(node, "strides") or [1] * count)
    dilations = list(_attribute(node, "dilations") or [1] * count)
    spans = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
    mode = _attribute(node, "auto_pad", "NOTSET")
    if mode in ("SAME_UPPER", "SAME_LOWER"):
        pads = []
        for size, span, stride in zip(sizes, spans, strides, strict=True):
            total = max(0, (math.ceil(size / stride) - 1) * stride + span - size)
            small, large = total // 2, total - total // 2
            pads.append((small, large) if mode == "SAME_UPPER" else (large, small))
    else:
        flat = list(_attribute(node, "pads") or [0] * 2 * count) if mode == "NOTSET" else [0] * 2 * count
        pads = list(zip(flat[:count], flat[count:], strict=True))
    more = []
    for size, span, stride, (before, after) in zip(sizes, spans, strides, pads, strict=True):
        steps = (size + before + after - span) / stride
        last = (math.ceil(steps) if _attribute(node, "ceil_mode", 0) else math.floor(steps)) * stride
        if last >= size + before:
            last -= stride
        more.append(max(0, last + span - (size + before + after)))
    return kernel, strides, dilations, pads, more


def _pad_spatial(x, pads, value):
    mb = _mb()
    if not any(map(any, pads)):
        return x
    flat = [0] * 4 + [amount for pair in pads for amount in pair]
    return mb.pad(x=x, pad=flat, mode="constant", constant_val=value)


def _dilated(x, kernel, strides, dilations, combine):
    """Windows with holes: one strided slice per place in the window, one dimension after the other."""
    mb = _mb()
    for axis, (places, stride, dilation) in enumerate(zip(kernel, strides, dilations, strict=True), 2):
        count = (x.shape[axis] - (places - 1) * dilation - 1) // stride + 1
        result = None
        for place in range(places):
            begin, end, step = [0] * x.rank, list(x.shape), [1] * x.rank
            begin[axis] = place * dilation
            end[axis], step[axis] = begin[axis] + (count - 1) * stride + 1, stride
            part = mb.slice_by_index(x=x, begin=begin, end=end, stride=step)
            result = part if result is None else combine(x=result, y=part)
        x = result
    return x


def _max_pool(context, node):
    mb, x = _mb(), _input(context, node, 0)
    if len(node.output) > 1:
        raise ValueError("Core ML's pooling does not say where the maximum was; use the first output only")
    kernel, strides, dilations, pads, more = _windows(node, x.shape[2:])
    pads = [(before, after + extra) for (before, after), extra in zip(pads, more, strict=True)]
    if max(dilations) > 1:
        lowest = np.float32(np.finfo(np.float32).min)
        padded = _pad_spatial(x, pads, lowest)
        return mb.identity(x=_dilated(padded, kernel, strides, dilations, mb.maximum), name=node.output[0])
    return mb.max_pool(x=x, kernel_sizes=kernel, strides=strides, name=node.output[0], **_pad_arguments(pads))


def _average_pool(context, node):
    mb, x = _mb(), _input(context, node, 0)
    kernel, strides, dilations, pads, more = _windows(node, x.shape[2:])
    padding_counts = bool(_attribute(node, "count_include_pad", 0))
    if max(dilations) > 1:
        ends = [(before, after + extra) for (before, after), extra in zip(pads, more, strict=True)]
        total = _dilated(_pad_spatial(x, ends, 0.0), kernel, strides, dilations, mb.add)
        ones = np.ones(x.shape[2:], np.float32)
        counted = np.pad(ones, pads, constant_values=float(padding_counts))
        counted = np.pad(counted, [(0, extra) for extra in more])
        for axis, (places, stride, dilation) in enumerate(zip(kernel, strides, dilations, strict=True)):
            span = (places - 1) * dilation + 1
            view = np.lib.stride_tricks.sliding_window_view(counted, span, axis)
            counted = np.take(view, range(0, view.shape[axis], stride), axis)[..., ::dilation].sum(-1)
        return mb.real_div(x=total, y=counted[None, None].astype(np.float32), name=node.output[0])
    if padding_counts and any(more):
        # The padding counts, what ceil_mode adds behind it does not.
        x, pads = _pad_spatial(x, pads, 0.0), [(0, 0)] * len(pads)
        padding_counts = False
    ends = [(before, after + extra) for (before, after), extra in zip(pads, more, strict=True)]
    return mb.avg_pool(
        x=x,
        kernel_sizes=kernel,
        strides=strides,
        exclude_padding_from_average=not padding_counts,
        name=node.output[0],
        **_pad_arguments(ends),
    )


def _pad_arguments(pads) -> dict:
    if not any(map(any, pads)):
        return {"pad_type": "valid"}
    return {"pad_type": "custom", "pad": [amount for pair in pads for amount in pair]}


# Activations


def _gelu(context, node):
    modes = {"none": "EXACT", "tanh": "TANH_APPROXIMATION"}
    mode = modes[_attribute(node, "approximate", "none")]
    return _mb().gelu(x=_input(context, node, 0), mode=mode, name=node.output[0])


def _log_softmax(context, node):
    """x minus the logarithm of the sum of eˣ: the logarithm of a softmax is -∞ where that is 0."""
    mb, x = _mb(), _input(context, node, 0)
    axis = _attribute(node, "axis", -1)
    total = mb.reduce_log_sum_exp(x=x, axes=[axis], keep_dims=True)
    return mb.sub(x=x, y=total, name=node.output[0])


# One value at a time


def _div(context, node):
    """Whole numbers are divided without a remainder, towards 0; Core ML rounds down."""
    mb, x, y = _mb(), _input(context, node, 0), _input(context, node, 1)
    if not x.is_tensor_or_scalar_of(dtype="int"):
        return mb.real_div(x=x, y=y, name=node.output[0])
    down = mb.floor_div(x=x, y=y)
    rest = mb.sub(x=x, y=mb.mul(x=down, y=y))
    one_negative = mb.logical_xor(x=mb.less(x=x, y=np.int32(0)), y=mb.less(x=y, y=np.int32(0)))
    below_0 = mb.logical_and(x=mb.not_equal(x=rest, y=np.int32(0)), y=one_negative)
    return mb.add(x=down, y=mb.cast(x=below_0, dtype="int32"), name=node.output[0])


def _reciprocal(context, node):
    """1 / x; Core ML's ``inverse`` adds 0.0001 to x."""
    return _mb().real_div(x=np.float32(1), y=_input(context, node, 0), name=node.output[0])


LOWERINGS = {
    "AveragePool": _average_pool,
    "Div": _div,
    "Gelu": _gelu,
    "LogSoftmax": _log_softmax,
    "MaxPool": _max_pool,
    "Reciprocal": _reciprocal,
}
"""By ONNX operator; every other one is onnx2coreml's."""
