"""Read a model file for drawing: its graph, its names and its shapes, without its weights.

Nothing in a file is run. A ``.pth`` is a pickle, and a pickle may hold any code:
it is passed on unopened to Netron, which interprets it symbolically. What is read
here from a pickle, for the outline, goes through ``_Symbols``, which never imports.
"""

import dataclasses
import hashlib
import io
import itertools
import json
import math
import pickle
import zipfile
from pathlib import Path, PurePosixPath

from helpers.paths import shorten
from helpers.quiet import coremltools

KEEP_VALUES = 8
"""Tensors of at most this many values stay in: shapes to reshape to, scalars, a mean per colour channel."""

KEEP_BYTES = 8 * KEEP_VALUES
"""The same for formats whose tensors are files of bytes: eight int64."""

LARGEST_READ = 600 * 2**20
"""Bytes. ONNX and .mlmodel files are read whole, which takes about twice their size in memory."""

LARGEST_GRAPH = 24 * 2**20
"""Bytes of what is left without the weights. A page with more would not open in a notebook."""

LARGEST_OUTLINE = 5000
"""Layers that are read from a pickle for the outline."""

SUFFIXES = (".onnx", ".mlmodel", ".mlpackage", ".pt2", ".pth", ".pt")


class ModelFileError(ValueError):
    """The file is not a model that can be drawn: the message says why and what to do."""


@dataclasses.dataclass(frozen=True)
class Layer:
    """One node of the graph. Shapes are text like ``"1×64×16×16"``, or ``""`` where the file has none."""

    name: str
    operator: str
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    shape: str = ""
    weights: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Graph:
    """What the drawing of a model shows, as text."""

    kind: str
    inputs: tuple[tuple[str, str], ...]
    """Name and shape of each input of the model."""
    outputs: tuple[tuple[str, str], ...]
    layers: tuple[Layer, ...]

    def key(self) -> str:
        """Sixteen hex digits: the same for the same graph, however it was trained and named on disk."""
        text = json.dumps(dataclasses.asdict(self), ensure_ascii=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclasses.dataclass(frozen=True)
class Model:
    """A model file as it goes into a page."""

    identifier: str
    """The name of the file, by which Netron tells the format."""
    format: str
    """One of ``page.FORMATS``."""
    files: dict[str, bytes]
    """What the page carries: one file, or those of a folder, without the weights."""
    hollow: dict[str, int]
    """Records of an archive that were left out, and the length in bytes that each had."""
    operators: dict
    """The operators in use, as the metadata of the format names them; for ONNX with their opset."""
    graph: Graph
    size: int
    """Bytes on disk, weights in side files included."""
    folder: bool = False

    @property
    def left_out(self) -> int:
        """Bytes that do not travel with the page."""
        return max(0, self.size - sum(len(content) for content in self.files.values()))


def read(path: str | Path) -> Model:
    """Read a model for drawing.

    Args:
        path: An ``.onnx`` file (its side file with the weights need not be there), an
            ``.mlmodel``, an ``.mlpackage`` folder, a ``.pt2``, or a ``.pth`` or ``.pt`` of
            ``torch.save`` (a state_dict or a whole model).

    Raises:
        FileNotFoundError: there is nothing at ``path``.
        ModelFileError: it is no such model, it is damaged, or it is too large.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if not path.exists():
        raise FileNotFoundError(
            f"There is no model at {shorten(path)}. Run the notebook that makes it, or check the path."
        )
    if path.is_dir() and suffix != ".mlpackage":
        raise ModelFileError(
            f"{shorten(path)} is a folder, and not an .mlpackage. "
            f"Give the path of a model: {', '.join(SUFFIXES)}."
        )
    if suffix not in SUFFIXES:
        raise ModelFileError(
            f"{shorten(path)} does not end in one of {', '.join(SUFFIXES)}. "
            "For other formats use serve(), which opens the whole of Netron."
        )
    if suffix == ".onnx":
        model = _read_onnx(path)
    elif suffix in (".mlmodel", ".mlpackage"):
        model = _read_coreml(path)
    else:
        model = _read_torch(path)
    left = sum(len(content) for content in model.files.values())
    if left > LARGEST_GRAPH:
        raise ModelFileError(
            f"{shorten(path)} still holds {readable(left)} without its weights, too much for a page in a notebook "
            f"(the limit is {readable(LARGEST_GRAPH)}). Use serve(), which does not embed the model."
        )
    return model


def readable(size: int) -> str:
    """A size in bytes as a reader wants it: ``"11.5 MB"`` or ``"3 kB"``."""
    return f"{size / 1e6:.1f} MB" if size >= 1e6 else f"{size / 1e3:.0f} kB"


def _read_whole(path: Path, advice: str) -> bytes:
    size = path.stat().st_size
    if size > LARGEST_READ:
        raise ModelFileError(
            f"{shorten(path)} has {readable(size)}, more than the {readable(LARGEST_READ)} that are read into memory "
            f"to take the weights out. {advice}"
        )
    return path.read_bytes()


def _damaged(path: Path, what: str, error: Exception | str) -> ModelFileError:
    return ModelFileError(
        f"{shorten(path)} cannot be read as {what}: {error}. The file may be cut off or of another format. "
        "Make it again, or download it again and compare its size."
    )


def _shape(sizes) -> str:
    return "×".join(str(size) for size in sizes)


def _messages(message):
    """A protobuf message and all the messages in it."""
    yield message
    for field, value in message.ListFields():
        if field.message_type is None:
            continue
        if hasattr(value, "ListFields"):
            inside = [value]
        elif field.message_type.GetOptions().map_entry:
            inside = [child for child in value.values() if hasattr(child, "ListFields")]
        else:
            inside = value
        for child in inside:
            yield from _messages(child)


# --- ONNX


def _read_onnx(path: Path) -> Model:
    import onnx
    from google.protobuf.message import DecodeError

    data = _read_whole(path, "Export it with external_data=True, or use serve().")
    size = len(data)
    model = onnx.ModelProto()
    try:
        model.ParseFromString(data)
    except DecodeError as error:
        raise _damaged(path, "ONNX", error) from error
    del data  # half of the memory
    if not model.graph.node:
        raise _damaged(path, "ONNX", "there is no graph in it")

    opsets = {entry.domain or "ai.onnx": entry.version for entry in model.opset_import}
    operators = {}
    side_files = set()
    for message in _messages(model):
        if isinstance(message, onnx.TensorProto):
            side_files.update(entry.value for entry in message.external_data if entry.key == "location")
            _strip_tensor(message)
        elif isinstance(message, onnx.NodeProto):
            domain = message.domain or "ai.onnx"
            operators[(domain, message.op_type)] = opsets.get(domain, 0)
            _strip_origin(message)
    for location in side_files:
        side_file = path.parent / PurePosixPath(location).name
        size += side_file.stat().st_size if side_file.is_file() else 0
    return Model(
        identifier=path.name,
        format="onnx",
        files={path.name: model.SerializeToString(deterministic=True)},
        hollow={},
        operators=operators,
        graph=_onnx_graph(model),
        size=size,
    )


def _strip_origin(node) -> None:
    """Take out where in somebody's code a node was exported: those are paths of the machine it ran on."""
    node.ClearField("doc_string")
    kept = [entry for entry in node.metadata_props if "stack_trace" not in entry.key]
    del node.metadata_props[:]
    node.metadata_props.extend(kept)


def _strip_tensor(tensor) -> None:
    """Take the values out of an ``onnx.TensorProto``; name, type and shape stay."""
    external = len(tensor.external_data) > 0
    if not external and math.prod(tensor.dims) <= KEEP_VALUES:
        return
    for field in (
        "raw_data", "float_data", "int32_data", "int64_data", "uint64_data", "double_data", "string_data",
        "external_data", "data_location",
    ):  # fmt: skip
        tensor.ClearField(field)


def _onnx_graph(model) -> Graph:
    import onnx

    # A file need not say what shape each layer gives. Where it does not, the shapes are worked out here.
    try:
        inferred = onnx.shape_inference.infer_shapes(model)
    except Exception:  # it is a convenience: whatever it stumbles over, the file's own shapes remain
        inferred = model
    graph = inferred.graph
    shapes = {}
    for value in (*graph.input, *graph.output, *graph.value_info):
        dims = value.type.tensor_type.shape.dim
        shapes[value.name] = _shape(
            dim.dim_param or (dim.dim_value if dim.HasField("dim_value") else "?") for dim in dims
        )
    weights = {tensor.name: _shape(tensor.dims) for tensor in graph.initializer}
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


# --- Core ML


def _read_coreml(path: Path) -> Model:
    if not path.is_dir():
        data = _read_whole(
            path, "Save it as an .mlpackage, whose weights lie in a file of their own, or use serve()."
        )
        spec = _coreml_spec(path, data)
        return _coreml_model(path, spec, {path.name: _strip_coreml(spec, data)}, len(data))
    manifest_file = path / "Manifest.json"
    if not manifest_file.is_file():
        raise ModelFileError(
            f"{shorten(path)} holds no Manifest.json: it is no .mlpackage. Save the model again."
        )
    try:
        entries = json.loads(manifest_file.read_text(encoding="utf-8"))["itemInfoEntries"].values()
        (inner,) = [entry["path"] for entry in entries if entry["path"].lower().endswith(".mlmodel")]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _damaged(manifest_file, "the manifest of an .mlpackage", repr(error)) from error
    spec_file = path / "Data" / inner
    if not spec_file.resolve().is_relative_to(path.resolve()) or not spec_file.is_file():
        raise ModelFileError(
            f"{shorten(path)} names a model at Data/{inner}, which is not in it. Save it again."
        )
    data = _read_whole(spec_file, "Use serve().")
    spec = _coreml_spec(path, data)
    files = {"Manifest.json": manifest_file.read_bytes(), f"Data/{inner}": _strip_coreml(spec, data)}
    size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    return _coreml_model(path, spec, files, size)


def _coreml_spec(path: Path, data: bytes):
    from google.protobuf.message import DecodeError

    spec = coremltools().proto.Model_pb2.Model()
    try:
        spec.ParseFromString(data)
    except DecodeError as error:
        raise _damaged(path, "Core ML", error) from error
    if spec.WhichOneof("Type") is None:
        raise _damaged(path, "Core ML", "there is no model in it")
    return spec


def _strip_coreml(spec, data: bytes) -> bytes:
    """Take the weights out of the neural networks in ``spec``. One value of each stays, for its type."""
    stripped = False
    for message in _messages(spec):
        if message.DESCRIPTOR.name != "WeightParams":
            continue
        for field, size in (("floatValue", 1), ("float16Value", 2), ("rawValue", 1), ("int8RawValue", 1)):
            values = getattr(message, field)
            if len(values) > KEEP_VALUES * size:
                stripped = True
                first = values[:size]
                message.ClearField(field)
                if field == "floatValue":
                    message.floatValue.extend(first)
                else:
                    setattr(message, field, first)
    return spec.SerializeToString(deterministic=True) if stripped else data


def _coreml_model(path: Path, spec, files: dict[str, bytes], size: int) -> Model:
    kind = spec.WhichOneof("Type")
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
        files=files,
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


def _coreml_type(type_) -> str:
    kind = type_.WhichOneof("Type")
    if kind == "imageType":
        return f"image {type_.imageType.width}×{type_.imageType.height}"
    if kind == "multiArrayType":
        return _shape(type_.multiArrayType.shape)
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
                shape=_shape(layer.outputTensor[0].dimValue) if layer.outputTensor else "",
            )
        )
    return layers


def _program_layers(program) -> list[Layer]:
    function = (
        program.functions["main"] if "main" in program.functions else next(iter(program.functions.values()))
    )
    block = function.block_specializations[function.opset]

    def shape(value) -> str:
        dimensions = value.type.tensorType.dimensions
        return _shape(dim.constant.size if dim.HasField("constant") else "?" for dim in dimensions)

    constants = {op.outputs[0].name: shape(op.outputs[0]) for op in block.operations if op.type == "const"}
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
                shape=shape(op.outputs[0]) if op.outputs else "",
                weights=tuple(constants[name] for name in names if "×" in constants.get(name, "")),
            )
        )
    return layers


# --- PyTorch: archives of torch.export.save and torch.save


def _read_torch(path: Path) -> Model:
    try:
        with zipfile.ZipFile(path) as archive:
            return _read_archive(path, archive)
    except (zipfile.BadZipFile, EOFError, NotImplementedError) as error:
        with path.open("rb") as file:
            old = file.read(14).endswith(b"\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19")
        if old:
            raise ModelFileError(
                f"{shorten(path)} has the format of PyTorch before 1.6, which is one long pickle. "
                "Load it and save it again with torch.save, or use serve()."
            ) from error
        raise _damaged(path, "an archive of torch.save or torch.export.save", error) from error


def _read_archive(path: Path, archive: zipfile.ZipFile) -> Model:
    records = {info.filename: info for info in archive.infolist() if not info.is_dir()}
    roots = {name.split("/", 1)[0] for name in records}
    root = f"{roots.pop()}/" if len(roots) == 1 else ""
    inside = {name.removeprefix(root): info for name, info in records.items()}
    if "archive_format" in inside:
        weights = ("data/weights/", "data/constants/")
        dropped = ("data/sample_inputs/", ".data/")
    elif "constants.pkl" in inside:
        raise ModelFileError(f"{shorten(path)} is TorchScript, which is not drawn here. Use serve().")
    elif "data.pkl" in inside:
        weights, dropped = ("data/",), (".data/serialization_id",)
    else:
        raise _damaged(
            path, "an archive of torch.save or torch.export.save", "it holds neither data.pkl nor a program"
        )

    hollow = {}
    kept = {}
    for name, info in inside.items():
        if name.startswith(dropped) and name != ".data/version":
            continue
        if name.startswith(weights) and not name.endswith(".json") and info.file_size > KEEP_BYTES:
            hollow[info.filename] = info.file_size
            kept[name] = b""
            continue
        if info.file_size > LARGEST_GRAPH:
            raise ModelFileError(
                f"{shorten(path)}: its record {name} has {readable(info.file_size)}, too much for a page. "
                "Use serve()."
            )
        kept[name] = archive.read(info)

    if "archive_format" in inside:
        graph, operators = _read_program(path, kept)
    else:
        graph, operators = _pickle_graph(path, kept)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as copy:
        for name, content in kept.items():
            copy.writestr(zipfile.ZipInfo(root + name), content)  # ZipInfo's own date is fixed: 1980
    return Model(
        identifier=path.name,
        format="pytorch",
        files={path.name: buffer.getvalue()},
        hollow=hollow,
        operators=operators,
        graph=graph,
        size=path.stat().st_size,
    )


def _read_program(path: Path, records: dict[str, bytes]) -> tuple[Graph, dict]:
    """The graph of a ``.pt2``. The stack traces go, from the records too: they hold paths of a machine."""
    names = [name for name in records if name.startswith("models/") and name.endswith(".json")]
    if not names:
        raise _damaged(path, "a program of torch.export.save", "there is no graph in it")
    try:
        program = json.loads(records[names[0]])
        graph = program["graph_module"]["graph"]
        nodes = graph["nodes"]
        for node in nodes:
            node["metadata"].pop("stack_trace", None)
        records[names[0]] = json.dumps(program).encode()
        tensors = {
            name: _shape(size.get("as_int", "?") for size in value["sizes"])
            for name, value in graph["tensor_values"].items()
        }
        specs = program["graph_module"]["signature"]["input_specs"]
        inputs = [spec["user_input"]["arg"]["as_tensor"]["name"] for spec in specs if "user_input" in spec]
        outputs = [value["as_tensor"]["name"] for value in graph["outputs"]]
        parameters = {value["as_tensor"]["name"] for value in graph["inputs"]} - set(inputs)
        layers, operators = [], {}
        for node in nodes:
            read = [
                value["arg"]["as_tensor"]["name"] for value in node["inputs"] if "as_tensor" in value["arg"]
            ]
            written = [value["as_tensor"]["name"] for value in node["outputs"] if "as_tensor" in value]
            operator = node["target"].removeprefix("torch.ops.")
            operators["::".join(operator.split(".")[:2])] = 0
            layers.append(
                Layer(
                    name=node.get("name") or "",
                    operator=operator,
                    inputs=tuple(name for name in read if name not in parameters),
                    outputs=tuple(written),
                    shape=tensors.get(written[0], "") if written else "",
                    weights=tuple(tensors[name] for name in read if name in parameters),
                )
            )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _damaged(path, "a program of torch.export.save", repr(error)) from error
    drawn = Graph(
        kind="PyTorch program",
        inputs=tuple((name, tensors.get(name, "")) for name in inputs),
        outputs=tuple((name, tensors.get(name, "")) for name in outputs),
        layers=tuple(layers),
    )
    return drawn, operators


class _Symbol:
    """Stands for an object of some class. It remembers what the pickle says of it, and does nothing."""

    def __new__(cls, *args, **kwargs):
        symbol = super().__new__(cls)
        symbol.args, symbol.members, symbol.state = args, {}, {}
        return symbol

    def __init__(self, *args, **kwargs):
        pass

    def __call__(self, *args, **kwargs):
        return _Symbol(*args)

    def __setitem__(self, name, value):
        self.members[name] = value

    def append(self, value):
        pass

    def extend(self, values):
        pass

    add = append
    update = extend

    def __setstate__(self, state):
        self.state = state if isinstance(state, dict) else {}


class _Symbols(pickle.Unpickler):
    """Reads the structure of a pickle. ``find_class`` imports nothing: every class and every function in the
    file becomes a new, empty class, so that nothing that the file names is ever called.
    (See "Restricting Globals" in Python's documentation of pickle.)
    """

    def __init__(self, file, records):
        super().__init__(file)
        self.seen = {}
        self.records = records

    def find_class(self, module, name):
        return self.seen.setdefault((module, name), type(name, (_Symbol,), {"__module__": module}))

    def persistent_load(self, pid):
        """A tensor's storage. One number of 64 bits is read, because Netron writes it into the node."""
        _, kind, key, _, size = pid
        record = self.records.get(f"data/{key}")
        return (
            int.from_bytes(record, "little", signed=True)
            if size == 1 and kind.__name__ == "LongStorage" and record
            else None
        )


def _pickle_graph(path: Path, records: dict[str, bytes]) -> tuple[Graph, dict]:
    symbols = _Symbols(io.BytesIO(records["data.pkl"]), records)
    try:
        root = symbols.load()
        whole = isinstance(root, _Symbol) and "_modules" in root.state
        found = _module_layers("", root) if whole else _entry_layers(_members(root))
        # A pickle may refer to itself, and a few bytes of it may stand for millions of layers.
        layers = list(itertools.islice(found, LARGEST_OUTLINE))
    except Exception as error:  # a pickle can fail in any way
        raise _damaged(path, "a pickle of torch.save", repr(error)[:200]) from error
    operators = {f"{module}.{name}": 0 for module, name in symbols.seen}
    kind = "PyTorch model" if whole else "PyTorch state_dict"
    return Graph(kind=kind, inputs=(), outputs=(), layers=tuple(layers)), operators


def _members(value) -> dict:
    """What a pickled dict or OrderedDict holds; nothing for anything else."""
    if isinstance(value, _Symbol):
        return value.members
    return value if isinstance(value, dict) else {}


def _tensor_shape(value) -> str | None:
    """The shape of a pickled tensor or parameter, or None for anything else."""
    if not isinstance(value, _Symbol):
        return None
    name = type(value).__name__
    if name.startswith("_rebuild_parameter") and value.args:
        return _tensor_shape(value.args[0])
    if name.startswith("_rebuild_tensor") and len(value.args) > 2:
        number, _, sizes = value.args[:3]
        if not isinstance(sizes, tuple) or not all(isinstance(size, int) for size in sizes):
            return None
        return _shape(sizes) or ("scalar" if number is None else f"= {number}")
    return None


def _module_layers(name: str, module: _Symbol):
    """The modules of a pickled ``nn.Module`` that hold no others, in their order."""
    children = _members(module.state.get("_modules"))
    if not children:
        held = [
            _tensor_shape(value)
            for store in ("_parameters", "_buffers")
            for value in _members(module.state.get(store)).values()
        ]
        yield Layer(
            name=name, operator=type(module).__name__, weights=tuple(shape for shape in held if shape)
        )
    for child_name, child in children.items():
        if isinstance(child, _Symbol) and isinstance(child_name, str):
            yield from _module_layers(f"{name}.{child_name}".lstrip("."), child)


def _entry_layers(members: dict, above: str = ""):
    """The entries of a state_dict, those of one module together, as Netron draws them; then dicts in it."""
    groups = {}
    members = {name: value for name, value in members.items() if isinstance(name, str)}
    for name, value in members.items():
        shape = _tensor_shape(value)
        if shape is not None:
            groups.setdefault(name.rpartition(".")[0], []).append(shape)
    for name, shapes in groups.items():
        yield Layer(name=above + name, operator="weights", weights=tuple(shapes))
    for name, value in members.items():
        yield from _entry_layers(_members(value), f"{above}{name}/")
