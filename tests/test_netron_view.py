"""``helpers.netron_view`` without a browser: what goes into the output, what stays out, and what is refused.

``test_netron_browser.py`` looks at the drawing itself.
"""

import atexit
import base64
import functools
import gzip
import html.parser
import io
import json
import logging
import os
import pickle
import re
import shutil
import subprocess
import sys
import tempfile
import tracemalloc
import urllib.error
import urllib.request
import zipfile
from pathlib import Path

import hostile
import numpy as np
import onnx
import pytest
import torch
from PIL import Image, ImageDraw
from torch import nn

from helpers import netron_view
from helpers.netron_view import __main__ as command
from helpers.netron_view import limits, models, page, pictures, read_pytorch
from helpers.plumbing.paths import ROOT

LABELS = ["aeroplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]


class Net(nn.Module):
    """AlexNet's shape for 32×32 images, 2.9 M parameters, its normalisation inside."""

    def __init__(self, width=192):
        super().__init__()
        self.register_buffer("mean", torch.tensor([0.49, 0.48, 0.45]).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor([0.25, 0.24, 0.26]).view(1, 3, 1, 1))
        layers = []
        plan = [(3, 64, 5, True), (64, 128, 5, True), (128, 256, 3, False), (256, width, 3, False)]
        for read, written, kernel, pool in [*plan, (width, width, 3, True)]:
            layers += [nn.Conv2d(read, written, kernel, padding=kernel // 2, bias=False)]
            layers += [nn.BatchNorm2d(written), nn.ReLU(), *([nn.MaxPool2d(2)] if pool else [])]
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(
            nn.Flatten(), nn.Linear(width * 16, 512), nn.ReLU(), nn.Dropout(), nn.Linear(512, 10)
        )

    def forward(self, images):
        images = (images - self.mean) / self.std
        return torch.softmax(self.classifier(self.features(images)), 1)


@functools.cache
def model_files() -> dict[str, Path]:
    """One network in every format, made once for both test files."""
    torch.manual_seed(0)
    folder = Path(tempfile.mkdtemp(prefix="netron_view"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    net = Net().eval()
    images = torch.rand(1, 3, 32, 32)
    names = {"input_names": ["image"], "output_names": ["probs"]}
    torch.onnx.export(net, (images,), folder / "old.onnx", dynamo=False, **names)
    torch.onnx.export(net, (images,), folder / "new.onnx", dynamo=True, external_data=False, **names)
    torch.onnx.export(net, (images,), folder / "external.onnx", dynamo=True, external_data=True, **names)
    torch.export.save(torch.export.export(net, (images,)), folder / "program.pt2")
    torch.save(net.state_dict(), folder / "state.pth")
    torch.save(net, folder / "whole.pth")

    import coremltools as ct

    traced = torch.jit.trace(net, images)
    for name, kind in (("network.mlmodel", "neuralnetwork"), ("program.mlpackage", "mlprogram")):
        ct.convert(
            traced,
            inputs=[ct.ImageType(name="image", shape=images.shape, scale=1 / 255)],
            classifier_config=ct.ClassifierConfig(list(LABELS)),
            convert_to=kind,
        ).save(str(folder / name))
    return {path.name: path for path in folder.iterdir()}


FORMATS = [
    "old.onnx", "new.onnx", "external.onnx", "network.mlmodel", "program.mlpackage", "program.pt2", "state.pth", "whole.pth",
]  # fmt: skip


@pytest.fixture(autouse=True)
def no_chromium(monkeypatch, tmp_path):
    """A learner's machine: no Chromium, and only the pictures that a test keeps."""
    monkeypatch.setattr(pictures, "BROWSERS", ())
    monkeypatch.delenv("CHROMIUM", raising=False)
    monkeypatch.setattr(pictures, "FOLDER", tmp_path / "still")


class Elements(html.parser.HTMLParser):
    """The elements of a piece of HTML, as a browser would find them."""

    def __init__(self, text):
        super().__init__()
        self.found = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))

    def named(self, tag):
        return [attributes for name, attributes in self.found if name == tag]


def frame(output: str) -> str:
    """The page inside the iframe of an output."""
    (iframe,) = Elements(output).named("iframe")
    return iframe["srcdoc"]


def bundle(text: str) -> dict[str, bytes]:
    """What a page carries, unpacked as host.js does it."""
    packed = re.search(r'id="bundle">([^<]*)</script>', text).group(1)
    index, _, data = gzip.decompress(base64.b64decode(packed)).partition(b"\n")
    entries = {}
    for name, length in json.loads(index):
        entries[name], data = data[:length], data[length:]
    assert data == b""
    return entries


def png(width=60, height=40) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (width, height), "white").save(buffer, "PNG")
    return buffer.getvalue()


# --- What is in the output


@pytest.mark.parametrize("name", ["old.onnx", "new.onnx"])
def test_the_output_for_alexnet_is_small(name):
    data, _ = netron_view.show(model_files()[name])._repr_mimebundle_()
    # The picture, twice in the output, has 25 to 36 kB; test_netron_browser.py adds it up with a real one.
    assert len(json.dumps(data)) < 320_000 - 2 * 48_000


@pytest.mark.parametrize("name", FORMATS)
def test_only_the_modules_and_operators_of_the_format_travel(name):
    entries = bundle(frame(netron_view.show(model_files()[name]).html()))
    modules = set(re.findall(r'defineNetronModule\("\./([\w-]+)\.js"', entries["netron.js"].decode()))
    format_ = next(format_ for format_ in page.FORMATS if f"{format_}-metadata.json" in entries)
    assert modules == {*page.MODULES, *page.FORMATS[format_]}
    known = json.loads(entries[f"{format_}-metadata.json"])
    assert len(known) <= 60  # of 877 for ONNX and 2,899 for PyTorch
    assert known or name == "state.pth"
    assert len(entries[f"{format_}-metadata.json"]) < 40_000
    if name == "new.onnx":
        assert {entry["name"] for entry in known} == {
            "Sub", "Div", "Conv", "Relu", "MaxPool", "Reshape", "Gemm", "Softmax",
        }  # fmt: skip
        assert [entry["version"] for entry in known if entry["name"] == "Relu"] == [14]


def test_the_same_model_gives_the_same_bytes(tmp_path):
    """In two processes with other hash seeds, as on two days: dates, sets and addresses would differ."""
    outputs = []
    for seed in ("1", "2"):
        out = tmp_path / f"{seed}.html"
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PATH": str(tmp_path), "CHROMIUM": ""}
        call = [sys.executable, "-m", "helpers.netron_view", str(model_files()["state.pth"]), "-o", str(out)]
        subprocess.run(call, check=True, env=environment, capture_output=True)
        outputs.append(out.read_bytes())
    assert outputs[0] == outputs[1]


@pytest.mark.parametrize("name", FORMATS)
def test_the_weights_stay_behind(name):
    """No sixteen bytes in a row of the classifier's weights, as float32 or as the float16 of an ML program."""
    weights = torch.load(model_files()["state.pth"])["classifier.1.weight"].numpy()
    entries = bundle(frame(netron_view.show(model_files()[name]).html()))
    carried = b"".join(content for entry, content in entries.items() if entry.startswith("model/"))
    assert len(carried) < 120_000
    for kind in ("float32", "float16"):
        row = weights[0].astype(kind).tobytes()
        assert row[:16] not in carried and row[-16:] not in carried


@pytest.mark.parametrize("name", ["old.onnx", "new.onnx", "external.onnx"])
def test_names_and_shapes_of_an_onnx_file_stay(name):
    path = model_files()[name]
    original = onnx.load(path, load_external_data=False)
    entries = bundle(frame(netron_view.show(path).html()))
    carried = onnx.load_model_from_string(entries[f"model/{name}"])
    tensors = [(tensor.name, tensor.data_type, list(tensor.dims)) for tensor in original.graph.initializer]
    assert [(t.name, t.data_type, list(t.dims)) for t in carried.graph.initializer] == tensors
    assert [(n.name, n.op_type, n.input, n.output, n.attribute) for n in carried.graph.node] == [
        (n.name, n.op_type, n.input, n.output, n.attribute) for n in original.graph.node
    ]
    # The mean and the deviation of the three colours are part of what the learner should see.
    means = [onnx.numpy_helper.to_array(t) for t in carried.graph.initializer if t.name == "mean"]
    if name != "external.onnx":
        np.testing.assert_allclose(np.ravel(means), [0.49, 0.48, 0.45], rtol=1e-6)


def test_names_and_shapes_of_a_neural_network_stay():
    from coremltools.proto import Model_pb2

    path = model_files()["network.mlmodel"]
    entries = bundle(frame(netron_view.show(path).html()))
    specs = [Model_pb2.Model(), Model_pb2.Model()]
    specs[0].ParseFromString(path.read_bytes())
    specs[1].ParseFromString(entries[f"model/{path.name}"])
    before, after = (list(spec.neuralNetworkClassifier.layers) for spec in specs)
    assert [(x.name, x.WhichOneof("layer"), x.input, x.output) for x in after] == [
        (x.name, x.WhichOneof("layer"), x.input, x.output) for x in before
    ]
    convolutions = [(x, y) for x, y in zip(before, after, strict=True) if x.HasField("convolution")]
    assert len(convolutions) == 5
    for x, y in convolutions:
        assert y.convolution.outputChannels == x.convolution.outputChannels
        assert list(y.convolution.weights.floatValue) == [x.convolution.weights.floatValue[0]]


@pytest.mark.parametrize("name", ["program.pt2", "state.pth", "whole.pth"])
def test_left_out_records_keep_their_length(name):
    """Netron refuses a tensor whose storage has another length than it says."""
    path = model_files()[name]
    model = models.read(path)
    with zipfile.ZipFile(path) as archive, zipfile.ZipFile(io.BytesIO(model.files[name])) as carried:
        sizes = {info.filename: info.file_size for info in archive.infolist()}
        assert len(model.hollow) >= 24
        for record, length in model.hollow.items():
            assert sizes[record] == length > read_pytorch.KEEP_BYTES
            assert carried.read(record) == b""
        for info in carried.infolist():
            if info.filename not in model.hollow and not info.filename.endswith("models/model.json"):
                assert carried.read(info) == archive.read(info.filename)


@pytest.mark.parametrize("name", FORMATS)
def test_no_path_of_the_exporting_machine_travels(name):
    folder = str(Path(__file__).parent)
    here = folder.encode(), json.dumps(folder)[1:-1].encode()  # as it is, and as JSON may write it
    if name in ("new.onnx", "program.pt2"):  # else this test looks for what was never there
        raw = model_files()[name].read_bytes()
        assert any(path in raw for path in here)
    entries = bundle(frame(netron_view.show(model_files()[name]).html()))
    assert not [entry for entry, content in entries.items() if any(path in content for path in here)]


# --- The outline, the key and the picture


def test_the_outline_names_layers_operators_and_shapes():
    lines = netron_view.outline(model_files()["new.onnx"]).splitlines()
    assert lines[0] == "new.onnx (ONNX)"
    rows = [line.split() for line in lines[2:]]
    assert rows[0] == ["image", "input", "1×3×32×32"]
    assert [row[1:] for row in rows if row[1] == "Conv"][1] == ["Conv", "1×128×16×16", "128×64×5×5"]
    assert rows[-1] == ["probs", "output", "1×10"]


@pytest.mark.parametrize(
    ("name", "count", "row"),
    [
        ("old.onnx", 20, ["/classifier/classifier.4/Gemm", "Gemm", "1×10", "10×512,", "10"]),
        ("external.onnx", 20, None),
        ("network.mlmodel", 22, ["input.13", "convolution"]),
        ("program.mlpackage", 23, ["input_13_cast_fp16", "conv", "1×128×16×16", "128×64×5×5"]),
        ("program.pt2", 26, ["conv2d_1", "aten.conv2d.default", "1×128×16×16", "128×64×5×5"]),
        ("state.pth", 13, ["features.1", "weights", "64,", "64,", "64,", "64,", "=", "0"]),
        ("whole.pth", 23, ["classifier.4", "Linear", "10×512,", "10"]),
    ],
)
def test_every_format_has_an_outline(name, count, row):
    graph = models.read(model_files()[name]).graph
    rows = [line.split() for line in netron_view.outline(model_files()[name]).splitlines()]
    assert row is None or row in rows
    assert abs(len(graph.layers) - count) <= 2, [layer.operator for layer in graph.layers]


def test_the_key_follows_the_graph_and_not_the_training(tmp_path):
    torch.manual_seed(1)
    keys = []
    for name, net in (("a", Net()), ("b", Net()), ("c", Net(width=160))):
        torch.onnx.export(net.eval(), (torch.rand(1, 3, 32, 32),), tmp_path / f"{name}.onnx", dynamo=False)
        keys.append(models.read(tmp_path / f"{name}.onnx").graph.key())
    assert keys[0] == keys[1] != keys[2]


def test_without_a_picture_there_is_the_outline():
    view = netron_view.show(model_files()["new.onnx"])
    data, metadata = view._repr_mimebundle_()
    elements = Elements(data["text/html"])
    assert "image/png" not in data and metadata == {}
    assert not elements.named("img")
    assert elements.named("pre") == [{"class": "still"}]
    assert "node_softmax" in data["text/html"]
    assert data["text/plain"] == repr(view) == netron_view.outline(model_files()["new.onnx"])


def test_a_kept_picture_is_used_for_the_graph_and_the_options_that_it_shows():
    path = model_files()["new.onnx"]
    key = models.read(path).graph.key()
    pictures.keep(key, png(900, 600))
    data, metadata = netron_view.show(path)._repr_mimebundle_()
    (image,) = Elements(data["text/html"]).named("img")
    assert image["src"] == "data:image/png;base64," + data["image/png"]
    assert base64.b64decode(data["image/png"]) == png(900, 600)
    assert image["width"] == "900" and metadata["image/png"] == {"width": 900, "height": 600}
    assert image["alt"].startswith(
        "Graph of new.onnx from image 1×3×32×32 to probs 1×10: Sub, Div, Conv, Relu"
    )
    assert not Elements(data["text/html"]).named("pre")
    assert Elements(netron_view.show(path, attributes=True).html()).named("pre"), "another drawing"


def test_a_chromium_that_fails_is_passed_over(monkeypatch, tmp_path):
    program = tmp_path / "chromium"
    program.write_text("#!/bin/sh\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setenv("CHROMIUM", str(program))
    assert pictures.browser() == str(program)
    with pytest.raises(netron_view.PictureError, match="stopped"):
        netron_view.picture(model_files()["old.onnx"])
    assert Elements(netron_view.show(model_files()["old.onnx"]).html()).named("pre")


def test_no_chromium_is_said_where_a_picture_was_asked_for():
    with pytest.raises(netron_view.PictureError, match="environment variable CHROMIUM"):
        netron_view.picture(model_files()["old.onnx"])


def test_a_tall_picture_is_folded_between_its_nodes():
    """Twenty boxes on a line, each with a frame: after folding there are still twenty whole boxes, side by side."""
    drawn = Image.new("RGB", (300, 4100), "white")
    pen = ImageDraw.Draw(drawn)
    pen.line([(150, 0), (150, 4100)], fill="black", width=3)
    for number in range(20):
        top = 200 * number + 30 + 7 * (number % 5)
        pen.rectangle([40, top, 259, top + 159], fill=(51, 85, 136))
    buffer = io.BytesIO()
    drawn.save(buffer, "PNG")
    folded = pictures._fold(buffer.getvalue())
    image = np.asarray(Image.open(io.BytesIO(folded)).convert("RGB")).astype(int)
    blue = abs(image - [51, 85, 136]).sum(axis=2) < 30
    heights = []
    for column in blue.T:
        edges = np.diff(np.concatenate([[0], column, [0]]).astype(int))
        heights += list(np.flatnonzero(edges == -1) - np.flatnonzero(edges == 1))
    assert len(heights) == 20 * 220 * 0.75
    assert min(heights) >= 118 and max(heights) <= 121  # 160 × 0.75
    assert image.shape[1] > 3 * 220 * 0.75 and image.shape[0] < 3000 / 3 + 200
    assert pictures.size(folded) == (image.shape[1], image.shape[0])
    assert (image[0] == 255).all(), "the ground stays white"


def test_a_cut_is_made_in_the_middle_of_a_gap():
    ink = np.array([9] * 40 + [2] * 6 + [9] * 54)
    assert pictures._cut(ink, target=50, reach=15) == 42
    assert pictures._cut(np.full(100, 9), target=50, reach=15) == 49


# --- What a file must not be able to do

HOSTILE = """"><script>top.hacked=1</script><img src=x onerror=top.hacked=1></iframe><!--{{host}}"""


def hostile_model(folder: Path) -> Path:
    """An ONNX file with markup in its file name, in every name and in every text."""
    path = folder / """a"b<img src=x onerror=top.hacked=1>&quot;.onnx"""
    node = onnx.helper.make_node("Relu", [HOSTILE], ["y"], name=HOSTILE, doc_string=HOSTILE)
    custom = onnx.helper.make_node(HOSTILE, ["y"], ["z"], domain="bad", name="custom")
    function = onnx.helper.make_function(
        "bad", HOSTILE, ["a"], ["b"], [onnx.helper.make_node("Relu", ["a"], ["b"])],
        [onnx.helper.make_opsetid("", 20)],
    )  # fmt: skip
    function.doc_string = HOSTILE + '<meta http-equiv="refresh" content="0;url=http://evil.invalid/">'
    graph = onnx.helper.make_graph(
        [node, custom],
        HOSTILE,
        [onnx.helper.make_tensor_value_info(HOSTILE, onnx.TensorProto.FLOAT, [1, HOSTILE])],
        [onnx.helper.make_tensor_value_info("z", onnx.TensorProto.FLOAT, [1])],
        doc_string=HOSTILE,
    )
    opsets = [onnx.helper.make_opsetid("", 20), onnx.helper.make_opsetid("bad", 1)]
    model = onnx.helper.make_model(graph, functions=[function], opset_imports=opsets, producer_name="p")
    onnx.helper.set_model_props(
        model, {"license": HOSTILE, "license_url": "javascript:top.hacked=1", "note": HOSTILE}
    )
    path.write_bytes(model.SerializeToString())
    return path


def test_markup_in_a_model_is_text(tmp_path):
    path = hostile_model(tmp_path)
    out = netron_view.save_html(path, tmp_path / "out.html").read_text(encoding="utf-8")
    elements = Elements(out)
    (iframe,) = elements.named("iframe")
    assert iframe["sandbox"] == "allow-scripts"  # and no allow-same-origin
    assert not elements.named("script") and not elements.named("img")
    assert not [attributes for _, attributes in elements.found if "onerror" in attributes]

    inner = Elements(iframe["srcdoc"])
    scripts = inner.named("script")
    assert [script.get("type") for script in scripts] == ["text/plain", None]
    assert not inner.named("img")
    policy = next(meta["content"] for meta in inner.named("meta") if "http-equiv" in meta)
    nonce = scripts[1]["nonce"]
    assert f"script-src 'nonce-{nonce}';" in policy
    assert "default-src 'none'" in policy and "connect-src 'none'" in policy
    assert HOSTILE.encode() in bundle(iframe["srcdoc"])[f"model/{path.name}"]


class Bomb:
    """A pickle that makes a file when it is loaded."""

    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return (Path.touch, (Path(self.target),))


def test_a_pickle_is_never_run(tmp_path):
    target = tmp_path / "made-by-the-pickle"
    path = tmp_path / "bad.pth"
    torch.save({"weight": torch.zeros(64), "bomb": Bomb(target)}, path)
    torch.load(path, weights_only=False)
    assert target.exists(), "the pickle of this test does nothing"
    target.unlink()
    netron_view.show(path).html()
    assert "64" in netron_view.outline(path)
    assert not target.exists()


def test_a_pickle_that_holds_itself_ends(tmp_path):
    knot = {}
    knot["again"] = knot
    path = tmp_path / "knot.pth"
    hostile.pth(pickle.dumps(knot))(path)
    with pytest.raises(netron_view.ModelFileError, match=r"more than 100 in each other\. Use serve"):
        netron_view.show(path)


@pytest.fixture(scope="module")
def answers(tmp_path_factory):
    """What ``show`` says to each hostile file, in a process that ends when it takes too much; "" where it ended."""
    folder = tmp_path_factory.mktemp("hostile")
    for name, write in hostile.FILES.items():
        write(folder / name)
    environment = {**os.environ, "PATH": str(folder), "CHROMIUM": ""}
    found, left = {}, [str(folder / name) for name in hostile.FILES]
    while left:
        call = [sys.executable, "-c", hostile.READ, *left]
        done = subprocess.run(call, env=environment, capture_output=True, text=True, cwd=ROOT)
        told = {path: answer for path, answer in map(json.loads, done.stdout.splitlines())}
        found |= told
        left = left[len(told) :]
        if left:
            found[left.pop(0)] = f"the process ended: {done.returncode} {done.stderr[-300:]}"
    return {Path(path).name: answer for path, answer in found.items()}


@pytest.mark.parametrize("name", hostile.FILES)
def test_a_small_file_cannot_ask_for_gigabytes_or_hours(name, answers):
    if name in hostile.OPENED:
        assert answers[name] == "opened"
    else:
        assert answers[name].startswith("refused: ") and name.partition(".")[0] in answers[name], answers[
            name
        ]
        assert len(answers[name]) < 700


def test_a_name_is_one_line_of_printable_text(tmp_path):
    strange = "a\x1b[2J\u202e\n" + "b" * 5000
    path = tmp_path / "names.onnx"
    node = onnx.helper.make_node("Relu", ["x"], [strange], name=strange)
    value = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [strange])
    graph = onnx.helper.make_graph([node], "g", [value], [])
    path.write_bytes(onnx.helper.make_model(graph).SerializeToString())
    (name,) = [layer.name for layer in models.read(path).graph.layers]
    assert name.startswith(r"a\x1b[2J\u202e\nbbb") and len(name) == 200
    text = netron_view.outline(path)
    assert all(line.isprintable() for line in text.splitlines()) and len(text) < 1000


def test_a_file_that_may_not_be_read_says_so(tmp_path, monkeypatch):
    path = tmp_path / "secret.onnx"
    path.write_bytes(b"\x08\x07")
    monkeypatch.setattr(
        Path, "read_bytes", lambda self: os.stat(os.devnull + "/x")
    )  # root may read all files
    with pytest.raises(netron_view.ModelFileError, match=r"secret.onnx cannot be read: Not a directory"):
        netron_view.show(path)


# --- A long graph


def chain(length: int, folder: Path) -> Path:
    nodes = [onnx.helper.make_node("Relu", [f"x{n}"], [f"x{n + 1}"]) for n in range(length)]
    ends = [
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1]) for name in ("x0", f"x{length}")
    ]
    shapes = [
        onnx.helper.make_tensor_value_info(f"x{n}", onnx.TensorProto.FLOAT, [1]) for n in range(1, length)
    ]
    graph = onnx.helper.make_graph(nodes, "g", ends[:1], ends[1:], value_info=shapes)
    path = folder / f"chain{length}.onnx"
    onnx.save(onnx.helper.make_model(graph), path)
    return path


def test_a_long_graph_is_not_pictured_and_says_so(tmp_path, monkeypatch):
    """It is decided before the Chromium starts, which would work for a minute."""
    program = tmp_path / "chromium"
    program.write_text(f"#!/bin/sh\ntouch {tmp_path}/started\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setenv("CHROMIUM", str(program))
    path = chain(500, tmp_path)
    view = netron_view.show(path)
    assert "A graph of 500 layers with 1,000 lines and weights is too long for a still picture" in view.html()
    assert Elements(view.html()).named("pre")
    with pytest.raises(
        netron_view.PictureError, match=r"500 layers .* too long .* outline\(\) writes it as text"
    ):
        netron_view.picture(path)
    assert not (tmp_path / "started").exists()
    assert "too long" not in netron_view.show(chain(100, tmp_path)).html()
    assert (tmp_path / "started").exists(), "a short one is drawn"


def test_a_drawing_of_too_many_pixels_is_refused_in_our_words():
    drawn = Image.new("1", (60_000, 4_000))
    buffer = io.BytesIO()
    drawn.save(buffer, "PNG")
    with pytest.raises(
        netron_view.PictureError, match=r"60,000 × 4,000 pixels, too many for a still picture"
    ):
        pictures._fold(buffer.getvalue())


# --- What is refused


def cut(name: str, folder: Path, keep: float = 0.6) -> Path:
    data = model_files()[name].read_bytes()
    path = folder / name
    path.write_bytes(data[: int(len(data) * keep)])
    return path


@pytest.mark.parametrize("name", ["new.onnx", "network.mlmodel", "program.pt2", "state.pth"])
def test_a_truncated_file_is_refused(name, tmp_path):
    with pytest.raises(netron_view.ModelFileError, match=rf"{name} cannot be read as .* cut off"):
        netron_view.show(cut(name, tmp_path))


@pytest.mark.parametrize("name", ["a.onnx", "a.mlmodel", "a.pth", "a.pt2"])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"<!doctype html><p>404 Not Found</p>", "is a web page"),
        (b"\x00" * 100, "cannot be read"),
    ],
)
def test_a_file_of_something_else_is_refused(name, content, message, tmp_path):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(netron_view.ModelFileError, match=rf"{name} {message}"):
        netron_view.show(tmp_path / name)


def test_folders_are_refused(tmp_path):
    with pytest.raises(netron_view.ModelFileError, match=r"is a folder, and not an \.mlpackage"):
        netron_view.show(tmp_path)
    (tmp_path / "empty.mlpackage").mkdir()
    with pytest.raises(netron_view.ModelFileError, match=r"empty.mlpackage holds no Manifest.json"):
        netron_view.show(tmp_path / "empty.mlpackage")


def test_a_package_cannot_name_a_file_outside_it(tmp_path):
    package = tmp_path / "escape.mlpackage"
    (package / "Data").mkdir(parents=True)
    shutil.copy(model_files()["network.mlmodel"], tmp_path / "secret.mlmodel")
    manifest = {"itemInfoEntries": {"x": {"path": "../../secret.mlmodel"}}, "rootModelIdentifier": "x"}
    (package / "Manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(netron_view.ModelFileError, match="which is not in it"):
        netron_view.show(package)


def test_other_things_are_refused_by_name(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no model at .*gone.onnx"):
        netron_view.show(tmp_path / "gone.onnx")
    (tmp_path / "model.h5").write_bytes(b"x")
    with pytest.raises(netron_view.ModelFileError, match=r"model.h5 does not end in one of .onnx"):
        netron_view.show(tmp_path / "model.h5")
    torch.save({"w": torch.zeros(3)}, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    with pytest.raises(netron_view.ModelFileError, match=r"before 1\.6"):
        netron_view.show(tmp_path / "old.pth")
    torch.jit.save(torch.jit.script(nn.ReLU()), tmp_path / "script.pt")
    with pytest.raises(netron_view.ModelFileError, match="TorchScript"):
        netron_view.show(tmp_path / "script.pt")
    for height in (50, 9999):
        with pytest.raises(ValueError, match=f"height is {height}"):
            netron_view.show(model_files()["old.onnx"], height=height)


def test_a_huge_onnx_file_is_refused_before_it_is_read(tmp_path):
    path = tmp_path / "huge.onnx"
    with path.open("wb") as file:
        file.truncate(2 * 2**30)  # sparse: it takes no room on the disk
    tracemalloc.start()
    with pytest.raises(netron_view.ModelFileError, match=r"huge.onnx has 2147.5 MB.*external_data=True"):
        netron_view.show(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10e6


def test_the_weights_of_a_large_checkpoint_are_not_read(tmp_path):
    path = tmp_path / "large.pth"
    torch.save({"weight": torch.zeros(100, 1000, 1000, dtype=torch.int8)}, path)
    netron_view.show(model_files()["state.pth"]).html()  # Netron's files are in memory now
    tracemalloc.start()
    view = netron_view.show(path)
    size = len(view.html())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert "100×1000×1000" in repr(view) and size < 500_000
    assert peak < 30e6


def test_a_graph_that_is_too_large_for_a_page_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(limits, "LARGEST_GRAPH", 10_000)
    for name in ("new.onnx", "program.pt2"):
        with pytest.raises(netron_view.ModelFileError, match=r"too much for a page.*serve\(\)"):
            netron_view.show(model_files()[name])


# --- Another netron


@pytest.fixture
def other_netron(tmp_path, monkeypatch):
    """A copy of the installed netron's files that a test may spoil."""
    folder = tmp_path / "netron"
    folder.mkdir()
    source = page._folder()
    for name in (*page.MODULES, "onnx", "onnx-proto"):
        shutil.copy(source / f"{name}.js", folder)
    for name in ("index.html", "grapher.css", "onnx-metadata.json"):
        shutil.copy(source / name, folder)
    caches = (page._script, page._style_and_body, page._operators)
    for cached in caches:
        cached.cache_clear()
    monkeypatch.setattr(page, "_folder", lambda: folder)
    yield folder
    for cached in caches:
        cached.cache_clear()


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        ("view.js", None, None, "view.js is not what is expected: it cannot be read"),
        (
            "grapher.js",
            "export const {",
            "export default {",
            "unknown form of import or export: 'export default",
        ),
        ("onnx.js", "import * as protobuf from", "import protobuf from", "unknown form of import or export"),
        ("index.html", '<body class="welcome spinner">', "<main>", "no <style> or no <body>"),
        ("index.html", 'id="sidebar"', 'id="panel"', "no element with the id 'sidebar'"),
        ("index.html", "</body>", "<script src=x></script></body>", "a script in its body"),
    ],
)
def test_unexpected_web_files_are_named(other_netron, file, old, new, message):
    assert netron_view.show(model_files()["old.onnx"]).html(), "the copy works before it is spoilt"
    for cached in (page._script, page._style_and_body):
        cached.cache_clear()
    path = other_netron / file
    if old is None:
        path.unlink()
    else:
        text = path.read_text(encoding="utf-8")
        assert old in text
        path.write_text(text.replace(old, new), encoding="utf-8")
    with pytest.raises(netron_view.NetronFilesError, match=re.escape(message)):
        netron_view.show(model_files()["old.onnx"]).html()


def test_another_version_is_refused(monkeypatch):
    monkeypatch.setattr(page.importlib.metadata, "version", lambda name: "10.0.1")
    with pytest.raises(netron_view.NetronFilesError, match=r"netron 10.0.1 is installed"):
        netron_view.show(model_files()["old.onnx"]).html()


# --- The command and the server


def test_the_command_writes_a_page(tmp_path, capsys):
    out = tmp_path / "graph.html"
    assert command.main([str(model_files()["old.onnx"]), "-o", str(out), "--outline"]) == 0
    printed = capsys.readouterr().out
    assert "Softmax" in printed and str(out) in printed
    text = out.read_text(encoding="utf-8")
    assert text.startswith("<!DOCTYPE html>") and "<title>old.onnx</title>" in text
    assert bundle(frame(text))["model/old.onnx"]


def test_the_command_says_what_is_wrong_and_leaves_the_old_page(tmp_path, capsys):
    out = tmp_path / "graph.html"
    out.write_text("the old page")
    assert command.main([str(cut("new.onnx", tmp_path)), "-o", str(out)]) == 1
    assert "cut off" in capsys.readouterr().err
    assert out.read_text() == "the old page"
    assert [path.name for path in tmp_path.glob("*.html")] == ["graph.html"]
    assert command.main([str(tmp_path / "gone.onnx"), "--outline"]) == 1


def fetch(url: str) -> bytes:
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # whatever http_proxy says
    with direct.open(url, timeout=180) as answer:
        return answer.read()


def test_serve_gives_the_whole_file_on_this_machine_until_it_is_stopped(monkeypatch):
    monkeypatch.setattr(logging.getLogger(), "handlers", [])  # as in a notebook
    path = model_files()["old.onnx"]
    with netron_view.serve(path, browse=False) as server:
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+", server.url) and server.url in server._repr_html_()
        assert b"/data/old.onnx" in fetch(server.url)
        assert fetch(f"{server.url}/data/old.onnx") == path.read_bytes()
    with pytest.raises(urllib.error.URLError, match="refused"):
        fetch(server.url)
    server.stop()
    assert logging.getLogger().handlers == [], "netron sets up logging for the whole process if it may"

    with netron_view.serve(model_files()["program.mlpackage"], browse=False) as server:
        assert b"rootModelIdentifier" in fetch(f"{server.url}/data/Manifest.json")


def test_serve_refuses_what_is_not_there(tmp_path):
    for path in (tmp_path / "gone.onnx", tmp_path):
        with pytest.raises(FileNotFoundError, match=path.name):
            netron_view.serve(path, browse=False)
