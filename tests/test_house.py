"""The house rules that a machine can check."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from helpers import paths

# From the bottom of the road to the top: a module imports from those above it in this list only.
ORDER = [
    "paths",
    "mode",
    "environment",
    "quiet",
    "torch_files",
    "intervals",
    "figures",
    "camera",
    "drawings",
    "data",
    "model",
    "checkpoints",
    "muon",
    "processes",
    "interrupts",
    "training",
    "camera_network",
    "runs",
    "calibration",
    "onnx_export",
    "coreml_runtime",
    "coreml",
    "netron_view",
    "onnx_coreml",
    "photos",
    "ios_app",
    "beginner",
    "bench",
    "chapter",
    "readme",
    "run",
]
HELPERS = paths.ROOT / "helpers"


def room(path: Path) -> str:
    return path.relative_to(HELPERS).parts[0].removesuffix(".py")


def test_every_module_has_a_place_in_the_order():
    rooms = {room(path) for path in HELPERS.rglob("*.py")} - {"__init__"}
    assert rooms == set(ORDER)


@pytest.mark.parametrize("name", ORDER)
def test_imports_point_down_the_road(name):
    allowed = set(ORDER[: ORDER.index(name) + 1])
    for path in HELPERS.rglob("*.py"):
        if room(path) != name:
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "helpers":
                parts = node.module.split(".")
                used = {parts[1]} if len(parts) > 1 else {alias.name for alias in node.names}
                assert used <= allowed, f"{path.name} imports {used - allowed}"


def test_importing_helpers_imports_nothing_heavy():
    code = "import sys, helpers; print(sorted({'torch', 'coremltools', 'onnx', 'matplotlib', 'numpy'} & set(sys.modules)))"
    assert subprocess.check_output([sys.executable, "-c", code], text=True, cwd=paths.ROOT).strip() == "[]"


@pytest.mark.parametrize(
    "name", ["chapter", "training", "onnx_export", "coreml", "onnx_coreml", "netron_view"]
)
def test_coremltools_is_imported_only_when_it_is_used(name):
    code = f"import sys, helpers.{name}; print('coremltools' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", code], text=True, cwd=paths.ROOT).strip() == "False"


@pytest.mark.parametrize("command", [["check"], ["format", "--check"]])
def test_code_and_notebooks_are_tidy(command):
    ruff = [sys.executable, "-m", "ruff", *command, "--no-cache", "."]
    result = subprocess.run(ruff, cwd=paths.ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout
