"""How long a photo takes from the phone's page to its answer: ``python -m tests.proof.phone``.

A JPEG of 12 megapixels that a phone held upright, as it is and with a colour profile as iPhones write one, goes through
the whole server on the loopback, again and again. A Wi-Fi's own time is not in it.
"""

import http.client
import io
import json
import statistics
import sys
import tempfile
import time
import urllib.parse

import numpy as np
import torch
from PIL import Image, ImageCms

from helpers import drawings, phone
from helpers.plumbing import paths
from helpers.plumbing.device import describe_device

TABLE = paths.MEASURED / "phone.json"
TURNS, SIZE = 21, (4032, 3024)
MOST = 150
"""Milliseconds from upload to answer, as the median."""


def twelve_megapixels(profile: bytes | None) -> bytes:
    """A drawing of 4032×3024 with the noise of a camera, turned by its EXIF as most photos are."""
    rng, (width, height) = np.random.default_rng(0), SIZE
    drawing = drawings.draw(3, rng, size=1024).resize(SIZE, box=(0, 128, 1024, 896))
    noisy = np.asarray(drawing).astype(np.int16) + rng.integers(-9, 10, (height, width, 3), dtype=np.int16)
    exif, held = Image.Exif(), io.BytesIO()
    exif[0x0112] = 6
    Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(
        held, "JPEG", quality=90, exif=exif, icc_profile=profile
    )
    return held.getvalue()


def milliseconds(address: str, body: bytes, query: str = "") -> float:
    """From the first byte that is sent to the last one that comes back."""
    url = urllib.parse.urlsplit(address)
    connection = http.client.HTTPConnection(url.hostname or "", url.port, timeout=60)
    start = time.perf_counter()
    connection.request("POST", f"{url.path}answer?{query}", body)
    answer = connection.getresponse()
    found = json.loads(answer.read())
    taken = 1000 * (time.perf_counter() - start)
    connection.close()
    assert answer.status == 200 and found["roads"]
    return taken


def main() -> int:
    torch.set_num_threads(2)
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    given = {
        "12-megapixel JPEG": (twelve_megapixels(None), ""),
        "12-megapixel JPEG, three crops, two networks": (twelve_megapixels(None), "crops=1&networks=1"),
        "12-megapixel JPEG with a colour profile": (twelve_megapixels(srgb), ""),
    }
    table: dict = {
        "turns": TURNS,
        "machine": describe_device(torch.device("cpu")).rpartition(",")[0],
        "photos": {},
    }
    with tempfile.TemporaryDirectory() as folder:
        server = phone.serve(folder=folder)
        assert isinstance(server, phone.Server)
        for name, (body, query) in given.items():
            milliseconds(server.address, body, query)
            taken = []
            for _ in range(TURNS):
                taken.append(milliseconds(server.address, body, query))
                time.sleep(0.2)  # no more than a phone may send
            table["photos"][name] = {
                "megabytes": round(len(body) / 1e6, 1),
                "median_ms": round(statistics.median(taken)),
                "lowest_ms": round(min(taken)),
                "highest_ms": round(max(taken)),
            }
            print(f"{name}: {table['photos'][name]}", flush=True)
        server.stop()
    with paths.replacing(TABLE) as temporary:
        temporary.write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")
    return 0 if table["photos"]["12-megapixel JPEG"]["median_ms"] < MOST else 1


if __name__ == "__main__":
    sys.exit(main())
