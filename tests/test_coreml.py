"""Core ML models made from PyTorch, described, made smaller, and shown on a card."""

import html.parser
import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.nn import functional

from helpers import coreml, coreml_runtime, onnx_coreml
from helpers.coreml import __main__ as command
from helpers.evaluation import evaluate
from helpers.model import AlexNet
from helpers.onnx_export import export_onnx
from helpers.plumbing.quiet import quiet

CLASSES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
TEXTS = {"description": "tells things apart", "author": "a class", "licence": "MIT", "version": "1.2"}


def suffix(target: str) -> str:
    return ".mlpackage" if int(target) >= 15 else ".mlmodel"


def differences(path, other, images):
    return (coreml_runtime.load(path).probs(images) - coreml_runtime.load(other).probs(images)).abs().max()


# From PyTorch


@pytest.mark.parametrize(
    ("exporter", "target", "precision", "limit"),
    [
        ("trace", "13", "float32", 1e-4),
        ("export", "13", "float32", 1e-4),
        ("trace", "15", "float32", 1e-4),
        ("export", "18", "float32", 1e-4),
        ("export", "16", "float16", 0.02),
    ],
)
def test_the_file_computes_what_pytorch_computes(
    sharp_model, drawings, tmp_path, exporter, target, precision, limit
):
    converted = coreml.from_torch(
        sharp_model,
        class_labels=CLASSES,
        exporter=exporter,
        minimum_ios_deployment_target=target,
        compute_precision=precision,
    )
    path = coreml.save(converted, tmp_path / f"a{suffix(target)}")
    images, labels = drawings.test_images[:100], drawings.test_labels[:100]
    expected = evaluate(sharp_model, images, labels).probs
    assert expected.max() > 0.5
    assert (coreml_runtime.load(path).probs(images) - expected).abs().max() < limit
    said = coreml.describe(path)
    assert said["inputs"] == {"image": "image, RGB, 32×32"}
    assert set(said["outputs"]) == {"classLabel", "classLabelProbs"}
    assert said["labels"] == CLASSES
    assert said["scale"] == pytest.approx(1 / 255, rel=1e-3)
    assert said["stored"][0] == precision
    assert said["iOS"] == target


@pytest.fixture(scope="module")
def with_two_outputs():
    class Two(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = torch.nn.Conv2d(1, 4, 3)

        def forward(self, image):
            seen = self.conv(image)
            return seen.mean((2, 3)), seen * 2

    torch.manual_seed(0)
    return Two().eval()


@pytest.mark.parametrize("target", ["13", "17"])
@pytest.mark.parametrize("scale", [1 / 255, None])
def test_a_model_that_is_no_classifier(with_two_outputs, tmp_path, target, scale):
    converted = coreml.from_torch(
        with_two_outputs,
        shape=(1, 1, 8, 6),
        image_scale=scale,
        output_names=("mean", "twice"),
        minimum_ios_deployment_target=target,
        input_name="grey",
    )
    coreml.set_metadata(converted, **TEXTS, outputs={"mean": "four means"}, labels=list("abcd"))
    path = coreml.save(converted, tmp_path / f"a{suffix(target)}")
    pixels = torch.randint(0, 256, (1, 1, 8, 6))
    given = pixels[0, 0].to(torch.uint8).numpy() if scale else pixels.float()
    answer = coreml_runtime.load(path).predict({"grey": given})
    with torch.no_grad():
        mean, twice = with_two_outputs(pixels * (scale or 1.0))
    assert np.allclose(answer["mean"], mean, atol=1e-3)
    assert np.allclose(answer["twice"], twice, atol=1e-3)
    said = coreml.describe(path)
    assert said["inputs"] == {"grey": "image, greyscale, 6×8" if scale else "array, 1×1×8×6"}
    assert said["texts"]["mean"] == "four means"
    assert all(said["texts"].values())
    assert json.loads(said["metadata"]["classes"]) == ["a", "b", "c", "d"]
    assert "labels" not in said


class TakesABranch(torch.nn.Module):
    """Bright pictures go one way, dark ones another. A trace knows only the way it went."""

    def __init__(self):
        super().__init__()
        self.last = torch.nn.Linear(3, 2)

    def forward(self, image):
        return self.last(image.mean((2, 3)) * (9 if image.mean() > 0.5 else -9))


def test_a_trace_that_lost_a_branch_is_caught():
    model = TakesABranch().eval()
    options = {"class_labels": ["day", "night"], "exporter": "trace"}
    with quiet(), pytest.raises(coreml.ConversionError, match=r"where PyTorch has .* Try the other exporter"):
        coreml.from_torch(model, **options)
    with quiet():
        assert coreml.from_torch(model, **options, verify=False) is not None


class Shuffles(torch.nn.Module):
    """Reads its input's sizes, as many networks do."""

    def forward(self, image):
        n, c, h, w = image.size()
        return image.view(n, c, h // 2, 2, w).transpose(2, 3).contiguous().view(n, c * h, w)


@pytest.mark.parametrize("exporter", ["trace", "export"])
def test_a_model_that_reads_sizes_converts(exporter):
    coreml.from_torch(Shuffles().eval(), shape=(1, 3, 4, 4), exporter=exporter)


class Svd(torch.nn.Module):
    def forward(self, image):
        return torch.linalg.svdvals(image)


def test_an_operator_that_core_ml_does_not_have_is_an_error_of_ours():
    with pytest.raises(
        coreml.ConversionError, match=r"cannot convert this Svd with exporter='export' for iOS 15"
    ):
        coreml.from_torch(Svd().eval(), shape=(1, 3, 4, 4))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"class_labels": CLASSES[:7]}, "7 class labels for an output of 10"),
        ({"class_labels": ["cat"] * 10}, "'cat' stands twice"),
        ({"shape": (3, 32, 32)}, r"shape=\(3, 32, 32\): an app"),
        ({"exporter": "onnx"}, "'onnx' is not known. Use one of export, trace"),
        ({"minimum_ios_deployment_target": "9"}, "'9' is not known. Use one of 11.2"),
        ({"compute_precision": "int8"}, "use 'float32' or 'float16'"),
        (
            {"compute_precision": "float16", "minimum_ios_deployment_target": "13"},
            r"iOS 13 gets a neural network",
        ),
    ],
)
def test_an_argument_that_does_not_fit_is_named(sharp_model, change, message):
    with pytest.raises(ValueError, match=message):
        coreml.from_torch(sharp_model, **{"class_labels": CLASSES} | change)


class Pools(torch.nn.Module):
    def __init__(self, pool):
        super().__init__()
        self.pool = pool

    def forward(self, image):
        return self.pool(image)


@pytest.mark.parametrize("target", ["13", "15"])
@pytest.mark.parametrize(
    "pool",
    [
        torch.nn.AvgPool2d(2, stride=3, ceil_mode=True),
        torch.nn.AvgPool2d(3, stride=2, padding=1, ceil_mode=True),
        torch.nn.MaxPool2d(2, stride=3, ceil_mode=True),
        lambda image: functional.max_pool2d(image, 2),
        lambda image: functional.avg_pool2d(image, 2),
    ],
    ids=["average", "average, padded", "largest", "largest, no stride", "average, no stride"],
)
def test_pooling_is_written_without_core_mls_own_ceil_mode(pool, target):
    """Core ML divides a window over the edge by the whole kernel (apple/coremltools #2772)."""
    for exporter in ("export", "trace"):
        model = coreml.from_torch(
            Pools(pool).eval(),
            shape=(1, 1, 7, 7),
            exporter=exporter,
            image_scale=None,
            minimum_ios_deployment_target=target,
        )
        for operation in operations(model):
            if operation.type in ("avg_pool", "max_pool"):
                assert constant(model, operation.inputs["ceil_mode"].arguments[0].name) is False


@pytest.mark.parametrize("target", ["13", "15"])
@pytest.mark.parametrize("exporter", ["export", "trace"])
@pytest.mark.parametrize(
    "layer",
    [
        torch.nn.ConvTranspose2d(3, 4, 3, stride=2, padding=1, output_padding=1),
        torch.nn.ConvTranspose2d(3, 6, 3, stride=3, output_padding=(2, 1), groups=3, bias=False),
    ],
    ids=["less than the padding", "more than the padding"],
)
def test_a_transposed_convolution_with_output_padding_converts(layer, exporter, target):
    coreml.from_torch(
        Pools(layer).eval(), shape=(1, 3, 5, 6), exporter=exporter, minimum_ios_deployment_target=target
    )


class Attends(torch.nn.Module):
    """A transformer's layer with a class token, as a vision transformer has it, and shifted rows, as Swin has."""

    def __init__(self):
        super().__init__()
        self.token = torch.nn.Parameter(torch.ones(1, 1, 8))
        self.layer = torch.nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.last = torch.nn.Linear(8, 3)

    def forward(self, image):
        image = torch.roll(image, (1, -1), (2, 3))
        tokens = image.flatten(2).permute(0, 2, 1).reshape(image.shape[0], -1, 8)
        tokens = torch.cat([self.token.expand(len(tokens), -1, -1), tokens], dim=1)
        return self.last(self.layer(tokens)[:, 0])


@pytest.mark.parametrize("target", ["13", "15"])
@pytest.mark.parametrize("exporter", ["export", "trace"])
def test_a_transformer_converts(exporter, target):
    torch.manual_seed(0)
    fast = torch.backends.mha.get_fastpath_enabled()
    coreml.from_torch(
        Attends().eval(), shape=(1, 1, 8, 8), exporter=exporter, minimum_ios_deployment_target=target
    )
    assert torch.backends.mha.get_fastpath_enabled() is fast


def operations(model):
    spec = model.get_spec()
    for function in spec.mlProgram.functions.values():
        yield from function.block_specializations[function.opset].operations


def constant(model, name):
    (made,) = [operation for operation in operations(model) if operation.outputs[0].name == name]
    return made.attributes["val"].immediateValue.tensor.bools.values[0]


class Answers(torch.nn.Module):
    """A network whose last step is a function of the test's choice."""

    def __init__(self, function):
        super().__init__()
        self.function, self.last = function, torch.nn.Linear(48, 3)

    def forward(self, image):
        return self.function(self.last(image.flatten(1)))


def answers(function):
    torch.manual_seed(0)
    return Answers(function).eval()


SMALL = {"shape": (1, 3, 4, 4), "exporter": "trace"}


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (
            lambda x: functional.dropout(x, 0.5),
            r"F\.dropout in Answers drops values.*training=self\.training",
        ),
        (
            lambda x: functional.batch_norm(x, None, None, training=True),
            "batch norm Answers uses the statistics",
        ),
        (lambda x: x + torch.rand(3), "another answer each time"),
        (torch.sigmoid, "of a sigmoid.*without its sigmoid"),
        (lambda x: x.softmax(1).reshape(1, 3), "of a softmax.*without its softmax"),
        (lambda x: x[..., None], "the model returns 1×3×1"),
        (lambda x: {"logits": x}, "returns a dict"),
        (lambda x: (x, x), "returns 1×3 and 1×3"),
        (lambda x: x * float("nan"), "NaN for every example"),
        (lambda x: x * 0, "the same for every example"),
    ],
)
def test_a_network_that_cannot_be_an_honest_classifier_is_named(function, message):
    with pytest.raises(ValueError, match=message):
        coreml.from_torch(answers(function), class_labels=["a", "b", "c"], **SMALL)


def test_a_batch_norm_without_statistics_is_named_with_its_place():
    network = torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4, track_running_stats=False)
    )
    with pytest.raises(ValueError, match=r"batch norm Sequential\.1 .*track_running_stats=True"):
        coreml.from_torch(network.eval(), shape=(1, 3, 8, 8))


@pytest.mark.parametrize(
    ("what", "message"),
    [
        (AlexNet(width=0.05).state_dict(), "a state_dict.*load_weights"),
        ("alexnet.pth", "the name of a file, 'alexnet.pth'.*load_weights"),
        (AlexNet, "the class AlexNet, not a network of it"),
    ],
)
def test_what_is_no_network_is_named(what, message):
    with pytest.raises(ValueError, match=message):
        coreml.from_torch(what)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"input_name": "a.b"}, "'a.b' is no name for Core ML.*'a_b'"),
        ({"input_name": "图像"}, "'图像' is no name"),
        ({"output_names": ["1st"]}, "'1st' is no name"),
        ({"output_names": "output"}, r"write \['output'\]"),
        ({"output_names": ["a", "b"]}, "returns 1 outputs, and output_names has 2"),
        ({"output_names": ["image"]}, "'image' stands for two"),
        (
            {"class_labels": ["a", "b", "c"], "input_name": "classLabel_probs"},
            "'classLabel_probs' stands for two",
        ),
        ({"image_scale": 0}, "image_scale=0"),
        ({"image_scale": [1, 2, 3]}, "number like 1/255.*normalise_inside"),
        ({"shape": (1, 3, 5, 5)}, "does not take 1×3×5×5"),
    ],
)
def test_a_name_or_a_number_that_cannot_work_is_named(change, message):
    with pytest.raises(ValueError, match=message):
        coreml.from_torch(answers(torch.relu), **SMALL | change)


def test_the_proof_sees_the_shape_and_negative_numbers(monkeypatch):
    """A file that answers 3 for 1×3, or the absolute value for the value, is caught."""
    from helpers.coreml import examples

    real = examples.answers
    for wrong, message in (
        (lambda v: v[0], "its shape is 3 instead of 1×3"),
        (np.abs, "where PyTorch has -"),
    ):
        monkeypatch.setattr(
            examples,
            "answers",
            lambda *args, wrong=wrong: [{k: wrong(v) for k, v in one.items()} for one in real(*args)],
        )
        with pytest.raises(coreml.ConversionError, match=message):
            coreml.from_torch(answers(lambda x: x), image_scale=None, **SMALL)


def test_training_mode_and_a_second_softmax_are_refused(sharp_model):
    with pytest.raises(ValueError, match=r"training mode.*model.eval\(\)"):
        coreml.from_torch(AlexNet(width=0.25).train(), class_labels=CLASSES)
    with pytest.raises(ValueError, match="already returns probabilities"):
        coreml.from_torch(torch.nn.Sequential(sharp_model, torch.nn.Softmax(1)).eval(), class_labels=CLASSES)


# Metadata and compression


@pytest.fixture(scope="module")
def files(sharp_model, tmp_path_factory):
    """The same network in both formats, described."""
    folder = tmp_path_factory.mktemp("files")
    made = {}
    for target in ("13", "15"):
        converted = coreml.from_torch(
            sharp_model, class_labels=CLASSES, exporter="trace", minimum_ios_deployment_target=target
        )
        coreml.set_metadata(converted, **TEXTS, more={"threshold": "0.8"})
        made[target] = coreml.save(converted, folder / f"Alex Net-{target}{suffix(target)}")
    return made


@pytest.mark.parametrize("target", ["13", "15"])
def test_metadata_is_in_the_file(files, target):
    said = coreml.describe(files[target])
    assert said["metadata"] | TEXTS | {"threshold": "0.8"} == said["metadata"]
    assert said["texts"] == {
        "image": "a colour picture, 32×32 pixels",
        "classLabel": "the most probable class",
        "classLabelProbs": "the probability of each class, 0 to 1",
    }


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"inputs": {"picture": "x"}}, "no input 'picture'. Its inputs are image"),
        ({"outputs": {"answer": "x"}}, "no output 'answer'. Its outputs are"),
        ({"labels": CLASSES[::-1]}, "a classifier with the labels airplane, automobile, bird"),
        ({"version": 2}, r"'version' is int.*Write str\(2\)"),
        ({"more": {"threshold": 0.8}}, "'threshold' is float"),
    ],
)
def test_metadata_that_does_not_fit_is_named(files, change, message):
    with pytest.raises(ValueError, match=message):
        coreml.set_metadata(files["15"], **TEXTS | change)


@pytest.mark.parametrize(
    ("target", "how", "bits", "stored", "limit"),
    [
        ("13", "float16", 16, "float16", 0.02),
        ("13", "int8", 8, "8-bit numbers", 0.2),
        ("13", "palette6", 6, "6-bit palette", 0.5),
        ("13", "palette4", 4, "4-bit palette", 0.9),
        ("15", "float16", 16, "float16", 0.02),
        ("15", "int8", 8, "8-bit numbers", 0.2),
        ("15", "palette6", 6, "6-bit palette", 0.5),
        ("15", "palette4", 4, "4-bit palette", 0.9),
        ("15", "pruned", 17, "without its zeros", 0.999),
    ],
)
def test_a_smaller_file_is_small_and_means_what_it_says(
    files, drawings, tmp_path, target, how, bits, stored, limit
):
    before = coreml.describe(files[target])
    small = coreml.compress(files[target], how)
    path = coreml.save(small, tmp_path / f"small{suffix(target)}")
    said = coreml.describe(path)
    assert said["stored"][0] == stored
    for same in ("inputs", "outputs", "labels", "texts", "metadata"):
        assert said[same] == before[same]
    # The weights are the most of the file; biases and structure take up to 30 kB.
    assert coreml.size(path) < coreml.size(files[target]) * bits / 32 + 30_000

    images = drawings.test_images[:50]
    assert 0 < differences(path, files[target], images) < limit
    assert said["scale"] == pytest.approx(1 / 255, rel=1e-3)
    if how == "float16":
        return
    # Core ML Tools unpacks the weights itself: the runtime has to see the same ones.
    with quiet():
        if target == "13":
            from coremltools.models.neural_network.quantization_utils import quantize_weights

            plain = quantize_weights(small, 8, "dequantization")
        else:
            from coremltools.optimize.coreml import decompress_weights

            plain = decompress_weights(small)
    assert differences(path, coreml.save(plain, tmp_path / f"plain{suffix(target)}"), images) < 1e-5


def test_biases_and_the_statistics_of_batch_norm_keep_all_their_bits(tmp_path):
    torch.manual_seed(0)
    # This batch norm stands behind a ReLU, so no export folds it into the convolution.
    norm = nn.BatchNorm2d(64)
    norm.running_mean, norm.running_var = torch.rand(64), 1 + torch.rand(64)
    network = nn.Sequential(nn.Conv2d(3, 64, 3), nn.ReLU(), norm, nn.Flatten(), nn.Linear(64 * 30 * 30, 10))
    export_onnx(network.eval(), tmp_path / "a.onnx", classes=CLASSES)
    model = onnx_coreml.convert(
        tmp_path / "a.onnx", mode="classifier", class_labels=CLASSES, image_input_names=["image"]
    )
    spec = coreml.compress(model, "palette4").get_spec()
    kinds = set()
    for layer in spec.neuralNetworkClassifier.layers:
        kind = layer.WhichOneof("layer")
        kinds.add(kind)
        if kind == "batchnorm":
            assert layer.batchnorm.mean.floatValue and layer.batchnorm.variance.floatValue
        elif kind in ("convolution", "innerProduct") and getattr(layer, kind).hasBias:
            assert getattr(layer, kind).bias.floatValue
    assert {"batchnorm", "convolution", "innerProduct"} <= kinds


def test_the_newest_compressed_weights_are_told_apart_too(sharp_model, drawings, tmp_path):
    """From iOS 18 on the file stores them in another way."""
    model = coreml.from_torch(
        sharp_model, class_labels=CLASSES, exporter="trace", minimum_ios_deployment_target="18", verify=False
    )
    plain = coreml.save(model, tmp_path / "plain.mlpackage")
    for how, stored in (
        ("int8", "8-bit numbers"),
        ("palette4", "4-bit palette"),
        ("pruned", "without its zeros"),
    ):
        path = coreml.save(coreml.compress(model, how), tmp_path / f"{how}.mlpackage")
        assert coreml.describe(path)["stored"][0] == stored
        assert coreml.size(path) < coreml.size(plain) * 0.7
        assert 0 < differences(path, plain, drawings.test_images[:20]) < 0.999


def test_what_cannot_be_compressed_is_refused(files):
    with pytest.raises(ValueError, match=r"'zip' is not known\. Use one of float16, int8"):
        coreml.compress(files["13"], "zip")
    with pytest.raises(ValueError, match="stores its zeros like any other weight"):
        coreml.compress(files["13"], "pruned")
    with pytest.raises(ValueError, match=r"sparsity=1\.5"):
        coreml.compress(files["15"], "pruned", sparsity=1.5)
    for target in files:
        with pytest.raises(ValueError, match=r"compressed already \(8-bit numbers\)"):
            coreml.compress(coreml.compress(files[target], "int8"), "palette4")
    with pytest.raises(ValueError, match="stored in float16 already"):
        coreml.compress(coreml.compress(files["15"], "float16"), "float16")


def test_a_float16_neural_network_is_compressed_too(files):
    """Core ML Tools leaves float16 weights as they are, without a word."""
    half = coreml.compress(files["13"], "float16")
    small = coreml.compress(half, "int8")
    said = coreml.describe(small)
    assert said["stored"] == ["8-bit numbers", "float16"]
    assert said["numbers"]["8-bit numbers"] > 0.9 * sum(said["numbers"].values())
    assert small.compression.startswith("int8: 9")
    with pytest.raises(ValueError, match="stored in float16 already"):
        coreml.compress(half, "float16")


def test_a_compression_that_does_nothing_or_too_much_is_refused(files, monkeypatch):
    tiny = coreml.from_torch(answers(torch.relu), minimum_ios_deployment_target="13", **SMALL)
    with pytest.raises(ValueError, match=r"'int8' would change nothing.*2048 numbers"):
        coreml.compress(tiny, "int8")

    from helpers.coreml import compression

    with monkeypatch.context() as strict:
        strict.setitem(compression.MAY_MOVE, "int8", 1e-6)
        with pytest.raises(
            ValueError, match=r"too much for this network: its output 'classLabelProbs'.* the model has"
        ):
            coreml.compress(files["13"], "int8")
    other = coreml.compress(files["13"], "palette4", verify=False)
    monkeypatch.setattr(compression, "_unpacked", lambda small: other)
    with pytest.raises(ValueError, match="its own weights, unpacked"):
        coreml.compress(files["13"], "int8")


# The card


@pytest.mark.parametrize(
    ("target", "kind", "name"),
    [("13", "neural network, classifier", "Alex_Net_13"), ("15", "ML program, classifier", "Alex_Net_15")],
)
def test_the_card_says_what_xcode_says(files, drawings, target, kind, name):
    picture = drawings.test_images[3]
    card = coreml.model_card(files[target], picture)
    about = dict(card.facts["Model"])
    assert about["class in Swift"] == name
    assert about["kind"] == kind
    assert about["runs on"].startswith(f"iOS {target} and later, macOS 1")
    assert about["weights stored as"] == "float32"
    assert " 5 conv" in about.get("operations", "") + about.get("layers", "")
    assert dict(card.facts["Inputs"])["each pixel"] == "0 to 255, times 0.00392157 (1/255)"
    assert dict(card.facts["Outputs"])["10 labels"].startswith("airplane, automobile")
    assert dict(card.facts["Metadata"])["threshold"] == "0.8"
    expected = coreml_runtime.load(files[target]).predict({"image": picture.permute(1, 2, 0).numpy()})
    assert card.answer == pytest.approx(expected["classLabelProbs"])
    assert next(iter(card.answer)) == expected["classLabel"]
    for text in (repr(card), card._repr_html_()):
        assert (
            "Alex Net" in text and "tells things apart" in text and f"{max(card.answer.values()):.1%}" in text
        )


class Tags(html.parser.HTMLParser):
    """Which tags a page has, and whether each is closed."""

    def __init__(self, page):
        super().__init__()
        self.found, self.open = set(), []
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.found.add(tag)
        assert not any(name.startswith("on") for name, _ in attributes)
        if tag != "img":
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_nothing_in_a_strangers_file_becomes_html(sharp_model, drawings, tmp_path):
    evil = "<script>alert('x')</script>\"><img src=x onerror=alert(1)>"
    labels = [f"{evil}{number}" for number in range(10)]
    model = coreml.from_torch(sharp_model, class_labels=labels, exporter="trace", verify=False)
    coreml.set_metadata(model, description=evil, author=evil, inputs={"image": evil}, more={evil: evil})
    path = coreml.save(model, tmp_path / "<b>a.mlpackage")
    page = coreml.model_card(path, drawings.test_images[0])._repr_html_()
    tags = Tags(page)
    assert not tags.open
    assert tags.found == {"p", "b", "table", "thead", "tbody", "tr", "th", "td", "img"}
    assert page.count("<img") == 1


@pytest.mark.parametrize("kind", ["larger", "grey", "pixels"])
def test_the_card_takes_any_picture(files, drawings, kind):
    picture = Image.fromarray(drawings.test_images[0].permute(1, 2, 0).numpy())
    if kind == "larger":
        picture = picture.resize((200, 100))
    elif kind == "grey":
        picture = picture.convert("L")
    else:
        picture = np.asarray(picture)
    card = coreml.model_card(files["15"], picture)
    assert card.picture.size == (32, 32) and card.picture.mode == "RGB"
    assert sum(card.answer.values()) == pytest.approx(1, abs=1e-4)


def test_a_card_that_cannot_be_made_says_why(files, drawings, with_two_outputs, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no .*gone\.mlmodel"):
        coreml.model_card(tmp_path / "gone.mlmodel")
    with pytest.raises(ValueError, match=r"float32 of shape 3×32×32\. Give a PIL image"):
        coreml.model_card(files["15"], drawings.test_images[0].float())
    plain = coreml.from_torch(with_two_outputs, shape=(1, 1, 8, 6), output_names=("mean", "twice"))
    path = coreml.save(plain, tmp_path / "plain.mlpackage")
    assert "twice" in repr(coreml.model_card(path))
    with pytest.raises(ValueError, match="no classifier of one picture"):
        coreml.model_card(path, drawings.test_images[0])


def coins():
    """An image classifier as Create ML writes it: a pipeline of two neural networks."""
    from coremltools.models import datatypes
    from coremltools.models.neural_network import NeuralNetworkBuilder
    from coremltools.proto import Model_pb2

    def network(name, sizes, result, mode=None):
        builder = NeuralNetworkBuilder(
            [(name, datatypes.Array(sizes[0]))],
            [(result, None if mode else datatypes.Array(sizes[1]))],
            mode=mode,
            disable_rank5_shape_mapping=True,
        )
        builder.add_inner_product("fc", np.ones(sizes[::-1]), np.zeros(sizes[1]), *sizes, True, name, result)
        if mode:
            builder.set_class_labels(["Heads", "Tails"], "classLabel", result)
        return builder.spec

    first, second = network("image", (3, 4), "f"), network("f", (4, 2), "p", "classifier")
    spec = Model_pb2.Model(specificationVersion=4)
    spec.description.input.extend(first.description.input)
    spec.description.output.extend(second.description.output)
    spec.pipelineClassifier.pipeline.models.extend([first, second])
    return spec


def test_the_card_of_a_pipeline_shows_its_parts(tmp_path):
    path = tmp_path / "Coins.mlmodel"
    path.write_bytes(coins().SerializeToString())
    card = coreml.model_card(path)
    about = dict(card.facts["Model"])
    assert about["2 parts"] == "neural network, then neural network"
    assert about["weights stored as"] == "float32"
    assert dict(card.facts["Outputs"])["2 labels"] == "Heads, Tails"
    with pytest.raises(ValueError, match=r"parts of a pipeline are compressed before"):
        coreml.compress(path, "int8")


def test_logits_that_a_file_calls_probabilities_are_not_shown(files, drawings, tmp_path):
    """Old converters made such files: a classifier without a softmax."""
    from coremltools.models import MLModel

    spec = coreml.files.open_model(files["13"]).get_spec()
    layers = spec.neuralNetworkClassifier.layers
    gone = layers.pop()
    layers[-1].output[0] = gone.output[0]
    path = coreml.save(MLModel(spec, skip_model_load=True), tmp_path / "logits.mlmodel")
    with pytest.raises(ValueError, match="ends in innerProduct, so its output is not probabilities"):
        coreml.model_card(path, drawings.test_images[0])
    assert coreml.model_card(path).answer is None


def test_the_card_of_a_hostile_file_is_short_and_plain(tmp_path):
    spec = coins()
    for number in range(10_000):
        spec.description.metadata.userDefined[f"key {number}"] = "\x1b[31m" + "long " * 100
    labels = spec.pipelineClassifier.pipeline.models[1].neuralNetworkClassifier.stringClassLabels.vector
    labels[:] = ["line\nbreak", "x" * 10_000]
    path = tmp_path / "hostile.mlmodel"
    path.write_bytes(spec.SerializeToString())
    card = coreml.model_card(path)
    for text in (repr(card), card._repr_html_()):
        assert len(text) < 60_000
        assert "\x1b" not in text and "line\nbreak" not in text
    assert dict(card.facts["Metadata"])["…"] == "9,960 more"


# The command


def test_the_card_of_a_grey_model_that_is_not_square(grey_model):
    card = coreml.model_card(grey_model, Image.new("RGB", (50, 50), "white"))
    assert dict(card.facts["Inputs"])["image"] == "image, greyscale, 40×24"
    assert dict(card.facts["Outputs"])["5 labels"] == 'self, T-shirt/top, say "cat", 0: \\(nil), 👩‍🚀'
    assert card.picture.size == (40, 24) and len(card.answer) == 5


def test_the_command_prints_the_card(grey_model, capsys):
    assert command.main([str(grey_model)]) == 0
    printed = capsys.readouterr().out
    assert printed == f"{coreml.model_card(grey_model)!r}\n"
    assert "ML program, classifier" in printed and "👩‍🚀" in printed


def test_the_command_writes_a_page(grey_model, tmp_path, capsys):
    out = tmp_path / "card.html"
    out.write_text("the old page")
    assert command.main([str(grey_model), "--html", str(out)]) == 0
    assert capsys.readouterr().out == f"{out}\n"
    page = out.read_text(encoding="utf-8")
    assert page.startswith("<!DOCTYPE html>") and "<title>Grey.mlpackage</title>" in page
    assert coreml.model_card(grey_model)._repr_html_() in page
    tags = Tags(page.replace('<meta charset="utf-8">', ""))
    assert not tags.open and "table" in tags.found


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["gone.mlmodel"], "no Core ML model at"),
        (["text.mlmodel"], "is a text, not the file itself"),
        (["text.mlmodel", "--html", "card.html"], "is a text, not the file itself"),
        (["{model}", "--html", "gone/card.html"], "gone"),
    ],
)
def test_the_command_refuses_with_one(grey_model, tmp_path, monkeypatch, capsys, arguments, says):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.mlmodel").write_text("text")
    (tmp_path / "card.html").write_text("the old page")
    assert command.main([argument.format(model=grey_model) for argument in arguments]) == 1
    printed = capsys.readouterr()
    assert says in printed.err and "Traceback" not in printed.err and not printed.out
    assert sorted(path.name for path in tmp_path.iterdir()) == ["card.html", "text.mlmodel"]
    assert (tmp_path / "card.html").read_text() == "the old page"


def test_the_command_ends_a_wrong_call_with_two_and_its_help_fits_a_screen(
    grey_model, tmp_path, monkeypatch, capsys
):
    model = tmp_path / "a.mlmodel"
    model.write_text("a model")
    for arguments in ([], ["a", "b"], [str(grey_model), "--html"], ["--what"], ["a", "--html", str(model)]):
        with pytest.raises(SystemExit) as end:
            command.main(arguments)
        assert end.value.code == 2
    assert model.read_text() == "a model"
    monkeypatch.setenv("COLUMNS", "80")
    capsys.readouterr()
    with pytest.raises(SystemExit) as end:
        command.main(["--help"])
    lines = capsys.readouterr().out.splitlines()
    assert end.value.code == 0 and len(lines) <= 24 and max(map(len, lines)) <= 80


def test_the_command_does_with_a_terminal_that_has_few_letters(grey_model):
    asked = [sys.executable, "-m", "helpers.coreml", str(grey_model)]
    done = subprocess.run(
        asked, env=os.environ | {"PYTHONIOENCODING": "ascii"}, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "image, greyscale, 40?24" in done.stdout


def test_the_earlier_name_of_the_model_card_says_the_new_one():
    with pytest.warns(DeprecationWarning, match="model_card now"):
        assert coreml.card is coreml.model_card
    with pytest.raises(AttributeError, match="no attribute 'cards'"):
        coreml.cards  # noqa: B018
