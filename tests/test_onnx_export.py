import json
import sys

import onnx
import pytest
import torch
from torch import nn

from helpers.evaluation import Evaluation, compare, evaluate
from helpers.model import AlexNet
from helpers.onnx_export import INPUT, OUTPUT, export_onnx, run_onnx
from helpers.plumbing import exportable
from helpers.plumbing.quiet import quiet

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
        (lambda images: images.double() / 255, "torch.uint8 from 0 to 255"),
        (lambda images: images[:, :, :16, :16], "takes N×3×32×32, and these images are N×3×16×16"),
        (lambda images: images[:, :1], "takes N×3×32×32, and these images are N×1×32×32"),
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


# -- networks that do not fit, and files of others ----------------------------------------------------


class Two(torch.nn.Module):
    def forward(self, images):
        return images.flatten(1)[:, :10], images


class OneByOne(torch.nn.Module):
    """Takes one picture at a time only."""

    def forward(self, images):
        return images.view(1, -1)[:, :10] - 0.5


def linear(*more):
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3072, 10), *more).eval()


class Expit(torch.nn.Module):
    def forward(self, images):
        return torch.special.expit(images.flatten(1))[:, :10]


SIGMOID = "already returns probabilities.*without its sigmoid"
NETWORKS = {
    "a sigmoid": (linear(torch.nn.Sigmoid()), SIGMOID),
    "a hard sigmoid": (linear(torch.nn.Hardsigmoid()), SIGMOID),
    "a sigmoid of another name": (Expit().eval(), SIGMOID),
    "probabilities": (linear(torch.nn.Softmax(1)), "already returns probabilities.*without its softmax"),
    "a state_dict": (linear().state_dict(), r"a state_dict.*load_weights"),
    "a class": (AlexNet, "the class AlexNet"),
    "a file": ("alexnet.pth", "the name of a file"),
    "grey": (torch.nn.Conv2d(1, 2, 3).eval(), r"does not take 1×3×32×32 float.*\[1, 3, 32, 32\]"),
    "float16": (linear().half(), r"does not take.*model\.float\(\)"),
    "two outputs": (Two().eval(), "returns a tuple"),
    "seven classes": (AlexNet(classes=7, width=0.1).eval(), r"1×7 for 1 images, and 1×10"),
    "no classes": (torch.nn.Flatten().eval(), "1×3072"),
}


@pytest.mark.parametrize("dynamo", [True, False])
@pytest.mark.parametrize("kind", NETWORKS)
def test_a_network_that_does_not_fit_is_named_and_nothing_is_written(tmp_path, kind, dynamo):
    network, message = NETWORKS[kind]
    with pytest.raises(ValueError, match=message):
        export_onnx(network, tmp_path / "a.onnx", classes=CLASSES, dynamo=dynamo)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"classes": set(CLASSES)}, "classes is a set"),
        ({"classes": {"a": 0, "b": 0}}, "classes is a dict that does not say"),
        ({"classes": torch.rand(10)}, "which is float and no text"),
        ({"classes": CLASSES[:9]}, "1×9 logits"),
        ({"classes": ["a"] * 10}, "'a' stands twice"),
        ({"classes": CLASSES, "batch": 0}, "batch=0"),
        ({"classes": CLASSES, "batch": 1.5}, "batch=1.5"),
    ],
)
def test_classes_without_an_order_and_other_slips_are_named(model, tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        export_onnx(model, tmp_path / "a.onnx", dynamo=False, **options)


class Unknown(torch.nn.Module):
    """Uses an operator that ONNX does not have."""

    def forward(self, images):
        return torch.linalg.eigvals(images[:, 0])[:, :10].real


@pytest.mark.parametrize("dynamo", [True, False])
def test_what_the_exporter_cannot_write_is_said(tmp_path, dynamo):
    with pytest.raises(ValueError, match=f"cannot export this Unknown with dynamo={dynamo}"):
        export_onnx(Unknown().eval(), tmp_path / "a.onnx", classes=CLASSES, dynamo=dynamo)
    assert list(tmp_path.iterdir()) == []


def test_a_network_that_takes_one_picture_at_a_time_is_exported(drawings, tmp_path):
    export_onnx(OneByOne().eval(), tmp_path / "a.onnx", classes=CLASSES, dynamo=False)
    run_onnx(tmp_path / "a.onnx", drawings.test_images[:3], drawings.test_labels[:3])


def test_a_fixed_batch_need_not_divide_the_images(model, drawings, tmp_path):
    export_onnx(model, tmp_path / "a.onnx", classes=CLASSES, dynamo=False, batch=4)
    images, labels = drawings.test_images[:10], drawings.test_labels[:10]
    agreement = compare(evaluate(model, images, labels), run_onnx(tmp_path / "a.onnx", images, labels))
    assert (agreement.images, agreement.same_labels) == (10, 10)
    assert agreement.max_abs_diff < 1e-5


def test_a_file_of_somebody_else_is_named_by_its_input(drawings, tmp_path):
    images, labels = drawings.test_images[:3], drawings.test_labels[:3]
    for names, shape, message in (
        (["in"], (1, 3, 8, 8), r"takes 'in' of 1×3×8×8, tensor\(float\)"),
        (["image"], (1, 3, 8, 8), r"'image' of 1×3×8×8"),
        (["pixels"], (1, 3, 32, 32), r"'pixels'"),
    ):
        network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * shape[2] ** 2, 10)).eval()
        options = {"input_names": names, "output_names": [OUTPUT], "dynamo": False}
        with quiet():
            torch.onnx.export(network, (torch.rand(shape),), str(tmp_path / "a.onnx"), **options)
        with pytest.raises(ValueError, match=message):
            run_onnx(tmp_path / "a.onnx", images, labels)


def test_weights_in_a_file_that_is_missing_are_named(model, drawings, tmp_path):
    path = tmp_path / "a.onnx"
    export_onnx(model, path, classes=CLASSES, dynamo=False)
    onnx.save(onnx.load(path), path, save_as_external_data=True, location="a.onnx.data", size_threshold=0)
    images, labels = drawings.test_images[:3], drawings.test_labels[:3]
    run_onnx(path, images, labels)
    (tmp_path / "a.onnx.data").unlink()
    with pytest.raises(FileNotFoundError, match=r"keeps its weights in 'a\.onnx\.data', which is missing"):
        run_onnx(path, images, labels)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"version https://git-lfs.github.com/spec/v1", "Git LFS pointer"),
        (b"<!DOCTYPE html>", "a web page"),
        (b"PK\x03\x04", "a ZIP archive that cannot be opened"),
        (b"\xff no ONNX", "no ONNX file, or is damaged"),
        (b"", "it is empty"),
        (None, "a folder, not a file"),
    ],
)
def test_another_file_is_called_what_it_is(drawings, tmp_path, content, message):
    path = tmp_path / "a.onnx"
    path.mkdir() if content is None else path.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        run_onnx(path, drawings.test_images[:3], drawings.test_labels[:3])


def test_adaptive_maxima_of_even_windows_are_plain_ones_while_a_network_is_written_down():
    images = torch.rand(2, 3, 8, 12)
    for size in (4, (2, None), 1):
        pooling = nn.AdaptiveMaxPool2d(size)
        with quiet(), exportable.EvenPooling():
            traced = torch.jit.trace(pooling, images)
        assert torch.equal(traced(images), pooling(images))
        assert "aten::max_pool2d" in str(traced.inlined_graph)
        assert "adaptive" not in str(traced.inlined_graph)
