"""The two formats of ``torch.save``: where the pickle lies in a file, and where the numbers of the tensors.

An error that is no ``Refusal`` means that the file is damaged.
"""

import io
import struct
import zipfile

import torch

from helpers.plumbing.files import LARGEST_DIRECTORY, Refusal, something_packed, what_is_in
from helpers.torch_files.building import Builder, Content

LARGEST_PROGRAM = 64 * 2**20
"""Bytes of the pickle without the tensors' numbers."""

MAGIC = 0x1950A86A20F9469CFC6C
"""What the first pickle of a file in the older format holds."""


class _Format:
    """What both have: a machine for the pickle, and the storages that it has asked for."""

    def __init__(self, file, size: int, classes):
        self.file, self.left = file, size
        self.storages: dict[str, torch.Tensor] = {}
        self.builder = Builder(self.storage, classes)

    def storage(self, key: str, dtype, count: int) -> torch.Tensor:
        """The numbers of one storage, in one row; the pickle has to say the same of it every time."""
        if key not in self.storages:
            content = self.bytes_of(key, count * dtype.itemsize)
            self.storages[key] = (
                torch.frombuffer(content, dtype=dtype) if content else torch.empty(0, dtype=dtype)
            )
        storage = self.storages[key]
        if (storage.dtype, storage.numel()) != (dtype, count):
            raise ValueError("a storage that is another the second time")
        return storage

    def bytes_of(self, key: str, size: int) -> bytearray:
        """The bytes of one storage."""
        raise NotImplementedError


class Archive(_Format):
    """The zip format of today: the pickle, and one stored record for the numbers of each storage."""

    def content(self) -> Content:
        """What the file holds, if nothing in it is read twice: then all of it takes no more memory than its length."""
        self.zip = zipfile.ZipFile(self.file)
        infos = self.zip.infolist()
        self.records = {info.filename: info for info in infos}
        self.root = _root([info.filename for info in infos])
        if any(info.compress_type != zipfile.ZIP_STORED for info in infos):
            raise Refusal(
                "is compressed inside, as torch.save never does. It is damaged, or another program packed "
                "it again: copy it again, or unpack it and save it with torch.save."
            )
        if len(self.records) < len(infos) or sum(info.file_size for info in infos) > self.left:
            raise ValueError("records that lie in each other")
        order = self.records.get(f"{self.root}byteorder")
        if order and bytes(self._record(order)) != b"little":
            raise _other_byte_order()
        program = self.records[f"{self.root}data.pkl"]
        if program.file_size > LARGEST_PROGRAM:
            raise self.builder.too_long()
        return self.builder.content(self.builder.run(io.BytesIO(self._record(program))))

    def bytes_of(self, key: str, size: int) -> bytearray:
        record = self.records[f"{self.root}data/{key}"]
        if record.file_size != size:
            raise ValueError("a storage of another length than its record")
        return self._record(record)

    def _record(self, info) -> bytearray:
        """A record's bytes; zipfile compares their checksum."""
        content = bytearray(info.file_size)
        with self.zip.open(info) as record:
            _fill(record, content)
        return content


def _root(names: list[str]) -> str:
    """The folder of the checkpoint in a zip archive.

    Raises:
        Refusal: it is another archive.
    """
    programs = [name for name in names if name == "data.pkl" or name.endswith("/data.pkl")]
    kind = what_is_in(names)
    if not kind and len(programs) != 1:
        kind = something_packed(names)
    if kind:
        raise Refusal(f"is {kind}")
    return programs[0].removesuffix("data.pkl")


class Stream(_Format):
    """The format before PyTorch 1.6: five pickles, then the numbers of all storages."""

    def content(self) -> Content:
        head, run = self._head(), self.builder.run
        if head.getvalue()[:1] != b"\x80":
            raise ValueError("no pickle")
        self.room: dict[str, bytearray] = {}
        if run(head) != MAGIC:
            raise Refusal(
                "is a pickle that torch.save did not write. A pickle is a program: it is not read here. "
                "Whoever made it can save its tensors with torch.save."
            )
        _, system = run(head), run(head)
        if not system.get("little_endian", True):
            raise _other_byte_order()
        value, keys = run(head), run(head)
        self.file.seek(head.tell())
        if sorted(map(self.builder.key, keys)) != sorted(self.storages):
            raise ValueError("other storages than the pickle has")
        for key in keys:
            (count,) = struct.unpack("<q", self.file.read(8))
            if count != self.storages[key].numel():
                raise ValueError("a storage of another length than the pickle says")
            _fill(self.file, self.room[key])
        return self.builder.content(value)

    def _head(self) -> io.BytesIO:
        """The beginning of the file, as long as the pickles may be."""
        head = io.BytesIO()
        while len(part := self.file.read(min(LARGEST_DIRECTORY, LARGEST_PROGRAM - head.tell()))):
            head.write(part)
        head.seek(0)
        return head

    def bytes_of(self, key: str, size: int) -> bytearray:
        """Room for the numbers, which come after the pickle."""
        self.left -= size
        if size < 0 or self.left < 0:
            raise ValueError("a storage that is longer than the file")
        self.room[key] = bytearray(size)
        return self.room[key]


def _fill(file, buffer) -> None:
    """Read as many bytes as the buffer takes."""
    view, at = memoryview(buffer), 0
    while at < len(view):
        part = file.read(min(2**20, len(view) - at))
        if not part:
            raise ValueError("the file ends too early")
        view[at : at + len(part)] = part
        at += len(part)


def _other_byte_order() -> Refusal:
    return Refusal(
        "was written on a machine that has the bytes of a number in the other order, which is not covered. "
        "Load it with torch.load(path, weights_only=True) and save it again."
    )
