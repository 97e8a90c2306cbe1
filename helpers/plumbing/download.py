"""Bytes from a web address, for as long as they come fast enough: what may fail does so within seconds, by name."""

import contextlib
import http.client
import queue
import ssl
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from urllib.parse import urlsplit

# When to leave a source for the next one.
ANSWER_SECONDS = 10.0
SILENCE_SECONDS = 20.0
SLOW_WINDOW_SECONDS = 20.0
SLOWEST_BYTES_PER_SECOND = 200_000


class SourceFailed(Exception):
    """A source did not give what was asked for; the text says why, after the name of its host."""


def chunks(response: http.client.HTTPResponse, what: str, most: int) -> Iterator[bytes]:
    """The bytes of an answer, as they come, for as long as they come fast enough.

    Args:
        response: what ``ask`` returned.
        what: is expected, for the message.
        most: bytes that it can have.

    Raises:
        SourceFailed: the source fell silent, was slow, broke off or sent too much.
    """
    expected = response.length
    received = window_bytes = 0
    window_start = time.monotonic()
    while True:
        try:
            # read1 gives what has arrived; read would wait for a whole chunk, however slowly it comes.
            chunk = response.read1(1 << 18)
        except TimeoutError as error:
            raise SourceFailed(f"sent nothing for {SILENCE_SECONDS:g} s") from error
        except (OSError, http.client.HTTPException) as error:
            raise SourceFailed(f"broke off after {received / 1e6:.1f} MB") from error
        if not chunk:
            break
        received += len(chunk)
        window_bytes += len(chunk)
        if received > most:
            raise SourceFailed(f"sent something other than {what}: it is too long")
        yield chunk
        elapsed = time.monotonic() - window_start
        if elapsed >= SLOW_WINDOW_SECONDS and received != expected:
            rate = window_bytes / elapsed
            if rate < SLOWEST_BYTES_PER_SECOND:
                raise SourceFailed(f"is too slow: {rate / 1e3:.0f} kB/s")
            window_bytes, window_start = 0, time.monotonic()
    if expected is not None and received < expected:
        raise SourceFailed(f"broke off after {received / 1e6:.1f} of {expected / 1e6:.1f} MB")


def ask(url: str) -> http.client.HTTPResponse:
    """The answer of a server, after ``ANSWER_SECONDS`` at the latest.

    A thread asks, because a timeout given to urlopen holds for each address of a
    host separately and not at all for the look-up of its name.

    Raises:
        SourceFailed: there is none, or it is an error.
    """
    answers: queue.SimpleQueue = queue.SimpleQueue()

    def wait() -> None:
        try:
            request = urllib.request.Request(url, headers={"User-Agent": "cifar10-notebooks/1.0"})
            answers.put(_opener(url).open(request, timeout=SILENCE_SECONDS))
        except Exception as error:
            answers.put(error)

    threading.Thread(target=wait, daemon=True).start()
    try:
        answer = answers.get(timeout=ANSWER_SECONDS)
    except queue.Empty:
        raise SourceFailed(f"gave no answer in {ANSWER_SECONDS:g} s") from None
    if isinstance(answer, urllib.error.HTTPError):
        answer.close()
        raise SourceFailed(f"answered with HTTP error {answer.code}") from answer
    if isinstance(answer, OSError | http.client.HTTPException | ValueError):
        reason = getattr(answer, "reason", answer)
        raise SourceFailed(f"cannot be reached: {getattr(reason, 'strerror', None) or reason}") from answer
    if isinstance(answer, Exception):
        raise answer
    return answer


def _opener(url: str) -> urllib.request.OpenerDirector:
    """What opens web addresses as urllib does, but nothing else: no file, no ftp, whoever sends us there.

    The proxies of ``http_proxy`` and ``https_proxy`` are asked, but not for this machine itself: they
    could not reach it.
    """
    opener = urllib.request.OpenerDirector()
    here = urlsplit(url).hostname in ("localhost", "127.0.0.1", "::1")
    for handler in (
        urllib.request.ProxyHandler({} if here else None),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(context=_certificates()),
        _Redirects(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
    ):
        opener.add_handler(handler)
    return opener


class _Redirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, request, file, code, message, headers, url):
        if urlsplit(url).scheme not in ("http", "https"):
            raise SourceFailed(f"sends us on to {url[:200]!r}, which is no web address")
        file.close()  # else urllib reads all that comes with the new address, however much it is
        return super().redirect_request(request, file, code, message, headers, url)


def _certificates() -> ssl.SSLContext:
    """The system's certificates and certifi's: a Python from python.org on a Mac comes without any."""
    context = ssl.create_default_context()
    with contextlib.suppress(ImportError):  # it comes with JupyterLab
        import certifi

        context.load_verify_locations(certifi.where())
    return context
