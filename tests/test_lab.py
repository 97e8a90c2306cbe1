"""``make lab``, ``make reset`` and ``make clean``, as one types them, in a copy of the project."""

import contextlib
import json
import os
import re
import select
import shutil
import socket
import subprocess
import sys
import threading
import time
import urllib.request

import psutil
import pytest

from helpers.ios_app import publish
from helpers.netron_view import pictures
from helpers.plumbing import paths
from helpers.workshop import clean, lab, reset

PROMPT = 180
"""Seconds to wait before a test fails, on however busy a machine."""


@pytest.fixture
def checkout(tmp_path):
    """A copy of what ``make`` needs, with two small notebooks, and without git."""
    root = tmp_path / "checkout"
    for name in ("Makefile", "pyproject.toml", "README.md"):
        root.mkdir(exist_ok=True)
        shutil.copy(paths.ROOT / name, root)
    for name in ("helpers/__init__.py", "helpers/plumbing", "helpers/workshop"):
        (root / name).parent.mkdir(exist_ok=True)
        copy = shutil.copytree if (paths.ROOT / name).is_dir() else shutil.copy
        copy(paths.ROOT / name, root / name)
    (root / "notebooks/solutions").mkdir(parents=True)
    for name in ("00_start_here", "solutions/00_start_here"):
        cells = [
            {"cell_type": "markdown", "id": "a", "metadata": {}, "source": f"# {name}\n\n## Second heading"}
        ]
        kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
        notebook = {"cells": cells, "metadata": kernel, "nbformat": 4, "nbformat_minor": 5}
        (root / f"notebooks/{name}.ipynb").write_text(json.dumps(notebook))
    return root


def environment(checkout, **more):
    clean = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("CHAPTER_", "MAKE", "JUPYTER", "IPYTHON"))
    }
    home = checkout.parent / "home"
    home.mkdir(exist_ok=True)
    return clean | {"HOME": str(home), "PYTHON": sys.executable, **more}


def make(checkout, *arguments, **more):
    """One command, with this Python in place of ``.venv``."""
    # The first of PYTHONPATH is the copy: its helpers are meant.
    settings = environment(checkout, PYTHONPATH=str(checkout), **more)
    command = ["make", "SETUP=true", f"IN_VENV={os.path.dirname(sys.executable)}/", *arguments]
    return subprocess.run(
        command, cwd=checkout, env=settings, capture_output=True, text=True, stdin=subprocess.DEVNULL
    )


def contents(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*.ipynb")}


def git(checkout, *arguments):
    somebody = ["-c", "user.name=ada", "-c", "user.email=ada@example.org"]
    subprocess.run(["git", *somebody, *arguments], cwd=checkout, check=True, capture_output=True)


def committed(checkout):
    git(checkout, "init")
    git(checkout, "add", "--all")
    git(checkout, "commit", "--message=shipped")


# -- make reset


@pytest.mark.parametrize("how", ["git", "a copy"])
def test_reset_puts_the_notebooks_back_and_keeps_what_was_typed(checkout, how):
    if how == "git":
        committed(checkout)
    shipped = contents(checkout / "notebooks")
    assert make(checkout, "setup").returncode == 0  # which puts a copy aside where there is no git
    assert (checkout / "notebooks/.shipped").exists() == (how == "a copy")
    for text in ("mine", "mine again"):
        (checkout / "notebooks/00_start_here.ipynb").write_text(text)
        (checkout / "notebooks/my_own.ipynb").write_text("my own")
        (checkout / "notebooks/solutions/00_start_here.ipynb").unlink()
        answer = make(checkout, "reset")
        assert answer.returncode == 0, answer.stderr
        assert (
            "00_start_here.ipynb: as it was shipped; yours is now artifacts/mine/00_start_here-mine-"
            in answer.stdout
        )
        back = {
            name: text for name, text in contents(checkout / "notebooks").items() if ".shipped" not in name
        }
        assert back == shipped | {"my_own.ipynb": b"my own"}
    mine = contents(checkout / "artifacts/mine")
    assert mine == {"00_start_here-mine-1.ipynb": b"mine", "00_start_here-mine-2.ipynb": b"mine again"}
    assert make(checkout, "reset").stdout == "Every notebook is as it was shipped.\n"


def test_what_a_learner_has_committed_is_not_as_shipped(checkout, tmp_path):
    committed(checkout)
    shipped = contents(checkout / "notebooks")
    git(checkout, "clone", ".", str(tmp_path / "learner"))
    learner = tmp_path / "learner"
    (learner / "notebooks/00_start_here.ipynb").write_text("mine")
    git(learner, "commit", "--all", "--message=mine")
    assert make(learner, "reset").returncode == 0
    assert contents(learner / "notebooks") == shipped
    assert (learner / "artifacts/mine/00_start_here-mine-1.ipynb").read_text() == "mine"


def test_without_git_and_without_a_copy_nothing_is_changed(checkout):
    (checkout / "notebooks/00_start_here.ipynb").write_text("mine")
    answer = make(checkout, "reset")
    assert answer.returncode == 2 and "neither git nor a copy" in answer.stderr
    assert (checkout / "notebooks/00_start_here.ipynb").read_text() == "mine"


def test_a_copy_that_cannot_be_kept_leaves_the_notebook_as_it_is(checkout):
    assert make(checkout, "setup").returncode == 0
    (checkout / "notebooks/00_start_here.ipynb").write_text("mine")
    (checkout / "artifacts").write_text("a file where the folder would be")
    answer = make(checkout, "reset")
    assert answer.returncode == 2 and "Cannot write to the artifacts folder" in answer.stderr
    assert (checkout / "notebooks/00_start_here.ipynb").read_text() == "mine"


def test_the_copy_is_made_once_and_again_for_another_version(checkout):
    assert make(checkout, "setup").returncode == 0
    (checkout / "notebooks/00_start_here.ipynb").write_text("mine")
    assert make(checkout, "setup").returncode == 0
    assert b"mine" not in contents(checkout / "notebooks/.shipped").values()
    project = checkout / "pyproject.toml"
    project.write_text(re.sub(r'^version = ".*"', 'version = "99.0"', project.read_text(), flags=re.M))
    (checkout / "notebooks/00_start_here.ipynb").write_text("the new one")
    assert make(checkout, "setup").returncode == 0
    assert (checkout / "notebooks/.shipped/99.0/00_start_here.ipynb").read_text() == "the new one"


def test_this_projects_own_notebooks_are_known(monkeypatch):
    if not (paths.ROOT / ".git").exists():
        pytest.skip("this checkout has no git")
    assert (
        {f"{path.name}" for path in reset.NOTEBOOKS.glob("*.ipynb")}
        >= {name for name in reset.from_git() if "/" not in name}
        != set()
    )


# -- make clean


@pytest.fixture
def app(checkout):
    """An app's folder as ``write_app`` leaves it, and other things that were made."""
    (checkout / "artifacts/runs").mkdir(parents=True)
    (checkout / "artifacts/alexnet.onnx").write_text("made")
    (checkout / ".pytest_cache").mkdir()
    (checkout / "data").mkdir()
    (checkout / "data/kept").write_text("")
    publish(
        {"App/View.swift": b"struct View", "App.xcodeproj/project.pbxproj": b"p"},
        checkout / "artifacts/App",
        False,
    )
    (checkout / "artifacts/App/App.xcodeproj/xcuserdata").mkdir()
    (checkout / "artifacts/App/App.xcodeproj/xcuserdata/state").write_text("Xcode's own")
    return checkout / "artifacts/App"


AT_A_TERMINAL = "import os, pty, sys; sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))"


def at_a_terminal(command, folder, variables):
    """A command with a terminal of its own: what is written to its pipe is typed there.

    In a process between: this one has threads, and a fork of it can hang.
    """
    return subprocess.Popen(
        [sys.executable, "-S", "-c", AT_A_TERMINAL, *command],
        cwd=folder,
        env=variables,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )


def asked(checkout, answer):
    """``make clean`` at a terminal, whose user types ``answer``: the exit code, and what stands on the screen."""
    said = b""
    with at_a_terminal(["make", "SETUP=true", "clean"], checkout, environment(checkout)) as process:
        while more := os.read(process.stdout.fileno(), 1000):
            said += more
            if said.endswith(b"[y/N] "):
                os.write(process.stdin.fileno(), answer or b"\x04")  # the end, for a question nobody expects
            while answer == b"\x03" and not select.select([process.stdout], [], [], 1)[0]:
                os.write(process.stdin.fileno(), answer)  # input() misses the one that comes before it reads
    return process.returncode, said.decode()


def test_what_nobody_edited_goes_without_a_question(checkout, app):
    assert asked(checkout, b"") == (0, "")
    assert not (checkout / "artifacts").exists() and not (checkout / ".pytest_cache").exists()
    assert not list(checkout.glob("helpers/**/__pycache__")) and (checkout / "data/kept").exists()


def edit(app):
    (app / "App/View.swift").write_text("struct Mine")


def add(app):
    (app / "App/Mine.swift").write_text("struct Mine")


def damage(app):
    (app / clean.LIST).write_text('{"half')


def lose(app):
    (app / clean.LIST).unlink()


@pytest.mark.parametrize("change", [edit, add, damage, lose])
def test_an_app_that_was_edited_is_asked_about(checkout, app, change):
    change(app)
    code, said = asked(checkout, b"n\n")
    assert code == 0 and "artifacts/App holds work of yours: " in said and "kept" in said
    assert (app / "App/View.swift").exists() and not (checkout / "artifacts/alexnet.onnx").exists()
    assert not (checkout / "artifacts/runs").exists()
    code, said = asked(checkout, b"y\n")
    assert code == 0 and not (checkout / "artifacts").exists()


def test_the_notebooks_that_reset_put_aside_are_asked_about(checkout, app):
    (checkout / "artifacts/mine").mkdir()
    (checkout / "artifacts/mine/01-mine-1.ipynb").write_text("mine")
    _, said = asked(checkout, b"\n")
    assert "artifacts/mine holds work of yours: 01-mine-1.ipynb" in said
    assert [path.name for path in (checkout / "artifacts").rglob("*")] == ["mine", "01-mine-1.ipynb"]


def test_ctrl_c_at_the_question_deletes_nothing(checkout, app):
    edit(app)
    _, said = asked(checkout, b"\x03")
    assert "Nothing was deleted" in said and "Traceback" not in said
    assert (checkout / "artifacts/alexnet.onnx").exists() and (checkout / ".pytest_cache").exists()


def test_with_nobody_to_ask_work_is_kept(checkout, app):
    edit(app)
    answer = make(checkout, "clean")
    assert answer.returncode == 0 and "`rm -r artifacts/App` deletes it" in answer.stdout
    assert (app / "App/View.swift").read_text() == "struct Mine"


# -- make lab


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Terminal:
    """``make lab`` at a terminal of its own."""

    def __init__(self, checkout, *arguments):
        self.port, self.said, self.home = free_port(), "", checkout.parent / "home"
        settings = environment(checkout, PYTHONPATH=str(checkout))
        command = [
            "make",
            "lab",
            "SETUP=true",
            f"IN_VENV={os.path.dirname(sys.executable)}/",
            f"PORT={self.port}",
        ]
        self.process = at_a_terminal([*command, *arguments], checkout, settings)
        threading.Thread(target=self._read, daemon=True).start()
        until(lambda: "?token=" in self.said)
        self.token = re.search(r"\?token=(\w+)", self.said)[1]
        self.url = f"http://127.0.0.1:{self.port}/"

    def _read(self):
        while more := os.read(self.process.stdout.fileno(), 1000):
            self.said += more.decode(errors="replace")

    def ask(self, path, method="GET"):
        request = urllib.request.Request(f"{self.url}{path}?token={self.token}", method=method, data=None)
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=PROMPT) as answer:
            return json.load(answer)

    def end(self, how=b"\x03"):
        """Ctrl-C, once; the processes that are still there afterwards."""
        started = psutil.Process(self.process.pid).children(recursive=True)
        os.write(self.process.stdin.fileno(), how)
        until(lambda: self.process.poll() is not None)
        return [
            one for one in psutil.wait_procs(started, timeout=10)[1] if one.status() != psutil.STATUS_ZOMBIE
        ]

    def kill(self):
        """Whatever a test has left: make, JupyterLab and its kernels."""
        left = (
            psutil.Process(self.process.pid).children(recursive=True) if self.process.poll() is None else []
        )
        for one in [*left, self.process]:
            with contextlib.suppress(psutil.NoSuchProcess):
                one.kill()
        self.process.wait()


def until(is_so):
    began = time.monotonic()
    while not is_so():
        assert time.monotonic() - began < PROMPT, "it takes too long"
        time.sleep(0.1)


@pytest.fixture
def at_work(checkout):
    (checkout / "artifacts").mkdir()
    (checkout / "artifacts/summary.json").write_text('{"made": "by a notebook"}')
    terminal = Terminal(checkout)
    yield terminal
    terminal.kill()


def test_lab_serves_the_project_says_when_the_port_is_taken_and_ends_with_one_ctrl_c(checkout, at_work):
    before = {one["name"] for one in at_work.ask("api/contents")["content"]}
    assert {"artifacts", "helpers", "notebooks", "README.md"} <= before
    assert at_work.ask("api/contents/artifacts/summary.json")["type"] == "file"

    again = make(checkout, "lab", f"PORT={at_work.port}")
    assert again.returncode == 2 and "JupyterLab is at work in this folder already: http://" in again.stderr
    assert at_work.token in again.stderr and f"jupyter server stop {at_work.port}" in again.stderr

    at_work.ask("api/kernels", "POST")
    until((at_work.home / ".ipython/profile_default/history.sqlite").exists)  # the kernel is there
    assert at_work.end() == []
    assert "Shutting down" in at_work.said and "Traceback" not in at_work.said and "y/[n]" not in at_work.said
    left = [path.name for path in at_work.home.rglob("*") if path.is_file()]
    assert not [name for name in left if name.startswith(("jpserver", "kernel-"))]
    assert not (at_work.home / ".jupyter").exists(), "the user's settings are not touched"


def test_a_port_that_another_program_has_is_named_with_what_to_type(checkout):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        answer = make(checkout, "lab", f"PORT={port}")
    assert answer.returncode == 2 and f"Port {port} is taken by another program." in answer.stderr
    assert f"make lab PORT={port + 1}" in answer.stderr and "Traceback" not in answer.stderr


@pytest.mark.parametrize("port", ["0", "70000"])
def test_a_number_that_is_no_port(checkout, port):
    answer = make(checkout, "lab", f"PORT={port}")
    assert answer.returncode == 2 and f"PORT={port} is no port" in answer.stderr


def test_only_an_administrator_says_that_he_is_one(monkeypatch, tmp_path):
    for user, said in ((0, True), (1000, False)):
        monkeypatch.setattr(os, "geteuid", lambda user=user: user)
        assert f"--ServerApp.allow_root={said}" in lab.options(8888, tmp_path)


@pytest.mark.skipif(pictures.browser() is None, reason="no Chromium: sudo apt-get install chromium")
def test_in_a_browser_the_table_of_contents_is_open_and_nothing_pops_up(checkout, at_work, tmp_path):
    sync_api = pytest.importorskip(
        "playwright.sync_api", reason="the package playwright is not installed: make test"
    )
    screenshots = os.environ.get("SCREENSHOTS", str(tmp_path))
    arguments = ["--no-sandbox", "--no-proxy-server", "--disable-gpu"]
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=pictures.browser(), args=arguments)
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        page.set_default_timeout(PROMPT * 1000)
        asked = []
        page.on("request", lambda request: asked.append(request.url))
        page.goto(re.search(r"http://127\S+", at_work.said)[0])  # as it stands in the terminal
        page.wait_for_selector(".jp-Notebook .jp-Cell")
        contents = page.locator(".jp-TableOfContents").first
        contents.locator(".jp-tocItem").first.wait_for()
        assert contents.is_visible() and "Second heading" in contents.inner_text()
        page.wait_for_timeout(3000)  # the question about news comes late
        page.screenshot(path=f"{screenshots}/lab.png")
        assert page.locator(".Toastify__toast").count() == 0
        assert page.locator(".jp-Dialog").count() == 0

        page.goto(f"{at_work.url}lab/tree/artifacts/summary.json")
        page.get_by_text("by a notebook").first.wait_for()
        page.screenshot(path=f"{screenshots}/lab-artifact.png")
        assert not [url for url in asked if "127.0.0.1" not in url and not url.startswith(("data:", "blob:"))]
        browser.close()
