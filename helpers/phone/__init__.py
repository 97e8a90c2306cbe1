"""A page for a phone: it photographs, asks the saved Core ML file, and collects a test set of one's own.

Notebook 06 introduces it: ``serve()``, or on a command line ``python -m helpers.phone MODEL``. The answers come from
``helpers.coreml_runtime`` after ``helpers.photos`` has opened the picture. The rooms: ``roads`` asks, ``collection``
keeps and counts, ``server`` listens, ``page.html`` is what the phone shows, ``words`` what it says; ``widget`` is for
a kernel that no phone can reach; ``things`` tells which photos show the same.
"""

import html
import ipaddress
import os
import socket
import sys
from pathlib import Path
from typing import Any

import segno
from IPython import get_ipython
from IPython.display import HTML, display

from helpers.plumbing.language import translated as _

from .collection import Collection
from .roads import Roads
from .server import Server
from .things import kept_back, of_each, own_photos, things
from .widget import Widget

REMOTE = {
    "COLAB_RELEASE_TAG": "Google Colab",
    "KAGGLE_KERNEL_RUN_TYPE": "Kaggle",
    "BINDER_SERVICE_HOST": "Binder",
    "JUPYTERHUB_API_URL": "a JupyterHub",
}
"""Environment variable → where it is set: a machine that no phone can reach."""

_running: list[Server] = []


def serve(
    model: Any = None,
    *,
    lan: bool | str = False,
    threshold: float | None = None,
    folder: str | Path | None = None,
    port: int = 0,
    minutes: float = 60,
) -> Server | Widget:
    """Serve the page from this process, and show its address and a QR code of it.

    It ends with the process, after an hour, with ``stop()``, or when another one is started. A photo is kept only when
    it is labelled, in ``photos/<class>/`` beside ``photos/log.csv``: without EXIF (no place, no time), under a name
    that says nothing.

    Args:
        model: a Core ML file or package, or a loaded one: a classifier of square pictures, with any labels. Several,
            to be seen side by side, as ``{name: file}``: the first one's answer counts. Without it the camera network
            and the plain one that ship with the project are converted.
        lan: False: only this computer can open the page. True: every device in the local network that knows the
            address. A text: the same, and which of this computer's own addresses it is.
        threshold: an answer below it is "not sure", 0 to 1; without it what each model's metadata say.
        folder: in place of ``photos/``.
        port: in place of any that is free.
        minutes: after which it ends.

    Returns:
        The server, with ``address``, ``counts()``, ``chart()`` and ``stop()``. On Colab, Binder or a remote hub the
        widget of ``upload``, as no phone could reach the server.

    Raises:
        FileNotFoundError, ValueError: there is no such model, or it is no classifier of square pictures.
        OSError: the port is taken, or this computer is in no network.
    """
    if not isinstance(minutes, int | float) or not 0 < minutes < 10_000:
        raise ValueError(f"minutes={minutes!r} is how long it runs: a number above 0, e.g. 60.")
    if port not in range(2**16):
        raise ValueError(f"port={port!r} is a whole number from 0, which is any that is free, to 65535.")
    if remote := [name for sign, name in REMOTE.items() if os.environ.get(sign)]:
        print(
            _(
                "This kernel runs on {where}, where no phone can reach it. Upload photos here instead.",
                where=remote[0],
            )
        )
        return upload(model, threshold=threshold, folder=folder)
    collection = Collection(Roads(model, threshold), folder)
    host = lan if isinstance(lan, str) else _address() if lan else "127.0.0.1"
    for former in _running:
        former.stop()
    try:
        server = Server(collection, host, port, minutes)
    except OSError as error:
        raise OSError(
            f"Nothing can listen on {host}, port {port} ({error}). Leave port= out to get one that is free; lan= names "
            "one of this computer's own addresses."
        ) from error
    _running[:] = [server]
    _show(server, host, bool(lan), minutes)
    return server


def upload(model: Any = None, *, threshold: float | None = None, folder: str | Path | None = None) -> Widget:
    """The same answers inside the notebook: a button that uploads a photo. The arguments are those of ``serve``."""
    widget = Widget(Collection(Roads(model, threshold), folder))
    display(widget.box)
    return widget


def _address() -> str:
    """This computer's address in the local network: the one that it would send from. Nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
            return probe.getsockname()[0]
        except OSError as error:
            raise OSError(
                f"This computer is in no network ({error}). Join the Wi-Fi that the phone is in, or give lan= the "
                "address that this computer has there."
            ) from error


def _show(server: Server, host: str, lan: bool, minutes: float) -> None:
    words = [_("Only this computer can open it. serve(lan=True) lets a phone in the same Wi-Fi in.")]
    if lan:
        words = [
            _(
                "Every device in this network that knows the address can open it: scan the code with the phone."
            )
        ]
        if not ipaddress.ip_address(host).is_private:
            words += [
                _(
                    "{host} is an address of the whole internet, not of a local network: whoever knows it can.",
                    host=host,
                )
            ]
    words += [_("It ends with this process, with stop(), or after {minutes:g} minutes.", minutes=minutes)]
    code = segno.make(server.address, micro=False)
    if hasattr(get_ipython(), "kernel"):
        link = f'<a href="{server.address}" target="_blank" rel="noreferrer">{server.address}</a>'
        alt = html.escape(_("QR code of the address"))
        image = f'<img alt="{alt}" src="{code.png_data_uri(scale=4)}">'
        display(HTML("<br>".join([image, link, *words])))
    else:
        code.terminal(out=sys.stdout, compact=True)
        print("\n".join([server.address, *words]), flush=True)


__all__ = ["Server", "Widget", "kept_back", "of_each", "own_photos", "serve", "things", "upload"]
