"""Right lowerings where onnx2coreml's own are wrong, missing or refuse too much.

A lowering takes onnx2coreml's context and an ONNX node, makes Core ML operators with coremltools'
Builder and returns what the node's outputs are: ``context.values_map`` has the node's inputs by name.
The ONNX operators are specified at onnx.ai/onnx/operators, Core ML's by the classes in
``coremltools.converters.mil.mil.ops.defs``. The official tests of ONNX hold each to its specification
(``tests/proof/nodes.py``).
"""

import math
from typing import Any

import numpy as np
import onnx

from helpers.coreml import deconvolution, places, pooling
from helpers.plumbing.private_coremltools import numpy_type
from helpers.plumbing.quiet import quiet

from .access import attribute, builder, constant, given, number, picked, whole
from .activations import ACTIVATIONS
from .private_onnx2coreml import own_lowering
from .resize import resize


def converter(proto: onnx.ModelProto, own: dict, opset: int) -> Any:
    """onnx2coreml's converter with the lowerings of this room, and the caller's own before them.

    Args:
        proto: the ONNX model.
        own: functions (context, node) by operator, or by the name of a node.
        opset: the version of ONNX's operators in the file. Today's Resize that ONNX's converter makes of one before
            11 forgets how that computed.
    """
    with quiet():
        from onnx2coreml import Converter

    made, old = Converter(), opset < 11
    for kind in {*LOWERINGS, *map(_kind, proto.graph.node)}:
        default = LOWERINGS.get(kind) or own_lowering(kind)

        def lower(context, node, default=default):
            function = own.get(node.name) or own.get(node.op_type)
            if old and node.op_type == "Resize":
                node.attribute.extend(_RESIZE_10)
            if function is None:
                _check_constants(context, node)
            return (function or default)(context, node)

        made.register(kind)(lower)
    return made


_RESIZE_10 = [
    onnx.helper.make_attribute("coordinate_transformation_mode", "asymmetric"),
    onnx.helper.make_attribute("nearest_mode", "floor"),
]
"""How Upsample and the first Resize computed, which had no words for it."""


def known(node: onnx.NodeProto, own: dict) -> bool:
    """Whether there is a lowering for the operator of this node."""
    kind = _kind(node)
    return bool({node.op_type, node.name} & set(own)) or kind in LOWERINGS or own_lowering(kind) is not None


def _kind(node) -> str:
    """An operator as onnx2coreml calls it."""
    return node.op_type if node.domain in ("", "ai.onnx", "ai.onnx.ml") else f"{node.domain}::{node.op_type}"


_DESCRIBE = {"Clip": (1, 2), "Slice": (1, 2, 3, 4), "Squeeze": (1,), "TopK": (1,), "Unsqueeze": (1,)}
"""Inputs that say how to compute, by operator: where one is no constant, onnx2coreml takes it for left out."""


def _check_constants(context, node) -> None:
    """Refuse a node whose axes, bounds or amounts are known only when the model runs."""
    for index in (1,) if node.op_type.startswith("Reduce") else _DESCRIBE.get(node.op_type, ()):
        constant(context, node, index)


# Windows


def _windows(node, sizes):
    """Kernel, strides, dilations and (before, after) of a pooling node, its ``ceil_mode`` made explicit.

    Returns:
        The three lists, the padding that the node asks for, and how much more at the end lets the
        last windows of ``ceil_mode`` fit. ONNX drops a window that would begin in that padding.
    """
    kernel = list(attribute(node, "kernel_shape"))
    count = len(kernel)
    strides = list(attribute(node, "strides") or [1] * count)
    dilations = list(attribute(node, "dilations") or [1] * count)
    spans = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
    mode = attribute(node, "auto_pad", "NOTSET")
    if mode in ("SAME_UPPER", "SAME_LOWER"):
        pads = []
        for size, span, stride in zip(sizes, spans, strides, strict=True):
            total = max(0, (math.ceil(size / stride) - 1) * stride + span - size)
            small, large = total // 2, total - total // 2
            pads.append((small, large) if mode == "SAME_UPPER" else (large, small))
    else:
        flat = list(attribute(node, "pads") or [0] * 2 * count) if mode == "NOTSET" else [0] * 2 * count
        pads = list(zip(flat[:count], flat[count:], strict=True))
    more = pooling.more_for_ceil(sizes, spans, strides, pads) if attribute(node, "ceil_mode", 0) else None
    return kernel, strides, dilations, pads, more or [0] * count


def _max_pool(context, node):
    if len(node.output) > 1:
        raise ValueError("Core ML's pooling does not say where the maximum was; use the first output only")
    x = given(context, node, 0)
    return pooling.max_pool(x, *_windows(node, x.shape[2:]), name=node.output[0])


def _average_pool(context, node):
    x, counts = given(context, node, 0), bool(attribute(node, "count_include_pad", 0))
    return pooling.average_pool(x, *_windows(node, x.shape[2:]), padding_counts=counts, name=node.output[0])


# Transposed convolution


def _conv_transpose(context, node):
    x, weight, bias = (given(context, node, index) for index in range(3))
    count = x.rank - 2
    strides, dilations = (attribute(node, name) or [1] * count for name in ("strides", "dilations"))
    spans = [(k - 1) * d + 1 for k, d in zip(weight.shape[2:], dilations, strict=True)]
    full = [
        stride * (size - 1) + span for stride, size, span in zip(strides, x.shape[2:], spans, strict=True)
    ]
    pads = _transposed_pads(node, x.shape[2:], full, strides)
    parts = x, weight, bias, strides, dilations, attribute(node, "group", 1), pads
    return deconvolution.conv_transpose(*parts, name=node.output[0])


def _transposed_pads(node, sizes, full, strides):
    """(before, after) of each dimension; below 0 after the result come zeros."""
    count = len(sizes)
    flat = list(attribute(node, "pads") or [0] * 2 * count)
    mode, wanted = attribute(node, "auto_pad", "NOTSET"), attribute(node, "output_shape")
    added = attribute(node, "output_padding") or [0] * count
    if mode.startswith("SAME") and wanted is None:
        wanted = [size * stride for size, stride in zip(sizes, strides, strict=True)]
    pads = []
    for axis in range(count):
        before, after = flat[axis], flat[count + axis]
        if wanted is not None:
            total = full[axis] + added[axis] - wanted[axis]
            half = total // 2
            before, after = (half, total - half) if mode == "SAME_UPPER" else (total - half, half)
        pads.append((before, after - added[axis]))
    return pads


# Normalisation, and what is left of a dropout


def _dropout(context, node):
    """Nothing is dropped outside training (which is refused before); the mask has no use then."""
    if len(node.output) > 1 and node.output[1]:
        raise ValueError("the mask of a Dropout has no equal in Core ML; use the first output only")
    same = builder().identity(x=given(context, node, 0), name=node.output[0])
    return [same, same][: len(node.output)]


def _local_response_norm(context, node):
    mb, x = builder(), given(context, node, 0)
    size = attribute(node, "size")
    if size % 2 == 0:
        raise ValueError(f"LRN over {size} channels: Core ML's window is even on both sides; use an odd size")
    settings = {
        "alpha": attribute(node, "alpha", 1e-4),
        "beta": attribute(node, "beta", 0.75),
        "k": attribute(node, "bias", 1.0),
    }
    return mb.local_response_norm(x=x, size=size, name=node.output[0], **settings)


def _layer_norm(context, node):
    """With the mean and 1/√variance as further outputs, where they are wanted."""
    mb, x = builder(), given(context, node, 0)
    axes = list(range(attribute(node, "axis", -1) % x.rank, x.rank))
    epsilon = attribute(node, "epsilon", 1e-5)
    scale, bias = constant(context, node, 1), constant(context, node, 2)
    # A scale for some of the dimensions is one for all of them.
    sizes = [x.shape[axis] for axis in axes]
    scale, bias = (None if w is None else np.broadcast_to(w, sizes).copy() for w in (scale, bias))
    result = mb.layer_norm(x=x, axes=axes, gamma=scale, beta=bias, epsilon=epsilon, name=node.output[0])
    if len(node.output) == 1:
        return result
    called = {"name": node.output[1]} if node.output[1] else {}
    mean = mb.reduce_mean(x=x, axes=axes, keep_dims=True, **called)
    results = [result, mean]
    if len(node.output) > 2:
        variance = mb.reduce_mean(x=mb.square(x=mb.sub(x=x, y=mean)), axes=axes, keep_dims=True)
        results.append(mb.rsqrt(x=variance, epsilon=epsilon, name=node.output[2]))
    return results


def _norm(x, p, axes, **called):
    """(sum of |x|ᵖ)^(1/p) along axes that stay."""
    mb = builder()
    known = {1: "reduce_l1_norm", 2: "reduce_l2_norm"}
    if p in known:
        return getattr(mb, known[p])(x=x, axes=axes, keep_dims=True, **called)
    total = mb.reduce_sum(x=mb.pow(x=mb.abs(x=x), y=number(x, p)), axes=axes, keep_dims=True)
    return mb.pow(x=total, y=number(x, 1 / p), **called)


def _lp_normalization(context, node):
    """x over its norm; 0 where that is 0."""
    mb, x = builder(), given(context, node, 0)
    norm = _norm(x, attribute(node, "p", 2), [attribute(node, "axis", -1)])
    return mb.real_div(x=x, y=mb.maximum(x=norm, y=number(x, 1e-12)), name=node.output[0])


def _global_lp_pool(context, node):
    x = given(context, node, 0)
    return _norm(x, attribute(node, "p", 2), list(range(2, x.rank)), name=node.output[0])


# One value at a time


def _div(context, node):
    """Whole numbers are divided without a remainder, towards 0; Core ML rounds down."""
    mb, x, y = builder(), given(context, node, 0), given(context, node, 1)
    if not whole(x):
        return mb.real_div(x=x, y=y, name=node.output[0])
    zero = np.int32(0)
    down = mb.floor_div(x=x, y=y)
    rest = mb.sub(x=x, y=mb.mul(x=down, y=y))
    one_negative = mb.logical_xor(x=mb.less(x=x, y=zero), y=mb.less(x=y, y=zero))
    too_low = mb.logical_and(x=mb.not_equal(x=rest, y=zero), y=one_negative)
    return mb.add(x=down, y=mb.cast(x=too_low, dtype="int32"), name=node.output[0])


def _mod(context, node):
    """The remainder has the sign of the divisor, as Core ML's; with ``fmod`` that of the dividend."""
    mb, x, y = builder(), given(context, node, 0), given(context, node, 1)
    if not attribute(node, "fmod", 0):
        return mb.mod(x=x, y=y, name=node.output[0])
    rest = mb.mod(x=mb.abs(x=x), y=mb.abs(x=y))
    return mb.mul(x=rest, y=mb.sign(x=x), name=node.output[0])


def _reciprocal(context, node):
    """1 / x; Core ML's ``inverse`` adds 0.0001 to x."""
    x = given(context, node, 0)
    return builder().real_div(x=numpy_type(x).type(1), y=x, name=node.output[0])


def _pow(context, node):
    """The exponent may be of another type; the result has that of the base."""
    mb, x, y = builder(), given(context, node, 0), given(context, node, 1)
    kinds = {True: "int32", False: "fp16" if numpy_type(x) == np.float16 else "fp32"}
    if y.val is not None and np.size(y.val) == 1:
        y = numpy_type(y).type(np.reshape(y.val, ()))  # a neural network wants one number
        if not whole(x):
            y = numpy_type(x).type(y)
    elif not whole(x) and numpy_type(y) != numpy_type(x):
        y = mb.cast(x=y, dtype=kinds[False])
    y_is_whole = isinstance(y, np.integer) or (not isinstance(y, np.generic) and whole(y))
    if whole(x) and not y_is_whole:
        power = mb.pow(x=mb.cast(x=x, dtype="fp32"), y=y)
        return mb.cast(x=power, dtype="int32", name=node.output[0])
    return mb.pow(x=x, y=y, name=node.output[0])


def _mean(context, node):
    """The mean of any number of inputs."""
    mb, total = builder(), given(context, node, 0)
    for index in range(1, len(node.input)):
        total = mb.add(x=total, y=given(context, node, index))
    return mb.real_div(x=total, y=numpy_type(total).type(len(node.input)), name=node.output[0])


def _of_any_number(function):
    """Max, Min or Sum of any number of inputs; of one it is that one."""

    def lower(context, node):
        mb = builder()
        result = given(context, node, 0)
        for index in range(1, len(node.input)):
            name = {"name": node.output[0]} if index == len(node.input) - 1 else {}
            result = getattr(mb, function)(x=result, y=given(context, node, index), **name)
        return result if len(node.input) > 1 else mb.identity(x=result, name=node.output[0])

    return lower


# Products and reductions


def _matmul(context, node):
    """As NumPy does it: a vector is a row on the left, a column on the right, and its dimension goes again."""
    mb, x, y = builder(), given(context, node, 0), given(context, node, 1)
    gone = []
    if x.rank == 1:
        x, gone = mb.expand_dims(x=x, axes=[0]), [-2]
    if y.rank == 1:
        y, gone = mb.expand_dims(x=y, axes=[1]), [*gone, -1]
    if not gone:
        return mb.matmul(x=x, y=y, name=node.output[0])
    return mb.squeeze(x=mb.matmul(x=x, y=y), axes=gone, name=node.output[0])


def _arg(function):
    """ArgMax or ArgMin: where the largest or smallest is, the first one or the last."""

    def lower(context, node):
        mb, x = builder(), given(context, node, 0)
        axis, keep = attribute(node, "axis", 0), bool(attribute(node, "keepdims", 1))
        if not attribute(node, "select_last_index", 0):
            return getattr(mb, function)(x=x, axis=axis, keep_dims=keep, name=node.output[0])
        from_end = getattr(mb, function)(x=mb.reverse(x=x, axes=[axis]), axis=axis, keep_dims=keep)
        return mb.sub(x=np.int32(x.shape[axis] - 1), y=from_end, name=node.output[0])

    return lower


# Shape and place


def _gather(context, node):
    """Of a single index the dimension goes, which a neural network's layer does not know."""
    x, index = given(context, node, 0), given(context, node, 1)
    if index.val is None or np.ndim(index.val) or x.rank < 2:
        return own_lowering("Gather")(context, node)
    return places.one(x, attribute(node, "axis", 0), int(index.val), name=node.output[0])


def _split(context, node):
    """Parts of given sizes, or equal ones of which the last may be smaller."""
    mb, x = builder(), given(context, node, 0)
    axis, count = attribute(node, "axis", 0), len(node.output)
    sizes = attribute(node, "split")
    if sizes is None:
        sizes = constant(context, node, 1)
    if sizes is None:
        size, total = math.ceil(x.shape[axis] / count), x.shape[axis]
        sizes = [min(size, total - size * number) for number in range(count)]
    sizes = [int(size) for size in sizes]
    if min(sizes) < 1:
        raise ValueError("Core ML has no empty arrays, and a part of the split is empty")
    parts = mb.split(x=x, split_sizes=sizes, axis=axis) if count > 1 else [x]
    return [mb.identity(x=part, name=name) for part, name in zip(parts, node.output, strict=True)]


def _pad(context, node):
    """Padding of some or all dimensions; a negative amount cuts off."""
    mb, x = builder(), given(context, node, 0)
    amounts = attribute(node, "pads")
    amounts = [int(n) for n in (constant(context, node, 1) if amounts is None else amounts)]
    axes = constant(context, node, 3)
    axes = list(range(x.rank)) if axes is None else [int(axis) % x.rank for axis in axes]
    mode = attribute(node, "mode", "constant")
    pairs = [(0, 0)] * x.rank
    for place, axis in enumerate(axes):
        pairs[axis] = (amounts[place], amounts[place + len(axes)])
    if min(map(min, pairs)) < 0:
        begin = [max(0, -before) for before, _ in pairs]
        end = [size + min(0, after) for size, (_, after) in zip(x.shape, pairs, strict=True)]
        x = mb.slice_by_index(x=x, begin=begin, end=end)
        pairs = [(max(0, before), max(0, after)) for before, after in pairs]
    kind = numpy_type(x).type
    if mode == "constant":
        value = constant(context, node, 2)
        value = attribute(node, "value", 0.0) if value is None else np.reshape(value, ())
        flat = [amount for pair in pairs for amount in pair]
        return mb.pad(x=x, pad=flat, mode="constant", constant_val=kind(value), name=node.output[0])
    inner = [amount for pair in pairs[-2:] for amount in pair]
    if mode in ("edge", "reflect") and x.rank == 4 and not any(map(any, pairs[:-2])) and not whole(x):
        mode = "replicate" if mode == "edge" else mode
        return mb.pad(x=x, pad=inner, mode=mode, constant_val=kind(0), name=node.output[0])
    return picked(x, [np.pad(np.arange(n), p, mode) for n, p in zip(x.shape, pairs, strict=True)], node)


def _range(context, node):
    start, limit, delta = (constant(context, node, index) for index in range(3))
    values = np.arange(start.item(), limit.item(), delta.item(), dtype=start.dtype)
    return builder().const(val=values, name=node.output[0])


def _space_to_depth(context, node):
    mb, x, block = builder(), given(context, node, 0), attribute(node, "blocksize")
    if attribute(node, "mode", "DCR") == "DCR":
        return mb.space_to_depth(x=x, block_size=block, name=node.output[0])
    n, c, h, w = x.shape
    x = mb.reshape(x=x, shape=[n * c, h // block, block, w // block, block])
    x = mb.transpose(x=x, perm=[0, 2, 4, 1, 3])
    return mb.reshape(x=x, shape=[n, c * block**2, h // block, w // block], name=node.output[0])


LOWERINGS = ACTIVATIONS | {
    "ArgMax": _arg("reduce_argmax"),
    "ArgMin": _arg("reduce_argmin"),
    "AveragePool": _average_pool,
    "ConvTranspose": _conv_transpose,
    "Div": _div,
    "Dropout": _dropout,
    "Gather": _gather,
    "GlobalLpPool": _global_lp_pool,
    "LRN": _local_response_norm,
    "LayerNormalization": _layer_norm,
    "LpNormalization": _lp_normalization,
    "MatMul": _matmul,
    "Mean": _mean,
    "Max": _of_any_number("maximum"),
    "MaxPool": _max_pool,
    "Min": _of_any_number("minimum"),
    "Mod": _mod,
    "Pad": _pad,
    "Pow": _pow,
    "Range": _range,
    "Reciprocal": _reciprocal,
    "Resize": resize,
    "SpaceToDepth": _space_to_depth,
    "Split": _split,
    "Sum": _of_any_number("add"),
    "Upsample": resize,
}
"""By ONNX operator; every other one is onnx2coreml's."""
