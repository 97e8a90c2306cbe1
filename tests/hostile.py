"""Small files that ask for gigabytes, for hours, or for the end of the process: what ``netron_view`` must refuse."""

import os
import pickle
import struct
import zipfile
from pathlib import Path

from onnx import TensorProto, helper


def model(nodes, inputs, functions=(), initializers=()) -> bytes:
    values = [helper.make_tensor_value_info(name, kind, shape) for name, kind, shape in inputs]
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid("f", 1)]
    graph = helper.make_graph(nodes, "g", values, [], initializers)
    made = helper.make_model(graph, functions=functions, opset_imports=opsets, ir_version=10)
    return made.SerializeToString()


def varint(number: int) -> bytes:
    result = bytearray()
    while number > 127:
        result.append(number & 127 | 128)
        number >>= 7
    return bytes([*result, number])


def field(number: int, content: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(content)) + content


def in_each_other(numbers, count) -> bytes:
    content = b""
    for index in range(count):
        content = field(numbers[index % len(numbers)], content)
    return content


def functions_that_call_functions() -> bytes:
    """Forty functions, each calling the next one twice."""
    names = [f"F{number}" for number in range(41)]
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid("f", 1)]
    made = [
        helper.make_function("f", name, ["a"], ["c"], [
            helper.make_node(inner, ["a"], ["b"], domain="f"), helper.make_node(inner, ["b"], ["c"], domain="f"),
        ], opsets) for name, inner in zip(names[1:], names[:-1], strict=True)
    ]  # fmt: skip
    made.append(
        helper.make_function("f", "F0", ["a"], ["c"], [helper.make_node("Relu", ["a"], ["c"])], opsets)
    )
    call = helper.make_node("F40", ["x"], ["y"], domain="f")
    return model([call], [("x", TensorProto.FLOAT, [1])], functions=made)


def doubling_ranks() -> bytes:
    nodes = [helper.make_node("Gather", [f"x{n}", f"x{n}"], [f"x{n + 1}"]) for n in range(60)]
    return model(nodes, [("x0", TensorProto.INT64, [1, 1])])


def shapes_that_end_the_process() -> bytes:
    """onnx's shape inference of this GatherND is a segmentation fault."""
    indices = helper.make_tensor("i", TensorProto.INT64, [4], [-(2**63), 7, 65536, 3])
    node = helper.make_node("GatherND", ["x", "i"], ["y"], batch_dims=-65536)
    return model([node], [("x", TensorProto.FLOAT, [8, 4, 1])], initializers=[indices])


def a_long_dimension() -> bytes:
    nodes = [helper.make_node("Relu", [f"x{n}"], [f"x{n + 1}"]) for n in range(3000)]
    return model(nodes, [("x0", TensorProto.FLOAT, ["n" * 1_000_000])])


def a_long_shape_used_often() -> bytes:
    """The text of one weight's shape, written beside two thousand nodes."""
    weight = TensorProto(name="w", data_type=1, dims=[2**62] * 300_000)
    nodes = [helper.make_node("Add", ["w", "w"], [f"x{n}"]) for n in range(2000)]
    return model(nodes, [], initializers=[weight])


def archive(path: Path, records: dict, method=zipfile.ZIP_STORED) -> None:
    with zipfile.ZipFile(path, "w", method) as file:
        for name, content in records.items():
            file.writestr(name, content)


def pth(program: bytes, **records):
    return lambda path: archive(path, {"x/data.pkl": program, "x/version": "3\n", **records})


def nested(value, count=60) -> bytes:
    for _ in range(count):
        value = {"left": value, "right": value}
    return pickle.dumps(value)


TENSOR = (
    b"ctorch._utils\n_rebuild_tensor_v2\n((X\x07\x00\x00\x00storagectorch\nFloatStorage\n"
    b"X\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x01tQK\x00K\x01\x85K\x01\x85\x89NtR"
)
"""The steps that make a tensor with one number."""


def tensors_in_nested_dicts(count=30) -> bytes:
    program = b"\x80\x02}X\x01\x00\x00\x00w" + TENSOR + b"s"
    for number in range(count):
        key = struct.pack("<BB", ord("q"), number) + b"0}(X\x01\x00\x00\x00ah" + bytes([number])
        program += key + b"X\x01\x00\x00\x00bh" + bytes([number]) + b"u"
    program += b"."
    return program


def one_hash() -> bytes:
    """A dict of whole numbers that all have the hash 0."""
    keys = (number * (2**61 - 1) for number in range(120_000))
    return b"\x80\x02}(" + b"".join(b"\x8a\x0a" + key.to_bytes(10, "little") + b"N" for key in keys) + b"u."


def long_arguments() -> bytes:
    """One tuple of a hundred thousand parts, given to a class a hundred thousand times."""
    return b"\x80\x02cx\ny\nq\x000" + b"(" + b"N" * 100_000 + b"tq\x01" + b"0h\x00h\x01R" * 80_000 + b"."


def a_storage_named_by_a_nest() -> bytes:
    knot = b"]q\x00" + b"".join(b"0](h%ch%ceq%c" % (n, n, n + 1) for n in range(50))
    name = b"0(X\x01\x00\x00\x00scx\nLongStorage\nh2X\x03\x00\x00\x00cpuK\x01tQq\xff"
    tensor = b"0ctorch._utils\n_rebuild_tensor_v2\n(h\xffK\x00))\x89NtRq\xfe"
    return b"\x80\x02" + knot + name + tensor + b"0}X\x01\x00\x00\x00wh\xfes."


def contents(entries: int):
    """An archive that is nothing but a table of contents."""

    def write(path):
        names = b"".join(
            struct.pack("<4s4B4HL2L5H2L", b"PK\1\2", 20, 3, 20, 0, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0)
            + b"%08d" % number
            for number in range(entries)
        )
        end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 65535, 65535, len(names), 0, 0)
        path.write_bytes(names + end)

    return write


def raw(content: bytes):
    return lambda path: path.write_bytes(content)


def package(manifest=None, spec=None):
    """A Core ML package in which one of two files is something else."""

    def write(path):
        (path / "Data").mkdir(parents=True)
        text = '{"itemInfoEntries": {"a": {"path": "m.mlmodel"}}, "rootModelIdentifier": "a"}'
        (path / "Manifest.json").write_text(text) if manifest is None else manifest(path / "Manifest.json")
        (spec or raw(b"\x08\x05"))(path / "Data/m.mlmodel")

    return write


def link(target: str):
    return lambda path: path.symlink_to(target)


PROGRAM = '{"graph_module": {"graph": {"nodes": %s, "tensor_values": {}, "inputs": [], "outputs": []}}}'


def pt2(text: str):
    return lambda path: archive(
        path, {"x/archive_format": "pt2", "x/models/model.json": text}, zipfile.ZIP_DEFLATED
    )


FILES = {
    "functions.onnx": raw(functions_that_call_functions()),
    "ranks.onnx": raw(doubling_ranks()),
    "crash.onnx": raw(shapes_that_end_the_process()),
    "dimension.onnx": raw(a_long_dimension()),
    "shape.onnx": raw(a_long_shape_used_often()),
    "nodes.onnx": raw(field(7, b"\x0a\x00" * 10_000_000)),
    "rank.onnx": raw(field(7, field(1, b"") + field(5, field(1, b"\x7f" * 8_000_000)))),
    "deep.onnx": raw(field(7, in_each_other([1, 5, 6], 3000))),
    "number.onnx": raw(b"\x08" + b"\xff" * 10_000_000),
    "pipe.onnx": os.mkfifo,
    "device.onnx": link("/dev/zero"),
    "layers.mlmodel": raw(b"\x08\x01" + field(500, b"\x0a\x00" * 10_000_000)),
    "deep.mlmodel": raw(b"\x08\x01" + in_each_other([202, 1], 3000)),
    "function.mlmodel": raw(b"\x08\x05" + field(502, b"")),
    "pipe.mlmodel": os.mkfifo,
    "pipe.mlpackage": package(manifest=os.mkfifo),
    "device.mlpackage": package(manifest=link("/dev/zero")),
    "spec.mlpackage": package(spec=os.mkfifo),
    "deep.mlpackage": package(manifest=raw(b"[" * 500_000)),
    "long.mlpackage": package(manifest=raw(b" " * 50_000_000)),
    "dicts.pth": pth(nested(None)),
    "lists.pth": pth(nested(None).replace(b"left", b"lift")),
    "tensors.pth": pth(tensors_in_nested_dicts()),
    "memo.pth": pth(b"\x80\x02}r\xff\xff\xff\x0f."),
    "hash.pth": pth(one_hash()),
    "arguments.pth": pth(long_arguments()),
    "storage.pth": pth(a_storage_named_by_a_nest()),
    "bytes.pth": pth(b"\x80\x05\x96" + struct.pack("<Q", 2**34) + b"."),
    "classes.pth": pth(b"\x80\x02" + b"".join(b"cm\n%d\n0" % n for n in range(200_000)) + b"N."),
    "steps.pth": pth(b"\x80\x02" + b"}0" * 5_000_000 + b"N."),
    "deep.pth": pth(b"\x80\x02}" + b"X\x01\x00\x00\x00a}" * 20_000 + b"s" * 20_000 + b"."),
    "records.pth": lambda path: archive(
        path,
        {"x/data.pkl": pickle.dumps({}), **{f"x/{n}": bytes(20 * 2**20) for n in range(3)}},
        zipfile.ZIP_DEFLATED,
    ),
    "bzip2.pth": lambda path: archive(path, {"x/data.pkl": bytes(20 * 2**20)}, zipfile.ZIP_BZIP2),
    "contents.pth": contents(100_000),
    "pipe.pt": os.mkfifo,
    "deep.pt2": pt2("[" * 200_000),
    "digits.pt2": pt2("1" * 5000),
    "nodes.pt2": pt2(PROGRAM % ("[" + "[]," * 5_000_000 + "[]]")),
}  # fmt: skip
"""For each name what writes the file to a path."""

OPENED = {
    "arguments.pth",
    "classes.pth",
    "functions.onnx",
    "ranks.onnx",
    "crash.onnx",
    "dimension.onnx",
    "shape.onnx",
    "memo.pth",
    "hash.pth",
    "rank.onnx",
}
"""Of these there is something to be drawn, once what explodes is left alone."""

READ = """
import json, resource, sys
import onnx
from helpers import netron_view
from helpers.plumbing.quiet import coremltools
coremltools()
pages = int(open("/proc/self/statm").read().split()[0])
limit = pages * resource.getpagesize() + 2**30
resource.setrlimit(resource.RLIMIT_AS, (limit, resource.getrlimit(resource.RLIMIT_AS)[1]))
for path in sys.argv[1:]:
    used = sum(resource.getrusage(resource.RUSAGE_SELF)[:2])
    resource.setrlimit(resource.RLIMIT_CPU, (round(used) + 6, resource.getrlimit(resource.RLIMIT_CPU)[1]))
    try:
        netron_view.show(path)._repr_mimebundle_()
        answer = "opened"
    except netron_view.ModelFileError as error:
        answer = f"refused: {error}"
    except Exception as error:
        answer = f"{type(error).__name__}: {error}"
    print(json.dumps([path, answer]), flush=True)
"""
"""Opens files one after the other with 1 GiB and 5 seconds of the processor for each."""
