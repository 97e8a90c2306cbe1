"""Markdown cut into messages for a translator, put together again, and what a translation must keep.

A message is a paragraph, a heading, an item of a list, a cell of a table or the summary of a ``<details>``: so much
that a changed sentence concerns one message, and a translator reads it in one piece. What stands around it (``##``,
``- ``, ``|``, code in fences) is carried over. So are the numbers of what a program writes, in marked places and in
the lines about time: ``{1}`` stands for the first one, ``{2}`` for the second.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator
from typing import NamedTuple

TIMES = ("| **Reading** |", "| **It takes** |")
"""How the lines in the head of a notebook begin that ``helpers.workshop.readme`` writes."""

NUMBER = r"(?<![\w.,-])[-+]?\d+(?:[.,]\d+)*(?:e[-+]?\d+)?(?![\w-]|[.,]\d)"
KEPT = re.compile(r"`[^`\n]+`|\]\([^)\s]*\)|<[^<>\s][^<>]*>")
"""Code, where a link or a picture leads, and HTML."""
MEASURED = re.compile(rf"{KEPT.pattern}|(?P<number>{NUMBER})(?P<unit> (?:seconds|minutes)\b)?")
PLACE = re.compile(r"\{\w*(?:[:!][^{}]*)?\}")
OWN_NAME = re.compile(r"\[`?(\w+)`?\]\([\w/]*\1\.\w+\)")
"""A link whose words are the name of its file."""
LINE = re.compile(
    r"(?P<start>#{1,6} |\s*(?:[-*+]|\d+\.) (?:☐ )?|(?:</?details>)*<summary>|> )(?P<text>.*?)(?P<end>(?:</summary>)?)"
)
MARK = re.compile(r"<!-- (?P<end>end )?\w+ -->")
CELL = re.compile(r"((?:`[^`]*`|\\.|[^|`\\])*)\|")


class Piece(NamedTuple):
    """A message, or what stands between two of them.

    Attributes:
        text: a message as a translator gets it, else what is carried over.
        message: whether it is one.
        values: what the places ``{1}``, ``{2}`` … stand for.
        row: of a table's cell the whole row, for a translator to see.
        heading: under which it stands; "" above the first one.
    """

    text: str
    message: bool = False
    values: tuple[str, ...] = ()
    row: str = ""
    heading: str = ""


def pieces(markdown: str) -> Iterator[Piece]:
    """Cut a text. Put together again, ``filled`` gives the same text."""
    fenced, written, heading = False, False, ""
    paragraph: list[str] = []
    for line in [*markdown.split("\n"), None]:
        fence = line is not None and line.lstrip().startswith("```")
        mark = None if line is None else MARK.fullmatch(line)
        plain = not (line is None or fenced or fence or mark or not line.strip())
        found = LINE.fullmatch(line) if line is not None and plain else None
        if plain and not found and line is not None and not line.startswith(("|", "<")):
            paragraph.append(line)
            continue
        if paragraph:
            yield from _message("\n".join(paragraph), written, heading)
            yield Piece("\n")
            paragraph = []
        if line is None:
            return
        if mark:
            written = not mark["end"]
        if found:
            if line.startswith("#"):
                heading = found["text"]
            yield Piece(found["start"])
            yield from _message(found["text"], written, heading)
            yield Piece(found["end"] + "\n")
        elif plain and line.startswith("|"):
            yield from _row(line, written or line.startswith(TIMES), heading)
        else:
            fenced ^= fence
            yield Piece(line + "\n")


def _row(line: str, numbers: bool, heading: str) -> Iterator[Piece]:
    """The cells of a row of a table."""
    row = with_places(line)[0] if numbers else line
    yield Piece("|")
    for found in CELL.finditer(line, 1):
        cell = found[1].strip()
        before = found[1][: len(found[1]) - len(found[1].lstrip())] if cell else found[1]
        yield Piece(before)
        yield from _message(cell, numbers, heading, row)
        yield Piece((found[1][len(before) + len(cell) :] if cell else "") + "|")
    yield Piece("\n")


def _message(text: str, numbers: bool, heading: str, row: str = "") -> Iterator[Piece]:
    """A message, if there are words in it; ``numbers`` says whether they are carried over. A time alone is none."""
    template, values = with_places(text) if numbers else (text, ())
    words = PLACE.sub("", KEPT.sub("", OWN_NAME.sub("", template)))
    if re.search(r"[^\W\d_]", words):
        yield Piece(template, True, values, row, heading)
    else:
        yield Piece(template, values=values)


def with_places(text: str) -> tuple[str, tuple[str, ...]]:
    """``text`` with ``{1}``, ``{2}`` … in place of its numbers and times, and these; code and links stay."""
    values: list[str] = []

    def place(found: re.Match) -> str:
        if not found["number"]:
            return found[0]
        values.append(found[0])
        return f"{{{len(values)}}}"

    return MEASURED.sub(place, text), tuple(values)


def filled(cut: list[Piece], translate: Callable[[Piece], str], unit: Callable[[str], str] = str) -> str:
    """Put a text together.

    Args:
        translate: gives the words for a message.
        unit: gives those for a time, e.g. "3 minutes".
    """
    made = []
    for one in cut:
        text = translate(one) if one.message else one.text
        for number, value in enumerate(one.values, 1):
            text = text.replace(f"{{{number}}}", unit(value) if value.endswith("s") else value)
        made.append(text)
    return "".join(made).removesuffix("\n")


# -- what a translation keeps ------------------------------------------------------------------------


SCALES = {"thousand": 1e3, "million": 1e6, "billion": 1e9, "万": 1e4, "亿": 1e8}
AMOUNT = re.compile(rf"(?<![\w.])(\d+(?:[.,]\d+)*)(?:[ -]?({'|'.join(SCALES)}))?", re.ASCII)


def _kept(text: str) -> Counter:
    """What has to be in a translation as often as in the source."""
    kept = Counter(found[0].removeprefix("]") for found in KEPT.finditer(text))
    kept += Counter(PLACE.findall(KEPT.sub("", text)))
    kept["**"] = text.count("**")
    return kept


def amounts(text: str) -> Counter:
    """The numbers in a text as numbers: 61 million and 6100 万 are the same."""
    plain = PLACE.sub(" ", KEPT.sub(" ", text))
    return Counter(
        round(float(number.replace(",", "")) * SCALES.get(scale, 1), 6)
        for number, scale in AMOUNT.findall(plain)
        if number.count(".") < 2
    )


BOLD = re.compile(r"(?<!\*)\*\*([^*]+)\*\*(?!\*)")


def not_bold(text: str) -> list[str]:
    """What stands between ``**`` and is shown with its stars: CommonMark wants no sign inside where a letter is outside.

    Chinese has no spaces around words, so that ``**卷积（conv）**是`` is easily written.
    """
    plain = re.sub(r"`[^`\n]+`", lambda found: f"`{'x' * (len(found[0]) - 2)}`", text)
    found = []
    for bold in BOLD.finditer(plain):
        inside, before, after = bold[1], plain[: bold.start()][-1:], plain[bold.end() :][:1]
        if (before.isalnum() and not inside[0].isalnum()) or (after.isalnum() and not inside[-1].isalnum()):
            found.append(text[bold.start() : bold.end()])
    return found


def lost(source: str, translation: str) -> list[str]:
    """What a translation has lost, or has too much, in words; nothing where it keeps all it must."""
    before, after = _kept(source), _kept(translation)
    said = [f"lacks {what}" for what in before - after] + [f"has too much: {what}" for what in after - before]
    said += [f"lacks the number {number:g}" for number in amounts(source) - amounts(translation)]
    blank = (
        source[:1].isspace() != translation[:1].isspace()
        or source[-1:].isspace() != translation[-1:].isspace()
    )
    said += [
        f"{bold} is not bold beside a letter: put a space there, or the sign outside"
        for bold in not_bold(translation)
    ]
    return said + ["begins or ends with another space than the English"] * blank
