"""A model's card: what Xcode shows when a Core ML file is opened in it, without Xcode.

The card is HTML without a style sheet of its own, in the colours of the page around it,
so it can be read in a light and in a dark notebook, and on a page that removes every style.
Everything that comes from the file is escaped: a file may be a stranger's.
"""

import base64
import html
import io
import os
import re
from pathlib import Path
from typing import Any

from helpers.plumbing import paths
from helpers.plumbing.language import columns, padded
from helpers.plumbing.language import translated as _

from .description import describe
from .files import size
from .probabilities import check_answers

ROWS, LONGEST = 40, 300
"""How many rows a section has, and how many characters a text: a file may hold a million of them."""

JOINERS = "\N{ZERO WIDTH JOINER}\N{ZERO WIDTH NON-JOINER}"
"""Signs that cannot be seen and belong to a text: several pictures become one, as in 👩‍🚀."""

BAR = 24
"""The length of a bar for a probability of 1, in characters."""


def model_card(path: str | os.PathLike, picture: Any = None) -> "ModelCard":
    """Show what is in a saved model: its class, size, inputs, outputs, labels, weights and metadata.

    Args:
        path: an ``.mlmodel`` or ``.mlpackage``.
        picture: for a classifier of pictures: a PIL image of any size, or uint8 pixels, 3×H×W or
            H×W×3. The card then also shows the model's answer to it.

    Returns:
        A ``ModelCard``. Jupyter shows it when it is a cell's last value; ``print`` gives its text.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not a Core ML model, it is no classifier of pictures although a picture is
            given, its answers to the picture are no probabilities, or the picture is none.
    """
    return ModelCard(path, picture)


class ModelCard:
    """What ``model_card`` returns.

    Attributes:
        facts: section → rows of name and text.
        answer: the probabilities, label → number, the largest first; None without a picture.
    """

    def __init__(self, path: str | os.PathLike, picture: Any = None):
        self.path = Path(path)
        self.facts = _facts(self.path)
        self.picture: Any = None
        self.answer: dict[str, float] | None = None
        if picture is not None:
            self.picture, self.answer = _ask(self.path, _as_image(picture))

    def __repr__(self) -> str:
        lines = [_clean(self.path.name, 100)]
        for section, rows in self.facts.items():
            lines.append(f"  {section}")
            lines += [f"    {padded(name, 18)} {text}" for name, text in rows]
        if self.answer:
            width = max(columns(label) for label in self.answer)
            lines.append("  " + _("Prediction"))
            lines += [
                f"    {padded(label, width)} {p:6.1%} {_bar(p)}".rstrip() for label, p in self.answer.items()
            ]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        """The card as HTML; every text in it is escaped."""
        parts = [f"<p><b>{html.escape(_clean(self.path.name, 100))}</b></p>"]
        if self.answer:
            parts.append(_prediction(self.picture, self.answer))
        parts.append(f"<table {_TABLE}><tbody>")
        for section, rows in self.facts.items():
            parts.append(f"<tr><th align='left' {_HEAD} colspan='2'>{section}</th></tr>")
            parts += [
                f"<tr><td {_NAME}>{html.escape(name)}</td><td {_TEXT}>{html.escape(text)}</td></tr>"
                for name, text in rows
            ]
        parts.append("</tbody></table>")
        return "\n".join(parts)


def _prediction(picture: Any, answer: dict[str, float]) -> str:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    source = base64.b64encode(buffer.getvalue()).decode()
    said = _("Prediction: {label}", label=html.escape(next(iter(answer))))
    rows = "".join(
        f"<tr><td {_LEFT}>{html.escape(label)}</td><td {_LEFT}>{p:.1%}</td><td {_BARS}>{_bar(p)}</td></tr>"
        for label, p in answer.items()
    )
    width, height = picture.size
    seen = html.escape(_("The picture, {width}×{height} pixels", width=width, height=height))
    return (
        f"<table {_TABLE}><thead><tr><th align='left' {_LEFT} colspan='4'>{said}</th></tr></thead><tbody><tr>"
        f"<td valign='top' rowspan='{len(answer) + 1}' style='vertical-align: top; padding-right: 1.5em'>"
        f"<img alt='{seen}' width='128' "
        f"style='image-rendering: pixelated' src='data:image/png;base64,{source}'></td></tr>{rows}"
        "</tbody></table>"
    )


_TABLE = "style='border-collapse: collapse; margin: 0 0 0.8em 0'"
_LEFT = "style='text-align: left'"
_HEAD = "style='text-align: left; padding-top: 0.8em'"
_NAME = (
    "style='text-align: left; vertical-align: top; padding-right: 1.5em; opacity: 0.7; white-space: nowrap'"
)
_TEXT = "style='text-align: left; vertical-align: top; max-width: 48em; overflow-wrap: anywhere'"
_BARS = "style='text-align: left; color: #bf4f1a; font-family: monospace; white-space: pre'"


def _bar(share: float) -> str:
    """A bar of block characters, to an eighth of a character."""
    full, part = divmod(round(min(max(share, 0), 1) * BAR * 8), 8)
    return "█" * full + ("", "▏", "▎", "▍", "▌", "▋", "▊", "▉")[part]


def _facts(path) -> dict[str, list]:
    """Section → rows of name and text, as the card shows them."""
    said = describe(path)
    classifier = _(", classifier") if "labels" in said else ""
    about = [
        # Xcode names the class after the file, with _ for what Swift does not allow in a name.
        (_("class in Swift"), re.sub(r"^(?=\d)|\W", "_", path.stem)),
        (_("kind"), said["format"] + classifier),
        (_("size"), _("{bytes:,} bytes", bytes=size(path))),
        (
            _("runs on"),
            _("iOS {ios} and later, macOS {macos} and later", ios=said["iOS"], macos=said["macOS"]),
        ),
        (_("weights stored as"), ", ".join(said["stored"]) or _no_weights(said["format"])),
    ]
    if said["parts"]:
        about.insert(2, (_("{count} parts", count=len(said["parts"])), _(", then ").join(said["parts"][:20])))
    if said.get("computed"):
        about.append((_("computed in"), ", ".join(said["computed"])))
    counted = [f"{number} {_clean(name, 40)}" for name, number in list(said["operations"].items())[:30]]
    if counted:
        total = sum(said["operations"].values())
        what = _("operations") if said["format"] == "ML program" else _("layers")
        about.append((what, f"{total}: {', '.join(counted)}"))
    facts = {_("Model"): about}
    for section, features in ((_("Inputs"), said["inputs"]), (_("Outputs"), said["outputs"])):
        facts[section] = [
            (name, kind + (f" · {said['texts'][name]}" if said["texts"][name] else ""))
            for name, kind in features.items()
        ]
    if "scale" in said:
        facts[_("Inputs")].append((_("each pixel"), _pixels(said["scale"], said["bias"])))
    if "labels" in said:
        labels = [_clean(label, 40) for label in said["labels"]]
        shown = ", ".join(labels[:20]) + (", …" if len(labels) > 20 else "")
        facts[_("Outputs")].append((_("{count} labels", count=len(labels)), shown))
    written = [(name, text) for name, text in said["metadata"].items() if not name.startswith(_TOOL)]
    made = {
        name.removeprefix(_TOOL): text for name, text in said["metadata"].items() if name.startswith(_TOOL)
    }
    if "version" in made:
        tool = f"coremltools {made['version']}"
        if "source" in made:
            tool = _("{tool}, from {source}", tool=tool, source=made["source"].split("+")[0])
        written.append((_("converted by"), tool))
    if written:
        facts[_("Metadata")] = written
    return {section: _bounded(rows) for section, rows in facts.items()}


def _no_weights(kind: str) -> str:
    networks = ("ML program", "neural network")
    counted = kind in networks or kind.startswith("pipeline")
    return _("no weights") if counted else _("not counted for a {kind}", kind=kind)


def _bounded(rows: list) -> list:
    """The rows as they may be shown: not too many, not too long, without control characters."""
    shown = [(_clean(name, 60), _clean(text, LONGEST)) for name, text in rows[:ROWS]]
    return shown + ([("…", _("{count:,} more", count=len(rows) - ROWS))] if len(rows) > ROWS else [])


def _clean(text, longest: int) -> str:
    """A text from a stranger's file: no control characters, no line breaks, and not for ever."""
    text = str(text)[: longest + 1]
    text = "".join(
        sign if sign.isprintable() or sign in JOINERS else "\N{REPLACEMENT CHARACTER}" for sign in text
    )
    return text if len(text) <= longest else text[: longest - 1] + "…"


_TOOL = "com.github.apple.coremltools."


def _pixels(scale: float, bias: list) -> str:
    """What happens to a pixel, as a formula."""
    near = round(1 / scale) if scale else 0
    exact = f" (1/{near})" if near > 1 and abs(scale * near - 1) < 1e-3 else ""
    added = ""
    if any(bias):
        numbers = ", ".join(f"{number:.4g}" for number in bias)
        added = _(", plus {numbers}", numbers=numbers)
        if len(bias) == 3:
            added = _(", plus {numbers} for red, green, blue", numbers=numbers)
    if scale == 1 and not added:
        return _("0 to 255, as it is")
    return _("0 to 255, times {scale:.6g}", scale=scale) + exact + added


def _as_image(picture):
    """A PIL image of a PIL image, or of uint8 pixels, 3×H×W or H×W×3."""
    import numpy as np
    from PIL import Image

    if isinstance(picture, Image.Image):
        return picture
    pixels = np.asarray(picture)
    if pixels.dtype == np.uint8 and pixels.ndim == 3 and pixels.shape[0] in (1, 3) and pixels.shape[2] > 3:
        pixels = pixels.transpose(1, 2, 0)
    if (
        pixels.dtype != np.uint8
        or pixels.ndim not in (2, 3)
        or (pixels.ndim == 3 and pixels.shape[2] not in (1, 3))
    ):
        raise ValueError(
            f"picture= is {pixels.dtype} of shape {'×'.join(map(str, pixels.shape))}. Give a PIL image, or uint8 pixels "
            "from 0 to 255, 3×height×width."
        )
    return Image.fromarray(pixels[..., 0] if pixels.ndim == 3 and pixels.shape[2] == 1 else pixels)


def _ask(path, picture):
    """The picture as the model sees it, and the model's probabilities, the largest first."""
    from PIL import Image

    from helpers import coreml_runtime

    model = coreml_runtime.load(path)
    inputs = list(model.inputs.values())
    if model.labels is None or len(inputs) != 1 or not isinstance(inputs[0], coreml_runtime.ImageInput):
        raise ValueError(
            f"{paths.shorten(path)} is no classifier of one picture. Leave picture= out, or convert it with "
            "an image input and class labels."
        )
    seen = picture.convert("L" if inputs[0].colour == "greyscale" else "RGB")
    wanted = (inputs[0].width, inputs[0].height)
    if seen.size != wanted:
        seen = seen.resize(wanted, Image.Resampling.BICUBIC)
    answer = model.predict({inputs[0].name: seen})
    label_name = next(name for name, value in answer.items() if not isinstance(value, dict))
    probs = next(value for name, value in answer.items() if name != label_name)
    check_answers(path, [list(probs.values())])
    ranked = sorted(probs.items(), key=lambda pair: -pair[1])[:10]
    return seen, {_clean(label, 60): p for label, p in ranked}
