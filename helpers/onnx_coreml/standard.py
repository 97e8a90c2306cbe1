"""Writes a model as onnx2coreml takes it, whatever its age and its types of numbers.

The proof runs the model as it was in the file, so nothing here is taken on trust.
"""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from helpers.plumbing.errors import first_line

from . import graph
from .access import attribute

OPSET = 13
"""The oldest version of ONNX's operators for which onnx2coreml and the lowerings here are written."""

MOVES = ("Flatten", "Identity", "Reshape", "Slice", "Squeeze", "Transpose", "Unsqueeze")
"""Operators that only move values."""


def standard(proto: onnx.ModelProto, images: dict) -> onnx.ModelProto:
    """The model with today's operators, 32-bit floats and pictures of 1×channels×height×width.

    Args:
        proto: stays as it was.
        images: the inputs that are pictures, by name.

    Raises:
        ValueError: ONNX cannot bring it to today's operators.
    """
    made = in_float32(upgraded(proto))
    for value in graph.inputs(made):
        if value.type.tensor_type.elem_type == TensorProto.UINT8:
            value.type.tensor_type.elem_type = TensorProto.FLOAT  # it is cast to that, see computes_with
            del made.graph.value_info[:]
    for image in images.values():
        _put_in_order(made, image)
    return graph.with_shapes(made)


def opset(proto: onnx.ModelProto) -> int:
    """The version of ONNX's own operators; of a model that names none, today's."""
    return next((entry.version for entry in proto.opset_import if entry.domain in ("", "ai.onnx")), OPSET)


def upgraded(proto: onnx.ModelProto) -> onnx.ModelProto:
    """The model with operators of version 13 at least, by ONNX's own converter.

    Raises:
        ValueError: it does not know how.
    """
    if opset(proto) >= OPSET:
        return graph.copy(proto)
    try:
        return onnx.version_converter.convert_version(proto, OPSET)
    except Exception as error:  # a RuntimeError of C++, or what its own reader raises
        raise ValueError(
            f"The model has operators of ONNX's version {opset(proto)}, and ONNX's converter cannot bring them to "
            f"version {OPSET}: {first_line(error)}. Export it again with opset_version={OPSET} or later."
        ) from error


# Types of numbers


def has_float16(proto: onnx.ModelProto) -> bool:
    """Whether an input or a weight is in 16 bits."""
    kinds = {value.type.tensor_type.elem_type for value in proto.graph.input}
    return TensorProto.FLOAT16 in kinds | {tensor.data_type for tensor in proto.graph.initializer}


def in_float32(proto: onnx.ModelProto) -> onnx.ModelProto:
    """The model with 32 bits where it has 16: the same weights, and results that are not rounded."""
    if not has_float16(proto):
        return proto
    wide = graph.copy(proto)
    body = wide.graph
    for node in body.node:
        for entry in node.attribute:
            if entry.name == "to" and entry.i == TensorProto.FLOAT16:
                entry.i = TensorProto.FLOAT
            if entry.type == onnx.AttributeProto.TENSOR:
                _widen(entry.t)
    for tensor in body.initializer:
        _widen(tensor)
    for value in (*body.input, *body.output):
        if value.type.tensor_type.elem_type == TensorProto.FLOAT16:
            value.type.tensor_type.elem_type = TensorProto.FLOAT
    del body.value_info[:]
    return graph.with_shapes(wide)


def _widen(tensor) -> None:
    if tensor.data_type == TensorProto.FLOAT16:
        tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype("float32"), tensor.name))


def computes_with(proto: onnx.ModelProto, name: str) -> str:
    """The first operator that computes with an input as it is; empty if all begin with a cast to floats."""
    for node in proto.graph.node:
        if name not in node.input:
            continue
        if node.op_type in MOVES and node.input[0] == name:
            if found := computes_with(proto, node.output[0]):
                return found
        elif node.op_type != "Cast" or attribute(node, "to") not in _FLOATS:
            return node.op_type
    return "the output" if any(value.name == name for value in proto.graph.output) else ""


_FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE)


# Pictures


def _put_in_order(proto, image) -> None:
    """Let an input without a batch, or with the channels last, be made of a picture as Core ML has it."""
    if image.original == image.shape:
        return
    body = proto.graph
    inside, moved = (graph.free_name(proto, f"{image.name}_{word}") for word in ("inside", "moved"))
    value = next(value for value in body.input if value.name == image.name)
    kind = value.type.tensor_type.elem_type
    graph.rename(proto, image.name, inside)
    value.CopyFrom(helper.make_tensor_value_info(image.name, kind, image.shape))
    sizes = numpy_helper.from_array(np.array(image.original, np.int64), f"{inside}_sizes")
    body.initializer.append(sizes)
    body.node.insert(0, helper.make_node("Reshape", [moved, sizes.name], [inside]))
    body.node.insert(0, helper.make_node("Transpose", [image.name], [moved], perm=image.order))
