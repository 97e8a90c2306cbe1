"""Operators of 2018's first exporters (ONNX's version 6) as version 7 has them, which ONNX Runtime can run.

ONNX's own converter puts the sizes that such a file broadcasts in the wrong place, and there would be nothing
to compare its work with. What changed is in onnx.ai/onnx/operators, version by version.
"""

import numpy as np
import onnx
from onnx import numpy_helper

from . import graph
from .access import attribute

OLDEST, FIRST_THAT_RUNS = 6, 7

NO_LONGER = {"BatchNormalization": ("is_test",), "Dropout": ("is_test",), "Gemm": ("broadcast",)}
BROADCAST = ("Add", "And", "Div", "Equal", "Greater", "Less", "Mul", "Or", "Pow", "Sub", "Xor")
"""Operators that said where their second input's sizes belong; since then they belong at the end."""


def modernised(proto: onnx.ModelProto, version: int) -> onnx.ModelProto:
    """The model with operators of version 7 at least; it is changed.

    Args:
        version: of the operators in the file.

    Raises:
        ValueError: it is older than version 6, or broadcasts what is no constant.
    """
    if version >= FIRST_THAT_RUNS:
        return proto
    if version < OLDEST:
        raise ValueError(
            f"The model has operators of ONNX's version {version}, of 2017, which ONNX Runtime does not run and nothing "
            "here could prove. Take a newer export of it; those from version 6 on convert."
        )
    ranks = {value.name: len(graph.shape(value)) for value in (*proto.graph.value_info, *proto.graph.input)}
    for node in proto.graph.node:
        if node.op_type in BROADCAST and attribute(node, "broadcast", 0):
            _put_at_the_end(proto, node, ranks, attribute(node, "axis"))
        elif node.op_type == "PRelu":
            _put_at_the_end(proto, node, ranks, 1)
        gone = NO_LONGER.get(node.op_type, ("broadcast", "axis") if node.op_type in BROADCAST else ())
        kept = [entry for entry in node.attribute if entry.name not in gone]
        del node.attribute[:]
        node.attribute.extend(kept)
    for entry in proto.opset_import:
        if entry.domain in ("", "ai.onnx"):
            entry.version = FIRST_THAT_RUNS
    proto.ir_version = max(proto.ir_version, 4)  # before, every weight had to be an input, too
    del proto.graph.value_info[:]
    return graph.with_shapes(proto)


def _put_at_the_end(proto, node, ranks: dict, axis: int | None) -> None:
    """Give a second input that begins at ``axis`` sizes of 1 behind its own."""
    first, second = node.input
    rank = ranks.get(second)
    constant = next((tensor for tensor in proto.graph.initializer if tensor.name == second), None)
    if constant is not None:
        rank = len(constant.dims)
    if axis is None or rank in (None, 0) or axis + rank == ranks.get(first):
        return  # sizes at the end are today's rule
    if constant is None or first not in ranks:
        raise ValueError(
            f"The model, of ONNX's version {OLDEST}, broadcasts {second!r} in {node.op_type} from dimension {axis} on, and it "
            "is no constant. Take a newer export of it."
        )
    if np.prod(constant.dims) == 1:
        return
    array = numpy_helper.to_array(constant)
    name = graph.free_name(proto, f"{second}_wide")
    wide = array.reshape(*array.shape, *[1] * (ranks[first] - axis - rank))
    proto.graph.initializer.append(numpy_helper.from_array(wide, name))
    node.input[1] = name
