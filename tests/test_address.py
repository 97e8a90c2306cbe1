"""The repository's address, what is made from it, and a notebook that was opened alone."""

import http.server
import io
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import threading
import zipfile

import pytest

from helpers.plumbing import paths
from helpers.workshop import address, colab

WHERE = "https://github.com/nobody-7/road-to.iphone"
README = paths.ROOT / "README.md"


def test_every_notebook_and_the_readme_are_as_the_address_makes_them():
    where = address.address()
    for path in address.NOTEBOOKS:
        notebook = address.nbformat.read(path, as_version=4)
        first = next(cell for cell in notebook.cells if cell.cell_type == "code")
        assert first.source.startswith(address.beginning(where)), path.name
    assert len(address.NOTEBOOKS) >= 8
    text = README.read_text(encoding="utf-8")
    assert f"<!-- badges -->\n{address.badges(where)}\n<!-- end badges -->" in text
    assert ("colab.research" in text) == (where is not None)


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """The parts of the project that an address is written into, and their contents."""
    folder = tmp_path_factory.mktemp("address") / "project"
    ignored = shutil.ignore_patterns("__pycache__", "pretrained")
    for name in ("helpers", "notebooks"):
        shutil.copytree(paths.ROOT / name, folder / name, ignore=ignored)
    for name in ("README.md", "pyproject.toml", "requirements.txt", "CONTRIBUTING.md", "CITATION.cff"):
        shutil.copy(paths.ROOT / name, folder / name)
    return folder


def command(folder, *arguments):
    variables = {key: value for key, value in os.environ.items() if not key.startswith("CHAPTER")}
    variables["PYTHONPATH"] = str(folder)
    line = [sys.executable, "-m", "helpers.workshop.address", *arguments]
    return subprocess.run(line, cwd=folder, env=variables, text=True, capture_output=True)


def contents(folder):
    files = [folder / name for name in ("README.md", "pyproject.toml", "CITATION.cff")]
    files += sorted((folder / "notebooks").glob("*.ipynb"))
    return {path.name: path.read_text(encoding="utf-8") for path in files}


def test_an_address_is_written_everywhere_and_taken_away_without_a_trace(copy):
    assert command(copy, "--none").returncode == 0
    before = contents(copy)
    done = command(copy, WHERE + ".git")
    assert done.returncode == 0, done.stderr
    after = contents(copy)
    assert f'[project.urls]\nRepository = "{WHERE}"\n' in after["pyproject.toml"]
    assert f"\nrepository-code: {WHERE}\n" in after["CITATION.cff"]
    assert (
        "https://colab.research.google.com/github/nobody-7/road-to.iphone/blob/HEAD/notebooks/00"
        in (after["README.md"])
    )
    assert "https://mybinder.org/v2/gh/nobody-7/road-to.iphone/HEAD?urlpath=lab" in after["README.md"]
    notebooks = [text for name, text in after.items() if name.endswith(".ipynb")]
    assert all(f"{WHERE}/archive/HEAD.zip" in text for text in notebooks)
    assert command(copy, "https://github.com/another/name").returncode == 0
    assert not any("nobody-7" in text for text in contents(copy).values())
    assert command(copy, "--none").returncode == 0
    assert contents(copy) == before


@pytest.mark.parametrize(
    "given", [[], ["github.com/a/b"], ["https://github.com/a"], ["https://example.org/a/b"]]
)
def test_what_is_no_address_is_not_written(monkeypatch, capsys, given):
    monkeypatch.setattr(address, "write", lambda where: pytest.fail(f"wrote {where}"))
    assert address.main(given) == 2
    assert "https://github.com/OWNER/NAME" in capsys.readouterr().err


def test_a_notebook_that_was_begun_otherwise_is_named_and_nothing_is_written(copy):
    path = copy / "notebooks" / address.NOTEBOOKS[-1].name
    kept = path.read_text(encoding="utf-8")
    path.write_text(kept.replace("from helpers import chapter", "from helpers import data"), encoding="utf-8")
    before = contents(copy)
    try:
        done = command(copy, WHERE)
        assert done.returncode == 1 and done.stderr.startswith(path.name) and "make reset" in done.stderr
        assert contents(copy) == before
    finally:
        path.write_text(kept, encoding="utf-8")


def archive() -> bytes:
    """What GitHub makes of a repository: a zip with one folder in it."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as file:
        for path in [paths.ROOT / "requirements.txt", *(paths.ROOT / "helpers").rglob("*")]:
            if path.is_file() and path.suffix not in (".pyc", ".pth"):
                file.write(path, "name-0123abc" / path.relative_to(paths.ROOT))
    return made.getvalue()


def test_the_first_cell_of_a_notebook_that_is_alone_fetches_the_project(tmp_path):
    body = archive()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200 if self.path == "/owner/name/archive/HEAD.zip" else 404)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        where = f"http://127.0.0.1:{server.server_port}/owner/name"
        cell = address.beginning(where) + "\nprint(chapter.__file__)"
        # -S: what .venv has installed, without the project itself, which is there by a .pth file.
        variables = {key: value for key, value in os.environ.items() if "proxy" not in key.lower()}
        variables["PYTHONPATH"] = sysconfig.get_path("purelib")
        done = subprocess.run(
            [sys.executable, "-S", "-c", cell], cwd=tmp_path, env=variables, text=True, capture_output=True
        )
        server.shutdown()
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == str(tmp_path / "name-0123abc/helpers/chapter.py")
    assert "Used as they are: torch" in done.stdout and "Installing" not in done.stdout


def test_only_what_is_missing_is_installed_and_it_is_pinned(monkeypatch):
    asked = []
    here = colab.wanted() | {"torch": "99.0"}
    del here["segno"]
    monkeypatch.setattr(colab, "installed", lambda: here)
    monkeypatch.setattr(colab, "_pip", lambda missing, there: asked.append((missing, there)))
    colab.install()
    assert [list(missing) for missing, _ in asked] == [["segno"]]
    assert asked[0][1]["torch"] == "99.0"
    assert re.fullmatch(r"[\d.]+", asked[0][0]["segno"])


def test_a_package_that_is_too_old_is_named(monkeypatch):
    monkeypatch.setattr(colab, "installed", lambda: colab.wanted() | {"torch": "2.3.1+cu121"})
    with pytest.raises(ImportError, match=r"torch 2\.3\.1\+cu121 \(needed: 2\.\d+ or newer\).*runtime"):
        colab.install()


def test_what_pip_cannot_install_is_said_with_its_last_words(monkeypatch):
    here = colab.wanted()
    monkeypatch.setattr(colab, "installed", lambda: here)
    monkeypatch.setattr(colab, "wanted", lambda: here | {"no-such-package-as-this": "1.0"})
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(
        ImportError, match=r"(?s)pip could not install no-such.*No matching distribution.*lab"
    ):
        colab.install()
