"""When a disk is full, every writer says so, names the file, the space and what to do, and keeps the old file."""

import contextlib
import errno
import re
import resource
import shutil
import subprocess
import sys

import nbformat
import pytest
import torch

from helpers import chapter, checkpoints, coreml, ios_app, netron_view, onnx_export
from helpers.data import CLASSES
from helpers.history import History
from helpers.model import AlexNet
from helpers.onnx_coreml import convert
from helpers.plumbing import paths
from helpers.recipe import Recipe
from helpers.workshop import run


def network(width=0.0625):
    torch.manual_seed(0)
    return AlexNet(width=width).eval()


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Models to write: a folder with an ONNX file, and Core ML models of both kinds."""
    folder = tmp_path_factory.mktemp("made")
    onnx_export.export_onnx(network(), folder / "alexnet.onnx", classes=CLASSES)
    usual = {"image_input_names": ["image"], "mode": "classifier", "class_labels": list(CLASSES)}
    usual |= {"preprocessing_args": {"image_scale": 1 / 255}}
    for name, target in {"a.mlmodel": "13", "a.mlpackage": "16"}.items():
        coreml.save(
            convert(folder / "alexnet.onnx", minimum_ios_deployment_target=target, **usual), folder / name
        )
    return folder


def notebook():
    return nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("'" + "x" * 3000 + "'")])


def record():
    chapter._recorded.clear()
    chapter._current = "00_start_here"
    chapter.record(text="x" * 3000)


def history():
    row = {"epoch": 1, "text": "x" * 3000}
    return History(Recipe.quick(), "cpu", [row], 1, True)


WRITERS = {
    "save_weights": ("a.pth", lambda path, made: checkpoints.save_weights(network(), path)),
    "save_model": ("a.pth", lambda path, made: checkpoints.save_model(network(), path)),
    "export_onnx": ("a.onnx", lambda path, made: onnx_export.export_onnx(network(), path, classes=CLASSES)),
    "export_onnx, the newer exporter": (
        "a.onnx",
        lambda path, made: onnx_export.export_onnx(network(), path, classes=CLASSES, dynamo=True),
    ),
    "coreml.save, neural network": (
        "b.mlmodel",
        lambda path, made: coreml.save(coreml.open_model(made / "a.mlmodel"), path),
    ),
    "coreml.save, ML program": (
        "b.mlpackage",
        lambda path, made: coreml.save(coreml.open_model(made / "a.mlpackage"), path),
    ),
    "write_app": (
        "PhoneApp",
        lambda path, made: ios_app.write_app(made / "a.mlpackage", path, threshold=0.5, overwrite=True),
    ),
    "save_html": ("a.html", lambda path, made: netron_view.save_html(made / "alexnet.onnx", path)),
    "a graph's picture": ("key.png", lambda path, made: netron_view.pictures.keep("key", b"x" * 3000)),
    "History.save": ("a.json", lambda path, made: history().save(path)),
    "chapter.record": ("results/00_start_here.json", lambda path, made: record()),
    "a run's page": ("executed/00.ipynb", lambda path, made: run.write_page(notebook(), "00")),
    "a saved notebook": ("00.ipynb", lambda path, made: run.save_outputs(notebook(), path)),
    "the summary": ("summary.json", lambda path, made: run.summarise({"x" * 3000: 1.0})),
}


@contextlib.contextmanager
def no_room():
    """No file may grow beyond a thousand bytes: writing then fails in the same way as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def everything(folder):
    return {path.relative_to(folder): path.is_dir() or path.read_bytes() for path in folder.rglob("*")}


@pytest.mark.parametrize("writer", WRITERS)
def test_every_writer_names_the_file_the_space_and_what_to_do(made, scratch_artifacts, monkeypatch, writer):
    name, write = WRITERS[writer]
    path = paths.artifact(name)
    monkeypatch.setattr(netron_view.pictures, "FOLDER", scratch_artifacts)
    if path.suffix in ("", ".mlpackage"):
        path.mkdir()
        (path / "mine.txt").write_text("old")
    else:
        path.write_text("old")
    before = everything(scratch_artifacts)
    with no_room(), pytest.raises(OSError) as raised:
        write(path, made)
    assert re.fullmatch(
        rf"Cannot write .*{re.escape(path.name)}: File too large\. It needs (more than )?\d+\.\d MB\. Free some "
        r"space, or choose another disk, then run this again\. What was there before is as it was\.",
        str(raised.value),
    ), raised.value
    assert raised.value.errno == errno.EFBIG
    assert everything(scratch_artifacts) == before


@pytest.mark.parametrize(
    "wrapped", [RuntimeError("the library's own words"), shutil.Error([("a", "b", "why")])]
)
@pytest.mark.parametrize("full", [True, False])
def test_an_error_of_a_library_is_taken_for_a_full_disk_only_where_it_is_full(tmp_path, wrapped, full):
    with (
        no_room() if full else contextlib.nullcontext(),
        pytest.raises(OSError if full else type(wrapped)) as raised,
        paths.replacing(tmp_path / "a", 25_000_000) as temporary,
    ):
        temporary.write_bytes(b"x" * 900)
        raise wrapped
    assert ("It needs 25.0 MB. Free some space" in str(raised.value)) == full
    assert raised.value is wrapped or raised.value.__cause__ is wrapped
    assert list(tmp_path.iterdir()) == []


FULL = """
import shutil, sys
from pathlib import Path
from helpers import checkpoints, netron_view
from helpers.model import AlexNet

disk, small, large = Path(sys.argv[1]), AlexNet(width=0.0625), AlexNet(width=2.0)
checkpoints.save_weights(small, disk / "a.pth")
for name, write in {
    "a.pth": lambda path: checkpoints.save_weights(large, path),
    "b.pth": lambda path: checkpoints.save_model(large, path),
    "a.html": lambda path: netron_view.save_html(disk / "a.pth", path),
}.items():
    if name == "a.html":  # a page of a hundred thousand bytes
        (disk / "filling").write_bytes(bytes(shutil.disk_usage(disk).free - 8192))
    try:
        write(disk / name)
    except OSError as error:
        print(error)
checkpoints.load_weights(small, disk / "a.pth")
print(sorted(path.name for path in disk.iterdir()))
"""


def test_on_a_disk_that_is_really_full(tmp_path):
    """A disk of its own in memory, which a process may have that is an administrator in a space of its own."""
    mount = f"mount -t tmpfs -o size=1m tmpfs '{tmp_path}'"
    if subprocess.run(["unshare", "-rm", "sh", "-c", mount], capture_output=True).returncode:
        pytest.skip("this system gives nobody a disk of their own")
    code = [sys.executable, "-c", FULL, tmp_path]
    answer = subprocess.run(
        ["unshare", "-rm", "sh", "-c", f'{mount} && exec "$@"', "sh", *code],
        cwd=paths.ROOT,
        capture_output=True,
        text=True,
    )
    assert answer.returncode == 0, answer.stderr
    *said, left = answer.stdout.splitlines()
    assert len(said) == 3, answer.stdout
    for name, line in zip(["a.pth", "b.pth", "a.html"], said, strict=True):
        assert f"{name}: No space left on device. It needs " in line and "Free some space" in line
    assert left == "['a.pth', 'filling']"
