"""Reads a file of ``torch.save`` without running it, at a cost that its length bounds.

A ``.pth`` is a pickle: a program that may call anything. ``read`` goes through its steps one by
one (``pickletools.genops`` names them and runs none) and carries out those that ``torch.save``
writes: numbers, texts, containers, tensors. Whatever else the file asks for becomes an ``Unknown``,
which remembers the name and does nothing. The numbers of the tensors have to be in the file, byte for byte.
"""

import collections
import io
import os
import pickletools
import stat
import struct
import zipfile
from pathlib import Path

import torch

from helpers.plumbing import paths
from helpers.plumbing.paths import shorten

LARGEST = 10**9
"""Bytes of a file. It is read whole, and takes as much memory."""

LARGEST_PROGRAM = 64 * 2**20
"""Bytes of the pickle without the tensors' numbers."""

LARGEST_DIRECTORY = 4 * 2**20
"""Bytes of a zip archive's list of contents: about 50,000 tensors."""

MOST_STEPS = 300_000
"""Steps of a pickle. A tensor takes about 43."""

MAGIC = 0x1950A86A20F9469CFC6C
"""What the first pickle of a file in the older format holds."""


class _Refusal(Exception):
    """What ``read`` says of a file in a ValueError."""


class Unknown:
    """Stands for something that the file asks for and that is not built.

    Attributes:
        name: the class or function, e.g. ``"posix.mkdir"``.
        is_model: it was pickled as an ``nn.Module`` is.
    """

    def __init__(self, name: str):
        self.name, self.is_model = printable(name), False

    def __str__(self):
        return _TENSORS.get(self.name.rpartition(".")[2], self.name)


_TENSORS = {
    "_rebuild_sparse_tensor": "a sparse tensor (save tensor.to_dense())",
    "_rebuild_qtensor": "a quantised tensor (save tensor.dequantize())",
    "_rebuild_meta_tensor_no_storage": "a tensor on the meta device, which has no values",
    "_rebuild_nested_tensor": "a nested tensor (save tensor.to_padded_tensor(0.0))",
    "_rebuild_wrapper_subclass": "a tensor of a class of its own",
    "_rebuild_from_type_v2": "a tensor of a class of its own",
}


class Content:
    """What ``read`` found.

    Attributes:
        value: the object that was saved; tensors are on the CPU.
        unknown: the names that the file asks for and that were not built, in order.
        called: those of them that are allowed, and that the file wants to call with arguments of its own.
    """

    def __init__(self, value, unknown: set[str], called: set[str]):
        self.value, self.unknown, self.called = value, sorted(unknown), sorted(called)


def read(path, classes=()) -> Content:
    """Read a file of ``torch.save``, in the zip format or the older one.

    Args:
        path: of the file.
        classes: classes of which objects may be made: empty ones, by ``cls.__new__(cls)``, then given
            the state in the file. ``__init__`` is not called. A function in it may be named by the file, not called.

    Raises:
        FileNotFoundError: there is no such file.
        PermissionError: it must not be read.
        ValueError: it is damaged, too large, or something else; the message says what, and what to do.
    """
    path = Path(path)
    size = _check_kind(path)
    try:
        with _Bounded(path) as file:
            if zipfile.is_zipfile(file):
                return _Archive(path, file, size).content(classes)
            file.seek(0)
            return _Stream(path, file, size).content(classes)
    except _Refusal as error:
        raise ValueError(str(error)) from error
    except PermissionError:
        raise
    except MemoryError as error:
        raise ValueError(f"{shorten(path)} does not fit into memory. Close other programs.") from error
    except Exception as error:  # damage may lead anywhere: zlib, struct, zipfile, torch
        raise damaged(path) from error


def damaged(path) -> ValueError:
    """The error for a file that cannot be what it should be."""
    return ValueError(
        f"{shorten(path)} is damaged or no PyTorch file. Delete it and make it again, or copy it again."
    )


def printable(text, longest: int = 80) -> str:
    """A text from a stranger's file, as it may be shown: no control characters, and not for ever."""
    text = paths.printable(str(text)[: longest + 1])
    return text if len(text) <= longest else text[: longest - 1] + "…"


def _check_kind(path: Path) -> int:
    """The file's size in bytes, if it is a file of ``torch.save`` by its first bytes.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it is something else, and the message says what.
    """
    size = check_file(path, "Run the notebook that writes it, or check the name.")
    with open(path, "rb") as file:
        kind = what_it_is(file.read(512), path.suffix.lower())
    if kind:
        raise ValueError(f"{shorten(path)} is {kind}")
    return size


def check_file(path, advice: str, largest: int = LARGEST) -> int:
    """The size in bytes of an ordinary file.

    Raises:
        FileNotFoundError: there is none; ``advice`` says what to do.
        ValueError: it is a folder, a pipe or a device, or has more than ``largest`` bytes.
    """
    path = Path(path)
    try:
        status = os.stat(path)
    except PermissionError:
        raise
    except (OSError, ValueError) as error:  # too long a name, links in a circle, a zero in the name
        raise FileNotFoundError(f"There is no file {shorten(path)}. {advice}") from error
    if not stat.S_ISREG(status.st_mode):
        kind = "a folder" if stat.S_ISDIR(status.st_mode) else "a pipe or a device"
        raise ValueError(f"{shorten(path)} is {kind}, not a file. Give the path of a file.")
    if status.st_size > largest:
        raise ValueError(
            f"{shorten(path)} has {status.st_size / 1e6:,.0f} MB, and more than {largest / 1e6:,.0f} MB are not read here. "
            "Check that it is the right file."
        )
    return status.st_size


def what_it_is(start: bytes, suffix: str = "") -> str | None:
    """What a file is that begins like this, and what to do with it; None for what may be PyTorch's."""
    text = start.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith(b"version https://git-lfs"):
        return "a Git LFS pointer, not the file itself. Fetch it with `git lfs pull`, or download it from the project's page."
    if text.startswith((b"<!doctype", b"<html", b"<?xml", b"<head")):
        return (
            "a web page or a server's error, not the file itself: the download went wrong. Use the link of the file, and "
            "sign in if the page asks for it."
        )
    if len(start) > 8 and start[8:9] == b"{" and struct.unpack("<Q", start[:8])[0] < LARGEST:
        return "a safetensors file. Use safetensors.torch.load_file(path), and model.load_state_dict with what it returns."
    for magic, place, kind in _MAGIC:
        if start[place : place + len(magic)] == magic:
            return kind
    # Both are protobuf messages that begin with a version; then comes the producer or the description.
    if start[:1] == b"\x08" and start[2:3] in (b"\x12", b"\x1a", b"\x3a", b"\x42", b"\x72"):
        if suffix == ".mlmodel":
            return "a Core ML model. Use coreml_runtime.load(path)."
        return "an ONNX file, it seems. Use onnx.load(path) or run_onnx(path, …)."
    if text.startswith(b"{"):
        return "a text in JSON, perhaps the card of a checkpoint. Give the path of the .pth."
    return None


_MAGIC = [
    (b"\x89HDF\r\n", 0, "an HDF5 file, as Keras writes it. PyTorch cannot read it: convert it with Keras's own tools."),
    (b"\x93NUMPY", 0, "a NumPy array. Use numpy.load(path, allow_pickle=False)."),
    (b"GGUF", 0, "a GGUF file, for llama.cpp. PyTorch cannot read it."),
    (b"TFL3", 4, "a TensorFlow Lite file. PyTorch cannot read it."),
    (b"\x1f\x8b", 0, "compressed with gzip. Unpack it first: gunzip, or tar xzf."),
    (b"BZh", 0, "compressed with bzip2. Unpack it first."),
    (b"\xfd7zXZ", 0, "compressed with xz. Unpack it first."),
    (b"7z\xbc\xaf", 0, "a 7z archive. Unpack it first."),
    (b"Rar!", 0, "a RAR archive. Unpack it first."),
    (b"\x89PNG", 0, "a picture (PNG)."),
    (b"\xff\xd8\xff", 0, "a picture (JPEG)."),
    (b"%PDF", 0, "a PDF."),
    (b"ustar", 257, "a tar archive. Unpack it first. (PyTorch of 2017 wrote such files too: save it again with a later one.)"),
]  # fmt: skip
"""How a file begins, where, and what it is."""


class _Bounded(io.FileIO):
    """A file of which nothing large is read in one go: a zip archive's directory is."""

    def read(self, size=-1):
        if size is None or size < 0 or size > LARGEST_DIRECTORY:
            size = LARGEST_DIRECTORY
        return super().read(size)


class _Archive:
    """The zip format of today: the pickle, and one stored record for the numbers of each storage."""

    def __init__(self, path: Path, file, size: int):
        self.path, self.storages = path, {}
        self.zip = zipfile.ZipFile(file)
        infos = self.zip.infolist()
        names = [info.filename for info in infos]
        programs = [name for name in names if name == "data.pkl" or name.endswith("/data.pkl")]
        _check_archive(path, names, programs)
        if any(info.compress_type != zipfile.ZIP_STORED for info in infos):
            raise _Refusal(
                f"{shorten(path)} is compressed inside, as torch.save never does. It is damaged, or another program packed "
                "it again: copy it again, or unpack it and save it with torch.save."
            )
        # So nothing in it is read twice, and all of it takes no more memory than the file is long.
        if len(set(names)) < len(names) or sum(info.file_size for info in infos) > size:
            raise damaged(path)
        self.root = programs[0].removesuffix("data.pkl")
        self.records = {info.filename: info for info in infos}

    def content(self, classes) -> Content:
        order = self.records.get(f"{self.root}byteorder")
        if order and bytes(self._record(order)) != b"little":
            raise _other_byte_order(self.path)
        program = self.records[f"{self.root}data.pkl"]
        if program.file_size > LARGEST_PROGRAM:
            raise _too_long(self.path)
        machine = _Machine(self.path, self.storage, classes)
        return machine.content(machine.run(io.BytesIO(self._record(program))))

    def storage(self, key: str, dtype, count: int) -> torch.Tensor:
        """The numbers of one storage, in one row."""
        if key not in self.storages:
            record = self.records[f"{self.root}data/{key}"]
            if record.file_size != count * dtype.itemsize:
                raise damaged(self.path)
            self.storages[key] = _numbers(self._record(record), dtype)
        return _same(self.path, self.storages[key], dtype, count)

    def _record(self, info) -> bytearray:
        """A record's bytes; zipfile compares their checksum."""
        content = bytearray(info.file_size)
        with self.zip.open(info) as record:
            _fill(self.path, record, content)
        return content


def _check_archive(path: Path, names: list[str], programs: list[str]) -> None:
    """Refuse a zip archive that is no checkpoint, by the names in it."""
    ends = {name.rpartition("/")[2] for name in names}
    kind = None
    if "constants.pkl" in ends:
        kind = "TorchScript: code and weights in one. Use torch.jit.load(path)."
    elif ends & {"archive_format", "serialized_exported_program.json"}:
        kind = "an exported program (torch.export). Use torch.export.load(path)."
    elif "model.weights.h5" in ends:
        kind = "a Keras model. PyTorch cannot read it: convert it with Keras's own tools."
    elif ends and all(end.endswith(".npy") for end in ends):
        kind = "an archive of NumPy arrays. Use numpy.load(path, allow_pickle=False)."
    elif len(programs) != 1:
        inside = ", ".join(printable(name, 40) for name in names[:3])
        kind = f"a zip archive, and not one of torch.save. It holds {inside or 'nothing'}: unpack it first."
    if kind:
        raise _Refusal(f"{shorten(path)} is {kind}")


class _Stream:
    """The format before PyTorch 1.6: five pickles, then the numbers of all storages."""

    def __init__(self, path: Path, file, size: int):
        self.path, self.file, self.left = path, file, size
        self.storages, self.room = {}, {}
        self.head = io.BytesIO()
        while len(part := file.read(min(LARGEST_DIRECTORY, LARGEST_PROGRAM - self.head.tell()))):
            self.head.write(part)
        self.head.seek(0)

    def content(self, classes) -> Content:
        if self.head.getvalue()[:1] != b"\x80":
            raise damaged(self.path)
        machine = _Machine(self.path, self.storage, classes)
        if machine.run(self.head) != MAGIC:
            raise _Refusal(
                f"{shorten(self.path)} is a pickle that torch.save did not write. A pickle is a program: it is not read here. "
                "Whoever made it can save its tensors with torch.save."
            )
        _, system = machine.run(self.head), machine.run(self.head)
        if not system.get("little_endian", True):
            raise _other_byte_order(self.path)
        value = machine.run(self.head)
        keys = machine.run(self.head)
        self.file.seek(self.head.tell())
        if sorted(keys) != sorted(self.storages):
            raise damaged(self.path)
        for key in keys:
            (count,) = struct.unpack("<q", self.file.read(8))
            if count != self.storages[key].numel():
                raise damaged(self.path)
            _fill(self.path, self.file, self.room[key])
        return machine.content(value)

    def storage(self, key: str, dtype, count: int) -> torch.Tensor:
        """Room for the numbers of one storage; they come after the pickle."""
        if key not in self.storages:
            self.left -= count * dtype.itemsize
            if count < 0 or self.left < 0:
                raise damaged(self.path)
            self.room[key] = bytearray(count * dtype.itemsize)
            self.storages[key] = _numbers(self.room[key], dtype)
        return _same(self.path, self.storages[key], dtype, count)


def _numbers(content: bytearray, dtype) -> torch.Tensor:
    """Bytes as numbers; they share their memory."""
    return torch.frombuffer(content, dtype=dtype) if content else torch.empty(0, dtype=dtype)


def _same(path, storage, dtype, count) -> torch.Tensor:
    """The storage, if the pickle says the same of it every time."""
    if (storage.dtype, storage.numel()) != (dtype, count):
        raise damaged(path)
    return storage


def _fill(path, file, buffer) -> None:
    """Read as many bytes as the buffer takes."""
    view, at = memoryview(buffer), 0
    while at < len(view):
        part = file.read(min(2**20, len(view) - at))
        if not part:
            raise damaged(path)
        view[at : at + len(part)] = part
        at += len(part)


def _other_byte_order(path) -> _Refusal:
    return _Refusal(
        f"{shorten(path)} was written on a machine that has the bytes of a number in the other order, which is not covered. "
        "Load it with torch.load(path, weights_only=True) and save it again."
    )


def _too_long(path) -> _Refusal:
    return _Refusal(
        f"{shorten(path)} holds more than {MOST_STEPS:,} steps of a pickle, more than any model needs. "
        "Save the weights alone: torch.save(model.state_dict(), path)."
    )


class _Name:
    """A class or function that the file names, and that this reader knows what to do with."""

    def __init__(self, name: str):
        self.name = name


class _Allowed(_Name):
    """A class or function that the caller allows."""

    def __init__(self, name: str, thing):
        super().__init__(name)
        self.thing = thing


_DTYPES = {
    "Double": torch.float64, "Float": torch.float32, "Half": torch.float16, "BFloat16": torch.bfloat16,
    "Long": torch.int64, "Int": torch.int32, "Short": torch.int16, "Char": torch.int8, "Byte": torch.uint8,
    "Bool": torch.bool, "ComplexFloat": torch.complex64, "ComplexDouble": torch.complex128,
}  # fmt: skip
_DTYPES = {f"torch.{kind}Storage": dtype for kind, dtype in _DTYPES.items()}
_DTYPES["torch.storage.UntypedStorage"] = torch.uint8
"""The class of a storage as a file names it → what its numbers are."""

_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_EMPTY = {"EMPTY_DICT": dict, "EMPTY_LIST": list, "EMPTY_TUPLE": tuple, "EMPTY_SET": set}
_VALUES = {
    "BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8",
    "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BINSTRING", "SHORT_BINSTRING",
}  # fmt: skip
_NOTHING = {"PROTO", "FRAME"}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


class _Machine:
    """Carries out the steps of a pickle that ``torch.save`` writes, and no others."""

    def __init__(self, path: Path, storage, classes):
        self.path, self.storage, self.left = path, storage, MOST_STEPS
        self.bytes = 2 * LARGEST  # of all tensors; some may share their numbers
        self.allowed = {f"{thing.__module__}.{thing.__qualname__}": thing for thing in classes}
        self.unknown, self.called = {}, set()

    def content(self, value) -> Content:
        return Content(_plain(value), {thing.name for thing in self.unknown.values()}, self.called)

    def run(self, program):
        """The object that one pickle builds. ``program`` is then just behind it."""
        self.stack, self.marks, self.memo = [], [], {}
        for code, argument, _ in pickletools.genops(program):
            self._spend(1)
            if code.name == "STOP":
                return self.stack.pop()
            self._step(code.name, argument)
        raise damaged(self.path)

    def _spend(self, steps: int) -> None:
        self.left -= steps
        if self.left < 0:
            raise _too_long(self.path)

    def _step(self, code: str, argument) -> None:
        if code in _VALUES:
            self.stack.append(argument)
        elif code in _CONSTANTS:
            self.stack.append(_CONSTANTS[code])
        elif code in _EMPTY:
            self.stack.append(_EMPTY[code]())
        elif code in _TUPLES:
            self.stack[-_TUPLES[code] :] = [tuple(self.stack[-_TUPLES[code] :])]
        elif code in ("BINPUT", "LONG_BINPUT", "MEMOIZE"):
            self.memo[len(self.memo) if argument is None else argument] = self.stack[-1]
        elif code in ("BINGET", "LONG_BINGET"):
            self.stack.append(self.memo[argument])
        elif code == "MARK":
            self.marks.append(self.stack)
            self.stack = []
        elif code not in _NOTHING:
            self._act(code, argument)

    def _act(self, code: str, argument) -> None:
        """The steps that name, make and fill things."""
        if code == "GLOBAL":
            self.stack.append(self._named(*argument.split(" ", 1)))
        elif code == "STACK_GLOBAL":
            name, module = self.stack.pop(), self.stack.pop()
            self.stack.append(self._named(module, name))
        elif code in ("REDUCE", "NEWOBJ"):
            arguments, function = self.stack.pop(), self.stack.pop()
            self.stack.append(self._call(function, arguments))
        elif code == "NEWOBJ_EX":
            keywords, arguments, function = self.stack.pop(), self.stack.pop(), self.stack.pop()
            self.stack.append(self._call(function, (*arguments, *keywords)))
        elif code == "BUILD":
            state = self.stack.pop()
            self._build(self.stack[-1], state)
        elif code == "BINPERSID":
            self.stack.append(self._persistent(*self.stack.pop()))
        elif code == "TUPLE":
            items = self._marked()  # which changes self.stack
            self.stack.append(tuple(items))
        elif code in ("APPEND", "APPENDS", "ADDITEMS", "SETITEM", "SETITEMS"):
            self._fill(code)
        else:
            raise _Refusal(
                f"{shorten(self.path)} was refused: it asks for {code}, a step of a pickle that torch.save never writes. "
                "It is damaged, or made to do harm."
            )

    def _marked(self) -> list:
        """What has been put down since the last mark."""
        items, self.stack = self.stack, self.marks.pop()
        return items

    def _fill(self, code: str) -> None:
        items = (
            self._marked()
            if code.endswith("S")
            else [self.stack.pop() for _ in range(1 + (code == "SETITEM"))][::-1]
        )
        target = self.stack[-1]
        if isinstance(target, Unknown):
            return
        if code.startswith("APPEND") and type(target) is list:
            target.extend(items)
        elif code == "ADDITEMS" and type(target) is set:
            target.update(map(_key, items))
        elif code.startswith("SETITEM") and isinstance(target, dict):
            target.update((_key(name), value) for name, value in zip(items[::2], items[1::2], strict=True))
        else:
            raise damaged(self.path)

    def _named(self, module: str, name: str):
        """What stands for a class or function, which is not imported."""
        full = f"{module}.{name}".replace("__builtin__.", "builtins.", 1)
        if full in self.allowed:
            return _Allowed(full, self.allowed[full])
        dtype = getattr(torch, name, None) if module == "torch" else None
        if isinstance(dtype, torch.dtype):
            return dtype
        if full in _MAKERS or full in _DTYPES:
            return _Name(full)
        return self._unknown(full)

    def _unknown(self, name: str) -> Unknown:
        return self.unknown.setdefault(name, Unknown(name))

    def _call(self, function, arguments):
        """What a call of the file gives. Only the calls of ``_MAKERS`` are made."""
        if isinstance(function, _Allowed):
            return self._blank(function, arguments)
        if isinstance(function, _Name) and function.name in _MAKERS:
            if any(isinstance(value, Unknown) for value in arguments):
                return next(value for value in arguments if isinstance(value, Unknown))
            return _MAKERS[function.name](self, *arguments)
        if isinstance(function, Unknown):
            return Unknown(function.name)  # each with a state of its own
        raise damaged(self.path)

    def _blank(self, function: _Allowed, arguments):
        """An empty object of an allowed class: the file does not choose what it is made with."""
        if arguments or not isinstance(function.thing, type):
            self.called.add(function.name)
            return self._unknown(function.name)
        return function.thing.__new__(function.thing)

    def _build(self, target, state) -> None:
        """Give an object its state."""
        if isinstance(target, Unknown):
            target.is_model = isinstance(state, dict) and "_modules" in state
        elif type(target) in self.allowed.values() and type(state) is dict:
            self._spend(len(state))
            state = {name: _plain(value) for name, value in state.items()}
            getattr(target, "__setstate__", target.__dict__.update)(state)
        elif (
            type(target) is not collections.OrderedDict
        ):  # its state is the version of each module, and not needed
            raise damaged(self.path)

    def _persistent(self, kind, thing, key, *rest):
        """What lies outside the pickle: a storage, or in the older format the source of a class."""
        if kind == "module":
            return thing
        if kind != "storage" or not isinstance(key, str) or (len(rest) > 2 and rest[2] is not None):
            raise damaged(self.path)
        if isinstance(thing, Unknown):
            return thing
        return self.storage(key, _DTYPES[thing.name], rest[1])

    # -- what _MAKERS calls

    def _ordered(self, *pairs):
        return collections.OrderedDict() if not pairs else self._unknown("collections.OrderedDict")

    def _counter(self, counts=()):
        self._spend(len(counts))
        return collections.Counter(dict(counts))

    def _set(self, items=()):
        self._spend(len(items))
        return set(map(_key, items))

    def _size(self, sizes):
        self._spend(len(sizes))
        return torch.Size(sizes)

    def _device(self, *where):
        return torch.device(*where)

    def _bytes(self, text, coding):
        self._spend(len(text) // 1000)
        if coding not in ("latin1", "latin-1"):
            raise damaged(self.path)
        return text.encode("latin1")

    def _tensor(self, storage, offset, size, stride, *_):
        """A tensor on a storage that holds all of it, each number once."""
        if not all(type(number) is int and 0 <= number < 2**62 for number in (offset, *size, *stride)):
            raise damaged(self.path)
        count, last = 1, offset
        for number, step in zip(size, stride, strict=True):
            count, last = count * number, last + (number - 1) * step
        if count and (count > storage.numel() or last >= storage.numel() or len(size) > 64):
            raise damaged(self.path) if last >= storage.numel() else _overlapping(self.path)
        reach = 0
        for step, number in sorted(
            (step, number) for number, step in zip(size, stride, strict=True) if number > 1
        ):
            if step <= reach and count:
                raise _overlapping(self.path)
            reach += (number - 1) * step
        self.bytes -= count * storage.itemsize
        if self.bytes < 0:
            raise _overlapping(self.path)
        return storage.as_strided(size, stride, offset)

    def _tensor_of(self, storage, offset, size, stride, grad, hooks, dtype, *_):
        return self._tensor(storage.view(dtype), offset, size, stride)

    def _parameter(self, tensor, needs_grad, *_):
        return torch.nn.Parameter(tensor, bool(needs_grad))


def _key(thing):
    """A key of a dict or a set. Others could take for ever to look up."""
    if thing is None or type(thing) in (str, bool) or isinstance(thing, Unknown):
        return thing
    if type(thing) is int and abs(thing) < 2**32:
        return thing
    raise ValueError("no key that torch.save writes")


def _plain(value):
    """An allowed function or class that the file only names is itself."""
    return value.thing if isinstance(value, _Allowed) else value


def _overlapping(path) -> _Refusal:
    return _Refusal(
        f"{shorten(path)} holds a tensor whose numbers overlap: it says that it is larger than what it holds. "
        "Save tensor.clone() instead."
    )


_MAKERS = {
    "collections.OrderedDict": _Machine._ordered,
    "collections.Counter": _Machine._counter,
    "builtins.set": _Machine._set,
    "torch.Size": _Machine._size,
    "torch.device": _Machine._device,
    "_codecs.encode": _Machine._bytes,
    "torch._utils._rebuild_tensor": _Machine._tensor,
    "torch._utils._rebuild_tensor_v2": _Machine._tensor,
    "torch._utils._rebuild_tensor_v3": _Machine._tensor_of,
    "torch._utils._rebuild_parameter": _Machine._parameter,
    "torch._utils._rebuild_parameter_with_state": _Machine._parameter,
}
"""The calls that are made, because ``torch.save`` writes them: name → what does it here."""
