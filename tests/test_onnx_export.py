import json
import sys

import onnx
import pytest
import torch

from helpers.onnx_export import INPUT, OUTPUT, compare, export_onnx, run_onnx
from helpers.training import Evaluation, evaluate

CLASSES = list("abcdefghij")


@pytest.fixture(scope="module")
def model(sharp_model):
    return sharp_model


@pytest.mark.parametrize("dynamo", [True, False])
@pytest.mark.parametrize("batch", [1, None])
def test_the_file_computes_what_the_model_computes(model, drawings, tmp_path, dynamo, batch):
    path = tmp_path / "a.onnx"
    proto = export_onnx(model, path, classes=CLASSES, dynamo=dynamo, batch=batch)
    images, labels = drawings.test_images[:50], drawings.test_labels[:50]
    expected, found = evaluate(model, images, labels), run_onnx(path, images, labels)
    agreement = compare(expected, found)
    assert expected.probs.max() > 0.5  # near-uniform answers would prove nothing
    assert agreement.max_abs_diff < 1e-5
    assert agreement.same_labels == agreement.images == 50

    (image,), (probs,) = proto.graph.input, proto.graph.output
    assert (image.name, probs.name) == (INPUT, OUTPUT) == ("image", "classLabelProbs")
    assert proto.graph.node[-1].op_type == "Softmax"
    first = image.type.tensor_type.shape.dim[0]
    assert (first.dim_value == 1) if batch else first.dim_param
    assert [file.name for file in tmp_path.iterdir()] == ["a.onnx"]  # no side file


def test_the_file_says_what_it_is(model, tmp_path):
    export_onnx(model, tmp_path / "a.onnx", classes=CLASSES, dynamo=False, metadata={"licence": "MIT"})
    texts = {entry.key: entry.value for entry in onnx.load(tmp_path / "a.onnx").metadata_props}
    assert json.loads(texts["classes"]) == CLASSES
    assert texts["licence"] == "MIT"
    assert "0 to 1" in texts["input"]


def test_a_model_in_training_mode_is_refused_and_the_old_file_stays(model, tmp_path):
    path = tmp_path / "a.onnx"
    path.write_text("old")
    try:
        with pytest.raises(ValueError, match=r"training mode.*model\.eval\(\)"):
            export_onnx(model.train(), path, classes=CLASSES)
    finally:
        model.eval()
    assert path.read_text() == "old"


def test_a_folder_that_does_not_exist_is_named(model, tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere does not exist"):
        export_onnx(model, tmp_path / "nowhere" / "a.onnx", classes=CLASSES)


def test_an_exporter_that_is_not_installed_is_named_with_the_way_out(model, tmp_path, monkeypatch):
    monkeypatch.setattr("sys.path", [])
    monkeypatch.setattr("sys.meta_path", [])
    monkeypatch.delitem(sys.modules, "onnxscript", raising=False)
    with pytest.raises(ModuleNotFoundError, match=r"onnxscript, which is not installed.*dynamo=False"):
        export_onnx(model, tmp_path / "a.onnx", classes=CLASSES)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda images: images.float() / 255, "torch.uint8 from 0 to 255"),
        (lambda images: images[:, :, :16, :16], "N×3×32×32"),
        (lambda images: images.permute(0, 2, 3, 1), "channels last"),
    ],
)
def test_images_of_the_wrong_kind_are_named(model, drawings, tmp_path, change, message):
    export_onnx(model, tmp_path / "a.onnx", classes=CLASSES, dynamo=False)
    with pytest.raises(ValueError, match=message):
        run_onnx(tmp_path / "a.onnx", change(drawings.test_images[:4]), drawings.test_labels[:4])


def test_a_file_that_cannot_be_run_is_named(drawings, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no .*gone\.onnx"):
        run_onnx(tmp_path / "gone.onnx", drawings.test_images, drawings.test_labels)
    (tmp_path / "bad.onnx").write_bytes(b"not a model")
    with pytest.raises(ValueError, match=r"bad\.onnx is no ONNX file"):
        run_onnx(tmp_path / "bad.onnx", drawings.test_images, drawings.test_labels)


def test_exporting_changes_nothing_in_the_model(model, tmp_path):
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    export_onnx(model, tmp_path / "a.onnx", classes=CLASSES, dynamo=False)
    assert not model.training
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


def test_a_difference_is_seen():
    labels = torch.tensor([0, 1])
    one = Evaluation(torch.tensor([[0.9, 0.1], [0.4, 0.6]]), labels)
    other = Evaluation(torch.tensor([[0.8, 0.2], [0.7, 0.3]]), labels)
    agreement = compare(one, other)
    assert agreement.max_abs_diff == pytest.approx(0.3)
    assert (agreement.same_labels, agreement.images) == (1, 2)
    with pytest.raises(ValueError, match="not the same images"):
        compare(one, Evaluation(one.probs[:1], labels[:1]))
