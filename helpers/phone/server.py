"""A small web server in a thread of its own: the page, an answer to a photo, and a photo that is kept.

Whoever does not know the token of the address gets 404, whatever is asked. Nothing that a request holds is part of
a file's name. Memory is bounded, by what may arrive at once and by how many pictures are decoded at once.
"""

import asyncio
import base64
import contextlib
import hashlib
import hmac
import io
import json
import re
import secrets
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from PIL import Image
from tornado import httpserver, web

from helpers import photos
from helpers.ios_app import CHINESE
from helpers.phone.collection import Collection
from helpers.phone.roads import Answer

PAGE = (Path(__file__).parent / "page.html").read_text(encoding="utf-8")
LARGEST, ALL_BODIES = 20 * 2**20, 256 * 2**20
"""Bytes of one photo, and of all that have arrived and are not yet answered."""
DECODERS, CONNECTIONS, PHONES = 2, 400, 200
"""So many pictures are decoded at once, so many connections are open, so many phones are counted."""
BURST, A_SECOND = 12, 6
"""Photos that one phone may send at once, and in every second."""
SECONDS = 60
"""For a body to arrive."""


def _hash(tag: str) -> str:
    inside = PAGE.partition(f"<{tag}>")[2].partition(f"</{tag}>")[0]
    return f"'sha256-{base64.b64encode(hashlib.sha256(inside.encode()).digest()).decode()}'"


HEADERS = {
    "Content-Security-Policy": f"default-src 'none'; script-src {_hash('script')}; style-src {_hash('style')}; "
    "img-src blob: data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(self), geolocation=(), microphone=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class Server:
    """The running server. ``helpers.phone.serve`` starts one.

    Attributes:
        address: what the phone opens; it ends in the token.
        counts, chart: as ``Collection.counts`` and ``Collection.chart``.
    """

    def __init__(self, collection: Collection, host: str, port: int, minutes: float):
        self._collection, self._seconds = collection, 60 * minutes
        self.counts, self.chart = collection.counts, collection.chart
        own = socket.create_server((host, port))
        own.setblocking(False)
        token = secrets.token_urlsafe(16)
        self.address = f"http://{host}:{own.getsockname()[1]}/{token}/"
        self._loop, self._ended = asyncio.new_event_loop(), asyncio.Event()
        serving = self._serve(own, Desk(collection, token))
        self._thread = threading.Thread(target=self._run, args=[serving], daemon=True, name="helpers.phone")
        self._thread.start()

    @property
    def running(self) -> bool:
        """Whether it still answers."""
        return self._thread.is_alive()

    def stop(self) -> None:
        """End it and leave its port free. What was kept stays."""
        with contextlib.suppress(RuntimeError):  # it has ended
            self._loop.call_soon_threadsafe(self._ended.set)
        self._thread.join(10)

    def __repr__(self) -> str:
        return f"{self.address} ({'running' if self.running else 'stopped'})"

    def _run(self, serving) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(serving)

    async def _serve(self, own, desk) -> None:
        app = web.Application([("/(.*)", Handler, {"desk": desk})], log_function=lambda handler: None)
        limits: dict = {"idle_connection_timeout": SECONDS, "body_timeout": SECONDS, "max_header_size": 2**14}
        http = Listener(app, max_body_size=2**50, max_buffer_size=2**20, **limits)
        http.add_socket(own)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._ended.wait(), self._seconds)
        http.stop()
        await http.close_all_connections()
        desk.decoders.shutdown(wait=False, cancel_futures=True)


class Listener(httpserver.HTTPServer):
    """An HTTP server that takes so many connections and no more."""

    def handle_stream(self, stream, address):
        if len(self._connections) >= CONNECTIONS:
            stream.close()
        else:
            super().handle_stream(stream, address)


class Desk:
    """What all requests share."""

    def __init__(self, collection: Collection, token: str):
        self.collection, self.token = collection, token.encode()
        self.decoders = ThreadPoolExecutor(DECODERS, thread_name_prefix="helpers.phone")
        self.bytes, self.allowed = 0, dict[str, tuple[float, float]]()
        roads = collection.roads
        setup = {
            "labels": roads.labels,
            "chinese": CHINESE,
            "networks": list(roads.networks),
            "largest": LARGEST,
        }
        self.page = PAGE.replace("{{setup}}", json.dumps(setup).replace("<", "\\u003c"))

    def busy(self, phone: str) -> bool:
        """Whether this phone has sent too much of late (a token bucket), or too many phones are here."""
        now = time.monotonic()
        left, before = self.allowed.get(phone, (BURST, now))
        left = min(BURST, left + (now - before) * A_SECOND)
        if left < 1 or (phone not in self.allowed and len(self.allowed) >= PHONES):
            return True
        self.allowed[phone] = left - 1, now
        return False

    def answer(self, body: bytearray, phone: str, asked: dict[str, str]) -> dict:
        """In a thread: the answers to a photo, and the phone's count. The photo is kept if it has a label."""
        start, label, photo = time.perf_counter(), asked.get("label"), bytes(body)
        if label is None:
            picture = photos.open_photo(photo)
            answers = self.collection.roads.ask(picture, "crops" in asked, "networks" in asked)
        else:
            place = None if label == "none" else int(label) if re.fullmatch("[0-9]{1,6}", label) else -1
            answers = self.collection.keep(photo, place, phone, "same" in asked)
        said = {"roads": [_as_json(one) for one in answers], "count": self.collection.count(phone)}
        return said | {"milliseconds": round(1000 * (time.perf_counter() - start))}


def _as_json(answer: Answer) -> dict:
    png = io.BytesIO()
    Image.fromarray(answer.seen.permute(1, 2, 0).numpy()).save(png, "PNG")
    seen = "data:image/png;base64," + base64.b64encode(png.getvalue()).decode()
    said = {name: getattr(answer, name) for name in ("network", "crop", "threshold", "label")}
    return said | {"probs": answer.probs.tolist(), "seen": seen, "side": answer.seen.shape[-1]}


@web.stream_request_body
class Handler(web.RequestHandler):
    """One request. It is judged before its body is read; the body of one that is refused is thrown away."""

    def initialize(self, desk: Desk) -> None:
        self.desk, self.body, self.known, self.refused = desk, bytearray(), False, False

    def set_default_headers(self) -> None:
        self.clear_header("Server")
        self.clear_header("Content-Type")

    def prepare(self) -> None:
        token, _, wanted = self.path_args[0].partition("/")
        self.known = hmac.compare_digest(token.encode(), self.desk.token)
        if not self.known or (self.request.method, wanted) not in (("GET", ""), ("POST", "answer")):
            return self.refuse(404)
        for name, value in HEADERS.items():
            self.set_header(name, value)
        self.phone = self.get_query_argument("phone", "")
        if self.request.method == "POST":
            length = self.request.headers.get("Content-Length", "0")
            if not re.fullmatch("[0-9]{1,9}", length) or int(length) > LARGEST:
                self.refuse(413)
            elif not re.fullmatch("[0-9a-f]{0,32}", self.phone) or self.desk.busy(self.phone):
                self.refuse(429)

    def refuse(self, status: int) -> None:
        """Answer at once, with a number and nothing else."""
        self.refused = True
        self.forget()
        if not self._headers_written:
            self.set_status(status)
            self.set_header("Content-Length", 0)
            self.flush()

    def forget(self) -> None:
        """Give up the body."""
        self.desk.bytes -= len(self.body)
        self.body = bytearray()

    on_finish = on_connection_close = forget

    def data_received(self, chunk: bytes) -> None:
        if not self.refused:
            self.body += chunk
            self.desk.bytes += len(chunk)
            if len(self.body) > LARGEST or self.desk.bytes > ALL_BODIES:
                self.refuse(413 if len(self.body) > LARGEST else 503)

    def get(self, path: str) -> None:
        if not self.refused:
            self.set_header("Content-Type", "text/html; charset=utf-8")
            self.write(self.desk.page)

    async def post(self, path: str) -> None:
        if self.refused:
            return
        asked = {name: self.get_query_argument(name) for name in self.request.query_arguments}
        answer = partial(self.desk.answer, self.body, self.phone, asked)
        try:
            self.write(await asyncio.get_running_loop().run_in_executor(self.desk.decoders, answer))
        except ValueError:
            self.refuse(415)
        except OSError:
            self.refuse(507)

    head = put = patch = delete = options = get

    def send_error(self, status_code: int = 500, **kwargs: Any) -> None:
        self.refuse(status_code if self.known and status_code == 500 else 404)
        self.finish()
