"""One page with Netron and a model in it, built from the installed ``netron`` package.

Netron's web files are read from the package when a page is built; none of them
is kept in this project. A page holds only the modules that the model's format
needs, in one gzipped bundle that ``host.js`` unpacks in the browser.
"""

import base64
import gzip
import hashlib
import html
import importlib.metadata
import importlib.util
import json
import re
from functools import cache
from pathlib import Path

from helpers.netron_view.limits import plain
from helpers.netron_view.models import Model

MODULES = ("base", "text", "json", "zip", "tar", "protobuf", "flatbuffers", "dagre", "grapher", "view")
"""The modules of every page: the viewer, the layout, and what looks into a file to tell its format."""

FORMATS = {
    "onnx": ("onnx", "onnx-proto"),
    "coreml": ("coreml", "coreml-proto"),
    "pytorch": ("python", "pytorch"),
}
"""The further modules of one format. A module must stand after those that it imports."""

HERE = Path(__file__).resolve().parent


class NetronFilesError(RuntimeError):
    """The installed netron is missing, or its web files are not those that this module knows."""


def netron_version() -> str:
    """The version of the installed netron, e.g. ``"9.3.3"``.

    Raises:
        NetronFilesError: netron is missing, or is not a 9.3.
    """
    try:
        version = importlib.metadata.version("netron")
    except importlib.metadata.PackageNotFoundError:
        raise NetronFilesError(
            "The graph is drawn by netron, which is not installed. Run `make setup`."
        ) from None
    if not version.startswith("9.3."):
        raise NetronFilesError(
            f"helpers.netron_view reads the web files of netron 9.3, and netron {version} is installed. "
            "Run `make setup`, or pip install 'netron==9.3.*'."
        )
    return version


def _folder() -> Path:
    """The folder of the installed netron package, found without importing it."""
    spec = importlib.util.find_spec("netron")
    if spec is None or not spec.submodule_search_locations:
        raise NetronFilesError("The graph is drawn by netron, which is not installed. Run `make setup`.")
    return Path(spec.submodule_search_locations[0])


def _read(name: str) -> str:
    try:
        return (_folder() / name).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise _unexpected(name, f"it cannot be read ({error})") from error


def _unexpected(name: str, why: str) -> NetronFilesError:
    return NetronFilesError(
        f"netron {netron_version()}: its file {name} is not what is expected: {why}. "
        "Install it again: pip install --force-reinstall 'netron==9.3.*'."
    )


def _wrap(name: str, source: str) -> str:
    """An ES module as a plain function, so that one inline script can hold them all.

    Netron's modules import and export in a few fixed forms. Each is rewritten, and
    whatever is left over is an error: a form that this function does not know.
    """
    source = re.sub(
        r"^import \* as (\w+) from '(\./[\w-]+\.js)';$", r"const \1 = load('\2');", source, flags=re.MULTILINE
    )
    source = re.sub(r"(?<![.\w])import\('(\./[\w-]+\.js)'\)", r"(async () => load('\1'))()", source)
    source = re.sub(
        r"^export const \{ ([\w, ]+) \} = (\w+);$", r"Object.assign(exports, (({ \1 }) => ({ \1 }))(\2));",
        source, flags=re.MULTILINE,
    )  # fmt: skip
    source = re.sub(
        r"^export const (\w+) = (.+);$", r"const \1 = exports.\1 = \2;", source, flags=re.MULTILINE
    )
    # zlib, fs and worker_threads are asked for under Node.js alone.
    left = re.search(
        r"^(import|export)\b.*|(?<![.\w])import\((?!'(zlib|fs|worker_threads)')['\"`].*|import\.meta.*",
        source,
        flags=re.MULTILINE,
    )
    if left:
        raise _unexpected(f"{name}.js", f"unknown form of import or export: {left.group()[:80]!r}")
    # A tenth of the page is indentation. Line ends stay: JavaScript ends statements at them.
    source = re.sub(r"^[ \t]+", "", source, flags=re.MULTILINE)
    return f'defineNetronModule("./{name}.js", (exports, load) => {{\n"use strict";\n{source}\n}});\n'


@cache
def _script(format_: str) -> str:
    return "".join(_wrap(name, _read(f"{name}.js")) for name in (*MODULES, *FORMATS[format_]))


@cache
def _style_and_body() -> tuple[str, str]:
    index = _read("index.html")
    style = re.search(r"<style>(.*?)</style>", index, flags=re.DOTALL)
    body = re.search(r'<body class="welcome spinner">(.*)</body>', index, flags=re.DOTALL)
    if not style or not body:
        raise _unexpected("index.html", "no <style> or no <body> in it")
    if "<script" in body.group(1):
        raise _unexpected("index.html", "a script in its body")
    for element in ("target", "toolbar", "sidebar", "message-text", "message-button"):
        if f'id="{element}"' not in body.group(1):
            raise _unexpected("index.html", f"no element with the id {element!r}")
    # The page has no menu: files are opened with show(), and nothing is sent anywhere.
    hidden = ".menu, .menu-button, .open-file-button, .logo-github { display: none !important; }\n"
    return style.group(1) + _read("grapher.css") + hidden, body.group(1).strip()


@cache
def _operators(format_: str) -> list[dict]:
    return json.loads(_read(f"{format_}-metadata.json"))


def _metadata(model: Model) -> str:
    """What Netron knows about the operators of this model, and about no other.

    The whole file is 5.6 MB for ONNX. What goes is other operators, other versions
    of an operator, and the code examples.
    """
    chosen: dict[str | tuple[str, str], dict] = {}
    for entry in _operators(model.format):
        # "aten::add.Tensor(Tensor self, …" in the PyTorch file, plain names in the others
        name = re.split(r"[(.]", entry["name"])[0] if "::" in entry["name"] else entry["name"]
        version = entry.get("version", 0)
        if model.format == "onnx":
            wanted = version <= model.operators.get((entry["module"], name), -1)
            key = (entry["module"], name)
        else:
            wanted = name in model.operators
            key = entry["name"]
        if wanted and version >= chosen.get(key, {}).get("version", 0):
            chosen[key] = {field: value for field, value in entry.items() if field != "examples"}
    return json.dumps(list(chosen.values()), separators=(",", ":"))


def build(model: Model, options: dict | None = None, picture: bool = False) -> str:
    """The page as HTML text.

    The same model gives the same text: there is no date and no random number in it.

    Args:
        model: What ``models.read`` made of the file.
        options: Netron's own view options, e.g. ``{"attributes": True}``.
        picture: Make the page that sends its picture back to ``pictures.py``.

    Raises:
        NetronFilesError: see ``netron_version``.
    """
    version = netron_version()
    style, body = _style_and_body()
    settings = {
        "version": version,
        "identifier": model.identifier,
        "folder": model.folder,
        "files": list(model.files),
        "hollow": model.hollow,
        "options": options or {},
        "picture": picture,
    }
    entries: dict[str, str | bytes] = {
        "settings.json": json.dumps(settings),
        "netron.js": _script(model.format),
        "netron.css": style,
        "body.html": body,
        f"{model.format}-metadata.json": _metadata(model),
        **({"grapher.css": _read("grapher.css")} if picture else {}),
        **{f"model/{name}": content for name, content in model.files.items()},
    }
    data = {name: value if isinstance(value, bytes) else value.encode() for name, value in entries.items()}
    index = json.dumps([[name, len(value)] for name, value in data.items()]).encode()
    bundle = gzip.compress(
        index + b"\n" + b"".join(data.values()), compresslevel=6, mtime=0
    )  # 9 may take a minute, and saves 0.5 %
    parts = {
        "nonce": base64.b64encode(hashlib.sha256(bundle).digest()[:18]).decode(),
        "connect": "'self'" if picture else "'none'",
        "style": "'unsafe-inline' blob:" if picture else "'unsafe-inline'",
        "title": html.escape(plain(model.identifier)),
        "version": version,
        "licence": (HERE / "NETRON_LICENCE.txt").read_text(encoding="utf-8").strip(),
        "bundle": base64.b64encode(bundle).decode(),
        "host": (HERE / "host.js").read_text(encoding="utf-8"),
    }
    template = (HERE / "page.html").read_text(encoding="utf-8")
    # One pass over the template, so that nothing inside a part is taken for a placeholder.
    return re.sub(r"\{\{(\w+)\}\}", lambda match: parts[match.group(1)], template)
