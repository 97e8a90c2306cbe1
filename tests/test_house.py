"""The house rules that a machine can check."""

import ast
import graphlib
import re
import subprocess
import sys
import tomllib

import pytest
import yaml

import helpers
from helpers.plumbing import paths
from helpers.workshop import environment
from tests.conftest import LONG

HELPERS = paths.ROOT / "helpers"
MACHINES = (
    "coreml",
    "coreml_runtime",
    "exercises",
    "ios_app",
    "netron_view",
    "onnx_coreml",
    "phone",
    "torch_files",
)
ROOMS = ("plumbing", "workshop")
DATA = ("measured", "pretrained")


def imported() -> dict[str, set[str]]:
    """Module → the modules of ``helpers`` that it imports, e.g. ``"plumbing.paths"``; a machine counts as one."""
    modules = {path: path.relative_to(HELPERS).with_suffix("").parts for path in HELPERS.rglob("*.py")}
    names = {".".join(parts[: 1 if parts[0] in MACHINES else 2]) for parts in modules.values()}
    found = {name: set() for name in names}
    for path, parts in modules.items():
        own = ".".join(parts[: 1 if parts[0] in MACHINES else 2])
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "helpers":
                wanted = [f"{node.module}.{alias.name}".split(".")[1:] for alias in node.names]
                used = {
                    ".".join(one[: 1 if one[0] in MACHINES or one[0] not in ROOMS else 2]) for one in wanted
                }
                assert used <= names, f"{path.name} imports {used - names}"
                found[own] |= used - {own}
    return {name: used for name, used in found.items() if not name.endswith("__init__")}


def test_what_is_no_module_of_the_lessons_is_a_machine_a_room_or_data():
    folders = {path.name for path in HELPERS.iterdir() if path.is_dir()} - {"__pycache__"}
    assert folders == {*MACHINES, *ROOMS, *DATA}


def introduced() -> list[tuple[str, str]]:
    """The tables in the docstring of ``helpers``: each module and the notebook that introduces it."""
    return re.findall(r"^(\w+) +(\d\d)  ", helpers.__doc__, re.M)


def test_the_table_names_every_module_and_machine_in_the_order_of_the_notebooks():
    flat = {path.stem for path in HELPERS.glob("*.py")} - {"__init__"}
    table = introduced()
    lessons = [number for name, number in table if name not in MACHINES]
    assert {name for name, _ in table} == flat | set(MACHINES) and len(table) == len(flat) + len(MACHINES)
    assert lessons == sorted(lessons)
    for name, number in table:
        for path in sorted((paths.ROOT / "notebooks").glob("*.ipynb")):
            imports = rf"from helpers\.{name}\b|from helpers import [\w, ]*\b{name}\b"
            if re.search(imports, path.read_text(encoding="utf-8")):
                assert number <= path.stem[:2], f"{name} is introduced by {path.stem}"
                break


PYPROJECT = tomllib.loads((paths.ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def test_an_installed_package_has_every_folder_of_code():
    assert PYPROJECT["tool"]["setuptools"]["packages"] == sorted(
        ".".join(path.parent.relative_to(paths.ROOT).parts) for path in HELPERS.rglob("__init__.py")
    )


def test_the_types_of_every_lesson_plumbing_and_machine_are_checked():
    patterns = PYPROJECT["tool"]["mypy"]["files"]
    checked = {path for pattern in patterns for path in paths.ROOT.glob(pattern)}
    assert checked == {*HELPERS.glob("*.py"), *(HELPERS / name for name in [*MACHINES, "plumbing"])}


def test_no_two_modules_import_each_other_in_a_circle():
    graphlib.TopologicalSorter(imported()).prepare()


def test_lessons_and_machines_import_no_workshop_and_plumbing_no_lesson():
    for name, used in imported().items():
        room = name.split(".")[0]
        if room != "workshop":
            assert not [one for one in used if one.startswith("workshop")], name
        if room == "plumbing":
            assert {one.split(".")[0] for one in used} <= {"plumbing"}, name
        if name == "torch_files":
            assert {one.split(".")[0] for one in used} <= {"plumbing"}


def test_no_module_is_longer_than_it_says_why():
    """Over 500 lines only with the reason in the first lines."""
    for path in HELPERS.rglob("*.py"):
        lines = path.read_text(encoding="utf-8").splitlines()
        if len(lines) > 500:
            assert any("long because" in line or "Long because" in line for line in lines[:15]), (
                path.name,
                len(lines),
            )


def test_no_function_is_longer_than_a_screen():
    for path in HELPERS.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                assert node.end_lineno - node.lineno < 60, f"{path.name}: {node.name}"


def test_importing_helpers_imports_nothing_heavy():
    code = "import sys, helpers; print(sorted({'torch', 'coremltools', 'onnx', 'matplotlib', 'numpy'} & set(sys.modules)))"
    assert subprocess.check_output([sys.executable, "-c", code], text=True, cwd=paths.ROOT).strip() == "[]"


@pytest.mark.parametrize(
    "name", ["chapter", "training", "onnx_export", "coreml", "onnx_coreml", "netron_view"]
)
def test_coremltools_is_imported_only_when_it_is_used(name):
    code = f"import sys, helpers.{name}; print('coremltools' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", code], text=True, cwd=paths.ROOT).strip() == "False"


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
        if "permissions" in job:  # it publishes what another job has built, and runs no code of ours
            assert job["permissions"] == {"pages": "write", "id-token": "write"}
            assert [step["uses"].partition("@")[0] for step in job["steps"]] == ["actions/deploy-pages"]


def test_the_tests_run_on_every_python_that_is_supported():
    workflow = yaml.safe_load((paths.ROOT / ".github/workflows/tests.yml").read_text(encoding="utf-8"))
    (major, oldest), (_, newest) = environment.OLDEST, environment.NEWEST
    expected = [f"{major}.{minor}" for minor in range(oldest, newest + 1)]
    assert workflow["jobs"]["linux"]["strategy"]["matrix"]["python"] == expected


def test_the_process_that_runs_the_notebooks_does_not_import_torch():
    """It only waits for their kernels, and 700 MB are a third of a small machine."""
    code = "import sys, helpers.workshop.run; print(sorted({'torch', 'coremltools', 'onnx', 'matplotlib'} & set(sys.modules)))"
    assert subprocess.check_output([sys.executable, "-c", code], text=True, cwd=paths.ROOT).strip() == "[]"


def test_what_is_left_to_make_proof_is_there():
    """A test that was renamed would come back into ``make test``, and nobody would notice but by the time."""
    assert len(set(LONG)) == len(LONG)
    for start in LONG:
        file, name = start.split("::")
        text = (paths.ROOT / f"tests/test_{file}.py").read_text(encoding="utf-8")
        assert re.search(rf"^def {name.partition('[')[0]}\(", text, re.M), start
