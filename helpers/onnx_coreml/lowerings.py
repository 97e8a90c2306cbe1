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


def _ios13():
    from coremltools import target

    return target.iOS13


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
    return mb.pad(x=x, pad=flat, mode="constant", constant_val=_numpy_type(x).type(value))


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
        lowest = np.finfo(_numpy_type(x)).min
        padded = _pad_spatial(x, pads, lowest)
        return mb.identity(x=_dilated(padded, kernel, strides, dilations, mb.maximum), name=node.output[0])
    return mb.max_pool(x=x, kernel_sizes=kernel, strides=strides, name=node.output[0], **_pad_arguments(pads))


def _average_pool(context, node):
    mb, x = _mb(), _input(context, node, 0)
    kernel, strides, dilations, pads, more = _windows(node, x.shape[2:])
    padding_counts = bool(_attribute(node, "count_include_pad", 0))
    if max(dilations) > 1:
        ends = [(before, after + extra) for (before, after), extra in zip(pads, more, strict=True)]
        total = _dilated(_pad_spatial(x, ends, 0), kernel, strides, dilations, mb.add)
        ones = np.ones(x.shape[2:], np.float32)
        counted = np.pad(ones, pads, constant_values=float(padding_counts))
        counted = np.pad(counted, [(0, extra) for extra in more])
        for axis, (places, stride, dilation) in enumerate(zip(kernel, strides, dilations, strict=True)):
            span = (places - 1) * dilation + 1
            view = np.lib.stride_tricks.sliding_window_view(counted, span, axis)
            counted = np.take(view, range(0, view.shape[axis], stride), axis)[..., ::dilation].sum(-1)
        return mb.real_div(x=total, y=counted[None, None].astype(_numpy_type(x)), name=node.output[0])
    if padding_counts and any(more):
        # The padding counts, what ceil_mode adds behind it does not.
        x, pads = _pad_spatial(x, pads, 0), [(0, 0)] * len(pads)
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


# Activations and normalisation


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


def _layer_norm(context, node):
    """With the mean and 1/√variance as further outputs, where they are wanted."""
    mb, x = _mb(), _input(context, node, 0)
    axes = list(range(_attribute(node, "axis", -1) % x.rank, x.rank))
    epsilon = _attribute(node, "epsilon", 1e-5)
    scale, bias = _constant(context, node, 1), _constant(context, node, 2)
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


# One value at a time


def _whole(x) -> bool:
    return np.issubdtype(_numpy_type(x), np.integer)


def _numpy_type(x):
    from coremltools.converters.mil.mil import types

    return np.dtype(types.nptype_from_builtin(x.dtype))


def _div(context, node):
    """Whole numbers are divided without a remainder, towards 0; Core ML rounds down."""
    mb, x, y = _mb(), _input(context, node, 0), _input(context, node, 1)
    if not _whole(x):
        return mb.real_div(x=x, y=y, name=node.output[0])
    zero = np.int32(0)
    down = mb.floor_div(x=x, y=y)
    rest = mb.sub(x=x, y=mb.mul(x=down, y=y))
    one_negative = mb.logical_xor(x=mb.less(x=x, y=zero), y=mb.less(x=y, y=zero))
    too_low = mb.logical_and(x=mb.not_equal(x=rest, y=zero), y=one_negative)
    return mb.add(x=down, y=mb.cast(x=too_low, dtype="int32"), name=node.output[0])


def _mod(context, node):
    """The remainder has the sign of the divisor, as Core ML's; with ``fmod`` that of the dividend."""
    mb, x, y = _mb(), _input(context, node, 0), _input(context, node, 1)
    if not _attribute(node, "fmod", 0):
        return mb.mod(x=x, y=y, name=node.output[0])
    rest = mb.mod(x=mb.abs(x=x), y=mb.abs(x=y))
    return mb.mul(x=rest, y=mb.sign(x=x), name=node.output[0])


def _reciprocal(context, node):
    """1 / x; Core ML's ``inverse`` adds 0.0001 to x."""
    x = _input(context, node, 0)
    return _mb().real_div(x=_numpy_type(x).type(1), y=x, name=node.output[0])


def _pow(context, node):
    """The exponent may be of another type; the result has that of the base."""
    mb, x, y = _mb(), _input(context, node, 0), _input(context, node, 1)
    kinds = {True: "int32", False: "fp16" if _numpy_type(x) == np.float16 else "fp32"}
    if y.val is not None and np.size(y.val) == 1:
        y = _numpy_type(y).type(np.reshape(y.val, ()))  # a neural network wants one number
        if not _whole(x):
            y = _numpy_type(x).type(y)
    elif not _whole(x) and _numpy_type(y) != _numpy_type(x):
        y = mb.cast(x=y, dtype=kinds[False])
    y_is_whole = isinstance(y, np.integer) or (not isinstance(y, np.generic) and _whole(y))
    if _whole(x) and not y_is_whole:
        power = mb.pow(x=mb.cast(x=x, dtype="fp32"), y=y)
        return mb.cast(x=power, dtype="int32", name=node.output[0])
    return mb.pow(x=x, y=y, name=node.output[0])


def _largest(function):
    """Max or Min of any number of inputs; of one it is that one."""

    def lower(context, node):
        mb = _mb()
        result = _input(context, node, 0)
        for index in range(1, len(node.input)):
            name = {"name": node.output[0]} if index == len(node.input) - 1 else {}
            result = getattr(mb, function)(x=result, y=_input(context, node, index), **name)
        return result if len(node.input) > 1 else mb.identity(x=result, name=node.output[0])

    return lower


# Products and reductions


def _matmul(context, node):
    """As NumPy does it: a vector is a row on the left, a column on the right, and its dimension goes again."""
    mb, x, y = _mb(), _input(context, node, 0), _input(context, node, 1)
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
        mb, x = _mb(), _input(context, node, 0)
        axis, keep = _attribute(node, "axis", 0), bool(_attribute(node, "keepdims", 1))
        if not _attribute(node, "select_last_index", 0):
            return getattr(mb, function)(x=x, axis=axis, keep_dims=keep, name=node.output[0])
        from_end = getattr(mb, function)(x=mb.reverse(x=x, axes=[axis]), axis=axis, keep_dims=keep)
        return mb.sub(x=np.int32(x.shape[axis] - 1), y=from_end, name=node.output[0])

    return lower


# Shape and place


def _split(context, node):
    """Parts of given sizes, or equal ones of which the last may be smaller."""
    mb, x = _mb(), _input(context, node, 0)
    axis, count = _attribute(node, "axis", 0), len(node.output)
    sizes = _attribute(node, "split")
    if sizes is None:
        sizes = _constant(context, node, 1)
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
    mb, x = _mb(), _input(context, node, 0)
    amounts = _attribute(node, "pads")
    amounts = [int(n) for n in (_constant(context, node, 1) if amounts is None else amounts)]
    axes = _constant(context, node, 3)
    axes = list(range(x.rank)) if axes is None else [int(axis) % x.rank for axis in axes]
    mode = _attribute(node, "mode", "constant")
    pairs = [(0, 0)] * x.rank
    for place, axis in enumerate(axes):
        pairs[axis] = (amounts[place], amounts[place + len(axes)])
    if min(map(min, pairs)) < 0:
        begin = [max(0, -before) for before, _ in pairs]
        end = [size + min(0, after) for size, (_, after) in zip(x.shape, pairs, strict=True)]
        x = mb.slice_by_index(x=x, begin=begin, end=end)
        pairs = [(max(0, before), max(0, after)) for before, after in pairs]
    kind = _numpy_type(x).type
    if mode == "constant":
        value = _constant(context, node, 2)
        value = _attribute(node, "value", 0.0) if value is None else np.reshape(value, ())
        flat = [amount for pair in pairs for amount in pair]
        return mb.pad(x=x, pad=flat, mode="constant", constant_val=kind(value), name=node.output[0])
    inner = [amount for pair in pairs[-2:] for amount in pair]
    if mode in ("edge", "reflect") and x.rank == 4 and not any(map(any, pairs[:-2])) and not _whole(x):
        mode = "replicate" if mode == "edge" else mode
        return mb.pad(x=x, pad=inner, mode=mode, constant_val=kind(0), name=node.output[0])
    return _picked(x, [np.pad(np.arange(n), p, mode) for n, p in zip(x.shape, pairs, strict=True)], node)


def _picked(x, places, node):
    """The entries at ``places`` of every dimension."""
    mb = _mb()
    for axis, chosen in enumerate(places):
        if not np.array_equal(chosen, np.arange(x.shape[axis])):
            x = mb.gather(x=x, indices=chosen.astype(np.int32), axis=axis)
    return mb.identity(x=x, name=node.output[0])


def _space_to_depth(context, node):
    mb, x, block = _mb(), _input(context, node, 0), _attribute(node, "blocksize")
    if _attribute(node, "mode", "DCR") == "DCR":
        return mb.space_to_depth(x=x, block_size=block, name=node.output[0])
    n, c, h, w = x.shape
    x = mb.reshape(x=x, shape=[n * c, h // block, block, w // block, block])
    x = mb.transpose(x=x, perm=[0, 2, 4, 1, 3])
    return mb.reshape(x=x, shape=[n, c * block**2, h // block, w // block], name=node.output[0])


# Another size


def _resize(context, node):
    """Resize in any mode: along each dimension every new value is a fixed sum of old ones.

    The weights of that sum are what ONNX's own reference implementation makes of the unit vectors.
    """
    mb, x = _mb(), _input(context, node, 0)
    scales, sizes, axes = _new_sizes(context, node, x.shape)
    mode = _attribute(node, "mode", "nearest")
    roi = _constant(context, node, 1) if node.op_type == "Resize" else None
    outside = np.zeros([1] * x.rank, bool)
    whole = all(float(scale).is_integer() for scale in scales)
    blocks = x.rank == 4 and whole and scales[:2] == [1, 1]
    weights = {}
    for axis, (scale, size) in enumerate(zip(scales, sizes, strict=True)):
        if size == x.shape[axis] and scale == 1 and roi is None:
            continue
        place = axes.index(axis) if axis in axes else None
        region = None if roi is None or place is None else roi[[place, place + len(axes)]]
        weights[axis] = _resize_weights(node, x.shape[axis], scale, size, region)
        inside = np.abs(weights[axis].sum(1)) > 0.5
        shape = [1] * x.rank
        shape[axis] = size
        outside = outside | ~inside.reshape(shape)
    if mode == "nearest" and not outside.any():
        places = [np.arange(size) for size in x.shape]
        places = [weights[axis].argmax(1) if axis in weights else p for axis, p in enumerate(places)]
        repeated = [np.repeat(np.arange(n), int(s)) for n, s in zip(x.shape, scales, strict=True)]
        if blocks and all(map(np.array_equal, places, repeated)):
            height, width = map(float, scales[2:])
            return mb.upsample_nearest_neighbor(
                x=x, scale_factor_height=height, scale_factor_width=width, name=node.output[0]
            )
        return _picked(x, places, node)
    corners = _attribute(node, "coordinate_transformation_mode", "half_pixel")
    # Neural networks cannot choose between these two before iOS 14.
    known = corners in ("half_pixel", "align_corners") and int(context.target) > int(_ios13())
    known = known and not _attribute(node, "antialias", 0)
    if mode == "linear" and blocks and known and min(scales[2:]) > 1:
        height, width = map(float, scales[2:])
        return mb.upsample_bilinear(
            x=x,
            scale_factor_height=height,
            scale_factor_width=width,
            align_corners=corners == "align_corners",
            name=node.output[0],
        )
    for axis, weight in weights.items():
        order = list(range(x.rank))
        order[axis], order[-1] = order[-1], order[axis]
        x = mb.transpose(x=x, perm=order) if axis != x.rank - 1 else x
        x = mb.matmul(x=x, y=np.ascontiguousarray(weight.T, _numpy_type(x)))
        x = mb.transpose(x=x, perm=order) if axis != x.rank - 1 else x
    if outside.any():
        value = _attribute(node, "extrapolation_value", 0.0)
        x = mb.add(x=x, y=np.where(np.broadcast_to(outside, x.shape), value, 0).astype(_numpy_type(x)))
    return mb.identity(x=x, name=node.output[0])


def _new_sizes(context, node, shape):
    """Scale and new size of every dimension, and the axes that the node itself counts."""
    later = node.op_type == "Resize"
    axes = [int(axis) % len(shape) for axis in (_attribute(node, "axes") or range(len(shape)))]
    given = _constant(context, node, 2 if later else 1)
    scales, sizes = [1.0] * len(shape), list(shape)
    if given is not None and given.size:
        for axis, scale in zip(axes, given, strict=True):
            scales[axis], sizes[axis] = float(scale), math.floor(shape[axis] * float(scale))
        return scales, sizes, axes
    wanted = {axis: int(size) for axis, size in zip(axes, _constant(context, node, 3), strict=True)}
    ratios = [size / shape[axis] for axis, size in wanted.items()]
    policy = _attribute(node, "keep_aspect_ratio_policy", "stretch")
    for axis, size in wanted.items():
        scales[axis] = size / shape[axis]
        if policy != "stretch":
            scales[axis] = min(ratios) if policy == "not_larger" else max(ratios)
            size = math.floor(scales[axis] * shape[axis] + 0.5)
        sizes[axis] = size
    return scales, sizes, axes


def _resize_weights(node, old: int, scale: float, new: int, region):
    """new × old: what each new value takes from each old one."""
    import onnx
    from onnx.reference import ReferenceEvaluator

    kept = ("mode", "coordinate_transformation_mode", "nearest_mode", "cubic_coeff_a", "exclude_outside")
    options = {name: _attribute(node, name) for name in (*kept, "antialias")}
    options = {name: value for name, value in options.items() if value is not None}
    if node.op_type == "Upsample":
        options |= {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    exact = new == math.floor(old * scale)
    inputs = ["x", "roi" if region is not None else "", "scales" if exact else "", "" if exact else "sizes"]
    single = onnx.helper.make_node("Resize", inputs, ["y"], axes=[1], **options)
    value = onnx.helper.make_tensor_value_info
    known = {
        "x": (onnx.TensorProto.FLOAT, np.eye(old, dtype=np.float32)),
        "roi": (onnx.TensorProto.FLOAT, None if region is None else np.asarray(region, np.float32)),
        "scales": (onnx.TensorProto.FLOAT, np.array([scale], np.float32)),
        "sizes": (onnx.TensorProto.INT64, np.array([new], np.int64)),
    }
    used = [name for name in inputs if name]
    graph = onnx.helper.make_graph(
        [single],
        "weights",
        [value(name, known[name][0], None) for name in used],
        [value("y", onnx.TensorProto.FLOAT, None)],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 19)])
    return ReferenceEvaluator(model).run(None, {name: known[name][1] for name in used})[0].T


LOWERINGS = {
    "ArgMax": _arg("reduce_argmax"),
    "ArgMin": _arg("reduce_argmin"),
    "AveragePool": _average_pool,
    "Div": _div,
    "Gelu": _gelu,
    "LayerNormalization": _layer_norm,
    "LogSoftmax": _log_softmax,
    "MatMul": _matmul,
    "Max": _largest("maximum"),
    "MaxPool": _max_pool,
    "Min": _largest("minimum"),
    "Mod": _mod,
    "Pad": _pad,
    "Pow": _pow,
    "Reciprocal": _reciprocal,
    "Resize": _resize,
    "SpaceToDepth": _space_to_depth,
    "Split": _split,
    "Upsample": _resize,
}
"""By ONNX operator; every other one is onnx2coreml's."""
