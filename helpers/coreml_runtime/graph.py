"""A Core ML model as a list of steps, each a torch function with its arguments."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import torch

MAX_ACTIVATION_BYTES = 2 * 2**30
"""The largest tensor that one image may make on its way through a model."""


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
    """

    operator: str
    name: str
    function: Callable
    arguments: list
    parameters: dict
    outputs: list[str]
    shapes: list[tuple | None]
    rounds: list[bool]
    releases: list[str] = field(default_factory=list)

    def needs(self) -> list[str]:
        """The names of the values it reads."""
        found = []
        for argument in [*self.arguments, *self.parameters.values()]:
            found += [
                v for v in (argument if isinstance(argument, list) else [argument]) if isinstance(v, Name)
            ]
        return found

    def run(self, values: dict, constant: Callable = lambda value: value) -> tuple:
        """Compute the outputs.

        Args:
            values: tensors by name.
            constant: applied to each constant, e.g. to move it to another device.
        """

        def look_up(argument):
            if isinstance(argument, Name):
                return values[argument]
            if isinstance(argument, list) and any(isinstance(item, Name) for item in argument):
                return [look_up(item) for item in argument]
            return constant(argument)

        result = self.function(
            *map(look_up, self.arguments), **{key: look_up(value) for key, value in self.parameters.items()}
        )
        result = tuple(result) if isinstance(result, (tuple, list)) else (result,)
        return (
            tuple(to_float16(r) if rounds else r for r, rounds in zip(result, self.rounds, strict=False))
            + result[len(self.rounds) :]
        )


def to_float16(value):
    """Round a float tensor to the nearest float16 values and keep it as float32."""
    return value.half().float() if torch.is_tensor(value) and value.is_floating_point() else value


def _on_meta(value):
    """A float tensor without its memory; everything else as it is."""
    if torch.is_tensor(value) and value.is_floating_point():
        return torch.empty_like(value, device="meta")
    return value


class Graph:
    """The steps in order, checked once and then run on whole batches.

    Args:
        archive: where the steps come from; it words the errors.
        steps: in the order of the file.
        inputs: for each input of the model the shape of one example, in the file's own rank.
        outputs: the names of the values wanted.

    Raises:
        ValueError: a name is missing or made twice, a shape differs from what the file declares, or
            a tensor would be larger than ``MAX_ACTIVATION_BYTES``.
    """

    def __init__(self, archive, steps: list[Step], inputs: dict[str, tuple], outputs: list[str]):
        self._archive = archive
        self.steps = steps
        self.inputs = inputs
        self.outputs = outputs
        self._check_names()
        self.largest_bytes = self._check_shapes()
        for step in steps:
            weight = step.parameters.get("weight")
            if torch.is_tensor(weight) and weight.ndim == 4:
                # Pixels first, channels last: torch's convolutions are half again as fast that way on a CPU.
                step.parameters["weight"] = weight.to(memory_format=torch.channels_last)

    def run(self, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Run a batch.

        The file's shapes are for one example (usually 1×3×H×W). ``torch.func.vmap`` runs every step
        on all examples at once and lets each see the file's own shapes, so that a reshape to 1×4096
        keeps its meaning.

        Args:
            batch: for each input N × the shape of one example, float32.

        Returns:
            For each output N × its shape, float32.
        """
        names = list(batch)

        def one_example(*values):
            known = dict(zip(names, values, strict=True))
            for step in self.steps:
                try:
                    results = step.run(known)
                except (RuntimeError, IndexError) as error:
                    raise self._archive.error(
                        f"{_where(step)} cannot be computed: {_first_line(error)}"
                    ) from error
                known.update(zip(step.outputs, results, strict=True))
                for name in step.releases:
                    known.pop(name, None)
            return tuple(known[name] for name in self.outputs)

        with torch.no_grad():
            results = torch.func.vmap(one_example)(*batch.values())
        return dict(zip(self.outputs, results, strict=True))

    def _check_names(self):
        """Every value is made once and before it is read; note when each is read for the last time."""
        made, last_reader = set(self.inputs), {}
        for step in self.steps:
            for name in step.needs():
                if name not in made:
                    raise self._archive.error(f"{_where(step)} reads '{name}', which nothing before it makes")
                last_reader[name] = step
            for name in step.outputs:
                # Only "copy" may write a name again, says the format of neural networks.
                if name in made and step.operator != "copy":
                    raise self._archive.error(
                        f"the name '{name}' is made twice, the second time by '{step.name}'",
                        "Core ML refuses such a file: give one of the two another name and save it again.",
                    )
                made.add(name)
        for name in self.outputs:
            if name not in made:
                raise self._archive.error(
                    f"no operator makes the output '{name}'",
                    "A renamed output may have left its maker behind: rename both, or convert again.",
                )
        for name, step in last_reader.items():
            if name not in self.outputs:
                step.releases.append(name)

    def _check_shapes(self) -> int:
        """Run every step on tensors without memory and compare shapes. Returns the largest size in bytes."""
        values = {name: torch.empty(shape, device="meta") for name, shape in self.inputs.items()}
        largest = 1
        for step in self.steps:
            where = _where(step)
            try:
                results = step.run(values, _on_meta)
            except Exception as error:
                raise self._archive.error(f"{where} cannot be computed: {_first_line(error)}") from error
            if len(results) != len(step.outputs):
                raise self._archive.error(
                    f"{where} makes {len(results)} values, the file names {len(step.outputs)}"
                )
            for name, result, shape in zip(step.outputs, results, step.shapes, strict=True):
                if not torch.is_tensor(result):
                    raise self._archive.error(f"{where} makes no tensor")
                if shape is not None and not _fits(tuple(result.shape), shape):
                    raise self._archive.error(
                        f"{where} makes a tensor of shape {tuple(result.shape)}, the file declares {shape}"
                    )
                largest = max(largest, math.prod(result.shape) * result.element_size())
                if largest > MAX_ACTIVATION_BYTES:
                    raise self._archive.error(
                        f"{where} makes a tensor of {largest / 2**30:,.1f} GiB from one input",
                        f"The limit is {MAX_ACTIVATION_BYTES / 2**30:.0f} GiB: do not trust this file.",
                    )
                values[name] = result
        # Numbers in each output of one example, for whoever counts labels.
        self.sizes = {name: math.prod(values[name].shape) for name in self.outputs}
        return largest


def _where(step: Step) -> str:
    """The step as an error names it."""
    return f"the operator '{step.operator}' called '{step.name}'"


def _fits(shape: tuple, declared: tuple) -> bool:
    """Whether a shape is the declared one; None in the declaration stands for any size."""
    return len(shape) == len(declared) and all(
        d is None or s == d for s, d in zip(shape, declared, strict=True)
    )


def _first_line(error: Exception) -> str:
    """The first line of an error's text, or its type when it has none."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
