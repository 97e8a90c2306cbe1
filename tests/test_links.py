"""Every link inside leads to something, and the list of the addresses outside is complete."""

import http.server
import json
import subprocess
import sys
import threading

import pytest

from helpers.plumbing import paths
from helpers.workshop import links


def test_every_link_inside_leads_to_a_file_and_to_a_heading():
    assert links.broken() == []


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project of one page and one notebook with two headings, which a text is written into."""
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    for folder in ("notebooks/zh", "helpers"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "README.md").write_text("# Top of `it`\n\n## What? It isn't\n\n```\n# no heading\n```\n")
    cells = [{"cell_type": "markdown", "source": ["# 1 · A title\n", "\n", "## Next step"]}]
    (tmp_path / "notebooks/01_a.ipynb").write_text(json.dumps({"cells": cells}))
    return tmp_path


@pytest.mark.parametrize(
    "link",
    [
        "01_a.ipynb",
        "01_a.ipynb#Next-step",
        "../README.md#what-it-isnt",
        "../README.md#top-of-it",
        "#here",
        "https://no.where/a",
        "mailto:a@b",
    ],
)
def test_a_link_that_leads_somewhere(project, link):
    (project / "notebooks/page.md").write_text(f"# Here\n\nA [word]({link}), `[code](none.md)`.")
    assert links.broken() == []


@pytest.mark.parametrize(
    "link",
    [
        "02_b.ipynb",
        "01_a.ipynb#next-step",
        "../README.md#no-heading",
        "#there",
        "../README.md#What?-It-isn't",
    ],
)
def test_a_link_that_leads_nowhere_is_named(project, link):
    (project / "notebooks/page.md").write_text(f"# Here\n\nA [word]({link}).")
    assert links.broken() == [f"notebooks/page.md: {link}"]
    (project / "notebooks/page.md").unlink()
    cells = [
        {"cell_type": "markdown", "source": ["one"]},
        {"cell_type": "markdown", "source": [f"[b]({link})"]},
    ]
    (project / "notebooks/zh/02_a.ipynb").write_text(json.dumps({"cells": cells}))
    (found,) = links.broken()
    assert found == f"notebooks/zh/02_a.ipynb, cell 2: {link}"


def test_a_picture_that_is_not_there_is_named(project):
    (project / "README.md").write_text('![A road](road.png) <img alt="b" src="b.png">')
    assert links.broken() == ["README.md: road.png", "README.md: b.png"]


def test_the_list_has_every_address_of_texts_docstrings_comments_and_messages(project):
    (project / "README.md").write_text("See [it](https://a.org/b#c), <https://d.org>, `https://e.org/`.")
    (project / "helpers/a.py").write_text(
        '"""As in https://f.org/x."""\n# and https://g.org/y, too\nA = ("https://h.org/"\n    "z")\n'
        'raise ValueError(f"https://i.org/{A}")  # https://github.com/OWNER/NAME\n'
    )
    cells = [{"cell_type": "code", "source": ["x = 'https://j.org/k'"]}]
    (project / "notebooks/01_a.ipynb").write_text(json.dumps({"cells": cells}))
    assert links.outside() == {
        "https://a.org/b#c": ["README.md"],
        "https://d.org": ["README.md"],
        "https://e.org/": ["README.md"],
        "https://f.org/x": ["helpers/a.py"],
        "https://g.org/y": ["helpers/a.py"],
        "https://h.org/z": ["helpers/a.py"],
        "https://j.org/k": ["notebooks/01_a.ipynb, cell 1"],
    }


def test_no_file_with_an_address_is_left_out_of_the_list():
    own, translated = [*links.OTHERS, *links.texts.MARKDOWN], links.texts.TRANSLATED
    known = {*links.texts.files(*own), *links.texts.files(*translated)}
    for part in ("helpers", "notebooks", ".github"):
        for path in (paths.ROOT / part).rglob("*"):
            hidden = {"__pycache__", ".ipynb_checkpoints", ".shipped"} & set(path.parts)
            if path.is_file() and not hidden and b"https://" in path.read_bytes():
                assert path in known, path


def test_an_address_that_is_gone_is_named_and_one_that_only_refuses_is_not(monkeypatch, capsys):
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(int(self.path[1:]))
            self.end_headers()

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        where = f"http://127.0.0.1:{server.server_port}/"
        found = {where + code: ["README.md"] for code in ("200", "403", "404", "410", "500")}
        nobody = "http://127.0.0.1:1/"
        monkeypatch.setattr(links, "outside", lambda: found | {nobody: ["a", "b"]})
        assert links.main(["--check"]) == 1
        said = capsys.readouterr()
        gone = [line.split(": ")[0] for line in said.err.splitlines()]
        assert gone == [where + "404", where + "410", nobody]
        assert "Named in a; b" in said.err and "6 addresses, 3 of them gone." in said.out
        monkeypatch.setattr(links, "outside", lambda: {where + "200": []})
        assert links.main(["--check"]) == 0
        server.shutdown()


def test_the_list_needs_no_package():
    code = "import sys; sys.argv = ['links']; from helpers.workshop import links; sys.exit(links.main([]))"
    done = subprocess.run([sys.executable, "-S", "-c", code], cwd=paths.ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (line,) = [line for line in done.stdout.splitlines() if "creativecommons.org/licenses/by/4.0/" in line]
    assert {"README.md", "LICENSE"} <= set(line.split("  ")[1].split("; "))
