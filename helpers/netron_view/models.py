"""Read a model file for drawing: its graph, its names and its shapes, without its weights.

Nothing in a file is run, and nothing that a file says of itself is believed: a sum of what
is kept and a count of what is visited end the reading of one that explodes (``limits``). The
weights of a protobuf file are left out before it is parsed (``wire``), and a ``.pth``, a pickle
that may hold any code, is followed on paper only (``pickles``), as Netron does.
"""

import dataclasses
import os
from pathlib import Path

from helpers.netron_view import limits
from helpers.netron_view.layers import Graph, Layer, Model
from helpers.netron_view.limits import MOST_LAYERS, plain
from helpers.netron_view.read_coreml import read_coreml
from helpers.netron_view.read_onnx import read_onnx
from helpers.netron_view.read_pytorch import read_pytorch
from helpers.plumbing import files
from helpers.plumbing.files import Refusal
from helpers.plumbing.paths import shorten

READERS = {
    ".onnx": ("ONNX", read_onnx),
    ".mlmodel": ("Core ML", read_coreml),
    ".mlpackage": ("Core ML", read_coreml),
    ".pt2": ("an archive of torch.export.save", read_pytorch),
    ".pth": ("an archive of torch.save", read_pytorch),
    ".pt": ("an archive of torch.save", read_pytorch),
}
"""For each ending what the file should be, and who reads it. What an error of a reader says continues after the file's name."""


class ModelFileError(ValueError):
    """The file is not a model that can be drawn: the message says why and what to do."""


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
    if not os.path.exists(path):  # unlike Path.exists, it has an answer for every text
        raise FileNotFoundError(
            f"There is no model at {shorten(path)}. Run the notebook that makes it, or check the path."
        )
    try:
        what, reader = _reader(path)
        model = reader(path)
        return dataclasses.replace(model, graph=_readable(model.graph))
    except ImportError:
        raise
    except Refusal as error:
        large = isinstance(error, limits.TooLargeError)
        advice = ". Use serve(), which does not embed the model." if large else ""
        raise ModelFileError(f"{shorten(path)} {error}{advice}") from error
    except (OSError, MemoryError) as error:
        reason = getattr(error, "strerror", None) or "there is not enough memory"
        raise ModelFileError(
            f"{shorten(path)} cannot be read: {reason}. Mend that, and try again."
        ) from error
    except Exception as error:  # zipfile, zlib, json and protobuf fail in many ways at what a stranger wrote
        raise ModelFileError(
            f"{shorten(path)} cannot be read as {what}: {plain(str(error) or type(error).__name__)}. The file may be cut off "
            "or of another format. Make it again, or download it again and compare its size."
        ) from error


def _reader(path: Path):
    """What a path should be by its name, and who reads it.

    Raises:
        Refusal: it is nothing that is read here.
    """
    suffix = path.suffix.lower()
    if not (path.is_file() or path.is_dir()):
        raise Refusal("is no file, but a pipe or a device. Give the path of a model.")
    if path.is_dir() and suffix != ".mlpackage":
        raise Refusal(f"is a folder, and not an .mlpackage. Give the path of a model: {', '.join(READERS)}.")
    if suffix not in READERS:
        raise Refusal(
            f"does not end in one of {', '.join(READERS)}. For other formats use serve(), which opens the whole of Netron."
        )
    what, reader = READERS[suffix]
    if path.is_file():
        ends = files.ends_of(path)
        packed = what not in ("ONNX", "Core ML")  # in a ZIP archive, which its reader opens
        kind = files.what_it_is(*ends) or files.protobuf(ends[0]) if packed else files.foreign(path, what)
        if kind:
            raise Refusal(f"is {kind}")
    return what, reader


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
