"""Show what is in a Core ML model, as Xcode would: its size, inputs, outputs, labels, weights and metadata."""

import argparse
import html
import io
import sys
from pathlib import Path

from helpers import coreml
from helpers.plumbing.paths import printable, replacing


def main(arguments: list[str] | None = None) -> int:
    """Run the command. Returns the exit code: 0, or 1 with the reason on stderr; a wrong call ends with 2."""
    parser = argparse.ArgumentParser(prog="python -m helpers.coreml", description=__doc__)
    parser.add_argument("model", metavar="MODEL", help="an .mlmodel or .mlpackage")
    parser.add_argument(
        "--html", metavar="FILE.html", help="write the card to a web page, and not to the screen"
    )
    chosen = parser.parse_args(arguments)
    if chosen.html and Path(chosen.html).suffix.lower() not in (".html", ".htm"):
        parser.error(f"--html {chosen.html}: the name of the page has to end in .html")
    if isinstance(sys.stdout, io.TextIOWrapper):  # a terminal without × gets a ?
        sys.stdout.reconfigure(errors="replace")
    try:
        card = coreml.model_card(chosen.model)
        print(_write(card, Path(chosen.html)) if chosen.html else card)
    except (OSError, ValueError, RuntimeError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _write(card: coreml.ModelCard, out: Path) -> Path:
    """Write a card to a page that needs nothing else; an older page is replaced in one step."""
    page = (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{html.escape(printable(card.path.name))}'
        "</title>\n<style>\n:root { color-scheme: light dark }\nbody { margin: 1em; font-family: sans-serif }\n</style>\n"
        f"</head>\n<body>\n{card._repr_html_()}\n</body>\n</html>\n"
    )
    with replacing(out, len(page)) as temporary:
        temporary.write_text(page, encoding="utf-8")
    return out


if __name__ == "__main__":
    sys.exit(main())
