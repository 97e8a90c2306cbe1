"""The set-up, on real virtual environments without packages in them: quick to make, and enough to see what it sees."""

import json
import re
import subprocess
import sys
from collections import namedtuple

import pytest

from helpers import environment, paths

Version = namedtuple("Version", "major minor micro")


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A checkout with a complete .venv: one pinned package, which is there, and helpers, which can be imported."""
    (tmp_path / "requirements.txt").write_text("demo==1.0  # a reason\n")
    monkeypatch.setattr(environment, "ROOT", str(tmp_path))
    monkeypatch.setattr(environment, "VENV", str(tmp_path / ".venv"))
    monkeypatch.setattr(environment, "VENV_PYTHON", str(tmp_path / ".venv/bin/python"))
    monkeypatch.setattr(environment, "STAMP", str(tmp_path / ".venv/.complete"))
    monkeypatch.delenv("PYTHON", raising=False)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / ".venv"], check=True)
    (site,) = (tmp_path / ".venv/lib").glob("python3.*/site-packages")
    (site / "helpers.py").write_text("")
    (site / "demo-1.0.dist-info").mkdir()
    (site / "demo-1.0.dist-info/METADATA").write_text("Name: demo\nVersion: 1.0\n")
    (tmp_path / ".venv/.complete").write_text(json.dumps(environment.wanted_stamp()))
    return tmp_path


def test_a_complete_environment_is_left_alone(checkout, capsys):
    assert environment.why_incomplete() == ""
    environment.setup()
    assert capsys.readouterr().out == ""


def test_an_installation_that_was_broken_off_is_noticed(checkout):
    (checkout / ".venv/.complete").unlink()
    assert "broken off" in environment.why_incomplete()
    (checkout / ".venv/.complete").write_text('{"half')
    assert "broken off" in environment.why_incomplete()


def test_changed_pins_are_noticed(checkout):
    (checkout / "requirements.txt").write_text("demo==2.0\n")
    assert "requirements.txt has changed" in environment.why_incomplete()


@pytest.mark.parametrize(
    ("lost", "named"), [("demo-1.0.dist-info/METADATA", "demo"), ("helpers.py", "helpers")]
)
def test_a_package_that_went_missing_is_noticed(checkout, lost, named):
    (path,) = (checkout / ".venv/lib").glob(f"python3.*/site-packages/{lost}")
    path.unlink()
    assert re.search(rf"not the pinned one \({named}", environment.why_incomplete())


def test_another_version_of_a_package_is_noticed(checkout):
    (path,) = (checkout / ".venv/lib").glob("python3.*/site-packages/demo-1.0.dist-info/METADATA")
    path.write_text("Name: demo\nVersion: 1.1\n")
    assert "demo 1.0 1.1" in environment.why_incomplete()


def test_a_cpu_build_counts_as_its_version(checkout):
    (path,) = (checkout / ".venv/lib").glob("python3.*/site-packages/demo-1.0.dist-info/METADATA")
    path.write_text("Name: demo\nVersion: 1.0+cpu\n")
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
        ("ERROR: something else", "its last lines say why:\n\nERROR: something else"),
    ],
)
def test_pips_failure_becomes_a_sentence(checkout, monkeypatch, says, sentence):
    # A pip that can only fail, in the place where pip would be.
    (site,) = (checkout / ".venv/lib").glob("python3.*/site-packages")
    (site / "pip.py").write_text(f"import sys; print({says!r}); sys.exit(1)")
    with pytest.raises(SystemExit, match=sentence):
        environment.pip_install("demo")


def test_it_can_be_read_by_a_python_that_is_too_old():
    """No newer syntax than Python 3.6's, and no f-string, so that an old Python prints the sentence."""
    import ast

    source = (paths.ROOT / "helpers/environment.py").read_text(encoding="utf-8")
    source.encode("ascii")  # Python 2 takes nothing else without being told
    tree = ast.parse(source, feature_version=(3, 6))
    assert not any(isinstance(node, ast.JoinedStr) for node in ast.walk(tree))


def test_the_check_of_this_environment_finds_every_pin():
    rows = environment.check()
    pins = re.findall(r"^[\w-]+==", (paths.ROOT / "requirements.txt").read_text(), re.M)
    assert len(rows) == len(pins) + 2
    assert len(pins) >= 15
    failed = [f"{what}: {found}" for ok, what, found in rows if not ok]
    assert failed == []


def test_every_pin_is_exact_and_has_its_reason():
    lines = (paths.ROOT / "requirements.txt").read_text().splitlines()
    for line in lines:
        if line and not line.startswith("#"):
            assert re.fullmatch(r"[\w-]+==[\w.]+ +# .{10,}", line), line


def test_environment_yml_is_a_shell_around_the_requirements():
    text = (paths.ROOT / "environment.yml").read_text()
    assert "- -r requirements.txt" in text
    assert "- --editable ." in text
    python = re.search(r"- python=3\.(\d+)", text)
    assert environment.supported((3, int(python[1])))
    assert "==" not in text  # no version but Python's stands in two places
