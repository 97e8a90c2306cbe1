"""Is every word spelt right? British English by typos, simplified Chinese by its characters, punctuation and terms.

``python -m helpers.workshop.spelling`` prints what is not, with its place. A word that is right all the same goes
into ``typos.toml``; the one Chinese word for each term stands in ``notebooks/zh/messages/terms.csv``.
"""

import csv
import json
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from pathlib import Path

from babel.messages.pofile import read_po

from helpers.plumbing import paths
from helpers.workshop import texts

TERMS = paths.ROOT / "notebooks/zh/messages/terms.csv"
CATALOGUES = "notebooks/zh/messages/*.po"
NO_WORDS = re.compile(
    r"```.*?```|`+[^`]*`+|https?://\S+|\]\([^)]*\)|<[^>]+>|\w*[a-z][A-Z]\w*|\w*_\w*|color[-:]",
    re.DOTALL | re.ASCII,
)
"""What stands in a text and is none of its words: code, addresses, tags, names of Python and Swift, colours of HTML."""
TRADITIONAL = "後於徵夥麽菸拚"
"""What GB 2312 has although it is not simplified."""
HALF_WIDTH = re.compile(
    r'[\u4e00-\u9fff][*"]*[,;:!?()]|[(),;:!?][*"]*[\u4e00-\u9fff]|[\u4e00-\u9fff][*"]*\.(?=\s|$|[\u4e00-\u9fff])'
)
"""Punctuation of the Latin alphabet beside a Chinese character."""


def program() -> str:
    """Where typos is: beside this Python, or on the path.

    Raises:
        FileNotFoundError: nowhere.
    """
    found = shutil.which("typos", path=sysconfig.get_path("scripts")) or shutil.which("typos")
    if not found:
        raise FileNotFoundError("typos is not installed: make lint installs the tools of the workshop.")
    return found


def misspelt(pieces: Iterable[tuple[str, str]]) -> list[str]:
    """English words that are not spelt as in Britain: "place: word (what may be meant)"."""
    places, lines = [], []
    for where, text in pieces:
        places.append(where)
        lines.append(" ".join(NO_WORDS.sub(" ", text).split()))
    command = [program(), "--config", str(paths.ROOT / "typos.toml"), "--format", "json", "-"]
    done = subprocess.run(command, input="\n".join(lines), capture_output=True, text=True, encoding="utf-8")
    if done.returncode not in (0, 2):
        raise RuntimeError(f"typos could not read typos.toml or the texts: {done.stderr.strip()}")
    found = map(json.loads, done.stdout.splitlines())
    return [
        f"{places[one['line_num'] - 1]}: {one['typo']} ({', '.join(one['corrections'])})"
        for one in found
        if one["type"] == "typo"
    ]


def terms(path: Path = TERMS) -> list[dict[str, str]]:
    """The table of terms: english, chinese, not (the words that must not stand for it, with spaces between), why."""
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def chinese() -> Iterator[tuple[str, str]]:
    """Every Chinese text that there is: place and text, of the pages and of the catalogues."""
    yield from ((where, text) for _, where, text in texts.markdown(*texts.TRANSLATED))
    for path in texts.files(CATALOGUES):
        with open(path, "rb") as file:
            for message in read_po(file, locale="zh_CN"):
                if message.id and message.string:
                    yield f"{texts.place(path)}, {message.context or message.lineno}", str(message.string)


def unusual(pieces: Iterable[tuple[str, str]], table: list[dict[str, str]]) -> list[str]:
    """Chinese that a reader in China would stumble over: "place: what (why)".

    Traditional characters are those that GB 2312, the character set of simplified Chinese, does not have, and the
    few that it has for names. A word
    that must not stand for a term is no fault inside another term, nor in brackets behind one.
    """
    wrong = {word: row for row in table for word in row["not"].split()}
    words = sorted({*wrong, *(row["chinese"] for row in table)}, key=len, reverse=True)
    term = re.compile(f"({'|'.join(map(re.escape, words))})(（[^）]*）)?")
    found = []
    for where, text in pieces:
        text = NO_WORDS.sub(" ", text)
        for sign in sorted(set(re.findall(r"[\u4e00-\u9fff]", text))):
            if sign in TRADITIONAL or not sign.encode("gb2312", "ignore"):
                found.append(f"{where}: {sign} (not a simplified character)")
        found += [f"{where}: {one[0]} (half-width punctuation)" for one in HALF_WIDTH.finditer(text)]
        for word, _ in term.findall(text):
            if row := wrong.get(word):
                found.append(f"{where}: {word} ({row['english']} is {row['chinese']})")
    return found


def main() -> int:
    """Print every fault; return the exit code."""
    faults = misspelt(texts.english()) + unusual(chinese(), terms())
    print("\n".join(faults) or "No word is misspelt.")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
