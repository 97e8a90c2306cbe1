"""What is used of other packages although they do not promise it: where it stands, and that it stays theirs."""

import ast
import importlib
import importlib.metadata
import threading
from pathlib import Path

import pytest
import torch

from helpers import coreml
from helpers.coreml import torch_operators
from helpers.onnx_coreml import private_onnx2coreml
from helpers.plumbing import paths, private_coremltools
from helpers.plumbing.quiet import coremltools

HOMES = {"coremltools": private_coremltools, "onnx2coreml": private_onnx2coreml}
PRIVATE = ("coremltools.converters.mil.mil", "coremltools.converters.mil.frontend")
"""No promise either: nothing of it is in Core ML Tools' own documentation."""


def imported(path) -> list[tuple[str, str]]:
    """(module, name) of what a file of ours imports from the two packages."""
    nodes = ast.walk(ast.parse(Path(path).read_text(encoding="utf-8")))
    nodes = [node for node in nodes if isinstance(node, ast.ImportFrom) and not node.level]
    return [
        (node.module, alias.name)
        for node in nodes
        if node.module.split(".")[0] in HOMES
        for alias in node.names
    ]


PARTS = [(home, *part) for home in HOMES.values() for part in imported(home.__file__)]


def missing(home, module: str, name: str) -> str:
    """What to say about a part that is not there; empty for one that is."""
    coremltools()
    package = module.split(".")[0]
    try:
        there = hasattr(importlib.import_module(module), name)
    except ImportError:
        there = False
    return (
        ""
        if there
        else (
            f"{package} {importlib.metadata.version(package)} has no {name} in {module} any more; version "
            f"{home.CHECKED_WITH} had it. Find where it went, and change {Path(home.__file__).name}."
        )
    )


@pytest.mark.parametrize(("home", "module", "name"), PARTS, ids=[name for _, _, name in PARTS])
def test_a_private_part_is_where_it_was(home, module, name):
    assert not missing(home, module, name), missing(home, module, name)


def test_a_part_that_moved_is_named():
    assert len(PARTS) > 8
    text = missing(private_coremltools, "coremltools.models.utils", "_apply_graph_passes")
    assert "has no _apply_graph_passes in coremltools.models.utils any more; version 9.0 had it" in text
    assert "has no x in coremltools.gone" in missing(private_coremltools, "coremltools.gone", "x")


@pytest.mark.parametrize("package", HOMES)
def test_the_private_parts_were_checked_with_the_version_that_is_installed(package):
    home, version = HOMES[package], importlib.metadata.version(package)
    assert version == home.CHECKED_WITH, (
        f"{package} is {version} now: run `make proof`, and if it holds write that version into {Path(home.__file__).name}."
    )
    assert f"version {home.CHECKED_WITH}" in home.__doc__


def test_private_parts_are_imported_in_one_place_only():
    homes = {Path(home.__file__) for home in HOMES.values()}
    for path in set((paths.ROOT / "helpers").rglob("*.py")) - homes:
        for module, name in imported(path):
            hidden = [part for part in (*module.split("."), name) if part.startswith("_")]
            assert not hidden and not module.startswith(PRIVATE), f"{path.name} imports {name} of {module}"


# The registry of Core ML Tools' PyTorch front end


class Pools(torch.nn.Module):
    def forward(self, image):
        return torch.nn.functional.max_pool2d(image, 2, stride=3, ceil_mode=True)


SMALL = {"shape": (1, 1, 7, 7), "exporter": "trace", "verify": False}


@pytest.fixture
def registry():
    coremltools()
    from coremltools.converters.mil.frontend.torch.torch_op_registry import _TORCH_OPS_REGISTRY

    table = _TORCH_OPS_REGISTRY.name_to_func_mapping
    before = dict(table)
    yield table
    assert table == before


def test_the_registry_is_as_it_was_after_a_conversion(registry):
    coreml.from_torch(Pools().eval(), **SMALL)


def test_and_after_one_that_fails(registry, monkeypatch):
    def fails(context, node):
        assert registry["max_pool2d"] is fails
        raise RuntimeError("no pooling today")

    monkeypatch.setitem(torch_operators.LOWERINGS, "max_pool2d", fails)
    monkeypatch.setitem(torch_operators.LOWERINGS, "an operator of nobody", fails)
    with pytest.raises(coreml.ConversionError, match="no pooling today"):
        coreml.from_torch(Pools().eval(), **SMALL)


def test_two_threads_wait_for_each_other(registry):
    """The second one's lowerings are not taken away when the first one is done."""
    ours, inside, second = object(), threading.Event(), []

    def convert():
        inside.wait()
        with private_coremltools.torch_lowerings({"max_pool2d": ours}):
            second.append(registry["max_pool2d"])

    thread = threading.Thread(target=convert)
    thread.start()
    with private_coremltools.torch_lowerings({"max_pool2d": None}):
        inside.set()
        thread.join(0.2)
        assert thread.is_alive() and registry["max_pool2d"] is None
    thread.join()
    assert second == [ours]
