"""``notebooks/troubleshooting.md``: each of its messages appears as it stands there, made by the code that runs."""

import ast
import contextlib
import dataclasses
import importlib.util
import io
import os
import platform
import re
import socket
import subprocess
import sys
from collections import namedtuple
from pathlib import Path

import nbformat
import pytest
import torch
from torch import nn

from helpers import coreml, data, netron_view
from helpers.drawings import make_drawings
from helpers.model import AlexNet
from helpers.onnx_coreml import convert
from helpers.plumbing import paths
from helpers.plumbing.device import pick_device
from helpers.plumbing.quiet import coremltools, quiet
from helpers.recipe import Recipe
from helpers.training import fit
from helpers.workshop import address, environment, lab

PAGE = (paths.ROOT / "notebooks/troubleshooting.md").read_text(encoding="utf-8")
ENTRIES = dict(re.findall(r"^## (\d+)\. .+?\n(.*?)(?=^## |\Z)", PAGE, re.M | re.S))
LABELS = list("abcdefghij")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """ONNX files of a small network: with probabilities, with logits, and with weights that float16 cannot hold."""
    folder = tmp_path_factory.mktemp("onnx")
    torch.manual_seed(0)
    body = nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(8), nn.Flatten(), nn.Linear(64, 10)
    )
    with torch.no_grad():
        body[-1].weight *= 20
    export(body, folder / "logits.onnx")
    export(nn.Sequential(body, nn.Softmax(1)), folder / "probs.onnx")
    with torch.no_grad():
        body[-1].weight *= 10_000
    export(nn.Sequential(body, nn.Softmax(1)), folder / "large.onnx")
    return folder


def export(network, path, **options):
    names = {"input_names": ["image"], "output_names": ["probabilities"]}
    with quiet():
        torch.onnx.export(
            network.eval(), (torch.rand(1, 3, 32, 32),), path, **names, **({"dynamo": False} | options)
        )


def converted(path, *, labels=LABELS, target="13", **options):
    return convert(
        path,
        image_input_names=["image"],
        mode="classifier",
        class_labels=labels,
        minimum_ios_deployment_target=target,
        **options,
    )


def said(problem, *arguments, **options):
    """What a call that cannot do its work says: the error's text."""
    with pytest.raises((Exception, SystemExit)) as raised:
        problem(*arguments, **options)
    return str(raised.value)


def printed(call):
    with contextlib.redirect_stdout(io.StringIO()) as text:
        call()
    return text.getvalue()


def no_helpers(patch, files, tmp_path):
    """In a Python that has no package at all, as in a kernel of another Python."""
    answer = subprocess.run([sys.executable, "-I", "-S", "-c", address.ALONE], capture_output=True, text=True)
    return answer.stderr.splitlines()[-1]


def python_too_new(patch, files, tmp_path):
    patch.setattr(sys, "version_info", namedtuple("Version", "major minor micro")(3, 14, 0))
    patch.setattr(platform, "python_version", lambda: "3.14.0")
    return said(environment.check_python)


def linux_on_arm(patch, files, tmp_path):
    patch.setattr(platform, "system", lambda: "Linux")
    patch.setattr(platform, "machine", lambda: "aarch64")
    return said(environment.check_python)


def a_version_has_changed(patch, files, tmp_path):
    """An installed package of another version, which Python finds first; the doctor's line."""
    (tmp_path / "onnx-1.0.dist-info").mkdir()
    (tmp_path / "onnx-1.0.dist-info/METADATA").write_text("Name: onnx\nVersion: 1.0\n")
    code = "from helpers.workshop import doctor; doctor.PARTS = {}; doctor.main()"
    settings = {**os.environ, "PYTHONPATH": f"{tmp_path}:{paths.ROOT}"}
    answer = subprocess.run(
        [sys.executable, "-c", code], cwd=paths.ROOT, env=settings, capture_output=True, text=True
    )
    return "\n".join(line for line in answer.stdout.splitlines() if line.startswith("[FIX]"))


def pip_reports_a_conflict(patch, files, tmp_path):
    """Colab is not here; the sentence is pip's, and stands in its source."""
    import pip._internal.commands.install as install

    texts = ast.walk(ast.parse(Path(install.__file__).read_text(encoding="utf-8")))
    texts = [node.value for node in texts if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    return "ERROR: " + next(text for text in texts if text.startswith("pip's dependency resolver does not"))


def no_source_answers(patch, files, tmp_path):
    for name in ("CHAPTER_CIFAR10", "CHAPTER_MIRROR", "CIFAR10_ROOT", "CIFAR10_MIRROR"):
        patch.delenv(name, raising=False)
    patch.setenv("CHAPTER_DATA", str(tmp_path))
    patch.setattr(data, "MIRRORS", ("http://127.0.0.1:1/",))
    patch.setattr(data, "make_drawings", lambda: [torch.zeros(0)] * 4)  # the notice comes before them
    return printed(lambda: said(data.load_cifar10))


def damaged_data(patch, files, tmp_path):
    (tmp_path / "data/cifar-10-batches-py").mkdir(parents=True)
    for name in ("CHAPTER_CIFAR10", "CIFAR10_ROOT", "CHAPTER_DATA"):
        patch.delenv(name, raising=False)
    patch.setattr(paths, "ROOT", tmp_path)
    patch.setattr(data, "ROOT", tmp_path)
    return printed(data._look_in_folders)


def a_full_disk(patch, files, tmp_path):
    """The system's own answer, from the one device that is always full."""
    if not Path("/dev/full").exists():
        pytest.skip("no device here is always full")
    (tmp_path / "artifacts").mkdir(exist_ok=True)
    patch.setattr(paths, "ROOT", tmp_path)

    def write():
        with paths.replacing(tmp_path / "artifacts/alexnet.onnx") as temporary:
            temporary.write_bytes(b"half")
            with open("/dev/full", "wb", buffering=0) as full:
                full.write(b"the other half")

    return said(write)


class Greedy(AlexNet):
    """A network whose layers would take more memory than any machine has."""

    def forward(self, images):
        return super().forward(images) + torch.empty(2**45)


def no_memory(patch, files, tmp_path):
    pictures = data.CIFAR10(*make_drawings(train=64, test=16), source="drawings")
    recipe = dataclasses.replace(Recipe.quick(), batch_size=64, width=0.0625)
    with pytest.raises(MemoryError) as raised:
        fit(Greedy(width=0.0625), pictures, recipe, device="cpu")
    return f"MemoryError: {raised.value}"


def a_port_that_is_taken(patch, files, tmp_path):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        return lab.why_not(other.getsockname()[1])


def a_graph_in_an_untrusted_notebook(patch, files, tmp_path):
    patch.setattr(netron_view.pictures, "FOLDER", tmp_path)
    shipped, _ = netron_view.show(files / "probs.onnx")._repr_mimebundle_()
    # Without Chromium there is no picture to ship, and the page says "the graph as text" instead.
    return re.sub("the graph as text", "a still picture", re.sub(r"<[^>]+>", " ", shipped["text/html"]))


def two_onnx_files(patch, files, tmp_path):
    network = nn.Sequential(nn.Flatten(), nn.Linear(3072, 10))
    export(network, tmp_path / "two.onnx", dynamo=True, external_data=True)
    (tmp_path / "two.onnx.data").unlink()
    patch.chdir(tmp_path)
    return said(convert, "two.onnx")


def logits_for_probabilities(patch, files, tmp_path):
    return said(converted, files / "logits.onnx")


def no_labels(patch, files, tmp_path):
    return said(converted, files / "probs.onnx", labels=None)


def a_scale_for_each_channel(patch, files, tmp_path):
    scales = {"image_scale": [0.229, 0.224, 0.225]}
    return said(converted, files / "probs.onnx", preprocessing_args=scales)


def the_old_call(patch, files, tmp_path):
    coreml.save(converted(files / "probs.onnx"), tmp_path / "a.mlmodel")
    return str(coreml.model_card(tmp_path / "a.mlmodel"))


def float16_is_too_little(patch, files, tmp_path):
    return said(converted, files / "large.onnx", target="16", compute_precision="float16")


def a_palette_of_core_ml_tools(patch, files, tmp_path):
    if importlib.util.find_spec("sklearn"):
        pytest.skip("scikit-learn is installed here, and no package of the series brings it")
    coremltools()
    from coremltools.models.neural_network import quantization_utils

    with quiet():
        text = said(quantization_utils.quantize_weights, converted(files / "probs.onnx"), 4, "kmeans_lut")
    return f"ModuleNotFoundError: {text}"


def no_gpu_of_apple(patch, files, tmp_path):
    if torch.backends.mps.is_available():
        pytest.skip("this machine has one")
    return said(pick_device, "mps")


REPRODUCED = {
    "1": no_helpers,
    "2": python_too_new,
    "3": linux_on_arm,
    "4": a_version_has_changed,
    "5": pip_reports_a_conflict,
    "6": no_source_answers,
    "7": damaged_data,
    "8": a_full_disk,
    "9": no_memory,
    "10": a_port_that_is_taken,
    "11": a_graph_in_an_untrusted_notebook,
    "12": two_onnx_files,
    "13": logits_for_probabilities,
    "14": no_labels,
    "15": a_scale_for_each_channel,
    "16": the_old_call,
    "17": the_old_call,
    "18": float16_is_too_little,
    "19": a_palette_of_core_ml_tools,
    "20": no_gpu_of_apple,
}
"""The number of each problem, and what makes its message appear."""

FOREIGN = {"5": "pip's", "17": "Xcode", "18": "Neural Engine", "20": "No Mac"}
"""Problems of which a part happens on a system that is not here; the page says so."""


def in_one_line(text):
    return " ".join(text.split())


def test_there_are_twenty_each_with_a_message_a_cause_and_a_remedy():
    assert list(ENTRIES) == [str(number) for number in range(1, 21)] == list(REPRODUCED)
    for number, text in ENTRIES.items():
        assert len(re.findall(r"^```\n(.+?)\n```$", text, re.M | re.S)) == 1, number
        assert text.index("```") < text.index("**Why.**") < text.index("**Do.**"), number
    for number, words in FOREIGN.items():
        assert words in ENTRIES[number] and ("Source" in ENTRIES[number] or number == "5"), number


@pytest.mark.parametrize("number", REPRODUCED)
def test_the_message_appears_as_it_stands_on_the_page(number, monkeypatch, files, tmp_path):
    message = in_one_line(re.search(r"^```\n(.+?)\n```$", ENTRIES[number], re.M | re.S)[1])
    with monkeypatch.context() as patch:
        found = in_one_line(REPRODUCED[number](patch, files, tmp_path))
    pattern = ".+?".join(map(re.escape, message.split("…")))
    assert re.search(pattern, found), f"\npage: {message}\nhere: {found}"


def test_what_it_calls_and_links_to_is_there():
    makefile = (paths.ROOT / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"`make (\w+)", PAGE):
        assert re.search(rf"^{target}:", makefile, re.M), target
    named = re.findall(r"`(?:helpers\.(\w+)|(coreml|coreml_runtime))\.(\w+)", PAGE)
    assert len(named) > 3
    for module, machine, name in named:
        assert hasattr(importlib.import_module(f"helpers.{module or machine}"), name), name


@pytest.mark.parametrize(
    "path", sorted((paths.ROOT / "notebooks").glob("0*.ipynb")), ids=lambda path: path.stem
)
def test_the_first_cell_says_this_sentence_where_the_helpers_are_missing(path):
    first = next(cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code").source
    assert first.startswith(address.beginning(address.address()).strip())
