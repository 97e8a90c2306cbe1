import os
import stat

import pytest

from helpers import paths
from helpers.mode import mode


def test_a_file_is_replaced_whole(tmp_path):
    target = tmp_path / "weights.pth"
    target.write_text("old")
    with target.open() as reader:
        with paths.replacing(target) as temporary:
            temporary.write_text("new")
            assert target.read_text() == "old"
            assert temporary.suffix == ".pth"
        # Replaced in one step, not written over: whoever is reading the old file reads it to its end.
        assert reader.read() == "old"
    assert target.read_text() == "new"
    assert os.listdir(tmp_path) == ["weights.pth"]


@pytest.mark.parametrize("problem", [RuntimeError, KeyboardInterrupt])
def test_an_error_while_writing_keeps_the_old_file_and_leaves_no_rubbish(tmp_path, problem):
    target = tmp_path / "weights.pth"
    target.write_text("old")
    with pytest.raises(problem), paths.replacing(target) as temporary:
        temporary.write_text("half")
        raise problem
    assert target.read_text() == "old"
    assert os.listdir(tmp_path) == ["weights.pth"]


def test_a_missing_folder_is_named(tmp_path):
    with (
        pytest.raises(FileNotFoundError, match=r"folder .*nowhere does not exist"),
        paths.replacing(tmp_path / "nowhere" / "a.pth"),
    ):
        pass


def test_an_artifacts_folder_that_cannot_be_written_is_named(tmp_path, monkeypatch):
    # A file where the folder should be refuses everyone, root included.
    (tmp_path / "artifacts").write_text("in the way")
    monkeypatch.setenv("CHAPTER_ARTIFACTS", str(tmp_path / "artifacts"))
    with pytest.raises(PermissionError, match="set the environment variable CHAPTER_ARTIFACTS"):
        paths.artifacts_dir()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_artifacts_folder_is_named(tmp_path, monkeypatch):
    folder = tmp_path / "artifacts"
    folder.mkdir()
    folder.chmod(stat.S_IRUSR | stat.S_IXUSR)
    monkeypatch.setenv("CHAPTER_ARTIFACTS", str(folder))
    with pytest.raises(PermissionError, match="Permission denied"):
        paths.artifacts_dir()


def test_an_artifact_in_a_folder_gets_that_folder(scratch_artifacts):
    assert paths.artifact("scratch/a.txt").parent == scratch_artifacts / "scratch"
    assert (scratch_artifacts / "scratch").is_dir()


def test_a_path_inside_the_checkout_is_shown_short(tmp_path):
    assert paths.shorten(paths.ROOT / "artifacts" / "a.onnx") == "artifacts/a.onnx"
    assert paths.shorten(tmp_path) == tmp_path.as_posix()


def test_the_mode_is_quick_unless_chosen(monkeypatch):
    assert mode() == "quick"
    monkeypatch.setenv("CHAPTER_MODE", "full")
    assert mode() == "full"


def test_an_unknown_mode_is_refused_with_the_known_ones(monkeypatch):
    monkeypatch.setenv("CHAPTER_MODE", "fast")
    with pytest.raises(ValueError, match=r"'fast'.*quick, full, smoke"):
        mode()


def test_a_folder_is_replaced_whole_or_not_at_all(tmp_path):
    folder = tmp_path / "box"
    with paths.replacing_folder(folder) as fresh:
        fresh.mkdir()
        (fresh / "a").write_text("first")
    with pytest.raises(RuntimeError), paths.replacing_folder(folder) as fresh:
        fresh.mkdir()
        raise RuntimeError("in the middle")
    assert (folder / "a").read_text() == "first"
    with paths.replacing_folder(folder) as fresh:
        fresh.mkdir()
        (fresh / "b").write_text("second")
    assert [path.name for path in folder.iterdir()] == ["b"]
    assert [path.name for path in tmp_path.iterdir()] == ["box"]


def test_a_folder_comes_back_when_the_new_one_cannot_take_its_place(tmp_path):
    folder = tmp_path / "box"
    folder.mkdir()
    (folder / "a").write_text("first")
    with pytest.raises(FileNotFoundError), paths.replacing_folder(folder):
        pass  # nothing was made: the last step fails, after the old folder stepped aside
    assert (folder / "a").read_text() == "first"


def test_a_folder_that_a_killed_program_left_aside_is_not_lost(tmp_path):
    aside = tmp_path / ".old-box"
    aside.mkdir()
    (aside / "a").write_text("first")
    with pytest.raises(RuntimeError), paths.replacing_folder(tmp_path / "box"):
        raise RuntimeError("again")
    assert (tmp_path / "box" / "a").read_text() == "first"
