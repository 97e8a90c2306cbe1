import onnx
import pytest
import torch

from helpers import coreml, coreml_runtime
from helpers.model import AlexNet
from helpers.onnx_coreml import convert
from helpers.onnx_export import export_onnx
from helpers.quiet import quiet
from helpers.training import evaluate

CLASSES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
CALL = {
    "image_input_names": ["image"],
    "mode": "classifier",
    "class_labels": CLASSES,
    "preprocessing_args": {"image_scale": 1 / 255},
}


@pytest.fixture(scope="module")
def model(sharp_model):
    return sharp_model


@pytest.fixture(scope="module", params=[True, False], ids=["dynamo", "torchscript"])
def onnx_file(model, request, tmp_path_factory):
    path = tmp_path_factory.mktemp("onnx") / "alexnet.onnx"
    export_onnx(model, path, classes=CLASSES, dynamo=request.param)
    return path


@pytest.mark.parametrize(
    ("target", "ending", "precision", "limit"),
    [
        ("11.2", ".mlmodel", "float32", 1e-4),
        ("13", ".mlmodel", "float32", 1e-4),
        ("15", ".mlpackage", "float32", 1e-4),
        ("17", ".mlpackage", "float32", 1e-4),
        ("15", ".mlpackage", "float16", 0.02),
    ],
)
def test_the_saved_file_computes_what_pytorch_computes(
    model, onnx_file, drawings, tmp_path, target, ending, precision, limit
):
    converted = convert(onnx_file, minimum_ios_deployment_target=target, compute_precision=precision, **CALL)
    path = coreml.save(coreml.set_metadata(converted, description="a test"), tmp_path / f"a{ending}")
    images = drawings.test_images[:100]
    expected = evaluate(model, images, drawings.test_labels[:100]).probs
    found = coreml_runtime.load(path).probs(images)
    assert expected.max() > 0.5
    assert (found - expected).abs().max() < limit

    said = coreml.describe(path)
    assert said["inputs"] == {"image": "image, RGB, 32×32"}
    assert set(said["outputs"]) == {"classLabel", "classLabelProbs"}
    assert said["labels"] == CLASSES
    assert said["scale"] == pytest.approx(1 / 255)
    assert float(said["iOS"]) <= max(13, float(target))


@pytest.mark.parametrize(("target", "ending"), [("13", ".mlmodel"), ("15", ".mlpackage")])
@pytest.mark.parametrize("is_bgr", [False, True])
def test_scale_bias_and_colour_order_are_those_of_the_old_package(
    model, onnx_file, drawings, tmp_path, target, ending, is_bgr
):
    """Network input = pixel · scale + the bias of that colour; for BGR the network sees blue first."""
    biases = {"red_bias": -0.3, "green_bias": 0.1, "blue_bias": 0.4}
    pixels = {"is_bgr": is_bgr, "image_scale": 1 / 200, **biases}
    converted = convert(
        onnx_file, minimum_ios_deployment_target=target, **CALL | {"preprocessing_args": pixels}
    )
    path = coreml.save(converted, tmp_path / f"a{ending}")
    images = drawings.test_images[:20]
    seen = images.float() / 200 + torch.tensor(list(biases.values())).view(3, 1, 1)
    with torch.no_grad():
        expected = model(seen.flip(1) if is_bgr else seen).softmax(1)
    assert (coreml_runtime.load(path).probs(images) - expected).abs().max() < 1e-4


def test_the_chapters_own_call_still_works_and_leaves_the_pixels_as_they_are(onnx_file, tmp_path):
    converted = convert(
        model=str(onnx_file),
        minimum_ios_deployment_target="13",
        image_input_names=["image"],
        mode="classifier",
        predicted_feature_name="classLabel",
        class_labels=CLASSES,
    )
    said = coreml.describe(coreml.save(converted, tmp_path / "chapter.mlmodel"))
    assert (said["format"], said["iOS"]) == ("neural network", "13")
    assert said["scale"] == 1.0


def test_one_list_of_labels_serves_twice_and_stays_as_it_was(onnx_file):
    labels = list(CLASSES)
    for target in ("13", "15", "13"):
        convert(onnx_file, minimum_ios_deployment_target=target, **CALL | {"class_labels": labels})
    assert labels == CLASSES


def test_labels_may_come_from_a_file(onnx_file, tmp_path):
    (tmp_path / "labels.txt").write_text("\n".join(CLASSES) + "\n")
    converted = convert(onnx_file, **CALL | {"class_labels": tmp_path / "labels.txt"})
    assert coreml.describe(coreml.save(converted, tmp_path / "a.mlmodel"))["labels"] == CLASSES


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"class_labels": CLASSES[:7]}, "7 class labels for 10 outputs"),
        ({"class_labels": ["cat"] * 10}, "'cat' stands twice"),
        ({"class_labels": None}, "needs class_labels"),
        ({"image_input_names": ["picture"]}, "'picture', and the model's inputs are image"),
        ({"image_input_names": "image"}, "list of names"),
        ({"mode": "guess"}, "mode='guess'"),
        ({"preprocessing_args": {"scale": 2}}, "'scale'. It may have is_bgr"),
        ({"minimum_ios_deployment_target": "9"}, "'9' is not known. Use one of 11.2"),
        ({"compute_precision": "int4"}, "'int4'"),
    ],
)
def test_an_argument_that_does_not_fit_is_named(onnx_file, change, message):
    with pytest.raises(ValueError, match=message):
        convert(onnx_file, **CALL | change)


def test_logits_are_not_taken_for_probabilities(onnx_file):
    proto = onnx.load(onnx_file)
    softmax = proto.graph.node.pop()
    proto.graph.node[-1].output[0] = softmax.output[0]
    with pytest.raises(ValueError, match="ends in Gemm, so its output is not probabilities"):
        convert(proto, **CALL)


def test_a_model_exported_in_training_mode_is_refused(model, tmp_path):
    training = torch.onnx.TrainingMode.TRAINING
    names = {"input_names": ["image"], "output_names": ["classLabelProbs"]}
    network = torch.nn.Sequential(AlexNet(width=0.25), torch.nn.Softmax(1)).train()
    example = (torch.rand(1, 3, 32, 32),)
    with quiet():
        torch.onnx.export(network, example, tmp_path / "a.onnx", dynamo=False, training=training, **names)
    with pytest.raises(ValueError, match="exported in training mode"):
        convert(tmp_path / "a.onnx", **CALL)


def test_a_missing_and_a_damaged_file_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no .*gone\.onnx"):
        convert(tmp_path / "gone.onnx", **CALL)
    (tmp_path / "bad.onnx").write_bytes(b"\xff not onnx")
    with pytest.raises(ValueError, match=r"bad\.onnx is no ONNX file"):
        convert(tmp_path / "bad.onnx", **CALL)


def test_an_older_file_is_replaced_and_a_wrong_ending_refused(onnx_file, tmp_path):
    converted = convert(onnx_file, minimum_ios_deployment_target="15", **CALL)
    path = tmp_path / "a.mlpackage"
    coreml.save(converted, path)
    (path / "left-over.txt").write_text("from before")
    coreml.save(converted, path)
    assert not (path / "left-over.txt").exists()
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.mlpackage"]
    with pytest.raises(ValueError, match=r"must end in \.mlpackage"):
        coreml.save(converted, tmp_path / "a.mlmodel")


def test_a_file_that_is_no_model_is_named(tmp_path):
    (tmp_path / "bad.mlmodel").write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"bad\.mlmodel is no Core ML model"):
        coreml.describe(tmp_path / "bad.mlmodel")
    with pytest.raises(FileNotFoundError, match=r"gone\.mlmodel"):
        coreml.describe(tmp_path / "gone.mlmodel")
