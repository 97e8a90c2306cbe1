"""A file that is plainly something else than a model is called what it is, by every reader."""

import io
import pickle
import zipfile

import onnx
import pytest
import torch

from helpers import checkpoints, coreml, coreml_runtime, netron_view, onnx_coreml
from helpers.plumbing import files
from helpers.plumbing.labels import in_order
from helpers.plumbing.quiet import coremltools


def packed(**contents) -> bytes:
    """A zip archive."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, content in contents.items():
            archive.writestr(name.replace("__", "/"), content)
    return out.getvalue()


KINDS = {
    "empty": (b"", "is empty. Copy, download or make it again"),
    "a page": (b"\n <!doctype html><html>", "web page.*the download went wrong"),
    "a pointer": (b"version https://git-lfs.github.com/spec/v1\noid", "Git LFS pointer.*git lfs pull"),
    "an answer": (b'{"message": "Not Found"}', "a text in JSON"),
    "a short answer": (b"404: Not Found\n", "a text, not the file itself, and begins with '404: Not Found'"),
    "a text": ("Zugriff über den Browser: ".encode() * 19 + b"\xc3", "a text, not the file itself"),
    "a PNG": (b"\x89PNG\r\n\x1a\n" + bytes(40), r"a picture .PNG.*path of the model"),
    "a photo": (b"\0\0\0\x18ftypheic" + bytes(40), r"a picture or a film .HEIC"),
    "an archive": (packed(a__readme="x", a__code="y"), r"a ZIP archive.*holds a/readme, a/code: unpack"),
    "a package": (packed(M__Manifest="{}"), r"a ZIP archive.*holds M/Manifest: unpack"),
}
READERS = {
    ".pth": (checkpoints.read_state, netron_view.outline),
    ".onnx": (onnx_coreml.convert, netron_view.outline),
    ".mlmodel": (coreml_runtime.load, coreml.open_model, netron_view.outline),
}


@pytest.mark.parametrize("suffix", READERS)
@pytest.mark.parametrize("kind", KINDS)
def test_every_reader_says_what_a_file_is_and_never_that_it_is_damaged(tmp_path, suffix, kind):
    content, message = KINDS[kind]
    path = tmp_path / f"model{suffix}"
    path.write_bytes(content)
    for read in READERS[suffix]:
        with pytest.raises(ValueError, match=message) as caught:
            read(path)
        assert "damaged" not in str(caught.value) and "cut off" not in str(caught.value)


@pytest.mark.parametrize("suffix", [".onnx", ".mlmodel"])
def test_a_checkpoint_of_pytorch_is_to_be_exported_first(tmp_path, suffix):
    path = tmp_path / f"model{suffix}"
    for content in (packed(a__data__pkl="x").replace(b"data/pkl", b"data.pkl"), pickle.dumps([1], 4)):
        path.write_bytes(content)
        for read in READERS[suffix]:
            with pytest.raises(ValueError, match=r"PyTorch.*export the network"):
                read(path)


def test_the_messages_of_onnx_and_of_core_ml_are_told_apart(tmp_path):
    path = tmp_path / "model.mlmodel"
    onnx.save(onnx.ModelProto(ir_version=8, producer_name="pytorch"), path)
    with pytest.raises(ValueError, match="is an ONNX file"):
        coreml_runtime.load(path)
    with pytest.raises(ValueError, match="is an ONNX file"):
        netron_view.outline(path)
    model = coremltools().proto.Model_pb2.Model(specificationVersion=4)
    model.description.input.add(name="image").type.imageType.width = 32
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ValueError, match="it is a Core ML model"):
        onnx_coreml.convert(path)


def test_a_table_of_contents_that_is_a_web_page_is_named(tmp_path):
    (tmp_path / "a.mlpackage").mkdir()
    (tmp_path / "a.mlpackage" / "Manifest.json").write_text("<html>sign in</html>")
    with pytest.raises(ValueError, match=r"Manifest\.json is a web page"):
        coreml_runtime.load(tmp_path / "a.mlpackage")


@pytest.mark.parametrize("kind", ["a page", "a pointer"])
def test_labels_are_no_web_page_and_no_pointer(tmp_path, kind):
    content, message = KINDS[kind]
    (tmp_path / "labels.txt").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        in_order(tmp_path / "labels.txt")


def test_models_and_weights_are_nothing_else(tmp_path):
    path = tmp_path / "a.pth"
    torch.save({"a": torch.zeros(3)}, path, _use_new_zipfile_serialization=False)
    assert files.what_it_is(*files.ends_of(path)) is None
    path.write_bytes(b"\x80\0\0\0\2\0\0\0" + bytes(48))  # a weight.bin with 128 weights is no pickle
    assert files.foreign(path, "Core ML") is None
