"""CIFAR-10.1 is downloaded only when asked, checked by its hash, and left out with a word when it is not there."""

import functools
import http.server
import os
import threading

import numpy as np
import pytest
import torch

from helpers import data

IMAGES, LABELS = data.FRESH_FILES


@pytest.fixture
def source(tmp_path, monkeypatch):
    """A folder with a small set in CIFAR-10.1's form, on a server on loopback; the data folder is empty."""
    folder = tmp_path / "source"
    folder.mkdir()
    rng = np.random.default_rng(0)
    np.save(folder / IMAGES, rng.integers(0, 256, (20, 32, 32, 3), dtype=np.uint8))
    np.save(folder / LABELS, np.arange(20, dtype=np.int32) % 10)
    hashes = {name: data._git_hash((folder / name).read_bytes()) for name in (IMAGES, LABELS)}
    monkeypatch.setattr(data, "FRESH_FILES", hashes)
    monkeypatch.setenv("CHAPTER_DATA", str(tmp_path / "data"))
    for name in ("CHAPTER_CIFAR10", "CIFAR10_ROOT"):
        monkeypatch.delenv(name, raising=False)

    class Handler(http.server.SimpleHTTPRequestHandler):
        asked = 0

        def log_message(self, *_):
            Handler.asked += 1

    handler = functools.partial(Handler, directory=folder)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}).start()
        monkeypatch.setattr(data, "FRESH_SOURCE", f"http://127.0.0.1:{server.server_port}/")
        folder_and_count = (folder, lambda: Handler.asked)
        yield folder_and_count
        server.shutdown()


def assert_is_the_small_set(loaded, folder):
    images, labels = loaded
    assert torch.equal(images.permute(0, 2, 3, 1), torch.from_numpy(np.load(folder / IMAGES)))
    assert images.dtype == torch.uint8 and images.is_contiguous()
    assert labels.dtype == torch.int64 and labels.tolist() == [i % 10 for i in range(20)]


def test_nothing_is_downloaded_unless_it_is_asked_for(source, tmp_path, capsys):
    assert data.load_cifar10_1() is None
    assert "download=True" in capsys.readouterr().out
    assert source[1]() == 0 and not (tmp_path / "data").exists()


def test_a_download_is_kept_and_read_the_next_time(source, tmp_path, capsys):
    assert_is_the_small_set(data.load_cifar10_1(download=True), source[0])
    asked = source[1]()
    assert_is_the_small_set(data.load_cifar10_1(download=True), source[0])
    assert asked == source[1]() == 2
    assert capsys.readouterr().out.splitlines()[1].endswith("read from CHAPTER_DATA.")
    assert sorted(path.name for path in (tmp_path / "data").iterdir()) == [IMAGES, LABELS]


def test_the_shared_folder_comes_first(source, monkeypatch, capsys):
    monkeypatch.setenv("CHAPTER_CIFAR10", str(source[0]))
    assert_is_the_small_set(data.load_cifar10_1(), source[0])
    assert capsys.readouterr().out.endswith("read from CHAPTER_CIFAR10.\n")


def test_the_inner_folder_of_cifar_10_means_the_folder_around_it(source, monkeypatch):
    (source[0] / data.FOLDER).mkdir()
    monkeypatch.setenv("CHAPTER_CIFAR10", str(source[0] / data.FOLDER))
    assert_is_the_small_set(data.load_cifar10_1(), source[0])


@pytest.mark.parametrize("odd", ["pipe", "folder", "endless", "too long"])
def test_what_is_no_file_of_that_size_counts_as_damaged(source, capsys, monkeypatch, odd):
    monkeypatch.setenv("CHAPTER_CIFAR10", str(source[0]))
    path = source[0] / IMAGES
    path.unlink()
    if odd == "pipe":
        os.mkfifo(path)
    elif odd == "folder":
        path.mkdir()
    elif odd == "endless":
        path.symlink_to("/dev/zero")
    else:
        with open(path, "wb") as file:
            file.truncate(1 << 40)
    assert data.load_cifar10_1() is None
    assert "CIFAR-10.1 in CHAPTER_CIFAR10 is damaged" in capsys.readouterr().out


@pytest.mark.usefixtures("ordinary_user")
def test_what_may_not_be_read_is_named_and_passed_over(source, capsys, monkeypatch):
    monkeypatch.setenv("CHAPTER_CIFAR10", str(source[0]))
    (source[0] / IMAGES).chmod(0)
    assert data.load_cifar10_1() is None
    assert "CIFAR-10.1 in CHAPTER_CIFAR10 cannot be read (Permission denied)" in capsys.readouterr().out


@pytest.mark.parametrize("harm", ["changed", "missing", "endless"])
def test_anything_else_is_refused_and_not_kept(source, tmp_path, capsys, monkeypatch, harm):
    labels = source[0] / LABELS
    if harm == "changed":
        labels.write_bytes(labels.read_bytes()[:-1] + b"!")
    elif harm == "missing":
        labels.unlink()
    else:
        monkeypatch.setattr(data, "FRESH_MOST_BYTES", 1000)
    assert data.load_cifar10_1(download=True) is None
    words = {"changed": "its hash is wrong", "missing": "HTTP error 404", "endless": "it is too long"}[harm]
    assert words in capsys.readouterr().out
    assert not (tmp_path / "data").exists()


def test_a_damaged_copy_is_named_and_replaced(source, tmp_path, capsys):
    data.load_cifar10_1(download=True)
    (tmp_path / "data" / IMAGES).write_bytes(b"half")
    assert data.load_cifar10_1() is None
    assert "CHAPTER_DATA is damaged" in capsys.readouterr().out
    assert_is_the_small_set(data.load_cifar10_1(download=True), source[0])


def test_a_hash_is_the_one_that_git_computes():
    assert data._git_hash(b"hello\n") == "ce013625030ba8dba906f756967f9e9ca394464a"


def test_a_folder_that_cannot_be_written_is_named(source, tmp_path):
    (tmp_path / "data").write_text("a file where the folder should be")
    with pytest.raises(OSError, match=r"Cannot keep CIFAR-10\.1 in the folder CHAPTER_DATA \(File exists\)"):
        data.load_cifar10_1(download=True)
