"""CIFAR-10 is found, downloaded and checked: every failure is a real one, on a server on loopback."""

import _thread
import contextlib
import functools
import hashlib
import http.server
import io
import os
import pickle
import socket
import struct
import subprocess
import sys
import tarfile
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision

from helpers import data
from helpers.drawings import make_drawings
from helpers.plumbing import download, paths, variables

REAL = variables.read(data.SHARED)
PER_BATCH = 6


class Tiny:
    """A data set in CIFAR-10's form, small enough to be sent a hundred times."""

    def __init__(self):
        rng = np.random.default_rng(0)
        self.images = rng.integers(0, 256, (6 * PER_BATCH, 3072), dtype=np.uint8)
        self.labels = rng.integers(0, 10, 6 * PER_BATCH).tolist()
        names = [f"data_batch_{i}" for i in range(1, 6)] + ["test_batch"]
        self.files = {}
        for i, name in enumerate(names):
            part = slice(i * PER_BATCH, (i + 1) * PER_BATCH)
            self.files[name] = pickle.dumps({"data": self.images[part], "labels": self.labels[part]})
        self.files["batches.meta"] = pickle.dumps({"label_names": list(data.CLASSES)})
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w:gz") as tar:
            for name, content in self.files.items():
                entry = tarfile.TarInfo(f"{data.FOLDER}/{name}")
                entry.size = len(content)
                tar.addfile(entry, io.BytesIO(content))
        self.archive = packed.getvalue()

    def write(self, root):
        folder = root / data.FOLDER
        folder.mkdir(parents=True)
        for name, content in self.files.items():
            (folder / name).write_bytes(content)

    def is_in(self, root):
        """Whether ``root`` holds the batches whole, and nothing else."""
        found = {path.relative_to(root).as_posix(): path.read_bytes() for path in files_below(root)}
        return found == {f"{data.FOLDER}/{name}": content for name, content in self.files.items()}


def files_below(root):
    return sorted(path for path in root.rglob("*") if path.is_file())


def md5(content):
    return hashlib.md5(content).hexdigest()


TINY = Tiny()


class Handler(http.server.BaseHTTPRequestHandler):
    """One path for each way a server can behave."""

    def do_GET(self):
        self.server.asked.append(self.path)
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # the client has had enough
            getattr(self, self.path.strip("/").replace("/", "_"))()

    def start(self, length):
        self.send_response(200)
        if length is not None:
            self.send_header("Content-Length", str(length))
        self.end_headers()

    def good(self):
        self.start(len(TINY.archive))
        self.wfile.write(TINY.archive)

    def missing(self):
        self.send_error(404)

    def mute(self):
        self.server.over.wait()

    def silent(self):
        self.start(len(TINY.archive))
        self.wfile.write(TINY.archive[:1000])
        self.wfile.flush()
        self.server.over.wait()

    def slow(self):
        self.start(len(TINY.archive))
        for i in range(0, len(TINY.archive), 500):
            self.wfile.write(TINY.archive[i : i + 500])
            if self.server.over.wait(0.05):
                return

    def wrong(self):
        self.start(len(TINY.archive))
        self.wfile.write(TINY.archive[::-1])

    def page(self):
        self.start(None)
        self.wfile.write(b"<html>Please log in to the school's network.</html>")

    def cut(self):
        self.start(len(TINY.archive))
        self.wfile.write(TINY.archive[: len(TINY.archive) // 2])

    def reset(self):
        """Break off without a goodbye: lingering for 0 seconds turns the close into a reset."""
        self.start(len(TINY.archive))
        self.server.answered.wait()  # the client has read the head, so this is no failure to reach the server
        linger = struct.pack("ii", 1, 0)
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        socket.close(self.connection.detach())

    def endless(self):
        self.start(None)
        while not self.server.over.is_set():
            self.wfile.write(bytes(10_000))

    def interrupt(self):
        """Half the archive, then the learner presses stop, then the rest."""
        half = len(TINY.archive) // 2
        self.start(len(TINY.archive))
        self.wfile.write(TINY.archive[:half])
        _thread.interrupt_main()
        self.wfile.write(TINY.archive[half:])

    def together(self):
        """No one gets the last byte before two are waiting for it."""
        self.start(len(TINY.archive))
        self.wfile.write(TINY.archive[:-1])
        self.server.two.wait()
        self.wfile.write(TINY.archive[-1:])

    def to_ftp(self):
        self.elsewhere(f"ftp://127.0.0.1:{self.server.server_port}/good")

    def to_file(self):
        self.elsewhere("file:///etc/hosts")

    def to_good(self):
        self.elsewhere("/good")

    def elsewhere(self, address):
        """Sends on to another address, and with it more than anyone wants to read."""
        self.send_response(302)
        self.send_header("Location", address)
        self.end_headers()
        while not self.server.over.is_set():
            self.wfile.write(bytes(10_000))

    def colours(self):
        """A first line that would clear the screen."""
        self.wfile.write(b"HTTP/1.0 \x1b[2J\x1b[31mred\r\n\r\n")

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        server.block_on_close = False
        server.asked, server.over, server.two = [], threading.Event(), threading.Barrier(2)
        server.answered = threading.Event()
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}).start()
        yield server
        server.over.set()
        server.shutdown()


@pytest.fixture
def mirrors(server, monkeypatch):
    """Call it with paths of the server: they become the mirrors."""

    def use(*paths):
        base = f"http://127.0.0.1:{server.server_port}/"
        monkeypatch.setattr(data, "MIRRORS", [p if p.startswith("http") else base + p for p in paths])

    return use


@pytest.fixture
def root(tmp_path, monkeypatch):
    """An empty scratch folder for the data; the expected checksums are those of the tiny data set."""
    dataset = torchvision.datasets.CIFAR10
    sums = {name: md5(content) for name, content in TINY.files.items()}
    monkeypatch.setattr(dataset, "tgz_md5", md5(TINY.archive))
    monkeypatch.setattr(
        dataset, "train_list", [[f"data_batch_{i}", sums[f"data_batch_{i}"]] for i in range(1, 6)]
    )
    monkeypatch.setattr(dataset, "test_list", [["test_batch", sums["test_batch"]]])
    monkeypatch.setattr(dataset, "meta", dataset.meta | {"md5": sums["batches.meta"]})
    monkeypatch.setattr(data, "ARCHIVE_BYTES", len(TINY.archive))
    monkeypatch.setattr(data, "make_drawings", functools.partial(make_drawings, 20, 10))
    monkeypatch.setattr(data, "MIRRORS", [])
    for name in (data.SHARED, data.MIRROR, *variables.FORMER.values(), "CHAPTER_MODE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("CHAPTER_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("no_proxy", "*")
    return tmp_path / "data"


def assert_is_tiny(loaded):
    assert loaded.source == "CIFAR-10"
    images = torch.from_numpy(TINY.images).view(-1, 3, 32, 32)
    assert torch.equal(loaded.train_images, images[: 5 * PER_BATCH])
    assert torch.equal(loaded.test_images, images[5 * PER_BATCH :])
    assert torch.cat([loaded.train_labels, loaded.test_labels]).tolist() == TINY.labels


@pytest.fixture
def impatience(server, monkeypatch):
    """Little patience with the sources that have a fault of time, and none of the clock with the others.

    However slow the machine is: a source that is not to fail has an hour, and one that is to fail never ends.
    """
    real = download.ask

    def opened(url):
        fault = url.rpartition("/")[2]
        monkeypatch.setattr(download, "ANSWER_SECONDS", 0.05 if fault == "mute" else 3600.0)
        monkeypatch.setattr(download, "SLOW_WINDOW_SECONDS", 0.05 if fault == "slow" else 3600.0)
        monkeypatch.setattr(download, "SILENCE_SECONDS", 3600.0)
        answer = real(url)
        if fault == "silent":
            answer.fp.raw._sock.settimeout(0.05)
        server.answered.set()
        return answer

    monkeypatch.setattr(download, "ask", opened)


# -- what is on the machine --------------------------------------------------------------------------


def test_reads_the_data_folder_and_says_so_in_one_line_without_a_path(root, capsys):
    TINY.write(root)
    loaded = data.load_cifar10()
    assert_is_tiny(loaded)
    assert loaded.train_images.dtype == loaded.test_images.dtype == torch.uint8
    assert loaded.train_labels.dtype == loaded.test_labels.dtype == torch.int64
    assert loaded.train_images.is_contiguous() and loaded.test_images.is_contiguous()
    assert capsys.readouterr().out == (
        "CIFAR-10: 30 training and 6 test images, 32×32 pixels, 10 classes, read from CHAPTER_DATA.\n"
    )


def test_a_data_folder_inside_the_checkout_is_named_from_there(root, capsys, monkeypatch):
    monkeypatch.setattr(data, "ROOT", root.parent)
    monkeypatch.setattr("helpers.plumbing.paths.ROOT", root.parent)
    TINY.write(root)
    data.load_cifar10()
    assert capsys.readouterr().out.endswith("read from data.\n")


def test_naming_the_inner_folder_of_the_data_folder_is_a_slip_too(root, monkeypatch):
    TINY.write(root)
    monkeypatch.setenv("CHAPTER_DATA", str(root / data.FOLDER))
    assert_is_tiny(data.load_cifar10())


@pytest.mark.parametrize("named", ["~nobody-of-this-name/x", "a\x1b[2Jb", os.fsdecode(b"\xff")])
def test_an_odd_shared_folder_is_passed_over(root, monkeypatch, capsys, named):
    TINY.write(root)
    monkeypatch.setenv("CHAPTER_CIFAR10", named)
    assert_is_tiny(data.load_cifar10())
    said = capsys.readouterr().out
    assert said.startswith("CHAPTER_CIFAR10 is set to ") and "\x1b" not in said
    said.encode("utf-8")


@pytest.mark.parametrize("slip", ["", data.FOLDER])
def test_the_shared_folder_comes_before_the_data_folder(root, tmp_path, capsys, monkeypatch, slip):
    TINY.write(tmp_path / "shared")
    (root / data.FOLDER).mkdir(parents=True)  # looking here would be reported as damage
    monkeypatch.setenv("CHAPTER_CIFAR10", str(tmp_path / "shared" / slip))
    assert_is_tiny(data.load_cifar10())
    (line,) = capsys.readouterr().out.splitlines()
    assert line.endswith("10 classes, read from CHAPTER_CIFAR10.")


def test_a_shared_folder_without_data_is_named_and_passed_over(root, tmp_path, capsys, monkeypatch):
    TINY.write(root)
    monkeypatch.setenv("CHAPTER_CIFAR10", str(tmp_path / "elsewhere"))
    assert_is_tiny(data.load_cifar10())
    notice, line = capsys.readouterr().out.splitlines()
    assert notice.startswith("CHAPTER_CIFAR10 is set to ") and "elsewhere" in notice
    assert line.endswith("read from CHAPTER_DATA.")


def test_a_damaged_shared_folder_is_named_passed_over_and_left_alone(root, tmp_path, capsys, monkeypatch):
    TINY.write(root)
    TINY.write(tmp_path / "shared")
    (tmp_path / "shared" / data.FOLDER / "test_batch").unlink()
    monkeypatch.setenv("CHAPTER_CIFAR10", str(tmp_path / "shared"))
    before = files_below(tmp_path / "shared")
    assert_is_tiny(data.load_cifar10())
    assert f"CHAPTER_CIFAR10/{data.FOLDER} is damaged" in capsys.readouterr().out
    assert files_below(tmp_path / "shared") == before


@pytest.mark.usefixtures("ordinary_user")
@pytest.mark.parametrize(
    ("closed", "words"), [(data.FOLDER + "/test_batch", "cannot be read"), ("", "there is no")]
)
def test_data_that_may_not_be_read_is_named_and_passed_over(
    root, tmp_path, capsys, monkeypatch, closed, words
):
    TINY.write(root)
    TINY.write(tmp_path / "shared")
    monkeypatch.setenv("CHAPTER_CIFAR10", str(tmp_path / "shared"))
    (tmp_path / "shared" / closed).chmod(0)
    try:
        assert_is_tiny(data.load_cifar10())
    finally:
        (tmp_path / "shared" / closed).chmod(0o700)
    notice, line = capsys.readouterr().out.splitlines()
    assert notice.startswith("CHAPTER_CIFAR10") and words in notice
    assert line.endswith("read from CHAPTER_DATA.")


@pytest.mark.parametrize("victim", ["data_batch_3", "test_batch", "batches.meta"])
def test_damaged_data_is_replaced_by_a_download(root, mirrors, capsys, victim):
    TINY.write(root)
    with open(root / data.FOLDER / victim, "ab") as file:
        file.write(b"!")
    mirrors("good")
    assert_is_tiny(data.load_cifar10())
    assert f"CHAPTER_DATA/{data.FOLDER} is damaged" in capsys.readouterr().out
    assert TINY.is_in(root)


@pytest.mark.parametrize("odd", ["pipe", "folder", "link to itself", "endless", "too long"])
@pytest.mark.parametrize("victim", ["data_batch_3", "batches.meta"])
def test_what_is_no_file_of_that_size_counts_as_damaged(root, capsys, odd, victim):
    TINY.write(root)
    path = root / data.FOLDER / victim
    path.unlink()
    if odd == "pipe":
        os.mkfifo(path)
    elif odd == "folder":
        path.mkdir()
    elif odd == "too long":
        with open(path, "wb") as file:
            file.truncate(1 << 40)  # nothing of it takes room, and a checksum would take an hour
    else:
        path.symlink_to("/dev/zero" if odd == "endless" else path)
    assert data.load_cifar10().source == "drawings"
    assert f"CHAPTER_DATA/{data.FOLDER} is damaged" in capsys.readouterr().out


def test_damaged_data_stays_until_a_good_copy_is_there(root, mirrors):
    TINY.write(root)
    (root / data.FOLDER / "test_batch").write_bytes(b"half")
    before = {path: path.read_bytes() for path in files_below(root)}
    mirrors("wrong", "missing")
    assert data.load_cifar10().source == "drawings"
    assert {path: path.read_bytes() for path in files_below(root)} == before


class Bomb:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.parametrize("victim", ["data_batch_1", "test_batch", "batches.meta"])
def test_nothing_unchecked_is_unpickled(root, tmp_path, victim):
    mark = tmp_path / "a pickle ran"
    poison = pickle.dumps(Bomb(mark))
    pickle.loads(poison)
    assert mark.exists()  # the bomb works
    mark.unlink()
    TINY.write(root)
    (root / data.FOLDER / victim).write_bytes(poison)
    assert data.load_cifar10().source == "drawings"
    assert not mark.exists()


# -- the network -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("missing", "answered with HTTP error 404"),
        ("mute", "gave no answer in 0.05 s"),
        ("silent", "sent nothing for 3600 s"),
        ("slow", "is too slow: "),
        ("wrong", "sent something other than CIFAR-10: its checksum is wrong"),
        ("page", "sent something other than CIFAR-10: its checksum is wrong"),
        ("endless", "sent something other than CIFAR-10: it is too long"),
        ("cut", "broke off after 0.1 of 0.1 MB"),
        ("reset", "broke off after 0.0 MB"),
        ("to_ftp", "sends us on to 'ftp://127.0.0.1:"),
        ("to_file", "answered with HTTP error 302"),
        ("colours", r"cannot be reached: HTTP/1.0 \x1b[2J\x1b[31mred"),
    ],
)
@pytest.mark.usefixtures("impatience")
def test_a_faulty_source_is_named_and_the_next_one_is_asked(root, server, mirrors, capsys, fault, reason):
    mirrors(fault, "good")
    assert_is_tiny(data.load_cifar10())
    while (
        fault == "mute" and len(server.asked) < 2
    ):  # on a busy machine its request comes after we gave it up
        time.sleep(0.01)
    assert server.asked == [f"/{fault}", "/good"] or (
        fault == "mute" and set(server.asked) == {"/mute", "/good"}
    )
    failure, line = capsys.readouterr().out.splitlines()
    assert failure.startswith(f"127.0.0.1 {reason}")
    assert line.endswith("10 classes, downloaded from 127.0.0.1 into CHAPTER_DATA.")
    assert TINY.is_in(root)
    assert os.listdir(root) == [data.FOLDER]


def closed_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.mark.parametrize("host", ["127.0.0.1", "no-such-host.invalid"])
def test_a_source_that_cannot_be_reached_is_named_and_the_next_one_is_asked(root, mirrors, capsys, host):
    mirrors(f"http://{host}:{closed_port()}/a.tar.gz", "good")
    assert_is_tiny(data.load_cifar10())
    failure = capsys.readouterr().out.splitlines()[0]
    # A resolver may take its time to say that there is no such host; both are a right answer.
    assert failure.startswith((f"{host} cannot be reached: ", "no-such-host.invalid gave no answer in 10 s"))
    assert "errno" not in failure.lower()


def test_a_source_may_send_on_to_another_web_address(root, server, mirrors):
    mirrors("to_good")
    assert_is_tiny(data.load_cifar10())
    assert server.asked == ["/to_good", "/good"]


@pytest.mark.parametrize("variable", ["http_proxy", "HTTP_PROXY"])
def test_a_proxy_is_asked_for_other_hosts_and_not_for_this_machine(
    root, server, mirrors, monkeypatch, variable
):
    for name in ("http_proxy", "HTTP_PROXY", "no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(variable, f"http://127.0.0.1:{server.server_port}")
    mirrors("missing", "http://classroom.invalid/good")
    # A proxy is asked for the whole address.
    monkeypatch.setattr(Handler, "http:__classroom.invalid_good", Handler.good, raising=False)
    assert_is_tiny(data.load_cifar10())
    assert server.asked == ["/missing", "http://classroom.invalid/good"]


def test_an_archive_whose_files_are_wrong_is_refused(root, mirrors, capsys, monkeypatch):
    monkeypatch.setattr(torchvision.datasets.CIFAR10, "test_list", [["test_batch", md5(b"another")]])
    mirrors("good")
    assert data.load_cifar10().source == "drawings"
    assert "127.0.0.1 sent an archive whose files have wrong checksums." in capsys.readouterr().out
    assert not root.exists()


def test_when_every_source_fails_there_are_drawings_and_a_notice(root, mirrors, capsys):
    mirrors("missing", f"http://127.0.0.1:{closed_port()}/", "cut")
    loaded = data.load_cifar10()
    assert loaded.source == "drawings"
    assert loaded.train_images.shape == (20, 3, 32, 32) and loaded.test_labels.shape == (10,)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3 + 3 + 1  # sources, notice, what was loaded
    assert "DRAWINGS" in lines[3] and "not CIFAR-10's" in lines[4] and "CHAPTER_CIFAR10" in lines[5]
    assert lines[6].startswith("drawings: 20 training and 10 test images")
    assert not root.exists(), "looking for data left an empty folder"


def test_the_former_names_still_work_and_are_the_ones_that_are_named(
    root, server, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(variables, "_said", set())
    monkeypatch.setenv("CIFAR10_ROOT", str(tmp_path / "elsewhere"))
    monkeypatch.setenv("CIFAR10_MIRROR", f"http://127.0.0.1:{server.server_port}/good")
    assert_is_tiny(data.load_cifar10())
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "CIFAR10_ROOT still works; its name is CHAPTER_CIFAR10 now."
    assert lines[1].startswith("CIFAR10_ROOT is set to ") and "elsewhere" in lines[1]
    assert lines[2] == "CIFAR10_MIRROR still works; its name is CHAPTER_MIRROR now."
    assert server.asked == ["/good"] and len(lines) == 4
    monkeypatch.setenv("CIFAR10_ROOT", str(root))
    assert_is_tiny(data.load_cifar10())
    assert capsys.readouterr().out.endswith("read from CIFAR10_ROOT.\n")
    monkeypatch.setenv("CIFAR10_ROOT", "")
    monkeypatch.setenv("CIFAR10_MIRROR", "ftp://host/a")
    (root / data.FOLDER / "test_batch").unlink()
    with pytest.raises(ValueError, match=r"^CIFAR10_MIRROR is .*not a web address"):
        data.load_cifar10()


def test_a_classroom_mirror_comes_first(root, server, mirrors, monkeypatch):
    mirrors("missing")
    monkeypatch.setenv("CHAPTER_MIRROR", f"http://127.0.0.1:{server.server_port}/good")
    assert_is_tiny(data.load_cifar10())
    assert server.asked == ["/good"]


@pytest.mark.parametrize("place", ["", "/", "/copies/", "/copies/?for=class"])
def test_a_server_or_a_folder_on_it_is_asked_for_the_archive(root, server, monkeypatch, place):
    asked = f"{place.partition('?')[0].rstrip('/')}/{data.ARCHIVE}"
    monkeypatch.setattr(Handler, asked.strip("/").replace("/", "_"), Handler.good, raising=False)
    monkeypatch.setenv("CHAPTER_MIRROR", f" http://127.0.0.1:{server.server_port}{place} ")  # as pasted
    assert_is_tiny(data.load_cifar10())
    assert server.asked == [asked]


def test_the_name_of_a_host_does_nothing_to_a_terminal(root, capsys, monkeypatch):
    monkeypatch.setenv("CHAPTER_MIRROR", "http://a\x1bcb.invalid/a.tar.gz")
    assert data.load_cifar10().source == "drawings"
    said = capsys.readouterr().out
    assert r"a\x1bcb.invalid cannot be reached" in said and "\x1b" not in said


@pytest.mark.parametrize(
    "address", ["/home/teacher/cifar.tar.gz", "ftp://host/a", "file:///a", "http://", "http://[x"]
)
def test_a_classroom_mirror_that_is_no_web_address_is_refused(root, server, mirrors, monkeypatch, address):
    mirrors("good")
    monkeypatch.setenv("CHAPTER_MIRROR", address)
    with pytest.raises(ValueError, match=r"CHAPTER_MIRROR is .*not a web address.*http"):
        data.load_cifar10()
    assert server.asked == [] and not root.exists()


def test_an_interrupted_download_leaves_nothing(root, mirrors):
    mirrors("interrupt")
    with pytest.raises(KeyboardInterrupt):
        data.load_cifar10()
    assert not root.exists()
    mirrors("good")
    assert_is_tiny(data.load_cifar10())


def test_an_interrupted_download_leaves_the_folder_as_it_was(root, mirrors):
    root.mkdir()
    (root / "mine.txt").write_text("kept")
    mirrors("interrupt")
    with pytest.raises(KeyboardInterrupt):
        data.load_cifar10()
    assert os.listdir(root) == ["mine.txt"]


KILLED = """
import os, signal, sys
from pathlib import Path
from helpers.plumbing.paths import replacing_folder
with replacing_folder(Path(sys.argv[1]) / "cifar-10-batches-py") as fresh:
    (fresh.parent / "cifar-10-python.tar.gz").write_bytes(b"half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("load", ["load_cifar10", "load_cifar10_1"])
def test_leftovers_of_a_killed_download_are_removed_at_the_next_start(root, load):
    root.mkdir()
    subprocess.run([sys.executable, "-c", KILLED, root], cwd=paths.ROOT)
    assert [name[:9] for name in os.listdir(root)] == [paths.PARTIAL]
    TINY.write(root)
    getattr(data, load)()
    assert os.listdir(root) == [data.FOLDER]


def test_a_download_that_is_alive_is_left_alone(root, mirrors):
    root.mkdir()
    mirrors("good")
    with paths.replacing_folder(root / "another notebook's") as fresh:
        (fresh.parent / data.ARCHIVE).write_bytes(b"half")
        assert_is_tiny(data.load_cifar10())
        assert (fresh.parent / data.ARCHIVE).read_bytes() == b"half"
        fresh.mkdir()


@pytest.mark.parametrize("damaged", [False, True])
def test_two_notebooks_may_download_at_the_same_time(root, server, mirrors, damaged):
    if damaged:
        TINY.write(root)
        (root / data.FOLDER / "data_batch_2").write_bytes(b"half")
    mirrors("together")
    loaded = []
    threads = [threading.Thread(target=lambda: loaded.append(data.load_cifar10())) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert server.asked == ["/together", "/together"]
    assert len(loaded) == 2
    for each in loaded:
        assert_is_tiny(each)
    assert TINY.is_in(root)
    assert os.listdir(root) == [data.FOLDER]


def test_a_data_folder_that_cannot_be_made_is_named(root, mirrors):
    root.parent.joinpath("data").write_text("a file where the folder should be")
    mirrors("good")
    with pytest.raises(
        OSError, match=r"Cannot keep CIFAR-10 in the folder CHAPTER_DATA \(.+\): make it writable"
    ):
        data.load_cifar10()


@pytest.mark.usefixtures("ordinary_user")
def test_a_read_only_data_folder_is_named(root, mirrors):
    root.mkdir()
    root.chmod(0o555)
    mirrors("good")
    with pytest.raises(
        OSError, match=r"Cannot keep CIFAR-10 in the folder CHAPTER_DATA \(Permission denied\)"
    ):
        data.load_cifar10()


@pytest.mark.parametrize("limit", [len(TINY.archive) // 2, len(TINY.archive)])
def test_a_disk_that_fills_up_is_named_and_left_clean(root, mirrors, monkeypatch, limit):
    """A limit on the size of a file stands in for a full disk: the same call fails in the same way."""
    import resource

    mirrors("good")
    # The second limit lets the archive through; one long file in it then fails while it is unpacked.
    padded = io.BytesIO()
    with tarfile.open(fileobj=padded, mode="w:gz") as tar:
        entry = tarfile.TarInfo(f"{data.FOLDER}/long")
        entry.size = 4 * len(TINY.archive)
        tar.addfile(entry, io.BytesIO(bytes(entry.size)))
    if limit == len(TINY.archive):
        monkeypatch.setattr(TINY, "archive", padded.getvalue())
        monkeypatch.setattr(torchvision.datasets.CIFAR10, "tgz_md5", md5(TINY.archive))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        with pytest.raises(
            OSError,
            match=r"Cannot keep CIFAR-10 in the folder CHAPTER_DATA \(File too large\): make it writable with 360 MB free",
        ):
            data.load_cifar10()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not root.exists()


def test_certificates_are_there_even_when_the_system_has_none(tmp_path, monkeypatch):
    (tmp_path / "none.pem").write_text("")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "none.pem"))
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path))
    assert len(download._certificates().get_ca_certs()) > 50


# -- drawings ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mode", "asked", "source"),
    [
        ("smoke", None, "drawings"),
        ("smoke", False, "CIFAR-10"),
        ("quick", None, "CIFAR-10"),
        ("quick", True, "drawings"),
        ("full", None, "CIFAR-10"),
    ],
)
def test_smoke_mode_means_drawings_unless_told_otherwise(root, capsys, monkeypatch, mode, asked, source):
    TINY.write(root)
    monkeypatch.setenv("CHAPTER_MODE", mode)
    loaded = data.load_cifar10(drawings=asked)
    assert loaded.source == source
    assert repr(loaded).startswith(f"{source}: ")
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith(repr(loaded))


def test_drawings_are_as_many_as_promised():
    loaded = data.load_cifar10(drawings=True)
    assert repr(loaded) == "drawings: 5,000 training and 1,000 test images, 32×32 pixels, 10 classes"


# -- the real one ------------------------------------------------------------------------------------


@pytest.mark.skipif(not REAL, reason="CHAPTER_CIFAR10 is not set")
def test_the_real_cifar10(capsys, monkeypatch):
    monkeypatch.delenv("CHAPTER_MODE", raising=False)
    loaded = data.load_cifar10()
    assert loaded.train_images.shape == (50_000, 3, 32, 32) and loaded.test_images.shape == (
        10_000,
        3,
        32,
        32,
    )
    assert torch.bincount(loaded.train_labels).tolist() == [5000] * 10
    assert torch.bincount(loaded.test_labels).tolist() == [1000] * 10
    # The mean colour that the literature gives for the training pixels: 0.4914, 0.4822, 0.4465.
    mean = torch.stack([loaded.train_images[:, c].float().mean() / 255 for c in range(3)])
    assert torch.allclose(mean, torch.tensor([0.4914, 0.4822, 0.4465]), atol=1e-4)
    assert capsys.readouterr().out == (
        "CIFAR-10: 50,000 training and 10,000 test images, 32×32 pixels, 10 classes, "
        f"read from {variables.called(data.SHARED)}.\n"
    )


def test_a_download_goes_on_after_an_interruption_that_left_the_bars_lock_held(root, mirrors):
    from tqdm.auto import tqdm

    tqdm.get_lock().acquire()  # as an interruption between acquire and release leaves it
    mirrors("good")
    loaded = []
    thread = threading.Thread(target=lambda: loaded.append(data.load_cifar10()), daemon=True)
    thread.start()
    thread.join()
    assert len(loaded) == 1


def test_everybody_holds_out_the_same_images_equally_many_of_each_class():
    labels = torch.arange(1000) % 10
    held = data.hold_out(labels)
    assert held.sum() == 100
    assert labels[held].bincount().tolist() == [10] * 10
    assert hashlib.sha256(held.numpy().tobytes()).hexdigest()[:16] == "9c7bef8246228c58"
    assert torch.equal(held, data.hold_out(labels.to(torch.int32)))
    assert not torch.equal(held.nonzero(), data.hold_out(labels.sort().values).nonzero())


@pytest.mark.parametrize(("share", "count"), [(0, 0), (0.25, 4 * 25), (1, 400)])
def test_a_share_of_each_class_is_held_out_whatever_the_labels_are(share, count):
    labels = torch.tensor([7, 7, 3, 1] * 100)
    held = data.hold_out(labels, share)
    assert held.sum() == count
    assert labels[held].bincount(minlength=8).tolist() == [0, count // 4, 0, count // 4, 0, 0, 0, count // 2]
