"""What ``notebooks/teaching.md`` promises: its times, its commands, and a class on an installation that nobody can change."""

import ctypes
import os
import re
import shutil
import subprocess
import sys

import nbformat
import pytest

from helpers import chapter
from helpers.plumbing import measured, paths, variables
from helpers.workshop import readme

TEXT = readme.TEACHING.read_text(encoding="utf-8")
PLANS = re.findall(r"(?:\| minutes .*\n\|[ -:|]+\n)((?:\|.*\n)+)", TEXT)
DROP_FROM_BOUNDS, OVERRIDE, READ_SEARCH = 24, 1, 2
"""``man 2 prctl`` and ``man 7 capabilities``: the rights by which an administrator passes over the permissions of files."""


def test_the_times_are_those_that_were_measured():
    assert readme.filled(TEXT, readme.TEACHING_TABLES) == TEXT, "run: python -m helpers.workshop.readme"


def test_each_plan_fills_its_time_and_the_machine_is_not_too_slow_for_it():
    seconds = measured.read("notebooks")["quick"]["seconds"]
    lengths = []
    for plan in PLANS:
        rows = [[cell.strip() for cell in row.strip("|\n").split("|")] for row in plan.splitlines()]
        lengths.append(sum(int(row[0]) for row in rows))
        for name in chapter.NOTEBOOKS:
            minutes = sum(int(row[0]) for row in rows if row[1] == name[:2])
            assert not minutes or seconds[name] / 60 < minutes / 2, name
    assert lengths == [90, 240, 150, 150]


def test_the_sections_of_the_plans_are_those_of_the_notebooks():
    for plan in PLANS:
        for row in plan.splitlines():
            number, texts = row.split("|")[2].strip(), row.split("|")[3:]
            named = [
                int(one)
                for text in texts
                for part in re.findall(r"sections? ([\d, to and]+)", text)
                for one in re.findall(r"\d+", part)
            ]
            if number:
                path = next((paths.ROOT / "notebooks").glob(f"{number}_*.ipynb"))
                there = re.findall(
                    r"^## (\d+)\. ", "\n".join(cell.source for cell in nbformat.read(path, 4).cells), re.M
                )
                assert {*map(str, named)} <= {*there}, row


def test_what_is_named_is_there():
    targets = re.findall(r"^([a-z]+):.*## ", (paths.ROOT / "Makefile").read_text(encoding="utf-8"), re.M)
    assert set(re.findall(r"make ([a-z]+)", TEXT)) <= {*targets}
    assert set(re.findall(r"CHAPTER_\w+", TEXT)) <= set(re.findall(r"CHAPTER_\w+", variables.__doc__))
    for link in re.findall(r"\]\(([^)]+)\)", TEXT):
        assert (readme.TEACHING.parent / link).exists(), link
    code = "".join(path.read_text(encoding="utf-8") for path in (paths.ROOT / "helpers").rglob("*.py"))
    messages = re.findall(r"^\| `([^`]+)` \|", TEXT, re.M)
    assert len(messages) >= 3
    assert all(message in code for message in messages if not message.startswith("ModuleNotFoundError"))


@pytest.fixture
def classroom(tmp_path):
    """An installation that can only be read, and a folder of the learner's own."""
    course, home = tmp_path / "course", tmp_path / "home"
    for name in ("helpers", "notebooks"):
        shutil.copytree(paths.ROOT / name, course / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("requirements.txt", "constraints.txt"):
        shutil.copy(paths.ROOT / name, course)
    shutil.copytree(course / "notebooks", home / "notebooks")
    for path in [course, *course.rglob("*")]:
        path.chmod(path.stat().st_mode & ~0o222)
    yield course, home
    for path in [course, *course.rglob("*")]:
        path.chmod(path.stat().st_mode | 0o200)


def give_up_rights():
    """In a new process of an administrator: it may write only where the permissions say so."""
    for right in (OVERRIDE, READ_SEARCH) if os.geteuid() == 0 else ():
        if ctypes.CDLL(None).prctl(DROP_FROM_BOUNDS, right, 0, 0, 0):
            raise OSError("an administrator's rights cannot be given up here")


def as_ordinary_user(course, home, *arguments):
    """Run this Python in ``home``, as somebody who can write only there."""
    own = {"HOME": str(home), "CHAPTER_ARTIFACTS": str(home / "artifacts"), "CHAPTER_MODE": "smoke"}
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("CHAPTER_", "XDG_"))}
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=home,
        env=kept | own | {"PYTHONPATH": str(course), "TMPDIR": str(home)},
        capture_output=True,
        text=True,
        timeout=900,
        preexec_fn=give_up_rights,
    )


not_closed = pytest.mark.skipif(
    os.geteuid() == 0 and not sys.platform.startswith("linux"),
    reason="no file is closed to an administrator here",
)


@not_closed
def test_a_class_works_on_an_installation_that_it_cannot_change(classroom):
    course, home = classroom
    before = {path: path.stat().st_mtime_ns for path in course.rglob("*")}
    tried = as_ordinary_user(course, home, "-c", f"open({str(course / 'x')!r}, 'w')")
    assert "PermissionError" in tried.stderr
    # The learner's own copy is run and saved, as JupyterLab would.
    own = home / "notebooks/00_start_here.ipynb"
    ran = as_ordinary_user(
        course, home, "-m", "nbconvert", "--to", "notebook", "--execute", "--inplace", str(own)
    )
    assert ran.returncode == 0, ran.stderr
    assert (home / "artifacts").is_dir()
    assert "mode      smoke" in nbformat.read(own, 4).cells[1].outputs[0].text
    assert {path: path.stat().st_mtime_ns for path in course.rglob("*")} == before


@not_closed
def test_a_class_that_did_not_say_where_to_write_is_told_so(classroom):
    course, home = classroom
    program = "import os; del os.environ['CHAPTER_ARTIFACTS']; from helpers import chapter; chapter.begin('00_start_here')"
    ran = as_ordinary_user(course, home, "-c", program)
    assert "Cannot write to the artifacts folder" in ran.stderr
    assert "CHAPTER_ARTIFACTS" in ran.stderr
