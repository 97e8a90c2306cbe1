"""Is one value what it has to be? Each function returns it as Python's own type, or raises a ValueError that says what it must be."""

import contextlib
import math
import numbers
from typing import Any

LARGEST = 1e30
"""No number is larger: a step as long as that still fits into float32."""


def number(value: Any, low: float, high: float = math.inf, whole: bool = False) -> Any:
    """The value as a float, or as an int if it has to be whole."""
    own = math.nan  # another library's number becomes Python's
    kind = numbers.Integral if whole else numbers.Real
    if issubclass(type(value), kind) and not isinstance(value, bool):
        with contextlib.suppress(OverflowError):
            own = int(value) if whole else float(value)
    if not low <= own <= min(high, LARGEST):
        limits = f"at least {low}" if high == math.inf else f"from {low} to {high}"
        if LARGEST < own < high:
            limits = f"at most {LARGEST:g}"
        raise ValueError(f"a number, {limits}{', and whole' if whole else ''}")
    return own


def whole_number(value: Any, low: float, high: float = math.inf) -> int:
    """The value as an int."""
    return number(value, low, high, whole=True)


def whole_numbers(values: Any, low: float, high: float = math.inf) -> tuple[int, ...]:
    """The values of a tuple or list as ints."""
    try:
        if isinstance(values, (tuple, list)) and values:
            return tuple(whole_number(value, low, high) for value in values)  # JSON has lists only
    except ValueError:
        pass
    raise ValueError(f"whole numbers from {low} to {high}, e.g. (16, 24, 32)")


def switch(value: Any) -> bool:
    """True or False, and nothing that only counts as one."""
    if not isinstance(value, bool):
        raise ValueError("True or False")
    return value


def text(value: Any, *known: str) -> str:
    """A text on one line; one of those that are known, if any are."""
    if not isinstance(value, str) or not value.isprintable():
        raise ValueError("a text on one line, without control characters")
    if known and value not in known:
        raise ValueError(" or ".join(map(repr, known)))
    return value
