"""Exercises that answer: ``check()``, ``hint()`` and ``solution()``.

Three stand at the end of each notebook; notebook 00 uses these functions first. The answers are checked by what
they should be here, on this data and with this network, and not by a number that was true elsewhere. The checks of
each notebook are in ``notebook_00.py`` and so on; the solutions, with their outputs, in ``notebooks/solutions/``.

>>> check("02.1", ..., state={}, other=None)
02.1  …  not attempted yet. Put your answer in place of the dots and run the cell again; hint("02.1")
helps.
"""

import importlib
import inspect
import json
import numbers
import os
import re
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from helpers.plumbing import paths
from helpers.plumbing.language import ENGLISH, language, marked, translated

SOLUTIONS = paths.ROOT / "notebooks/solutions"
MARKED = re.compile(r"(?P<start>(?: *# start:.*\n)+)(?P<solution>(?:.*\n)*?) *# end(?:\n|$)")
"""A part of a solution that the exercise does not have; the comments say what it has there."""


class Wrong(Exception):
    """An answer is wrong. The message says what it is instead, and why; ``values`` stand in the places of its text."""

    def __init__(self, text: str, /, **values: Any):
        super().__init__(translated(text, **values))


class NotAttempted(Exception):
    """An answer is still ``...``."""


class Exercise(NamedTuple):
    """What is known about an exercise.

    Attributes:
        check: takes the learner's answers by position and the notebook's values by name; raises ``Wrong``.
            The annotations of the answers say what they have to be.
        right: what a right answer shows.
        hint: how to begin.
    """

    check: Callable[..., None]
    right: str
    hint: str


def check(number: str, *answers: Any, **values: Any) -> None:
    """Print whether the answers to an exercise are right, and if they are not, what is wrong and why.

    Args:
        number: the exercise's, e.g. ``"02.1"``.
        answers: what the exercise asks for. As long as they are ``...``, it has not been attempted.
        values: what the notebook has made, and the check needs: as the last line of the exercise gives it.

    Raises:
        ValueError: there is no exercise of that number.
        TypeError: the last line of the exercise was changed, and something is missing or too much.
    """
    exercise = find(number)
    signature = inspect.signature(exercise.check, eval_str=True)
    try:
        given = signature.bind(*answers, **values).arguments
    except TypeError as error:
        raise TypeError(
            f"The exercise ends with check({number!r}, …) and what stands there: {error}. "
            "Take its last line as it was; solution() shows it."
        ) from None
    try:
        asked = [one for one in signature.parameters.values() if one.kind is one.POSITIONAL_ONLY]
        for one in asked:
            given[one.name] = _as(one.annotation, given[one.name], one.name)
        exercise.check(*(given[one.name] for one in asked), **values)
    except NotAttempted:
        tail = translated(
            'not attempted yet. Put your answer in place of the dots and run the cell again; hint("{number}") helps.',
            number=number,
        )
        _say(f"{number}  …  {tail}")
    except Wrong as wrong:
        _say(f"{number}  ✗  " + translated("not yet. {why}", why=wrong))
    except Exception as error:  # whatever an answer of another kind makes of the check's own code
        why = translated("The check stopped at your answer: {error}", error=said(error))
        _say(f"{number}  ✗  " + translated("not yet. {why}", why=why))
    else:
        right = translated(exercise.right)
        _say(f"{number}  ✓  " + translated("right. {why}", why=right))


def hint(number: str) -> None:
    """Print how to begin with an exercise.

    Raises:
        ValueError: there is no exercise of that number.
    """
    _say(f"{number}  {translated(find(number).hint)}")


def solution(number: str) -> None:
    """Print one way to solve an exercise, and why it is right. Try it yourself first.

    Raises:
        ValueError: there is no exercise of that number.
        FileNotFoundError: the folder ``notebooks/solutions`` is not there.
    """
    find(number)
    _, code, why = solved(number)
    print(MARKED.sub(lambda found: found["solution"], code) + "\n")
    _say(why)


def find(number: str) -> Exercise:
    """The exercise of a number such as ``"02.1"``.

    Raises:
        ValueError: there is none.
    """
    known = {}
    if isinstance(number, str) and re.fullmatch(r"0\d\.\d", number):
        try:
            known = importlib.import_module(f"{__name__}.notebook_{number[:2]}").EXERCISES
        except ModuleNotFoundError:
            known = {}
    if number not in known:
        names = (
            f"This notebook has {', '.join(known)}" if known else 'They are called "02.1", "02.2" and so on'
        )
        raise ValueError(f"There is no exercise {number!r}. {names}.")
    return known[number]


def solved(number: str) -> tuple[str, str, str]:
    """The text of an exercise, the code of its solution with its marks, and why it is right.

    Raises:
        FileNotFoundError: the solutions are not there.
    """
    folder = SOLUTIONS if language() == ENGLISH else SOLUTIONS.parent / language() / SOLUTIONS.name
    for path in sorted(folder.glob(f"{number[:2]}_*.ipynb")):
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        parts = ["".join(one["source"]) for one in cells if one["metadata"].get("exercise") == number]
        return parts[0], parts[1], parts[2]
    raise FileNotFoundError(
        f"The solution of {number} is in notebooks/solutions of the project, and that folder is not here. "
        "Get the whole project, or `make reset`."
    )


def number_is(value: float, right: float, known: list[tuple[float, str]], otherwise: str, within=0.0) -> None:
    """Compare an answer with the right number, and with those that come from a typical mistake.

    Args:
        value: the answer.
        known: (number, what it says about its author's thought), the likeliest first.
        otherwise: what to say of any other number.
        within: the difference that is allowed.

    Raises:
        Wrong: it is not the right number.
    """
    if abs(value - right) <= within:
        return
    for other, message in known:
        if abs(value - other) <= within:
            raise Wrong(message)
    raise Wrong(otherwise)


def call(function: Callable, *arguments: Any) -> Any:
    """What a learner's function returns.

    Raises:
        NotAttempted: it returns ``...``, as it was.
        Wrong: it fails, or returns nothing.
    """
    try:
        result = function(*arguments)
    except Exception as error:
        raise Wrong("Your function stops with {error}.", error=said(error)) from None
    if result is ...:
        raise NotAttempted
    if result is None:
        raise Wrong("Your function gives nothing back. Is the line with `return` missing?")
    return result


def said(error: BaseException) -> str:
    """An error in one line."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


WORDS = {
    float: marked("a number"),
    str: marked("a text"),
    bool: marked("True or False"),
    Path: marked("the path of a file or a folder"),
    Callable: marked("a function"),
    dict: marked("a dictionary"),
}
"""How a learner calls these kinds."""


def _as(kind: Any, value: Any, name: str) -> Any:
    """An answer as the kind that is asked for.

    Raises:
        NotAttempted: it is ``...``.
        Wrong: it is of another kind.
    """
    if value is ...:
        raise NotAttempted
    if callable(getattr(value, "item", None)) and getattr(value, "shape", None) == ():
        value = value.item()  # one number in a tensor or an array
    if kind is float and isinstance(value, numbers.Real) and not isinstance(value, bool):
        return float(value)
    if kind is Path and isinstance(value, str | os.PathLike):
        return Path(value)
    if isinstance(value, kind) and kind not in (float, Path):
        return value
    raise Wrong(
        "`{name}` is {value} ({type}); it has to be {wanted}.",
        name=name,
        value=textwrap.shorten(repr(value), 60),
        type=type(value).__name__,
        wanted=translated(WORDS.get(kind, ""))
        or translated("of the kind {kind}", kind=getattr(kind, "__name__", kind)),
    )


def _say(text: str) -> None:
    """Print a text in lines of 100; in other languages, whose lines may break elsewhere, the notebook breaks them."""
    for paragraph in text.split("\n"):
        width = 100 if language() == ENGLISH else len(paragraph) + 1
        print(textwrap.fill(paragraph, width, break_long_words=False, break_on_hyphens=False))


__all__ = ["check", "hint", "solution"]
