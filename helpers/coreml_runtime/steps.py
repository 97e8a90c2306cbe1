"""One operator of a Core ML model as a torch function with its arguments."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import torch

_OWN_MEMORY = [
    "add",
    "batch_norm",
    "batchnorm",
    "conv",
    "convolution",
    "innerProduct",
    "linear",
    "mul",
    "multiply",
]
"""Operators whose result shares no memory with what they read: it is rounded in place, in half the time."""


class Name(str):
    """Stands in a step's arguments for a value that an earlier step makes."""

    __slots__ = ()


@dataclass
class Step:
    """One operator of the file.

    Attributes:
        operator: its kind, as the file format calls it ("conv").
        name: its own name in the file.
        function: takes ``arguments`` and then ``parameters``; returns a tensor or a tuple of tensors.
        arguments: positional arguments; a ``Name`` or a list of them stands for values.
        parameters: keyword arguments, the same way; constants stand for themselves.
        outputs: the names of what it makes.
        shapes: for each output the shape that the file declares, None where it declares none;
            a dimension that the file leaves open is None.
        rounds: for each output whether it is rounded to float16.
        kinds: for each output what the file declares it to hold: "float", "integer", "bool", or None
            where it declares nothing.
    """

    operator: str
    name: str
    function: Callable
    arguments: list
    parameters: dict
    outputs: list[str]
    shapes: list[tuple | None]
    rounds: list[bool]
    kinds: list[str | None]
    releases: list[str] = field(default_factory=list)

    def needs(self) -> list[str]:
        """The names of the values it reads."""
        found: list[str] = []
        for argument in [*self.arguments, *self.parameters.values()]:
            found += [
                v for v in (argument if isinstance(argument, list) else [argument]) if isinstance(v, Name)
            ]
        return found

    def __str__(self):
        return f"the operator '{self.operator}' called '{self.name}'"

    def run(self, values: dict) -> tuple:
        """Compute the outputs from tensors by name."""

        def look_up(argument):
            if isinstance(argument, Name):
                return values[argument]
            if isinstance(argument, list) and any(isinstance(item, Name) for item in argument):
                return [look_up(item) for item in argument]
            return argument

        result = self.function(
            *map(look_up, self.arguments), **{key: look_up(value) for key, value in self.parameters.items()}
        )
        result = tuple(result) if isinstance(result, (tuple, list)) else (result,)
        if not any(self.rounds):
            return result
        own = self.operator in _OWN_MEMORY
        return (
            tuple(
                to_float16(r, in_place=own) if rounds else r
                for r, rounds in zip(result, self.rounds, strict=False)
            )
            + result[len(self.rounds) :]
        )


def to_float16(value, in_place=False):
    """Round a float tensor to the nearest float16 values and keep it as float32."""
    if not torch.is_tensor(value) or not value.is_floating_point():
        return value
    return value.copy_(value.half()) if in_place else value.half().float()


def half(value: float) -> float:
    """A constant as float16. What is too small for it becomes its smallest number, as in Core ML Tools: an
    epsilon of 0 would divide by 0."""
    if value and abs(value) < 2**-24:
        return math.copysign(2**-24, value)
    return float(torch.tensor(value, dtype=torch.float16))


def kind_of(tensor) -> str:
    """What a tensor holds: "float", "integer" or "bool"."""
    if tensor.is_floating_point():
        return "float"
    return "bool" if tensor.dtype == torch.bool else "integer"
