"""The one reader of ``helpers/measured/``: the numbers that ship with the project. Only scripts of the workshop write there."""

import json

from helpers.plumbing import paths


def read(name: str) -> dict:
    """The table ``helpers/measured/NAME.json``; empty while nobody has measured it."""
    path = paths.MEASURED / f"{name}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
