"""Opens an ONNX file, and says what a file is that is none: "damaged" means damaged."""

import zipfile
from pathlib import Path

import onnx
from onnx import external_data_helper

from helpers import torch_files
from helpers.plumbing import paths

_BEGINNINGS = (
    (b"\x80", 0, "a Python pickle: weights or a model of PyTorch. Load it with helpers.checkpoints and export it."),
    (b"ORTM", 4, "a model in ONNX Runtime's own format (.ort). Give the .onnx file that it was made from."),
)  # fmt: skip
"""What ``torch_files.what_it_is`` does not name."""


def read(path: Path) -> onnx.ModelProto:
    """The model in a file, with its weights.

    Raises:
        FileNotFoundError: there is no such file, or the second file with the weights is missing.
        ValueError: it is no ONNX file, or is damaged.
    """
    if not path.exists():
        raise FileNotFoundError(
            f"There is no {paths.shorten(path)}. Run notebook 03, which exports it, first."
        )
    proto = without_weights(path)
    try:
        external_data_helper.load_external_data_for_model(proto, str(path.parent))
    except Exception as error:  # a ValidationError, or what reading gave
        raise ValueError(
            f"{paths.shorten(path)}: its weights in a second file cannot be read ({error}). Copy both files again, or "
            "export with external_data=False."
        ) from error
    return proto


def without_weights(path: Path) -> onnx.ModelProto:
    """The model in a file that exists; weights in a second file are there, and are not read.

    Raises:
        FileNotFoundError, ValueError: as ``read``.
    """
    kind = _foreign(path)
    if kind:
        raise ValueError(f"{paths.shorten(path)} is no ONNX file: it is {kind}")
    try:
        proto = onnx.load(str(path), load_external_data=False)
    except Exception as error:  # protobuf's DecodeError has no common base with the others
        raise ValueError(f"{paths.shorten(path)} is no ONNX file, or is damaged. Export it again.") from error
    check_weights(proto, path.parent, paths.shorten(path))
    return proto


def check_weights(proto: onnx.ModelProto, folder: Path | None, name: str) -> None:
    """Refuse a model whose weights are not there.

    Args:
        folder: where the second file with the weights would be; None for a model that has no folder.
        name: of the model, for the message.

    Raises:
        FileNotFoundError: the second file is missing.
        ValueError: the model was loaded without its weights.
    """
    for tensor in proto.graph.initializer:
        if not external_data_helper.uses_external_data(tensor):
            continue
        if folder is None:
            raise ValueError(
                f"{name} was loaded without its weights ({tensor.name!r} lies in another file). Give the path of the file, "
                "or load it with load_external_data=True."
            )
        second = external_data_helper.ExternalDataInfo(tensor).location
        if not (folder / second).is_file():
            raise FileNotFoundError(
                f"{name} keeps its weights in {second!r:.100}, which is missing. Copy both files into one folder, or export "
                "with external_data=False."
            )


def _foreign(path: Path) -> str | None:
    """What a file is instead, and what to do; None when its first bytes do not say."""
    if not path.is_file():  # a pipe would wait forever
        return "a folder. Give the .onnx file in it." if path.is_dir() else "a pipe or a device."
    with path.open("rb") as stream:
        begin = stream.read(512)
    if not begin:
        return "empty. Copy or export it again."
    if begin.startswith(b"PK\x03\x04"):
        return _archive(path)
    kind = torch_files.what_it_is(begin, path.suffix.lower())
    if kind and "ONNX" not in kind:
        return kind
    return next((what for sign, place, what in _BEGINNINGS if begin[place:].startswith(sign)), None)


def _archive(path: Path) -> str:
    """What is in a ZIP archive."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return "a ZIP archive that cannot be opened. Copy or download it again."
    if any("/code/" in name or name.endswith("/constants.pkl") for name in names):
        return "TorchScript (torch.jit.load opens it). Export the network itself, notebook 03."
    if any(name.endswith("archive_format") for name in names):
        return (
            "a program of torch.export (torch.export.load opens it). Export the network to ONNX, notebook 03."
        )
    if any(name.endswith("data.pkl") for name in names):
        return (
            "a checkpoint of PyTorch. Load it with helpers.checkpoints and export the network, notebook 03."
        )
    return "a ZIP archive. Unpack it first."
