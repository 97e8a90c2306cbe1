"""Image models of all ages, opened by the runtime: old array mapping, pipelines, several sizes, greys; the command."""

import warnings

import numpy as np
import pillow_heif
import pytest
import torch
from PIL import Image
from torch import nn
from torch.nn import functional as F

from helpers import coreml_runtime, photos
from helpers.coreml_runtime import __main__ as command
from helpers.coreml_runtime.archive import reason
from helpers.plumbing.quiet import coremltools, quiet
from tests.test_photos import profile

ct = coremltools()
mb = ct.converters.mil.Builder
datatypes, flexible = ct.models.datatypes, ct.models.neural_network.flexible_shape_utils
NeuralNetworkBuilder = ct.models.neural_network.NeuralNetworkBuilder
RANDOM = np.random.default_rng(0)
X = torch.from_numpy(RANDOM.normal(size=(4, 6, 5)).astype(np.float32))  # C×H×W


def numbers(*shape):
    return RANDOM.normal(size=shape).astype(np.float32)


def write(path, specification):
    path.write_bytes(specification.SerializeToString())
    return path


def old(path, shape, build, output=None):
    """A network whose arrays count as sequence, batch, C, H, W."""
    builder = NeuralNetworkBuilder([("x", datatypes.Array(*shape))], [("y", output)])
    build(builder)
    return coreml_runtime.load(write(path, builder.spec))


def pooled_same(mode):
    """Padding so that 5 columns make 3 of stride 2; the odd pixel goes to the end or to the start."""
    edges = (1, 1, 0, 1) if mode == "BOTTOM_RIGHT_HEAVY" else (1, 1, 1, 0)
    return F.max_pool2d(F.pad(X, edges, value=-torch.inf), 3, 2)


KERNEL, MATRIX = numbers(3, 3, 4, 2), numbers(7, 120)
MEAN, VARIANCE = numbers(4), np.abs(numbers(4)) + 0.5
# name: (the layers, what comes out of x)
OLD = {
    "convolution, same": (
        lambda b: b.add_convolution("f", 4, 2, 3, 3, 1, 1, "same", 1, KERNEL, None, False, input_name="x", output_name="y"),
        F.conv2d(X, torch.from_numpy(KERNEL).permute(3, 2, 0, 1), padding=1),
    ),
    **{
        f"pooling, same, {mode}": (
            lambda b, mode=mode: b.add_pooling("f", 3, 3, 2, 2, "MAX", "SAME", "x", "y", same_padding_asymmetry_mode=mode),
            pooled_same(mode),
        )
        for mode in ("BOTTOM_RIGHT_HEAVY", "TOP_LEFT_HEAVY")
    },
    "global pooling": (
        lambda b: b.add_pooling("f", 1, 1, 1, 1, "AVERAGE", "VALID", "x", "y", is_global=True),
        X.mean((1, 2), keepdim=True),
    ),
    "inner product of C·H·W": (
        lambda b: b.add_inner_product("f", MATRIX, None, 120, 7, False, "x", "y"),
        (torch.from_numpy(MATRIX) @ X.flatten())[:, None, None],
    ),
    "softmax over the channels": (lambda b: b.add_softmax("f", "x", "y"), X.softmax(0)),
    "flatten, channels first": (lambda b: b.add_flatten("f", 0, "x", "y"), X.reshape(-1, 1, 1)),
    "flatten, channels last": (lambda b: b.add_flatten("f", 1, "x", "y"), X.permute(1, 2, 0).reshape(-1, 1, 1)),
    "reshape": (lambda b: b.add_reshape("f", "x", "y", (6, 4, 5), 0), X.reshape(6, 4, 5)),
    "reshape, channels last": (
        lambda b: b.add_reshape("f", "x", "y", (6, 4, 5), 1),
        X.permute(1, 2, 0).reshape(4, 5, 6).permute(2, 0, 1),
    ),
    "permute": (lambda b: b.add_permute("f", [0, 3, 1, 2], "x", "y"), X.permute(2, 0, 1)),
    "scale": (
        lambda b: b.add_scale("f", MEAN, VARIANCE, True, "x", "y", [4], [4]),
        torch.from_numpy(MEAN)[:, None, None] * X + torch.from_numpy(VARIANCE)[:, None, None],
    ),
    "bias": (lambda b: b.add_bias("f", MEAN, "x", "y", [4]), X + torch.from_numpy(MEAN)[:, None, None]),
    "batch norm": (
        lambda b: b.add_batchnorm("f", 4, np.ones(4), MEAN, MEAN, VARIANCE, "x", "y"),
        F.batch_norm(X[None], *map(torch.from_numpy, (MEAN, VARIANCE)), torch.ones(4), torch.from_numpy(MEAN))[0],
    ),
    "instance norm": (
        lambda b: b.add_batchnorm("f", 4, np.ones(4), MEAN, None, None, "x", "y", True, True),
        F.instance_norm(X[None], weight=torch.ones(4), bias=torch.from_numpy(MEAN))[0],
    ),
    "response norm": (
        lambda b: b.add_lrn("f", "x", "y", 0.5, 0.75, 3, 2.0),
        F.local_response_norm(X[None], 3, 0.5, 0.75, 2.0)[0],
    ),
    **{
        f"reduce {mode} over {axis}": (
            lambda b, axis=axis, mode=mode: b.add_reduce("f", "x", "y", axis, mode),
            function(X, axes),
        )
        for mode, function in {
            "sum": lambda x, axes: x.sum(axes, keepdim=True),
            "avg": lambda x, axes: x.mean(axes, keepdim=True),
            "L2": lambda x, axes: x.square().sum(axes, keepdim=True).sqrt(),
            "max": lambda x, axes: x.amax(axes, keepdim=True),
        }.items()
        for axis, axes in {"CHW": (0, 1, 2), "HW": (1, 2), "C": (0,), "W": (2,)}.items()
    },
    "reduce argmax": (lambda b: b.add_reduce("f", "x", "y", "C", "argmax"), X.argmax(0, keepdim=True).float()),
    "reduce logsum": (
        lambda b: (b.add_unary("a", "x", "a", "abs"), b.add_reduce("f", "a", "y", "HW", "logsum")),
        (X.abs() + 1e-6).log().sum((1, 2), keepdim=True),
    ),
    "concat": (lambda b: b.add_elementwise("f", ["x", "x"], "y", "CONCAT"), torch.cat([X, X])),
    "multiply with one number per channel": (
        lambda b: (
            b.add_pooling("p", 1, 1, 1, 1, "MAX", "VALID", "x", "p", is_global=True),
            b.add_elementwise("f", ["x", "p"], "y", "MULTIPLY"),
        ),
        X * X.amax((1, 2), keepdim=True),
    ),
    "dot": (
        lambda b: (b.add_flatten("v", 0, "x", "v"), b.add_elementwise("f", ["v", "v"], "y", "COS")),
        torch.ones(1, 1, 1),
    ),
    "crop to the size of another": (
        lambda b: (
            b.add_pooling("p", 2, 2, 2, 2, "MAX", "VALID", "x", "p"),
            b.add_crop("f", 0, 0, 0, 0, [1, 2], ["x", "p"], "y"),
        ),
        X[:, 1:4, 2:4],
    ),
    "depth to space": (lambda b: b.add_reorganize_data("f", "x", "y", "DEPTH_TO_SPACE", 2), F.pixel_shuffle(X, 2)),
    "parametric softplus": (
        lambda b: b.add_activation("f", "PARAMETRICSOFTPLUS", "x", "y", [VARIANCE, np.abs(MEAN)]),
        torch.from_numpy(VARIANCE)[:, None, None]
        * F.softplus(torch.from_numpy(np.abs(MEAN))[:, None, None] * X),
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", OLD)
def test_layers_of_files_from_before_ios_13(tmp_path, case):
    build, expected = OLD[case]
    model = old(tmp_path / "old.mlmodel", X.shape, build)
    answer = model.predict({"x": X.numpy()})["y"]
    torch.testing.assert_close(torch.from_numpy(answer), expected, atol=1e-4, rtol=1e-4)
    batch = model.run(torch.stack([X, -X]))["y"]
    torch.testing.assert_close(batch[0], expected, atol=1e-4, rtol=1e-4)


def test_an_array_of_one_dimension_is_channels_and_the_answer_has_the_declared_shape(tmp_path):
    matrix = numbers(3, 5)
    model = old(
        tmp_path / "vector.mlmodel",
        (5,),
        lambda b: b.add_inner_product("f", matrix, None, 5, 3, False, "x", "y"),
        datatypes.Array(3),
    )
    x = numbers(5)
    np.testing.assert_allclose(model.predict({"x": x})["y"], matrix @ x, rtol=1e-5)
    with pytest.raises(ValueError, match="has 2 dimensions, not C or C×H×W"):
        old(tmp_path / "two.mlmodel", (5, 1), lambda b: b.add_softmax("f", "x", "y"))


# A classifier as Apple's gallery has them


def gallery(path, bits=32, mean_image=None, **preprocessing):
    """Convolution, pooling, fully connected, softmax on a picture of 8×6; its kernel and matrix."""
    kernel, matrix = numbers(3, 3, 3, 4), numbers(3, 4 * 4 * 3) * (1 if mean_image is None else 5e-4)
    builder = NeuralNetworkBuilder([("image", datatypes.Array(3, 8, 6))], [("probs", None)], "classifier")
    builder.add_convolution(
        "c", 3, 4, 3, 3, 1, 1, "same", 1, kernel, None, False, input_name="image", output_name="c"
    )
    builder.add_activation("r", "RELU", "c", "r")
    builder.add_pooling("p", 2, 2, 2, 2, "MAX", "VALID", "r", "p")
    builder.add_flatten("flat", 0, "p", "flat")
    builder.add_inner_product("full", matrix, None, 48, 3, False, "flat", "full")
    builder.add_softmax("s", "full", "probs")
    builder.set_class_labels(["cat", "dog", "hen"], prediction_blob="probs")
    builder.set_pre_processing_parameters(["image"], **preprocessing)
    specification = builder.spec
    if mean_image is not None:
        del specification.neuralNetworkClassifier.preprocessing[:]
        message = specification.neuralNetworkClassifier.preprocessing.add(featureName="image")
        message.meanImage.meanImage.extend(mean_image.ravel().tolist())
    if bits == 16:
        with quiet():
            model = ct.models.MLModel(specification, skip_model_load=True)
            specification = ct.models.neural_network.quantization_utils.quantize_weights(model, 16).get_spec()
    write(path, specification)
    kernel, matrix = torch.from_numpy(kernel).permute(3, 2, 0, 1), torch.from_numpy(matrix)

    def compute(x):
        x = F.max_pool2d(F.conv2d(x[None], kernel, padding=1).relu(), 2).flatten()
        return (matrix @ x).softmax(0)

    return compute


def test_an_old_classifier_scales_its_picture_and_answers_labels(tmp_path):
    path = tmp_path / "old.mlmodel"
    options = {"image_scale": 0.01, "red_bias": -1.0, "green_bias": 0.5, "blue_bias": 0.25, "is_bgr": True}
    for bits, atol in ((32, 1e-5), (16, 5e-3)):
        compute = gallery(path, bits, **options)
        model = coreml_runtime.load(path)
        pixels = RANDOM.integers(0, 256, (8, 6, 3), np.uint8)
        seen = torch.from_numpy(pixels[..., ::-1].copy()).permute(2, 0, 1) * 0.01
        expected = compute(seen + torch.tensor([0.25, 0.5, -1.0])[:, None, None])
        answer = model.predict({"image": Image.fromarray(pixels)})
        assert answer["classLabel"] == model.labels[int(expected.argmax())]
        np.testing.assert_allclose([*answer["probs"].values()], expected, atol=atol)
        assert model.preprocessing["image"].bias == (0.25, 0.5, -1.0)


def test_a_picture_of_means_is_taken_off(tmp_path):
    path, mean = tmp_path / "mean.mlmodel", 50 * numbers(3, 8, 6)
    compute = gallery(path, mean_image=mean)
    model = coreml_runtime.load(path)
    pixels = torch.from_numpy(RANDOM.integers(0, 256, (3, 8, 6), np.uint8))
    probs = model.probs(pixels[None])[0]
    torch.testing.assert_close(probs, compute(pixels - torch.from_numpy(mean)), atol=1e-5, rtol=0)
    assert probs.max() < 0.99  # else any picture would do
    assert model.preprocessing["image"].mean_image
    gallery(path, mean_image=mean[:2])
    with pytest.raises(ValueError, match="mean image has 96 numbers for 1×3×8×6"):
        coreml_runtime.load(path)


# Pipelines


def features(path, count=6, old_mapping=True):
    """A network that makes ``count`` features of a picture of 4×4; and the function."""
    matrix = numbers(count, 48)
    builder = NeuralNetworkBuilder(
        [("image", datatypes.Array(3, 4, 4))], [("features", datatypes.Array(count))],
        disable_rank5_shape_mapping=not old_mapping,
    )  # fmt: skip
    builder.add_flatten("flat", 0, "image", "flat")
    builder.add_inner_product("f", matrix / 500, None, 48, count, False, "flat", "features")
    builder.set_pre_processing_parameters(["image"])
    return builder.spec, lambda pixels: matrix / 500 @ pixels.astype(np.float32).ravel()


def linear(weights, offsets, labels, encoding="ReferenceClass", transform="Logit"):
    specification = ct.proto.Model_pb2.Model(specificationVersion=1)
    classifier, description = specification.glmClassifier, specification.description
    for row in weights:
        classifier.weights.add(value=row.tolist())
    classifier.offset.extend(offsets.tolist())
    classifier.classEncoding = classifier.ClassEncoding.Value(encoding)
    classifier.postEvaluationTransform = classifier.PostEvaluationTransform.Value(transform)
    classifier.stringClassLabels.vector.extend(labels)
    array = description.input.add(name="features").type.multiArrayType
    array.shape.append(weights.shape[1])
    array.dataType = array.DOUBLE
    description.output.add(name="label").type.stringType.SetInParent()
    description.output.add(name="chances").type.dictionaryType.stringKeyType.SetInParent()
    description.predictedFeatureName, description.predictedProbabilitiesName = "label", "chances"
    return specification


def pipeline(path, *members):
    """The models one after the other, with the first one's inputs and the last one's outputs."""
    specification = ct.proto.Model_pb2.Model(specificationVersion=1)
    specification.pipelineClassifier.pipeline.models.extend(members)
    specification.description.CopyFrom(members[-1].description)
    del specification.description.input[:]
    specification.description.input.extend(members[0].description.input)
    return write(path, specification)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


# encoding: (rows of weights, labels, the transform, what it makes of the scores)
ENCODINGS = {
    "first class as reference": ("ReferenceClass", 2, 3, "Logit", lambda s: np.exp([0, *s]) / np.exp([0, *s]).sum()),
    "two classes": ("ReferenceClass", 1, 2, "Logit", lambda s: [1 - sigmoid(s[0]), sigmoid(s[0])]),
    "two classes, one row": ("OneVsRest", 1, 2, "Logit", lambda s: [1 - sigmoid(s[0]), sigmoid(s[0])]),
    "one against the rest": ("OneVsRest", 3, 3, "Logit", lambda s: sigmoid(s) / sigmoid(s).sum()),
    "probit": (
        "ReferenceClass", 1, 2, "Probit",
        lambda s: [1 - torch.special.ndtr(torch.tensor(s[0])), torch.special.ndtr(torch.tensor(s[0]))],
    ),
}  # fmt: skip


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_network_and_a_linear_classifier(tmp_path, encoding):
    kind, rows, classes, transform, expected = ENCODINGS[encoding]
    network, compute = features(tmp_path)
    weights, offsets = RANDOM.normal(size=(rows, 6)), RANDOM.normal(size=rows)
    path = pipeline(
        tmp_path / "p.mlmodel", network, linear(weights, offsets, "abc"[:classes], kind, transform)
    )
    model = coreml_runtime.load(path)
    pixels = RANDOM.integers(0, 256, (5, 3, 4, 4), np.uint8)
    probs = model.probs(pixels)
    for one, found in zip(pixels, probs, strict=True):
        wanted = np.array(expected(weights @ compute(one) + offsets), float)
        np.testing.assert_allclose(found, wanted, atol=1e-5)
        answer = model.predict({"image": Image.fromarray(one.transpose(1, 2, 0))})
        assert answer["label"] == "abc"[int(wanted.argmax())]
        np.testing.assert_allclose([*answer["chances"].values()], wanted, atol=1e-5)
    assert "pipeline of a neural network and a linear classifier" in repr(model)


def test_two_networks_in_a_row(tmp_path):
    first, compute = features(tmp_path)
    matrix = numbers(3, 6)
    builder = NeuralNetworkBuilder([("features", datatypes.Array(6))], [("y", datatypes.Array(3))])
    builder.add_inner_product("f", matrix, None, 6, 3, False, "features", "y")
    model = coreml_runtime.load(pipeline(tmp_path / "two.mlmodel", first, builder.spec))
    pixels = RANDOM.integers(0, 256, (4, 4, 3), np.uint8)
    expected = matrix @ compute(pixels.transpose(2, 0, 1))
    np.testing.assert_allclose(model.predict({"image": pixels})["y"], expected, rtol=1e-4, atol=1e-5)


def test_programs_in_a_row_from_a_package(tmp_path):
    def part(name, build):
        @mb.program(input_specs=[mb.TensorSpec(shape=(1, 4))])
        def main(x):
            return build(mb.mul(x=x, y=2.0), name)

        options = {"compute_precision": ct.precision.FLOAT32, "minimum_deployment_target": ct.target.iOS15}
        return ct.convert(main, convert_to="mlprogram", skip_model_load=True, **options)

    with quiet(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        first = part("middle", lambda x, name: mb.add(x=x, y=1.0, name=name))
        second = part("end", lambda x, name: mb.sub(x=x, y=3.0, name=name))
        spec = second.get_spec()
        ct.utils.rename_feature(spec, "x", "middle")
        second = ct.models.MLModel(spec, weights_dir=second.weights_dir, skip_model_load=True)
        ct.utils.make_pipeline(first, second).save(str(tmp_path / "two.mlpackage"))
    model = coreml_runtime.load(tmp_path / "two.mlpackage")
    x = numbers(1, 4)
    np.testing.assert_allclose(model.predict({"x": x})["end"], (x * 2 + 1) * 2 - 3, rtol=1e-5)


def test_what_a_pipeline_does_not_have_is_named(tmp_path):
    path, (network, _) = tmp_path / "p.mlmodel", features(tmp_path)
    classifier = linear(numbers(2, 6), numbers(2), "abc")
    tree = ct.proto.Model_pb2.Model(specificationVersion=1)
    tree.description.CopyFrom(classifier.description)
    tree.treeEnsembleClassifier.SetInParent()
    vision = ct.proto.Model_pb2.Model(specificationVersion=3)
    vision.description.CopyFrom(network.description)
    vision.visionFeaturePrint.SetInParent()
    other = linear(numbers(2, 6), numbers(2), "abc")
    other.description.input[0].name = "words"
    seven = linear(numbers(2, 7), numbers(2), "abc")
    for members, says in {
        (
            0,
            1,
        ): "in its model 2 of 2, it is a model of the kind 'treeEnsembleClassifier', which is not covered: ",
        (
            2,
            3,
        ): "in its model 1 of 2, .*'visionFeaturePrint', which is not covered: Apple's network is in the system",
        (0, 4): "reads 'words', which no model before it makes",
        (0, 5): r"takes 'features' as 7, it is made as \(6,\)",
        (0, 3, 3): "several classifiers",
    }.items():
        chosen = [(network, tree, vision, classifier, other, seven)[number] for number in members]
        with pytest.raises(ValueError, match=says):
            coreml_runtime.load(pipeline(path, *chosen))
    with pytest.raises(ValueError, match="weights are not 1×6, for 2 labels"):
        coreml_runtime.load(pipeline(path, network, linear(numbers(2, 6), numbers(2), "ab")))


# Several sizes


def several(path, change, array=False, exact=True):
    """The mean of every channel, of a picture (or an array) of 8×6 or another size."""
    builder = NeuralNetworkBuilder(
        [("x", datatypes.Array(*((1, 3, 8, 6) if exact else (3, 8, 6))))], [("y", None)],
        disable_rank5_shape_mapping=exact,
    )  # fmt: skip
    builder.add_pooling("f", 1, 1, 1, 1, "AVERAGE", "VALID", "x", "y", is_global=True)
    if not array:
        builder.set_pre_processing_parameters(["x"])
    change(builder.spec)
    return coreml_runtime.load(write(path, builder.spec))


def some_sizes(spec):
    flexible.add_enumerated_image_sizes(
        spec, "x", [flexible.NeuralNetworkImageSize(12, 10), flexible.NeuralNetworkImageSize(4, 4)]
    )


def range_of_sizes(spec):
    sizes = flexible.NeuralNetworkImageSizeRange()
    sizes.add_height_range((4, 12))
    sizes.add_width_range((4, -1))
    flexible.update_image_size_range(spec, "x", sizes)


@pytest.mark.parametrize("exact", [True, False])
@pytest.mark.parametrize(
    ("change", "refused", "says"),
    [
        (some_sizes, (12, 4), r"takes 12×10 or 4×4 or 8×6 \(height"),
        (range_of_sizes, (13, 4), r"takes \(4 to 12\)×\(4 or more\) \(height"),
    ],
)
def test_a_picture_of_any_size_that_the_file_allows(tmp_path, change, refused, says, exact):
    model = several(tmp_path / "sizes.mlmodel", change, exact=exact)
    for height, width in ((8, 6), (12, 10), (4, 4), (12, 10)):
        pixels = RANDOM.integers(0, 256, (2, 3, height, width), np.uint8)
        found = model.run(pixels)["y"].reshape(2, 3)
        np.testing.assert_allclose(found, pixels.mean((2, 3)), rtol=1e-5)
        alone = model.predict({"x": pixels[0].transpose(1, 2, 0)})["y"].ravel()
        np.testing.assert_allclose(alone, pixels[0].mean((1, 2)), rtol=1e-5)
    with pytest.raises(ValueError, match=says):
        model.predict({"x": np.zeros((*refused, 3), np.uint8)})
    with pytest.raises(ValueError, match="the model takes N×3×"):
        model.run(np.zeros((2, 3, *refused), np.uint8))


@pytest.mark.parametrize("ranges", [True, False])
def test_an_array_of_any_shape_that_the_file_allows(tmp_path, ranges):
    def change(spec):
        if ranges:
            flexible.set_multiarray_ndshape_range(spec, "x", [1, 3, 4, 4], [1, 3, -1, 12])
        else:
            flexible.add_multiarray_ndshape_enumeration(spec, "x", [(1, 3, 12, 12), (1, 3, 4, 5)])

    model = several(tmp_path / "shapes.mlmodel", change, array=True)
    for shape in ((1, 3, 8, 6), (1, 3, 12, 12), (1, 3, 4, 5)):
        x = numbers(*shape)
        np.testing.assert_allclose(model.predict({"x": x})["y"], x.mean((2, 3), keepdims=True), atol=1e-5)
        assert model.run(np.concatenate([x, x]))["y"].shape == (2, 1, 3, 1, 1)
    with pytest.raises(ValueError, match=r"has the shape \(1, 3, 4, 13\), the model takes 1×3×"):
        model.predict({"x": numbers(1, 3, 4, 13)})


def test_a_program_of_several_sizes(tmp_path):
    network = nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    ).eval()
    shape = ct.EnumeratedShapes([(1, 3, 8, 8), (1, 3, 16, 12)], default=(1, 3, 8, 8))
    with quiet(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ct.convert(
            torch.jit.trace(network, torch.rand(1, 3, 8, 8)),
            inputs=[ct.ImageType(name="x", shape=shape, scale=1 / 255)],
            convert_to="mlprogram",
            compute_precision=ct.precision.FLOAT32,
            skip_model_load=True,
        ).save(str(tmp_path / "sizes.mlpackage"))
    model = coreml_runtime.load(tmp_path / "sizes.mlpackage")
    for size in ((8, 8), (16, 12)):
        pixels = torch.from_numpy(RANDOM.integers(0, 256, (2, 3, *size), np.uint8))
        (found,) = model.run(pixels).values()
        torch.testing.assert_close(found.reshape(2, 4), network(pixels / 255).detach(), atol=1e-5, rtol=0)
    with pytest.raises(ValueError, match=r"takes (8×8 or 16×12|16×12 or 8×8)"):
        model.predict({"x": Image.new("RGB", (12, 12))})


def test_a_layer_that_one_of_the_sizes_does_not_fit_is_named(tmp_path):
    builder = NeuralNetworkBuilder([("x", datatypes.Array(3, 8, 6))], [("y", None)])
    builder.add_inner_product("full", numbers(2, 144), None, 144, 2, False, "x", "y")
    builder.set_pre_processing_parameters(["x"])
    some_sizes(builder.spec)
    model = coreml_runtime.load(write(tmp_path / "fixed.mlmodel", builder.spec))
    with pytest.raises(ValueError, match="the operator 'innerProduct' called 'full' cannot be computed"):
        model.predict({"x": np.zeros((4, 4, 3), np.uint8)})


# Grey


def test_a_grey_picture_in_float16(tmp_path):
    image = ct.ImageType(name="x", shape=(1, 1, 4, 6), color_layout=ct.colorlayout.GRAYSCALE_FLOAT16)

    @mb.program(input_specs=[mb.TensorSpec(shape=(1, 1, 4, 6))], opset_version=ct.target.iOS16)
    def main(x):
        return mb.mul(x=x, y=3.0, name="y")

    path = tmp_path / "grey.mlpackage"
    with quiet():
        ct.convert(main, inputs=[image], convert_to="mlprogram", minimum_deployment_target=ct.target.iOS16,
            compute_precision=ct.precision.FLOAT32, skip_model_load=True).save(str(path))  # fmt: skip
    model = coreml_runtime.load(path)
    pixels = RANDOM.random((4, 6)).astype(np.float32)
    expected = pixels.astype(np.float16).astype(np.float32) * 3
    for given in (pixels, Image.fromarray(pixels)):
        (found,) = model.predict({"x": given}).values()
        np.testing.assert_allclose(found[0, 0], expected, rtol=1e-6)
    (batch,) = model.run(pixels[None, None]).values()
    np.testing.assert_allclose(batch[0, 0, 0], expected, rtol=1e-6)
    with pytest.raises(ValueError, match="the mode L, the model takes F"):
        model.predict({"x": Image.new("L", (6, 4))})
    with pytest.raises(ValueError, match=r"of the type uint8\. Give a PIL image or a float32 array"):
        model.predict({"x": np.zeros((4, 6), np.uint8)})


# Operators since iOS 15


def gathered(x, indices, axis, batch_dims):
    """By the definition of ``tf.gather``: one batch after the other."""
    if not batch_dims:
        return np.take(x, indices, axis)
    return np.stack([gathered(a, b, axis - 1, batch_dims - 1) for a, b in zip(x, indices, strict=True)])


def gathering(indices, axis, batch_dims):
    return lambda x: mb.gather(x=x, indices=indices, axis=axis, batch_dims=batch_dims, name="y")


Y = numbers(2, 3, 4, 5)
SHIFT = np.array([[0.5, 0.1, 0.2, -0.1, 0.8, -0.3]], np.float32)
GRID = dict(sampling_mode="bilinear", padding_mode="constant", padding_value=0.0, align_corners=True)
SINCE = {
    **{
        f"gather along {axis} in {batch} batch dimensions": (
            gathering(indices, axis, batch),
            gathered(Y, indices, axis, batch),
        )
        for axis, batch, indices in (
            (1, 1, np.array([[0, 2], [1, 1]], np.int32)),
            (3, 1, np.array([[0, 4, 3], [1, 1, 2]], np.int32)),
            (2, 2, RANDOM.integers(0, 4, (2, 3, 2, 2)).astype(np.int32)),
        )
    },
    "gather a scalar": (lambda x: mb.gather(x=x, indices=np.int32(2), axis=2, name="y"), Y[:, :, 2]),
    "resize": (
        lambda x: mb.resize(x=x, shape=[8, 0], resized_dims=np.uint32(2), sampling_mode="UNALIGN_CORNERS", name="y"),
        F.interpolate(torch.from_numpy(Y), (8, 5), mode="bilinear").numpy(),
    ),
    "resize to the nearest": (
        lambda x: mb.resize(x=x, shape=[1, 8, 10], resized_dims=np.uint32(2),
            interpolation_mode="NEAREST_NEIGHBOR", name="y"),
        Y.repeat(2, 2).repeat(2, 3),
    ),
    "affine": (
        lambda x: mb.affine(x=x, transform_matrix=SHIFT, output_height=3, output_width=6,
            coordinates_mode="normalized_minus_one_to_one", name="y", **GRID),
        F.grid_sample(
            torch.from_numpy(Y),
            F.affine_grid(torch.from_numpy(SHIFT).reshape(1, 2, 3).expand(2, 2, 3), [2, 3, 3, 6], True),
            align_corners=True,
        ).numpy(),
    ),
    "upsample between half pixels": (
        lambda x: mb.upsample_bilinear(x=x, scale_factor_height=2, scale_factor_width=2, align_corners=False,
            half_pixel_centers=True, name="y"),
        F.interpolate(torch.from_numpy(Y), scale_factor=2, mode="bilinear").numpy(),
    ),
    "crop": (lambda x: mb.crop(x=x, crop_height=[1, 0], crop_width=[2, 1], name="y"), Y[:, :, 1:, 2:-1]),
    "mirror on one side": (
        lambda x: mb.pad(x=x, pad=[0, 0, 2, 0], mode="reflect", name="y"),
        np.pad(Y, ((0, 0), (0, 0), (0, 0), (2, 0)), "reflect"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", SINCE)
def test_operators_since_ios_15(tmp_path, case):
    build, expected = SINCE[case]
    main = mb.program(input_specs=[mb.TensorSpec(shape=Y.shape)], opset_version=ct.target.iOS17)(build)
    path = tmp_path / "m.mlpackage"
    with quiet():
        ct.convert(main, convert_to="mlprogram", minimum_deployment_target=ct.target.iOS17,
            compute_precision=ct.precision.FLOAT32, skip_model_load=True).save(str(path))  # fmt: skip
    model = coreml_runtime.load(path)
    (name,) = model.inputs
    (found,) = model.predict({name: Y}).values()
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_every_refusal_has_a_reason():
    for kind in (
        "simpleRecurrent",
        "while_loop",
        "randomNormalStatic",
        "read_state",
        "custom",
        "conv_quantized",
    ):
        assert reason(kind) != reason("unheard of")
    assert reason("unheard of")


# The command


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """A classifier as .mlmodel, the same network as ONNX file, and a picture."""
    import onnx
    from onnx import helper, numpy_helper

    folder = tmp_path_factory.mktemp("command")
    builder = NeuralNetworkBuilder([("image", datatypes.Array(3, 4, 4))], [("probs", None)], "classifier")
    matrix = numbers(3, 48)
    builder.add_flatten("flat", 0, "image", "flat")
    builder.add_inner_product("f", matrix, None, 48, 3, False, "flat", "scores")
    builder.add_softmax("s", "scores", "probs")
    builder.set_class_labels(["cat", "dog", "hen"], prediction_blob="probs")
    builder.set_pre_processing_parameters(["image"], image_scale=1 / 255, is_bgr=True, blue_bias=0.5)
    write(folder / "m.mlmodel", builder.spec)
    nodes = [
        helper.make_node("Flatten", ["image"], ["flat"]),
        helper.make_node("Gemm", ["flat", "matrix"], ["scores"], transB=1),
        helper.make_node("Softmax", ["scores"], ["out"]),
    ]
    for name, values in (("m", matrix), ("other", matrix + 0.1 * numbers(3, 48))):
        graph = helper.make_graph(
            nodes, "g",
            [helper.make_tensor_value_info("image", 1, ["batch", 3, 4, 4])],
            [helper.make_tensor_value_info("out", 1, ["batch", 3])],
            [numpy_helper.from_array(values, "matrix")],
        )  # fmt: skip
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        onnx.save(model, folder / f"{name}.onnx")
    Image.fromarray(RANDOM.integers(0, 256, (40, 30, 3), np.uint8)).save(folder / "picture.png")
    return folder


def test_the_command_answers_for_pictures(pair, capsys):
    model, picture = str(pair / "m.mlmodel"), str(pair / "picture.png")
    assert command.main([model, picture, picture, "--top", "2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 and lines[0].startswith("picture.png: ")
    assert lines[0].count("%") == 2
    assert command.main([model, picture, "--squash"]) == 0
    assert capsys.readouterr().out.count("%") == 3
    assert command.main([model]) == 0
    assert "image 4×4, BGR" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["a.png", "a.heic"])
def test_the_command_sees_the_colours_of_a_photo_as_notebook_06_does(pair, capsys, tmp_path, name):
    path, plain = tmp_path / name, Image.new("RGB", (40, 30), (220, 60, 40))
    if name == "a.heic":
        pillow_heif.from_pillow(plain).save(path, quality=100, icc_profile=profile())
    else:
        plain.save(path, icc_profile=profile())
    model = coreml_runtime.load(pair / "m.mlmodel")
    seen = photos.open_photo(path).resize((4, 4))
    assert max(map(abs, np.subtract(seen.getpixel((2, 2)), (220, 60, 40)))) > 5  # Display P3 has other reds
    answer = model.predict({"image": seen})["probs"]
    assert command.main([str(pair / "m.mlmodel"), str(path), "--top", "3"]) == 0
    printed = capsys.readouterr().out
    assert all(f"{label} {share:.1%}" in printed for label, share in answer.items())


def test_the_command_compares_with_an_onnx_file(pair, capsys):
    model, picture = str(pair / "m.mlmodel"), str(pair / "picture.png")
    assert command.main([model, picture, "--check", str(pair / "m.onnx")]) == 0
    assert "agrees with m.onnx on 6 inputs: by up to" in capsys.readouterr().out
    assert command.main([model, "--check", str(pair / "other.onnx")]) == 1
    assert "DIFFERS from other.onnx on 5 inputs" in capsys.readouterr().out
    assert command.main([model, "--check", str(pair / "other.onnx"), "--tolerance", "1"]) == 0


def test_the_command_says_what_is_wrong(pair, capsys, tmp_path):
    model, picture = str(pair / "m.mlmodel"), str(pair / "picture.png")
    (tmp_path / "no.png").write_text("no picture")
    for arguments, says in (
        (["nowhere.mlmodel"], "There is no Core ML model"),
        ([model, str(tmp_path / "nowhere.png")], "There is no photo"),
        ([model, str(tmp_path / "no.png")], "is no picture that can be read"),
        ([picture], "picture.png is a picture (PNG). Give the path of the model"),
        ([model, "--check", picture], "ONNX"),
        ([model, "--check", str(tmp_path / "nowhere.onnx")], "nowhere.onnx"),
    ):
        assert command.main(arguments) == 1
        assert says in capsys.readouterr().err
    for arguments in ([], [model, "--top", "0"], [model, "--tolerance", "-1"], [model, "--nonsense"]):
        with pytest.raises(SystemExit) as caught:
            command.main(arguments)
        assert caught.value.code == 2


def test_the_help_fits_a_screen(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit) as caught:
        command.main(["--help"])
    lines = capsys.readouterr().out.splitlines()
    assert caught.value.code == 0
    assert len(lines) <= 24 and max(map(len, lines)) <= 80
