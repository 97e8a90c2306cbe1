"""Reads and edits an ONNX graph: names, shapes, outputs."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.inliner

from helpers.plumbing import onnx_files


def read(model: str | Path | onnx.ModelProto) -> onnx.ModelProto:
    """A model of one's own, with every shape that ONNX can infer.

    Args:
        model: path of an ONNX file, or a ``ModelProto``, which stays as it is.

    Raises:
        FileNotFoundError: there is no such file, or its weights lie in another one, which is missing.
        TypeError: it is neither a path nor a ``ModelProto``.
        ValueError: it is no ONNX file, or is damaged.
    """
    if isinstance(model, onnx.ModelProto):
        proto = copy(model)
        onnx_files.check_weights(proto, None, "The model")
    elif isinstance(model, str | Path):
        proto = onnx_files.read(Path(model))
    else:
        raise TypeError(
            f"model is of the type {type(model).__name__}. Give the path of an ONNX file, or the ModelProto "
            "that onnx.load returns. (A PyTorch model: export it first, notebook 03.)"
        )
    if not proto.graph.output:
        raise ValueError("The model has no output: it is empty, or no ONNX model. Export it again.")
    # Functions of the file's own are written out: nothing else here knows them.
    return with_shapes(onnx.inliner.inline_local_functions(proto) if proto.functions else proto)


def copy(message: Any) -> Any:
    """Another one of the same content."""
    made = type(message)()
    made.CopyFrom(message)
    return made


def with_shapes(proto: onnx.ModelProto) -> onnx.ModelProto:
    """The model with the shapes that can be inferred; as it was where ONNX cannot infer any."""
    try:
        return onnx.shape_inference.infer_shapes(proto, data_prop=True)
    except Exception:  # a model of more than 2 GB, or an operator that ONNX does not know
        return proto


def inputs(proto: onnx.ModelProto) -> list[onnx.ValueInfoProto]:
    """What the model takes. Older files list their weights among the inputs; those are left out."""
    weights = {tensor.name for tensor in proto.graph.initializer}
    return [value for value in proto.graph.input if value.name not in weights]


def shape(value: onnx.ValueInfoProto) -> tuple[int, ...]:
    """The sizes of an input or output; 0 stands for one that the file leaves open."""
    return tuple(dim.dim_value for dim in value.type.tensor_type.shape.dim)


def numpy_type(value: onnx.ValueInfoProto) -> np.dtype:
    """The NumPy type of an input or output.

    Raises:
        ValueError: it is no array.
    """
    if not value.type.HasField("tensor_type"):
        kind = (value.type.WhichOneof("value") or "unknown type").replace("_", " ")
        raise ValueError(
            f"{value.name!r} is a {kind}, and Core ML has arrays only. Export the model without it (of scikit-learn: "
            "options={'zipmap': False})."
        )
    return onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)


def maker(proto: onnx.ModelProto, name: str) -> onnx.NodeProto | None:
    """The node that makes a tensor, None for an input or a weight."""
    return next((node for node in proto.graph.node if name in node.output), None)


def names(proto: onnx.ModelProto) -> set[str]:
    """Every name of a tensor in the graph."""
    found = {name for node in proto.graph.node for name in (*node.input, *node.output)}
    for values in (proto.graph.input, proto.graph.output, proto.graph.initializer):
        found |= {value.name for value in values}
    return found


def free_name(proto: onnx.ModelProto, wanted: str) -> str:
    """``wanted``, with a number behind it if the graph has that name already."""
    taken, number, name = names(proto), 2, wanted
    while name in taken:
        name, number = f"{wanted}_{number}", number + 1
    return name


def rename(proto: onnx.ModelProto, old: str, new: str) -> None:
    """Rename one tensor everywhere in the graph; ``new`` must be free."""
    for node in proto.graph.node:
        for tensors in (node.input, node.output):
            for index, name in enumerate(tensors):
                if name == old:
                    tensors[index] = new
    graph = proto.graph
    for value in (*graph.input, *graph.output, *graph.value_info, *graph.initializer):
        if value.name == old:
            value.name = new


def scale_output(proto: onnx.ModelProto, name: str, scale: float, bias: list[float]) -> None:
    """Let the output ``name`` be what it was, times ``scale``, plus one ``bias`` per channel."""
    inside, scaled = (free_name(proto, f"{name}_{word}") for word in ("unscaled", "scaled"))
    value = next(value for value in proto.graph.output if value.name == name)
    kept = copy(value)
    rename(proto, name, inside)
    dtype = numpy_type(value)
    constants = {"scale": np.array(scale, dtype), "bias": np.array(bias, dtype).reshape(1, -1, 1, 1)}
    for word, number in constants.items():
        proto.graph.initializer.append(onnx.numpy_helper.from_array(number, f"{scaled}_{word}"))
    proto.graph.node.append(onnx.helper.make_node("Mul", [inside, f"{scaled}_scale"], [scaled]))
    proto.graph.node.append(onnx.helper.make_node("Add", [scaled, f"{scaled}_bias"], [name]))
    value.CopyFrom(kept)


def with_outputs(proto: onnx.ModelProto, tensors: list[str]) -> onnx.ModelProto:
    """The part of the model that makes ``tensors``, which become its outputs.

    Raises:
        KeyError: the type of a tensor is not known.
    """
    part = copy(proto)
    known = {value.name: value for value in (*proto.graph.value_info, *proto.graph.output)}
    outputs = [known[name] for name in tensors]
    needed, nodes = set(tensors), []
    for node in reversed(proto.graph.node):
        if needed & set(node.output):
            needed |= set(node.input)
            nodes.append(node)
    del part.graph.node[:], part.graph.output[:]
    part.graph.node.extend(reversed(nodes))
    part.graph.output.extend(outputs)
    return part
