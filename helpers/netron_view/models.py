"""Read a model file for drawing: its graph, its names and its shapes, without its weights.

Nothing in a file is run, and nothing that a file says of itself is believed: a sum of what
is kept and a count of what is visited end the reading of one that explodes (``limits``). The
weights of a protobuf file are left out before it is parsed (``wire``), and a ``.pth``, a pickle
that may hold any code, is followed on paper only (``pickles``), as Netron does.
"""

import dataclasses
import hashlib
import io
import json
import math
import os
import zipfile
from pathlib import Path, PurePosixPath

from helpers.netron_view import inference, limits, pickles, wire
from helpers.netron_view.limits import MOST_DIMENSIONS as MOST
from helpers.netron_view.limits import plain, readable, shape
from helpers.plumbing.paths import shorten
from helpers.plumbing.quiet import coremltools

KEEP_VALUES = 8
"""Tensors of at most this many values stay in: shapes to reshape to, scalars, a mean per colour channel."""

KEEP_BYTES = 8 * KEEP_VALUES
"""The same for formats whose tensors are files of bytes: eight int64."""

LARGEST_GRAPH = limits.LARGEST_GRAPH

LARGEST_READ = 600 * 2**20
"""Bytes. ONNX and .mlmodel files are read whole."""

MOST_LAYERS = 20_000
"""Layers of a graph. Netron itself takes minutes for so many."""

LARGEST_DIRECTORY = 2 * 2**20
"""Bytes of an archive's table of contents: 30,000 tensors."""

LARGEST_MANIFEST = 2**20
"""Bytes of the table of contents of an .mlpackage."""

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

    @property
    def parts(self) -> int:
        """How much there is to draw: the layers, and the lines and names that meet in them."""
        return sum(1 + len(x.inputs) + len(x.outputs) + len(x.weights) for x in self.layers)

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
    if not os.path.exists(path):  # unlike Path.exists, it has an answer for every text
        raise FileNotFoundError(
            f"There is no model at {shorten(path)}. Run the notebook that makes it, or check the path."
        )
    if not (path.is_file() or path.is_dir()):
        raise ModelFileError(f"{shorten(path)} is no file, but a pipe or a device. Give the path of a model.")
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
    what, reader = READERS[suffix]
    try:
        model = reader(path)
        return dataclasses.replace(model, graph=_readable(model.graph))
    except (ModelFileError, ImportError):
        raise
    except limits.TooLargeError as error:
        raise ModelFileError(
            f"{shorten(path)} {error}. Use serve(), which does not embed the model."
        ) from error
    except (OSError, MemoryError) as error:
        reason = getattr(error, "strerror", None) or "there is not enough memory"
        raise ModelFileError(
            f"{shorten(path)} cannot be read: {reason}. Mend that, and try again."
        ) from error
    except Exception as error:  # zipfile, zlib, json and protobuf fail in many ways at what a stranger wrote
        raise _damaged(path, what, str(error) or type(error).__name__) from error


def _readable(graph: Graph) -> Graph:
    """The graph with names that can be shown.

    Raises:
        TooLargeError: it has too many layers to be drawn anywhere.
    """
    if len(graph.layers) > MOST_LAYERS:
        raise limits.TooLargeError(
            f"has {len(graph.layers):,} layers, more than the {MOST_LAYERS:,} of a page"
        )

    def names(texts):
        return tuple(map(plain, texts))

    layers = (
        Layer(plain(x.name), plain(x.operator), names(x.inputs), names(x.outputs), x.shape, x.weights)
        for x in graph.layers
    )
    inputs, outputs = (
        tuple((plain(name), text) for name, text in ends) for ends in (graph.inputs, graph.outputs)
    )
    return Graph(graph.kind, inputs, outputs, tuple(layers))


def _read_whole(path: Path, advice: str) -> bytes:
    size = path.stat().st_size
    if size > LARGEST_READ:
        raise ModelFileError(
            f"{shorten(path)} has {readable(size)}, more than the {readable(LARGEST_READ)} that are read into memory "
            f"to take the weights out. {advice}"
        )
    return path.read_bytes()


def _damaged(path: Path, what: str, reason: str) -> ModelFileError:
    return ModelFileError(
        f"{shorten(path)} cannot be read as {what}: {plain(reason)}. The file may be cut off or of another format. "
        "Make it again, or download it again and compare its size."
    )


# --- ONNX


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
        values = (
            4,
            5,
            6,
            7,
            9,
            10,
            11,
            13,
            14,
        )  # the numbers as bytes and in lists, and in which file they are
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


def _read_onnx(path: Path) -> Model:
    import onnx

    data = _read_whole(path, "Export it with external_data=True, or use serve().")
    size = len(data)
    seen = _OnnxRules()
    rules = {"onnx.TensorProto": seen.tensor, "onnx.NodeProto": seen.node}
    data = wire.strip(data, onnx.ModelProto.DESCRIPTOR, rules, limits.Allowance())
    model = onnx.ModelProto.FromString(data)
    if not model.graph.node:
        raise _damaged(path, "ONNX", "there is no graph in it")
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
        value.name: shape([_dimension(dim) for dim in value.type.tensor_type.shape.dim[: MOST + 1]])
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


# --- Core ML


def _read_coreml(path: Path) -> Model:
    if not path.is_dir():
        data = _read_whole(
            path, "Save it as an .mlpackage, whose weights lie in a file of their own, or use serve()."
        )
        return _coreml_model(path, path.name, data, {}, len(data))
    manifest = path / "Manifest.json"
    if not manifest.is_file():
        raise ModelFileError(
            f"{shorten(path)} holds no Manifest.json: it is no .mlpackage. Save the model again."
        )
    inner = _model_in(manifest)
    spec_file = path / "Data" / inner
    if not spec_file.resolve().is_relative_to(path.resolve()) or not spec_file.is_file():
        raise ModelFileError(
            f"{shorten(path)} names a model at Data/{plain(inner)}, which is not in it. Save it again."
        )
    size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    files = {"Manifest.json": manifest.read_bytes()}
    return _coreml_model(path, f"Data/{inner}", _read_whole(spec_file, "Use serve()."), files, size)


def _model_in(manifest: Path) -> str:
    """The path of the model's specification in an ``.mlpackage``, from its table of contents."""
    if manifest.stat().st_size > LARGEST_MANIFEST:
        raise _damaged(manifest, "the manifest of an .mlpackage", "it is too long for one")
    try:
        entries = json.loads(manifest.read_text(encoding="utf-8"))["itemInfoEntries"].values()
        (inner,) = [entry["path"] for entry in entries if entry["path"].lower().endswith(".mlmodel")]
    except Exception as error:  # any text may stand there
        raise _damaged(manifest, "the manifest of an .mlpackage", repr(error)) from error
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
        raise _damaged(path, "Core ML", "there is no model in it")
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
    dimensions = value.type.tensorType.dimensions[: MOST + 1]
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


# --- PyTorch: archives of torch.export.save and torch.save


class _Archive(io.FileIO):
    """A file whose table of contents, which zipfile reads at once, is of no more than a checkpoint's length."""

    def read(self, size=-1):
        if size > LARGEST_DIRECTORY:
            raise limits.TooLargeError(f"is an archive with a table of contents of {readable(size)}")
        return super().read(size)


def _read_torch(path: Path) -> Model:
    try:
        with _Archive(path) as file, zipfile.ZipFile(file) as archive:
            return _read_archive(path, archive)
    except zipfile.BadZipFile as error:
        with path.open("rb") as file:
            old = file.read(14).endswith(b"\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19")
        if old:
            raise ModelFileError(
                f"{shorten(path)} has the format of PyTorch before 1.6, which is one long pickle. "
                "Load it and save it again with torch.save, or use serve()."
            ) from error
        raise


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
        raise ValueError("it holds neither data.pkl nor a program")

    hollow, kept = {}, {}
    allowance = limits.Allowance()
    for name, info in inside.items():
        if name.startswith(dropped) and name != ".data/version":
            continue
        if name.startswith(weights) and not name.endswith(".json") and info.file_size > KEEP_BYTES:
            hollow[info.filename] = info.file_size
            kept[name] = b""
        else:
            kept[name] = _record(archive, info, allowance)
    if "archive_format" in inside:
        graph, operators = _read_program(path, kept, allowance)
    else:
        graph, operators = _pickle_graph(kept, allowance)
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


def _record(archive: zipfile.ZipFile, info: zipfile.ZipInfo, allowance: limits.Allowance) -> bytes:
    """A record of an archive. Deflate unpacks it bit by bit; other methods, all at once and a millionfold."""
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError("a record that is compressed in another way than torch.load reads")
    parts = []
    with archive.open(info) as record:
        while part := record.read(2**16):
            allowance.keep(len(part))
            parts.append(part)
    return b"".join(parts)


def _read_program(path: Path, records: dict[str, bytes], allowance: limits.Allowance) -> tuple[Graph, dict]:
    """The graph of a ``.pt2``. The stack traces go, from the records too: they hold paths of a machine."""
    names = [name for name in records if name.startswith("models/") and name.endswith(".json")]
    if not names:
        raise _damaged(path, "a program of torch.export.save", "there is no graph in it")
    allowance.visit(sum(records[names[0]].count(mark) for mark in (b",", b"[", b"{")))
    program = json.loads(records[names[0]])
    graph = program["graph_module"]["graph"]
    for node in graph["nodes"]:
        node["metadata"].pop("stack_trace", None)
    records[names[0]] = json.dumps(program).encode()
    tensors = {
        name: shape([size.get("as_int", "?") for size in value["sizes"][: MOST + 1]])
        for name, value in graph["tensor_values"].items()
    }
    specs = program["graph_module"]["signature"]["input_specs"]
    inputs = [spec["user_input"]["arg"]["as_tensor"]["name"] for spec in specs if "user_input" in spec]
    outputs = [value["as_tensor"]["name"] for value in graph["outputs"]]
    parameters = {value["as_tensor"]["name"] for value in graph["inputs"]} - set(inputs)
    layers, operators = [], {}
    for node in graph["nodes"]:
        read = [value["arg"]["as_tensor"]["name"] for value in node["inputs"] if "as_tensor" in value["arg"]]
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
    drawn = Graph(
        kind="PyTorch program",
        inputs=tuple((name, tensors.get(name, "")) for name in inputs),
        outputs=tuple((name, tensors.get(name, "")) for name in outputs),
        layers=tuple(layers),
    )
    return drawn, operators


def _pickle_graph(records: dict[str, bytes], allowance: limits.Allowance) -> tuple[Graph, dict]:
    root, named = pickles.read(records["data.pkl"])
    allowance.visit(pickles.count(root))
    tensors = _Tensors(records)
    whole = isinstance(root, pickles.Symbol) and "_modules" in (root.state or {})
    layers = tensors.modules("", root) if whole else tensors.entries(_members(root))
    kind = "PyTorch model" if whole else "PyTorch state_dict"
    operators = {f"{module}.{name}": 0 for module, name in named}
    return Graph(kind=kind, inputs=(), outputs=(), layers=tuple(layers)), operators


def _members(value) -> dict:
    """What a pickled dict or OrderedDict holds; nothing for anything else."""
    members = value.members if isinstance(value, pickles.Symbol) else value
    return members if isinstance(members, dict) else {}


class _Tensors:
    """The tensors of a pickle as layers. ``records`` of the archive hold their storages."""

    def __init__(self, records: dict[str, bytes]):
        self._records = records
        self._entered = 0
        self._barren = set()

    def _enter(self, depth: int) -> None:
        self._entered += 1
        if depth > limits.MOST_DEPTH or self._entered > MOST_LAYERS:
            raise limits.TooLargeError(
                f"has more than {MOST_LAYERS:,} dicts or modules, or more than {limits.MOST_DEPTH} in each other"
            )

    def modules(self, name: str, module: pickles.Symbol, depth: int = 0):
        """The modules of a pickled ``nn.Module`` that hold no others, in their order."""
        self._enter(depth)
        state = module.state or {}
        children = _members(state.get("_modules"))
        if not children:
            stores = (_members(state.get(store)).values() for store in ("_parameters", "_buffers"))
            held = (self._shape(value) for store in stores for value in store)
            yield Layer(name=name, operator=module.name, weights=tuple(filter(None, held)))
        for child_name, child in children.items():
            if isinstance(child, pickles.Symbol) and isinstance(child_name, str):
                yield from self.modules(plain(f"{name}.{child_name}".lstrip(".")), child, depth + 1)

    def entries(self, all_members: dict, above: str = "", depth: int = 0):
        """The entries of a state_dict, those of one module together, as Netron draws them; then dicts in it."""
        self._enter(depth)
        groups = {}
        members = {name: value for name, value in all_members.items() if isinstance(name, str)}
        for name, value in members.items():
            shown = self._shape(value)
            if shown is not None:
                groups.setdefault(name.rpartition(".")[0], []).append(shown)
        for name, shapes in groups.items():
            yield Layer(name=plain(above + name), operator="weights", weights=tuple(shapes))
        found = bool(groups)
        for name, value in members.items():
            inner = _members(value)
            if inner and id(inner) not in self._barren:
                for layer in self.entries(inner, f"{plain(above + name)}/", depth + 1):
                    found = True
                    yield layer
        if not found:  # nor will it be at the end of another way to the same dict
            self._barren.add(id(all_members))

    def _shape(self, value) -> str | None:
        """The shape of a pickled tensor or parameter, or None for anything else."""
        for _ in range(2):
            if not (isinstance(value, pickles.Symbol) and value.args):
                return None
            if not value.name.startswith("_rebuild_parameter"):
                break
            value = value.args[0]
        if not value.name.startswith("_rebuild_tensor") or len(value.args) < 3:
            return None
        storage, _, sizes = value.args[:3]
        if not isinstance(sizes, tuple) or not all(isinstance(size, int) for size in sizes):
            return None
        return shape(sizes) or self._scalar(storage)

    def _scalar(self, storage) -> str:
        """A tensor without dimensions. One number of 64 bits is read, because Netron writes it into the node."""
        if isinstance(storage, pickles.Symbol) and len(storage.args or ()) == 5:
            _, kind, key, _, size = storage.args
            long = isinstance(kind, pickles.Symbol) and kind.name == "LongStorage"
            record = self._records.get(f"data/{key}") if isinstance(key, str) else None
            if long and size == 1 and record:
                return f"= {int.from_bytes(record, 'little', signed=True)}"
        return "scalar"


READERS = {
    ".onnx": ("ONNX", _read_onnx),
    ".mlmodel": ("Core ML", _read_coreml),
    ".mlpackage": ("Core ML", _read_coreml),
    ".pt2": ("an archive of torch.export.save", _read_torch),
    ".pth": ("an archive of torch.save", _read_torch),
    ".pt": ("an archive of torch.save", _read_torch),
}
"""For each ending what the file should be, and who reads it."""
