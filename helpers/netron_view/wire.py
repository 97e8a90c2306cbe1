"""Take the weights out of a protobuf file before it is parsed.

A parsed message takes up to a hundred times its size on disk, so a file from a stranger is walked
through first, field by field: what is left out is never copied, and what stays is counted. The format
is described at https://protobuf.dev/programming-guides/encoding.
"""

from collections.abc import Iterator
from functools import cache
from typing import Any, NamedTuple

from helpers.netron_view import limits

VARINT, FIXED64, LENGTH, FIXED32 = 0, 1, 2, 5
WIDTHS = {FIXED64: 8, FIXED32: 4}


class Field(NamedTuple):
    """Where one field lies: from ``start`` to ``end``, its content (without tag and length) from ``content``."""

    number: int
    kind: int
    start: int
    content: int
    end: int


def strip(data: bytes, descriptor: Any, rules: dict, allowance: limits.Allowance) -> bytes:
    """A protobuf message without what the rules leave out.

    Args:
        data: The serialised message.
        descriptor: Of its type.
        rules: For the full name of a type a function that gets ``data`` and the list of the
            ``Field``s of such a message, and yields those that stay; bytes in place of a
            field are written as they are.
        allowance: What may be kept and visited.

    Raises:
        ValueError: ``data`` is no such message.
        TooLargeError: it holds more than the allowance.
    """
    return _strip(data, descriptor, rules, allowance, 0, len(data), 0)


def _strip(data, descriptor, rules, allowance, start, end, depth) -> bytes:
    if depth > limits.MOST_DEPTH:
        raise ValueError(f"more than {limits.MOST_DEPTH} messages in each other")
    allowance.visit(2)  # a message takes as long as three fields
    inside = _messages_of(descriptor)
    rule = rules.get(descriptor.full_name)
    found = fields(data, start, end, allowance)
    parts = []
    for field in rule(data, list(found)) if rule else found:
        if isinstance(field, bytes):
            part = field
        elif field.kind == LENGTH and field.number in inside:
            child = inside[field.number]
            content = _strip(data, child, rules, allowance, field.content, field.end, depth + 1)
            parts.append(written(field.number, content))
            continue  # its parts have been counted
        else:
            part = data[field.start : field.end]
        allowance.keep(field.end - field.start if isinstance(field, Field) else len(field))
        parts.append(part)
    return b"".join(parts)


@cache
def _messages_of(descriptor) -> dict:
    """The types of the messages in a message of this type, by the numbers of their fields."""
    return {field.number: field.message_type for field in descriptor.fields if field.message_type}


def fields(data: bytes, at: int, end: int, allowance: limits.Allowance) -> Iterator[Field]:
    """The ``Field``s of the message in ``data[at:end]``, one after the other."""
    while at < end:
        allowance.visit()
        start = at
        key, content = varint(data, at, end)
        number, kind = key >> 3, key & 7
        if kind == VARINT:
            _, at = varint(data, content, end)
        elif kind == LENGTH:
            size, content = varint(data, content, end)
            at = content + size
        elif kind in WIDTHS:
            at = content + WIDTHS[kind]
        else:
            raise ValueError(f"a field of the unknown kind {kind}")
        if number == 0 or at > end:
            raise ValueError("a field that is cut off" if number else "a field without a number")
        yield Field(number, kind, start, content, at)


def varint(data: bytes, at: int, end: int) -> tuple[int, int]:
    """The number at ``at``, not negative, and where it ends."""
    number = 0
    for shift in range(0, 70, 7):
        if at >= end:
            raise ValueError("a number that is cut off")
        byte = data[at]
        at += 1
        number |= (byte & 127) << shift
        if byte < 128:
            return number, at
    raise ValueError("a number of more than ten bytes")


def numbers(data: bytes, field: Field, most: int) -> list[int]:
    """The first whole numbers of a repeated field, packed or not."""
    found: list[int] = []
    at = field.content
    while at < field.end and len(found) < most:
        number, at = varint(data, at, field.end)
        found.append(number)
    return found


def written(number: int, content: bytes) -> bytes:
    """A field of bytes, text or a message."""
    return _varint(number << 3 | LENGTH) + _varint(len(content)) + content


def _varint(number: int) -> bytes:
    result = bytearray()
    while number > 127:
        result.append(number & 127 | 128)
        number >>= 7
    result.append(number)
    return bytes(result)
