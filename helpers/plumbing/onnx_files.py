"""Opens an ONNX file, and says what a file is that is none: "damaged" means damaged."""

from pathlib import Path

import onnx
from onnx import external_data_helper

from helpers.plumbing import files, paths

LARGEST = 2**31
"""Bytes of a protobuf message, which an ONNX file is."""


def read(path: Path) -> onnx.ModelProto:
    """The model in a file, with its weights.

    Raises:
        FileNotFoundError: there is no such file, or the second file with the weights is missing.
        ValueError: it is no ONNX file, or is damaged.
    """
    proto = without_weights(path, "Run notebook 03, which exports it, first.")
    try:
        external_data_helper.load_external_data_for_model(proto, str(path.parent))
    except Exception as error:  # a ValidationError, or what reading gave
        raise ValueError(
            f"{paths.shorten(path)}: its weights in a second file cannot be read ({error}). Copy both files again, or "
            "export with external_data=False."
        ) from error
    return proto


def without_weights(path: Path, advice: str) -> onnx.ModelProto:
    """The model in a file; weights in a second file are there, and are not read.

    Args:
        path: of the file.
        advice: what to do when there is none.

    Raises:
        FileNotFoundError, ValueError: as ``read``.
    """
    files.check_file(path, advice, LARGEST)
    kind = files.foreign(path, "ONNX")
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
