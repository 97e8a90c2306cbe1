"""Read a file of PyTorch for drawing: an archive of ``torch.save`` or of ``torch.export.save``."""

import io
import json
import zipfile
from pathlib import Path

from helpers.netron_view import limits, pickles
from helpers.netron_view.layers import Graph, Layer, Model
from helpers.netron_view.limits import KEEP_VALUES, MOST_DIMENSIONS, MOST_LAYERS, plain, shape
from helpers.plumbing import files
from helpers.plumbing.files import Bounded, Refusal

KEEP_BYTES = 8 * KEEP_VALUES
"""Bytes of a record that stays in: eight int64."""


def read_pytorch(path: Path) -> Model:
    """A ``.pt2``, or a ``.pth`` in the format of today."""
    try:
        with Bounded(path) as file, zipfile.ZipFile(file) as archive:
            return _read_archive(path, archive)
    except zipfile.BadZipFile as error:
        with path.open("rb") as stream:
            old = stream.read(14).endswith(b"\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19")
        if old:
            raise Refusal(
                "has the format of PyTorch before 1.6, which is one long pickle. "
                "Load it and save it again with torch.save, or use serve()."
            ) from error
        raise


def _read_archive(path: Path, archive: zipfile.ZipFile) -> Model:
    records = {info.filename: info for info in archive.infolist() if not info.is_dir()}
    roots = {name.split("/", 1)[0] for name in records}
    root = f"{roots.pop()}/" if len(roots) == 1 else ""
    inside = {name.removeprefix(root): info for name, info in records.items()}
    if "archive_format" in inside:
        weights: tuple[str, ...] = ("data/weights/", "data/constants/")
        dropped: tuple[str, ...] = ("data/sample_inputs/", ".data/")
    elif "constants.pkl" in inside:
        raise Refusal("is TorchScript, which is not drawn here. Use serve().")
    elif "data.pkl" in inside:
        weights, dropped = ("data/",), (".data/serialization_id",)
    else:
        raise Refusal(f"is {files.what_is_in(list(records)) or files.something_packed(list(records))}")

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
        graph, operators = _read_program(kept, allowance)
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


def _read_program(records: dict[str, bytes], allowance: limits.Allowance) -> tuple[Graph, dict]:
    """The graph of a ``.pt2``. The stack traces go, from the records too: they hold paths of a machine."""
    names = [name for name in records if name.startswith("models/") and name.endswith(".json")]
    if not names:
        raise ValueError("there is no graph in it")
    allowance.visit(sum(records[names[0]].count(mark) for mark in (b",", b"[", b"{")))
    program = json.loads(records[names[0]])
    graph = program["graph_module"]["graph"]
    for node in graph["nodes"]:
        node["metadata"].pop("stack_trace", None)
    records[names[0]] = json.dumps(program).encode()
    tensors = {
        name: shape([size.get("as_int", "?") for size in value["sizes"][: MOST_DIMENSIONS + 1]])
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
        self._barren: set[int] = set()

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
        groups: dict[str, list[str]] = {}
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
        if isinstance(storage, pickles.Symbol) and storage.args and len(storage.args) == 5:
            _, kind, key, _, size = storage.args
            long = isinstance(kind, pickles.Symbol) and kind.name == "LongStorage"
            record = self._records.get(f"data/{key}") if isinstance(key, str) else None
            if long and size == 1 and record:
                return f"= {int.from_bytes(record, 'little', signed=True)}"
        return "scalar"
