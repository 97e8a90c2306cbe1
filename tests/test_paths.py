"""Files and folders are written whole or not at all, whatever happens meanwhile."""

import contextlib
import itertools
import os
import re
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from helpers.plumbing import paths, variables
from helpers.plumbing.mode import mode


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


@pytest.mark.usefixtures("ordinary_user")
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


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("a\x1b[2Jb\rc\n", r"a\x1b[2Jb\rc\n"),
        ("turned \u202egpj.exe", r"turned \u202egpj.exe"),
        (os.fsdecode(b"no\xffutf8"), r"no\udcffutf8"),
        ("Größe und 照片.jpg", "Größe und 照片.jpg"),
    ],
)
def test_what_is_shown_of_a_path_can_be_printed_and_does_nothing_to_a_terminal(tmp_path, name, shown):
    assert paths.shorten(paths.ROOT / name) == shown
    assert paths.shorten(tmp_path / name) == f"{tmp_path.as_posix()}/{shown}"


def test_a_home_folder_is_known_by_its_sign(monkeypatch):
    monkeypatch.setenv("CHAPTER_DATA", "~/data")
    assert paths.data_dir() == Path.home() / "data"
    monkeypatch.setenv("CHAPTER_PHOTOS", "~nobody-of-this-name/photos")
    assert paths.photos_dir() == Path.cwd() / "~nobody-of-this-name/photos"


def test_the_mode_is_quick_unless_chosen(monkeypatch):
    assert mode() == "quick"
    monkeypatch.setenv("CHAPTER_MODE", "full")
    assert mode() == "full"


def test_an_unknown_mode_is_refused_with_the_known_ones(monkeypatch):
    monkeypatch.setenv("CHAPTER_MODE", "fast")
    with pytest.raises(ValueError, match=r"'fast'.*quick, full, smoke"):
        mode()


SAID = "CIFAR10_ROOT still works; its name is CHAPTER_CIFAR10 now.\n"


@pytest.mark.parametrize(
    ("variables_set", "called", "value", "said"),
    [
        ({}, "CHAPTER_CIFAR10", "", ""),
        ({"CHAPTER_CIFAR10": "new"}, "CHAPTER_CIFAR10", "new", ""),
        ({"CIFAR10_ROOT": "old"}, "CIFAR10_ROOT", "old", SAID),
        ({"CIFAR10_ROOT": "old", "CHAPTER_CIFAR10": "new"}, "CHAPTER_CIFAR10", "new", ""),
        ({"CIFAR10_ROOT": "old", "CHAPTER_CIFAR10": ""}, "CIFAR10_ROOT", "old", SAID),
        ({"CIFAR10_ROOT": ""}, "CHAPTER_CIFAR10", "", ""),
    ],
)
def test_a_former_name_works_and_says_so_once(monkeypatch, capsys, variables_set, called, value, said):
    monkeypatch.setattr(variables, "_said", set())
    for name in ("CIFAR10_ROOT", "CHAPTER_CIFAR10"):
        monkeypatch.delenv(name, raising=False)
    for name, text in variables_set.items():
        monkeypatch.setenv(name, text)
    assert [variables.read("CHAPTER_CIFAR10") for _ in range(2)] == [value, value]
    assert variables.called("CHAPTER_CIFAR10") == called
    assert capsys.readouterr().out == said


def test_one_place_reads_what_is_set_from_outside():
    known = set(re.findall(r"^(CHAPTER_[A-Z0-9]+) ", variables.__doc__, re.M))
    used = set()
    for path in [*paths.ROOT.glob("helpers/**/*.py"), *paths.ROOT.glob("tests/proof/*.py")]:
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"""environ(\.get\(|\[)["'](CHAPTER|CIFAR10)_\w+["'][\])](?! = )""", text), (
            path.name
        )
        used |= set(re.findall(r"\bCHAPTER_[A-Z0-9]+", text))
    assert used == known


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


# -- at every instant --------------------------------------------------------------------------------


def write_file(path, text):
    with paths.replacing(path) as temporary:
        temporary.write_text(text)


def write_folder(path, text):
    with paths.replacing_folder(path) as fresh:
        fresh.mkdir()
        for name in ("Manifest.json", "weight.bin"):
            (fresh / name).write_text(text)


def write_folder_aside(path, text):
    """As on a disk where two folders cannot change places."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(paths, "_exchange", lambda one, other: False)
        write_folder(path, text)


WRITERS = [write_file, write_folder, write_folder_aside]


def read(path):
    """What is in a file, or in all files of a folder."""
    if path.is_file():
        return {path.read_text()}
    files = {file.name: file.read_text() for file in path.iterdir()}
    assert sorted(files) == ["Manifest.json", "weight.bin"]
    return set(files.values())


class Instants:
    """Does something at the n-th line of ``helpers/plumbing/paths.py`` that is run."""

    def __init__(self, n, action):
        self.left, self.action = n, action

    def __call__(self, frame, event, argument):
        if frame.f_code.co_filename != paths.__file__:
            return None
        if event == "line":
            self.left -= 1
            if self.left == 0:
                self.action()
        return self


def stop():
    raise KeyboardInterrupt


# An interruption between opening a file and keeping it leaves it to the garbage collection, which closes it.
@pytest.mark.filterwarnings("ignore:Exception ignored in.*FileIO:pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("write", WRITERS)
def test_an_interruption_at_any_line_leaves_the_old_or_the_new(tmp_path, write):
    path = tmp_path / "AlexNet.mlpackage"
    write(path, "old")
    seen = set()
    before = sys.gettrace()
    for n in itertools.count(1):
        instants = Instants(n, stop)
        with contextlib.suppress(KeyboardInterrupt):
            sys.settrace(instants)
            try:
                write(path, "new")
            finally:
                sys.settrace(before)
        now = read(path)
        assert now in ({"old"}, {"new"}), f"line {n}"
        seen |= now
        write(path, "old")
        assert read(path) == {"old"} and os.listdir(tmp_path) == [path.name], f"line {n}"
        if instants.left > 0:
            break
    assert n > 40 and seen == {"old", "new"}


KILLED = """
import itertools, os, signal, sys
from pathlib import Path
sys.path.insert(0, {tests!r})
import test_paths
from helpers.plumbing import paths

write = getattr(test_paths, {write!r})
path = Path({folder!r}) / "AlexNet.mlpackage"
write(path, "old")
seen = set()
for n in itertools.count(1):
    child = os.fork()
    if child == 0:
        sys.settrace(test_paths.Instants(n, lambda: os.kill(os.getpid(), signal.SIGKILL)))
        write(path, "new")
        os._exit(0)
    ended = os.waitpid(child, 0)[1] == 0
    lost = not path.exists()
    assert not (lost and {exchanges}), n
    if lost:
        paths.remove_leftovers(path.parent)
    seen |= test_paths.read(path)
    write(path, "old")
    assert test_paths.read(path) == {{"old"}} and os.listdir(path.parent) == [path.name], n
    if ended:
        break
print(n, sorted(seen))
"""


@pytest.mark.parametrize("write", WRITERS)
def test_a_kill_at_any_line_leaves_the_old_or_the_new_and_the_next_writer_tidies_up(tmp_path, write):
    code = KILLED.format(
        tests=str(Path(__file__).parent),
        write=write.__name__,
        folder=str(tmp_path),
        exchanges=write is write_file or (write is write_folder and can_exchange(tmp_path)),
    )
    answer = subprocess.check_output([sys.executable, "-c", code], text=True, cwd=paths.ROOT)
    lines, seen = answer.split(maxsplit=1)
    assert int(lines) > 40 and seen.strip() == "['new', 'old']"


def can_exchange(folder):
    one, other = folder / "one", folder / "other"
    one.mkdir()
    other.mkdir()
    try:
        return paths._exchange(one, other)
    finally:
        one.rmdir()
        other.rmdir()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="asks GNU's stat for the kind of disk")
def test_on_the_usual_disks_two_folders_change_places_in_one_step(tmp_path):
    kind = subprocess.check_output(["stat", "-f", "-c", "%T", tmp_path], text=True).strip()
    assert can_exchange(tmp_path) or kind not in ("ext2/ext3", "xfs", "btrfs", "tmpfs"), kind


# -- several at once ---------------------------------------------------------------------------------


@pytest.mark.parametrize("write", WRITERS[:2])
def test_two_threads_and_two_processes_may_write_the_same(tmp_path, write):
    path = tmp_path / "AlexNet.mlpackage"
    write(path, "first")
    code = (
        f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); import test_paths; from pathlib import Path\n"
        f"for n in range(30): test_paths.{write.__name__}(Path({str(path)!r}), f'{{sys.argv[1]}} {{n}}')"
    )
    command = [sys.executable, "-c", code]
    processes = [
        subprocess.Popen([*command, name], cwd=paths.ROOT, stderr=subprocess.PIPE, text=True) for name in "AB"
    ]
    failures = []

    def run(name):
        try:
            for n in range(30):
                write(path, f"{name} {n}")
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=run, args=(name,)) for name in "CD"]
    for thread in threads:
        thread.start()
    always = write is write_file or can_exchange(tmp_path / "..")
    while any(process.poll() is None for process in processes) or any(t.is_alive() for t in threads):
        assert path.exists() or not always
    errors = [process.communicate()[1] for process in processes]
    assert not failures and not any(errors), (failures, errors)
    assert len(read(path)) == 1, "files of two writers in one folder"
    assert os.listdir(tmp_path) == [path.name]


def test_two_writers_where_folders_cannot_change_places(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "_exchange", lambda one, other: False)
    path, failures = tmp_path / "box", []

    def run(name):
        try:
            for n in range(40):
                write_folder(path, f"{name} {n}")
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=run, args=(name,)) for name in "ABC"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures and len(read(path)) == 1
    assert os.listdir(tmp_path) == ["box"]


@pytest.mark.parametrize("meanwhile", ["moved", "replaced"])
def test_another_writer_comes_between_the_two_steps(tmp_path, monkeypatch, meanwhile):
    path, calls = tmp_path / "box", []
    write_folder(path, "old")

    def another(one, other):
        calls.append(one)
        if len(calls) == 1 and meanwhile == "moved":
            other.rename(tmp_path / "elsewhere")
        elif len(calls) == 1:
            write_folder(path, "another's")
        return False

    monkeypatch.setattr(paths, "_exchange", another)
    write_folder(path, "new")
    assert read(path) == {"new"}
    assert sorted(os.listdir(tmp_path)) == ["box"] + ["elsewhere"] * (meanwhile == "moved")


def test_what_a_living_writer_has_begun_stays(tmp_path):
    with paths.replacing(tmp_path / "a") as first:
        first.write_text("a")
        with paths.replacing(tmp_path / "a") as second:
            assert second != first and not second.exists()
            second.write_text("b")
        code = f"from helpers.plumbing import paths; paths.remove_leftovers({str(tmp_path.parent)!r}, below=True)"
        subprocess.run([sys.executable, "-c", code], check=True, cwd=paths.ROOT)
        assert (tmp_path / "a").read_text() == "b" and first.read_text() == "a"
    assert (tmp_path / "a").read_text() == "a"
    assert os.listdir(tmp_path) == ["a"]


def test_leftovers_below_a_folder_are_removed_and_nothing_else(tmp_path):
    left = tmp_path / "runs" / "one" / f"{paths.PARTIAL}left"
    left.mkdir(parents=True)
    (left / "run.pth").write_text("half")
    (tmp_path / "runs" / "one" / "run.pth").write_text("whole")
    (tmp_path / f"{paths.PARTIAL}mine.txt").write_text("a file of the learner's own")
    paths.remove_leftovers(tmp_path, below=True)
    paths.remove_leftovers(tmp_path / "nowhere", below=True)
    files = [path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()]
    assert sorted(files) == [f"{paths.PARTIAL}mine.txt", "runs/one/run.pth"]


@pytest.mark.parametrize("name", ["", ".", "..", "inside/..", "{tmp}", "{tmp}/link"])
def test_the_folder_that_one_works_in_is_never_replaced(tmp_path, monkeypatch, name):
    (tmp_path / "here" / "inside").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "here")
    write_file(tmp_path / "here" / "mine", "mine")
    monkeypatch.chdir(tmp_path / "here")
    with pytest.raises(FileExistsError, match="works in that folder"):
        write_folder(Path(name.format(tmp=tmp_path)), "new")
    assert (tmp_path / "here" / "mine").exists()


def test_a_pipe_in_a_folder_is_not_waited_for(tmp_path, monkeypatch):
    waited_for = []
    monkeypatch.setattr(paths, "_to_disk", waited_for.append)
    with paths.replacing_folder(tmp_path / "box") as fresh:
        fresh.mkdir()
        os.mkfifo(fresh / "pipe")
        write_file(fresh / "file", "text")
        waited_for.clear()
    assert {Path(path).name for path in waited_for} >= {"file", "box"}
    assert "pipe" not in {Path(path).name for path in waited_for}


def test_what_the_first_versions_left_is_removed_a_day_later(tmp_path):
    for name in (
        ".cifar-10-download-x7",
        ".new-a.mlpackage",
        ".old-a.mlpackage",
        ".old-b.mlpackage",
        "a.mlpackage",
    ):
        write_folder(tmp_path / name, name)
    mine = [".alexnet.pth", ".old-letters", ".new-b", ".a.partial.txt", "c.12.partial.pth"]
    for name in (".alexnet.4711.partial.pth", ".alexnet.4711.partial", *mine):
        write_file(tmp_path / name, name)
    everything = set(os.listdir(tmp_path))
    paths.remove_leftovers(tmp_path)
    assert set(os.listdir(tmp_path)) == everything  # its writer may be at work
    for name in everything:
        os.utime(tmp_path / name, (0, 0))
    paths.remove_leftovers(tmp_path)
    assert sorted(os.listdir(tmp_path)) == sorted([*mine, "a.mlpackage", "b.mlpackage"])
    assert read(tmp_path / "a.mlpackage") == {"a.mlpackage"}
    assert read(tmp_path / "b.mlpackage") == {".old-b.mlpackage"}


def test_a_link_to_a_folder_gives_way_and_what_it_points_to_stays(tmp_path):
    write_folder(tmp_path / "elsewhere", "theirs")
    (tmp_path / "box").symlink_to(tmp_path / "elsewhere")
    write_folder(tmp_path / "box", "mine")
    assert not (tmp_path / "box").is_symlink()
    assert read(tmp_path / "box") == {"mine"} and read(tmp_path / "elsewhere") == {"theirs"}


@pytest.mark.parametrize("write", WRITERS)
def test_what_cannot_take_its_place_is_named_and_the_old_one_stays(tmp_path, write):
    path = tmp_path / "box"
    if write is write_file:
        write_folder(path, "old")
    else:
        write_file(path, "old")
    with pytest.raises(OSError, match=r"Cannot write .*box: .* directory.*is as it was"):
        write(path, "new")
    assert read(path) == {"old"} and os.listdir(tmp_path) == ["box"]


@pytest.mark.usefixtures("ordinary_user")
def test_a_folder_that_may_not_be_written_to_is_named(tmp_path):
    write_file(tmp_path / "a", "old")
    tmp_path.chmod(0o555)
    with pytest.raises(PermissionError, match=r"Cannot write .*/a: Permission denied. Give yourself"):
        write_file(tmp_path / "a", "new")
    tmp_path.chmod(0o755)
    assert read(tmp_path / "a") == {"old"}


def test_an_error_about_another_file_is_not_taken_for_one_about_this(tmp_path):
    with pytest.raises(FileNotFoundError) as raised, paths.replacing(tmp_path / "a"):
        Path("/there is no such file").read_bytes()
    assert "Cannot write" not in str(raised.value)
