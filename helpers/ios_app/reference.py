"""The pictures that travel with the app, and what the model says about them here.

They are drawn by ``helpers.drawings``. The project's tests give the same pictures
to the real Core ML and compare every probability, so the proof without a Mac and
the proof on a Mac are one table.
"""

import io
import json

import numpy as np
from PIL import Image, PngImagePlugin

from helpers.coreml.agreement import check_probabilities
from helpers.coreml.files import last_operator
from helpers.data import CLASSES
from helpers.drawings import draw

TOLERANCE = 0.01
"""How far Core ML may be from the probabilities computed here: it may compute in 16 bits on its own account."""

TURNED = {3: "ROTATE_180", 6: "ROTATE_90", 8: "ROTATE_270"}
"""EXIF orientation → how an upright picture is stored when it is to be turned back by that orientation."""

SEED, ICON_PIXELS = 5, 1024


def reference_files(model, threshold: float) -> dict[str, bytes]:
    """Ten drawings, one of each class; three of them once more, stored on their side or upside down.

    Args:
        model: of ``helpers.coreml_runtime``, with a colour image input and labels.
        threshold: goes into the table, so that the tests see whether the app reads the same one.

    Returns:
        Name → content: thirteen PNG files and ``reference.json``.

    Raises:
        ValueError: the model's answers are no probabilities.
    """
    (picture_input,) = model.inputs.values()
    rng = np.random.default_rng(SEED)
    side = max(picture_input.width, picture_input.height)
    box = (0, 0, picture_input.width, picture_input.height)
    upright = {name: draw(label, rng, side).crop(box) for label, name in enumerate(CLASSES)}
    batch = np.stack([np.asarray(picture).transpose(2, 0, 1) for picture in upright.values()])
    rows = model.probs(batch)
    operator, each = last_operator(model.path)
    check_probabilities(rows, operator, each=each)
    answers = [
        {label: round(value, 6) for label, value in zip(model.labels, row, strict=True)}
        for row in rows.tolist()
    ]

    files, examples = {}, []
    for name, answer in zip(upright, answers, strict=True):
        files[f"{name}.png"] = _png(upright[name])
        examples.append({"picture": name, "orientation": 1, "probabilities": answer})
    if picture_input.width == picture_input.height:
        for (orientation, turn), name, answer in zip(TURNED.items(), upright, answers, strict=False):
            turned = f"{name}-turned-{orientation}"
            files[f"{turned}.png"] = _png(upright[name].transpose(Image.Transpose[turn]))
            examples.append({"picture": turned, "orientation": orientation, "probabilities": answer})
    table = {"tolerance": TOLERANCE, "threshold": threshold, "examples": examples}
    files["reference.json"] = (json.dumps(table, ensure_ascii=False, indent=1) + "\n").encode()
    return files


def icon() -> bytes:
    """The app's icon: a drawn cat as a 32×32 network sees it. 1024×1024 pixels, no transparency."""
    small = draw(CLASSES.index("cat"), np.random.default_rng(SEED), 32)
    return _png(small.resize((ICON_PIXELS, ICON_PIXELS), Image.Resampling.NEAREST))


def _png(picture) -> bytes:
    """A PNG file that says that its colours are sRGB, so that no system has to guess and convert."""
    chunks = PngImagePlugin.PngInfo()
    chunks.add(b"sRGB", b"\x00")
    file = io.BytesIO()
    picture.convert("RGB").save(file, "PNG", optimize=True, pnginfo=chunks)
    return file.getvalue()
