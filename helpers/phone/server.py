"""A small web server in a thread of its own: the page, an answer to a photo, and a photo that is kept.

Whoever does not know the token of the address gets 404, whatever is asked. Nothing that a request holds is part of
a file's name. Memory is bounded, by what may arrive at once and by how many pictures are decoded at once.
"""

import asyncio
import base64
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
from pathlib import Path

from PIL import Image
from tornado import httpserver, web

from helpers import photos
from helpers.ios_app import CHINESE
from helpers.phone.collection import Collection
from helpers.phone.words import everywhere

PAGE = (Path(__file__).parent / "page.html").read_text(encoding="utf-8")
LARGEST, ALL_BODIES = 20 * 2**20, 256 * 2**20
"""Bytes of one photo, and of all that have arrived and are not yet answered."""
DECODERS, CONNECTIONS, PHONES = 2, 400, 200
"""So many pictures are decoded at once, so many connections are open, so many phones are counted."""
BURST, A_SECOND = 12, 6
"""Photos that one phone may send at once, and in every second."""
SECONDS = 60
"""For a body to arrive."""
KINDS = (("GET", ""), ("POST", "answer"))
"""What can be asked for, behind the token: the page, and an answer."""


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
        self.counts, self.chart, self.collection = collection.counts, collection.chart, collection
        own, self.token = socket.create_server((host, port)), secrets.token_urlsafe(16)
        own.setblocking(False)
        self.address = f"http://{host}:{own.getsockname()[1]}/{self.token}/"
        roads = collection.roads
        setup = {
            "labels": roads.labels,
            "networks": [*roads.networks],
            "texts": everywhere(),
            "chinese": CHINESE,
            "largest": LARGEST,
        }
        self.page = PAGE.replace("{{setup}}", json.dumps(setup).replace("<", "\\u003c"))
        self.decoders = ThreadPoolExecutor(DECODERS, thread_name_prefix="helpers.phone")
        self.bytes, self.due = 0, dict[str, float]()
        self._ended, self._end = threading.Event(), time.monotonic() + 60 * minutes
        self._thread = threading.Thread(
            target=asyncio.run, args=[self._serve(own)], daemon=True, name="helpers.phone"
        )
        self._thread.start()

    @property
    def running(self) -> bool:
        """Whether it still answers."""
        return self._thread.is_alive()

    def stop(self) -> None:
        """End it and leave its port free. What was kept stays."""
        self._ended.set()
        self._thread.join(10)

    def __repr__(self) -> str:
        return f"{self.address} ({'running' if self.running else 'stopped'})"

    async def _serve(self, own) -> None:
        app = web.Application([("/(.*)", Handler, {"server": self})], log_function=lambda handler: None)
        # Tornado would answer a body that is too large before the token is looked at: the handler measures it.
        limits: dict = {"max_body_size": 2**50, "max_buffer_size": 2**20, "max_header_size": 2**14}
        http = Listener(app, idle_connection_timeout=SECONDS, body_timeout=SECONDS, **limits)
        http.add_socket(own)
        while not self._ended.is_set() and time.monotonic() < self._end:
            await asyncio.sleep(0.1)
        http.stop()
        await http.close_all_connections()
        self.decoders.shutdown(wait=False, cancel_futures=True)

    def busy(self, phone: str) -> bool:
        """Whether this phone has sent too much of late, or too many phones are here.

        Every photo makes the phone's next one due a little later, and none may be due in the future (the generic cell
        rate algorithm).
        """
        now = time.monotonic()
        due = max(self.due.get(phone, 0), now - (BURST - 1) / A_SECOND)
        if due > now or (phone not in self.due and len(self.due) >= PHONES):
            return True
        self.due[phone] = due + 1 / A_SECOND
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


def _as_json(answer) -> dict:
    png = io.BytesIO()
    Image.fromarray(answer.seen.permute(1, 2, 0).numpy()).save(png, "PNG")
    seen = "data:image/png;base64," + base64.b64encode(png.getvalue()).decode()
    return vars(answer) | {"probs": answer.probs.tolist(), "seen": seen, "side": answer.seen.shape[-1]}


class Listener(httpserver.HTTPServer):
    """An HTTP server that takes so many connections and no more."""

    def handle_stream(self, stream, address):
        if len(self._connections) >= CONNECTIONS:
            stream.close()
        else:
            super().handle_stream(stream, address)


@web.stream_request_body
class Handler(web.RequestHandler):
    """One request. It is judged before its body is read, and the body of one that is refused is thrown away."""

    def initialize(self, server: Server) -> None:
        self.server, self.body, self.refused = server, bytearray(), 0

    def set_default_headers(self) -> None:
        self.clear_header("Server")
        self.clear_header("Content-Type")

    def prepare(self) -> None:
        token, _, wanted = self.path_args[0].partition("/")
        known = hmac.compare_digest(token.encode(), self.server.token.encode())
        if not known or (self.request.method, wanted) not in KINDS:
            self.refused = 404
            return
        for name, value in HEADERS.items():
            self.set_header(name, value)
        self.phone = self.get_query_argument("phone", "")
        if wanted and (not re.fullmatch("[0-9a-f]{0,32}", self.phone) or self.server.busy(self.phone)):
            self.refused = 429

    def data_received(self, chunk: bytes) -> None:
        if not self.refused:
            self.body += chunk
            self.server.bytes += len(chunk)
            if len(self.body) > LARGEST or self.server.bytes > ALL_BODIES:
                self.refused = 413 if len(self.body) > LARGEST else 503
                self.forget()

    def forget(self) -> None:
        """Give up the body."""
        self.server.bytes -= len(self.body)
        self.body = bytearray()

    on_finish = on_connection_close = forget

    async def get(self, path: str) -> None:
        if not self.refused and self.request.method == "GET":
            self.set_header("Content-Type", "text/html; charset=utf-8")
            self.write(self.server.page)
        elif not self.refused:
            asked = {name: self.get_query_argument(name) for name in self.request.query_arguments}
            answering = self.server.decoders.submit(self.server.answer, self.body, self.phone, asked)
            try:
                said = await asyncio.wrap_future(answering)
                self.write(said)
            except (ValueError, OSError) as error:
                self.refused = 415 if isinstance(error, ValueError) else 507
        self.set_status(self.refused or 200)

    head = post = put = patch = delete = options = get

    def write_error(self, status_code: int, **kwargs) -> None:
        self.set_status(404 if status_code < 500 else status_code)
