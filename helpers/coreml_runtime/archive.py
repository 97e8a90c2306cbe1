"""Opens the files of a Core ML model that a stranger may have written.

Nothing here trusts the file: every size is compared with what is really there
before memory is taken for it, and no path leads out of the package.
"""

import contextlib
import copy
import json
import math
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import numpy as np

from helpers.plumbing import files
from helpers.plumbing.errors import first_line
from helpers.plumbing.paths import shorten
from helpers.plumbing.quiet import coremltools

MAX_SPECIFICATION_BYTES = 2**31 - 1
"""Protocol buffers cannot be larger than this, so a larger file is no model."""

MAX_WEIGHT_BYTES = 2 * 2**30
"""Decoded weights of one model, as float32. VGG-16, large for a phone, takes 0.5 GiB."""

CONVERT_AGAIN = "The file is damaged or incomplete: copy or convert it again."
ON_A_MAC = "Run this model on a Mac with load(path, engine='coreml'), or convert it to what is covered."
"""The next step for a valid file that the runtime does not compute."""
UNFIT = (
    "Convert the model again; if the error stays, this use of the operator is not covered: "
    "run it on a Mac with load(path, engine='coreml')."
)
"""The next step where damage and a use that is not covered look the same."""

# MILBlob's storage format: a 64-byte record (magic number, data type, size, offset) per blob.
_BLOB_RECORD = struct.Struct("<IIQQ")
_BLOB_MAGIC = 0xDEADBEEF

# What is refused on purpose, by how its name begins (the layers' names and the operators'), and why.
_REASONS = {
    "custom": "its code is in an app, not in the file",
    "random categoricalDistribution": "its results are random",
    "loop while_loop branch cond": "loops and branches are not computed",
    "gru simpleRecurrent rnn": "recurrent layers are not computed, but for the long short-term memory",
    "read_state write_state coreml_update_state slice_update": "a model that keeps state is not computed",
    "make_list list_": "lists are not computed",
    "quantize dequantize conv_quantized": "it computes in 8-bit integers",
    "nonMaximumSuppression non_maximum_suppression NonMaximumSuppression": "it finds boxes, not classes",
    "whereNonZero non_zero": "the shape of its result depends on the input's values",
    "reshapeDynamic rangeDynamic sliceDynamic sliceBySize broadcastToDynamic": "its shape is an input",
    "cropResize crop_resize": "it cuts out boxes, which classifiers do not",
    "visionFeaturePrint": "Apple's network is in the system, not in the file",
}


def reason(kind: str) -> str:
    """Why an operator or a layer is not computed here."""
    for names, why in _REASONS.items():
        if kind.startswith(tuple(names.split())):
            return why
    return "no model of pictures that was met needed it"


class NotCovered(ValueError):
    """Valid, and not computed here. ``Archive.refuse`` adds the file, the operator and the next step."""


class Unfit(ValueError):
    """Inputs or parameters that do not fit an operator. ``Archive.refuse`` adds the file and the operator."""


class Archive:
    """One model on disk: the specification and the folder that its weights lie in.

    Args:
        path: an ``.mlmodel`` file or an ``.mlpackage`` folder.

    Attributes:
        specification: the parsed ``Model`` message.

    Raises:
        FileNotFoundError: there is nothing at ``path``.
        ValueError: it is no Core ML model, it is cut short, or it points out of its package.
    """

    def __init__(self, path: str | os.PathLike):
        self.path = Path(path)
        self.label = shorten(self.path)
        self.where = ""
        self._weight_bytes = [0]  # shared with its parts
        self._weight_files: dict[str, Path] = {}
        try:
            there = self.path.exists()
        except (OSError, ValueError):  # a name that no file can have
            there = False
        if not there:
            raise FileNotFoundError(f"There is no Core ML model at {self.label}. Convert one first.")
        self._root = self.path.resolve() if self.path.is_dir() else None
        self.specification = self._parse(self._specification_file())

    def error(self, cause: str, next_step: str = CONVERT_AGAIN) -> ValueError:
        """A ``ValueError`` that names the file, the cause and the next step."""
        # What the file calls its parts may be long, or no text at all.
        cause = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in cause[:1000])
        return ValueError(f"{self.label}: {self.where}{cause.rstrip('. ')}. {next_step}")

    def part(self, specification, where: str) -> "Archive":
        """A model inside this one: the same files, and errors that begin with ``where``."""
        part = copy.copy(self)
        part.specification, part.where = specification, where
        return part

    def refuse(self, where: str, error: Exception) -> ValueError:
        """What went wrong while an operator was read or computed, as a documented error.

        Args:
            where: the operator, with its name in the file.
            error: a ``NotCovered``; or what torch or Python said about inputs that do not fit.
        """
        if isinstance(error, NotCovered):
            return self.error(f"{where} is not covered: {error}", ON_A_MAC)
        # torch says what does not fit; Python's own words are about our source, not about the file.
        cause = "its inputs or parameters are not of the kind that it takes"
        if isinstance(error, Unfit) or type(error) is RuntimeError or "Dimension" in str(error):
            cause = first_line(error)
        return self.error(f"{where} cannot be computed: {cause}", UNFIT)

    @contextlib.contextmanager
    def reading(self, where: str) -> Iterator[None]:
        """Whatever goes wrong in this block is a documented error that names the file."""
        try:
            yield
        except (ImportError, MemoryError):
            raise  # no fault of the file
        except Exception as error:
            if isinstance(error, ValueError) and str(error).startswith(f"{self.label}: "):
                raise
            raise self.refuse(where, error) from error

    def take(self, count: int, itemsize: float, what: str) -> None:
        """Ask for memory for ``count`` weights before it is taken.

        Raises:
            ValueError: the weights of the model would be larger than ``MAX_WEIGHT_BYTES``.
        """
        self._weight_bytes[0] += math.ceil(count * itemsize)
        if self._weight_bytes[0] > MAX_WEIGHT_BYTES:
            raise self.error(
                f"with '{what}' its weights would take {self._weight_bytes[0] / 2**30:,.1f} GiB",
                f"The limit is {MAX_WEIGHT_BYTES / 2**30:.0f} GiB, more than an app on a phone "
                "could hold: do not trust this file.",
            )

    def _specification_file(self) -> Path:
        """The file with the specification: the path itself, or what the package's manifest names."""
        if self._root is None:
            return self.path
        if self.path.suffix == ".mlmodelc" or self._inside("coremldata.bin").is_file():
            raise self.error(
                "it is a compiled model, which is not covered",
                "Open the .mlmodel or .mlpackage that it was compiled from.",
            )
        manifest = self._inside("Manifest.json")
        if not manifest.is_file():  # a pipe would wait forever
            raise self.error(
                "it is a folder and its Manifest.json is missing or is no file",
                "Give the whole .mlpackage, which is a folder with Manifest.json and Data.",
            )
        if manifest.stat().st_size > 2**20:
            raise self.error("Manifest.json is larger than 1 MiB")
        try:
            content = json.loads(manifest.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            self._refuse_others(manifest)
            raise self.error(f"Manifest.json cannot be read ({first_line(error)})") from error
        try:
            item = content["itemInfoEntries"][content["rootModelIdentifier"]]["path"]
        except (LookupError, TypeError) as error:
            raise self.error("Manifest.json does not say where the model is") from error
        return self._inside(f"Data/{item}")

    def _inside(self, relative: str) -> Path:
        """A path in the package, symbolic links followed, that does not leave it."""
        if self._root is None:
            raise self.error(f"it names a second file, '{relative[:200]}', but it is no package")
        try:
            path = (self._root / relative).resolve()
            path.is_file()  # asks the system, which knows what a name may be
        except (OSError, ValueError, RuntimeError) as error:
            raise self.error(
                f"it names an impossible path, {relative[:200]!r} ({first_line(error)})"
            ) from error
        if not path.is_relative_to(self._root):
            raise self.error(
                f"it points out of the package, to {relative[:200]!r}", "Do not trust this file."
            )
        return path

    def _parse(self, file: Path):
        """The ``Model`` message in a file."""
        coremltools()
        from coremltools.proto import Model_pb2
        from google.protobuf.message import DecodeError

        if not file.is_file():
            raise self.error(f"the model's specification, {file.name}, is missing or is no file")
        specification = Model_pb2.Model()
        try:
            self._refuse_others(file)
            if file.stat().st_size > MAX_SPECIFICATION_BYTES:
                raise self.error(f"{file.name} is larger than 2 GiB, which no Core ML model is")
            specification.ParseFromString(file.read_bytes())
        except OSError as error:
            raise self.error(f"{file.name} cannot be read ({first_line(error)})") from error
        except (DecodeError, RecursionError) as error:
            raise self.error(f"it is not a Core ML model, or it is cut short ({error})") from error
        if specification.WhichOneof("Type") is None:
            raise self.error("it is not a Core ML model: no model type is in it")
        self._specification_folder = file.parent
        return specification

    def _refuse_others(self, file):
        """Name a file that is plainly something else than a model or its weights."""
        kind = files.foreign(file, "Core ML")
        if kind:
            what, _, next_step = kind.partition(". ")
            raise self.error(f"{file.name} is {what}", next_step)

    def read_blob(self, file_name: str, offset: int, size: int) -> bytearray:
        """The bytes of one weight.

        Args:
            file_name: as the specification writes it, e.g. ``@model_path/weights/weight.bin``.
            offset: where the blob's record starts.
            size: how many bytes the weight's declared shape and type need.

        Raises:
            ValueError: the file is missing or cut short, or holds another number of bytes there.
        """
        relative = file_name.removeprefix("@model_path/")
        if relative not in self._weight_files:
            if self._root is None:
                raise self.error(f"its weights are in a second file, '{relative}', but it is no package")
            folder = self._specification_folder.resolve().relative_to(self._root)
            self._weight_files[relative] = self._inside((folder / relative).as_posix())
        path = self._weight_files[relative]
        if not path.is_file():
            raise self.error(f"the weights file {relative} is missing")
        try:
            with path.open("rb") as stream:
                return self._blob(path, stream, relative, offset, size)
        except OSError as error:
            raise self.error(f"{relative} cannot be read ({first_line(error)})") from error

    def _blob(self, path, stream, relative, offset, size) -> bytearray:
        """The bytes of one weight from the open file."""
        length = path.stat().st_size
        record = b""
        if offset + 64 <= length:
            stream.seek(offset)
            record = stream.read(_BLOB_RECORD.size)
        magic, _, stored, start = _BLOB_RECORD.unpack(record.ljust(_BLOB_RECORD.size, b"\0"))
        if magic != _BLOB_MAGIC:
            self._refuse_others(path)
            if not record:
                raise self.error(
                    f"{relative} is cut short: it has {length:,} bytes, a weight is at {offset:,}"
                )
            raise self.error(f"{relative} holds no weight at byte {offset:,}")
        if stored != size:
            raise self.error(
                f"{relative} holds {stored:,} bytes at byte {offset:,}, the declared shape needs {size:,}"
            )
        if start + size > length:
            raise self.error(
                f"{relative} is cut short: it has {length:,} bytes, a weight ends at {start + size:,}"
            )
        stream.seek(start)
        content = bytearray(size)
        stream.readinto(content)
        return content


def unpack_bits(
    packed: np.ndarray, bits: int, count: int, first: Literal["little", "big"] = "little"
) -> np.ndarray:
    """Numbers of 1 to 8 bits that follow each other without gaps.

    Args:
        packed: uint8.
        bits: width of one number.
        count: how many numbers there are.
        first: which bit of a byte, and of a number, comes first: the lowest ("little", ML programs) or
            the highest ("big", neural networks).

    Returns:
        uint8, ``count`` numbers from 0 to ``2**bits - 1``.
    """
    ones = np.unpackbits(packed, count=bits * count, bitorder=first).reshape(count, bits)
    values = (1 << np.arange(bits)).astype(np.uint8)
    return ones @ (values if first == "little" else values[::-1])
