import copy
import json
import os
import shlex
import signal
import subprocess
import sys
import time

import nbformat
import psutil
import pytest
import torch
import yaml

from helpers import chapter
from helpers.plumbing import paths
from helpers.workshop import run


def write(folder, name, *cells):
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    nbformat.write(notebook, folder / f"{name}.ipynb")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder of three notebooks of our own; the second one writes a result, the third one fails."""
    monkeypatch.setattr(run, "NOTEBOOKS", tmp_path)
    sources = {
        "00_hello": ["print('hello')", "1 + 1"],
        "01_result": [
            "from helpers import chapter; chapter._current = '01_result'",
            "chapter.record(source='drawings', test_accuracy=0.5, parity={'a': {'max_abs_diff': 1e-6}})",
        ],
        "02_fails": ["x = 1", "raise RuntimeError('as planned')", "print('never')"],
    }
    for name, cells in sources.items():
        write(tmp_path, name, *cells)
    return tmp_path


def test_it_runs_in_order_and_writes_pages_summary_and_table(folder, scratch_artifacts, capsys):
    (folder / "02_fails.ipynb").unlink()
    paths.artifact("alexnet.onnx").write_bytes(b"12345")
    assert run.main([]) == 0
    said = capsys.readouterr().out
    assert said.index("00_hello") < said.index("01_result")
    assert "cell  2/2" in said
    summary = json.loads((scratch_artifacts / "summary.json").read_text())
    assert {"source", "mode", "test_accuracy", "onnx_max_abs_diff", "files", "seconds"} <= set(summary)
    assert (summary["source"], summary["mode"], summary["test_accuracy"]) == ("drawings", "quick", 0.5)
    assert summary["files"] == {"alexnet.onnx": 5}
    assert list(summary["seconds"]) == ["00_hello", "01_result"]
    page = (scratch_artifacts / "executed/00_hello.html").read_text()
    assert "hello" in page
    assert "http" not in page.split("<body")[1]
    executed = nbformat.read(scratch_artifacts / "executed/00_hello.ipynb", as_version=4)
    assert executed.cells[0].outputs[0].text == "hello\n"
    untouched = nbformat.read(folder / "00_hello.ipynb", as_version=4)
    assert untouched.cells[0].outputs == []


def test_a_failing_cell_stops_the_run_and_says_where(folder, capsys):
    assert run.main([]) == 1
    said = capsys.readouterr()
    assert "02_fails.ipynb stopped with an error" in said.err
    assert "as planned" in said.err
    assert "\x1b" not in said.err
    assert (paths.artifacts_dir() / "executed/02_fails.html").exists()


def test_what_an_earlier_run_recorded_is_forgotten(folder):
    (folder / "02_fails.ipynb").unlink()
    (folder / "01_result.ipynb").unlink()
    paths.artifact("results/01_result.json").write_text('{"test_accuracy": 0.99}')
    assert run.main([]) == 0
    assert json.loads(paths.artifact("summary.json").read_text())["test_accuracy"] is None


def test_saving_keeps_outputs_and_two_builds_are_the_same(folder):
    for name in ("01_result", "02_fails"):
        (folder / f"{name}.ipynb").unlink()
    builds = []
    for _ in range(2):
        assert run.main(["--save", "00"]) == 0
        builds.append((folder / "00_hello.ipynb").read_bytes())
    assert builds[0] == builds[1]
    saved = nbformat.read(folder / "00_hello.ipynb", as_version=4)
    assert saved.cells[0].outputs[0].text == "hello\n"
    assert "version" not in saved.metadata["language_info"]
    assert [path.name for path in folder.glob("*") if path.is_file()] == ["00_hello.ipynb"]


def test_measuring_one_notebook_keeps_what_the_others_measured(folder, monkeypatch):
    measured = paths.artifact("notebooks.json")
    monkeypatch.setattr(paths, "MEASURED", measured.parent)
    monkeypatch.setattr("helpers.workshop.readme.update", lambda: None)
    old = {
        "seconds": {"00_hello": 5.0, "01_result": 7.0},
        "files": {"a.pth": 1},
        "test_accuracy": 0.5,
        "source": "x",
    }
    old["machines"] = {"00_hello": "another", "01_result": "another"}
    measured.write_text(json.dumps({"quick": old}))
    assert run.main(["--measure", "00"]) == 0
    new = json.loads(measured.read_text())["quick"]
    assert new["seconds"]["01_result"] == 7.0 and new["seconds"]["00_hello"] != 5.0
    assert new["machines"]["01_result"] == "another" != new["machines"]["00_hello"]
    assert (new["test_accuracy"], new["files"]["a.pth"]) == (0.5, 1)


def test_a_run_of_all_measures_starting_and_importing(folder, monkeypatch):
    monkeypatch.setattr(paths, "MEASURED", paths.artifacts_dir())
    monkeypatch.setattr("helpers.workshop.readme.update", lambda: None)
    monkeypatch.setattr(chapter, "NOTEBOOKS", {"00_hello": ""})
    for name in ("01_result", "02_fails"):
        (folder / f"{name}.ipynb").unlink()
    assert run.main(["--measure"]) == 0
    took = json.loads(paths.artifact("notebooks.json").read_text())["quick"]
    assert 0 < took["starting"] < took["seconds"]["00_hello"]
    assert took["importing"] >= 0


@pytest.mark.parametrize("option", ["--save", "--measure", ""])
def test_what_is_measured_or_saved_trains_anew_and_no_run_is_lost(folder, monkeypatch, option):
    monkeypatch.setattr(paths, "MEASURED", paths.artifacts_dir())
    monkeypatch.setattr("helpers.workshop.readme.update", lambda: None)
    for name in ("00_hello", "01_result", "02_fails"):
        (folder / f"{name}.ipynb").unlink()
    code = """
from helpers.plumbing import paths
own = paths.artifact("runs/a")
print("loaded" if own.exists() else "trained")
own.mkdir(exist_ok=True)
(own / "by").write_text("the notebook")
"""
    write(folder, "03_train", code)
    killed = paths.artifacts_dir() / ".runs-before/of-a-killed-run"
    for own in (paths.artifact("runs/a/by"), paths.artifact("runs/b/by"), killed / "by"):
        own.parent.mkdir(parents=True, exist_ok=True)
        own.write_text("before")
    assert run.main([option, "03"] if option else ["03"]) == 0
    executed = nbformat.read(paths.artifacts_dir() / "executed/03_train.ipynb", as_version=4)
    assert executed.cells[0].outputs[0].text == ("trained\n" if option else "loaded\n")
    kept = {own.parent.name: own.read_text() for own in paths.artifact("runs").glob("*/by")}
    expected = {"a": "the notebook", "b": "before"} | ({"of-a-killed-run": "before"} if option else {})
    assert kept == expected


def test_importing_is_what_the_imports_in_the_cells_take():
    cells = [
        "%matplotlib inline\nimport json",
        "def f():\n    from pathlib import Path\n    return Path",
        "1 / 0",
        "import a_module_that_the_notebook_wrote",
    ]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    little = run.import_seconds(notebook)
    notebook.cells.append(nbformat.v4.new_code_cell("import torch"))
    assert 0 < little < run.import_seconds(notebook)


def test_a_name_that_fits_no_notebook_is_named(folder, capsys):
    assert run.main(["99"]) == 2
    assert "starts with 99" in capsys.readouterr().err
    assert run.main(["\x1b[2J"]) == 2
    assert r"starts with \x1b[2J" in capsys.readouterr().err


def test_recording_adds_up_and_needs_a_beginning(monkeypatch):
    monkeypatch.setattr(chapter, "_current", None)
    with pytest.raises(RuntimeError, match="run its first cell"):
        chapter.record(a=1)
    with pytest.raises(ValueError, match="no notebook '07'"):
        chapter.begin("07")
    for package in ("torhc", "", 3):
        with pytest.raises(ValueError, match=rf"no package {package!r} here\. Check its name; `make setup`"):
            chapter.begin("00_start_here", package)
    with pytest.raises(ValueError, match="no notebook"):
        chapter.begin(["00_start_here"])
    with pytest.raises(RuntimeError, match="run its first cell"):
        chapter.record(a=1)
    chapter.begin("00_start_here", "torch")
    chapter.record(a=1)
    for wrong in (torch.tensor(1.0), paths.ROOT, float("nan")):
        with pytest.raises(ValueError, match="keeps numbers"):
            chapter.record(wrong=wrong)
    chapter.record(b=2)
    assert chapter.results() == {"00_start_here": {"mode": "quick", "a": 1, "b": 2}}


@pytest.mark.parametrize("text", [b'{"a": 1', b"[1, 2]", b"\xff\xfe", b"[" * 100_000, b"", b"null"])
def test_a_damaged_record_is_made_again(monkeypatch, text):
    monkeypatch.setattr(chapter, "_current", "00_start_here")
    monkeypatch.setattr(chapter, "_recorded", {})
    paths.artifact("results/00_start_here.json").write_bytes(text)
    paths.artifact("results/01_train_alexnet.json").write_bytes(text)
    assert chapter.results() == {"00_start_here": {}, "01_train_alexnet": {}}
    chapter.record(b=2)
    assert chapter.results()["00_start_here"] == {"mode": "quick", "b": 2}


def test_a_pipe_among_the_results_is_not_waited_for():
    os.mkfifo(paths.artifact("results/00_start_here.json"))
    paths.artifact("results/01_train_alexnet.json").write_text('{"a": 1}')
    assert chapter.results() == {"00_start_here": {}, "01_train_alexnet": {"a": 1}}


def test_the_table_shows_whatever_was_recorded(folder, capsys):
    for name in ("01_result", "02_fails"):
        (folder / f"{name}.ipynb").unlink()
    odd = {
        "test_accuracy": "high",
        "source": [1],
        "parity": {"a": None, "b": [1, {}]},
        "files": 3,
        "seconds": "x",
    }
    write(
        folder,
        "00_hello",
        f"from helpers import chapter; chapter._current = '00_hello'; chapter.record(**{odd!r})",
    )
    assert run.main([]) == 0
    assert "high" in capsys.readouterr().out


def test_a_cell_over_its_limit_gets_one_sentence(folder, monkeypatch, capsys):
    monkeypatch.setattr(run, "CELL_LIMIT_S", 1)
    write(folder, "00_hello", "1", "import time; time.sleep(60)")
    assert run.main(["00"]) == 1
    err = capsys.readouterr().err
    assert "Cell 2 was still at work after 1 seconds" in err and "time.sleep(60)" in err
    assert "make lab" in err and "Traceback" not in err


def test_a_kernel_that_dies_gets_one_sentence(folder, capsys):
    write(folder, "00_hello", "import os, sys; os.write(2, b'no memory'); os._exit(1)")
    assert run.main(["00"]) == 1
    err = capsys.readouterr().err
    assert "Its kernel ended in cell 1" in err and "no memory" in err
    assert "Traceback" not in err and "Error" not in err


@pytest.mark.parametrize("text", [b'{"cells": [', b"[]", b"\xff", b"{}"])
def test_a_damaged_notebook_is_named(folder, capsys, text):
    (folder / "00_hello.ipynb").write_bytes(text)
    assert run.main(["00"]) == 2
    assert "00_hello.ipynb is no notebook, or damaged" in capsys.readouterr().err


def test_a_wrong_mode_is_refused_in_one_sentence(folder, monkeypatch, capsys):
    monkeypatch.setenv("CHAPTER_MODE", "slow")
    assert run.main([]) == 2
    assert "CHAPTER_MODE is 'slow'. The modes are" in capsys.readouterr().err


# -- interruption, two at once, a full disk: in a process of its own ----------------------------------


def start(folder, before="", arguments=()):
    """`make run` on the notebooks of ``folder``, in a process that says what it does as it goes."""
    code = f"import sys, pathlib; from helpers.workshop import run; run.NOTEBOOKS = pathlib.Path({str(folder)!r}); {before}\n"
    code += f"sys.exit(run.answering({list(arguments)!r}))"
    return start_python("-c", code)


def start_python(*arguments, **variables):
    return subprocess.Popen(
        [sys.executable, *arguments],
        cwd=paths.ROOT,
        env=os.environ | variables,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )


def interrupt(process):
    """Press Ctrl-C; what was said until then, once the sentence and the exit code are as promised."""
    children = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate()
    assert (process.returncode, err) == (130, f"\n{run.INTERRUPTED}\n")
    # A kernel that lost its parent ends by itself, a second later.
    assert not [c for c in children if c.is_running() and c.status() != psutil.STATUS_ZOMBIE], (
        "no kernel is left"
    )
    return out


def read_until(process, word):
    for line in process.stdout:
        if word in line:
            return
    raise AssertionError(process.stderr.read())


def test_interrupted_while_it_imports(tmp_path):
    (tmp_path / "nbformat.py").write_text("print('importing', flush=True); import time; time.sleep(600)")
    process = start_python("-m", "helpers.workshop.run", PYTHONPATH=f"{tmp_path}{os.pathsep}{paths.ROOT}")
    read_until(process, "importing")
    interrupt(process)


def test_interrupted_while_a_kernel_starts(folder):
    process = start(folder)
    read_until(process, "00_hello")
    interrupt(process)


def test_interrupted_in_a_cell(folder, tmp_path):
    write(folder, "00_hello", f"open({str(tmp_path / 'on')!r}, 'w').close(); import time; time.sleep(600)")
    process = start(folder)
    while not (tmp_path / "on").exists():
        time.sleep(0.05)
    interrupt(process)


@pytest.mark.parametrize("work", ["write_page", "summarise"])
def test_interrupted_while_it_writes_it_ends_what_it_writes(folder, scratch_artifacts, work):
    (folder / "02_fails.ipynb").unlink()
    slowly = f"real = run.{work}\ndef slowly(*a): print('writing', flush=True); import time; time.sleep(1); return real(*a)"
    process = start(folder, f"\n{slowly}\nrun.{work} = slowly")
    read_until(process, "writing")
    interrupt(process)
    written = {"write_page": "executed/00_hello.html", "summarise": "summary.json"}[work]
    assert (scratch_artifacts / written).stat().st_size > 100
    hidden = [path for path in scratch_artifacts.rglob(".*")]
    assert hidden == []


def test_two_runs_at_once_both_end_well(folder, tmp_path, scratch_artifacts):
    (folder / "02_fails.ipynb").unlink()
    wait = (
        f"import pathlib, time\nwhile not pathlib.Path({str(tmp_path / 'go')!r}).exists(): time.sleep(0.05)"
    )
    write(folder, "00_hello", wait)
    first = start(folder)
    read_until(first, "00_hello")
    second = start(folder)
    read_until(second, "This one waits for its end")
    (tmp_path / "go").touch()
    for process in (first, second):
        out, err = process.communicate()
        assert (process.returncode, err) == (0, "")
        assert "accuracy on the test images        50.00%" in out
    assert json.loads((scratch_artifacts / "summary.json").read_text())["test_accuracy"] == 0.5


def test_a_full_disk_gets_one_sentence(folder):
    # A limit on the size of a file, the kernel's among them, fails as a full disk does.
    process = start(
        folder, "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))", ["00"]
    )
    _, err = process.communicate()
    assert process.returncode == 1
    assert "00_hello.html" in err and "Free" in err and "Traceback" not in err


@pytest.mark.parametrize(("seconds", "words"), [(12.4, "12 seconds"), (89, "89 seconds"), (130, "2 minutes")])
def test_a_time_in_words(seconds, words):
    assert chapter.in_words(seconds) == words


def test_the_hook_before_a_commit_cleans_a_notebook_as_make_notebooks_does(tmp_path):
    output = nbformat.v4.new_output("stream", text="kept")
    cell = nbformat.v4.new_code_cell("1 + 1", outputs=[output], execution_count=3)
    cell.metadata |= {
        "collapsed": True,
        "execution": {"iopub.status.busy": "now"},
        "scrolled": True,
        "tags": ["a"],
    }
    notebook = nbformat.v4.new_notebook(cells=[cell])
    notebook.metadata |= {
        "language_info": {"name": "python", "version": "3.1"},
        "widgets": {},
        "signature": "s",
    }
    saved, hooked = tmp_path / "saved.ipynb", tmp_path / "hooked.ipynb"
    run.save_outputs(copy.deepcopy(notebook), saved)
    notebook.metadata["made_by"] = nbformat.read(saved, as_version=4).metadata["made_by"]
    nbformat.write(notebook, hooked)
    hooks = yaml.safe_load((paths.ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))["repos"][0][
        "hooks"
    ]
    (entry,) = (hook["entry"] for hook in hooks if hook["id"] == "nbstripout")
    subprocess.run([sys.executable, "-m", "nbstripout", *shlex.split(entry)[1:], str(hooked)], check=True)
    assert hooked.read_bytes() == saved.read_bytes()
    assert "kept" in saved.read_text() and "scrolled" not in saved.read_text()
