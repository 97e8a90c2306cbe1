"""A Netron graph inside a notebook, with no server.

``show("alexnet.onnx")`` puts the graph into the output of the cell: to be zoomed,
moved and clicked, as in Netron itself. The output is one self-contained page. It
needs no kernel, no port and no network, so it is still there when the notebook is
opened next year, and it asks nobody anything: no telemetry, no cookies, no dialogs.

The weights are taken out first; names and shapes stay. The AlexNet of these
notebooks becomes an output of about 310 kB, a still picture included. ``serve()``
opens Netron with the weights in.

The drawing is Netron's (https://github.com/lutzroeder/netron, MIT licence), taken
from the installed ``netron`` package. The notebook ``03_export_to_onnx`` introduces it.

Example:
    >>> from helpers import netron_view
    >>> netron_view.show("artifacts/alexnet.onnx")  # doctest: +SKIP
"""

import base64
import html
import time
from pathlib import Path

from helpers.netron_view import models, page, pictures
from helpers.netron_view.layers import Model
from helpers.netron_view.limits import plain, readable
from helpers.netron_view.models import ModelFileError
from helpers.netron_view.page import NetronFilesError
from helpers.netron_view.pictures import PictureError
from helpers.plumbing.paths import replacing, shorten

__all__ = [
    "GraphView",
    "ModelFileError",
    "NetronFilesError",
    "PictureError",
    "Server",
    "outline",
    "picture",
    "save_html",
    "save_picture",
    "serve",
    "show",
]


class GraphView:
    """What ``show`` returns: Jupyter draws it when it is the last value of a cell.

    The HTML holds the page and a still picture. Where Jupyter trusts the notebook, a
    style hides the picture. Where it does not, and on GitHub, page and style are taken
    out of the output on the way, and the picture stays.
    """

    def __init__(self, model: Model, height: int, options: dict, still: bytes | None):
        self._model = model
        self._height = height
        self._options = options
        self._still = still

    def __repr__(self) -> str:
        return _outline(self._model)

    def _repr_mimebundle_(self, include=None, exclude=None):
        data = {"text/plain": repr(self), "text/html": self.html()}
        metadata = {}
        if self._still:
            width, height = pictures.size(self._still)
            data["image/png"] = base64.b64encode(self._still).decode()
            metadata["image/png"] = {"width": width, "height": height}
        return data, metadata

    def html(self) -> str:
        """The output of the cell as HTML: page, picture, caption, and the style that chooses."""
        model = self._model
        name = "netron-" + _key(model, self._options)
        described = html.escape(_described(model), quote=True)
        if self._still:
            width, _ = pictures.size(self._still)
            source = base64.b64encode(self._still).decode()
            still = (
                f'<img class="still" alt="{described}" width="{width}" src="data:image/png;base64,{source}">'
            )
        else:
            still = f'<pre class="still">{html.escape(_outline(model))}</pre>'
        return _OUTPUT.format(
            name=name,
            height=self._height,
            described=described,
            page=html.escape(page.build(model, self._options), quote=True),
            still=still,
            instead="This is a still picture" if self._still else "This is the graph as text",
            caption=html.escape(_caption(model, bool(self._still))),
        )


# The iframe has a sandbox without allow-same-origin: whatever is in a model, it runs, if at all, in a page
# of no origin. Without JavaScript, and on paper, the frame would be empty.
_OUTPUT = """<div class="{name}">
<style>
.{name} .still {{ display: none }}
.{name} iframe {{ width: 100%; border: 1px solid #8886; box-sizing: border-box }}
@media print {{ .{name} .still {{ display: block }} .{name} iframe {{ display: none }} }}
</style>
<noscript><style>
.{name} .still {{ display: block }}
.{name} iframe {{ display: none }}
</style></noscript>
<iframe sandbox="allow-scripts" height="{height}" title="{described}" srcdoc="{page}"></iframe>
{still}
<p><small>{caption} <span class="still">{instead}: in Jupyter, run the cell or trust the notebook
to zoom and click.</span></small></p>
</div>"""


def show(
    path: str | Path,
    height: int = 600,
    *,
    attributes: bool = False,
    names: bool = False,
    horizontal: bool = False,
) -> GraphView:
    """Draw the graph of a model in the output of the cell.

    Drag to move, hold Ctrl and turn the wheel to zoom, click a node for its attributes
    and the shapes of its weights. The weights themselves are left out: use ``serve`` to
    see numbers.

    Args:
        path: An ``.onnx``, ``.mlmodel``, ``.mlpackage``, ``.pt2``, or a ``.pth`` of
            ``torch.save``: a state_dict or a whole model. A pickle is never unpickled.
        height: Height of the drawing in pixels, 100 to 4000.
        attributes: Write the attributes into the nodes, such as the kernel shape.
        names: Write the names of the nodes and of the values.
        horizontal: From left to right instead of downwards.

    Returns:
        An object that Jupyter draws. The same model gives the same output, byte for byte.

    Raises:
        FileNotFoundError: there is nothing at ``path``.
        ModelFileError: the file is no such model, is damaged, or is too large.
        NetronFilesError: netron is not installed, or is not a 9.3.
        ValueError: ``height`` is out of range.
    """
    if not 100 <= height <= 4000:
        raise ValueError(f"height is {height}: give the height of the drawing in pixels, from 100 to 4000.")
    model = models.read(path)
    options = _options(attributes, names, horizontal)
    return GraphView(model, int(height), options, _still(model, options))


def outline(path: str | Path) -> str:
    """The layers of a model as text: name, operator, shape of the output, shapes of the weights.

    Raises:
        FileNotFoundError, ModelFileError: as ``show``.
    """
    return _outline(models.read(path))


def picture(
    path: str | Path, *, attributes: bool = False, names: bool = False, horizontal: bool = False
) -> bytes:
    """Draw the graph of a model as a PNG, in a headless Chromium.

    Returns:
        The PNG, at most 860 pixels wide.

    Raises:
        PictureError: there is no Chromium, it failed, or the graph is too long for a picture.
        FileNotFoundError, ModelFileError, NetronFilesError: as ``show``.
    """
    return pictures.draw(models.read(path), _options(attributes, names, horizontal))


def save_picture(
    path: str | Path, *, attributes: bool = False, names: bool = False, horizontal: bool = False
) -> Path:
    """Draw a picture and keep it where ``show`` finds it on machines without Chromium.

    That is ``helpers/netron_view/still``, which ships with the project.

    The picture belongs to the graph: another training of the same network finds it too.

    Returns:
        The path of the PNG.

    Raises:
        As ``picture``.
    """
    model = models.read(path)
    options = _options(attributes, names, horizontal)
    return pictures.keep(_key(model, options), pictures.draw(model, options))


def save_html(
    path: str | Path,
    out: str | Path,
    *,
    attributes: bool = False,
    names: bool = False,
    horizontal: bool = False,
) -> Path:
    """Write the graph of a model to an HTML file that opens in any browser, without a network.

    Returns:
        ``out`` as a path. An existing file is replaced in one step.

    Raises:
        As ``show``; ``OSError`` if ``out`` cannot be written.
    """
    view = show(path, 600, attributes=attributes, names=names, horizontal=horizontal)
    title = html.escape(plain(Path(path).name))
    document = (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{title}</title>\n'
        "<style>\nbody { margin: 0 8px; font-family: sans-serif }\n"
        "iframe { height: calc(100vh - 60px) !important }\n"
        "@media (prefers-color-scheme: dark) { body { background: #222; color: #ccc } }</style>\n</head>\n"
        f"<body>\n{view.html()}\n</body>\n</html>\n"
    )
    out = Path(out)
    with replacing(out, len(document)) as temporary:
        temporary.write_text(document, encoding="utf-8")
    return out


class Server:
    """Netron at work on ``url``, until ``stop()`` or the end of a ``with`` block, or of the kernel."""

    def __init__(self, url: str, address: tuple[str, int]):
        self.url = url
        self._address = address

    def __repr__(self) -> str:
        return f"Netron at {self.url} (stop it with .stop())"

    def _repr_html_(self) -> str:
        link = f'<a href="{self.url}" target="_blank">{self.url}</a>'
        return f"Netron at {link}. Stop it with <code>.stop()</code>."

    def stop(self) -> None:
        """Close the port. Calling it again does nothing."""
        import netron

        netron.stop(self._address)
        for _ in range(100):  # its thread looks up every quarter of a second
            if not netron.status(self._address):
                break
            time.sleep(0.02)

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.stop()


def serve(path: str | Path, browse: bool = True) -> Server:
    """Open a model in the whole of Netron, weights included, in a tab of the browser.

    Prefer it to ``show`` for looking at the numbers in a weight, for a model that is too
    large to embed, and for formats that ``show`` does not read. Know what comes with it:
    it listens on this machine (127.0.0.1) until it is stopped, and hands out every file in
    the model's folder to programs on this machine; it shows nothing on a remote Jupyter; it
    is gone when the kernel stops; one model at a time. Its page is Netron's own and goes on the
    network: it asks a service for your country and reports its use to an analytics service.

    Args:
        path: A model in any format that Netron reads.
        browse: Open the browser at once.

    Raises:
        FileNotFoundError: there is nothing at ``path``.
    """
    import logging

    import netron

    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"There is no model at {shorten(path)}.")
    if path.is_dir():  # Netron's server gives files only, and finds the rest of a package from its manifest
        path = path / "Manifest.json"
        if not path.is_file():
            raise FileNotFoundError(
                f"{shorten(path.parent)} is a folder without a Manifest.json, no .mlpackage."
            )
    netron.stop()  # all servers in a process serve the file of the last one
    quiet = logging.NullHandler()
    logging.getLogger().addHandler(quiet)  # else netron sets up logging for the whole process
    try:
        address = netron.start(str(path), address=("127.0.0.1", 0), browse=browse)
    finally:
        logging.getLogger().removeHandler(quiet)
    return Server(f"http://{address[0]}:{address[1]}", address)


def _options(attributes: bool, names: bool, horizontal: bool) -> dict:
    """Netron's view options, those that differ from its defaults."""
    chosen = {"attributes": attributes, "names": names}
    options = {name: True for name, value in chosen.items() if value}
    return {**options, "direction": "horizontal"} if horizontal else options


def _key(model: Model, options: dict) -> str:
    return "-".join([model.graph.key(), *sorted(options)])


def _still(model: Model, options: dict) -> bytes | None:
    """The kept picture of this graph; else one drawn now; else None: without Chromium nothing is said."""
    kept = pictures.kept(_key(model, options))
    if kept or pictures.browser() is None or model.graph.parts > pictures.MOST_PARTS:
        return kept
    try:
        drawn = pictures.draw(model, options)
    except PictureError:
        return None
    return drawn if len(drawn) <= pictures.LARGEST else None


def _caption(model: Model, pictured: bool) -> str:
    text = (
        f"{plain(model.identifier)}: {len(model.graph.layers)} layers, drawn by Netron {page.netron_version()}. "
        f"The weights are left out ({readable(model.left_out)} of {readable(model.size)}); "
        "names and shapes are all there."
    )
    long = not pictured and model.graph.parts > pictures.MOST_PARTS
    return f"{text} {pictures.too_long(model.graph)}" if long else text


def _described(model: Model) -> str:
    """The graph in one sentence, for those who do not see the picture."""
    graph = model.graph
    ends = [
        f"{word} {_listed([f'{name} {shape}'.strip() for name, shape in values])}"
        for word, values in (("from", graph.inputs), ("to", graph.outputs))
        if values
    ]
    operators = _listed([layer.operator for layer in graph.layers])
    text = f"Graph of {plain(model.identifier)} {' '.join(ends)}: {operators}."
    return text.replace("  ", " ").replace(" :", ":")


def _listed(texts) -> str:
    """The first forty."""
    return ", ".join(texts[:40]) + (f" and {len(texts) - 40} more" if len(texts) > 40 else "")


def _outline(model: Model) -> str:
    graph = model.graph
    rows = [("name", "operator", "output", "weights")]
    rows += [(name, "input", shape, "") for name, shape in graph.inputs]
    rows += [(layer.name, layer.operator, layer.shape, _listed(layer.weights)) for layer in graph.layers]
    rows += [(name, "output", shape, "") for name, shape in graph.outputs]
    widths = [min(44, max(len(row[column]) for row in rows)) for column in range(3)]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, (*widths, 0), strict=True)).rstrip()
        for row in rows
    ]
    return f"{plain(model.identifier)} ({graph.kind})\n" + "\n".join(lines)
