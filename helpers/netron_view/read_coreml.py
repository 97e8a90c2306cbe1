"""Read a Core ML file for drawing: an ``.mlmodel``, or the folder of an ``.mlpackage``."""

import json
from pathlib import Path

from helpers.netron_view import limits, wire
from helpers.netron_view.layers import Graph, Layer, Model
from helpers.netron_view.limits import KEEP_VALUES, MOST_DIMENSIONS, plain, shape
from helpers.plumbing.files import Refusal
from helpers.plumbing.quiet import coremltools

LARGEST_MANIFEST = 2**20
"""Bytes of the table of contents of an .mlpackage."""


def read_coreml(path: Path) -> Model:
    """An ``.mlmodel`` or an ``.mlpackage``."""
    if not path.is_dir():
        data = limits.read_whole(path, "Save it as an .mlpackage, whose weights lie in a file of their own")
        return _coreml_model(path, path.name, data, {}, len(data))
    manifest = path / "Manifest.json"
    if not manifest.is_file():
        raise Refusal("holds no Manifest.json: it is no .mlpackage. Save the model again.")
    inner = _model_in(manifest)
    spec_file = path / "Data" / inner
    if not spec_file.resolve().is_relative_to(path.resolve()) or not spec_file.is_file():
        raise Refusal(f"names a model at Data/{plain(inner)}, which is not in it. Save it again.")
    size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    files = {"Manifest.json": manifest.read_bytes()}
    return _coreml_model(path, f"Data/{inner}", limits.read_whole(spec_file, "Save it again"), files, size)


def _model_in(manifest: Path) -> str:
    """The path of the model's specification in an ``.mlpackage``, from its table of contents."""
    if manifest.stat().st_size > LARGEST_MANIFEST:
        raise ValueError("its Manifest.json is too long for one")
    try:
        entries = json.loads(manifest.read_text(encoding="utf-8"))["itemInfoEntries"].values()
        (inner,) = [entry["path"] for entry in entries if entry["path"].lower().endswith(".mlmodel")]
    except Exception as error:  # any text may stand there
        raise ValueError(f"its Manifest.json is none of an .mlpackage, {error!r}") from error
    return inner


def _coreml_model(path: Path, name: str, data: bytes, files: dict[str, bytes], size: int) -> Model:
    """``data`` is the specification, ``name`` its name in the page, ``files`` what goes with it."""
    specification = coremltools().proto.Model_pb2.Model
    rules = {"CoreML.Specification.WeightParams": _first_weights}
    allowance = limits.Allowance()
    data = wire.strip(data, specification.DESCRIPTOR, rules, allowance)
    spec = specification.FromString(data)
    kind = spec.WhichOneof("Type")
    if kind is None:
        raise ValueError("there is no model in it")
    part = getattr(spec, kind)
    if kind == "mlProgram":
        layers = _program_layers(part)
    elif hasattr(part, "layers"):
        layers = _network_layers(part)
    else:
        layers = [Layer(name="", operator=kind)]
    prefix = "program:" if kind == "mlProgram" else ""
    return Model(
        identifier=path.name,
        format="coreml",
        files={**files, name: data},
        hollow={},
        operators={prefix + layer.operator: 0 for layer in layers},
        graph=Graph(
            kind=f"Core ML {kind}",
            inputs=tuple((value.name, _coreml_type(value.type)) for value in spec.description.input),
            outputs=tuple((value.name, _coreml_type(value.type)) for value in spec.description.output),
            layers=tuple(layers),
        ),
        size=size,
        folder=path.is_dir(),
    )


WEIGHTS = {1: 4, 2: 2, 30: 1, 31: 1}
"""Fields of a ``WeightParams`` with values, and the bytes that each value has."""


def _first_weights(data, fields):
    """Weights of a neural network. One value of each stays, for its type."""
    seen = set()
    for field in fields:
        width = WEIGHTS.get(field.number)
        if width is None or field.end - field.content <= KEEP_VALUES * width:
            yield field
        elif field.number not in seen:
            yield wire.written(field.number, data[field.content : field.content + width])
        seen.add(field.number)


def _coreml_type(type_) -> str:
    kind = type_.WhichOneof("Type")
    if kind == "imageType":
        return f"image {type_.imageType.width}×{type_.imageType.height}"
    if kind == "multiArrayType":
        return shape(type_.multiArrayType.shape)
    return kind.removesuffix("Type") if kind else ""


def _network_layers(network) -> list[Layer]:
    layers = []
    for layer in network.layers:
        operator = layer.WhichOneof("layer") or "layer"
        layers.append(
            Layer(
                name=layer.name,
                operator=operator,
                inputs=tuple(layer.input),
                outputs=tuple(layer.output),
                shape=shape(layer.outputTensor[0].dimValue) if layer.outputTensor else "",
            )
        )
    return layers


def _value_shape(value) -> str:
    dimensions = value.type.tensorType.dimensions[: MOST_DIMENSIONS + 1]
    return shape([dim.constant.size if dim.HasField("constant") else "?" for dim in dimensions])


def _program_layers(program) -> list[Layer]:
    if not program.functions:
        raise ValueError("there is no function in its program")
    name = "main" if "main" in program.functions else min(program.functions)
    function = program.functions[name]
    block = function.block_specializations[function.opset]

    constants = {
        op.outputs[0].name: _value_shape(op.outputs[0]) for op in block.operations if op.type == "const"
    }
    layers = []
    for op in block.operations:
        if op.type == "const":
            continue
        names = [
            argument.name
            for parameter in sorted(op.inputs)  # a map has no order of its own
            for argument in op.inputs[parameter].arguments
        ]
        layers.append(
            Layer(
                name=op.outputs[0].name if op.outputs else "",
                operator=op.type,
                inputs=tuple(name for name in names if name and name not in constants),
                outputs=tuple(value.name for value in op.outputs),
                shape=_value_shape(op.outputs[0]) if op.outputs else "",
                weights=tuple(constants[name] for name in names if "×" in constants.get(name, "")),
            )
        )
    return layers
