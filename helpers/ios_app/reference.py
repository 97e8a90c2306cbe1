"""The pictures that travel with the app, and what the model says about them here.

They are drawn by ``helpers.drawings``. The project's tests give the same pictures
to the real Core ML and compare every probability, so the proof without a Mac and
the proof on a Mac are one table.
"""

import io
import json

import numpy as np
from PIL import Image, PngImagePlugin

from helpers.coreml.probabilities import check_answers
from helpers.data import CLASSES
from helpers.drawings import draw

TOLERANCE = 0.01
"""How far Core ML may be from the probabilities computed here: it may compute in 16 bits on its own account."""

TURNED = {3: "ROTATE_180", 6: "ROTATE_90", 8: "ROTATE_270"}
"""EXIF orientation → how an upright picture is stored when it is to be turned back by that orientation."""

SEED, ICON_PIXELS = 5, 1024


def reference_files(models: dict) -> dict[str, bytes]:
    """Ten drawings; three of them once more, stored on their side or upside down; one half as high.

    They are pictures to compare numbers on, whatever the classes of the model are.

    Args:
        models: name → a model of ``helpers.coreml_runtime`` with an image input and labels, and its
            threshold. It goes into the table, so that the tests see whether the app reads the same one.

    Returns:
        Name → content: fourteen PNG files for each size and colour that a model takes (eleven, if it is not
        square), grey ones for a model that takes grey; and ``reference.json``.

    Raises:
        ValueError: a model's answers are no probabilities.
    """
    files: dict[str, bytes] = {}
    listed, first = [], None
    for name, (model, threshold) in models.items():
        (picture_input,) = model.inputs.values()
        size = picture_input.width, picture_input.height
        kind = size, "L" if picture_input.shape[1] == 1 else "RGB"
        first = first or kind
        suffix = "" if kind == first else "-{}x{}{}".format(*size, "-grey" * (kind[1] == "L"))
        pictures = _pictures(*kind, suffix)
        files |= {f"{example['picture']}.png": _png(stored) for example, stored, _ in pictures}
        seen = np.stack([np.asarray(seen) for _, _, seen in pictures])
        answers = model.probs(seen[:, None] if seen.ndim == 3 else seen.transpose(0, 3, 1, 2))
        check_answers(model.path, answers)
        examples = [
            example
            | {"probabilities": {label: round(p, 6) for label, p in zip(model.labels, row, strict=True)}}
            for (example, _, _), row in zip(pictures, answers.tolist(), strict=True)
        ]
        listed.append({"name": name, "threshold": threshold, "examples": examples})
    table = {"tolerance": TOLERANCE, "models": listed}
    files["reference.json"] = (json.dumps(table, ensure_ascii=False, indent=1) + "\n").encode()
    return files


def _pictures(size: tuple[int, int], mode: str, suffix: str) -> list[tuple[dict, Image.Image, Image.Image]]:
    """What the table says of each picture, the picture as it is stored, and as the network is to see it."""
    rng = np.random.default_rng(SEED)
    box = (0, 0, *size)
    drawn = (draw(label, rng, max(size)).crop(box).convert(mode) for label in range(len(CLASSES)))
    upright = list(zip(CLASSES, drawn, strict=True))
    pictures = [({"picture": name + suffix, "orientation": 1}, seen, seen) for name, seen in upright]
    if size[0] == size[1]:
        for (orientation, turn), (name, seen) in zip(TURNED.items(), upright, strict=False):
            example = {"picture": f"{name}{suffix}-turned-{orientation}", "orientation": orientation}
            pictures.append((example, seen.transpose(Image.Transpose[turn]), seen))
    name, picture = upright[CLASSES.index("cat")]
    free = size[1] // 4
    wide = picture.crop((0, free, size[0], size[1] - free))
    seen = Image.new(mode, size)  # black, which is what a letterbox is taken to leave
    seen.paste(wide, (0, free))
    example = {"picture": f"{name}{suffix}-wide", "orientation": 1, "crop": "letterbox"}
    return [*pictures, (example, wide, seen)]


def icons() -> dict[str, bytes]:
    """The app's icon until it gets one of its own: a drawn cat of 32×32 pixels. 1024×1024 pixels, no transparency.

    Returns:
        ``icon.png``, ``icon-dark.png`` (half as bright) and ``icon-tinted.png`` (grey; the system colours it).
    """
    small = draw(CLASSES.index("cat"), np.random.default_rng(SEED), 32)
    icon = small.resize((ICON_PIXELS, ICON_PIXELS), Image.Resampling.NEAREST)
    dark = icon.point(lambda value: value // 2)
    return {
        "icon.png": _png(icon),
        "icon-dark.png": _png(dark),
        "icon-tinted.png": _png(icon.convert("L").convert("RGB")),
    }


def _png(picture) -> bytes:
    """A PNG file that says that its colours are sRGB, so that no system has to guess and convert."""
    chunks = PngImagePlugin.PngInfo()
    chunks.add(b"sRGB", b"\x00")
    file = io.BytesIO()
    picture.save(file, "PNG", optimize=True, pnginfo=chunks)
    return file.getvalue()
