import json

import nbformat
import pytest

from helpers import chapter, paths, run


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
        notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
        nbformat.write(notebook, tmp_path / f"{name}.ipynb")
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
    measured = paths.artifact("measured.json")
    monkeypatch.setattr(chapter, "MEASURED", measured)
    monkeypatch.setattr("helpers.readme.update", lambda: None)
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


def test_a_name_that_fits_no_notebook_is_named(folder, capsys):
    assert run.main(["99"]) == 2
    assert "starts with 99" in capsys.readouterr().err


def test_recording_adds_up_and_needs_a_beginning(monkeypatch):
    monkeypatch.setattr(chapter, "_current", None)
    with pytest.raises(RuntimeError, match="run its first cell"):
        chapter.record(a=1)
    with pytest.raises(ValueError, match="no notebook '07'"):
        chapter.begin("07")
    chapter.begin("00_start_here", "torch")
    chapter.record(a=1)
    chapter.record(b=2)
    assert chapter.results() == {"00_start_here": {"mode": "quick", "a": 1, "b": 2}}


@pytest.mark.parametrize(("seconds", "words"), [(12.4, "12 seconds"), (89, "89 seconds"), (130, "2 minutes")])
def test_a_time_in_words(seconds, words):
    assert chapter.in_words(seconds) == words
