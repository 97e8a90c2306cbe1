"""How much of a file is read for a drawing, and how much of its text is shown.

A file of a hundred bytes may ask for gigabytes and for years: it says so with a large number, by
unpacking to more than it is, or by naming one part of itself again and again. So no reader of this
package trusts a number in a file. It keeps a sum of the bytes it holds and a count of what it visits.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from helpers.plumbing.files import Refusal
from helpers.plumbing.paths import printable

LARGEST_FILE = 600 * 2**20
"""Bytes of an ONNX file or a specification of Core ML, which are read whole."""

LARGEST_GRAPH = 24 * 2**20
"""Bytes of what is left without the weights. A page with more would not open in a notebook."""

MOST_VISITS = 1_000_000
"""Parts of a file (fields, records, steps of a pickle) that are looked at. ResNet-152 has 25,000."""

MOST_LAYERS = 20_000
"""Layers of a graph. Netron itself takes minutes for so many."""

MOST_DEPTH = 100
"""Messages in each other, as protobuf itself has it; dicts and modules in each other."""

MOST_DIMENSIONS = 8
"""Dimensions of a shape that are shown. A longer one ends in ``…``."""

KEEP_VALUES = 8
"""Tensors of at most this many values stay in: shapes to reshape to, scalars, a mean per colour channel."""

LONGEST_NAME = 200
"""Characters of a name that are shown."""


class TooLargeError(Refusal):
    """There is more in the file than can be drawn; ``serve()`` can show it."""


class Allowance:
    """What may still be kept and visited of one file.

    Raises:
        TooLargeError: from both methods, as soon as there is nothing left.
    """

    def __init__(self):
        self._bytes = LARGEST_GRAPH
        self._visits = MOST_VISITS

    def keep(self, size: int) -> None:
        self._bytes -= size
        if self._bytes < 0:
            raise TooLargeError(
                f"still holds more than {readable(LARGEST_GRAPH)} without its weights, too much for a page in a "
                "notebook"
            )

    def visit(self, count: int = 1) -> None:
        self._visits -= count
        if self._visits < 0:
            raise TooLargeError(f"has more than {MOST_VISITS:,} parts, too many for a page in a notebook")


def readable(size: int) -> str:
    """A size in bytes as a reader wants it: ``"11.5 MB"`` or ``"3 kB"``."""
    return f"{size / 1e6:.1f} MB" if size >= 1e6 else f"{size / 1e3:.0f} kB"


def read_whole(path: Path, advice: str) -> bytes:
    """The bytes of a file.

    Raises:
        TooLargeError: it is too large to be read; ``advice`` is a sentence that says what to do.
    """
    size = path.stat().st_size
    if size > LARGEST_FILE:
        raise TooLargeError(
            f"has {readable(size)}, more than the {readable(LARGEST_FILE)} that are read into memory to take the weights "
            f"out. {advice}"
        )
    return path.read_bytes()


def plain(text: Any) -> str:
    """A name from a file as one line of printable text, cut where it is too long to be read."""
    return printable(text, LONGEST_NAME)


def shape(sizes: Sequence) -> str:
    """A shape as text, e.g. ``"1×64×16×16"``. A size may be a number or a name."""
    sizes = sizes[: MOST_DIMENSIONS + 1]
    shown = [printable(size, 24) for size in sizes[:MOST_DIMENSIONS]]
    return "×".join([*shown, "…"] if len(sizes) > MOST_DIMENSIONS else shown)
