"""ONNX files that one did not export: open sizes, other types of numbers, old operators, and the command line."""

import subprocess
import sys

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch.nn import functional

from helpers import coreml, coreml_runtime
from helpers.onnx_coreml import VerificationError, convert
from helpers.onnx_coreml.__main__ import main
from helpers.plumbing import paths

LABELS = ["cat", "dog", "frog"]
both = pytest.mark.parametrize("target", ["13", "15"])


def network(
    shape=(1, 3, 8, 8), *, kind=TensorProto.FLOAT, before=(), opset=13, weights_are_inputs=False, extra=()
):
    """A small classifier of pictures: nodes of one's own, convolution, pooling, a linear layer, softmax."""
    random = np.random.default_rng(0)
    half = kind == TensorProto.FLOAT16
    weights = {"w": random.standard_normal((4, 3, 3, 3)), "f": random.standard_normal((4, 3)) * 3}
    weights = {name: w.astype(np.float16 if half else np.float32) for name, w in weights.items()}
    weights |= {name: np.asarray(w) for name, w in extra}
    node = helper.make_node
    nodes = [
        *(node(*parts[:3], **parts[3]) for parts in before),
        node("Conv", ["x" if not before else before[-1][2][0], "w"], ["c"]),
        node("Relu", ["c"], ["r"]),
        node("GlobalAveragePool", ["r"], ["g"]),
        node("Flatten", ["g"], ["l"]),
        node("MatMul", ["l", "f"], ["z"]),
        node("Softmax", ["z"], ["y"]),
    ]
    value = helper.make_tensor_value_info
    constants = [numpy_helper.from_array(w, name) for name, w in weights.items()]
    inputs = [value("x", kind, shape)]
    if weights_are_inputs:
        inputs += [value(w.name, w.data_type, w.dims) for w in constants]
    batch = shape[0] if shape and len(shape) == 4 else 1
    outputs = [value("y", kind if half else TensorProto.FLOAT, [batch, 3])]
    body = helper.make_graph(nodes, "stranger", inputs, outputs, constants)
    opsets = [helper.make_opsetid("", opset)]
    return helper.make_model(body, opset_imports=opsets, ir_version=3 if weights_are_inputs else 8)


CLASSIFIER = {"mode": "classifier", "class_labels": LABELS}
PICTURE = {"image_input_names": ["x"], "preprocessing_args": {"image_scale": 1 / 255}}


# Open sizes


@pytest.mark.parametrize(
    ("shape", "said"),
    [
        (("N", 3, 8, 8), r"size 1 of the input 'x', N×3×8×8; .*input_shape=\(1, 3, 8, 8\)"),
        ((1, 3, "height", "width"), r"sizes 3, 4 .*1×3×height×width; .*input_shape=\(1, 3, 224, 224\)"),
        ((None, 3, None, None), r"sizes 1, 3, 4 .*\?×3×\?×\?; .*input_shape=\(1, 3, 224, 224\)"),
        ((-1, 3, 8, 8), r"size 1 .*\?×3×8×8; .*input_shape=\(1, 3, 8, 8\)"),
        (None, r"every size of the input 'x', of any shape; .*input_shape=\(1, 3, 224, 224\)"),
    ],
)
def test_open_sizes_are_named_with_what_to_write_and_can_be_given(shape, said):
    with pytest.raises(ValueError, match=said):
        convert(network(shape), **PICTURE)
    for given in ((1, 3, 8, 8), {"x": [1, 3, 8, 8]}):
        convert(network(shape), input_shape=given, **PICTURE, **CLASSIFIER)


def test_a_size_with_a_name_is_fixed_wherever_it_has_it():
    value = helper.make_tensor_value_info
    body = helper.make_graph(
        [helper.make_node("Add", ["a", "b"], ["y"])],
        "two",
        [value(name, TensorProto.FLOAT, ["N", 4]) for name in "ab"],
        [value("y", TensorProto.FLOAT, ["N", 4])],
    )
    proto = helper.make_model(body, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    with pytest.raises(ValueError, match=r"input_shape=\{'a': \(1, 4\), 'b': \(1, 4\)\}"):
        convert(proto)
    converted = convert(proto, input_shape={"a": (2, 4)})
    assert [list(i.type.multiArrayType.shape) for i in converted.get_spec().description.input] == [
        [2, 4],
        [2, 4],
    ]
    with pytest.raises(ValueError, match="'N' is one size, and would be 1 and 2"):
        convert(proto, input_shape={"a": (1, 4), "b": (2, 4)})
    with pytest.raises(ValueError, match="one shape, and the model has 2 inputs"):
        convert(proto, input_shape=(1, 4))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ((1, 4, 8, 8), "size 2 is fixed, leave it 3"),
        ((1, 3, 8), "give 4 sizes instead of 3"),
        ((0, 3, 8, 8), "whole numbers above 0"),
        ((1.0, 3, 8, 8), "whole numbers above 0"),
        ("1,3,8,8", "whole numbers above 0"),
        ({"y": (1, 3, 8, 8)}, "has 'y', and the model's inputs are x"),
    ],
)
def test_sizes_that_do_not_fit_are_named(given, said):
    with pytest.raises(ValueError, match=said):
        convert(network(("N", 3, 8, 8)), input_shape=given)


# Types of numbers, order of sizes


@both
def test_weights_of_16_bits_are_converted_and_proved(target):
    proto = network(kind=TensorProto.FLOAT16)
    convert(proto, minimum_ios_deployment_target=target, **PICTURE, **CLASSIFIER)
    convert(proto, minimum_ios_deployment_target=target)


def test_a_model_that_needs_the_rounding_of_16_bits_is_refused():
    """A million times a number is infinite in 16 bits; a millionth of it is the number again in 32."""
    half, full = {"to": TensorProto.FLOAT16}, {"to": TensorProto.FLOAT}
    before = [
        ("Cast", ["x"], ["wide"], full),
        ("Mul", ["wide", "million"], ["large"], {}),
        ("Cast", ["large"], ["infinite"], half),
        ("Cast", ["infinite"], ["still"], full),
        ("Div", ["still", "million"], ["again"], {}),
        ("Cast", ["again"], ["v"], half),
    ]
    proto = network(kind=TensorProto.FLOAT16, before=before, extra=[("million", np.float32(1e6))])
    with pytest.raises(VerificationError, match="needs their rounding"):
        convert(proto)


CHANNELS_LAST = [("Transpose", ["x"], ["t"], {"perm": [0, 3, 1, 2]})]
NO_BATCH = [("Unsqueeze", ["x", "first"], ["u"], {})]
BOTH = [("Unsqueeze", ["x", "first"], ["u"], {}), ("Transpose", ["u"], ["t"], {"perm": [0, 3, 1, 2]})]
FIRST = [("first", np.array([0]))]


@both
@pytest.mark.parametrize(
    ("shape", "before"),
    [((3, 8, 6), NO_BATCH), ((1, 8, 6, 3), CHANNELS_LAST), ((8, 6, 3), BOTH)],
    ids=["no batch", "channels last", "both"],
)
def test_a_picture_may_be_without_a_batch_or_have_its_channels_last(shape, before, target, tmp_path):
    proto = network(shape, before=before, extra=FIRST)
    converted = convert(proto, minimum_ios_deployment_target=target, **PICTURE)
    kind = converted.get_spec().description.input[0].type.imageType
    assert (kind.height, kind.width) == (8, 6)


@both
def test_bytes_are_taken_where_they_are_cast(target):
    before = [("Transpose", ["x"], ["t"], {"perm": [0, 3, 1, 2]}), ("Cast", ["t"], ["v"], {"to": 1})]
    proto = network((1, 8, 6, 3), kind=TensorProto.UINT8, before=before)
    convert(proto, minimum_ios_deployment_target=target, image_input_names=["x"])
    convert(proto, minimum_ios_deployment_target=target)
    with pytest.raises(ValueError, match="takes bytes from 0 to 255 as they are"):
        convert(proto, **PICTURE)
    computed = network(
        kind=TensorProto.UINT8,
        before=[("Add", ["x", "x"], ["twice"], {}), ("Cast", ["twice"], ["v"], {"to": 1})],
    )
    with pytest.raises(ValueError, match="gives the bytes to Add as they are"):
        convert(computed)


# Old files


@both
def test_an_old_file_with_its_weights_among_the_inputs_converts(target):
    before = [("Dropout", ["x"], ["d"], {"ratio": 0.5}), ("Sum", ["d", "d"], ["s"], {})]
    proto = network(before=before, opset=7, weights_are_inputs=True)
    convert(proto, minimum_ios_deployment_target=target, **PICTURE, **CLASSIFIER)


def of_2018(is_test=1, version=6):
    """A classifier as PyTorch 0.4 exported it: a bias for each channel, dropout and batch norm that say they test."""
    random = np.random.default_rng(0)
    sizes = {
        "w": (4, 3, 3, 3),
        "b": (4,),
        "s": (4,),
        "m": (4,),
        "v": (4,),
        "slope": (4,),
        "f": (4, 3),
        "c": (3,),
    }
    weights = {
        name: random.random(size).astype(np.float32) * 2 - (name in "wf") for name, size in sizes.items()
    }
    node, value = helper.make_node, helper.make_tensor_value_info
    nodes = [
        node("Conv", ["x", "w"], ["conv"]),
        node("Add", ["conv", "b"], ["biased"], broadcast=1, axis=1),
        node("BatchNormalization", ["biased", "s", "b", "m", "v"], ["norm"], is_test=is_test),
        node("PRelu", ["norm", "slope"], ["relu"]),
        node("Dropout", ["relu"], ["drop", "mask"], is_test=is_test, ratio=0.5),
        node("GlobalMaxPool", ["drop"], ["pool"]),
        node("Flatten", ["pool"], ["flat"]),
        node("Gemm", ["flat", "f", "c"], ["z"], broadcast=1),
        node("Softmax", ["z"], ["y"]),
    ]
    constants = [numpy_helper.from_array(w, name) for name, w in weights.items()]
    inputs = [value("x", 1, [1, 3, 8, 8]), *(value(w.name, 1, w.dims) for w in constants)]
    body = helper.make_graph(nodes, "old", inputs, [value("y", 1, [1, 3])], constants)
    return helper.make_model(body, opset_imports=[helper.make_opsetid("", version)], ir_version=3), weights


@both
def test_a_file_of_2018_computes_what_it_says(target, tmp_path):
    proto, w = of_2018()
    converted = convert(proto, minimum_ios_deployment_target=target)
    path = coreml.save(converted, tmp_path / ("m.mlmodel" if target == "13" else "m.mlpackage"))
    x = np.random.default_rng(1).standard_normal((1, 3, 8, 8)).astype(np.float32)
    t = {name: torch.from_numpy(value) for name, value in w.items()}
    z = functional.conv2d(torch.from_numpy(x), t["w"]) + t["b"].view(4, 1, 1)
    z = functional.prelu(functional.batch_norm(z, t["m"], t["v"], t["s"], t["b"]), t["slope"])
    expected = (z.amax((2, 3)) @ t["f"] + t["c"]).softmax(1)
    assert coreml_runtime.load(path).predict({"x": x})["y"] == pytest.approx(expected.numpy(), abs=1e-5)


def test_older_files_and_those_in_training_mode_are_refused():
    with pytest.raises(ValueError, match="ONNX's version 3, of 2017, which ONNX Runtime does not run"):
        convert(of_2018(version=3)[0])
    with pytest.raises(ValueError, match="exported in training mode: its BatchNormalization"):
        convert(of_2018(is_test=0)[0])


def test_an_upgrade_that_computes_something_else_is_caught(monkeypatch):
    """The upgraded model is compared with the one in the file."""
    wrong = network(before=[("Neg", ["x"], ["n"], {})])
    monkeypatch.setattr(onnx.version_converter, "convert_version", lambda model, version: wrong)
    with pytest.raises(VerificationError):
        convert(network(opset=9))


def test_an_upgrade_that_onnx_cannot_make_is_named(monkeypatch):
    def fail(model, version):
        raise RuntimeError("No Adapter From Version $8 for Mystery")

    monkeypatch.setattr(onnx.version_converter, "convert_version", fail)
    with pytest.raises(ValueError, match=r"ONNX's version 9.*No Adapter.*opset_version=13"):
        convert(network(opset=9))


def test_functions_of_the_file_are_written_out():
    function = helper.make_function(
        "own",
        "Twice",
        ["a"],
        ["b"],
        [helper.make_node("Add", ["a", "a"], ["b"])],
        [helper.make_opsetid("", 13)],
    )
    proto = network(before=[("Twice", ["x"], ["t"], {"domain": "own"})])
    proto.functions.append(function)
    proto.opset_import.append(helper.make_opsetid("own", 1))
    convert(proto)


# Operators


@both
@pytest.mark.parametrize(
    ("kind", "opset", "options"),
    [
        ("Mish", 18, {}),
        ("Swish", 24, {"alpha": 1.5}),
        ("Shrink", 9, {"lambd": 0.5, "bias": 0.25}),
        ("ThresholdedRelu", 10, {"alpha": 0.5}),
        ("GlobalLpPool", 13, {"p": 3}),
        ("GlobalLpPool", 13, {}),
        ("LpNormalization", 13, {"axis": 1}),
        ("LpNormalization", 13, {"axis": -1, "p": 1}),
    ],
)
def test_an_operator_of_other_peoples_networks_converts(kind, opset, options, target):
    value = helper.make_tensor_value_info
    body = helper.make_graph(
        [helper.make_node(kind, ["x"], ["y"], **options)],
        "one",
        [value("x", TensorProto.FLOAT, [1, 4, 3, 5])],
        [value("y", TensorProto.FLOAT, None)],
    )
    proto = helper.make_model(body, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)
    convert(proto, minimum_ios_deployment_target=target)


# The command line


@pytest.fixture
def files(tmp_path):
    """An ONNX file with an open batch, and its labels."""
    onnx.save(network(("N", 3, 8, 8)), tmp_path / "n.onnx")
    (tmp_path / "labels.txt").write_text("\n".join(LABELS), encoding="utf-8")
    return tmp_path


def call(files, out="n.mlpackage", **more):
    """The arguments of the command."""
    options = {
        "image-input": "x",
        "scale": "1/255",
        "labels": str(files / "labels.txt"),
        "input-shape": "1,3,8,8",
    }
    given = [str(files / "n.onnx"), "-o", str(files / out)]
    return given + [f"--{name}={value}" for name, value in (options | more).items() if value is not None]


def test_the_command_writes_a_model_and_prints_the_proof(files, capsys):
    for out, target in (("n.mlpackage", "15"), ("n.mlmodel", None)):
        assert main(call(files, out, target=target)) == 0
        said = capsys.readouterr().out
        assert "input x: image, RGB, 8×8" in said
        assert "proof: 6 examples" in said and "classLabelProbs, 1×3: largest difference" in said
        assert "labels: 6 of 6 equal" in said
        image = np.random.default_rng(1).integers(0, 256, (8, 8, 3), np.uint8)
        assert set(coreml_runtime.load(files / out).predict({"x": image})["classLabelProbs"]) == set(LABELS)


def test_the_command_passes_on_bias_colour_order_and_precision(files, capsys):
    given = [*call(files, bias="-.5,-.4,1/2", precision="float16"), "--bgr", "--no-verify"]
    assert main(given) == 0
    said = capsys.readouterr().out
    assert "BGR" in said and "float16" in said and "not proved" in said
    model = coreml_runtime.load(files / "n.mlpackage")
    image = np.random.default_rng(1).integers(0, 256, (8, 8, 3), np.uint8)
    found = model.predict({"x": image})["classLabelProbs"]
    bias = np.float32([0.5, -0.4, -0.5]).reshape(1, 3, 1, 1)
    seen = image.transpose(2, 0, 1)[None, ::-1].astype(np.float32) / 255 + bias
    from onnx.reference import ReferenceEvaluator

    (expected,) = ReferenceEvaluator(network()).run(None, {"x": seen})
    assert [found[label] for label in LABELS] == pytest.approx(expected[0], abs=0.01)


def test_the_command_refuses_with_1_and_keeps_the_older_file(files, capsys):
    assert main(call(files)) == 0
    before = coreml_runtime.load(files / "n.mlpackage")
    (files / "labels.txt").write_text("cat\ndog", encoding="utf-8")
    for more, said in (
        ({}, "2 class labels"),
        ({"labels": str(files / "none.txt")}, "no label file"),
        ({"input-shape": None}, "input_shape=(1, 3, 8, 8)"),
        ({"image-input": "y"}, "has 'y'"),
    ):
        assert main(call(files, **more)) == 1
        captured = capsys.readouterr()
        assert said in captured.err and "Traceback" not in captured.err
    assert main([str(files / "gone.onnx"), "-o", str(files / "new.mlmodel")]) == 1
    assert not (files / "new.mlmodel").exists()
    assert coreml_runtime.load(files / "n.mlpackage").inputs == before.inputs


def test_a_difference_is_1_and_nothing_is_written(files, capsys, monkeypatch):
    from helpers.onnx_coreml import lowerings

    wrong = lambda context, node: lowerings.builder().sigmoid(  # noqa: E731
        x=context.values_map[node.input[0]], name=node.output[0]
    )
    monkeypatch.setitem(lowerings.LOWERINGS, "Relu", wrong)
    assert main(call(files)) == 1
    assert "computes something else than the ONNX file" in capsys.readouterr().err
    assert not (files / "n.mlpackage").exists()


@pytest.mark.parametrize(
    "more",
    [
        {"out": "n.onnx"},
        {"out": "n.mlmodel", "target": "15"},
        {"target": "14"},
        {"scale": "much"},
        {"scale": "1/0"},
        {"bias": "1,2"},
        {"input-shape": "1,3,eight"},
        {"precision": "float8"},
        {"image-input": None},
    ],
)
def test_a_wrong_call_is_2(files, more, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(call(files, **more))
    assert stopped.value.code == 2
    assert not list(files.glob("*.ml*"))


def test_the_help_fits_a_screen():
    command = [sys.executable, "-m", "helpers.onnx_coreml", "--help"]
    said = subprocess.run(
        command, capture_output=True, text=True, check=True, cwd=paths.ROOT, env={"COLUMNS": "80"}
    ).stdout.splitlines()
    assert len(said) <= 24 and max(map(len, said)) <= 80
    for name in ("MODEL", "--image-input", "--scale", "--bias", "--labels", "--target", "--no-verify"):
        assert any(name in line for line in said)
