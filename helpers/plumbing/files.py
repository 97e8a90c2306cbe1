"""What stands at a path, before it is read: an ordinary file of a bounded size, and what its first bytes say it is."""

import codecs
import io
import os
import stat
import struct
import zipfile
from pathlib import Path

from helpers.plumbing.paths import printable, shorten

LARGEST = 10**9
"""Bytes of a file that is read whole, and takes as much memory."""

LARGEST_DIRECTORY = 4 * 2**20
"""Bytes of a zip archive's list of contents: about 50,000 tensors."""

TENSORFLOW = "Convert it with tf2onnx, and go on with the .onnx."
"""What to do with a file of TensorFlow."""


class Refusal(ValueError):
    """What a reader says of a file that it does not read. The message continues after the file's name."""


def check_file(path: str | Path, advice: str, largest: int = LARGEST) -> int:
    """The size in bytes of an ordinary file. It is not opened: a pipe would wait for its writer.

    Raises:
        FileNotFoundError: there is none; ``advice`` says what to do.
        PermissionError: its folder must not be looked into.
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
        kind = _folder(path) if stat.S_ISDIR(status.st_mode) else "a pipe or a device, not a file."
        raise ValueError(f"{shorten(path)} is {kind} Give the path of a file.")
    if status.st_size > largest:
        raise ValueError(
            f"{shorten(path)} has {status.st_size / 1e6:,.0f} MB, and more than {largest / 1e6:,.0f} MB are not read here. "
            "Check that it is the right file."
        )
    return status.st_size


def _folder(path: Path) -> str:
    for name, kind in _FOLDERS.items():
        if (path / name).exists():
            return f"a folder, not a file: {kind}"
    return "a folder, not a file."


_FOLDERS = {
    "Manifest.json": "a Core ML package. Use coreml_runtime.load(path).",
    "saved_model.pb": f"a model of TensorFlow. {TENSORFLOW}",
    "data.pkl": "a checkpoint that was unpacked, as some browsers do. Download it again, and keep it packed.",
    ".metadata": "a distributed checkpoint. torch.distributed.checkpoint.format_utils.dcp_to_torch_save makes one file of it.",
    "config.json": "a model of Hugging Face. Its weights are in a file in it, such as pytorch_model.bin.",
}
"""What lies in a folder, and what that folder is."""


def foreign(path: Path, own: str) -> str | None:
    """What a file is that should be a model of one's own kind ("ONNX", "Core ML"), and what to do with it; None if it may be one."""
    start, end = ends_of(path)
    if start.startswith(b"PK\x03\x04"):
        return _archive(path)
    if start[:1] == b"\x80" and start[1:2] in (b"\2", b"\3", b"\4", b"\5"):
        return f"a Python pickle: weights or a model of PyTorch. {EXPORT}"
    kind = what_it_is(start, end, path.suffix.lower()) or protobuf(start)
    return None if kind and f"{own} " in kind.partition(".")[0] else kind


EXPORT = "Load it with helpers.checkpoints, and export the network (notebook 03)."
"""What to do with a file of PyTorch."""


def ends_of(path: Path) -> tuple[bytes, bytes]:
    """The first 512 bytes of a file, and the last eight."""
    with path.open("rb") as stream:
        start = stream.read(512)
        stream.seek(max(0, stream.seek(0, os.SEEK_END) - 8))
        return start, stream.read(8)


def _archive(path: Path) -> str:
    """What is in a ZIP archive."""
    try:
        with Bounded(path) as file, zipfile.ZipFile(file) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return "a ZIP archive that cannot be opened. Copy or download it again."
    if any(name == "data.pkl" or name.endswith("/data.pkl") for name in names):
        return what_is_in(names) or f"a checkpoint of PyTorch. {EXPORT}"
    return what_is_in(names) or something_packed(names)


def something_packed(names: list[str]) -> str:
    """What a zip archive is of which the names in it say no more."""
    inside = ", ".join(printable(name, 40) for name in names[:3])
    return f"a ZIP archive that was not made by torch.save. It holds {inside or 'nothing'}: unpack it first."


def what_it_is(start: bytes, end: bytes = b"", suffix: str = "") -> str | None:
    """What a file is that begins (and ends) like this, and what to do with it; None for a model, an archive, the unknown."""
    if not start:
        return "empty. Copy, download or make it again."
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
    if end.endswith(_TABLE) or suffix.startswith(".data-0") or text.startswith(b"model_checkpoint_path:"):
        return f"a part of a checkpoint of TensorFlow. {TENSORFLOW}"
    if text.startswith(b"{") and b'"weight_map"' in text:
        return "the list of a checkpoint that is in several files. Load the files that it names, one by one."
    if text.startswith(b"{"):
        return "a text in JSON, such as a checkpoint's card or a server's answer. Give the path of the model itself."
    return _text(start)


def _text(start: bytes) -> str | None:
    """What a file is that begins with lines of text, such as a server's "404: Not Found"; None if it does not."""
    try:
        lines = codecs.getincrementaldecoder("utf-8")().decode(start).split("\n")
    except UnicodeDecodeError:
        return None
    if not any(lines) or not all(line.rstrip("\r").replace("\t", " ").isprintable() for line in lines):
        return None
    shown = printable(next(filter(str.strip, lines), "").strip(), 60)
    return f"a text, not the file itself, and begins with {shown!r}. Download or copy the file again."


def protobuf(start: bytes) -> str | None:
    """Which model in protobuf begins like this, and what to do with it; None if none does.

    Both begin with a version; then comes in an ONNX file who wrote it, and in one of Core ML the description of the inputs.
    """
    if start[:1] != b"\x08" or start[2:3] not in (b"\x12", b"\x1a", b"\x3a", b"\x42", b"\x72"):
        return None
    if start[2:3] == b"\x12" and not start[4 : 4 + start[3]].decode("latin-1").isprintable():
        return "a Core ML model. Use coreml_runtime.load(path)."
    return "an ONNX file, it seems. Use run_onnx(path, …), or convert it with helpers.onnx_coreml."


_TABLE = b"\x57\xfb\x80\x8b\x24\x75\x47\xdb"
"""How a table of LevelDB ends, in which TensorFlow keeps names and places of the weights."""

_MAGIC = [
    (b"\x89HDF\r\n", 0, "an HDF5 file, as Keras writes it. Convert it with Keras's own tools."),
    (b"ET12", 4, "a program of ExecuTorch (.pte), made for a phone. Give the checkpoint that it was made from."),
    (b"\x93NUMPY", 0, "a NumPy array. Use numpy.load(path, allow_pickle=False)."),
    (b"GGUF", 0, "a GGUF file, for llama.cpp. Give the checkpoint that it was made from."),
    (b"ORTM", 4, "a model in ONNX Runtime's own format (.ort). Give the .onnx file that it was made from."),
    (b"TFL3", 4, "a TensorFlow Lite file. Give the model that it was made from."),
    (b"\x1f\x8b", 0, "compressed with gzip. Unpack it first: gunzip, or tar xzf."),
    (b"BZh", 0, "compressed with bzip2. Unpack it first."),
    (b"\xfd7zXZ", 0, "compressed with xz. Unpack it first."),
    (b"7z\xbc\xaf", 0, "a 7z archive. Unpack it first."),
    (b"Rar!", 0, "a RAR archive. Unpack it first."),
    (b"\x89PNG", 0, "a picture (PNG). Give the path of the model."),
    (b"\xff\xd8\xff", 0, "a picture (JPEG). Give the path of the model."),
    (b"GIF8", 0, "a picture (GIF). Give the path of the model."),
    (b"WEBP", 8, "a picture (WebP). Give the path of the model."),
    (b"ftyp", 4, "a picture or a film (HEIC, AVIF, MP4). Give the path of the model."),
    (b"%PDF", 0, "a PDF. Give the path of the model."),
    (b"ustar", 257, "a tar archive. Unpack it first. (PyTorch of 2017 wrote such files too: save it again with a later one.)"),
]  # fmt: skip
"""How a file begins, where, and what it is."""


def what_is_in(names: list[str]) -> str | None:
    """What a zip archive with these names in it is, and what to do with it; None for a checkpoint and the unknown."""
    ends = {name.rpartition("/")[2] for name in names}
    if "constants.pkl" in ends:
        return "TorchScript: code and weights in one. Use torch.jit.load(path)."
    if ends & {"archive_format", "serialized_exported_program.json"}:
        return "an exported program (torch.export). Use torch.export.load(path)."
    if "model.weights.h5" in ends:
        return "a Keras model. Convert it with Keras's own tools."
    if ends and all(end.endswith(".npy") for end in ends):
        return "an archive of NumPy arrays. Use numpy.load(path, allow_pickle=False)."
    return None


class Bounded(io.FileIO):
    """A file of which nothing large is read in one go, as zipfile reads an archive's list of contents.

    Raises:
        Refusal: from ``read``, if more than ``LARGEST_DIRECTORY`` bytes are asked for.
    """

    def read(self, size: int | None = -1) -> bytes:
        if size is not None and size > LARGEST_DIRECTORY:
            raise Refusal(
                f"is an archive with a list of contents of {size / 1e6:,.0f} MB, which no model needs. It is damaged, or "
                "made to do harm."
            )
        return super().read(LARGEST_DIRECTORY if size is None or size < 0 else size)
