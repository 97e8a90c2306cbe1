"""Read an ONNX file for drawing."""

import math
import os
from pathlib import Path, PurePosixPath

from helpers.netron_view import inference, limits, wire
from helpers.netron_view.layers import Graph, Layer, Model
from helpers.netron_view.limits import KEEP_VALUES, MOST_DIMENSIONS, shape


class _OnnxRules:
    """What stays of an ONNX file, and what is seen on the way. The numbers are those of the fields in onnx.proto."""

    def __init__(self):
        self.side_files = set()
        self.operators = set()

    def tensor(self, data, fields):
        """A ``TensorProto`` without its values; name, type and shape stay, and so do a few values."""
        dims = [
            n for field in fields if field.number == 1 for n in wire.numbers(data, field, KEEP_VALUES + 1)
        ]
        external = [_entry(data, field) for field in fields if field.number == 13]
        self.side_files.update(value for key, value in external if key == "location")
        small = not external and len(dims) <= KEEP_VALUES and math.prod(dims) <= KEEP_VALUES
        values = {4, 5, 6, 7, 9, 10, 11, 13, 14}  # as bytes, in lists, and in which file they are
        return [field for field in fields if small or field.number not in values]

    def node(self, data, fields):
        """A ``NodeProto`` without where in somebody's code it was exported: those are paths of a machine."""
        texts = {field.number: data[field.content : field.end] for field in fields if field.number in (4, 7)}
        operator, domain = (texts.get(number, b"").decode() for number in (4, 7))
        self.operators.add((domain or "ai.onnx", operator))
        return [
            field
            for field in fields
            if not (field.number == 6 or (field.number == 9 and "stack_trace" in _entry(data, field)[0]))
        ]


def _entry(data: bytes, field: wire.Field) -> tuple[str, str]:
    """Key and value of a ``StringStringEntryProto``; of one that is longer than any path or trace, nothing."""
    import onnx

    if field.end - field.content > 2**20:
        return "", ""
    entry = onnx.StringStringEntryProto.FromString(data[field.content : field.end])
    return entry.key, entry.value


def read_onnx(path: Path) -> Model:
    """An ONNX file; its side file with the weights need not be there."""
    import onnx

    data = limits.read_whole(path, "Export it with external_data=True")
    size = len(data)
    seen = _OnnxRules()
    rules = {"onnx.TensorProto": seen.tensor, "onnx.NodeProto": seen.node}
    data = wire.strip(data, onnx.ModelProto.DESCRIPTOR, rules, limits.Allowance())
    model = onnx.ModelProto.FromString(data)
    if not model.graph.node:
        raise ValueError("there is no graph in it")
    for location in seen.side_files:
        side_file = os.path.join(path.parent, PurePosixPath(location).name)
        size += os.path.getsize(side_file) if os.path.isfile(side_file) else 0
    opsets = {entry.domain or "ai.onnx": entry.version for entry in model.opset_import}
    return Model(
        identifier=path.name,
        format="onnx",
        files={path.name: data},
        hollow={},
        operators={(domain, name): opsets.get(domain, 0) for domain, name in seen.operators},
        graph=_onnx_graph(model),
        size=size,
    )


def _onnx_graph(model) -> Graph:
    graph = _with_shapes(model).graph
    shapes = {
        value.name: shape(
            [_dimension(dim) for dim in value.type.tensor_type.shape.dim[: MOST_DIMENSIONS + 1]]
        )
        for value in (*graph.input, *graph.output, *graph.value_info)
    }
    weights = {tensor.name: shape(tensor.dims) for tensor in graph.initializer}
    layers = [
        Layer(
            name=node.name,
            operator=node.op_type,
            inputs=tuple(name for name in node.input if name and name not in weights),
            outputs=tuple(node.output),
            shape=shapes.get(node.output[0], "") if node.output else "",
            weights=tuple(weights[name] for name in node.input if name in weights),
        )
        for node in graph.node
        if node.op_type != "Constant"
    ]
    return Graph(
        kind="ONNX",
        inputs=tuple((value.name, shapes[value.name]) for value in graph.input if value.name not in weights),
        outputs=tuple((value.name, shapes[value.name]) for value in graph.output),
        layers=tuple(layers),
    )


def _with_shapes(model):
    """A file need not say what shape each layer gives. Where it does not, the shapes are worked out here."""
    said = {value.name for value in (*model.graph.output, *model.graph.value_info)}
    silent = [
        node for node in model.graph.node if node.op_type != "Constant" and not said.intersection(node.output)
    ]
    inferred = inference.infer(model.SerializeToString()) if silent else None
    if inferred is None:
        return model
    try:
        return type(model).FromString(wire.strip(inferred, model.DESCRIPTOR, {}, limits.Allowance()))
    except ValueError:  # what came out is too large: the file's own shapes remain
        return model


def _dimension(dim) -> int | str:
    return dim.dim_param or (dim.dim_value if dim.HasField("dim_value") else "?")
