"""What a step would make and cost, found before there is memory for it."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from .archive import NotCovered
from .steps import Name, Step

MAX_ACTIVATION_BYTES = 2**29
"""The largest tensor that one image may make on its way through a model, inside an operator too.
VGG-16 makes 12 MiB of a picture of 224 pixels."""

_SHAPE_ARGUMENTS = {"shape", "begin", "end", "size", "reps", "k", "start", "step", "one_hot_vector_size"}
"""Parameters that decide about a result's shape. Their values have to be known before anything runs."""

_SMALL = 2**16
"""Values that depend on no input are computed ahead when they are this few: they may be shapes."""

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


def dry_run(step: Step, values: dict, seen: dict) -> tuple[tuple, int]:
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
