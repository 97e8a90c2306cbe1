"""The page for a phone, at the level of HTTP: its answers are those of ``helpers.photos``, and it stands what comes."""

import csv
import datetime
import http.client
import io
import itertools
import json
import re
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import urllib.parse
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import psutil
import pytest
import torch
from PIL import Image, ImageCms

from helpers import drawings, intervals, phone, photos
from helpers.coreml_runtime import load
from helpers.data import CLASSES
from helpers.drawings import draw
from helpers.phone import collection, server
from helpers.plumbing import paths

PROMPT = 60
"""Seconds to wait for an answer, on however busy a machine."""


def convert(network, name, labels, size=32):
    """A network as a Core ML file with these labels."""
    from helpers.onnx_coreml import convert
    from helpers.plumbing.quiet import quiet

    onnx = paths.artifact(f"scratch/{name}.onnx")
    with quiet():
        torch.onnx.export(
            network, torch.zeros(1, 3, size, size), str(onnx), input_names=["image"], dynamo=False
        )
    model = convert(
        onnx,
        mode="classifier",
        image_input_names=["image"],
        preprocessing_args={"image_scale": 1 / 255},
        class_labels=labels,
    )
    path = paths.artifact(f"scratch/{name}.mlmodel")
    model.save(str(path))
    return path


class Small(torch.nn.Module):
    """Any classifier: a few averages of the picture, and a softmax."""

    def __init__(self, classes, seed=0):
        super().__init__()
        torch.manual_seed(seed)
        self.layers = torch.nn.Sequential(
            torch.nn.Conv2d(3, 8, 4, 4), torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(),
            torch.nn.Linear(8, classes), torch.nn.Softmax(1),
        )  # fmt: skip
        with torch.no_grad():
            self.layers[4].weight *= 20

    def forward(self, pictures):
        return self.layers(pictures)


class Files(dict):
    """Core ML files by name, each converted when it is first asked for."""

    def __init__(self, made):
        self.made = made

    def __missing__(self, name):
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("CHAPTER_ARTIFACTS", str(self.made["folder"]))
            self[name] = self.made[name]()
        return self[name]


@pytest.fixture(scope="module")
def files(sharp_model, tmp_path_factory):
    """Two networks for the ten classes as Core ML files, and one with three labels for larger pictures."""
    odd = ["a/../b", "<i>猫</i>", "..c"]
    return Files({
        "folder": tmp_path_factory.mktemp("core-ml"),
        "camera network": lambda: photos.to_coreml(sharp_model),
        "plain network": lambda: convert(Small(10), "plain", list(CLASSES)),
        "three": lambda: convert(Small(3, seed=1), "three", odd, size=48),
    })  # fmt: skip


@pytest.fixture
def serve(files, tmp_path, capsys):
    """Starts a server whose photos lie in a folder of this test."""
    started = []

    def new(model=None, **arguments):
        arguments = {"folder": tmp_path / "photos"} | arguments
        started.append(phone.serve(model or files["camera network"], **arguments))
        return started[-1]

    yield new
    for one in started:
        one.stop()


def from_a_phone(size=(640, 480)):
    """A drawing as a phone would send it: JPEG, turned, with a place, a time and a comment."""
    exif = Image.Exif()
    exif[0x0112], exif[0x010F], exif[0x0132] = 6, "PHONE", "2026:01:02 03:04:05"
    exif.get_ifd(0x8825).update({1: "N", 2: (48.0, 8.0, 7.0)})
    held, picture = io.BytesIO(), draw(3, np.random.default_rng(0), size=640).crop((0, 80, 640, 560))
    picture.resize(size).save(held, "JPEG", quality=90, exif=exif, comment=b"of my home")
    return held.getvalue()


@pytest.fixture(scope="module")
def photo():
    return from_a_phone()


def ask(address, body=b"", method="POST", path="answer", headers=None, **query):
    """The status and the JSON (or the bytes) that come back."""
    url = urllib.parse.urlsplit(address)
    connection = http.client.HTTPConnection(url.hostname, url.port, timeout=PROMPT)
    try:
        query = urllib.parse.urlencode(query)
        connection.request(method, f"{url.path}{path}?{query}", body or None, headers or {})
        answer = connection.getresponse()
        found = answer.read()
        is_json = "json" in answer.headers.get("Content-Type", "")
        return answer.status, json.loads(found) if is_json else found
    finally:
        connection.close()


def kept(folder):
    """Everything in the folder, hidden files too."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def log(folder):
    with open(folder / "log.csv", newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


# -- answers -----------------------------------------------------------------------------------------


def large_jpeg():
    """More pixels than are decoded in full, with a colour profile."""
    held, picture = io.BytesIO(), draw(5, np.random.default_rng(1), size=600).resize((2800, 2100))
    picture.save(held, "JPEG", icc_profile=ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    return held.getvalue()


def transparent_png():
    held, picture = io.BytesIO(), draw(8, np.random.default_rng(2), size=90).convert("RGBA")
    picture.putalpha(Image.linear_gradient("L").resize((90, 90)))
    picture.save(held, "PNG")
    return held.getvalue()


def heic():
    import pillow_heif

    held = io.BytesIO()
    pillow_heif.from_pillow(draw(1, np.random.default_rng(3), size=128)).save(held, format="HEIF", quality=80)
    return held.getvalue()


@pytest.mark.parametrize("make", [None, large_jpeg, transparent_png, heic])
def test_an_answer_is_that_of_photos_ask_to_the_last_digit(serve, files, photo, tmp_path, make):
    body = make() if make else photo
    path = tmp_path / "photo.any"
    path.write_bytes(body)
    names = ("camera network", "plain network")
    running = serve({name: files[name] for name in names})
    status, answer = ask(running.address, body, crops=1, networks=1)
    assert status == 200
    expected = {}
    for name in names:
        for crop in photos.CROPS:
            image = photos.shrink(photos.open_photo(path), crop)
            expected[name, crop] = photos.ask(files[name], image[None], torch.tensor([0])).probs[0].tolist()
    assert {(road["network"], road["crop"]): road["probs"] for road in answer["roads"]} == expected
    assert ask(running.address, body)[1]["roads"] == answer["roads"][:1]


def test_what_the_phone_is_told_is_what_notebook_06_finds_in_the_folder(serve, files, photo, tmp_path):
    running = serve()
    _, answer = ask(running.address, photo)
    status, said = ask(running.address, photo, label=3)
    assert status == 200 and said["roads"][0]["probs"] == answer["roads"][0]["probs"]
    result = photos.evaluate_folder(tmp_path / "photos", files["camera network"])
    assert result.evaluation.probs[0].tolist() == answer["roads"][0]["probs"]
    row = log(tmp_path / "photos")[0]
    assert row["road"] == "photos, centre crop" and row["answer"] == answer["roads"][0]["label"]
    assert float(row["probability"]) == max(answer["roads"][0]["probs"])


def test_a_large_photo_is_kept_as_jpeg_and_noted_as_it_is_kept(serve, files, tmp_path):
    running = serve()
    _, said = ask(running.address, large_jpeg(), label=5)
    (name,) = [one for one in kept(tmp_path / "photos") if one != "log.csv"]
    assert re.fullmatch("dog/[0-9a-f]{16}.jpg", name)
    probs = photos.evaluate_folder(tmp_path / "photos", files["camera network"]).evaluation.probs[0].tolist()
    assert probs == said["roads"][0]["probs"] and max(probs) == float(
        log(tmp_path / "photos")[0]["probability"]
    )


def test_what_it_saw_comes_back_as_a_picture(serve, photo):
    import base64

    road = ask(serve().address, photo)[1]["roads"][0]
    seen = Image.open(io.BytesIO(base64.b64decode(road["seen"].partition(",")[2])))
    expected = photos.shrink(photos.open_photo(photo)).permute(1, 2, 0).numpy()
    assert np.array_equal(np.asarray(seen), expected) and road["side"] == 32


def test_the_models_own_labels_are_used_however_many(serve, files, photo, tmp_path):
    running = serve(files["three"])
    _, answer = ask(running.address, photo)
    assert len(answer["roads"][0]["probs"]) == 3 and answer["roads"][0]["side"] == 48
    for label in range(3):
        assert ask(running.address, photo, label=label)[0] == 200
    folders = {name.partition("/")[0] for name in kept(tmp_path / "photos")} - {"log.csv"}
    assert folders == {"a_.._b", "<i>猫<_i>", "c"}
    assert {row["label"] for row in log(tmp_path / "photos")} == {"a/../b", "<i>猫</i>", "..c"}
    page = ask(running.address, method="GET", path="")[1].decode()
    assert "<i>" not in page and r"\u003ci>" in page
    assert ask(running.address, photo, label=3)[0] == 415


def test_labels_that_would_share_a_folder_get_one_each():
    assert collection._folders(["cat", "Cat", "dog", "...", "a/b", "a_b", ""]) == [
        "cat 0",
        "Cat 1",
        "dog",
        "3",
        "a_b 4",
        "a_b 5",
        "6",
    ]


def test_the_threshold_is_the_models_own_or_the_callers(serve, files, photo, tmp_path):
    from helpers import coreml

    marked = coreml.set_metadata(str(files["plain network"]), description="x", more={"threshold": "0.75"})
    path = coreml.save(marked, tmp_path / "marked.mlmodel")
    assert ask(serve(path).address, photo)[1]["roads"][0]["threshold"] == 0.75
    assert ask(serve(path, threshold=0.5).address, photo)[1]["roads"][0]["threshold"] == 0.5
    assert ask(serve().address, photo)[1]["roads"][0]["threshold"] == 0


# -- what is kept ------------------------------------------------------------------------------------


def test_an_answer_keeps_nothing(serve, photo, tmp_path):
    running = serve()
    assert ask(running.address, photo, crops=1)[0] == 200
    assert not (tmp_path / "photos").exists() and running.counts() == {}


@pytest.mark.parametrize("size, suffix", [((640, 480), "png"), ((2400, 1800), "jpg")])
def test_a_kept_photo_has_no_place_no_time_and_a_name_that_says_nothing(serve, tmp_path, size, suffix):
    photo = from_a_phone(size)
    assert b"PHONE" in photo and b"of my home" in photo
    assert ask(serve().address, photo, label=3)[0] == 200
    name, _ = kept(tmp_path / "photos")
    assert re.fullmatch(f"cat/[0-9a-f]{{16}}.{suffix}", name)
    held = (tmp_path / "photos" / name).read_bytes()
    with Image.open(io.BytesIO(held)) as image:
        assert not image.getexif() and not set(image.info) - {
            "jfif",
            "jfif_version",
            "jfif_unit",
            "jfif_density",
        }
        upright = photos.open_photo(photo)
        assert image.size == upright.size and image.width < image.height
        assert suffix == "jpg" or np.array_equal(np.asarray(image), np.asarray(upright))
    assert not any(word in held for word in (b"PHONE", b"2026", b"of my home"))


def test_none_of_these_is_noted_and_neither_kept_nor_counted(serve, photo, tmp_path):
    running = serve()
    status, answer = ask(running.address, photo, label="none")
    assert status == 200 and answer["count"] == {"photos": 0} and running.counts() == {}
    assert kept(tmp_path / "photos") == ["log.csv"]
    assert [(row["photo"], row["label"]) for row in log(tmp_path / "photos")] == [("", "none of these")] * 3


def test_the_photos_of_one_thing_have_one_number(serve, photo, tmp_path):
    running = serve()
    for more in ({"label": 3}, {"label": 3, "same": 1}, {"label": 3}, {"label": 4, "same": 1}):
        assert ask(running.address, photo, phone="aa", **more)[0] == 200
    things = [row["thing"] for row in log(tmp_path / "photos")][::3]
    assert things[0] == things[1] and len(set(things)) == 3


def test_each_phone_has_its_own_count_and_the_notebook_the_sum(serve, photo):
    running = serve()
    right = CLASSES.index(ask(running.address, photo)[1]["roads"][0]["label"])
    for who, labels in (("aa", [right, right, (right + 1) % 10]), ("bb", [(right + 1) % 10])):
        for label in labels:
            status, answer = ask(running.address, photo, phone=who, label=label)
            assert status == 200
        counted = answer["count"]
        share = intervals.share([label == right for label in labels])
        assert (counted["photos"], counted["right"]) == (len(labels), labels.count(right))
        assert (counted["share"], counted["low"], counted["high"]) == (share.value, share.low, share.high)
        assert counted["more"] == intervals.needed(share) - len(labels) > 300
    assert {name: (one.count, one.value) for name, one in running.counts().items()} == {
        "all": (4, 0.5), "phone 1": (3, 2 / 3), "phone 2": (1, 0.0),
    }  # fmt: skip


def test_phones_may_label_at_once(serve, photo, tmp_path):
    running = serve()
    with ThreadPoolExecutor(8) as pool:
        jobs = [pool.submit(ask, running.address, photo, label=n % 10, phone=f"{n % 4:x}") for n in range(24)]
    assert [job.result()[0] for job in jobs] == [200] * 24
    rows = log(tmp_path / "photos")
    assert len(rows) == 72 and len({row["photo"] for row in rows}) == 24
    assert all((tmp_path / "photos" / row["photo"]).is_file() for row in rows)
    assert running.counts()["all"].count == 24


def test_a_full_disk_keeps_nothing_and_is_said(serve, photo, tmp_path, monkeypatch):
    running = serve()
    assert ask(running.address, photo, label=1)[0] == 200
    before = kept(tmp_path / "photos"), (tmp_path / "photos/log.csv").read_bytes()
    (tmp_path / "photos/log.csv").rename(tmp_path / "log.csv")
    (tmp_path / "photos/log.csv").mkdir()  # it cannot be written to
    assert ask(running.address, photo, label=1)[0] == 507
    (tmp_path / "photos/log.csv").rmdir()
    (tmp_path / "log.csv").rename(tmp_path / "photos/log.csv")
    assert (kept(tmp_path / "photos"), (tmp_path / "photos/log.csv").read_bytes()) == before
    assert running.counts()["all"].count == 1


def test_importing_it_starts_nothing_and_a_row_is_written_whole_or_not_at_all(tmp_path):
    """A limit on the size of files, which is what a full disk looks like."""
    code = (
        "import resource, signal, sys, threading; from pathlib import Path; from helpers.phone.collection import _append\n"
        "print([one.name for one in threading.enumerate() if 'phone' in one.name])\n"
        "path = Path(sys.argv[1]); _append(path, [(1, 2, 3, 4, 5, 6)]); size = path.stat().st_size\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN); resource.setrlimit(resource.RLIMIT_FSIZE, (size + 5,) * 2)\n"
        "try: _append(path, [(1, 2, 3, 4, 5, 'more than five')])\n"
        "except OSError: print(path.stat().st_size == size)\n"
    )
    found = subprocess.check_output([sys.executable, "-c", code, str(tmp_path / "log.csv")], cwd=paths.ROOT)
    assert found.split() == [b"[]", b"True"]


def test_a_number_that_makes_a_name_unlike_is_not_another_labels_name():
    for labels in (["a/b", "a_b", "a_b 0"], ["cat 1", "cat", "Cat"], ["", ".", "0", "1"]):
        names = collection._folders(labels)
        assert len({name.casefold() for name in names}) == len(labels) and all(names), names


# -- who may ask -------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "OPTIONS", "HEAD", "PATCH", "TRACE"])
def test_without_the_token_everything_is_404_and_nothing_else(serve, photo, method):
    running = serve()
    root, token = running.address.rstrip("/").rsplit("/", 1)
    for place in (
        "/", "/favicon.ico", "/answer", f"/{token[:-1]}/", f"/{token}x/", f"/{token.upper()}/answer", f"/{'ü' * 22}/",
        f"/x/{token}/", f"/?token={token}", "/../../etc/passwd", "/%2e%2e/photos/log.csv",
    ):  # fmt: skip
        url = urllib.parse.urlsplit(root)
        connection = http.client.HTTPConnection(url.hostname, url.port, timeout=PROMPT)
        connection.request(
            method, urllib.parse.quote(place, safe="/?=%"), photo if method == "POST" else None
        )
        answer = connection.getresponse()
        assert (answer.status, answer.read()) == (404, b"")
        assert set(answer.headers) <= {"Date", "Content-Length", "Connection"}
        connection.close()


def test_with_the_token_there_is_a_page_and_an_answer_and_nothing_else(serve, photo):
    running = serve()
    status, page = ask(running.address, method="GET", path="")
    assert status == 200 and page.startswith(b"<!doctype html>")
    for method, path in (
        ("GET", "answer"),
        ("POST", ""),
        ("GET", "log.csv"),
        ("GET", "../"),
        ("PUT", "answer"),
        ("GET", "photos/"),
    ):
        assert ask(running.address, photo if method == "POST" else b"", method, path) == (404, b"")


def test_the_page_may_ask_nobody_else_and_runs_no_other_script(serve):
    running = serve()
    url = urllib.parse.urlsplit(running.address)
    connection = http.client.HTTPConnection(url.hostname, url.port, timeout=PROMPT)
    connection.request("GET", url.path)
    answer = connection.getresponse()
    page, policy = answer.read().decode(), answer.headers["Content-Security-Policy"]
    connection.close()
    assert (
        "default-src 'none'" in policy
        and "unsafe" not in policy
        and "http" not in policy
        and "*" not in policy
    )
    assert (answer.headers["Referrer-Policy"], answer.headers["Cache-Control"]) == ("no-referrer", "no-store")
    assert not re.search(r"https?://", page) and page.count("<script") == 2 and 'style="' not in page
    assert len((paths.ROOT / "helpers/phone/page.html").read_text(encoding="utf-8").splitlines()) <= 400


def test_each_server_has_another_token_which_is_compared_in_constant_time(serve):
    one, other = serve().address, serve().address
    assert one.rsplit("/", 2)[1] != other.rsplit("/", 2)[1] and len(one.rsplit("/", 2)[1]) >= 22
    assert "compare_digest" in (paths.ROOT / "helpers/phone/server.py").read_text(encoding="utf-8")


def test_it_listens_on_the_loopback_unless_it_is_told_otherwise(serve, files, monkeypatch, capsys):
    running = serve()
    assert running.address.startswith("http://127.0.0.1:") and "Only this computer" in capsys.readouterr().out
    monkeypatch.setattr(phone, "_address", lambda: "127.0.0.2")
    local = serve(lan=True)
    assert (
        local.address.startswith("http://127.0.0.2:")
        and "Every device in this network" in capsys.readouterr().out
    )
    assert not running.running  # one at a time
    port = urllib.parse.urlsplit(local.address).port
    with pytest.raises(OSError), socket.create_connection(("127.0.0.1", port), 5):
        pass


# -- what may come -----------------------------------------------------------------------------------


def bomb(side):
    """A PNG of side×side pixels in a few kilobytes."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    row = zlib.compress(bytes(1 + 3 * side) * side, 9)
    head = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", row) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    "body",
    [b"", b"a text file", b"<svg onload='alert(1)'/>", b"%!PS-Adobe", b"\xff\xd8\xff" + bytes(99), "cut"],
)
def test_what_is_no_picture_is_refused_and_not_kept(serve, photo, tmp_path, body):
    running = serve()
    body = photo[:2000] if body == "cut" else body
    assert ask(running.address, body)[0] == 415
    assert ask(running.address, body, label=3)[0] == 415
    assert not (tmp_path / "photos").exists() and ask(running.address, photo)[0] == 200


@pytest.mark.parametrize("label", ["-1", "10", "1e1", "cat", "../../etc", "١", "9" * 5000, ""])
def test_what_is_no_label_is_refused_and_not_kept(serve, photo, tmp_path, label):
    running = serve()
    assert ask(running.address, photo, label=label)[0] in (415, 400, 404)
    assert not (tmp_path / "photos").exists() and ask(running.address, photo)[0] == 200


def test_a_path_in_a_name_leads_nowhere(serve, photo, tmp_path):
    running = serve()
    headers = {"Content-Disposition": 'attachment; filename="../../evil.jpg"', "X-Filename": "../evil"}
    for who in ("../../evil", "a/b", "%00", "x" * 999):
        assert (
            ask(running.address, photo, label=3, phone=who, headers=headers, name="../../evil.jpg")[0] == 429
        )
    assert ask(running.address, photo, label=3, headers=headers, name="../../evil.jpg", folder="/")[0] == 200
    assert {path.name for path in tmp_path.iterdir()} <= {"photos", "artifacts"}
    assert len(kept(tmp_path / "photos")) == 2 and not any(
        "evil" in name for name in kept(tmp_path / "photos")
    )


def resident():
    return psutil.Process().memory_info().rss


class Watch(threading.Thread):
    """The largest memory of this process while something happens."""

    def __enter__(self):
        self.before, self.most, self.over = resident(), 0, threading.Event()
        self.start()
        return self

    def run(self):
        while not self.over.wait(0.01):
            self.most = max(self.most, resident() - self.before)

    def __exit__(self, *error):
        self.over.set()
        self.join()


def stream(address, size, headers=(), path="answer", piece=1 << 20):
    """Send a body of zeros piece by piece; what comes back, or nothing where the connection is cut."""
    url, sent = urllib.parse.urlsplit(address), 0
    with socket.create_connection((url.hostname, url.port), PROMPT) as connection:
        lines = [
            f"POST {url.path}{path} HTTP/1.1",
            f"Host: {url.netloc}",
            f"Content-Length: {size}",
            *headers,
        ]
        connection.sendall("\r\n".join([*lines, "", ""]).encode())
        try:
            while sent < size:
                connection.sendall(bytes(min(piece, size - sent)))
                sent += piece
            return connection.recv(4096)
        except ConnectionError:
            return b""


def test_200_megabytes_are_refused_without_being_held(serve, photo):
    running = serve()
    with Watch() as watch:
        assert b" 413 " in stream(running.address, 200 * 2**20)
        assert b" 404 " in stream(running.address[:-2] + "/", 200 * 2**20)
    assert watch.most < 60 * 2**20
    assert ask(running.address, photo)[0] == 200


def test_a_body_that_does_not_say_its_length_is_cut_off_at_the_limit(serve, photo, monkeypatch):
    monkeypatch.setattr(server, "LARGEST", 100_000)
    running = serve()
    assert ask(running.address, (bytes(10_000) for _ in range(30)))[0] == 413
    assert ask(running.address, iter([photo]))[0] == 200


@pytest.mark.parametrize("length", ["-1", "x", "1, 2", "9" * 99])
def test_a_length_that_is_none_is_refused(serve, photo, length):
    running = serve()
    url = urllib.parse.urlsplit(running.address)
    with socket.create_connection((url.hostname, url.port), PROMPT) as connection:
        connection.sendall(
            f"POST {url.path}answer HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n".encode()
        )
        assert connection.recv(99).split()[1] in (b"400", b"413")
    assert ask(running.address, photo)[0] == 200


def test_a_hundred_uploads_at_once_are_answered_with_bounded_memory(serve, tmp_path, monkeypatch):
    body, running, real = large_jpeg(), serve(), photos.open_photo
    ask(running.address, body)  # what is loaded once
    decoding, most = set(), []

    def counted(photo):
        decoding.add(threading.get_ident())
        most.append(len(decoding))
        try:
            return real(photo)
        finally:
            decoding.discard(threading.get_ident())

    monkeypatch.setattr(photos, "open_photo", counted)
    with Watch() as watch, ThreadPoolExecutor(100) as pool:
        jobs = [pool.submit(ask, running.address, body, phone=f"{number:x}") for number in range(100)]
        statuses = [job.result()[0] for job in jobs]
    assert statuses == [200] * 100 and len(most) == 100 and max(most) == server.DECODERS
    assert watch.most < 400 * 2**20 and not (tmp_path / "photos").exists()


def test_a_phone_that_sends_too_much_has_to_wait_and_others_have_not(serve, photo):
    running = serve()
    with ThreadPoolExecutor(40) as pool:
        statuses = [
            job.result()[0]
            for job in [pool.submit(ask, running.address, photo, phone="aa") for _ in range(40)]
        ]
    assert set(statuses) == {200, 429} and statuses.count(200) >= server.BURST
    assert ask(running.address, photo, phone="bb")[0] == 200
    time.sleep(2 / server.A_SECOND)
    assert ask(running.address, photo, phone="aa")[0] == 200


def test_what_arrives_at_once_is_bounded(serve, photo, monkeypatch):
    monkeypatch.setattr(server, "ALL_BODIES", 300_000)
    running, who = serve(), itertools.count()
    url = urllib.parse.urlsplit(running.address)

    def until(wanted, body):
        deadline = time.monotonic() + PROMPT
        while (status := ask(running.address, body, phone=f"{next(who):x}")[0]) != wanted:
            assert status in (200, 415, 503) and time.monotonic() < deadline
            time.sleep(0.2)

    with socket.create_connection((url.hostname, url.port), PROMPT) as held:
        head = f"POST {url.path}answer HTTP/1.1\r\nHost: x\r\nContent-Length: 290000\r\n\r\n"
        held.sendall(head.encode() + bytes(280_000))
        until(503, bytes(30_000))
    until(200, photo)


def test_slow_bodies_keep_nobody_waiting_and_are_cut_off(serve, photo, monkeypatch, tmp_path):
    monkeypatch.setattr(server, "SECONDS", 3)
    running = serve()
    url, slow = urllib.parse.urlsplit(running.address), []
    for number in range(60):
        slow.append(socket.create_connection((url.hostname, url.port), PROMPT))
        head = f"POST {url.path}answer?label=3&phone={number:x} HTTP/1.1\r\nHost: x\r\nContent-Length: 9999999\r\n\r\nx"
        slow[-1].sendall(head.encode() if number else head[:20].encode())
    assert ask(running.address, photo, phone="ff")[0] == 200
    for one in slow:
        assert one.recv(99) == b""  # closed
        one.close()
    assert not (tmp_path / "photos").exists()


def test_more_connections_than_it_takes_are_closed(serve, photo, monkeypatch):
    monkeypatch.setattr(server, "CONNECTIONS", 5)
    running = serve()
    url = urllib.parse.urlsplit(running.address)
    held = [socket.create_connection((url.hostname, url.port), PROMPT) for _ in range(5)]
    deadline = time.monotonic() + PROMPT
    with socket.create_connection((url.hostname, url.port), PROMPT) as further:
        assert further.recv(9) == b""
    for one in held:
        one.close()
    while time.monotonic() < deadline:
        try:
            assert ask(running.address, photo)[0] == 200
            break
        except (ConnectionError, http.client.HTTPException):
            time.sleep(0.05)


def test_a_png_bomb_is_refused_without_being_unpacked(serve, photo):
    body, running = bomb(8_100), serve()  # 66 million pixels
    assert len(body) < 10**6
    with Watch() as watch:
        assert ask(running.address, body)[0] == 415
        assert ask(running.address, body, label=3)[0] == 415
    assert watch.most < 100 * 2**20 and ask(running.address, photo)[0] == 200


# -- its end -----------------------------------------------------------------------------------------


def test_after_stop_the_port_is_free(serve, photo):
    first = serve()
    port = urllib.parse.urlsplit(first.address).port
    first.stop()
    assert not first.running and "stopped" in repr(first)
    first.stop()  # once more is no mistake
    second = serve(port=port)
    assert urllib.parse.urlsplit(second.address).port == port and ask(second.address, photo)[0] == 200


def test_it_ends_after_its_time(serve):
    running = serve(minutes=0.01)
    running._thread.join(PROMPT)
    assert not running.running
    assert phone.serve.__kwdefaults__["minutes"] == 60


def test_stop_ends_a_request_that_is_under_way(serve):
    running = serve()
    url = urllib.parse.urlsplit(running.address)
    with socket.create_connection((url.hostname, url.port), PROMPT) as slow:
        slow.sendall(f"POST {url.path}answer HTTP/1.1\r\nHost: x\r\nContent-Length: 99\r\n\r\nx".encode())
        time.sleep(0.2)
        running.stop()
        assert not running.running and slow.recv(9) == b""


def command(*arguments):
    """``python -m helpers.phone`` and the address that it prints."""
    program = [sys.executable, "-m", "helpers.phone", *map(str, arguments)]
    process = subprocess.Popen(
        program, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=paths.ROOT
    )
    lines = []
    for line in process.stdout:
        lines.append(line)
        if found := re.search(r"http://\S+/\S+/", line):
            return process, found[0]
    raise AssertionError("".join(lines))


def is_free(address):
    """Nobody answers there any more, and another server can have the port."""
    port = urllib.parse.urlsplit(address).port
    with pytest.raises(ConnectionError):
        ask(address, method="GET", path="")
    with socket.create_server(("127.0.0.1", port)):
        return True


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_it_ends_with_its_process_and_leaves_the_port_free(files, photo, tmp_path, how):
    process, address = command(files["camera network"], "--folder", tmp_path / "kept")
    assert ask(address, photo, label=3)[0] == 200
    process.send_signal(how)
    assert process.wait(PROMPT) == (0 if how == signal.SIGINT else -how)
    process.stdout.close()
    assert is_free(address) and len(kept(tmp_path / "kept")) == 2


def test_it_ends_with_its_kernel_as_in_make_run(files, photo, tmp_path, monkeypatch):
    """A notebook of one cell, run as ``make run`` does; the cell asks its own server, and a phone is still sending."""
    import nbformat

    from helpers.workshop import run

    monkeypatch.setenv("PYTHONPATH", str(paths.ROOT))
    cell = (
        "import socket; from helpers import phone\n"
        f"server = phone.serve({str(files['camera network'])!r}, folder={str(tmp_path / 'photos')!r})\n"
        "root, port, token = server.address.strip('/').replace('http://', '').replace(':', '/').split('/')\n"
        "phone_that_sends = socket.create_connection((root, int(port)))\n"
        "phone_that_sends.sendall(f'POST /{token}/answer?label=3 HTTP/1.1\\r\\nContent-Length: 99\\r\\n\\r\\nx'.encode())\n"
        "print(server)"
    )
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell)])
    nbformat.write(notebook, tmp_path / "one.ipynb")
    done, _, error = run.execute(tmp_path / "one.ipynb")
    assert not error
    shown, said = (str(output) for output in done.cells[0].outputs)
    address = re.search(r"http://\S+/\S+/", said)[0]
    assert "(running)" in said and address in shown and "QR code" in shown
    assert is_free(address) and not (tmp_path / "photos").exists()


def test_a_wrong_command_says_what_is_wrong_in_one_line(tmp_path):
    program = [sys.executable, "-m", "helpers.phone", str(tmp_path / "none.mlmodel")]
    done = subprocess.run(program, capture_output=True, text=True, cwd=paths.ROOT)
    assert done.returncode == 2 and "none.mlmodel" in done.stderr and "Traceback" not in done.stderr


# -- in the notebook ---------------------------------------------------------------------------------


def test_what_cannot_be_served_is_named(files, serve, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nothing\.mlmodel"):
        phone.serve(tmp_path / "nothing.mlmodel")
    with pytest.raises(ValueError, match=r"other labels"):
        phone.serve({"a": files["camera network"], "b": files["three"]})
    with pytest.raises(ValueError, match="There is no model"):
        phone.serve({})
    for wrong in (-0.1, 2, "0.5", float("nan")):
        with pytest.raises(ValueError, match="threshold"):
            phone.serve(files["camera network"], threshold=wrong)
    for wrong in (0, -1, "60", float("nan"), float("inf")):
        with pytest.raises(ValueError, match="minutes"):
            phone.serve(files["camera network"], minutes=wrong)
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(OSError, match="Nothing can listen"):
        phone.serve(files["camera network"], port=taken.getsockname()[1])
    with pytest.raises(OSError, match="Nothing can listen"):
        phone.serve(files["camera network"], lan="203.0.113.7")
    for wrong in (70_000, -1, "80", None):
        with pytest.raises(ValueError, match="port="):
            phone.serve(files["camera network"], port=wrong)


def test_a_model_that_answers_no_photo_is_named(tmp_path):
    onnx = paths.artifact("scratch/plain.onnx")
    torch.onnx.export(Small(3), torch.zeros(1, 3, 48, 32), str(onnx), input_names=["image"], dynamo=False)
    from helpers import coreml
    from helpers.onnx_coreml import convert

    given = {"image_input_names": ["image"], "minimum_ios_deployment_target": "13"}
    bare = coreml.save(convert(onnx, **given), tmp_path / "bare.mlmodel")
    with pytest.raises(ValueError, match=r"bare\.mlmodel takes image \(1×3×48×32\) and has no labels"):
        phone.serve(bare)
    oblong = convert(onnx, mode="classifier", class_labels=["a", "b", "c"], **given)
    with pytest.raises(ValueError, match=r"oblong\.mlmodel takes image \(1×3×48×32\) and has labels"):
        phone.serve(coreml.save(oblong, tmp_path / "oblong.mlmodel"))


@pytest.mark.parametrize("sign, name", phone.REMOTE.items())
def test_where_no_phone_can_come_close_a_widget_gives_the_same_answers(
    files, photo, tmp_path, monkeypatch, capsys, sign, name
):
    monkeypatch.setenv(sign, "1")
    widget = phone.serve(files["camera network"], folder=tmp_path / "photos")
    assert name in capsys.readouterr().out and widget.keep.disabled
    widget.photo.value = (
        {
            "name": "x",
            "type": "image/jpeg",
            "size": len(photo),
            "content": memoryview(photo),
            "last_modified": datetime.datetime(2026, 1, 1),
        },
    )
    image = photos.shrink(photos.open_photo(photo))
    answer = photos.ask(files["camera network"], image[None], torch.tensor([0]))
    best = CLASSES[answer.predictions[0]]
    assert f"{best} ({answer.probs.max():.0%})" in widget.said.value and not widget.keep.disabled
    widget.label.value = CLASSES.index(best)
    widget.keep.click()
    assert widget.counts()["all"].value == 1 and len(kept(tmp_path / "photos")) == 2 and widget.keep.disabled
    widget.photo.value = (
        {
            "name": "x",
            "type": "x",
            "size": 1,
            "content": memoryview(b"x"),
            "last_modified": datetime.datetime(2026, 1, 1),
        },
    )
    assert "no picture" in widget.said.value and widget.keep.disabled


def test_the_chart_grows_with_the_photos(serve, photo, monkeypatch):
    import matplotlib.pyplot as plt

    from helpers import figures

    running, titles, open_before = serve(), [], plt.get_fignums()
    real = figures.settling
    monkeypatch.setattr(
        figures, "settling", lambda right, handle: titles.append(len(right)) or real(right, handle)
    )
    threading.Timer(0.6, lambda: [ask(running.address, photo, label=k) for k in range(2)]).start()
    running.chart(seconds=4)
    assert titles[0] == 0 and titles[-1] == 2 and plt.get_fignums() == open_before
    running.chart()
    assert titles[-1] == 2


def test_the_notebook_shows_the_address_and_a_code_that_can_be_read(serve, monkeypatch):
    shown = []
    monkeypatch.setattr(phone, "get_ipython", lambda: type("Shell", (), {"kernel": 1})())
    monkeypatch.setattr(phone, "display", lambda one: shown.append(one.data))
    running = serve()
    (text,) = shown
    assert (
        running.address in text
        and 'alt="QR code of the address"' in text
        and "data:image/png;base64," in text
    )
    assert "Only this computer" in text and "after 60 minutes" in text


def test_the_answer_is_the_runtimes(serve, files, photo):
    """The page's road, by hand: the saved file, one image."""
    image = photos.shrink(photos.open_photo(photo))
    probs = load(files["camera network"]).probs(image[None])[0]
    assert ask(serve().address, photo)[1]["roads"][0]["probs"] == probs.tolist()


def test_the_time_is_measured_with_the_networks_that_ship(tmp_path, monkeypatch):
    from helpers.workshop import readme
    from tests.proof import phone as proof

    monkeypatch.setattr(proof, "TABLE", tmp_path / "phone.json")
    monkeypatch.setattr(proof, "TURNS", 1)
    monkeypatch.setattr(proof, "SIZE", (640, 480))
    threads = torch.get_num_threads()
    assert proof.main() in (0, 1)  # a busy machine is slow
    torch.set_num_threads(threads)
    table = json.loads((tmp_path / "phone.json").read_text(encoding="utf-8"))
    assert len(table["photos"]) == 3 and all(one["median_ms"] > 0 for one in table["photos"].values())
    real = readme.read
    monkeypatch.setattr(readme, "read", lambda name: table if name == "phone" else real(name))
    assert readme.the_proofs().count("from a phone's page to its answer") == 3


# -- things ------------------------------------------------------------------------------------------


def test_the_photos_of_a_thing_are_learned_or_tested_together(serve, photo, tmp_path):
    running = serve()
    for label, same in ((3, 0), (3, 1), (3, 0), (4, 0), (4, 1), (5, 0)):
        more = {"same": 1} if same else {}
        assert ask(running.address, photo, label=label, phone="aa", **more)[0] == 200
    ask(running.address, photo, label="none", phone="aa")
    (tmp_path / "photos/dog/by hand.png").write_bytes(transparent_png())
    files = photos.find(tmp_path / "photos")[0]
    things = phone.things(tmp_path / "photos", files)
    assert sorted(map(things.count, set(things))) == [1, 1, 1, 2, 2]
    noted = {row["photo"]: row["thing"] for row in log(tmp_path / "photos")}
    for path, thing in zip(files, things, strict=True):
        name = path.relative_to(tmp_path / "photos").as_posix()
        assert thing == noted.get(name, "dog/by hand.png")
    test = phone.kept_back(things)
    tested, learned = (
        {one for one, back in zip(things, test.tolist(), strict=True) if back == of} for of in (1, 0)
    )
    assert len(tested) == 2 and len(learned) == 3 and not tested & learned
    assert torch.equal(test, phone.kept_back(things))


def test_things_are_counted_and_not_photos():
    right = torch.tensor([True, False, True, True])
    assert phone.of_each(right, ["b", "b", "a", "c"]).tolist() == [1.0, 0.5, 1.0]
    with pytest.raises(ValueError, match="2 things, and it takes three"):
        phone.kept_back(["a", "b", "b"])


def test_drawings_stand_in_until_there_are_photos_of_three_things(tmp_path, monkeypatch, capsys):
    folder = tmp_path / "mine"
    monkeypatch.setenv("CHAPTER_PHOTOS", str(folder))
    monkeypatch.setattr(drawings, "OVERSAMPLING", 1)  # rough, and soon there

    def shown():
        return phone.own_photos() == folder, capsys.readouterr().out

    real, said = shown()
    assert not real and said == "Drawings stand in until there are photos of three things.\n"
    drawn = photos.find(phone.own_photos())[0]
    sizes = {photos.open_photo(path).size for path in drawn}
    assert len(drawn) == 20 and {width / height for width, height in sizes} == {4 / 3}
    (folder / "cat").mkdir(parents=True)
    (folder / "log.csv").write_text("photo,thing\ncat/0.png,a\ncat/1.png,a\ncat/2.png,b\n", encoding="utf-8")
    for number in range(4):
        capsys.readouterr()
        real, said = shown()
        assert not real and (": photos of" in said) == (number > 0)
        (folder / f"cat/{number}.png").write_bytes(transparent_png())
    assert shown() == (True, f"{paths.shorten(folder)}: photos of 3 things\n")
    (folder / "cab").mkdir()
    with pytest.raises(ValueError, match="'cab'"):
        phone.own_photos()


@pytest.mark.parametrize(
    "content", [b"", b"photo,label\ncat/a.png,cat\n", b"\xff\xfe\x00", b'photo,thing\n"cat/a']
)
def test_a_log_of_which_nothing_can_be_read_makes_every_photo_a_thing(tmp_path, content):
    (tmp_path / "log.csv").write_bytes(content)
    assert phone.things(tmp_path, [tmp_path / "cat/a.png"]) == ["cat/a.png"]
