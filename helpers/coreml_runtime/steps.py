"""A Core ML model as a list of steps, each a torch function with its arguments."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from .archive import UNFIT, NotCovered

MAX_ACTIVATION_BYTES = 2**29
"""The largest tensor that one image may make on its way through a model, inside an operator too.
VGG-16 makes 12 MiB of a picture of 224 pixels."""

MAX_LIVE_BYTES = 2**30
"""What all tensors that wait for a later operator may take together."""


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
        return (
            tuple(to_float16(r) if rounds else r for r, rounds in zip(result, self.rounds, strict=False))
            + result[len(self.rounds) :]
        )


def to_float16(value):
    """Round a float tensor to the nearest float16 values and keep it as float32."""
    return value.half().float() if torch.is_tensor(value) and value.is_floating_point() else value


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


_SHAPE_ARGUMENTS = {"shape", "begin", "end", "size", "reps", "k", "start", "step", "one_hot_vector_size"}
"""Parameters that decide about a result's shape. Their values have to be known before anything runs."""

_SMALL = 2**16
"""Values that depend on no input are computed ahead when they are this few: they may be shapes."""


MAX_WORK = 2**40
"""Floating-point operations for one image. VGG-16 takes 2**35."""

MAX_RANK = 16
"""Core ML takes 5 dimensions, the operators of ML programs a few more on their way."""


_ONE_BY_ONE = [
    "abs",
    "activation",
    "add",
    "addBroadcastable",
    "bias",
    "cast",
    "clamped_relu",
    "clampedReLU",
    "clip",
    "elu",
    "exp",
    "gelu",
    "leaky_relu",
    "linear_activation",
    "maxBroadcastable",
    "maximum",
    "minBroadcastable",
    "minimum",
    "mul",
    "multiply",
    "multiplyBroadcastable",
    "pow",
    "real_div",
    "relu",
    "relu6",
    "rsqrt",
    "scaled_tanh",
    "scaler",
    "sigmoid",
    "sigmoid_hard",
    "silu",
    "softplus",
    "softsign",
    "sqrt",
    "square",
    "sub",
    "subtractBroadcastable",
    "tanh",
    "thresholded_relu",
    "unary",
]
"""Operators that take one value at a time, in both formats."""

_PER_EXAMPLE = ["batch_norm", "conv", "convolution", "innerProduct", "linear", "max_pool"]
"""Operators that take one example at a time, in both formats."""


class TooLarge(Exception):
    """A tensor of more bytes than ``MAX_ACTIVATION_BYTES``."""


class _Sizes(TorchDispatchMode):
    """Sees every tensor that torch would make, before there is memory for it, and what it would cost.

    Attributes:
        largest: the largest tensor in bytes.
        work: floating-point operations, a number that is only written counted as eight.
    """

    def __init__(self):
        super().__init__()
        self.largest = self.work = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        results = function(*args, **kwargs)
        for result in results if isinstance(results, (tuple, list)) else (results,):
            if torch.is_tensor(result):
                count = math.prod(_one_example(result))
                self.largest = max(self.largest, count * result.element_size())
                self.work += 8 * count
        formula: Any = flop_registry.get(function._overloadpacket)
        if hasattr(formula, "__wrapped__"):  # takes shapes, and is ten times as fast
            shapes = {key: _one_example(value) for key, value in kwargs.items()}
            self.work += formula.__wrapped__(
                *map(_one_example, args), **shapes, out_shape=_one_example(results)
            )
        elif formula:
            self.work += formula(*args, **kwargs, out_val=results)
        elif "avg_pool" in function._schema.name:
            self.work += math.prod(_one_example(results)) * math.prod(args[1])
        if self.largest > MAX_ACTIVATION_BYTES:
            raise TooLarge(f"{self.largest / 2**30:,.1f} GiB")
        return results


def _one_example(value):
    """The shape of a tensor, a dimension of 0 (see ``_try_on_none``) as 1; anything else as it is."""
    return tuple(size or 1 for size in value.shape) if torch.is_tensor(value) else value


def _dry_run(step: Step, values: dict, seen: dict) -> tuple[tuple, int]:
    """The results of a step as tensors that have a shape and no memory, and the work that they take.

    What depends on no input (shapes, mostly) is computed if it is small, because later steps may need it.

    Args:
        step: the step.
        values: what the steps before it made, without memory.
        seen: what is known of steps that are alike; networks repeat theirs.

    Raises:
        TooLarge: the step would make a larger tensor on its way.
    """

    def look_up(argument):
        return values[argument] if isinstance(argument, Name) else argument

    def strip(argument):
        argument = look_up(argument)
        if isinstance(argument, list):
            return [strip(item) for item in argument]
        if not torch.is_tensor(argument) or argument.is_meta:
            return argument
        return torch.empty_strided(argument.shape, argument.stride(), dtype=argument.dtype, device="meta")

    def describe(argument):
        argument = look_up(argument)
        if isinstance(argument, list):
            return tuple(map(describe, argument))
        if torch.is_tensor(argument):
            return argument.shape, argument.stride(), argument.dtype
        return type(argument), argument

    decisive = {key: look_up(value) for key, value in step.parameters.items() if key in _SHAPE_ARGUMENTS}
    for name, value in decisive.items():
        if torch.is_tensor(value) and value.is_meta:
            raise NotCovered(f"'{name}' depends on the input's values, so the shape of the result does too")
    depends = any(values[name].is_meta for name in step.needs())
    key: tuple = (step.function, *step.rounds, *map(describe, step.arguments))
    key += tuple((name, describe(value)) for name, value in step.parameters.items())
    if depends and key in seen:
        return seen[key]
    if depends and step.operator in _ONE_BY_ONE and (results := _try_on_one(step, look_up)):
        work = 8 * results[0].numel()
    elif depends and step.operator in _PER_EXAMPLE and (tried := _try_on_none(step, values)):
        results, work = tried
    else:
        parameters = {key: strip(value) for key, value in step.parameters.items()} | decisive
        bare = replace(step, arguments=[strip(a) for a in step.arguments], parameters=parameters)
        with torch.device("meta"), _Sizes() as sizes:
            results = bare.run(values)
        work = sizes.work
        if not depends and sizes.largest <= 8 * _SMALL:
            small = all(r.numel() <= _SMALL for r in results) and work <= 2**12 * _SMALL
            return step.run(values) if small else results, work
    if not any(map(torch.is_tensor, decisive.values())):  # their values would have to be in the key
        seen[key] = results, work
    return results, work


def _try_on_one(step: Step, look_up) -> tuple | None:
    """The result of an operator that takes one value at a time: its shape is that of its inputs together.

    It is run on one value, which tells the type. (On tensors without memory torch takes a hundred times as
    long.) None where that does not tell: lists, and other inputs than x and y.

    Raises:
        TooLarge: the result would be.
    """
    given = [*step.arguments, *(value for key, value in step.parameters.items() if key in ("x", "y"))]
    tensors = [value for value in map(look_up, given) if torch.is_tensor(value)]

    def one(argument):
        argument = look_up(argument)
        if torch.is_tensor(argument):
            return torch.ones([1] * argument.ndim, dtype=argument.dtype)
        return argument

    others = [value for key, value in step.parameters.items() if key not in ("x", "y")]
    if any(isinstance(value, list) for value in given) or any(torch.is_tensor(look_up(v)) for v in others):
        return None
    try:
        shape = np.broadcast_shapes(*(tensor.shape for tensor in tensors))
    except ValueError:
        return None  # the operator itself says it better
    parameters = {key: one(value) for key, value in step.parameters.items()}
    (result,) = replace(step, arguments=list(map(one, step.arguments)), parameters=parameters).run({})
    if (size := math.prod(shape) * result.element_size()) > MAX_ACTIVATION_BYTES:
        raise TooLarge(f"{size / 2**30:,.1f} GiB")
    return (torch.empty(shape, dtype=result.dtype, device="meta"),)


def _try_on_none(step: Step, values) -> tuple[tuple, int] | None:
    """The results of an operator whose first dimension counts the examples, and the work that they take.

    It is run on no examples: torch checks and computes the shapes, and there is nothing to do. None where
    that does not tell.

    Raises:
        TooLarge: the step would make a larger tensor on its way.
    """
    names = step.needs()
    if len(names) != 1 or values[names[0]].shape[:1] != (1,):
        return None
    value = values[names[0]]
    try:
        with _Sizes() as sizes:
            results = step.run({names[0]: torch.empty((0, *value.shape[1:]), dtype=value.dtype)})
    except RuntimeError:
        return None  # on one example it may work; if not, that error says it better
    if any(result.shape[:1] != (0,) for result in results):
        return None
    return tuple(
        torch.empty((1, *result.shape[1:]), dtype=result.dtype, device="meta") for result in results
    ), sizes.work


class Graph:
    """The steps in order, checked once and then run on whole batches.

    Args:
        archive: where the steps come from; it words the errors.
        steps: in the order of the file.
        inputs: for each input of the model the shape of one example, in the file's own rank.
        integers: the names of the inputs that hold whole numbers.
        outputs: the names of the values wanted.

    Raises:
        ValueError: a name is missing or made twice, a shape differs from what the file declares, or
            a tensor would be larger than ``MAX_ACTIVATION_BYTES``.
    """

    def __init__(self, archive, steps: list[Step], inputs: dict[str, tuple], outputs: list[str], integers=()):
        self._archive = archive
        self.steps = steps
        self.inputs = inputs
        self._integers = integers
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
                except (RuntimeError, IndexError, ValueError) as error:
                    raise self._archive.refuse(str(step), error) from error
                known.update(zip(step.outputs, results, strict=True))
                for name in step.releases:
                    known.pop(name, None)
            return tuple(known[name] for name in self.outputs)

        with torch.no_grad():
            if all(len(value) == 1 for value in batch.values()):
                results = [result[None] for result in one_example(*(value[0] for value in batch.values()))]
            else:
                results = torch.func.vmap(one_example)(*batch.values())
        return dict(zip(self.outputs, results, strict=True))

    def _check_names(self):
        """Every value is made once and before it is read; note when each is read for the last time."""
        made, last_reader = set(self.inputs), {}
        for step in self.steps:
            for name in step.needs():
                if name not in made:
                    raise self._archive.error(f"{step} reads '{name}', which nothing before it makes")
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
        values: dict[str, Any] = {}
        seen: dict[tuple, Any] = {}
        largest, live, work = 1, 0, 0
        for name, taken in self.inputs.items():
            dtype = torch.int32 if name in self._integers else torch.float32
            values[name] = torch.empty(taken, dtype=dtype, device="meta")
        for step in self.steps:
            where = str(step)
            with self._archive.reading(where):
                try:
                    results, more = _dry_run(step, values, seen)
                except TooLarge as error:
                    raise self._too_large(
                        f"{where} makes a tensor of {error}", MAX_ACTIVATION_BYTES
                    ) from error
            work += more
            if work > MAX_WORK:
                raise self._archive.error(
                    f"up to {where} it takes {work:.1e} operations for one input",
                    f"The limit is {MAX_WORK:.1e}: do not trust this file.",
                )
            if len(results) != len(step.outputs):
                raise self._archive.error(
                    f"{where} makes {len(results)} values, the file names {len(step.outputs)}", UNFIT
                )
            declared = zip(step.outputs, results, step.shapes, step.kinds, strict=True)
            for name, result, shape, kind in declared:
                if not torch.is_tensor(result) or result.ndim > MAX_RANK:
                    raise self._archive.error(
                        f"{where} makes no tensor of up to {MAX_RANK} dimensions", UNFIT
                    )
                if shape is not None and not _fits(tuple(result.shape), shape):
                    raise self._archive.error(
                        f"{where} makes a tensor of shape {tuple(result.shape)}, the file declares {shape}",
                        UNFIT,
                    )
                if kind is not None and kind_of(result) != kind:
                    raise self._archive.error(
                        f"{where} makes {kind_of(result)}s, the file declares {kind}s", UNFIT
                    )
                size = result.numel() * result.element_size()
                largest, live = max(largest, size), live + size
                values[name] = result
            if live > MAX_LIVE_BYTES:
                raise self._too_large(
                    f"at {where} it holds tensors of {live / 2**30:,.1f} GiB", MAX_LIVE_BYTES
                )
            gone = [values[name] for name in step.releases if name not in self.inputs]
            live -= sum(value.numel() * value.element_size() for value in gone)
        # The outputs of one example, for whoever counts labels.
        self.shapes = {name: tuple(values[name].shape) for name in self.outputs}
        self.sizes = {name: math.prod(shape) for name, shape in self.shapes.items()}
        return largest

    def _too_large(self, cause, limit) -> ValueError:
        return self._archive.error(
            f"{cause} from one input", f"The limit is {limit / 2**30:.1f} GiB: do not trust this file."
        )


def _fits(shape: tuple, declared: tuple) -> bool:
    """Whether a shape is the declared one; None in the declaration stands for any size."""
    return len(shape) == len(declared) and all(
        d is None or s == d for s, d in zip(shape, declared, strict=True)
    )
