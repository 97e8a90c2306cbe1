"""The house rules that a machine can check."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from helpers import environment, paths

# From the bottom of the road to the top: a module imports from those above it in this list only.
ORDER = [
    "paths",
    "mode",
    "environment",
    "quiet",
    "labels",
    "torch_files",
    "onnx_files",
    "intervals",
    "figures",
    "camera",
    "drawings",
    "data",
    "model",
    "exportable",
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


WORKFLOWS = sorted((paths.ROOT / ".github/workflows").glob("*.yml"))


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_may_only_read_and_its_actions_are_pinned_by_commit(path):
    """A tag can be moved to other code, a commit cannot; the version stands beside it for the reader."""
    text = path.read_text(encoding="utf-8")
    workflow = yaml.safe_load(text)
    assert workflow["permissions"] == {"contents": "read"}
    uses = re.findall(r"\buses: (.+)", text)
    assert len(uses) >= 2
    for action in uses:
        assert re.fullmatch(r"[\w.-]+/[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", action), action
    for job in workflow["jobs"].values():
        assert job["timeout-minutes"] <= 90
        assert "permissions" not in job


def test_the_tests_run_on_every_python_that_is_supported():
    workflow = yaml.safe_load((paths.ROOT / ".github/workflows/tests.yml").read_text(encoding="utf-8"))
    (major, oldest), (_, newest) = environment.OLDEST, environment.NEWEST
    expected = [f"{major}.{minor}" for minor in range(oldest, newest + 1)]
    assert workflow["jobs"]["linux"]["strategy"]["matrix"]["python"] == expected


def test_the_process_that_runs_the_notebooks_does_not_import_torch():
    """It only waits for their kernels, and 700 MB are a third of a small machine."""
    code = "import sys, helpers.run; print(sorted({'torch', 'coremltools', 'onnx', 'matplotlib'} & set(sys.modules)))"
    assert subprocess.check_output([sys.executable, "-c", code], text=True, cwd=paths.ROOT).strip() == "[]"
