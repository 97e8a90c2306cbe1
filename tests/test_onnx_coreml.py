import numpy as np
import onnx
import pytest
import torch
from onnx import helper, numpy_helper

from helpers import coreml, coreml_runtime
from helpers.coreml.differences import largest_difference
from helpers.evaluation import evaluate
from helpers.model import AlexNet
from helpers.onnx_coreml import VerificationError, convert
from helpers.onnx_export import export_onnx
from helpers.plumbing.quiet import quiet

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
    with pytest.raises(
        ValueError, match=r"exported in training mode: its BatchNorm.*track_running_stats=True"
    ):
        convert(tmp_path / "a.onnx", **CALL)


def test_a_dropout_that_takes_no_notice_of_eval_is_named():
    weights = {"p": np.float32(0.5), "training": np.array(True)}
    proto = graph([("Dropout", ["x", "p", "training"], ["y"], {"name": "drop"})], *PAIR, weights)
    with pytest.raises(
        ValueError, match=r"its Dropout \(drop\).*training=self\.training\), or use nn\.Dropout"
    ):
        convert(proto)


def test_a_missing_and_a_damaged_file_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no .*gone\.onnx"):
        convert(tmp_path / "gone.onnx", **CALL)
    (tmp_path / "bad.onnx").write_bytes(b"\xff not onnx")
    with pytest.raises(ValueError, match=r"bad\.onnx is no ONNX file"):
        convert(tmp_path / "bad.onnx", **CALL)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "it is empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid", "Git LFS pointer.*git lfs pull"),
        (b"\n<!DOCTYPE html><html>", "a web page"),
        (b"\x1c\0\0\0TFL3", "TensorFlow Lite"),
        (b"PK\x03\x04 cut", "a ZIP archive that cannot be opened"),
    ],
)
def test_what_was_never_an_onnx_file_is_not_called_damaged(tmp_path, content, message):
    path = tmp_path / "a.onnx"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message) as caught:
        convert(path)
    assert "damaged" not in str(caught.value)


def test_torchscript_a_checkpoint_and_a_folder_are_told_apart(tmp_path):
    network = torch.nn.Linear(2, 2).eval()
    with quiet():
        torch.jit.trace(network, torch.rand(1, 2)).save(str(tmp_path / "script.pt"))
    torch.save(network.state_dict(), tmp_path / "weights.pth")
    none = "is no ONNX file: it is"
    for name, message in (
        ("script.pt", f"{none} TorchScript"),
        ("weights.pth", f"{none} a checkpoint"),
        ("", "is a folder, not a file"),
    ):
        with pytest.raises(ValueError, match=message):
            convert(tmp_path / name)


def test_a_missing_file_of_weights_is_named(onnx_file, tmp_path):
    onnx.save(onnx.load(onnx_file), tmp_path / "a.onnx", save_as_external_data=True, location="a.data")
    assert convert(tmp_path / "a.onnx", **CALL)
    (tmp_path / "a.data").unlink()
    with pytest.raises(FileNotFoundError, match=r"keeps its weights in 'a\.data', which is missing"):
        convert(tmp_path / "a.onnx", **CALL)
    with pytest.raises(ValueError, match="was loaded without its weights"):
        convert(onnx.load(tmp_path / "a.onnx", load_external_data=False), **CALL)


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
    with pytest.raises(ValueError, match=r"bad\.mlmodel is a text, not the file itself"):
        coreml.describe(tmp_path / "bad.mlmodel")
    with pytest.raises(FileNotFoundError, match=r"gone\.mlmodel"):
        coreml.describe(tmp_path / "gone.mlmodel")


# Graphs of a few nodes, for what AlexNet does not have


def graph(nodes, inputs, outputs, weights=None, opset=20):
    """An ONNX model. Inputs and outputs: name → shape (float), or name → (type, shape)."""

    def value(name, shape):
        kind, shape = shape if isinstance(shape, tuple) else (onnx.TensorProto.FLOAT, shape)
        return helper.make_tensor_value_info(name, kind, shape)

    constants = [numpy_helper.from_array(np.asarray(v), k) for k, v in (weights or {}).items()]
    body = helper.make_graph(
        [helper.make_node(kind, i, o, **more) for kind, i, o, more in nodes],
        "test",
        [value(*item) for item in inputs.items()],
        [value(*item) for item in outputs.items()],
        constants,
    )
    return helper.make_model(body, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)


def saved(converted, folder):
    ending = ".mlpackage" if converted.get_spec().HasField("mlProgram") else ".mlmodel"
    return coreml_runtime.load(coreml.save(converted, folder / f"model{ending}"))


both = pytest.mark.parametrize("target", ["13", "15"])


@both
def test_several_inputs_and_outputs_a_grey_picture_and_one_preprocessing_for_each(tmp_path, target):
    proto = graph(
        [
            ("Relu", ["image.1"], ["picture"], {}),
            ("Neg", ["grey"], ["minus"], {}),
            ("Abs", ["list"], ["far"], {}),
        ],
        {"image.1": [1, 3, 4, 5], "grey": [1, 1, 2, 3], "list": [2, 3]},
        {"picture": [1, 3, 4, 5], "minus": [1, 1, 2, 3], "far": [2, 3]},
    )
    pixels = [{"image_scale": 0.5, "red_bias": 3, "is_bgr": True}, {"gray_bias": 2}]
    converted = convert(
        proto,
        image_input_names=["image.1", "grey"],
        preprocessing_args=pixels,
        minimum_ios_deployment_target=target,
    )
    model = saved(converted, tmp_path)
    image = np.arange(60, dtype=np.uint8).reshape(4, 5, 3)
    grey = np.arange(6, dtype=np.uint8).reshape(2, 3)
    answer = model.predict({"image_1": image, "grey": grey, "list_workaround": -np.ones((2, 3))})
    seen = image.transpose(2, 0, 1)[::-1] * 0.5
    seen[2] += 3  # the network sees blue, green, red
    assert np.array_equal(answer["picture"][0], seen)
    assert np.array_equal(answer["minus"][0, 0], -(grey + 2.0))
    assert np.array_equal(answer["far"], np.ones((2, 3)))


@pytest.mark.parametrize(
    "pixels",
    [
        {"image_scale": 0.5, "green_bias": 7},
        {"one": {"image_scale": 0.5, "green_bias": 7}, "two": {"image_scale": 0.5, "green_bias": 7}},
        {"image_scale": {"one": 0.5, "two": 0.5}, "green_bias": 7},
    ],
    ids=["one dict for all", "one dict for each", "one number for each"],
)
def test_the_ways_to_give_preprocessing(tmp_path, pixels):
    proto = graph(
        [("Add", ["one", "two"], ["sum"], {})],
        {"one": [1, 3, 2, 2], "two": [1, 3, 2, 2]},
        {"sum": [1, 3, 2, 2]},
    )
    model = saved(convert(proto, image_input_names=["one", "two"], preprocessing_args=pixels), tmp_path)
    for name in ("one", "two"):
        assert model.preprocessing[name].scale == 0.5
        assert model.preprocessing[name].bias == (0, 7, 0)


@both
def test_an_output_becomes_a_picture(tmp_path, target):
    """Values 0 to 1 become pixels: value · scale + bias, blue first."""
    proto = graph([("Sigmoid", ["image"], ["out"], {})], {"image": [1, 3, 4, 5]}, {"out": [1, 3, 4, 5]})
    converted = convert(
        proto,
        image_input_names=["image"],
        image_output_names=["out"],
        deprocessing_args={"image_scale": 200, "red_bias": 10, "is_bgr": True},
        minimum_ios_deployment_target=target,
    )
    kind = converted.get_spec().description.output[0].type.imageType
    assert (kind.width, kind.height, kind.colorSpace) == (5, 4, kind.BGR)
    black = np.zeros((4, 5, 3), np.uint8)
    out = saved(converted, tmp_path).predict({"image": black})["out"]
    assert np.allclose(out[0, :, 0, 0], [100, 100, 110])


def test_a_regressor_says_that_it_is_one(tmp_path):
    proto = graph([("Abs", ["x"], ["price"], {})], {"x": [1, 4]}, {"price": [1, 4]})
    converted = convert(proto, mode="regressor")
    spec = converted.get_spec()
    assert spec.WhichOneof("Type") == "neuralNetworkRegressor"
    assert spec.description.predictedFeatureName == "price"
    assert saved(converted, tmp_path).predict({"x": [[-1, 2, -3, 4]]})["price"].tolist() == [[1, 2, 3, 4]]


@both
def test_the_label_output_may_have_another_name(tmp_path, onnx_file, target):
    converted = convert(
        onnx_file, minimum_ios_deployment_target=target, **CALL | {"predicted_feature_name": "thing"}
    )
    answer = saved(converted, tmp_path).predict({"image": np.zeros((32, 32, 3), np.uint8)})
    assert set(answer) == {"thing", "classLabelProbs"}


def test_a_classifier_may_have_more_outputs_and_its_names_may_be_taken(tmp_path):
    proto = graph(
        [("Relu", ["x"], ["probabilities"], {}), ("Softmax", ["probabilities"], ["classLabelProbs"], {})],
        {"x": [1, 3]},
        {"classLabelProbs": [1, 3]},
    )
    proto.graph.node.append(helper.make_node("ReduceSum", ["probabilities"], ["sum"], keepdims=1))
    proto.graph.output.append(helper.make_tensor_value_info("sum", 1, [1, 1]))
    for target in ("13", "15"):
        converted = convert(
            proto, mode="classifier", class_labels=["a", "b", "c"], minimum_ios_deployment_target=target
        )
        answer = saved(converted, tmp_path).predict({"x": [[1, 5, 1]]})
        assert (answer["classLabel"], answer["sum"].item()) == ("b", 7)
        assert answer["classLabelProbs"]["b"] == pytest.approx(0.965, abs=1e-3)


def test_the_models_own_texts_come_along(onnx_file):
    converted = convert(onnx_file, **CALL)
    assert "airplane" in converted.user_defined_metadata["classes"]


PAIR = {"x": [1, 3]}, {"y": [1, 3]}
PICTURE = [1, 3, 2, 2]


@both
def test_names_that_core_ml_writes_alike_are_not_confused(tmp_path, target):
    """ "a.b" and "a_b" are both "a_b" to Core ML, "图" and "像" both "var__"; so may a tensor inside be."""
    proto = graph(
        [("Sub", ["a_b", "a.b"], ["图"], {}), ("Neg", ["图"], ["a/b"], {}), ("Abs", ["a/b"], ["像"], {})],
        {"a_b": PICTURE, "a.b": PICTURE},
        {"图": PICTURE, "像": PICTURE},
    )
    for chosen, array in (("a.b", "a_b"), ("a_b", "a_b_2")):
        converted = convert(proto, image_input_names=[chosen], minimum_ios_deployment_target=target)
        model = saved(converted, tmp_path)
        assert isinstance(model.inputs[array], coreml_runtime.ArrayInput)
        (image,) = set(model.inputs) - {array}
        given = {array: np.full(PICTURE, 0.5), image: np.full((2, 2, 3), 2, np.uint8)}
        sign = 1 if chosen == "a.b" else -1
        values = [value.flat[0] for value in model.predict(given).values()]
        assert values == [sign * -1.5, 1.5]
    with pytest.raises(ValueError, match="under two names"):
        convert(proto, image_input_names=["a.b", "a_b_2"], minimum_ios_deployment_target=target)


@pytest.mark.parametrize("name", ["classLabel", "classLabelProbs", "classLabel_probs"])
def test_an_input_named_like_a_classifiers_output_is_refused(name):
    proto = graph([("Softmax", [name], ["y"], {})], {name: [1, 3]}, {"y": [1, 3]})
    with pytest.raises(ValueError, match=f"{name}"):
        convert(proto, mode="classifier", class_labels=["a", "b", "c"])


@both
@pytest.mark.parametrize("name", ["classLabel", "classLabelProbs", "classLabel_probs"])
def test_a_tensor_inside_may_be_named_like_a_classifiers_output(name, target):
    proto = graph([("Relu", ["x"], [name], {}), ("Softmax", [name], ["y"], {})], *PAIR)
    options = {"mode": "classifier", "minimum_ios_deployment_target": target}
    assert convert(proto, class_labels=["a", "b", "c"], **options)


@both
def test_labels_are_put_in_order_or_refused(tmp_path, target):
    proto = graph([("Softmax", ["x"], ["y"], {})], *PAIR)
    options = {"mode": "classifier", "minimum_ios_deployment_target": target}
    for given in ({2: "c", 0: "a", 1: "b"}, {"c": 2, "a": 0, "b": 1}):
        assert saved(convert(proto, class_labels=given, **options), tmp_path).labels == ["a", "b", "c"]
    with pytest.raises(ValueError, match="has no order"):
        convert(proto, class_labels={"a", "b", "c"}, **options)


def test_a_sequence_as_output_is_named():
    """scikit-learn's classifiers give a list of dicts."""
    proto = graph([("SequenceConstruct", ["x"], ["y"], {})], {"x": [1, 3]}, {})
    kind = helper.make_tensor_type_proto(1, [1, 3])
    proto.graph.output.append(helper.make_value_info("y", helper.make_sequence_type_proto(kind)))
    with pytest.raises(ValueError, match="'y' is a sequence type, and Core ML has arrays only"):
        convert(proto)


def lower_twice(context, node):
    from coremltools.converters.mil import Builder as mb

    return mb.mul(x=context.values_map[node.input[0]], y=2.0, name=node.output[0])


@pytest.mark.parametrize("key", ["Mystery", "node", "y"])
def test_a_lowering_of_ones_own(tmp_path, key):
    """By operator, node or output; here for an operator that nobody else knows."""
    proto = graph([("Mystery", ["x"], ["y"], {"name": "node", "domain": "my.own"})], *PAIR)
    proto.opset_import.append(helper.make_opsetid("my.own", 1))
    converted = convert(proto, custom_conversion_functions={key: lower_twice}, verify=False)
    assert saved(converted, tmp_path).predict({"x": [[1, 2, 3]]})["y"].tolist() == [[2, 4, 6]]
    with pytest.raises(VerificationError, match="ONNX Runtime cannot run this model"):
        convert(proto, custom_conversion_functions={key: lower_twice})


# The proof


@pytest.mark.parametrize(("target", "precision"), [("13", "float32"), ("15", "float32"), ("15", "float16")])
def test_a_wrong_lowering_is_an_error_that_names_the_layer(target, precision):
    proto = graph(
        [
            ("Relu", ["x"], ["a"], {"name": "first"}),
            ("Sigmoid", ["a"], ["b"], {"name": "second"}),
            ("Softmax", ["b"], ["y"], {"name": "third"}),
        ],
        *PAIR,
    )
    options = {"minimum_ios_deployment_target": target, "compute_precision": precision}
    labels = {"mode": "classifier", "class_labels": ["a", "b", "c"]}
    convert(proto, **options, **labels)
    wrong = {"custom_conversion_functions": {"Sigmoid": lower_twice}}
    with pytest.raises(VerificationError) as caught:
        convert(proto, **options, **labels, **wrong)
    error = caught.value
    assert (error.output, error.layer, error.tensor) == ("classLabelProbs", "Sigmoid", "b")
    assert error.difference == pytest.approx(abs(error.expected - error.found))
    assert error.difference > error.limit
    for part in (f"{error.expected:.6g}", f"{error.found:.6g}", "Sigmoid (second)", "the probability of '"):
        assert part in str(error)
    assert convert(proto, **options, **labels, **wrong, verify=False)


def test_a_layer_that_is_only_wrong_when_joined_to_others_is_found_by_halving(monkeypatch):
    """A pass of Core ML Tools that joins layers does nothing while every tensor is an output."""
    from helpers.onnx_coreml import arguments, conversion, proof

    nodes = [("Relu", ["x"], ["t0"], {})]
    nodes += [("Sigmoid", [f"t{n}"], [f"t{n + 1}"], {"name": f"node{n}"}) for n in range(5)]
    proto = graph(nodes, {"x": [1, 3]}, {"t5": [1, 3]})

    def lower(job):
        if len(job.proto.graph.output) == 1 and len(job.proto.graph.node) > 3:
            job.lowerings = {"node2": lower_twice}
        return conversion.lower(job)

    job = arguments.Job(proto, "15", "float32")
    layer = proof.first_difference(job, {"x": np.ones((1, 3), np.float32)}, lower)
    assert (layer.name, layer.tensor) == ("node2", "t3")


@pytest.mark.parametrize(
    ("expected", "found", "size"),
    [
        ([1, 2], [1, 2.5], 0.5),
        ([np.nan, np.inf], [np.nan, np.inf], 0),
        ([np.nan], [1], np.inf),
        ([np.inf], [-np.inf], np.inf),
        ([1, 2], [1], np.inf),
        ([], [], 0),
    ],
)
def test_the_largest_difference(expected, found, size):
    assert largest_difference(expected, found, 1e-4).size == size


def test_the_limit_grows_with_the_values_but_not_for_probabilities():
    assert not largest_difference([1000, 0], [1000, 0.01], 1e-4).too_large
    assert largest_difference([1000, 0], [1000, 0.01], 1e-4, probabilities=True).too_large


@pytest.mark.parametrize("axis", [1, 2])
def test_large_boxes_do_not_excuse_wrong_scores(axis):
    """A detector gives both in one array: 0 to 640 pixels, and 0 to 1."""
    head = np.stack([np.linspace(0, 640, 100), np.linspace(0, 1, 100)], axis - 1)[None]
    for row, too_large in ((0, False), (1, True)):
        wrong = head.copy()
        np.moveaxis(wrong, axis, 0)[row] += 0.05
        off = largest_difference(head, wrong, 0.02, among=[head, head])
        assert off.too_large is too_large


def test_the_proof_compares_shapes_and_kinds_of_numbers(monkeypatch):
    assert (
        largest_difference(np.zeros((1, 3, 5)), np.zeros((3, 5)), 1).reason
        == "its shape is 3×5 instead of 1×3×5"
    )
    assert largest_difference(np.zeros(3), np.zeros(3, int), 1).too_large
    assert not largest_difference(np.float32(1), np.ones(1), 1).too_large  # one number is an array of one
    proto = graph([("Relu", ["x"], ["y"], {})], *PAIR)

    def lower_flat(context, node):
        from coremltools.converters.mil import Builder as mb

        x = mb.squeeze(x=context.values_map[node.input[0]], axes=[0])
        return mb.relu(x=x, name=node.output[0])

    for target in ("13", "15"):
        with pytest.raises(VerificationError, match="its shape is 3 instead of 1×3"):
            convert(
                proto,
                custom_conversion_functions={"Relu": lower_flat},
                minimum_ios_deployment_target=target,
            )


@pytest.mark.parametrize(
    "nodes",
    [
        [("Mul", ["x", "tiny"], ["a"], {}), ("Relu", ["a"], ["y"], {})],
        [("Mul", ["x", "tiny"], ["a"], {}), ("Relu", ["a"], ["b"], {}), ("Softmax", ["b"], ["y"], {})],
        [("Relu", ["x"], ["a"], {}), ("Mul", ["a", "none"], ["y"], {})],
    ],
    ids=["tiny values", "nearly equal probabilities", "only zeros"],
)
@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_a_wrong_layer_shows_where_the_network_says_little(nodes, precision):
    """1e-4 of difference is no proof where all answers lie within 1e-4."""
    proto = graph(nodes, *PAIR, {"tiny": np.float32(1e-4), "none": np.float32(0)})
    options = {"minimum_ios_deployment_target": "15", "compute_precision": precision}
    if "Softmax" in str(nodes):
        options |= {"mode": "classifier", "class_labels": ["a", "b", "c"]}
    convert(proto, **options)
    with pytest.raises(VerificationError) as caught:
        convert(proto, **options, custom_conversion_functions={"Relu": lower_twice})
    assert caught.value.layer == "Relu"


def test_an_output_of_nothing_but_nan_proves_nothing():
    proto = graph([("Mul", ["x", "c"], ["y"], {})], *PAIR, {"c": np.float32(np.nan)})
    with pytest.raises(VerificationError, match="NaN for every example"):
        convert(proto)
    assert convert(proto, verify=False)


def test_a_lowering_that_forgets_negative_whole_numbers_is_caught():
    """Whole numbers of 0 and 1 would not see it."""
    proto = graph(
        [("Abs", ["x"], ["y"], {})],
        {"x": (onnx.TensorProto.INT32, [8])},
        {"y": (onnx.TensorProto.INT32, [8])},
    )

    def lower_same(context, node):
        from coremltools.converters.mil import Builder as mb

        return mb.identity(x=context.values_map[node.input[0]], name=node.output[0])

    convert(proto)
    with pytest.raises(VerificationError, match="Core ML -"):
        convert(proto, custom_conversion_functions={"Abs": lower_same})


def test_without_the_proof_onnx_runtime_is_not_needed(onnx_file, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert convert(onnx_file, verify=False, **CALL)
    with pytest.raises(ImportError):
        convert(onnx_file, **CALL)
    proto = onnx.load(onnx_file)
    softmax = proto.graph.node.pop()
    proto.graph.node[-1].output[0] = softmax.output[0]
    with pytest.raises(ValueError, match="ends in Gemm, so its output is not probabilities"):
        convert(proto, verify=False, **CALL)


def test_the_session_and_the_examples_are_made_once(onnx_file, monkeypatch):
    import onnxruntime

    made, real = [], onnxruntime.InferenceSession

    def session(model, *args, **options):
        made.append(len(model))
        return real(model, *args, **options)

    monkeypatch.setattr(onnxruntime, "InferenceSession", session)
    convert(onnx_file, **CALL)
    assert sum(size > 100_000 for size in made) == 1  # smaller ones fold constants


# What cannot be


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"minimum_ios_deployment_target": "14"}, "Take '13' for a file that runs on iOS 14, or '15'"),
        ({"mode": "regressor", "minimum_ios_deployment_target": "15"}, "ML program has no kind"),
        ({"compute_precision": "float16"}, "iOS 13 gets a neural network"),
        ({"image_input_names": ["x"]}, r"'x' cannot be an image: its shape is 1×3, .* leave it an array"),
        ({"preprocessing_args": {"image_scale": 2}}, "no input is an image"),
        ({"deprocessing_args": {"image_scale": 2}}, "no output is an image"),
        ({"image_output_names": ["z"]}, "'z', and the model's outputs are y"),
        ({"class_labels": ["a", "b", "c"]}, "add mode='classifier'"),
        ({"predicted_feature_name": "thing"}, "add mode='classifier'"),
        ({"onnx_coreml_input_shape_map": {"x": [1, 2]}}, "'x' will be 1×3. Leave the map out"),
        ({"onnx_coreml_input_shape_map": {"z": [1, 2]}}, "'z', and the model's inputs are x"),
        ({"custom_conversion_functions": {"Relu": lambda builder, node, graph, err: None}}, "layer builder"),
        ({"custom_conversion_functions": {"Tanh": lower_twice}}, "'Tanh', which is no operator"),
        ({"custom_conversion_functions": {"Relu": 7}}, "is 7, which is no function"),
        ({"mode": "classifier", "class_labels": []}, "class_labels is empty"),
        ({"mode": "classifier", "class_labels": ["a", "b"]}, "2 class labels for 3 outputs"),
    ],
)
def test_what_todays_core_ml_cannot_do_says_what_to_use(change, message):
    proto = graph([("Relu", ["x"], ["y"], {"name": "node"})], *PAIR)
    with pytest.raises(ValueError, match=message):
        convert(proto, **change)


@pytest.mark.parametrize(
    ("pixels", "message"),
    [
        ({"image_scale": [1, 2, 3]}, "one scale for all channels.*normalise_inside"),
        ({"image_scale": 0}, "leaves no picture"),
        ({"red_bias": "much"}, "'much'. Write a number"),
        ({"red_bias": {"picture": 1}}, "'picture', which is not one of the images"),
        ([{}, {}], "2 dicts for 1 images"),
        ({"gray_bias": 1}, "'gray_bias', and the image 'x' is coloured"),
        ([3], "is 3. Write a dict"),
    ],
)
def test_wrong_preprocessing_is_named(pixels, message):
    proto = graph([("Relu", ["x"], ["y"], {})], {"x": [1, 3, 4, 4]}, {"y": [1, 3, 4, 4]})
    with pytest.raises(ValueError, match=message):
        convert(proto, image_input_names=["x"], preprocessing_args=pixels)


@pytest.mark.parametrize(
    ("name", "message"),
    [("my label", "letters, digits"), ("x", "another input"), ("classLabelProbs", "another")],
)
def test_a_label_name_that_cannot_work_is_named(name, message):
    proto = graph([("Softmax", ["x"], ["y"], {})], *PAIR)
    with pytest.raises(ValueError, match=message):
        convert(proto, mode="classifier", class_labels=["a", "b", "c"], predicted_feature_name=name)


@pytest.mark.parametrize("add", [False, True])
def test_an_operator_without_a_lowering_is_named(add):
    proto = graph([("Det", ["x"], ["y"], {})], {"x": [3, 3]}, {"y": []})
    with pytest.raises(ValueError, match="No lowering is known for the operator Det") as caught:
        convert(proto, add_custom_layers=add)
    assert ("custom layer is Swift code" in str(caught.value)) is add


def test_an_input_that_core_ml_does_not_take_is_named():
    proto = graph(
        [("Not", ["x"], ["y"], {})], {"x": (onnx.TensorProto.BOOL, [2])}, {"y": (onnx.TensorProto.BOOL, [2])}
    )
    with pytest.raises(ValueError, match=r"'x' is of the type bool.* cast from float"):
        convert(proto)


def test_neither_a_softmax_over_the_batch_nor_a_log_softmax_gives_probabilities():
    for kind, options in (("Softmax", {"axis": 0}), ("LogSoftmax", {})):
        proto = graph([(kind, ["x"], ["y"], options)], *PAIR)
        with pytest.raises(ValueError, match=f"ends in {kind}, so its output is not probabilities"):
            convert(proto, mode="classifier", class_labels=["a", "b", "c"])
    proto = graph([("Sigmoid", ["x"], ["y"], {})], *PAIR)
    assert convert(proto, mode="classifier", class_labels=["a", "b", "c"])


def test_something_else_than_a_model_is_named():
    with pytest.raises(TypeError, match="of the type Linear"):
        convert(torch.nn.Linear(2, 2))


def test_the_callers_model_stays_as_it_was():
    proto = graph([("Softmax", ["x.1"], ["y.1"], {})], {"x.1": [1, 3]}, {"y.1": [1, 3]})
    before = proto.SerializeToString()
    convert(proto, mode="classifier", class_labels=["a", "b", "c"])
    assert proto.SerializeToString() == before


# Operators that onnx2coreml gets wrong, or refuses

SQUARE = {"kernel_shape": [3, 3]}
OPERATORS = {
    "MaxPool with holes": (
        "MaxPool",
        [],
        {"kernel_shape": [2, 2], "dilations": [2, 2]},
        [1, 2, 5, 6],
        [1, 2, 3, 4],
    ),
    "AveragePool with holes": (
        "AveragePool",
        [],
        SQUARE | {"dilations": [2, 1], "pads": [1, 0, 1, 1], "count_include_pad": 1},
        [1, 2, 5, 6],
        [1, 2, 3, 5],
    ),
    "AveragePool rounded up, the padding counts": (
        "AveragePool",
        [],
        SQUARE | {"strides": [2, 2], "pads": [0, 1, 1, 1], "ceil_mode": 1, "count_include_pad": 1},
        [1, 2, 5, 6],
        [1, 2, 3, 4],
    ),
    "Gelu by tanh": ("Gelu", [], {"approximate": "tanh"}, [1, 9], [1, 9]),
    "Reciprocal": ("Reciprocal", [], {}, [1, 9], [1, 9]),
    "Resize down": (
        "Resize",
        ["", "", np.array([1, 1, 3, 2])],
        {"mode": "nearest"},
        [1, 1, 5, 6],
        [1, 1, 3, 2],
    ),
    "Resize to a size that its scale misses": (  # 7 times 11/7 in 32 bits is a little less than 11
        "Resize",
        ["", "", np.array([1, 1, 11, 5])],
        {"mode": "cubic"},
        [1, 1, 7, 9],
        [1, 1, 11, 5],
    ),
    "Resize by cubes": (
        "Resize",
        ["", np.float32([1, 1, 2, 1.5])],
        {"mode": "cubic"},
        [1, 1, 4, 4],
        [1, 1, 8, 6],
    ),
    "Mod as in C": ("Mod", [np.float32([[2, -3, 0.5]])], {"fmod": 1}, [1, 3], [1, 3]),
    "Pad of one axis": ("Pad", [np.array([1, 2]), "", np.array([0])], {}, [2, 3], [5, 3]),
    "LayerNormalization, its mean": ("LayerNormalization", [np.float32([1, 2, 3])], {}, [2, 3], [2, 3]),
    "MatMul with a vector": ("MatMul", [np.float32([1, 2, 3])], {}, [1, 2, 3], [1, 2]),
    "ArgMax, the last": ("ArgMax", [], {"axis": 1, "select_last_index": 1}, [2, 3], [2, 1]),
    "Split unevenly": ("Split", [], {"axis": 1, "num_outputs": 2}, [1, 5], [1, 3]),
    "Max of one": ("Max", [], {}, [1, 3], [1, 3]),
}


def of_operator(name):
    kind, constants, options, before, after = OPERATORS[name]
    weights = {f"c{i}": c for i, c in enumerate(constants) if not isinstance(c, str)}
    inputs = ["x", *(f"c{i}" if f"c{i}" in weights else "" for i in range(len(constants)))]
    whole = (onnx.TensorProto.INT64, after)
    outputs = {"y": whole if kind == "ArgMax" else after}
    made = ["y"]
    if kind == "LayerNormalization":
        made, outputs = ["y", "mean", "scale"], {"y": after, "mean": [2, 1], "scale": [2, 1]}
    if kind == "Split":
        made, outputs = ["y", "z"], {"y": [1, 3], "z": [1, 2]}
    return graph(
        [(kind, inputs, made, options)],
        {"x": before},
        outputs,
        weights,
    )


@pytest.mark.parametrize("name", OPERATORS)
def test_an_operator_is_right(name, monkeypatch):
    """``convert`` proves each, in both formats; with onnx2coreml's own lowering there is an error."""
    from helpers.onnx_coreml import lowerings

    proto = of_operator(name)
    for target in ("13", "15"):
        convert(proto, minimum_ios_deployment_target=target)
    monkeypatch.delitem(lowerings.LOWERINGS, OPERATORS[name][0])
    with pytest.raises(ValueError):
        convert(proto, minimum_ios_deployment_target="15")


@pytest.mark.parametrize(("kind", "opset"), [("Upsample", 9), ("Resize", 10)])
@pytest.mark.parametrize("mode", ["nearest", "linear"])
@both
def test_the_first_ways_to_resize_convert(kind, opset, mode, target):
    proto = graph(
        [(kind, ["x", "c"], ["y"], {"mode": mode})],
        {"x": [1, 2, 3, 4]},
        {"y": [1, 2, 6, 12]},
        {"c": np.float32([1, 1, 2, 3])},
        opset=opset,
    )
    assert convert(proto, minimum_ios_deployment_target=target)


@pytest.mark.parametrize(
    ("kind", "inputs", "options"),
    [
        ("Selu", ["x"], {}),
        ("Selu", ["x"], {"alpha": 2.0, "gamma": 3.0}),
        ("Celu", ["x"], {"alpha": 2.0}),
        ("Softsign", ["x"], {}),
        ("LRN", ["x"], {"size": 3, "alpha": 0.5, "beta": 0.6, "bias": 2.0}),
        ("Sum", ["x", "x", "c"], {}),
        ("Mean", ["x", "c", "x"], {}),
        ("Dropout", ["x"], {}),
    ],
)
@both
def test_an_operator_of_older_networks_converts(kind, inputs, options, target):
    size = [1, 8, 3, 4]
    proto = graph(
        [(kind, inputs, ["y"], options)], {"x": size}, {"y": size}, {"c": np.float32(2.5)}, opset=13
    )
    if kind == "Dropout":  # an Identity would be left, and an output has one name
        proto.graph.node[0].output[0] = "same"
        proto.graph.node.append(helper.make_node("Neg", ["same"], ["y"]))
    convert(proto, minimum_ios_deployment_target=target)


@both
@pytest.mark.parametrize(
    "options",
    [
        {"output_padding": [2, 1], "pads": [1, 1, 1, 1]},
        {"output_padding": [1, 1]},
        {"output_shape": [20, 11]},
        {"auto_pad": "SAME_UPPER"},
        {"auto_pad": "SAME_LOWER", "output_shape": [20, 13]},
        {"pads": [0, 1, 2, 0]},
    ],
)
@pytest.mark.parametrize("bias", [False, True])
def test_a_transposed_convolution_of_any_size(options, bias, target):
    random = np.random.default_rng(0)
    weights = {"w": random.random((4, 3, 3, 2), np.float32), "b": random.random(6, np.float32)}
    inputs = ["x", "w", "b"] if bias else ["x", "w"]
    settings = {"strides": [3, 2], "group": 2} | options
    proto = graph([("ConvTranspose", inputs, ["y"], settings)], {"x": [1, 4, 7, 6]}, {"y": None}, weights)
    convert(proto, minimum_ios_deployment_target=target)


@both
@pytest.mark.parametrize("index", [0, -1])
@pytest.mark.parametrize("axis", [0, 2])
def test_a_gather_of_a_single_index_drops_the_dimension(axis, index, target):
    """A neural network's layer takes it for a list of one: a vision transformer's first token kept its dimension."""
    proto = graph(
        [("Gather", ["x", "i"], ["y"], {"axis": axis})], {"x": [2, 3, 4]}, {"y": None}, {"i": np.array(index)}
    )
    convert(proto, minimum_ios_deployment_target=target)


@pytest.mark.parametrize("kind", ["Squeeze", "ReduceSum", "Unsqueeze", "Clip"])
def test_axes_that_are_known_only_later_are_refused(kind):
    """onnx2coreml takes them for left out; "drop every dimension of size 1" is then silently wrong."""
    second = (onnx.TensorProto.FLOAT, []) if kind == "Clip" else (onnx.TensorProto.INT64, [1])
    proto = graph([(kind, ["x", "second"], ["y"], {})], {"x": [1, 3, 1, 5], "second": second}, {"y": None})
    with pytest.raises(ValueError, match=r"'second' (has to be a constant|is a single number)"):
        convert(proto)


def test_whole_numbers_are_divided_towards_0(tmp_path):
    proto = graph(
        [("Div", ["x", "c"], ["y"], {})],
        {"x": (onnx.TensorProto.INT64, [6])},
        {"y": (onnx.TensorProto.INT64, [6])},
        {"c": np.array([2, 2, -2, 3, -3, 7])},
    )
    for target in ("13", "15"):
        model = saved(convert(proto, minimum_ios_deployment_target=target), tmp_path)
        assert model.predict({"x": np.int32([7, -7, 7, -6, 6, -1])})["y"].tolist() == [3, -3, -3, -2, -2, 0]


def test_a_log_softmax_of_far_numbers_is_finite(tmp_path):
    """The logarithm of a softmax would be -∞ here."""
    proto = graph([("LogSoftmax", ["x"], ["y"], {})], *PAIR)
    for target in ("13", "15"):
        model = saved(convert(proto, minimum_ios_deployment_target=target), tmp_path)
        assert model.predict({"x": [[0, 200, 200]]})["y"][0] == pytest.approx(
            [-200.693, -0.693, -0.693], abs=1e-3
        )
