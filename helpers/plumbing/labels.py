"""Class labels, however they are given: put in order, or refused."""

import collections
import collections.abc
import numbers
import unicodedata
from pathlib import Path
from typing import Any

from helpers.plumbing import paths


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
    labels = [_text(label, argument) for label in _listed(given, argument)]
    if not labels:
        raise ValueError(f"{argument} is empty. Give one label per output.")
    if count is not None and len(labels) != count:
        raise ValueError(
            f"There are {len(labels)} class labels for an output of {count}. Give one label per output."
        )
    # Swift takes two texts for one when they look the same, however their accents are stored.
    counted = collections.Counter(unicodedata.normalize("NFC", label) for label in labels)
    twice = [label for label, number in counted.items() if number > 1]
    if twice:
        raise ValueError(
            f"The class label {twice[0]!r} stands twice. Core ML keeps one probability per label."
        )
    return labels


def _listed(given, argument):
    """What is given, as something with an order."""
    if isinstance(given, str | Path):
        return _lines(Path(given))
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


def _lines(path: Path) -> list[str]:
    if not path.exists():
        raise FileNotFoundError(f"There is no label file {paths.shorten(path)}. Write one label per line.")
    try:
        if not path.is_file():
            raise IsADirectoryError
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (UnicodeDecodeError, OSError) as error:
        raise ValueError(
            f"{paths.shorten(path)} is no text file in UTF-8. Write one label per line."
        ) from error
    return [line.strip() for line in lines if line.strip()]


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
