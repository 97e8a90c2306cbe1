"""What stands at a path, before it is read: an ordinary file of a bounded size, and what its first bytes say it is."""

import io
import os
import stat
import struct
from pathlib import Path

from helpers.plumbing.paths import shorten

LARGEST = 10**9
"""Bytes of a file that is read whole, and takes as much memory."""

LARGEST_DIRECTORY = 4 * 2**20
"""Bytes of a zip archive's list of contents: about 50,000 tensors."""

TENSORFLOW = "PyTorch cannot read it: convert it with tf2onnx, and go on with the .onnx."
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


def what_it_is(start: bytes, suffix: str = "", end: bytes = b"") -> str | None:
    """What a file is that begins (and ends) like this, and what to do with it; None for a pickle, an archive, the unknown."""
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
    if end.endswith(_TABLE) or suffix.startswith(".data-0") or text.startswith(b"model_checkpoint_path:"):
        return f"a part of a checkpoint of TensorFlow. {TENSORFLOW}"
    if text.startswith(b"{") and b'"weight_map"' in text:
        return "the list of a checkpoint that is in several files. Load the files that it names, one by one."
    if text.startswith(b"{"):
        return "a text in JSON, perhaps the card of a checkpoint. Give the path of the .pth."
    return None


_TABLE = b"\x57\xfb\x80\x8b\x24\x75\x47\xdb"
"""How a table of LevelDB ends, in which TensorFlow keeps names and places of the weights."""

_MAGIC = [
    (b"\x89HDF\r\n", 0, "an HDF5 file, as Keras writes it. PyTorch cannot read it: convert it with Keras's own tools."),
    (b"ET12", 4, "a program of ExecuTorch (.pte), made for a phone. Give the checkpoint that it was made from."),
    (b"\x93NUMPY", 0, "a NumPy array. Use numpy.load(path, allow_pickle=False)."),
    (b"GGUF", 0, "a GGUF file, for llama.cpp. PyTorch cannot read it."),
    (b"ORTM", 4, "a model in ONNX Runtime's own format (.ort). Give the .onnx file that it was made from."),
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


def what_is_in(names: list[str]) -> str | None:
    """What a zip archive with these names in it is, and what to do with it; None for a checkpoint and the unknown."""
    ends = {name.rpartition("/")[2] for name in names}
    if "constants.pkl" in ends:
        return "TorchScript: code and weights in one. Use torch.jit.load(path)."
    if ends & {"archive_format", "serialized_exported_program.json"}:
        return "an exported program (torch.export). Use torch.export.load(path)."
    if "model.weights.h5" in ends:
        return "a Keras model. PyTorch cannot read it: convert it with Keras's own tools."
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
