"""A still picture of a graph, for wherever the page itself is not shown.

GitHub, an untrusted notebook and a printed page take no page with scripts, but
a PNG. It is drawn by Netron's own export in a headless Chromium, once, when the
notebooks are built, and kept in ``still/`` under the key of its graph. Readers
need no Chromium: they get the kept picture.
"""

import http.server
import io
import itertools
import os
import shutil
import subprocess
import tempfile
import threading
from pathlib import Path

from helpers.netron_view import page
from helpers.netron_view.models import Graph, Model
from helpers.plumbing.paths import replacing

FOLDER = Path(__file__).resolve().parent / "still"
"""The pictures that ship with the project, one PNG for a graph."""

BROWSERS = ("chromium", "chromium-browser", "google-chrome")

LARGEST = 300_000
"""Bytes. A larger picture does not go into a notebook: the outline does."""

MOST_PARTS = 1200
"""Layers, lines and weights (``Graph.parts``) of a graph that is pictured: those of some 300 layers. That takes
Chromium 8 seconds and gives about 270 kB; 600 layers take 12 and give 540 kB, too much for a notebook."""

MOST_PIXELS = 80_000_000
"""Pixels of Netron's export that are unpacked: 240 MB of memory."""

ARGUMENTS = (
    "--headless",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-extensions",
    "--disable-sync",
    "--hide-scrollbars",
    "--no-first-run",
    "--no-proxy-server",  # the page is on this machine
    "--window-size=1200,900",
    "--blink-settings=preferredColorScheme=1",  # light, whatever the desktop likes
)

TIMEOUT = 180
"""Seconds to wait for one picture, on however busy a machine. Alone it takes two to eight."""

EXPORTED, SHOWN = 2.0, 1.5
"""Pixels for one unit of Netron's drawing, whose text is 11 units high: in its export, and in the picture."""

WIDTH = 860
"""The most pixels on the screen that a picture is wide: the text column of a notebook on GitHub."""


class PictureError(RuntimeError):
    """No picture could be drawn: there is no Chromium, or it failed."""


def browser() -> str | None:
    """The Chromium to draw with: that of the environment variable ``CHROMIUM``, else one on the PATH."""
    chosen = os.environ.get("CHROMIUM")
    return shutil.which(chosen) if chosen else next(filter(None, map(shutil.which, BROWSERS)), None)


def draw(model: Model, options: dict | None = None) -> bytes:
    """Draw a model's graph as a PNG, a tall graph folded into columns.

    Takes two to eight seconds. The page is handed to the browser on the loopback
    address, on a port that is open for this one picture only.

    Raises:
        PictureError: the graph is too long, no Chromium was found, it failed, or Netron could not
            draw the file.
    """
    if model.graph.parts > MOST_PARTS:
        raise PictureError(too_long(model.graph))
    program = browser()
    if program is None:
        raise PictureError(
            "There is no Chromium to draw the picture with. Install one, or give its path in the environment "
            f"variable CHROMIUM. Looked for on the PATH: {', '.join(BROWSERS)}."
        )
    drawn = _export(program, page.build(model, options, picture=True).encode())
    return _fold(drawn)


def too_long(graph: Graph) -> str:
    """Why there is no picture of this graph."""
    return (
        f"A graph of {len(graph.layers):,} layers with {graph.parts - len(graph.layers):,} lines and weights is too "
        "long for a still picture: show() and save_html() draw it in the browser, outline() writes it as text."
    )


def _export(program: str, text: bytes) -> bytes:
    """Open the page in the browser and wait for the PNG that it posts back."""
    received = []
    done = threading.Event()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self._answer(200 if self.path == "/" else 404, text if self.path == "/" else b"")

        def do_POST(self):
            received.append((self.path, self.rfile.read(int(self.headers["Content-Length"]))))
            self._answer(200, b"")
            done.set()

        def _answer(self, status, content):
            self.send_response(status)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *args):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
            address = f"http://127.0.0.1:{server.server_address[1]}/"
            command = [program, *ARGUMENTS, f"--user-data-dir={profile}", address]
            if hasattr(os, "geteuid") and os.geteuid() == 0:
                command.insert(1, "--no-sandbox")  # Chromium refuses to run as root otherwise
            try:
                process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            except OSError as error:
                server.shutdown()
                raise PictureError(f"{program} cannot be started: {error.strerror}.") from error
            try:
                waited = 0.0
                while not done.wait(0.1) and process.poll() is None and waited < TIMEOUT:
                    waited += 0.1
            finally:
                process.terminate()
                try:
                    process.wait(10)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
                server.shutdown()
    if not received:
        raise PictureError(
            f"{program} stopped, or drew no picture within {TIMEOUT} seconds. Try: {program} --version"
        )
    path, content = received[0]
    if path != "/picture":
        raise PictureError(f"Netron could not draw the graph: {content.decode(errors='replace')[:300]}")
    return content


def _fold(png: bytes) -> bytes:
    """Lay a tall picture out in columns, read from the left, and save it with a small palette.

    The cuts are made where the least is drawn: across a line, never across a node.
    """
    import numpy as np
    from PIL import Image

    width, height = size(png)
    if width * height > MOST_PIXELS:
        raise PictureError(f"The drawing has {width:,} × {height:,} pixels, too many for a still picture.")
    try:
        drawn = Image.open(io.BytesIO(png)).convert("RGB")
    except OSError as error:
        raise PictureError(f"The picture of the graph cannot be read: {error}.") from error
    factor = SHOWN / EXPORTED
    smaller = (round(drawn.width * factor), round(drawn.height * factor))
    # HAMMING does not ring: the ground stays white, and the file small.
    drawn = drawn.resize(smaller, Image.Resampling.HAMMING)
    pixels = np.asarray(drawn.convert("L")) < 250
    rows = np.flatnonzero(pixels.any(axis=1))
    columns = np.flatnonzero(pixels.any(axis=0))
    if len(rows) == 0:
        raise PictureError("The picture of the graph came out empty.")
    drawn = drawn.crop((columns[0], rows[0], columns[-1] + 1, rows[-1] + 1))
    ink = pixels[rows[0] : rows[-1] + 1].sum(axis=1)
    width, height = drawn.size

    margin = 18
    fitting = max(1, (WIDTH - margin) // (width + margin))
    # as many columns as make the picture about as tall as it is wide, if they fit beside each other
    count = min(fitting, max(1, round((height / (width + margin)) ** 0.5)))
    inner = [_cut(ink, height * number // count, height // count // 6) for number in range(1, count)]
    parts = [drawn.crop((0, top, width, end)) for top, end in itertools.pairwise([0, *inner, height])]
    sheet_size = (margin + count * (width + margin), 2 * margin + max(part.height for part in parts))
    sheet = Image.new("RGB", sheet_size, "white")
    for number, part in enumerate(parts):
        sheet.paste(part, (margin + number * (width + margin), margin))
    if sheet.width > WIDTH:  # a wide graph cannot be folded, so it is shrunk
        sheet = sheet.resize((WIDTH, round(sheet.height * WIDTH / sheet.width)), Image.Resampling.HAMMING)
    buffer = io.BytesIO()
    few = sheet.quantize(colors=20, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    few.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def _cut(ink, target: int, reach: int) -> int:
    """The row to cut at: within ``reach`` of ``target``, in the middle of rows where little is drawn."""
    first = max(0, target - reach)
    window = [int(value) for value in ink[first : target + reach]]
    little = min(window) + 4  # a line more or less makes no difference
    best = min(
        (row for row, value in enumerate(window) if value <= little),
        key=lambda row: abs(first + row - target),
    )
    top = bottom = best
    while top > 0 and window[top - 1] <= little:
        top -= 1
    while bottom < len(window) - 1 and window[bottom + 1] <= little:
        bottom += 1
    return first + (top + bottom) // 2


def size(png: bytes) -> tuple[int, int]:
    """Width and height of a PNG in pixels, from its first bytes."""
    return int.from_bytes(png[16:20], "big"), int.from_bytes(png[20:24], "big")


def kept(key: str) -> bytes | None:
    """The picture that ships with the project for the graph with this key, or None."""
    file = FOLDER / f"{key}.png"
    return file.read_bytes() if file.is_file() else None


def keep(key: str, png: bytes) -> Path:
    """Put a picture among those that ship with the project. Returns its path."""
    FOLDER.mkdir(exist_ok=True)
    file = FOLDER / f"{key}.png"
    with replacing(file) as temporary:
        temporary.write_bytes(png)
    return file
