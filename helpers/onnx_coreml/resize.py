"""Another size: Resize and Upsample in any mode."""

import math
from typing import Any

import numpy as np

from helpers.plumbing.private_coremltools import numpy_type

from .access import attribute, builder, constant, given, ios13, picked


def resize(context, node):
    """Resize in any mode: along each dimension every new value is a fixed sum of old ones.

    The weights of that sum are what ONNX's own reference implementation makes of the unit vectors.
    """
    mb, x = builder(), given(context, node, 0)
    scales, sizes, axes = _new_sizes(context, node, x.shape)
    mode = attribute(node, "mode", "nearest")
    roi = constant(context, node, 1) if node.op_type == "Resize" else None
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
        return picked(x, places, node)
    corners = attribute(node, "coordinate_transformation_mode", "half_pixel")
    # Neural networks cannot choose between these two before iOS 14.
    known = corners in ("half_pixel", "align_corners") and int(context.target) > int(ios13())
    known = known and not attribute(node, "antialias", 0)
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
        x = mb.matmul(x=x, y=np.ascontiguousarray(weight.T, numpy_type(x)))
        x = mb.transpose(x=x, perm=order) if axis != x.rank - 1 else x
    if outside.any():
        value = attribute(node, "extrapolation_value", 0.0)
        x = mb.add(x=x, y=np.where(np.broadcast_to(outside, x.shape), value, 0).astype(numpy_type(x)))
    return mb.identity(x=x, name=node.output[0])


def _new_sizes(context, node, shape):
    """Scale and new size of every dimension, and the axes that the node itself counts."""
    later = node.op_type == "Resize"
    axes = [int(axis) % len(shape) for axis in (attribute(node, "axes") or range(len(shape)))]
    given = constant(context, node, 2 if later else 1)
    scales, sizes = [1.0] * len(shape), list(shape)
    if given is not None and given.size:
        for axis, scale in zip(axes, given, strict=True):
            scales[axis], sizes[axis] = float(scale), math.floor(shape[axis] * float(scale))
        return scales, sizes, axes
    wanted = {axis: int(size) for axis, size in zip(axes, constant(context, node, 3), strict=True)}
    ratios = [size / shape[axis] for axis, size in wanted.items()]
    policy = attribute(node, "keep_aspect_ratio_policy", "stretch")
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
    options = {name: attribute(node, name) for name in (*kept, "antialias")}
    options = {name: value for name, value in options.items() if value is not None}
    if node.op_type == "Upsample":
        options |= {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    exact = new == math.floor(old * float(np.float32(scale)))  # it gets them in 32 bits
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
    found: Any = ReferenceEvaluator(model).run(None, {name: known[name][1] for name in used})
    return found[0].T
