"""The set-up, on real virtual environments without packages in them: quick to make, and enough to see what it sees."""

import ast
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import namedtuple
from importlib import metadata

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from helpers.plumbing import paths
from helpers.workshop import environment

Version = namedtuple("Version", "major minor micro")
PINS = re.compile(r"^([\w.-]+)==([^ ;\\\n]+)", re.M)
CONSTRAINTS = """demo==1.0
inner==0.9 ; python_full_version < '3.5'
inner==1.0 ; python_full_version >= '3.5'
elsewhere==2.0 ; sys_platform == 'nowhere'
"""


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A checkout with a complete .venv: two pinned packages, which are there, and helpers, which can be imported."""
    (tmp_path / "requirements.txt").write_text("demo==1.0  # a reason\n")
    (tmp_path / "constraints.txt").write_text(CONSTRAINTS)
    (tmp_path / ".ci").mkdir()
    (tmp_path / ".ci/hashes.txt").write_text(CONSTRAINTS)
    (tmp_path / "requirements-dev.txt").write_text("hammer==3.0  # a reason\n")
    (tmp_path / ".ci/hashes-dev.txt").write_text("hammer==3.0 \\\n    --hash=sha256:0\n")
    monkeypatch.setattr(environment, "ROOT", str(tmp_path))
    monkeypatch.setattr(environment, "VENV", str(tmp_path / ".venv"))
    monkeypatch.setattr(environment, "VENV_PYTHON", str(tmp_path / ".venv/bin/python"))
    monkeypatch.setattr(environment, "STAMP", str(tmp_path / ".venv/.complete"))
    monkeypatch.setattr(environment, "TOOLS_STAMP", str(tmp_path / ".venv/.tools"))
    monkeypatch.delenv("PYTHON", raising=False)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / ".venv"], check=True)
    (site,) = (tmp_path / ".venv/lib").glob("python3.*/site-packages")
    (site / "helpers.py").write_text("")
    for package in ("demo", "inner"):
        install(site, package, "1.0")
    environment.write_stamp(environment.STAMP, environment.PINS)
    return tmp_path


def install(site, package, version):
    (site / f"{package}.dist-info").mkdir(exist_ok=True)
    (site / f"{package}.dist-info/METADATA").write_text(f"Name: {package}\nVersion: {version}\n")


def test_a_complete_environment_is_left_alone(checkout, capsys):
    assert environment.why_incomplete() == ""
    environment.setup()
    assert capsys.readouterr().out == ""


def test_an_installation_that_was_broken_off_is_noticed(checkout):
    (checkout / ".venv/.complete").unlink()
    assert "broken off" in environment.why_incomplete()
    (checkout / ".venv/.complete").write_text('{"half')
    assert "broken off" in environment.why_incomplete()


@pytest.mark.parametrize("name", environment.PINS)
def test_changed_pins_are_noticed(checkout, name):
    with (checkout / name).open("a") as file:
        file.write("new==2.0\n")
    assert "pinned versions have changed" in environment.why_incomplete()


@pytest.fixture
def with_tools(checkout):
    """The same checkout after its first `make test`: the tools of the workshop are there, too."""
    (site,) = (checkout / ".venv/lib").glob("python3.*/site-packages")
    install(site, "hammer", "3.0")
    environment.write_stamp(environment.TOOLS_STAMP, environment.TOOL_PINS)
    return checkout


def test_the_tools_are_added_when_they_are_first_needed_and_then_left_alone(checkout, capsys):
    """What stands in for pip notes what it is asked, and installs on the second request."""
    (site,) = (checkout / ".venv/lib").glob("python3.*/site-packages")
    fake_pip(
        checkout,
        f"""
arguments = sys.argv[1:]
with open("asked", "a") as file:
    print(arguments[0], pathlib.Path({str(checkout)!r}, ".venv/.tools").exists(), file=file)
pathlib.Path(arguments[arguments.index("--dest") + 1]).mkdir() if arguments[0] == "download" else None
if arguments[0] == "install":
    folder = pathlib.Path({str(site)!r}, "hammer.dist-info")
    folder.mkdir()
    (folder / "METADATA").write_text("Name: hammer\\nVersion: 3.0\\n")
""",
    )
    environment.setup()
    assert not (checkout / "asked").exists()  # `make setup` and `make run` do without them
    environment.setup(tools=True)
    assert "adding the tools of the workshop" in capsys.readouterr().out
    # What may fail without a network is over before anything of .venv is touched.
    assert (checkout / "asked").read_text().splitlines() == ["download False", "install True"]
    environment.setup(tools=True)
    assert capsys.readouterr().out == ""
    assert not (checkout / ".venv/tools").exists()


def test_without_a_network_the_tools_leave_the_environment_as_it_was(checkout):
    fake_pip(checkout, "print('Max retries exceeded with url'); sys.exit(1)")
    with pytest.raises(SystemExit, match="package index could not be reached"):
        environment.setup(tools=True)
    assert environment.why_incomplete(tools=True) == ""
    assert environment.why_without_tools() == "adding the tools of the workshop"


def test_tools_that_are_half_there_are_noticed_by_those_who_need_them(with_tools):
    (with_tools / ".venv/.tools").write_text("")
    assert environment.why_incomplete() == ""
    assert "broken off" in environment.why_incomplete(tools=True)


@pytest.mark.parametrize("name", environment.TOOL_PINS)
def test_changed_pins_of_tools_add_them_again(with_tools, name):
    with (with_tools / name).open("a") as file:
        file.write("new==2.0\n")
    assert environment.why_incomplete(tools=True) == ""
    assert "pinned tools of the workshop have changed" in environment.why_without_tools()


def test_a_tool_of_another_version_is_noticed(with_tools):
    assert environment.why_without_tools() == ""
    (site,) = (with_tools / ".venv/lib").glob("python3.*/site-packages")
    install(site, "hammer", "4.0")
    assert environment.why_incomplete(tools=True) == ""
    assert "hammer 3.0 4.0" in environment.why_without_tools()


@pytest.mark.parametrize(
    ("lost", "named"),
    [
        ("demo.dist-info/METADATA", "demo"),
        ("inner.dist-info/METADATA", "inner"),
        ("helpers.py", "helpers"),
    ],
)
def test_a_package_that_went_missing_is_noticed(checkout, lost, named):
    (path,) = (checkout / ".venv/lib").glob(f"python3.*/site-packages/{lost}")
    path.unlink()
    assert re.search(rf"not the pinned one \({named}", environment.why_incomplete())


def test_the_helpers_of_another_checkout_are_noticed(checkout, tmp_path_factory):
    """A copied checkout: its .venv points to the one that it was copied from."""
    other = tmp_path_factory.mktemp("other")
    (path,) = (checkout / ".venv/lib").glob("python3.*/site-packages/helpers.py")
    path.rename(other / "helpers.py")
    (path.parent / "other.pth").write_text(f"{other}\n")
    assert "not the pinned one (helpers)" in environment.why_incomplete()


@pytest.mark.parametrize("package", ["demo", "inner"])
def test_another_version_of_a_package_is_noticed(checkout, package):
    (site,) = (checkout / ".venv/lib").glob("python3.*/site-packages")
    install(site, package, "1.1")
    assert re.search(rf"{package} .*1\.0 1\.1", environment.why_incomplete())


def test_a_cpu_build_counts_as_its_version(checkout):
    (site,) = (checkout / ".venv/lib").glob("python3.*/site-packages")
    install(site, "demo", "1.0+cpu")
    assert environment.why_incomplete() == ""


def test_a_python_that_is_gone_is_noticed(checkout):
    (checkout / ".venv/bin/python").unlink()
    assert "does not run here" in environment.why_incomplete()


def test_another_interpreter_is_used_only_when_it_is_asked_for(checkout, monkeypatch):
    monkeypatch.setattr(sys, "version_info", (3, 99, 0))
    assert environment.why_incomplete() == ""
    monkeypatch.setenv("PYTHON", "python3.99")
    assert "PYTHON=python3.99 asks for another" in environment.why_incomplete()


@pytest.mark.parametrize(("version", "age"), [((3, 10, 2), "too old"), ((3, 14, 0), "too new")])
def test_a_python_out_of_range_gets_one_sentence(monkeypatch, version, age):
    monkeypatch.setattr(sys, "version_info", Version(*version))
    with pytest.raises(
        SystemExit, match=rf"3\.11, 3\.12 or 3\.13 is needed.*{age}.*PYTHON=python3\.1\d make setup"
    ):
        environment.check_python()


def test_a_missing_venv_module_gets_one_sentence(monkeypatch):
    monkeypatch.setitem(sys.modules, "ensurepip", None)
    with pytest.raises(SystemExit, match=r"no 'ensurepip' module.*apt install python3\.\d+-venv"):
        environment.check_python()


def test_a_full_disk_gets_one_sentence_before_anything_is_made(checkout, monkeypatch):
    (checkout / ".venv/.complete").unlink()
    monkeypatch.setattr(environment, "LEAST_FREE_GB", 10**9)
    with pytest.raises(SystemExit, match=r"The disk is full: [\d.]+ GB are left"):
        environment.setup()


@pytest.mark.parametrize(
    ("says", "sentence"),
    [
        ("OSError: [Errno 28] No space left on device", "The disk is full"),
        ("Max retries exceeded with url", "package index could not be reached"),
        ("ERROR: THESE PACKAGES DO NOT MATCH THE HASHES", r"not the one in .ci/hashes\*.txt"),
        ("ERROR: something else", "its last lines say why:\n\nERROR: something else"),
    ],
)
def test_pips_failure_becomes_a_sentence(checkout, monkeypatch, says, sentence):
    fake_pip(checkout, f"print({says!r}); sys.exit(1)")
    with pytest.raises(SystemExit, match=sentence):
        environment.pip("install", "demo")


def test_it_can_be_read_by_a_python_that_is_too_old():
    """No newer syntax than Python 2's, so that any Python prints the sentence."""
    source = (paths.ROOT / "helpers/workshop/environment.py").read_text(encoding="utf-8")
    source.encode("ascii")  # Python 2 takes nothing else without being told
    tree = ast.parse(source, feature_version=(3, 6))
    assert not any(isinstance(node, ast.JoinedStr | ast.AnnAssign) for node in ast.walk(tree))
    assert not any(getattr(node, "returns", None) for node in ast.walk(tree))


@pytest.mark.parametrize("name", ["__init__", "plumbing/__init__", "plumbing/mode", "plumbing/variables"])
def test_what_it_imports_can_be_read_by_an_early_python_3(name):
    """No newer syntax than Python 3.6's, nor annotations that it would not understand."""
    source = (paths.ROOT / f"helpers/{name}.py").read_text(encoding="utf-8")
    tree = ast.parse(source, feature_version=(3, 6))
    for node in ast.walk(tree):
        noted = [getattr(node, "returns", None), getattr(node, "annotation", None)]
        assert all(isinstance(one, ast.Name | None) for one in noted), ast.unparse(node)


def fake_pip(checkout, code):
    """Put a program of our own where pip would be; the file ``started`` says that it runs."""
    (site,) = (checkout / ".venv/lib").glob("python3.*/site-packages")
    (site / "pip.py").write_text(f"import pathlib, sys, time\npathlib.Path('started').touch()\n{code}\n")


def start(checkout, code):
    """Run ``code`` with the environment module of this checkout in a process of its own, as ``make`` does."""
    names = f"environment.ROOT, environment.VENV = {str(checkout)!r}, {str(checkout / '.venv')!r}"
    names += f"; environment.VENV_PYTHON = {str(checkout / '.venv/bin/python')!r}"
    names += f"; environment.STAMP = {str(checkout / '.venv/.complete')!r}"
    names += f"; environment.TOOLS_STAMP = {str(checkout / '.venv/.tools')!r}"
    code = f"import environment; {names}; environment.answer_interrupts(); {code}"
    return subprocess.Popen(
        [sys.executable, "-S", "-c", code],
        cwd=paths.ROOT / "helpers/workshop",
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )


def wait_for(path):
    while not path.exists():
        time.sleep(0.01)


def test_an_interrupted_installation_says_one_sentence_and_leaves_no_process(checkout):
    fake_pip(checkout, "import os; pathlib.Path('pid').write_text(str(os.getpid())); time.sleep(600)")
    process = start(checkout, "environment.pip('install', 'demo')")
    wait_for(checkout / "pid")
    process.send_signal(signal.SIGINT)
    out, err = process.communicate()
    assert (process.returncode, out, err) == (130, "", f"\n{environment.INTERRUPTED}\n")
    with pytest.raises(ProcessLookupError):
        os.kill(int((checkout / "pid").read_text()), 0)


def test_two_setups_at_once_take_turns(checkout):
    first = start(
        checkout, "a = environment.alone(environment.ROOT); a.__enter__(); print('in', flush=True); input()"
    )
    assert first.stdout.readline() == "in\n"
    (checkout / ".venv/.complete").unlink()
    second = start(checkout, "environment.make_venv = lambda: print('made'); environment.setup()")
    assert "This one waits" in second.stdout.readline()
    first.kill()  # however it ends, its lock ends with it
    first.communicate()
    assert "made" in second.communicate()[0]


@pytest.mark.parametrize("wrong", ["MODE=slow", "CHAPTER_MODE=slow"])
@pytest.mark.parametrize("target", ["setup", "run", "lab", "test"])
def test_a_wrong_mode_is_refused_before_anything_is_installed(tmp_path, wrong, target):
    (tmp_path / "helpers/workshop").mkdir(parents=True)
    (tmp_path / "helpers/plumbing").mkdir()
    for name in ("workshop/environment", "plumbing/mode", "plumbing/variables"):
        shutil.copy(paths.ROOT / f"helpers/{name}.py", tmp_path / f"helpers/{name}.py")
    shutil.copy(paths.ROOT / "Makefile", tmp_path)
    result = make(tmp_path, target, wrong)
    assert result.returncode == 2
    assert "CHAPTER_MODE is 'slow'. The modes are quick, full, smoke" in result.stderr
    assert "Traceback" not in result.stderr and not (tmp_path / ".venv").exists()


def make(folder, *arguments):
    clean = {
        name: value for name, value in os.environ.items() if name not in ("MODE", "CHAPTER_MODE", "MAKEFLAGS")
    }
    clean["PYTHON"] = sys.executable
    return subprocess.run(["make", *arguments], cwd=folder, env=clean, text=True, capture_output=True)


def test_a_python_that_is_not_there_gets_one_sentence(tmp_path):
    shutil.copy(paths.ROOT / "Makefile", tmp_path)
    result = make(tmp_path, "run", "PYTHON=python9")
    assert result.returncode == 2
    assert "There is no program 'python9'" in result.stderr


def test_the_check_of_this_environment_finds_every_pin():
    rows = environment.check()
    assert len(rows) == len(environment.pins("requirements.txt")) + 3
    failed = [f"{what}: {found}" for ok, what, found in rows if not ok]
    assert failed == []


def test_the_check_names_what_is_missing_and_what_is_another_version(monkeypatch):
    monkeypatch.setattr(
        environment, "differences", lambda: {"torch": ("2.15.0", ""), "anyio": ("4.16.0", "4.0")}
    )
    failed = {what: found for ok, what, found in environment.check() if not ok}
    assert re.match("missing: run `make setup`", failed.pop(next(what for what in failed if "torch" in what)))
    assert failed == {"what these need in turn": "anyio 4.0: run `make setup`"}


def read_pins(name):
    found = {}
    for package, version in PINS.findall((paths.ROOT / name).read_text(encoding="utf-8")):
        found.setdefault(package, set()).add(version)
    return found


def test_the_files_of_pins_agree():
    requirements, constraints, hashes = map(read_pins, environment.PINS)
    for package, versions in requirements.items():
        assert constraints[package] == versions, f"{package}: run `make pins`"
    assert len(constraints) > 130
    tools, on_top = map(read_pins, environment.TOOL_PINS)
    for package, versions in tools.items():
        assert (constraints | on_top)[package] == versions, f"{package}: run `make pins`"
    assert not set(tools) & set(requirements) and not set(on_top) & set(constraints)
    # PyTorch's builds, for processors alone and for NVIDIA cards, have one version and different files.
    build = re.compile(r"torch|torchvision|triton|nvidia-.+|cuda-.+")
    assert hashes == {name: found for name, found in constraints.items() if not build.fullmatch(name)}
    setuptools = re.search(r'"setuptools==([\d.]+)"', (paths.ROOT / "pyproject.toml").read_text())
    assert {setuptools[1]} == constraints["setuptools"]


@pytest.mark.parametrize(
    ("named", "pins"),
    [
        (["requirements.txt"], ["constraints.txt"]),
        (["requirements.txt", "requirements-dev.txt"], ["constraints.txt", ".ci/hashes-dev.txt"]),
    ],
)
def test_everything_that_a_pinned_package_needs_here_is_pinned(named, pins):
    """The pins are whole: on this system and Python nothing is left to the day of the installation."""
    pinned, needed = [name for file in pins for name in read_pins(file)], []
    for file in named:
        needed += read_pins(file)
    for package in needed:  # grows while it is read
        for text in metadata.requires(package) or []:
            wanted = Requirement(text)
            name = canonicalize_name(wanted.name)
            if name not in needed and (not wanted.marker or wanted.marker.evaluate({"extra": ""})):
                needed.append(name)
    assert len(needed) > 100
    assert set(needed) <= set(pinned)


@pytest.mark.parametrize("name", [".ci/hashes.txt", ".ci/hashes-dev.txt"])
def test_every_hashed_package_has_hashes_and_no_file_names_an_index(name):
    text = (paths.ROOT / name).read_text()
    for package in re.split(r"\n(?=\S)", text.split("\n", 1)[1].rstrip()):
        first, *rest = package.split("\n")
        assert rest and all(re.fullmatch(r"    --hash=sha256:[0-9a-f]{64}( \\)?", line) for line in rest), (
            first
        )
    for name in environment.PINS + environment.TOOL_PINS:
        assert not re.search(r"://|--(extra-)?index|find-links", (paths.ROOT / name).read_text()), name


@pytest.mark.parametrize("name", ["requirements.txt", "requirements-dev.txt"])
def test_every_pin_is_exact_and_has_its_reason(name):
    lines = (paths.ROOT / name).read_text().splitlines()
    for line in lines:
        if line and not line.startswith("#"):
            assert re.fullmatch(r"[\w-]+==[\w.]+ +# .{10,}", line), line


def test_environment_yml_is_a_shell_around_the_requirements():
    text = (paths.ROOT / "environment.yml").read_text()
    assert "- -r requirements.txt" in text
    assert "- -c constraints.txt" in text
    assert "- --editable ." in text
    python = re.search(r"- python=3\.(\d+)", text)
    assert environment.supported((3, int(python[1])))
    assert "==" not in text  # no version but Python's stands in two places
