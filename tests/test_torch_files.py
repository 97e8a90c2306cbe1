"""The reader of a stranger's .pth: what it takes, what it calls other files, and what it does with those made to do harm."""

import io
import os
import pickle
import random
import struct
import zipfile

import numpy as np
import pytest
import torch

from helpers import checkpoints, netron_view, torch_files
from helpers.model import AlexNet
from helpers.plumbing import files
from tests import hostile


def stored(path, program: bytes, **records):
    """A zip archive as torch.save makes it, with this pickle in it."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x/data.pkl", program)
        archive.writestr("x/byteorder", "little")
        for name, content in records.items():
            archive.writestr(f"x/data/{name.removeprefix('_')}", content)
    return path


def load_weights(path):
    return checkpoints.load_weights(torch.nn.Linear(2, 2), path)


READERS = (load_weights, checkpoints.load_model, checkpoints.read_state)


def refuse(path, message, readers=READERS):
    """Each of these readers has to say this, in a plain ValueError."""
    for read in readers:
        with pytest.raises(ValueError, match=message) as caught:
            read(path)
        assert type(caught.value) is ValueError
        assert len(str(caught.value)) < 1000


SAVED = {
    "float32": torch.rand(3, 4),
    "float64": torch.rand(3, dtype=torch.float64),
    "bfloat16": torch.rand(3).bfloat16(),
    "float8": torch.rand(4).to(torch.float8_e4m3fn),
    "int64": torch.tensor(3),
    "uint16": torch.arange(4).to(torch.uint16),
    "bool": torch.tensor([True, False]),
    "complex": torch.rand(3, dtype=torch.complex64),
    "channels last": torch.rand(2, 3, 4, 4).to(memory_format=torch.channels_last),
    "permuted": torch.rand(3, 4, 5).permute(2, 0, 1),
    "slice": torch.rand(10, 10)[2:8:2, 1::3],
    "empty": torch.empty(0, 3),
    "parameter": torch.nn.Parameter(torch.rand(2)),
}


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_it_reads_what_torch_load_reads(tmp_path, zipped, protocol):
    others = {"list": [1, -2, 2.5, None, True, "ä", b"ab"], "tuple": (1, (2,)), "set": {"a", 3}, "big": 2**70}
    others |= {"size": torch.Size([2, 3]), "dtype": torch.float16, "device": torch.device("cpu")}
    path = tmp_path / "a.pth"
    torch.save(SAVED | others, path, pickle_protocol=protocol, _use_new_zipfile_serialization=zipped)
    found = checkpoints.read_state(path)
    assert {name: found[name] for name in others} == others
    for name, tensor in SAVED.items():
        assert (found[name].dtype, found[name].shape) == (tensor.dtype, tensor.shape)
        assert found[name].stride() == tensor.stride()
        assert torch.equal(found[name].to(torch.complex128), tensor.to(torch.complex128))


def test_tensors_that_share_their_numbers_still_do(tmp_path):
    whole = torch.arange(6.0)
    torch.save({"whole": whole, "part": whole[2:4], "again": whole}, tmp_path / "a.pth")
    found = checkpoints.read_state(tmp_path / "a.pth")
    found["whole"][2] = 100
    assert found["part"].tolist() == [100, 3]
    assert found["again"][2] == 100


# -- other files, called by their names ---------------------------------------------------------------


def torchscript(path):
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), path)


def program(path):
    torch.export.save(torch.export.export(torch.nn.Linear(2, 2), (torch.rand(1, 2),)), path)


def safetensors(path):
    from safetensors.torch import save_file

    save_file({"weight": torch.rand(2, 2)}, path)


def onnx_file(path):
    import onnx

    graph = onnx.helper.make_graph([], "g", [], [])
    onnx.save(onnx.helper.make_model(graph, producer_name="pytorch"), path)


def packed(**records):
    def write(path):
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in records.items():
                archive.writestr(name.replace("__", "."), content)

    return write


def bytes_of(content: bytes):
    return lambda path: path.write_bytes(content)


def folder_of(name):
    def write(path):
        path.mkdir()
        (path / name).touch()

    return write


def numpy_file(save):
    def write(path):
        with open(path, "wb") as file:
            save(file, np.zeros(3))

    return write


OTHERS = {
    "TorchScript": (torchscript, r"a\.pt is TorchScript.*torch\.jit\.load"),
    "an exported program": (program, r"an exported program.*torch\.export\.load"),
    "safetensors": (safetensors, r"a safetensors file.*load_file"),
    "ONNX": (onnx_file, "an ONNX file"),
    "npy": (numpy_file(np.save), r"a NumPy array.*numpy\.load"),
    "npz": (numpy_file(np.savez), r"NumPy arrays.*numpy\.load"),
    "HDF5": (bytes_of(b"\x89HDF\r\n\x1a\n" + bytes(100)), "HDF5 file, as Keras"),
    "Keras": (packed(config__json="{}", model__weights__h5=""), "a Keras model"),
    "LFS": (
        bytes_of(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 3\n"),
        "Git LFS pointer.*git lfs pull",
    ),
    "HTML": (bytes_of(b"\n<!DOCTYPE html><html>Sign in</html>"), "a web page"),
    "XML": (bytes_of(b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>'), "a server's error"),
    "gzip": (bytes_of(b"\x1f\x8b\x08\x00" + bytes(50)), "compressed with gzip. Unpack it"),
    "tar": (bytes_of(bytes(257) + b"ustar" + bytes(300)), "a tar archive"),
    "a zip of something": (packed(weights__pth="x"), r"a ZIP archive.*holds weights\.pth: unpack"),
    "a card": (bytes_of(b'{"data": "CIFAR-10"}'), "a text in JSON, such as a checkpoint's card"),
    "a pickle": (bytes_of(pickle.dumps([1, 2], 2)), "a pickle that torch.save did not write"),
    "an answer": (
        bytes_of(b"404: Not Found\n"),
        "a text, not the file itself, and begins with '404: Not Found'",
    ),
    "bytes": (bytes_of(b"hello\0\xff"), "damaged or no PyTorch file"),
    "nothing": (bytes_of(b""), r"a\.pt is empty\. Copy, download"),
    "a photo": (bytes_of(b"\0\0\0\x18ftypheic" + bytes(50)), r"a picture or a film .HEIC.*path of the model"),
    "TensorFlow's index": (
        bytes_of(bytes(40) + struct.pack("<Q", 0xDB4775248B80FB57)),
        "checkpoint of TensorFlow.*tf2onnx",
    ),
    "TensorFlow's list": (bytes_of(b'model_checkpoint_path: "model.ckpt-100"\n'), "checkpoint of TensorFlow"),
    "ExecuTorch": (bytes_of(b"\x1c\0\0\0ET12" + bytes(50)), "a program of ExecuTorch"),
    "one of several": (
        bytes_of(b'{"metadata": {}, "weight_map": {"a": "b"}}'),
        "checkpoint that is in several files",
    ),
    "SavedModel": (folder_of("saved_model.pb"), "a folder, not a file: a model of TensorFlow"),
    "a package": (folder_of("Manifest.json"), r"a Core ML package\. Use coreml_runtime"),
    "unpacked": (folder_of("data.pkl"), "a checkpoint that was unpacked"),
    "distributed": (folder_of(".metadata"), "a distributed checkpoint.*dcp_to_torch_save"),
    "a folder": (lambda path: path.mkdir(), "a folder, not a file"),
    "a pipe": (os.mkfifo, "a pipe or a device"),
}


@pytest.mark.filterwarnings("ignore:.*torch.jit")
@pytest.mark.parametrize("kind", OTHERS)
def test_another_file_is_called_by_its_name_with_what_to_do(tmp_path, kind):
    write, message = OTHERS[kind]
    write(tmp_path / "a.pt")
    refuse(tmp_path / "a.pt", message)


def test_a_device_without_an_end_is_not_read():
    refuse("/dev/zero", "a pipe or a device")


def test_a_file_that_is_not_there_is_named(tmp_path):
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    for name in ("gone.pth", "a\0b", "gone/a.pth", "a" * 300, "circle"):
        with pytest.raises(FileNotFoundError, match="There is no file"):
            checkpoints.read_state(tmp_path / name)


def test_a_file_larger_than_the_limit_is_not_read(tmp_path):
    with open(tmp_path / "a.pth", "wb") as file:
        file.truncate(files.LARGEST + 1)  # a hole: it takes no room on the disk
    refuse(tmp_path / "a.pth", r"has 1,000 MB, and more than 1,000 MB are not read")


def test_an_archive_that_is_all_list_of_contents_is_not_read(tmp_path):
    hostile.contents(100_000)(tmp_path / "a.pth")
    refuse(tmp_path / "a.pth", "an archive with a list of contents of 5 MB, which no model needs")
    with pytest.raises(ValueError, match="an archive with a list of contents of 5 MB"):
        netron_view.outline(tmp_path / "a.pth")


# -- files made to do harm ----------------------------------------------------------------------------

LINEAR = b"ctorch.nn.modules.linear\nLinear\n"
REBUILD = b"ctorch._utils\n_rebuild_tensor_v2\n"


def tensor(sizes: bytes, strides: bytes, count=b"K\x01", offset=b"K\x00") -> bytes:
    """A pickle of one tensor on the storage "0"."""
    storage = (
        b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpu"
        + count
        + b"tQ"
    )
    return b"\x80\x02" + REBUILD + b"(" + storage + offset + b"(" + sizes + b"t(" + strides + b"t\x89NtR."


def laughs(last: bytes) -> bytes:
    """A tuple of two, forty deep, then something that goes through all of it: 2⁴⁰ steps."""
    steps = b"".join(b"h%ch%c\x86q%c" % (k, k, k + 1) for k in range(40))
    return b"\x80\x02)q\x00" + steps + last


def often(first: bytes, steps: bytes) -> bytes:
    """One tuple of ninety thousand parts, and steps that take it, sixty thousand times."""
    return (
        b"\x80\x02ccollections\nOrderedDict\nq\x00("
        + first
        + b"N" * 90_000
        + b"tq\x01"
        + steps * 60_000
        + b"."
    )


HOSTILE = {
    "8.6 GB for 365 bytes": (b"\x80\x02" + LINEAR + b"(J\x00\x80\x00\x00J\x00\x00\x01\x00tR.", "was refused"),
    "arguments for a new object": (
        b"\x80\x02" + LINEAR + b"(J\x00\x80\x00\x00J\x00\x00\x01\x00t\x81.",
        "was refused",
    ),
    "many of them": (b"\x80\x02(" + (LINEAR + b"(M\x00\x08M\x00\x08tR") * 2000 + b"t.", "was refused"),
    "a command": (b"\x80\x02cos\nsystem\nX\x04\x00\x00\x00true\x85R.", r"asks for \w+\.system"),
    "a command by INST": (b"\x80\x02(X\x04\x00\x00\x00trueios\nsystem\n.", "asks for INST"),
    "a name of control characters": (b"\x80\x02c\x1b[2J\nx\n.", r"asks for \\x1b\[2J\.x"),
    "a tuple as a key": (laughs(b"}h\x28Ns."), "damaged"),
    "a tuple in a set": (laughs(b"c__builtin__\nset\n]h\x28a\x85R."), "damaged"),
    "a tuple counted": (laughs(b"ccollections\nCounter\n]h\x28N\x86a\x85R."), "damaged"),
    "a tuple as a name": (laughs(b"h\x28X\x01\x00\x00\x00x\x93."), "damaged"),
    "a long call, often": (often(b"", b"h\x00h\x01R"), "more than 300,000 steps"),
    "a long reference, often": (often(b"X\x06\x00\x00\x00module", b"h\x01Q"), "damaged"),
    "a place in the memo": (b"\x80\x02]r\xff\xff\xff\x7f0.", "asks for POP"),
    "a long number": (b"\x80\x02\x8b\xff\xff\xff\x7f1.", "damaged"),
    "a long text": (b"\x80\x02X\xff\xff\xff\x7f1.", "damaged"),
    "one list made into many sets": (
        b"\x80\x02]("
        + b"NNNNNNNNNN" * 10_000
        + b"eq\x00c__builtin__\nset\nq\x01"
        + b"h\x01h\x00\x85R" * 100
        + b".",
        "more than 300,000 steps",
    ),
    "a huge tensor": (tensor(b"\x8a\x06\x00\x00\x00\x00\x00\x01", b"K\x00"), "numbers overlap"),
    "a tensor larger than its storage": (tensor(b"K\x02", b"K\x01"), "damaged"),
    "a place behind the storage": (tensor(b"K\x01", b"K\x01", offset=b"K\x01"), "damaged"),
    "a place before the storage": (tensor(b"K\x01", b"K\x01", offset=b"J\xff\xff\xff\xff"), "damaged"),
    "a negative stride": (tensor(b"K\x01", b"J\xff\xff\xff\xff"), "damaged"),
    "a storage larger than its record": (tensor(b"K\x01", b"K\x01", count=b"J\xff\xff\xff\x7f"), "damaged"),
    "a storage of no numbers": (tensor(b"K\x01", b"K\x01", count=b"J\xff\xff\xff\xff"), "damaged"),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_file_made_to_do_harm_is_refused(tmp_path, kind):
    content, message = HOSTILE[kind]
    refuse(stored(tmp_path / "a.pth", content, _0=struct.pack("f", 1)), message)


def test_a_counter_is_filled_and_does_not_count(tmp_path):
    """Counter.update would hash what is put under a key: here 2⁴⁰ steps."""
    path = stored(tmp_path / "a.pth", laughs(b"ccollections\nCounter\n)RX\x01\x00\x00\x00ah\x28s."))
    assert list(checkpoints.read_state(path)) == ["a"]


def test_a_pickle_of_too_many_steps_is_left(tmp_path):
    path = stored(tmp_path / "a.pth", b"\x80\x02]" + b"Na" * (torch_files.MOST_STEPS // 2) + b".")
    refuse(path, "more than 300,000 steps", READERS[:1])


def test_a_deep_list_is_read_and_is_no_model(tmp_path):
    path = stored(tmp_path / "a.pth", b"\x80\x02" + b"]" * 50_000 + b"a" * 49_999 + b".")
    assert checkpoints.read_state(path)[0][0] is not None
    with pytest.raises(ValueError, match="holds a list, not a model"):
        checkpoints.load_model(path)


def rezipped(change):
    """The archive of a state_dict, each record written as ``change(archive, name, content)`` does."""

    def write(path):
        buffer = io.BytesIO()
        torch.save(torch.nn.Linear(2, 2).state_dict(), buffer)
        source = zipfile.ZipFile(buffer)
        with zipfile.ZipFile(path, "w") as archive:
            for name in source.namelist():
                change(archive, name, source.read(name))

    return write


def bomb(archive, name, content):
    if name.endswith("data/0"):
        content = bytes(50_000_000)
    archive.writestr(name, content, zipfile.ZIP_DEFLATED)


def twice(archive, name, content):
    archive.writestr(name, content)
    if name.endswith("data/0"):
        archive.writestr(name, content)


def overlapping(path):
    """A hundred records that all lie at one place."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x/data.pkl", b"\x80\x02N.")
        archive.writestr("x/data/0", bytes(10_000))
        info = archive.getinfo("x/data/0")
        for number in range(1, 100):
            another = zipfile.ZipInfo(f"x/data/{number}")
            for field in ("header_offset", "file_size", "compress_size", "CRC"):
                setattr(another, field, getattr(info, field))
            archive.filelist.append(another)


ZIPS = {
    "a bomb": (rezipped(bomb), "is compressed inside"),
    "a record twice": (rezipped(twice), "damaged"),
    "overlapping records": (overlapping, "damaged"),
    "a record cut off": (rezipped(lambda a, n, c: a.writestr(n, c[:3] if n.endswith("data/0") else c)), "damaged"),
    "a record missing": (rezipped(lambda a, n, c: n.endswith("data/0") or a.writestr(n, c)), "damaged"),
    "two pickles": (rezipped(lambda a, n, c: (a.writestr(n, c), n.endswith("pkl") and a.writestr("y/data.pkl", c))), "ZIP archive"),
    "another order of bytes": (
        rezipped(lambda a, n, c: a.writestr(n, b"big" if n.endswith("byteorder") else c)),
        "in the other order, which is not covered",
    ),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("kind", ZIPS)
def test_an_archive_that_lies_is_refused(tmp_path, kind):
    write, message = ZIPS[kind]
    write(tmp_path / "a.pth")
    refuse(tmp_path / "a.pth", message)


def test_damage_anywhere_gives_no_other_error(tmp_path):
    """A few hundred files with bytes changed, cut or doubled: each is read, or refused in a ValueError."""
    chance, path = random.Random(0), tmp_path / "a.pth"
    network = AlexNet(width=0.03)
    whole = []
    for thing in (network, {"net": network.state_dict(), "rows": [{"epoch": 1}], "lr": (0.1, None)}):
        for zipped in (True, False):
            buffer = io.BytesIO()
            torch.save(thing, buffer, _use_new_zipfile_serialization=zipped)
            whole.append(buffer.getvalue())
    outcomes = set()
    for _ in range(150):
        content = bytearray(chance.choice(whole))
        start, end = sorted(chance.choices(range(len(content)), k=2))
        if chance.random() < 0.2:
            content[start:end] = content[start:end] * chance.choice([0, 2])
        for _ in range(chance.choice([1, 2, 5])):
            content[chance.randrange(min(len(content), 4000))] ^= 1 << chance.randrange(8)
        path.write_bytes(content)
        for read in (*READERS, lambda path: checkpoints.load_weights(network, path)):
            try:
                read(path)
                outcomes.add("read")
            except ValueError as error:
                assert type(error) is ValueError
                outcomes.add("refused")
    assert outcomes == {"read", "refused"}
