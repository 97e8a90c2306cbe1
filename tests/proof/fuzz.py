"""Damaged and forged files, ten thousand for each reader: ``python -m tests.proof.fuzz [READER …]``.

``helpers.checkpoints``, ``helpers.netron_view`` and ``helpers.coreml_runtime`` open files from strangers.
Whatever they hold, each answers with a model or with one of the errors that its docstring names: it does
not crash, hang, leave the package, or take memory and time without bound. Each file is made from a whole
one by a seed and a number, so that one file alone can be made again:
``python -m tests.proof.fuzz netron_view --first 1234 --files 1``.
"""

import argparse
import collections
import concurrent.futures
import faulthandler
import json
import os
import pickletools
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import zipfile
from pathlib import Path

import numpy as np
import torch

from helpers import checkpoints, coreml, coreml_runtime, netron_view
from helpers.model import AlexNet
from helpers.netron_view import pictures
from helpers.plumbing import paths
from helpers.plumbing.quiet import coremltools, quiet

TABLE = paths.MEASURED / "fuzz.json"
FILES = 10_000
SHARE = 2_500
"""Files that one process opens before the next takes over."""

SECONDS = 5
"""Of the processor, the reader's own processes included, for one file: on a busy machine they are no more."""

MEMORY = 2**30
"""What a reader may take beyond what the imported packages have; every file here is under 1 MB."""

NUMBERS = (0, 1, 2, 3, 5, 7, 255, 2**15, 2**31 - 1, 2**31, 2**32 - 1, 2**40, 2**62, 2**63 - 1, 2**64 - 1)
FLOATS = (0.0, -1.0, 1e-45, 3e38, float("inf"), float("-inf"), float("nan"))
TEXTS = (
    "",
    "x",
    "image",
    "../../outside",
    "@model_path/../../../outside",
    "/etc/passwd",
    "\0",
    "\x1b[2J",
    "a" * 5000,
)


# The files that are damaged


NETWORKS = (
    "network.mlmodel",
    "quantised.mlmodel",
    "plain.mlpackage",
    "palette.mlpackage",
    "sparse.mlpackage",
)


def make_networks(folder: Path, names=NETWORKS) -> None:
    """Core ML models of every kind that the readers know: both formats, whole and compressed weights."""
    torch.manual_seed(0)
    layers = [torch.nn.Conv2d(3, 4, 3, padding=1), torch.nn.ReLU(), torch.nn.MaxPool2d(2)]
    network = torch.nn.Sequential(*layers, torch.nn.Flatten(), torch.nn.Linear(64, 3)).eval()
    with quiet():
        for name in names:
            coreml.save(_make_network(network, Path(name).stem), folder / name)
    for file in folder.glob(
        "*/Manifest.json"
    ):  # its names are drawn by chance, and the files are to be the same again
        text = file.read_text()
        for number, name in enumerate(sorted(json.loads(text)["itemInfoEntries"])):
            text = text.replace(name, f"{number:08}-0000-4000-8000-000000000000")
        file.write_text(text)


def _make_network(network, kind):
    ct = coremltools()
    optimize = ct.optimize.coreml
    quantize = optimize.OpLinearQuantizerConfig(mode="linear_symmetric", weight_threshold=0)
    palette = optimize.OpPalettizerConfig(mode="uniform", nbits=4, weight_threshold=0)
    prune = optimize.OpMagnitudePrunerConfig(target_sparsity=0.5, weight_threshold=0)
    ios = {"network": "13", "quantised": "13", "plain": "15", "palette": "16", "sparse": "18"}[kind]
    model = coreml.from_torch(
        network,
        shape=(1, 3, 8, 8),
        class_labels=["a", "b", "c"],
        exporter="trace",
        minimum_ios_deployment_target=ios,
        verify=False,
    )
    if kind == "quantised":
        small = ct.models.neural_network.quantization_utils.quantize_weights(model, 8)
        # On a Mac it is a model, elsewhere its specification.
        return small if hasattr(small, "get_spec") else ct.models.MLModel(small, skip_model_load=True)
    if kind == "palette":
        config = optimize.OptimizationConfig(global_config=palette)
        return optimize.palettize_weights(model, config)
    if kind == "sparse":
        model = optimize.prune_weights(model, optimize.OptimizationConfig(global_config=prune))
        config = optimize.OptimizationConfig(global_config=quantize)
        return optimize.linear_quantize_weights(model, config, joint_compression=True)
    return model


WIDTH = 0.03
"""Of the AlexNet in the checkpoints, which has its smallest layers then."""


def make_checkpoints(folder: Path) -> None:
    """A state_dict and a whole model, of an AlexNet with few channels, in the two newest protocols of pickle."""
    torch.manual_seed(0)
    network = AlexNet(width=WIDTH).eval()
    for protocol in (2, 5):
        torch.save(network.state_dict(), folder / f"weights{protocol}.pth", pickle_protocol=protocol)
        torch.save(network, folder / f"model{protocol}.pth", pickle_protocol=protocol)


def make_drawings(folder: Path) -> None:
    """A small network in every format that is drawn, and an ONNX file with functions and a graph in a node."""
    torch.manual_seed(0)
    layers = [torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.ReLU(), torch.nn.Flatten()]
    network = torch.nn.Sequential(*layers, torch.nn.Linear(144, 3)).eval()
    images = torch.rand(1, 3, 8, 8)
    with quiet():
        torch.onnx.export(network, (images,), folder / "new.onnx", dynamo=True, external_data=False)
        torch.onnx.export(network, (images,), folder / "old.onnx", dynamo=False)
        torch.export.save(torch.export.export(network, (images,)), folder / "program.pt2")
    _nested_onnx(folder / "nested.onnx")
    torch.save(network.state_dict(), folder / "state.pth")
    torch.save(network, folder / "whole.pth")
    with zipfile.ZipFile(folder / "state.pth") as whole:
        records = {name: whole.read(name) for name in whole.namelist()}
    _write_archive(folder / "deflated.pth", records, zipfile.ZIP_DEFLATED)
    make_networks(folder, ("network.mlmodel", "plain.mlpackage"))


def _nested_onnx(path):
    import onnx
    from onnx import TensorProto, helper

    branch = helper.make_graph(
        [helper.make_node("Relu", ["x"], ["b"])],
        "branch",
        [],
        [helper.make_tensor_value_info("b", 1, [1, 4])],
    )
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("mine", 1)]
    functions = [
        helper.make_function("mine", f"F{n}", ["a"], ["b"], [helper.make_node(inner, ["a"], ["b"], domain=domain)], opsets)
        for n, (inner, domain) in enumerate([("Relu", ""), ("F0", "mine"), ("F1", "mine")])
    ]  # fmt: skip
    nodes = [
        helper.make_node("F2", ["x"], ["y"], domain="mine"),
        helper.make_node("If", ["choice"], ["z"], then_branch=branch, else_branch=branch),
    ]
    inputs = [
        helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4]),
        helper.make_tensor_value_info("choice", TensorProto.BOOL, []),
    ]
    outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 4]) for name in "yz"]
    graph = helper.make_graph(nodes, "nested", inputs, outputs)
    onnx.save(helper.make_model(graph, functions=functions, opset_imports=opsets), path)


def _write_archive(path, records: dict, method=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in records.items():
            info = zipfile.ZipInfo(name)  # with its one date: a name alone would get today's
            info.compress_type = method
            archive.writestr(info, content)


# The readers


def open_checkpoint(path) -> None:
    """A state_dict and a whole model are asked for in both ways: one of them is the wrong one."""
    answers = []
    for load in (
        lambda: checkpoints.load_weights(AlexNet(width=WIDTH), path),
        lambda: checkpoints.load_model(path),
    ):
        try:
            load()
        except (ValueError, FileNotFoundError) as error:
            _check(error, path, checkpoints_errors)
            answers.append(error)
    if len(answers) == 2:
        raise answers[0 if "weights" in path.name else 1]


checkpoints_errors = (ValueError, FileNotFoundError)


def open_drawing(path) -> None:
    """All that ``show`` puts into a notebook; without a Chromium nothing is pictured."""
    netron_view.show(path)._repr_mimebundle_()


def open_network(path) -> None:
    """Open a Core ML model and ask for one prediction."""
    model = coreml_runtime.load(path)
    inputs = {}
    for name, feature in model.inputs.items():
        if isinstance(feature, coreml_runtime.ImageInput):
            channels = () if feature.colour == "greyscale" else (3,)
            inputs[name] = np.zeros((feature.height, feature.width, *channels), np.uint8)
        else:
            inputs[name] = np.zeros(feature.shape, np.float32)
    if sum(value.size for value in inputs.values()) < 2**20:
        model.predict(inputs)


READERS = {
    "checkpoints": (make_checkpoints, open_checkpoint, checkpoints_errors),
    "netron_view": (make_drawings, open_drawing, (netron_view.ModelFileError, FileNotFoundError)),
    "coreml_runtime": (make_networks, open_network, (ValueError, FileNotFoundError)),
}
"""For each reader: what makes the whole files, what opens a damaged one, and its documented errors."""


# The damage. Each kind takes a random generator and the path of a copy, and changes the copy.


def files_of(path):
    return [f for f in sorted([path, *path.rglob("*")]) if f.is_file()]


def truncate(dice, path):
    file = dice.choice(files_of(path))
    file.write_bytes(file.read_bytes()[: dice.randrange(file.stat().st_size)])


def flip(dice, path):
    file = dice.choice(files_of(path))
    file.write_bytes(_flipped(dice, file.read_bytes()))


def _flipped(dice, content):
    content = bytearray(content)
    for _ in range(dice.choice((1, 1, 2, 8, 64))):
        content[dice.randrange(len(content))] ^= dice.randrange(1, 256)
    return bytes(content)


def splice(dice, path):
    """A piece of the file removed, doubled, or put somewhere else."""
    file = dice.choice(files_of(path))
    file.write_bytes(_spliced(dice, file.read_bytes()))


def _spliced(dice, content):
    a, b = sorted(dice.randrange(len(content) + 1) for _ in range(2))
    piece = dice.choice((b"", content[a:b] * 2, dice.randbytes(min(64, b - a)), b"\xff" * 9))
    return content[:a] + piece + content[b:]


def forge(dice, path):
    """Fields of a protobuf file set to numbers, names and lists that no converter writes."""
    import onnx

    file = path / "Data/com.apple.CoreML/model.mlmodel" if path.is_dir() else path
    message = onnx.ModelProto() if path.suffix == ".onnx" else coremltools().proto.Model_pb2.Model()
    message.ParseFromString(file.read_bytes())
    for _ in range(dice.choice((1, 1, 1, 2, 4))):
        _forge_one(dice, message)
    file.write_bytes(message.SerializePartialToString())


def _forge_one(dice, message):
    """Walk down to some field that is set, and change it."""
    while True:
        fields = message.ListFields()
        if not fields:
            return
        field, value = dice.choice(fields)
        if field.message_type and field.message_type.GetOptions().map_entry:
            if field.message_type.fields_by_name["value"].message_type is None:
                return
            message = value[dice.choice(sorted(value))]
            continue
        repeated = hasattr(value, "extend")
        if repeated and dice.random() < 0.15:
            if dice.random() < 0.5:
                del value[dice.randrange(len(value))]
            else:
                value.extend([value[dice.randrange(len(value))]] * dice.choice((1, 2, 50)))
            return
        if dice.random() < 0.02:
            message.ClearField(field.name)
            return
        if field.message_type:
            message = dice.choice(value) if repeated else value
            continue
        new = _strange(dice, field, value)
        try:
            if repeated:
                value[dice.randrange(len(value))] = new
            else:
                setattr(message, field.name, new)
        except (ValueError, TypeError, OverflowError):
            pass  # the field has no room for this value
        return


def _strange(dice, field, value):
    if field.type == field.TYPE_STRING:
        return dice.choice(TEXTS)
    if field.type == field.TYPE_BYTES:
        return value[: dice.randrange(len(value) + 1)]
    if field.type in (field.TYPE_FLOAT, field.TYPE_DOUBLE):
        return dice.choice(FLOATS)
    if field.type == field.TYPE_BOOL:
        return dice.random() < 0.5
    if field.type == field.TYPE_ENUM:
        return dice.choice([*(v.number for v in field.enum_type.values), 99, -1])
    return dice.choice(NUMBERS) * dice.choice((1, 1, -1))


def manifest(dice, path):
    """A package's table of contents that says something else, or is something else."""
    file = path / "Manifest.json"
    content = json.loads(file.read_text())
    entry = content["itemInfoEntries"][content["rootModelIdentifier"]]
    entry["path"] = dice.choice((*TEXTS, "..", ".", "com.apple.CoreML", 7, None, [], {}, "a/" * 3000))
    texts = (
        json.dumps(content),
        "[" * dice.choice((10, 100_000)),
        "null",
        "{}",
        '{"itemInfoEntries": {"a": {}}, "rootModelIdentifier": []}',
        '{"itemInfoEntries": [], "rootModelIdentifier": 0}',
        "1" * 5000,
        "\ud800".encode("utf-8", "surrogatepass").decode("latin-1"),
        " " * 2**21,
    )
    file.write_text(dice.choice((texts[0], texts[0], *texts)), encoding="latin-1", errors="replace")


def record(dice, path):
    """Something inside an archive, whose checksums are right afterwards."""
    with zipfile.ZipFile(path) as archive:
        records = {info.filename: archive.read(info) for info in archive.infolist()}
    name = dice.choice(sorted(name for name, content in records.items() if content))
    kind = dice.choice(("flip", "splice", "drop", "name", "swap", "zeros"))
    other = dice.choice(sorted(records))
    if kind == "drop":
        del records[name]
    elif kind == "name":
        records[name.rpartition("/")[0] + "/" + dice.choice(TEXTS).replace("\0", "")] = records.pop(name)
    elif kind == "swap":
        records[name], records[other] = records[other], records[name]
    elif kind == "zeros":
        records[name] = b"\0" * dice.choice((0, 1, 2**10, 2**26))
    else:
        records[name] = (_flipped if kind == "flip" else _spliced)(dice, records[name])
    _write_archive(path, records, dice.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2)))


def _in_archive(path, ending, change):
    """Change the record of an archive whose name ends so."""
    with zipfile.ZipFile(path) as archive:
        records = {info.filename: archive.read(info) for info in archive.infolist()}
    name = next(name for name in records if name.endswith(ending))
    records[name] = change(records[name])
    _write_archive(path, records)


STEPS = (b"(", b".", b"0", b"1", b"2", b"N", b"}", b"]", b")", b"\x8f", b"R", b"\x81", b"b", b"s", b"u", b"a", b"e",
         b"d", b"l", b"t", b"\x85", b"\x86", b"\x87", b"Q", b"o", b"\x90", b"\x91", b"\x92", b"\x93", b"\x94", b"\x97",
         b"h\x00", b"j\xff\xff\xff\x7f", b"r\xff\xff\xff\x7f", b"r\xff\xff\xff\x0f", b"q\x00", b"K\x07", b"J\xff\xff\xff\xff",
         b"\x8a\x08" + b"\xff" * 7 + b"\x7f", b"\x8b\xff\xff\xff\x7f", b"cbuiltins\neval\n", b"ctorch\nzeros\n",
         b"cos\nsystem\n", b"ccollections\nOrderedDict\n", b"ctorch._utils\n_rebuild_tensor_v2\n", b"X\x01\x00\x00\x00x",
         b"\x8e\xff\xff\xff\xff\xff\xff\xff\x7f", b"\x96\x00\x00\x00\x00\x02\x00\x00\x00", b"Gx\x00\x00\x00\x00\x00\x00\x00")  # fmt: skip
"""Steps of a pickle, among them those that ask for much memory and for functions."""


def steps(dice, path):
    """Steps of a pickle left out, doubled, moved, repeated many times, and new ones put between."""
    _in_archive(path, "/data.pkl", lambda content: _other_steps(dice, content))


def _other_steps(dice, content):
    starts = [position for _, _, position in pickletools.genops(content)]
    parts = [content[a:b] for a, b in zip(starts, [*starts[1:], len(content)], strict=True)]
    for _ in range(dice.choice((1, 1, 2, 5))):
        at = dice.randrange(len(parts))
        kind = dice.choice(("insert", "insert", "drop", "double", "move", "many", "number"))
        if kind == "insert":
            parts.insert(at, dice.choice(STEPS))
        elif kind == "drop" and len(parts) > 1:
            del parts[at]
        elif kind == "double":
            parts[at:at] = parts[at : at + dice.choice((1, 5, 50))]
        elif kind == "move":
            parts.insert(dice.randrange(len(parts)), parts[at])
        elif kind == "many":
            parts[at:at] = [dice.choice((b"}q\x00h\x00h\x00\x86", b"2\x86", *STEPS))] * dice.choice(
                (40, 1000)
            )
        elif len(parts[at]) > 1:
            parts[at] = parts[at][:1] + _flipped(dice, parts[at][1:])
    return b"".join(parts)


def values(dice, path):
    """Values in the JSON of a program set to others."""
    _in_archive(path, "models/model.json", lambda content: _other_json(dice, content))


def _other_json(dice, content):
    root = json.loads(content)
    for _ in range(dice.choice((1, 1, 3))):
        part = root
        while isinstance(part, dict | list) and part:
            key = dice.choice(sorted(part)) if isinstance(part, dict) else dice.randrange(len(part))
            if not (isinstance(part[key], dict | list) and part[key]) or dice.random() < 0.1:
                part[key] = dice.choice(
                    (*TEXTS, *NUMBERS, *FLOATS, None, [], {}, [[]], {"as_tensor": {}}, part)
                )
                break
            part = part[key]
    try:
        return json.dumps(root).encode()
    except (ValueError, RecursionError):  # a part was put into itself: as deep as JSON goes
        return b"[" * 100_000


def replace(dice, path):
    """A file that is a link, a folder, a pipe, or missing."""
    file = dice.choice(files_of(path))
    outside = path.parent / "outside"
    outside.write_bytes(file.read_bytes())
    file.unlink()
    kind = dice.choice(("link", "folder", "pipe", "device", "loop", "missing", "link to a folder"))
    if kind == "link":
        file.symlink_to(outside)
    elif kind == "folder":
        file.mkdir()
    elif kind == "pipe":
        os.mkfifo(file)
    elif kind == "device":
        file.symlink_to("/dev/zero")
    elif kind == "loop":
        file.symlink_to(file)
    elif kind == "link to a folder":
        file.symlink_to("/")


EVERYWHERE = (truncate, flip, splice)
DAMAGE = {
    ".onnx": (*EVERYWHERE, forge, forge, forge),
    ".mlmodel": (*EVERYWHERE, forge, forge, forge),
    ".mlpackage": (*EVERYWHERE, forge, forge, manifest, replace),
    ".pth": (*EVERYWHERE, record, steps, steps),
    ".pt2": (*EVERYWHERE, record, values, values),
}
"""For each ending the kinds of damage: those that know the format come more often."""


def damage(whole: list[Path], folder: Path, seed: int, number: int) -> tuple[Path, str]:
    """Make one damaged file.

    Returns:
        Its path and the kinds of damage. The same seed and number give the same file.
    """
    for leftover in folder.iterdir():
        shutil.rmtree(leftover) if leftover.is_dir() and not leftover.is_symlink() else leftover.unlink()
    dice = random.Random(f"{seed} {number}")
    model = dice.choice(whole)
    copy = folder / f"{model.stem} damaged{model.suffix}"
    shutil.copytree(model, copy) if model.is_dir() else shutil.copy(model, copy)
    kinds = [dice.choice((*DAMAGE[model.suffix], *([replace] if dice.random() < 0.1 else [])))
             for _ in range(dice.choice((1, 1, 2)))]  # fmt: skip
    # A pipe in the place of a file would stop the other kinds of damage: it comes last.
    for kind in sorted(kinds, key=lambda kind: kind is replace):
        try:
            kind(dice, copy)
        except Exception:
            break  # the first damage left nothing for the second
    return copy, " + ".join(kind.__name__ for kind in kinds)


# The run


def answer_to(reader: str, path: Path) -> str:
    """Open a file.

    Returns:
        "opened", or the name of a documented error.

    Raises:
        Exception: any error that is not documented.
    """
    _, open_, documented = READERS[reader]
    try:
        open_(path)
    except documented as error:
        _check(error, path, documented)
        return type(error).__name__
    return "opened"


def _check(error, path, documented) -> None:
    """A documented error is of that very type, names the file and can be printed."""
    text = str(error)
    assert type(error) in documented, f"{type(error).__name__}: {text}"
    assert path.stem in text, f"the error does not name the file: {text}"
    assert "\x1b" not in text and "\0" not in text, f"the error has control characters: {text!r}"
    assert len(text) < 2000, f"the error has {len(text)} characters: {text[:200]}"


def open_many(
    reader: str, whole: list[Path], first: int, files: int, seed: int = 0, tell=lambda number: None
) -> dict:
    """Damage copies of the whole files and open each.

    Args:
        tell: Gets the number of each file before it is opened.

    Returns:
        ``answers`` (for each kind of damage how often each answer came), ``broken`` (the files that were
        answered with anything else, with a traceback), and ``seconds``, the most for one file, and its number.
    """
    answers, broken, longest = collections.defaultdict(collections.Counter), [], (0.0, first)
    with tempfile.TemporaryDirectory() as folder:
        for number in range(first, first + files):
            path, kinds = damage(whole, Path(folder), seed, number)
            tell(number)
            start = used_seconds()
            try:
                answer = answer_to(reader, path)
            except Exception:
                answer = "broken"
                broken.append(f"file {number}, {path.name}, {kinds}:\n{traceback.format_exc(limit=-6)}")
            answers[kinds][answer] += 1
            longest = max(longest, (used_seconds() - start, number))
    return {"answers": answers, "broken": broken, "seconds": longest}


def used_seconds() -> float:
    """Seconds of the processor that this process and those it waited for have used."""
    return sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))


def used_memory() -> int:
    """Bytes of address space that this process has taken."""
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


def _limit_time(number: int) -> None:
    """End this process, with a traceback, when one file takes too long in Python or in C."""
    print(f"file {number}", file=sys.stderr, flush=True)
    used = sum(resource.getrusage(resource.RUSAGE_SELF)[:2])
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (round(used) + SECONDS + 2, hard))


def work(reader: str, whole: Path, first: int, files: int, seed: int) -> None:
    """Open one share of the files within the limits, and print what came of it as JSON."""
    faulthandler.enable()
    faulthandler.register(signal.SIGXCPU, chain=True)
    torch.set_num_threads(1)
    pictures.BROWSERS = ()
    os.environ.pop("CHROMIUM", None)
    models = sorted(whole.iterdir())
    open_many(reader, models, FILES, 30, seed + 1)  # whatever is imported late is imported now
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (used_memory() + MEMORY, hard))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = open_many(reader, models, first, files, seed, _limit_time)
    found["memory"] = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    print(json.dumps(found))


def prove(reader: str, whole: Path, first: int, files: int, seed: int) -> dict:
    """Share the files out over processes of their own, as many at once as there are processors.

    Returns:
        The row of the table, and under ``broken`` what went wrong.
    """

    def share(start):
        count = min(SHARE, first + files - start)
        call = [sys.executable, "-m", "tests.proof.fuzz", reader, "--whole", str(whole), "--seed", str(seed)]
        call += ["--first", str(start), "--files", str(count)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONHASHSEED": "0"}
        done = subprocess.run(call, capture_output=True, text=True, cwd=paths.ROOT, env=environment)
        if done.returncode == 0:
            return json.loads(done.stdout.splitlines()[-1])
        died = f"ended with {done.returncode}: …{done.stderr[-3000:]}"
        return {"answers": {}, "broken": [died], "seconds": (0, 0), "memory": 0}

    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        shares = list(pool.map(share, range(first, first + files, SHARE)))
    answers, kinds = collections.Counter(), collections.defaultdict(collections.Counter)
    for one in shares:
        for kind, counts in one["answers"].items():
            answers.update(counts)
            kinds[kind].update(counts)
    opened = answers.pop("opened", 0)
    broken = [text for one in shares for text in one["broken"]]
    seconds, slowest = max(one["seconds"] for one in shares)
    if seconds > SECONDS:
        broken.append(f"file {slowest} took {seconds:.1f} s")
    return {
        "files": opened + answers.total(),
        "opened": opened,
        "refused": answers.total() - answers["broken"],
        "errors": dict(answers),
        "largest_memory_mib": round(max(one["memory"] for one in shares), 1),
        "longest_seconds": round(seconds, 2),
        "damage": {kind: dict(kinds[kind]) for kind in sorted(kinds)},
        "broken": broken,
    }


def read_table() -> dict:
    """The table as the last run left it."""
    table = json.loads(TABLE.read_text(encoding="utf-8")) if TABLE.exists() else {}
    return {
        "seed": 0,
        "memory_limit_mib": MEMORY // 2**20,
        "seconds_limit": SECONDS,
        "readers": table.get("readers", {}),
    }


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.proof.fuzz", description="Open damaged files.")
    parser.add_argument("readers", nargs="*", metavar="READER", help=f"of {', '.join(READERS)}; else all")
    parser.add_argument("--first", type=int, default=0, help="the number of the first file")
    parser.add_argument("--files", type=int, default=FILES, help="how many files")
    parser.add_argument("--seed", type=int, default=0, help="other seeds give other files")
    parser.add_argument("--whole", type=Path, help=argparse.SUPPRESS)  # for the processes of the run
    chosen = parser.parse_args(arguments)
    if unknown := set(chosen.readers) - set(READERS):
        parser.error(f"no reader is called {', '.join(unknown)}: there are {', '.join(READERS)}")
    if chosen.whole:
        work(chosen.readers[0], chosen.whole, chosen.first, chosen.files, chosen.seed)
        return 0
    broken = 0
    for reader in chosen.readers or READERS:
        start = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            READERS[reader][0](Path(folder))
            row = prove(reader, Path(folder), chosen.first, chosen.files, chosen.seed)
        for text in row["broken"]:
            print(f"{reader}: {text}\n")
        broken += len(row["broken"])
        print(
            f"{reader}: {row['files']:,} files in {time.monotonic() - start:.0f} s: {row['opened']:,} opened, "
            f"{row['refused']:,} refused, {len(row['broken'])} broken; at most {row['largest_memory_mib']:.0f} MiB "
            f"and {row['longest_seconds']} s of the processor for one",
            flush=True,
        )
        if (chosen.first, chosen.files, chosen.seed) == (0, FILES, 0) and not row["broken"]:
            write_row(reader, row)
    return 1 if broken else 0


def write_row(reader: str, row: dict) -> None:
    table = read_table()
    table["readers"][reader] = {name: value for name, value in row.items() if name != "broken"}
    with paths.replacing(TABLE) as temporary:
        temporary.write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
