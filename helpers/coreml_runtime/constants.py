"""Types and constants of ML programs, as the file stores them."""

import functools
import math
from typing import Any

import numpy as np

from .archive import ON_A_MAC, Archive, Unfit, unpack_bits

# NumPy types; whole bytes only.
_TYPES = {
    "BOOL": np.bool_,
    "FLOAT16": np.float16,
    "FLOAT32": np.float32,
    "INT8": np.int8,
    "INT16": np.int16,
    "INT32": np.int32,
    "INT64": np.int64,
    "UINT8": np.uint8,
    "UINT16": np.uint16,
    "UINT32": np.uint32,
}

# Types of less than a byte: bits, and whether they have a sign.
_SMALL_TYPES = {
    "INT4": (4, True),
    "UINT1": (1, False),
    "UINT2": (2, False),
    "UINT3": (3, False),
    "UINT4": (4, False),
    "UINT6": (6, False),
}


def kind(dtype: str) -> str | None:
    """What values of a declared type are: "float", "integer" or "bool"."""
    if dtype.startswith("FLOAT"):
        return "float"
    return {"BOOL": "bool", "": None}.get(dtype, "integer")


def declared(value_type: Any) -> tuple[str, tuple | None]:
    """The type's name and the shape that the file declares; an open dimension is None.

    Raises:
        ValueError: the type is unknown.
    """
    if value_type.WhichOneof("type") != "tensorType":
        return "", None
    tensor = value_type.tensorType
    shape = tuple(
        dimension.constant.size if dimension.WhichOneof("dimension") == "constant" else None
        for dimension in tensor.dimensions
    )
    return _type_name(tensor.dataType), shape


@functools.cache
def _type_name(number: int) -> str:
    from coremltools.proto import MIL_pb2

    if number not in MIL_pb2.DataType.values():
        raise Unfit(f"the data type {number} is unknown")
    return MIL_pb2.DataType.Name(number)


def stored(tensor: Any) -> Any:
    """The values that stand in the specification itself: numbers, texts, or bytes."""
    kind = tensor.WhichOneof("value")
    return getattr(tensor, kind).values if kind else []


def read(archive: Archive, value: Any, what: str) -> Any:
    """A constant of the file: NumPy array, or str, or a list of labels.

    Raises:
        ValueError: there are more or fewer values than its declared shape needs.
    """
    if value.type.WhichOneof("type") == "listType":
        items = value.immediateValue.list.values
        archive.take(len(items), 64, what)
        values = [read(archive, item, what) for item in items]
        return [item.item() if isinstance(item, np.ndarray) else item for item in values]
    dtype, shape = declared(value.type)
    if shape is None or None in shape:
        raise archive.error(f"the constant '{what}' has no fixed shape")
    count = math.prod(shape)
    if dtype == "STRING":
        return _strings(archive, value, shape, count, what)
    if dtype in _SMALL_TYPES:
        size = math.ceil(count * _SMALL_TYPES[dtype][0] / 8)
    elif dtype in _TYPES:
        size = count * np.dtype(_TYPES[dtype]).itemsize
    else:
        raise archive.error(
            f"the constant '{what}' has the type {dtype or 'unknown'}, which is not covered", ON_A_MAC
        )
    # Weights are computed with as float32, so that is what they take.
    archive.take(count, 4, what)
    if value.WhichOneof("value") == "blobFileValue":
        blob = value.blobFileValue
        return _from_bytes(archive.read_blob(blob.fileName, blob.offset, size), dtype, shape)
    tensor = value.immediateValue.tensor
    form, values = tensor.WhichOneof("value"), stored(tensor)
    if len(values) != (size if form == "bytes" else count):
        raise archive.error(
            f"the constant '{what}' has {len(values)} values, its declared shape {shape} needs {count}"
        )
    if form == "bytes":
        return _from_bytes(values, dtype, shape)
    if form == "strings" or dtype in _SMALL_TYPES:
        raise archive.error(f"the constant '{what}' is stored as {form}, declared as {dtype}")
    return np.array(values).astype(_TYPES[dtype]).reshape(shape)


def _strings(archive, value, shape, count, what):
    values = value.immediateValue.tensor.strings.values
    if len(values) != count:
        raise archive.error(f"the constant '{what}' has {len(values)} strings instead of {count}")
    return list(values) if shape else str(values[0])


def _from_bytes(content, dtype, shape):
    """An array from its bytes; numbers of less than a byte are unpacked."""
    if dtype not in _SMALL_TYPES:
        return np.frombuffer(content, _TYPES[dtype]).reshape(shape)
    bits, signed = _SMALL_TYPES[dtype]
    numbers = unpack_bits(np.frombuffer(content, np.uint8), bits, math.prod(shape)).reshape(shape)
    if not signed:
        return numbers
    return (numbers.astype(np.int8) ^ (1 << (bits - 1))) - np.int8(1 << (bits - 1))
