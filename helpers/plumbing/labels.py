"""Class labels, however they are given: put in order, or refused; and found by the name of a folder."""

import collections
import collections.abc
import numbers
import re
import unicodedata
from pathlib import Path
from typing import Any

from helpers.plumbing import files, paths

SAME = {
    "airplane": "plane aeroplane",
    "automobile": "car auto motorcar",
    "truck": "lorry",
}
"""Classes of CIFAR-10 and other words that mean the same."""

NEAR = {
    "airplane": "aircraft airliner jet",
    "cat": "kitten kitty",
    "deer": "fawn stag",
    "dog": "doggy puppy",
    "frog": "toad",
    "horse": "pony foal",
    "ship": "boat vessel",
}
"""Words that mean nearly the same. Words that only look alike mean something else: a car is no cat, a bear no deer."""

LARGEST_FILE = 2**20
"""Bytes of a text file of labels. ImageNet's 1,000 have 22,000."""


def in_order(given: Any, *, count: int | None = None, argument: str = "class_labels") -> list[str]:
    """The labels as a list of texts, in the order of the network's outputs.

    Args:
        given: the labels in order (a list, an array, a tensor, a generator …; whole numbers become
            texts); or a dict that numbers them from 0, either way round: ``{0: "cat", 1: "dog"}`` or
            torchvision's ``class_to_idx``, ``{"cat": 0, "dog": 1}``; or the path of a text file with one
            label per line.
        count: how many outputs there are; None if that is not known.
        argument: what the caller's argument is called, for the messages.

    Raises:
        ValueError: they have no order (a set), numbers are missing, a label is no text, is empty, stands
            twice or cannot be shown, or there are not as many as outputs.
        FileNotFoundError: there is no such file.
    """
    named = (
        _lines(Path(given))
        if isinstance(given, str | Path)
        else [(argument, label) for label in _listed(given, argument)]
    )
    labels = [_text(label, where) for where, label in named]
    if not labels:
        raise ValueError(f"{argument} is empty. Give one label per output.")
    # Swift takes two texts for one when they look the same, however their accents are stored.
    seen: dict[str, str] = {}
    for where, label in zip((where for where, _ in named), labels, strict=True):
        text = unicodedata.normalize("NFC", label)
        if text in seen:
            places = "" if where == argument else f", in {seen[text]} and in {where}"
            raise ValueError(
                f"The class label {label!r} stands twice{places}. Core ML keeps one probability per label."
            )
        seen[text] = where
    if count is not None and len(labels) != count:
        raise ValueError(
            f"There are {len(labels)} class labels for an output of {count}. Give one label per output."
        )
    return labels


def find(name: str, labels: collections.abc.Sequence[str]) -> int | None:
    """The place of the label that a name, of a folder for example, stands for; None if there is none, or several.

    Capitals, spaces, ``_`` and ``-`` do not matter, as long as only one label is meant then. For a class of
    CIFAR-10 a word that means the same is enough: "car" is its automobile.
    """
    if name in labels:
        return list(labels).index(name)
    for meant in (
        lambda label: _plain(label) == _plain(name),
        lambda label: _plain(name) in SAME.get(_plain(label), "").split(),
    ):
        places = [place for place, label in enumerate(labels) if meant(label)]
        if places:
            return places[0] if len(places) == 1 else None
    return None


def meant(name: str, labels: collections.abc.Sequence[str]) -> str | None:
    """The label to ask "did you mean" about: by its meaning or its stem, never by letters that look alike."""
    groups = [{word, *SAME.get(word, "").split(), *NEAR.get(word, "").split()} for word in SAME | NEAR]
    words = _stems(name)
    words = words.union(*(group for group in groups if group & words))
    near = [label for label in labels if words & _stems(label)]
    return near[0] if len(near) == 1 else None


def _plain(name: str) -> str:
    return re.sub(r"[ _-]", "", unicodedata.normalize("NFKC", name).casefold())


def _stems(name: str) -> set[str]:
    """A word, and what it is the plural of, if it is one."""
    word = _plain(name)
    one = (
        re.sub(r"ies$", "y", word)
        if word.endswith("ies")
        else re.sub(r"(?<=[sxz])es$|(?<=[cs]h)es$|(?<!s)s$", "", word)
    )
    return {word, one} if len(one) > 2 else {word}


def _listed(given, argument):
    """What is given, as something with an order."""
    if isinstance(given, collections.abc.Mapping) and given:
        return _by_number(dict(given), argument)
    if isinstance(given, set | frozenset):
        raise ValueError(
            f"{argument} is a {type(given).__name__}, which has no order. Give a list in the order of the network's outputs."
        )
    found = given.tolist() if hasattr(given, "tolist") else given
    if not isinstance(found, collections.abc.Iterable) or isinstance(found, str | bytes):
        raise ValueError(
            f"{argument} is {given!r:.60}. Give a list with one label per output, in their order."
        )
    return list(found)


def _lines(path: Path) -> list[tuple[str, str]]:
    """The labels of a text file, each with the line that it is in. Empty lines are passed over."""
    name = paths.shorten(path)
    if not path.exists():
        raise FileNotFoundError(f"There is no label file {name}. Write one label per line.")
    try:
        files.check_file(path, "Write one label per line.", LARGEST_FILE)
        text = path.read_text(encoding="utf-8-sig")
    except (ValueError, OSError) as error:  # what is no UTF-8 is a ValueError
        raise ValueError(
            f"{name} is no text file in UTF-8 of at most 1 MB. Write one label per line."
        ) from error
    kind = files.what_it_is(text[:500].encode()) or ""
    if kind.startswith(("a web page", "a Git LFS")):
        raise ValueError(f"{name} is {kind}")
    if text.lstrip()[:1] in ("[", "{"):
        raise ValueError(f"{name} is JSON. Give what is in it: json.loads(Path({path.name!r}).read_text()).")
    lines = enumerate(
        text.split("\n"), 1
    )  # read_text has turned the ends of lines of other systems into this one
    return [(f"line {number} of {name}", line.strip()) for number, line in lines if line.strip()]


def _by_number(given: dict, argument: str) -> list:
    """The labels of ``{0: "cat", …}``, ``{"0": "cat", …}`` (from JSON) or ``{"cat": 0, …}`` by their numbers."""
    readings = [given]
    if all(isinstance(value, collections.abc.Hashable) for value in given.values()):
        readings.append({value: key for key, value in given.items()})
    found = []
    for reading in readings:
        numbered = {_number(key): label for key, label in reading.items()}
        texts = all(isinstance(label, str) for label in numbered.values())
        if texts and None not in numbered and len(numbered) == len(given) and numbered not in found:
            found.append(numbered)
    if len(found) != 1:
        raise ValueError(
            f"{argument} is a dict that does not say which label is which output. Give a list, or "
            "{0: 'cat', 1: 'dog'} or {'cat': 0, 'dog': 1}, each number once."
        )
    missing = sorted(set(range(len(given))) - set(found[0]))
    if missing:
        raise ValueError(
            f"{argument} has {len(given)} labels and none for the output {missing[0]}. Number them from 0 on, in the "
            "order of the network's outputs."
        )
    return [found[0][number] for number in range(len(given))]


def _number(key) -> int | None:
    """An output's number, None if it is none."""
    if isinstance(key, str) and key.isascii() and key.isdigit():
        return int(key)
    return int(key) if isinstance(key, numbers.Integral) and not isinstance(key, bool) else None


def _text(label, argument: str) -> str:
    """One label as a plain text."""
    if isinstance(label, numbers.Integral) and not isinstance(label, bool):
        return str(int(label))
    if not isinstance(label, str):
        raise ValueError(
            f"{argument} has {label!r:.60}, which is {type(label).__name__} and no text. Write its name, e.g. 'cat'."
        )
    unfit = [sign for sign in label if unicodedata.category(sign) in ("Cc", "Cs", "Zl", "Zp")]
    if unfit or label != label.strip() or not label:
        raise ValueError(
            f"{argument} has {label!r:.60}, which no screen can show as it is: it is empty, begins or ends with a space, "
            "or has a line break or another control character in it. Write plain words."
        )
    return str(label)
