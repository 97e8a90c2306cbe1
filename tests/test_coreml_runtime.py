"""A saved Core ML model computes on torch what PyTorch computed before the conversion.

Random weights are enough, if the probabilities are far from uniform: batch norm gets real running
statistics and the last layer is scaled until the top probability is about two thirds.
"""

import copy
import itertools
import json
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.nn import functional as F

from helpers import coreml_runtime
from helpers.coreml_runtime import steps
from helpers.coreml_runtime.graph import Graph
from helpers.model import AlexNet
from helpers.plumbing.quiet import coremltools
from tests.proof import speed, zoo
from tests.proof.zoo import pictures, sharpened

ct = coremltools()
mb = ct.converters.mil.Builder
datatypes = ct.models.datatypes
NeuralNetworkBuilder = ct.models.neural_network.NeuralNetworkBuilder
quantization_utils = ct.models.neural_network.quantization_utils

LABELS = [f"class {i}" for i in range(10)]
SUFFIX = {"mlprogram": ".mlpackage", "neuralnetwork": ".mlmodel"}
FORMATS = list(SUFFIX)


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def convert(program_or_trace, size, convert_to, scale=1 / 255, **options):
    if convert_to == "mlprogram":
        options.setdefault("compute_precision", ct.precision.FLOAT32)
    image = ct.ImageType(name="image", shape=(1, 3, size, size), scale=scale)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return ct.convert(
            program_or_trace,
            inputs=[image],
            classifier_config=ct.ClassifierConfig(list(LABELS)),
            convert_to=convert_to,
            **options,
        )


@pytest.fixture(scope="module")
def alexnet():
    torch.manual_seed(0)
    return nn.Sequential(sharpened(AlexNet(width=0.5), 32), nn.Softmax(1)).eval()


@pytest.fixture(scope="module")
def saved(alexnet, tmp_path_factory):
    """The small AlexNet in each format: paths by ``convert_to``, and "float16"."""
    folder = tmp_path_factory.mktemp("alexnet")
    trace = torch.jit.trace(alexnet, torch.rand(1, 3, 32, 32))
    paths = {}
    for convert_to, suffix in SUFFIX.items():
        paths[convert_to] = folder / f"alexnet{suffix}"
        convert(trace, 32, convert_to).save(str(paths[convert_to]))
    paths["float16"] = folder / "alexnet16.mlpackage"
    convert(trace, 32, "mlprogram", compute_precision=ct.precision.FLOAT16).save(str(paths["float16"]))
    return paths


@pytest.fixture
def package(saved, tmp_path):
    """A copy of the ML program that a test may damage."""
    return Path(shutil.copytree(saved["mlprogram"], tmp_path / "copy.mlpackage"))


def specification_of(package):
    return package / "Data/com.apple.CoreML/model.mlmodel"


def weights_of(package):
    return package / "Data/com.apple.CoreML/weights/weight.bin"


def edit(package, change):
    """Change the specification of a package in place."""
    specification = ct.utils.load_spec(str(package))
    function = specification.mlProgram.functions["main"]
    change(specification, function.block_specializations[function.opset])
    specification_of(package).write_bytes(specification.SerializeToString())


def rename(path, old, new):
    specification = ct.utils.load_spec(str(path))
    ct.utils.rename_feature(specification, old, new)
    return specification


# The numbers of whole networks


@pytest.mark.parametrize("convert_to", FORMATS)
def test_alexnet_gives_the_probabilities_of_pytorch(alexnet, saved, convert_to):
    images = pictures(33, 32, seed=2)
    with torch.no_grad():
        expected = alexnet(images / 255)
    assert expected.max(1).values.mean() > 0.5
    assert len(set(expected.argmax(1).tolist())) > 3
    model = coreml_runtime.load(saved[convert_to])
    probs = model.probs(images)
    assert probs.dtype == torch.float32
    assert probs.shape == (33, 10)
    torch.testing.assert_close(probs, expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(model.probs(images.numpy(), batch_size=5), probs, atol=1e-6, rtol=0)


# Each road and each format once; `make proof` goes through all of them.
ZOO = [
    ("resnet18", "torch.jit.trace", "ML program"),
    ("squeezenet1_1", "torch.export", "neural network"),
    ("squeezenet1_1", "onnx", "ML program"),
    ("mobilenet_v3_small", "onnx, older exporter", "neural network"),
]


@pytest.mark.parametrize(("name", "road", "kind"), ZOO)
def test_torchvision_networks_give_the_probabilities_of_pytorch(name, road, kind):
    row = zoo.prove(zoo.make(name), pictures(4, 64, seed=3), road, kind)
    assert row["outcome"] == "agrees", row
    assert row["difference"] < 1e-4 < row["float16"]
    assert row["sharpness"] > 0.4


def test_the_committed_tables_hold():
    """What the long proofs wrote: no network differs, and the speed."""
    rows = json.loads(zoo.TABLE.read_text())["rows"]
    assert len(rows) == len(zoo.NETWORKS) * len(zoo.ROADS) * len(zoo.FORMATS)
    assert all(row["difference"] <= zoo.LIMIT for row in rows.values() if row["outcome"] != "refused")
    assert all(row["reason"] for row in rows.values() if row["outcome"] == "refused")
    assert speed.holds(json.loads(speed.TABLE.read_text()))


def test_the_zoo_goes_on_after_an_interruption_and_starts_anew_when_it_is_finished(tmp_path, monkeypatch):
    monkeypatch.setattr(zoo, "TABLE", tmp_path / "zoo.json")
    table = zoo.read_table()
    table["rows"] = {f"row {number}": {} for number in range(168)}
    zoo.write_table(table)
    assert zoo.read_table()["rows"] == {}
    del table["rows"]["row 7"]
    zoo.write_table(table)
    assert len(zoo.read_table()["rows"]) == 167


def test_float16_is_a_little_off_and_not_more(alexnet, saved):
    images = pictures(32, 32, seed=4)
    with torch.no_grad():
        expected = alexnet(images / 255)
    stored = coreml_runtime.load(saved["float16"]).probs(images)
    asked = coreml_runtime.load(saved["mlprogram"], precision="float16").probs(images)
    network = coreml_runtime.load(saved["neuralnetwork"], precision="float16").probs(images)
    weights_only = coreml_runtime.load(saved["float16"], precision="float32").probs(images)
    for probs in (stored, asked, network, weights_only):
        difference = (probs - expected).abs().max()
        assert 1e-5 < difference < 3e-2
    assert not torch.equal(stored, weights_only)
    # Every result is a float16 number, which is what an app would get.
    assert torch.equal(asked, asked.half().float())


def test_which_labels_float16_may_change_can_be_told(alexnet, saved):
    """Against another computer with 16 bits, PyTorch's own, on pictures between two classes."""
    images = pictures(32, 32, seed=6).float()
    share = torch.linspace(0, 1, 33).view(-1, 1, 1, 1)
    blends = torch.cat([a * share + b * (1 - share) for a, b in itertools.pairwise(images)])
    blends = blends.round().to(torch.uint8)
    with torch.no_grad():
        margins = alexnet(blends / 255).topk(2, 1).values.diff(dim=1)[:, 0].abs()
        order = margins.argsort()
        chosen = blends[torch.cat([order[:64], order[64::31]])]  # the closest calls, and some of the rest
        expected = alexnet(chosen / 255)
        other = copy.deepcopy(alexnet).half()((chosen / 255).half()).float()
    emulated = coreml_runtime.load(saved["float16"]).probs(chosen)

    # Each is off by about as much, and they are off from each other by about as much.
    ours, theirs = (emulated - expected).abs().mean(), (other - expected).abs().mean()
    assert 0.5 < ours / theirs < 2
    assert 0.5 < (emulated - other).abs().mean() / theirs < 2

    doubt = 2 * (emulated - expected).abs().max()
    changed = other.argmax(1) != expected.argmax(1)
    margin = expected.topk(2, 1).values.diff(dim=1)[:, 0].abs()
    assert changed.any()
    assert (margin[changed] < doubt).all()
    assert (margins < doubt).float().mean() < 0.2


def test_float16_overflows_like_float16():
    assert steps.to_float16(torch.tensor([65504.0, 70000.0])).tolist() == [65504.0, float("inf")]


# predict


@pytest.mark.parametrize("convert_to", FORMATS)
def test_predict_answers_like_coremltools(alexnet, saved, tmp_path, convert_to):
    original = ct.models.MLModel(str(saved[convert_to]), skip_model_load=True)
    old = original.get_spec().description.predictedProbabilitiesName
    renamed = rename(saved[convert_to], old, "classLabelProbs")
    path = tmp_path / f"renamed{SUFFIX[convert_to]}"
    ct.models.MLModel(renamed, weights_dir=original.weights_dir, skip_model_load=True).save(str(path))
    model = coreml_runtime.load(path)
    image = pictures(1, 32, seed=5)
    picture = Image.fromarray(image[0].permute(1, 2, 0).numpy())
    answer = model.predict({"image": picture})
    with torch.no_grad():
        expected = alexnet(image / 255)[0]
    assert set(answer) == {"classLabel", "classLabelProbs"} == set(model.outputs)
    assert answer["classLabel"] == LABELS[int(expected.argmax())]
    assert list(answer["classLabelProbs"]) == LABELS
    assert list(answer["classLabelProbs"].values()) == pytest.approx(expected.tolist(), abs=1e-5)
    assert model.predict({"image": np.asarray(picture)}) == answer


@pytest.mark.parametrize("convert_to", FORMATS)
def test_attributes_tell_what_the_file_says(saved, convert_to):
    model = coreml_runtime.load(saved[convert_to])
    assert model.inputs == {"image": coreml_runtime.ImageInput("image", 32, 32, "RGB", (1, 3, 32, 32))}
    assert model.labels == LABELS
    assert model.format == {"mlprogram": "ML program", "neuralnetwork": "neural network"}[convert_to]
    assert model.preprocessing["image"].scale == pytest.approx(1 / 255)
    assert model.preprocessing["image"].bias == (0, 0, 0)
    assert model.operators["conv" if convert_to == "mlprogram" else "convolution"] == 5
    assert "image 32×32, RGB" in repr(model)


def test_wrong_inputs_are_named(saved):
    model = coreml_runtime.load(saved["neuralnetwork"])
    picture = Image.new("RGB", (32, 32))
    with pytest.raises(ValueError, match=r"takes the inputs \['image'\], not \['picture'\]"):
        model.predict({"picture": picture})
    with pytest.raises(ValueError, match=r"takes the inputs \['image'\], not \[\]"):
        model.predict({})
    with pytest.raises(ValueError, match=r"\(31, 32, 3\), the model takes \(32, 32, 3\).*resize"):
        model.predict({"image": Image.new("RGB", (32, 31))})
    with pytest.raises(ValueError, match=r"mode RGBA, the model takes RGB.*convert"):
        model.predict({"image": Image.new("RGBA", (32, 32))})
    with pytest.raises(ValueError, match="float32"):
        model.predict({"image": np.zeros((32, 32, 3), np.float32)})
    with pytest.raises(ValueError, match="takes uint8"):
        model.probs(torch.rand(2, 3, 32, 32))
    with pytest.raises(ValueError, match=r"\(2, 3, 28, 32\), the model takes N×3×32×32"):
        model.probs(torch.zeros(2, 3, 28, 32, dtype=torch.uint8))


class Mixer(nn.Module):
    """Each output is another mixture of the channels, so that a swapped channel shows."""

    def __init__(self, channels):
        super().__init__()
        self.conv = nn.Conv2d(channels, 4, 1)

    def forward(self, image):
        return self.conv(image)


@pytest.mark.parametrize("convert_to", FORMATS)
@pytest.mark.parametrize("colour", ["RGB", "BGR", "GRAYSCALE"])
def test_preprocessing_is_scale_bias_and_channel_order(tmp_path, convert_to, colour):
    torch.manual_seed(0)
    channels = 1 if colour == "GRAYSCALE" else 3
    network = Mixer(channels).eval()
    bias = 0.3 if channels == 1 else [0.1, -0.2, 0.4]
    layout = getattr(ct.colorlayout, colour)
    image = ct.ImageType(name="image", shape=(1, channels, 6, 5), scale=0.02, bias=bias, color_layout=layout)
    options = {"compute_precision": ct.precision.FLOAT32} if convert_to == "mlprogram" else {}
    trace = torch.jit.trace(network, torch.rand(1, channels, 6, 5))
    saved = ct.convert(trace, inputs=[image], convert_to=convert_to, **options)
    path = tmp_path / f"mixer{SUFFIX[convert_to]}"
    saved.save(str(path))
    model = coreml_runtime.load(path)

    pixels = np.random.default_rng(0).integers(0, 256, (6, 5, 3), np.uint8)
    picture = Image.fromarray(pixels if channels == 3 else pixels[..., 0])
    seen = {"RGB": pixels, "BGR": pixels[..., ::-1], "GRAYSCALE": pixels[..., :1]}[colour]
    # coremltools writes the three biases in the order of the channels, also for BGR.
    added = np.array(bias).reshape(-1)
    if (colour, convert_to) == ("BGR", "neuralnetwork"):
        (preprocessing,) = saved.get_spec().neuralNetwork.preprocessing
        assert preprocessing.scaler.blueBias == pytest.approx(bias[0])
    tensor = seen.astype(np.float64) * 0.02 + added
    weight, offset = (p.detach().double().numpy() for p in network.conv.parameters())
    expected = np.einsum("oc,hwc->ohw", weight[:, :, 0, 0], tensor) + offset[:, None, None]

    (result,) = model.predict({"image": picture}).values()
    assert result.shape == (1, 4, 6, 5)
    np.testing.assert_allclose(result[0], expected, atol=1e-5)
    assert model.inputs["image"].colour == {"GRAYSCALE": "greyscale"}.get(colour, colour)
    assert model.preprocessing["image"].scale == pytest.approx(0.02)
    assert model.preprocessing["image"].bias == pytest.approx(tuple(added))
    with pytest.raises(ValueError, match="no classifier"):
        model.probs(torch.zeros(1, channels, 6, 5, dtype=torch.uint8))
    batch = torch.from_numpy(np.asarray(picture).copy()).reshape(6, 5, channels).permute(2, 0, 1)[None]
    (many,) = model.run(batch.repeat(3, 1, 1, 1)).values()
    np.testing.assert_allclose(many[2, 0], expected, atol=1e-5)


def test_labels_are_taken_by_index_whatever_they_are(saved, tmp_path):
    specification = ct.utils.load_spec(str(saved["neuralnetwork"]))
    network = specification.neuralNetworkClassifier
    network.int64ClassLabels.vector.extend(range(100, 110))
    path = tmp_path / "numbers.mlmodel"
    path.write_bytes(specification.SerializeToString())
    model, words = coreml_runtime.load(path), coreml_runtime.load(saved["neuralnetwork"])
    image = pictures(1, 32)[0].permute(1, 2, 0).numpy()
    answer, answer_in_words = model.predict({"image": image}), words.predict({"image": image})
    assert answer["classLabel"] == 100 + LABELS.index(answer_in_words["classLabel"])


def test_too_few_labels_are_refused(saved, tmp_path):
    specification = ct.utils.load_spec(str(saved["neuralnetwork"]))
    del specification.neuralNetworkClassifier.stringClassLabels.vector[7:]
    path = tmp_path / "seven.mlmodel"
    path.write_bytes(specification.SerializeToString())
    with pytest.raises(ValueError, match=r"seven\.mlmodel: it has 7 class labels for 10 probabilities"):
        coreml_runtime.load(path)


def test_a_renamed_output_without_its_layer_is_refused(saved, tmp_path):
    specification = ct.utils.load_spec(str(saved["neuralnetwork"]))
    specification.neuralNetworkClassifier.labelProbabilityLayerName = "classLabelProbs"
    path = tmp_path / "renamed.mlmodel"
    path.write_bytes(specification.SerializeToString())
    with pytest.raises(ValueError, match="no operator makes the output 'classLabelProbs'"):
        coreml_runtime.load(path)


# Single operators whose meaning is easily missed


def program(path, shape, build):
    """Save an ML program with one array input ``x`` and open it."""

    @mb.program(input_specs=[mb.TensorSpec(shape=shape)], opset_version=ct.target.iOS15)
    def main(x):
        return build(x)

    model = ct.convert(main, convert_to="mlprogram", compute_precision=ct.precision.FLOAT32)
    model.save(str(path))
    return coreml_runtime.load(path)


def only(answer):
    (value,) = answer.values()
    return torch.from_numpy(value)


X = torch.linspace(-3, 3, 2 * 9 * 8).sin().mul(3).reshape(1, 2, 9, 8)
KERNEL = torch.linspace(-1, 1, 4 * 2 * 3 * 3).cos().reshape(4, 2, 3, 3)

WINDOWS = {
    # An odd pixel of padding goes to the end: height 9 → 1 above and below, width 8 → 0 left, 1 right.
    "conv same": (
        lambda x: mb.conv(x=x, weight=KERNEL.numpy(), strides=[2, 2], pad_type="same"),
        lambda x: F.conv2d(F.pad(x, (0, 1, 1, 1)), KERNEL, stride=2),
    ),
    "conv custom": (
        lambda x: mb.conv(x=x, weight=KERNEL.numpy(), pad_type="custom", pad=[2, 0, 1, 3]),
        lambda x: F.conv2d(F.pad(x, (1, 3, 2, 0)), KERNEL),
    ),
    "conv valid dilated": (
        lambda x: mb.conv(x=x, weight=KERNEL.numpy(), pad_type="valid", dilations=[2, 1]),
        lambda x: F.conv2d(x, KERNEL, dilation=(2, 1)),
    ),
    "max pool padded": (
        lambda x: mb.max_pool(x=x, kernel_sizes=[3, 3], strides=[2, 2], pad_type="custom", pad=[1, 1, 1, 1]),
        lambda x: F.max_pool2d(x, 3, 2, 1),
    ),
    "max pool uneven padding of negative values": (
        lambda x: mb.max_pool(
            x=mb.sub(x=x, y=9.0), kernel_sizes=[3, 3], strides=[2, 2], pad_type="custom", pad=[0, 2, 2, 0]
        ),
        lambda x: F.max_pool2d(F.pad(x - 9, (2, 0, 0, 2), value=-torch.inf), 3, 2),
    ),
    "max pool ceil": (
        lambda x: mb.max_pool(x=x, kernel_sizes=[2, 3], strides=[2, 2], pad_type="valid", ceil_mode=True),
        lambda x: F.max_pool2d(x, (2, 3), 2, ceil_mode=True),
    ),
    "max pool ceil drops a window that starts beyond the padding": (
        lambda x: mb.max_pool(
            x=x, kernel_sizes=[2, 2], strides=[2, 2], pad_type="custom", pad=[1, 1, 1, 1], ceil_mode=True
        ),
        lambda x: F.max_pool2d(x, 2, 2, 1, ceil_mode=True),
    ),
    "average pool counts the padding": (
        lambda x: mb.avg_pool(x=x, kernel_sizes=[3, 3], strides=[2, 2], pad_type="custom", pad=[1, 1, 1, 1]),
        lambda x: F.avg_pool2d(x, 3, 2, 1, count_include_pad=True),
    ),
    "average pool leaves the padding out": (
        lambda x: mb.avg_pool(
            x=x,
            kernel_sizes=[3, 3],
            strides=[2, 2],
            pad_type="custom",
            pad=[1, 1, 1, 1],
            exclude_padding_from_average=True,
        ),
        lambda x: F.avg_pool2d(x, 3, 2, 1, count_include_pad=False),
    ),
    "average pool ceil with padding": (
        lambda x: mb.avg_pool(
            x=x, kernel_sizes=[4, 4], strides=[3, 3], pad_type="custom", pad=[1, 1, 1, 1], ceil_mode=True
        ),
        lambda x: F.avg_pool2d(F.pad(x, (1, 1, 1, 3)), 4, 3),
    ),
    # Unlike torch, which divides by the pixels that are there: apple/coremltools, issue 2772.
    "average pool ceil divides by the whole window": (
        lambda x: mb.avg_pool(x=x, kernel_sizes=[2, 3], strides=[2, 2], pad_type="valid", ceil_mode=True),
        lambda x: F.avg_pool2d(F.pad(x, (0, 1, 0, 1)), (2, 3), 2),
    ),
    "average pool ceil without the padding": (
        lambda x: mb.avg_pool(
            x=x,
            kernel_sizes=[4, 4],
            strides=[3, 3],
            pad_type="custom",
            pad=[1, 1, 1, 1],
            ceil_mode=True,
            exclude_padding_from_average=True,
        ),
        lambda x: F.avg_pool2d(x, 4, 3, 1, ceil_mode=True, count_include_pad=False),
    ),
}


@pytest.mark.parametrize("case", WINDOWS)
def test_windows_of_ml_programs(tmp_path, case):
    build, expected = WINDOWS[case]
    model = program(tmp_path / "window.mlpackage", tuple(X.shape), build)
    result = only(model.predict({next(iter(model.inputs)): X.numpy()}))
    torch.testing.assert_close(result, expected(X), atol=1e-5, rtol=0)


def test_a_pooling_window_outside_the_image_is_refused(tmp_path):
    """Without padding Core ML's reference keeps such a window and does not say what is in it."""
    with pytest.raises(ValueError, match="the last pooling window lies outside the image"):
        program(
            tmp_path / "outside.mlpackage",
            tuple(X.shape),
            lambda x: mb.max_pool(x=x, kernel_sizes=[1, 1], strides=[3, 3], pad_type="valid", ceil_mode=True),
        )


OTHERS = {
    "softmax over channels": (lambda x: mb.softmax(x=x, axis=1), lambda x: x.softmax(1)),
    "layer norm over the middle": (
        lambda x: mb.layer_norm(x=x, axes=[1, 2], gamma=np.full((2, 9), 2.0, np.float32), epsilon=0.1),
        lambda x: (x - x.mean((1, 2), True)) / (x.var((1, 2), correction=0, keepdim=True) + 0.1).sqrt() * 2,
    ),
    "matmul transposed": (
        lambda x: mb.matmul(x=x, y=np.ones((5, 9), np.float32), transpose_x=True, transpose_y=True),
        lambda x: x.transpose(2, 3) @ torch.ones(9, 5),
    ),
    "slice backwards and masked": (
        lambda x: mb.slice_by_index(
            x=x,
            begin=[0, 1, 8, -3],
            end=[1, 2, 2, 0],
            stride=[1, 1, -2, 1],
            begin_mask=[True, False, False, False],
            end_mask=[True, False, False, True],
            squeeze_mask=[False, True, False, False],
        ),
        lambda x: x[:, 1, [8, 6, 4], -3:],
    ),
    "concat interleaved": (
        lambda x: mb.concat(values=[x, mb.mul(x=x, y=2.0)], axis=1, interleave=True),
        lambda x: torch.stack([x[:, 0], 2 * x[:, 0], x[:, 1], 2 * x[:, 1]], 1),
    ),
    "gather with negative indices": (
        lambda x: mb.gather(x=x, indices=[3, -1], axis=2),
        lambda x: x[:, :, [3, 8]],
    ),
    "gelu by tanh": (
        lambda x: mb.gelu(x=x, mode="TANH_APPROXIMATION"),
        lambda x: F.gelu(x, approximate="tanh"),
    ),
    "local response norm": (
        lambda x: mb.local_response_norm(x=x, size=3, alpha=0.5, beta=0.75, k=2.0),
        lambda x: F.local_response_norm(x, 3, 0.5, 0.75, 2.0),
    ),
    "pad": (
        lambda x: mb.pad(x=x, pad=[0, 1, 2, 3], mode="constant", constant_val=7.0),
        lambda x: F.pad(x, (2, 3, 0, 1), value=7.0),
    ),
    "reshape keeps 0": (
        lambda x: mb.reshape(x=x, shape=[1, 0, -1, 4]),
        lambda x: x.reshape(1, 2, 18, 4),
    ),
    "reduce all": (lambda x: mb.reduce_max(x=x, keep_dims=True), lambda x: x.amax().reshape(1, 1, 1, 1)),
    "thresholded relu": (lambda x: mb.thresholded_relu(x=x, alpha=0.5), lambda x: x * (x >= 0.5)),
}


@pytest.mark.parametrize("case", OTHERS)
def test_operators_of_ml_programs(tmp_path, case):
    build, expected = OTHERS[case]
    model = program(tmp_path / "operator.mlpackage", tuple(X.shape), build)
    name = next(iter(model.inputs))
    result = only(model.predict({name: X.numpy()}))
    torch.testing.assert_close(result, expected(X), atol=1e-5, rtol=0)
    # A batch of two gives the same as each alone.
    (both,) = model.run(torch.cat([X.flip(2), X])).values()
    torch.testing.assert_close(both[1], result, atol=1e-6, rtol=0)
    torch.testing.assert_close(both[0], expected(X.flip(2)), atol=1e-5, rtol=0)


def network(path, build, change=None, shape=(1, 2, 9, 8)):
    """Save a neural network with one array input ``x`` and one output ``y`` and open it."""
    builder = NeuralNetworkBuilder(
        [("x", datatypes.Array(*shape))], [("y", None)], disable_rank5_shape_mapping=True
    )
    build(builder)
    if change:
        change(builder.spec.neuralNetwork.layers[-1])
    path.write_bytes(builder.spec.SerializeToString())
    return coreml_runtime.load(path)


def computed(model, x=X):
    return only(model.predict({"x": x.numpy()}))


def test_zero_in_a_neural_network_stands_for_the_default(tmp_path):
    mean, variance = np.array([0.1, -0.2]), np.array([2e-5, 0.0])

    def norm(builder):
        builder.add_batchnorm(
            "norm", 2, np.ones(2), np.zeros(2), mean, variance, input_name="x", output_name="y", epsilon=0
        )

    result = computed(network(tmp_path / "norm.mlmodel", norm))
    m, v = torch.tensor(mean).view(2, 1, 1), torch.tensor(variance).view(2, 1, 1)
    torch.testing.assert_close(result, ((X - m) / (v + 1e-5).sqrt()).float(), atol=1e-2, rtol=1e-5)

    def unary(builder):
        builder.add_unary("unary", "x", "y", mode="rsqrt")

    def zeros(layer):
        layer.unary.scale = layer.unary.epsilon = 0

    x = torch.zeros(1, 2, 9, 8)
    x[:, 1] = 4
    result = computed(network(tmp_path / "unary.mlmodel", unary, zeros), x)
    torch.testing.assert_close(result[:, 0], torch.full((1, 9, 8), 1000.0), atol=1e-1, rtol=0)
    torch.testing.assert_close(result[:, 1], torch.full((1, 9, 8), 0.5), atol=1e-5, rtol=0)


@pytest.mark.parametrize("flag", [False, True])
def test_constant_matrices_of_a_neural_network_are_stored_transposed(tmp_path, flag):
    weight = np.random.default_rng(0).normal(size=(8, 8)).astype(np.float32)  # square: no shape helps

    def build(builder):
        builder.add_batched_mat_mul(
            "product", ["x"], "y", weight_matrix_rows=8, weight_matrix_columns=8, W=weight, bias=np.ones(8)
        )

    def set_flag(layer):
        layer.batchedMatmul.transposeB = flag

    result = computed(network(tmp_path / "product.mlmodel", build, set_flag))
    torch.testing.assert_close(result, X @ torch.from_numpy(weight) + 1, atol=1e-5, rtol=0)


def test_two_inputs_of_a_matrix_product_follow_the_flags(tmp_path):
    def build(builder):
        builder.add_batched_mat_mul("product", ["x", "x"], "y", transpose_a=True)

    result = computed(network(tmp_path / "product.mlmodel", build))
    torch.testing.assert_close(result, X.transpose(2, 3) @ X, atol=1e-4, rtol=0)


POOLS = {
    "same": ("SAME", {"same_padding_asymmetry_mode": "BOTTOM_RIGHT_HEAVY"}, (0, 1, 1, 1)),
    "same, start heavy": ("SAME", {"same_padding_asymmetry_mode": "TOP_LEFT_HEAVY"}, (1, 0, 1, 1)),
    "valid": ("VALID", {}, (0, 0, 0, 0)),
    "last pixel": ("INCLUDE_LAST_PIXEL", {"padding_top": 0, "padding_left": 0}, (0, 1, 0, 0)),
}


@pytest.mark.parametrize("case", POOLS)
@pytest.mark.parametrize("kind", ["MAX", "AVERAGE", "AVERAGE with the padding"])
def test_pooling_of_neural_networks(tmp_path, case, kind):
    padding_type, options, edges = POOLS[case]
    exclude, kind = kind == "AVERAGE", kind.split()[0]

    def build(builder):
        builder.add_pooling(
            "pool", 3, 3, 2, 2, kind, padding_type, "x", "y", exclude_pad_area=exclude, **options
        )

    result = computed(network(tmp_path / "pool.mlmodel", build))
    if kind == "MAX":
        expected = F.max_pool2d(F.pad(X, edges, value=-torch.inf), 3, 2)
    elif not exclude:
        expected = F.avg_pool2d(F.pad(X, edges), 3, 2)
    else:
        expected = F.avg_pool2d(F.pad(X, edges), 3, 2) / F.avg_pool2d(F.pad(torch.ones_like(X), edges), 3, 2)
    torch.testing.assert_close(result, expected, atol=1e-5, rtol=0)


Y = X[0, 0]  # 9×8
LAST = np.array([[1, 5], [7, 0]], np.float32)

# name: (how to build it, the input, what comes out of it)
LAYER_CASES = {
    "the logarithm adds epsilon": (
        lambda b: b.add_unary("f", "x", "y", mode="log", epsilon=0.5),
        Y.abs(),
        (Y.abs() + 0.5).log(),
    ),
    "flattened with the channels last": (
        lambda b: b.add_flatten("f", 1, "x", "y"),
        X,
        X.permute(0, 2, 3, 1).reshape(1, 144, 1, 1),
    ),
    "fewer repetitions than dimensions": (lambda b: b.add_tile("f", "x", "y", [2]), Y, Y.repeat(1, 2)),
    "the first of two unequal parts": (
        lambda b: b.add_split_nd("f", "x", ["y", "z"], axis=0, num_splits=2),
        Y,
        Y[:5],
    ),
    "one side mirrored": (
        lambda b: b.add_padding("f", bottom=2, input_name="x", output_name="y", padding_type="reflection"),
        Y,
        torch.from_numpy(np.pad(Y.numpy(), ((0, 2), (0, 0)), "reflect")),
    ),
    "a convolution of five dimensions": (
        lambda b: b.add_convolution(
            "f", 2, 4, 3, 3, 1, 1, "valid", 1, KERNEL.permute(2, 3, 1, 0).numpy(), None, False,
            input_name="x", output_name="y",
        ),
        torch.stack([X, -X], 1),
        torch.stack([F.conv2d(X, KERNEL), F.conv2d(-X, KERNEL)], 1),
    ),
    "scattered by indices of two dimensions": (
        lambda b: (
            b.add_load_constant_nd("i", "i", LAST, [2, 2]),
            b.add_load_constant_nd("u", "u", np.ones((9, 2, 2)), [9, 2, 2]),
            b.add_scatter("f", ["x", "i", "u"], "y", axis=1, mode="UPDATE"),
        ),
        Y,
        torch.from_numpy(np.where(np.isin(np.arange(8), LAST), 1, Y.numpy())).float(),
    ),
    "K as a second input": (
        lambda b: (
            b.add_load_constant_nd("k", "k", np.array([2.0]), [1]),
            b.add_topk("f", ["x", "k"], ["y", "places"], axis=1),
        ),
        Y,
        Y.topk(2, 1).values,
    ),
    "a single number has a dimension": (
        lambda b: b.add_reduce_max("f", "x", "y", keepdims=False, reduce_all=True),
        Y,
        Y.amax().reshape(1),
    ),
    "a vector times a matrix is a row": (
        lambda b: (
            b.add_load_constant_nd("m", "m", Y.numpy(), [9, 8]),
            b.add_batched_mat_mul("f", ["x", "m"], "y"),
        ),
        Y[:, 0],
        Y[:, 0][None] @ Y,
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", LAYER_CASES)
def test_layers_of_neural_networks(tmp_path, case):
    build, x, expected = LAYER_CASES[case]
    result = computed(network(tmp_path / "layer.mlmodel", build, shape=tuple(x.shape)), x)
    torch.testing.assert_close(result, expected, atol=1e-5, rtol=1e-5)


def test_an_old_network_answers_arrays_without_sequence_and_batch(tmp_path):
    """Apple's test_rename_image_input expects C×H×W."""
    builder = NeuralNetworkBuilder([("x", datatypes.Array(3, 2, 2))], [("y", datatypes.Array(3, 2, 2))])
    builder.add_activation("f", "LINEAR", "x", "y", [2, 2])
    builder.set_pre_processing_parameters(["x"])
    path = tmp_path / "old.mlmodel"
    path.write_bytes(builder.spec.SerializeToString())
    model = coreml_runtime.load(path)
    pixels = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    np.testing.assert_array_equal(model.predict({"x": pixels})["y"], 2.0 * pixels.transpose(2, 0, 1) + 2)
    assert model.run(torch.zeros(5, 3, 2, 2, dtype=torch.uint8))["y"].shape == (5, 3, 2, 2)


def test_a_cell_of_an_lstm_is_cut_off(tmp_path):
    """``cellClipThreshold`` bounds the cell, as NeuralNetwork.proto says: 50 unless it is set."""

    def build(builder):
        gates, cell = [np.full((1, 1), 100.0)] * 3, np.full((1, 1), 1.0)
        options = {
            "hidden_size": 1,
            "input_size": 1,
            "inner_activation": "RELU",
            "cell_state_update_activation": "RELU",
            "output_activation": "RELU",
        }
        builder.add_unilstm(
            "f", [np.zeros((1, 1))] * 4, [*gates, cell], None, **options,
            input_names=["x", "h", "c"], output_names=["y", "h2", "c2"],
        )  # fmt: skip
        builder.add_load_constant_nd("h", "h", np.zeros((1, 1, 1, 1, 1)), [1, 1, 1, 1, 1])
        builder.add_load_constant_nd("c", "c", np.zeros((1, 1, 1, 1, 1)), [1, 1, 1, 1, 1])
        layers = builder.spec.neuralNetwork.layers
        lstm = ct.proto.NeuralNetwork_pb2.NeuralNetworkLayer.FromString(layers[0].SerializeToString())
        del layers[0]
        layers.append(lstm)

    for clip, cell in ((0, 50.0), (7, 7.0)):
        model = network(
            tmp_path / "lstm.mlmodel",
            build,
            lambda layer, clip=clip: setattr(layer.uniDirectionalLSTM.params, "cellClipThreshold", clip),
            shape=(1, 1, 1, 1, 1),
        )
        result = computed(model, torch.ones(1, 1, 1, 1, 1))
        assert float(result) == 100.0 * cell  # output gate · cell; the cell would be 100


def test_whole_numbers_of_few_bits_lose_what_does_not_fit(tmp_path):
    """As value_inference of the operator, which is NumPy's astype."""
    kinds = ("uint8", "int8", "int16", "uint16")

    @mb.program(input_specs=[mb.TensorSpec(shape=(4,))], opset_version=ct.target.iOS17)
    def main(x):
        return tuple(mb.cast(x=mb.cast(x=x, dtype=kind), dtype="fp32", name=f"as_{kind}") for kind in kinds)

    path = tmp_path / "cast.mlpackage"
    empty = ct.PassPipeline.EMPTY
    ct.convert(main, convert_to="mlprogram", minimum_deployment_target=ct.target.iOS17, pass_pipeline=empty,
        compute_precision=ct.precision.FLOAT32).save(str(path))  # fmt: skip
    x = np.float32([300, -1, 127.9, 40000])
    for kind, value in coreml_runtime.load(path).predict({"x": x}).items():
        np.testing.assert_array_equal(value, x.astype(np.int32).astype(kind.removeprefix("as_")))


def test_a_scalar_constant_is_a_float16_too():
    assert steps.half(1 / 255) == float(np.float16(1 / 255))
    assert steps.half(1e-12) == 2.0**-24  # not 0
    assert steps.half(-1e6) == -np.inf


def test_a_choice_among_float16_values_is_not_rounded_again_and_everything_else_is(saved):
    def step(operator, function, arguments, output, rounds=True):
        return steps.Step(operator, output, function, arguments, {}, [output], [None], [rounds], ["float"])

    x, plain, once, twice, third = map(steps.Name, ["x", "plain", "once", "twice", "third"])
    third_of = torch.full((1, 4), 1 / 3)
    chain = [
        step("relu", torch.relu, [x], "plain"),  # reads a value that nobody has rounded
        step("mul", torch.mul, [plain, third_of], "once"),
        step("relu", torch.relu, [once], "twice"),
        step("concat", lambda parts: torch.cat(parts), [[twice, third_of]], "third"),
        step("clip", lambda x, low, high: x.clamp(low, high), [third, 0.1, 1.0], "last"),
        step("add", torch.add, [x, third_of], "single", rounds=False),
        step("identity", lambda x: x, [steps.Name("single")], "of single"),
    ]
    archive = coreml_runtime.load(saved["mlprogram"])._archive
    names = [step.outputs[0] for step in chain]
    graph = Graph(archive, chain, {"x": (1, 4)}, names)
    assert [step.rounds[0] for step in graph.steps] == [True, True, False, True, True, False, True]
    given = torch.tensor([[[0.1, -0.7, 2.3, 1e-3]], [[5.1, 0.2, 0.3, -9.9]]])
    for batch in (given[:1].clone(), given.clone()):
        kept, found = batch.clone(), graph.run({"x": batch})
        assert torch.equal(batch, kept)  # what is rounded in place is never what was given
        for name in set(names) - {"single"}:
            assert torch.equal(found[name], found[name].half().float()), name
        assert not torch.equal(found["single"], found["single"].half().float())


def test_float16_rounds_scalar_constants_and_keeps_sizes(tmp_path):
    def build(x):
        big = mb.upsample_bilinear(x=x, scale_factor_height=2.2, scale_factor_width=1.0, align_corners=False)
        return mb.mul(x=big, y=np.float32(0.1), name="y")

    program(tmp_path / "scalar.mlpackage", (1, 1, 5, 1), build)
    model = coreml_runtime.load(tmp_path / "scalar.mlpackage", precision="float16")
    (value,) = model.predict({"x": np.full((1, 1, 5, 1), 2047.0, np.float32)}).values()
    assert value.shape == (1, 1, 11, 1)
    assert (value == np.float16(float(np.float16(0.1)) * 2047)).all()
    assert np.float16(0.1 * 2047) != value[0, 0, 0, 0]


def test_fully_connected_layer_keeps_the_rank_of_images(tmp_path):
    weight = np.random.default_rng(0).normal(size=(5, 2 * 9 * 8)).astype(np.float32)

    def build(builder):
        builder.add_inner_product("full", weight, None, 144, 5, False, "x", "y")

    result = computed(network(tmp_path / "full.mlmodel", build))
    expected = (X.reshape(1, -1) @ torch.from_numpy(weight).T).reshape(1, 5, 1, 1)
    torch.testing.assert_close(result, expected, atol=1e-4, rtol=0)


def test_a_file_from_before_ios_13(tmp_path):
    """The kind that the retired onnx_coreml wrote: image dimensions counted as 1, 1, C, H, W."""
    random = np.random.default_rng(0)
    kernel = random.normal(size=(4, 3, 3, 3)).astype(np.float32)
    matrix = random.normal(size=(10, 4 * 3 * 2)).astype(np.float32)
    builder = NeuralNetworkBuilder([("image", datatypes.Array(3, 8, 6))], [("probs", None)], "classifier")
    options = {"input_name": "image", "output_name": "conv"}
    builder.add_convolution(
        "conv", 3, 4, 3, 3, 1, 1, "valid", 1, kernel.transpose(2, 3, 1, 0), None, False, **options
    )
    builder.add_pooling("pool", 2, 2, 2, 2, "MAX", "VALID", "conv", "pool")
    builder.add_flatten("flat", 0, "pool", "flat")
    builder.add_inner_product("full", matrix, None, 24, 10, False, "flat", "full")
    builder.add_softmax("softmax", "full", "probs")
    builder.set_class_labels(list(LABELS), prediction_blob="probs")
    builder.set_pre_processing_parameters(["image"], image_scale=1 / 255, is_bgr=True, red_bias=-0.5)
    path = tmp_path / "old.mlmodel"
    path.write_bytes(builder.spec.SerializeToString())
    images = torch.from_numpy(random.integers(0, 256, (5, 3, 8, 6), np.uint8))
    x = images.flip(1) / 255 + torch.tensor([0, 0, -0.5]).view(3, 1, 1)
    x = F.max_pool2d(F.conv2d(x, torch.from_numpy(kernel)), 2).flatten(1) @ torch.from_numpy(matrix).T
    probs = coreml_runtime.load(path).probs(images)
    torch.testing.assert_close(probs, x.softmax(1), atol=1e-5, rtol=0)

    builder.add_squeeze("squeeze", "probs", "squeezed", axes=[0])
    path.write_bytes(builder.spec.SerializeToString())
    with pytest.raises(ValueError, match="'squeeze' called 'squeeze' came with iOS 13, but the file"):
        coreml_runtime.load(path)


# Compressed weights


def compress(package, how):
    """The package's weights, compressed by coremltools, saved beside it."""
    optimize = ct.optimize.coreml
    model = ct.models.MLModel(str(package), skip_model_load=True)
    if how.startswith("joint: "):
        # One after the other: "sparse, palette" makes the palette of what was left.
        first, second = how.removeprefix("joint: ").split(", ")
        model = compress(package, first)
        if second == "palette":
            config = optimize.OpPalettizerConfig(mode="uniform", nbits=4, weight_threshold=0)
            config = optimize.OptimizationConfig(global_config=config)
            return optimize.palettize_weights(model, config, joint_compression=True)
        granularity = "per_tensor" if first == "palette" else "per_channel"
        config = optimize.OpLinearQuantizerConfig(
            mode="linear_symmetric", granularity=granularity, weight_threshold=0
        )
        config = optimize.OptimizationConfig(global_config=config)
        return optimize.linear_quantize_weights(model, config, joint_compression=True)
    if how == "blocks of 4 bits":
        config = optimize.OpLinearQuantizerConfig(
            mode="linear", dtype="int4", granularity="per_block", block_size=2, weight_threshold=0
        )
        return optimize.linear_quantize_weights(model, optimize.OptimizationConfig(global_config=config))
    if how == "palettes of channel groups":
        config = optimize.OpPalettizerConfig(
            mode="uniform", nbits=3, granularity="per_grouped_channel", group_size=4, weight_threshold=0
        )
        return optimize.palettize_weights(model, optimize.OptimizationConfig(global_config=config))
    if how == "linear":
        config = optimize.OpLinearQuantizerConfig(mode="linear_symmetric", weight_threshold=0)
        return optimize.linear_quantize_weights(model, optimize.OptimizationConfig(global_config=config))
    if how == "sparse":
        config = optimize.OpMagnitudePrunerConfig(target_sparsity=0.5, weight_threshold=0)
        return optimize.prune_weights(model, optimize.OptimizationConfig(global_config=config))
    config = optimize.OpPalettizerConfig(mode="uniform", nbits=6, weight_threshold=0)
    return optimize.palettize_weights(model, optimize.OptimizationConfig(global_config=config))


@pytest.fixture(scope="module", params=["iOS16", "iOS18"])
def convolution(request, tmp_path_factory):
    """One convolution as ML program for each generation of compressed weights."""
    torch.manual_seed(0)
    layer = nn.Conv2d(4, 16, 3).eval()
    trace = torch.jit.trace(layer, torch.rand(1, 4, 8, 8))
    model = ct.convert(
        trace,
        inputs=[ct.TensorType(name="x", shape=(1, 4, 8, 8), dtype=np.float32)],
        convert_to="mlprogram",
        compute_precision=ct.precision.FLOAT32,
        minimum_deployment_target=getattr(ct.target, request.param),
    )
    path = tmp_path_factory.mktemp("convolution") / f"{request.param}.mlpackage"
    model.save(str(path))
    return layer, path


HOW = ["linear", "palette", "sparse"]
SINCE_IOS18 = [
    "blocks of 4 bits",
    "palettes of channel groups",
    "joint: sparse, palette",
    "joint: sparse, linear",
    "joint: palette, linear",
]


@pytest.mark.parametrize("how", HOW + SINCE_IOS18)
def test_compressed_weights_are_decoded(convolution, tmp_path, how):
    layer, path = convolution
    if how in SINCE_IOS18 and path.stem == "iOS16":
        return  # the operators are younger
    smaller = compress(path, how)
    compressed = tmp_path / "small.mlpackage"
    smaller.save(str(compressed))
    # Decoded a second time, by coremltools' own reader and its own decoder.
    from coremltools.converters.mil.frontend.milproto.load import load as read_program

    specification = smaller.get_spec()
    main = read_program(specification, specification.specificationVersion, smaller.weights_dir)
    operations = main.functions["main"].operations
    decoders = [operation for operation in operations if operation.op_type.startswith("constexpr_")]
    assert len(decoders) == (2 if how.startswith("joint") else 1)
    if how == "joint: palette, linear":  # coremltools itself does not decode a table's values first
        table = decoders[0].materialized_val_inference()
        weight = decoders[1].decompress(decoders[1].indices.val, table, None)
    else:
        weight = decoders[-1].materialized_val_inference()
    weight = torch.from_numpy(np.array(weight, np.float32))
    assert not torch.equal(weight, layer.weight)
    torch.testing.assert_close(weight, layer.weight, atol=0.2, rtol=0)

    x = torch.randn(4, 4, 8, 8)
    (result,) = coreml_runtime.load(compressed).run(x).values()
    expected = F.conv2d(x, weight, layer.bias)
    torch.testing.assert_close(result[:, 0], expected.detach(), atol=1e-5, rtol=0)


@pytest.mark.parametrize("sparse", [False, True])
def test_tables_of_vectors_are_decoded(tmp_path, sparse):
    """Each index stands for two neighbours along one axis (here the input channels); 0 stands for nothing."""
    random = np.random.default_rng(0)
    table = random.normal(size=(1, 1, 1, 1, 4, 2)).astype(np.float32)
    indices = random.integers(0, 4, (6, 1, 3, 3))
    mask = random.integers(0, 2, indices.shape) if sparse else np.ones_like(indices)
    weight = np.stack([table.reshape(4, 2)[indices[:, 0]] * mask[:, 0, ..., None]], 1)
    weight = np.moveaxis(weight[:, 0], -1, 1).astype(np.float32)

    def small(array, kind):
        return array.astype(ct.converters.mil.mil.types.nptype_from_builtin(kind))

    types = ct.converters.mil.mil.types

    @mb.program(input_specs=[mb.TensorSpec(shape=(1, 2, 9, 8))], opset_version=ct.target.iOS18)
    def main(x):
        if sparse:
            bits = small(mask, types.uint1)
            parts = {"indices_mask": bits, "indices_nonzero_data": small(indices[mask != 0], types.uint2)}
            wide, values = mb.constexpr_lut_to_sparse(**parts, lut=table, vector_axis=1)
            decoded = mb.constexpr_sparse_to_dense(nonzero_data=values, mask=wide)
        else:
            decoded = mb.constexpr_lut_to_dense(indices=small(indices, types.uint2), lut=table, vector_axis=1)
        return mb.conv(x=x, weight=decoded, pad_type="valid")

    path = tmp_path / "vectors.mlpackage"
    options = {"compute_precision": ct.precision.FLOAT32, "minimum_deployment_target": ct.target.iOS18}
    ct.convert(main, convert_to="mlprogram", **options).save(str(path))
    (result,) = coreml_runtime.load(path).run(X).values()
    torch.testing.assert_close(result[0], F.conv2d(X, torch.from_numpy(weight)), atol=1e-5, rtol=0)


@pytest.mark.parametrize(("bits", "mode"), [(16, "linear"), (8, "linear"), (5, "linear"), (3, "kmeans")])
def test_quantised_neural_networks_are_decoded(tmp_path, bits, mode):
    weight = np.random.default_rng(0).normal(size=(6, 2, 3, 3)).astype(np.float32)
    builder = NeuralNetworkBuilder(
        [("x", datatypes.Array(1, 2, 9, 8))], [("y", None)], disable_rank5_shape_mapping=True
    )
    builder.add_convolution(
        "conv", 2, 6, 3, 3, 1, 1, "valid", 1, weight.transpose(2, 3, 1, 0), None, False, input_name="x", output_name="y"
    )  # fmt: skip
    params = builder.spec.neuralNetwork.layers[0].convolution.weights
    if bits == 16:
        decoded = weight.astype(np.float16).astype(np.float32)
        del params.floatValue[:]
        params.float16Value = weight.astype(np.float16).tobytes()
    elif mode == "linear":
        quantised, scale, bias = quantization_utils._quantize_channelwise_linear(weight, bits, 0)
        decoded = quantised * scale.reshape(-1, 1, 1, 1) + bias.reshape(-1, 1, 1, 1)
        params.quantization.linearQuantization.scale.extend(map(float, scale))
        params.quantization.linearQuantization.bias.extend(map(float, bias))
    else:
        table = np.linspace(-2, 2, 2**bits).astype(np.float32)
        quantised = np.abs(weight[..., None] - table).argmin(-1)
        decoded = table[quantised]
        params.quantization.lookupTableQuantization.floatValue.extend(map(float, table))
    if bits < 16:
        del params.floatValue[:]
        params.quantization.numberOfBits = bits
        flat = quantised.flatten().astype(np.uint8)
        packed = quantization_utils._convert_array_to_nbit_quantized_bytes(flat, bits) if bits < 8 else flat
        params.rawValue = packed.tobytes()
    path = tmp_path / "quantised.mlmodel"
    path.write_bytes(builder.spec.SerializeToString())
    result = computed(coreml_runtime.load(path))
    expected = F.conv2d(X, torch.from_numpy(decoded.astype(np.float32)))
    torch.testing.assert_close(result, expected, atol=1e-4, rtol=0)


# Files from strangers


def test_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="There is no Core ML model at"):
        coreml_runtime.load(tmp_path / "nothing.mlpackage")


@pytest.mark.parametrize("convert_to", FORMATS)
@pytest.mark.parametrize("keep", [0, 1, 100, -1])
def test_truncated_specification(saved, tmp_path, convert_to, keep):
    source = saved[convert_to]
    content = (specification_of(source) if source.is_dir() else source).read_bytes()
    path = tmp_path / "short.mlmodel"
    path.write_bytes(content[:keep])
    with pytest.raises(
        ValueError, match=r"short\.mlmodel: .*convert it again" if keep else "short.mlmodel is empty"
    ):
        coreml_runtime.load(path)


def test_truncated_or_missing_weights(package):
    content = weights_of(package).read_bytes()
    for length in (0, 70, len(content) // 2, len(content) - 64):
        weights_of(package).write_bytes(content[:length])
        says = "weights/weight.bin is cut short" if length else "weight.bin is empty"
        with pytest.raises(ValueError, match=rf"copy\.mlpackage: {says}"):
            coreml_runtime.load(package)
    weights_of(package).unlink()
    with pytest.raises(ValueError, match=r"the weights file weights/weight\.bin is missing"):
        coreml_runtime.load(package)


def test_weights_of_another_size(package):
    content = bytearray(weights_of(package).read_bytes())
    content[72:80] = (2**40).to_bytes(8, "little")  # the size that the first record tells
    weights_of(package).write_bytes(content)
    with pytest.raises(ValueError, match="the declared shape needs"):
        coreml_runtime.load(package)


def first_weight(block):
    return next(
        operation
        for operation in block.operations
        if operation.type == "const" and operation.attributes["val"].HasField("blobFileValue")
    )


def test_forged_shape_takes_no_memory(package):
    def forge(specification, block):
        dimensions = first_weight(block).attributes["val"].type.tensorType.dimensions
        dimensions[0].constant.size = 2**40

    edit(package, forge)
    with pytest.raises(ValueError, match="GiB"):
        coreml_runtime.load(package)


def test_a_small_file_cannot_make_a_large_tensor(tmp_path):
    """32 doublings of 576 bytes would be 2.3 TiB."""

    def build(builder):
        previous = "x"
        for i in range(32):
            builder.add_concat_nd(f"double {i}", [previous, previous], f"v{i}", axis=0)
            previous = f"v{i}"
        builder.add_copy("last", previous, "y")

    with pytest.raises(ValueError, match=r"'concatND' called 'double \d+' makes a tensor of .* GiB"):
        network(tmp_path / "large.mlmodel", build)


def chain(*layers):
    return lambda b: [layer(b) for layer in layers]


HUGE = {
    "filled": lambda b: b.add_fill_static("f", "y", [2**20, 2**20], 1.0),
    "filled and summed up": chain(
        lambda b: b.add_fill_static("f", "z", [2**20, 2**20], 1.0),
        lambda b: b.add_reduce_sum("s", "z", "y", reduce_all=True),
    ),
    "many of a moderate size": chain(
        *(lambda b, i=i: b.add_fill_static(f"f{i}", f"z{i}", [2**26], 1.0) for i in range(9)),
        lambda b: b.add_elementwise("m", [f"z{i}" for i in range(9)], "y", "MAX"),
    ),
    "broadcast": lambda b: b.add_broadcast_to_static("f", "x", "y", [2**30, 2, 9, 8]),
    "repeated": lambda b: b.add_tile("f", "x", "y", [2**40, 1, 1, 1]),
    "one hot": lambda b: b.add_one_hot("f", ["x"], "y", one_hot_vector_size=2**40),
    "padded": lambda b: b.add_constant_pad("f", ["x"], "y", pad_amounts=[0, 2**40, 0, 0, 0, 0, 0, 0]),
    "edges repeated": lambda b: b.add_padding("f", 2**40, 0, 0, 0, 0.0, "x", "y", "replication"),
    "scaled up": lambda b: b.add_upsample("f", 2**20, 2**20, "x", "y"),
    "resized": lambda b: b.add_resize_bilinear("f", "x", "y", 2**40, 1),
    "windows": lambda b: b.add_lrn("f", "x", "y", 1.0, 1.0, 2**27),
    "a long product": chain(
        lambda b: b.add_fill_static("f", "z", [2**13, 2**13], 1.0),
        lambda b: b.add_batched_mat_mul("m", ["z", "z"], "y"),
    ),
}


@pytest.mark.parametrize("case", HUGE)
def test_no_layer_takes_memory_or_time_that_a_small_file_asks_for(tmp_path, case):
    with pytest.raises(ValueError, match=r"huge\.mlmodel: .* (GiB|operations) (from|for) one input"):
        network(tmp_path / "huge.mlmodel", HUGE[case])


def test_a_sequence_of_any_length_is_not_walked_through_when_a_file_is_opened(tmp_path):
    """65,536 steps would take seconds; a quarter of a thousand million took hours."""

    def build(x):
        weights = {"weight_ih": np.ones((8, 1), np.float32), "weight_hh": np.ones((8, 2), np.float32)}
        state = np.zeros((1, 2), np.float32)
        return mb.lstm(x=x, initial_h=state, initial_c=state, **weights, name="y")[0]

    calls = []
    linear = F.linear
    path = tmp_path / "lstm.mlpackage"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(F, "linear", lambda *inputs: calls.append(0) or linear(*inputs))
        program(path, (2**12, 1, 1), build)
    assert 0 < len(calls) < 10

    def lengthen(specification, block):
        function = specification.mlProgram.functions["main"]
        specification.description.input[0].type.multiArrayType.shape[0] = 2**28
        function.inputs[0].type.tensorType.dimensions[0].constant.size = 2**28

    edit(path, lengthen)
    with pytest.raises(ValueError, match=r"'lstm' called .* is not covered: a sequence of 268,435,456 steps"):
        coreml_runtime.load(path)


@pytest.mark.parametrize("target", ["../../../../../outside.bin", "@model_path/../../../../outside.bin"])
def test_no_path_leads_out_of_the_package(package, target):
    shutil.copy(weights_of(package), package.parent / "outside.bin")

    def forge(specification, block):
        first_weight(block).attributes["val"].blobFileValue.fileName = target

    edit(package, forge)
    with pytest.raises(ValueError, match=r"points out of the package|is missing"):
        coreml_runtime.load(package)


def test_no_link_leads_out_of_the_package(package):
    outside = package.parent / "outside.bin"
    shutil.move(weights_of(package), outside)
    try:
        weights_of(package).symlink_to(outside)
    except OSError:  # Windows without the right to make links
        return
    with pytest.raises(ValueError, match="points out of the package"):
        coreml_runtime.load(package)


def test_no_manifest_leads_out_of_the_package(package):
    shutil.copy(specification_of(package), package.parent / "outside.mlmodel")
    manifest = json.loads((package / "Manifest.json").read_text())
    root = manifest["rootModelIdentifier"]
    manifest["itemInfoEntries"][root]["path"] = "../../outside.mlmodel"
    (package / "Manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ValueError, match="points out of the package"):
        coreml_runtime.load(package)
    (package / "Manifest.json").write_text("[" * 100_000)
    with pytest.raises(ValueError, match="Manifest"):
        coreml_runtime.load(package)


def test_unknown_operators_are_refused_by_name(tmp_path, package):
    def forge(specification, block):
        next(operation for operation in block.operations if operation.type == "relu").type = "quantum_relu"

    edit(package, forge)
    with pytest.raises(ValueError, match=r"copy\.mlpackage: the operator 'quantum_relu' called '\w+' is not"):
        coreml_runtime.load(package)

    with pytest.raises(ValueError, match=r"the layer 'whereNonZero' called 'my places' is not covered"):
        network(tmp_path / "places.mlmodel", lambda builder: builder.add_where_nonzero("my places", "x", "y"))


NOT_COVERED = {
    "deconvolution to another size": lambda b: b.add_convolution(
        "f", 1, 2, 2, 2, 2, 2, "valid", 1, np.ones((2, 2, 1, 2)), None, False,
        is_deconv=True, output_shape=(19, 17), input_name="x", output_name="y",
    ),
    "K that depends on the input": lambda b: b.add_topk("f", ["x", "x"], ["y", "z"], axis=1),
    "padding to a size": lambda b: b.add_constant_pad(
        "f", ["x"], "y", pad_amounts=[0, 0, 0, 0, 0, 20, 0, 20], pad_to_given_output_size_mode=True
    ),
    "weights as an input": lambda b: b.add_convolution(
        "f", 2, 4, 3, 3, 1, 1, "valid", 1, None, None, False, input_name=["x", "x"], output_name="y"
    ),
    "random numbers": lambda b: b.add_random_normal_like("f", "x", "y"),
    "a recurrent layer": lambda b: b.add_simple_rnn(
        "f", np.ones((1, 1)), np.ones((1, 1)), None, 1, 1, "RELU", ["x", "h"], ["y", "h2"]
    ),
    "a shape as an input": lambda b: b.add_reshape_dynamic("f", ["x", "x"], "y"),
    "a layer of an app": lambda b: b.add_custom("f", ["x"], ["y"]),
}  # fmt: skip


@pytest.mark.parametrize("case", NOT_COVERED)
def test_a_valid_layer_that_is_not_covered_is_not_called_damaged(tmp_path, case):
    with pytest.raises(ValueError, match=r"called 'f' is not covered: .* on a Mac") as caught:
        network(tmp_path / "valid.mlmodel", NOT_COVERED[case])
    assert "damaged" not in str(caught.value)
    assert "Error" not in str(caught.value)


@pytest.mark.parametrize(
    ("edges", "remains"),
    [
        ((5, 4, 0, 0), "0 and 8"),
        ((0, 0, 0, 8), "9 and 0"),
        ((99, 0, 0, 0), "-90 and 8"),
        ((0, 0, 5, 4), "9 and -1"),
        ((-1, 0, 0, 0), "10 and 8"),
    ],
)
def test_a_crop_beyond_the_picture_is_refused_in_both_formats(tmp_path, edges, remains):
    """9 rows and 8 columns. What is cut off beyond the picture's end would leave an empty tensor."""
    top, bottom, left, right = edges
    says = (
        rf"'crop' called '\w+' cannot be computed: of 9 rows and 8 columns it would leave {remains}\. Convert"
    )
    if min(edges) >= 0:  # the older format has no numbers below 0
        with pytest.raises(ValueError, match=says):
            network(
                tmp_path / "a.mlmodel",
                lambda b: b.add_crop("f", left, right, top, bottom, [0, 0], ["x"], "y"),
            )

    def forge(specification, block):
        crop = next(operation for operation in block.operations if operation.type == "crop")
        for name, amounts in (("crop_height", edges[:2]), ("crop_width", edges[2:])):
            where = crop.inputs[name].arguments[0].name
            constant = next(o for o in block.operations if o.outputs and o.outputs[0].name == where)
            constant.attributes["val"].immediateValue.tensor.ints.values[:] = amounts

    path = tmp_path / "a.mlpackage"
    program(path, (1, 2, 9, 8), lambda x: mb.crop(x=x, crop_height=[1, 1], crop_width=[1, 1]))
    edit(path, forge)
    with pytest.raises(ValueError, match=says):
        coreml_runtime.load(path)


def test_an_argument_that_is_not_covered_is_named(package):
    def forge(specification, block):
        relu = next(operation for operation in block.operations if operation.type == "relu")
        relu.inputs["temperature"].CopyFrom(relu.inputs["x"])

    edit(package, forge)
    with pytest.raises(ValueError, match=r"'relu' called '\w+' is not covered: its argument 'temperature'"):
        coreml_runtime.load(package)


def test_a_decoder_without_its_prefix_is_no_operator(package):
    def forge(specification, block):
        next(operation for operation in block.operations if operation.type == "relu").type = "lut_to_dense"

    edit(package, forge)
    with pytest.raises(ValueError, match=r"the operator 'lut_to_dense' called '\w+' is not covered"):
        coreml_runtime.load(package)


def test_the_rank_of_old_response_norms_is_undecided(tmp_path):
    with pytest.raises(ValueError, match="'local_response_norm' called 'y' is not covered"):
        program(
            tmp_path / "lrn.mlpackage", (1, 3, 2), lambda x: mb.local_response_norm(x=x, size=2, name="y")
        )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
            "is a Git LFS pointer.*git lfs pull",
        ),
        (b"PK\x03\x04" + bytes(99), "is a ZIP archive"),
        (b"<!DOCTYPE html><html></html>", "is a web page"),
    ],
)
def test_what_is_taken_for_a_model_is_named(package, tmp_path, content, message):
    path = tmp_path / "model.mlmodel"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message) as caught:
        coreml_runtime.load(path)
    weights_of(package).write_bytes(content)
    with pytest.raises(ValueError, match=f"weight.bin {message}"):
        coreml_runtime.load(package)
    assert "damaged" not in str(caught.value)


def test_a_compiled_model_a_tree_and_several_functions_are_named(package, tmp_path):
    compiled = tmp_path / "x.mlmodelc"
    compiled.mkdir()
    with pytest.raises(ValueError, match=r"compiled model, which is not covered.*compiled from"):
        coreml_runtime.load(compiled)

    def functions(specification, block):
        specification.description.functions.add(name="main")

    edit(package, functions)
    with pytest.raises(ValueError, match="several functions, which is not covered"):
        coreml_runtime.load(package)
    tree = ct.proto.Model_pb2.Model(specificationVersion=1)
    tree.treeEnsembleClassifier.SetInParent()
    path = tmp_path / "tree.mlmodel"
    path.write_bytes(tree.SerializeToString())
    with pytest.raises(
        ValueError, match="a model of the kind 'treeEnsembleClassifier', which is not covered"
    ):
        coreml_runtime.load(path)


STRANGE = {
    "unary": lambda layer: setattr(layer.unary, "type", 99),
    "reorganize": lambda layer: (layer.reorganizeData.SetInParent(), setattr(layer.reorganizeData, "mode", 1)),
    "expand": lambda layer: layer.expandDims.axes.extend(range(1000)),
    "top": lambda layer: setattr(layer.topK, "axis", 77),
    "name": lambda layer: (layer.copy.SetInParent(), setattr(layer, "name", "\x1b[31m" + "n" * 5000), layer.input.extend("xx")),
}  # fmt: skip


@pytest.mark.parametrize("case", STRANGE)
def test_errors_hold_no_words_of_python_and_no_control_characters(tmp_path, case):
    with pytest.raises(ValueError, match=r"strange\.mlmodel: ") as caught:
        network(tmp_path / "strange.mlmodel", lambda b: b.add_unary("f", "x", "y", "exp"), STRANGE[case])
    text = str(caught.value)
    assert text.isprintable()
    assert len(text) < 2000
    assert not any(word in text for word in ("Error", "tuple", "NoneType", "argument", "__"))


def test_an_operator_that_contradicts_its_declaration_is_refused(package):
    def forge(specification, block):
        relu = next(operation for operation in block.operations if operation.type == "relu")
        relu.outputs[0].type.tensorType.dimensions[1].constant.size += 1

    edit(package, forge)
    with pytest.raises(ValueError, match=r"'relu' called '\w+' makes a tensor of shape .* the file declares"):
        coreml_runtime.load(package)


def test_a_result_of_another_kind_than_declared_is_refused(package):
    def forge(specification, block):
        relu = next(operation for operation in block.operations if operation.type == "relu")
        relu.outputs[0].type.tensorType.dataType = ct.proto.MIL_pb2.INT32

    edit(package, forge)
    with pytest.raises(ValueError, match=r"'relu' called '\w+' makes floats, the file declares integers"):
        coreml_runtime.load(package)


def test_whole_numbers_in_and_out(tmp_path):
    types = ct.converters.mil.mil.types
    table = np.arange(12, dtype=np.float32).reshape(4, 3)

    @mb.program(input_specs=[mb.TensorSpec(shape=(2,), dtype=types.int32)], opset_version=ct.target.iOS15)
    def main(x):
        return mb.gather(x=table, indices=x, axis=0, name="rows"), mb.add(x=x, y=np.int32(1), name="next")

    path = tmp_path / "whole.mlpackage"
    ct.convert(main, convert_to="mlprogram", compute_precision=ct.precision.FLOAT32).save(str(path))
    model = coreml_runtime.load(path)
    answer = model.predict({"x": [3, 0]})
    np.testing.assert_array_equal(answer["rows"], table[[3, 0]])
    np.testing.assert_array_equal(answer["next"], [4, 1])
    assert answer["next"].dtype == np.int32
    with pytest.raises(ValueError, match="'x' takes whole numbers"):
        model.predict({"x": [0.5, 1.0]})


def test_a_quotient_of_whole_numbers_is_refused(tmp_path):
    """Core ML's reference does not say how it is rounded, and a guess could be silently wrong."""
    types = ct.converters.mil.mil.types

    @mb.program(input_specs=[mb.TensorSpec(shape=(2,), dtype=types.int32)], opset_version=ct.target.iOS15)
    def main(x):
        return mb.real_div(x=x, y=np.int32(2))

    path = tmp_path / "quotient.mlpackage"
    ct.convert(main, convert_to="mlprogram", compute_precision=ct.precision.FLOAT32).save(str(path))
    with pytest.raises(ValueError, match="a quotient of whole numbers is rounded to is not defined"):
        coreml_runtime.load(path)


def test_a_name_made_twice_is_refused(package):
    def forge(specification, block):
        first, second = [operation for operation in block.operations if operation.type == "relu"][:2]
        second.outputs[0].name = first.outputs[0].name

    edit(package, forge)
    with pytest.raises(ValueError, match="is made twice"):
        coreml_runtime.load(package)


def test_damaged_bytes_are_an_error_or_a_model(saved, tmp_path):
    """One flipped byte anywhere: a model or a ValueError, never anything else."""
    source = saved["mlprogram"]
    content = specification_of(source).read_bytes()
    package = Path(shutil.copytree(source, tmp_path / "flipped.mlpackage"))
    generator = np.random.default_rng(0)
    refused = 0
    for position in generator.integers(0, len(content), 150):
        damaged = bytearray(content)
        damaged[position] ^= int(generator.integers(1, 256))
        specification_of(package).write_bytes(damaged)
        try:
            coreml_runtime.load(package)
        except ValueError as error:
            assert "flipped.mlpackage" in str(error)
            refused += 1
    assert refused > 20


# On a Mac, and elsewhere


def test_core_ml_itself_needs_a_mac(saved, monkeypatch):
    monkeypatch.setattr(sys, "platform", "linux")
    for engine in ("coreml", "both"):
        with pytest.raises(RuntimeError, match="only on a Mac"):
            coreml_runtime.load(saved["mlprogram"], engine=engine)
    with pytest.raises(ValueError, match="choose 'torch'"):
        coreml_runtime.load(saved["mlprogram"], engine="gpu")


@pytest.mark.parametrize("colour", ["RGB", "BGR", "GRAYSCALE", None])
def test_core_ml_is_given_what_it_takes(tmp_path, colour):
    """coremltools checks the inputs of ``predict`` before Core ML sees them; that part runs anywhere."""
    channels = 1 if colour == "GRAYSCALE" else 3
    shape = (1, channels, 6, 5)
    kind = ct.TensorType(name="x", shape=shape, dtype=np.float32)
    if colour:
        kind = ct.ImageType(name="x", shape=shape, color_layout=getattr(ct.colorlayout, colour))
    trace = torch.jit.trace(Mixer(channels).eval(), torch.rand(shape))
    path = tmp_path / "mixer.mlmodel"
    ct.convert(trace, inputs=[kind], convert_to="neuralnetwork").save(str(path))
    model = coreml_runtime.load(path)
    pixels = np.random.default_rng(0).integers(0, 256, (6, 5, 3)[: 3 if channels == 3 else 2], np.uint8)
    value = pixels if colour else pixels.transpose(2, 0, 1)[None].astype(np.float32)
    given = model._for_coreml("x", model._one(model.inputs["x"], value))
    np.testing.assert_array_equal(np.asarray(given), value)
    native = ct.models.MLModel(str(path), skip_model_load=True)
    native._verify_input_dict({"x": given})
    native._convert_tensor_to_numpy({"x": given})


def test_both_engines_are_compared(saved, monkeypatch):
    """Core ML does not run here; a stand-in that is 0.01 off must be noticed and be given PIL images."""

    class StandIn:
        def __init__(self, path, compute_units):
            assert compute_units is ct.ComputeUnit.ALL
            self.model = coreml_runtime.CoreMLModel(path)

        def predict(self, inputs):
            assert isinstance(inputs["image"], Image.Image)
            answer = self.model.predict(inputs)
            (name,) = [key for key, value in answer.items() if isinstance(value, dict)]
            answer[name][LABELS[3]] += 0.01
            return answer

    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(ct.models, "MLModel", StandIn)
    images = pictures(2, 32)
    model = coreml_runtime.load(saved["mlprogram"], engine="both")
    assert model.largest_difference == 0.0
    probs = model.probs(images)
    assert model.largest_difference == pytest.approx(0.01, abs=1e-6)
    difference = probs - coreml_runtime.load(saved["mlprogram"]).probs(images)
    torch.testing.assert_close(difference[:, 3], torch.full((2,), 0.01), atol=1e-5, rtol=0)


def test_loading_prints_nothing(saved):
    """Not even coremltools' own lines, which a fresh interpreter would show."""
    code = f"from helpers import coreml_runtime; coreml_runtime.load({str(saved['mlprogram'])!r})"
    root = Path(coreml_runtime.__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root)
    assert done.stdout + done.stderr == ""
