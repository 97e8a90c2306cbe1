"""Arithmetic: products, one value at a time, two values, and reductions."""

import operator
from collections.abc import Callable

import torch
import torch.nn.functional as F

from ..archive import NotCovered


def as_tensor(value):
    """A tensor from a tensor, a number or a list of numbers."""
    return value if torch.is_tensor(value) else torch.as_tensor(value)


def as_numbers(value):
    """A list of numbers from a tensor, a number or a list of numbers."""
    value = value.tolist() if torch.is_tensor(value) else value
    return [int(number) for number in (value if isinstance(value, list) else [value])]


# Products


def linear(x, weight, bias=None):
    """x · weightᵀ + bias; weight: outputs × inputs."""
    return F.linear(x, weight, bias)


def matmul(x, y, transpose_x=False, transpose_y=False):
    """Matrix product over the last two dimensions."""
    x = x.transpose(-1, -2) if transpose_x else x
    y = y.transpose(-1, -2) if transpose_y else y
    return torch.matmul(x, y)


# One value at a time


def of_one(function):
    """An operator with one side. Its signature says so, which that of torch's own function does not."""
    return lambda x: function(x)


def cast(x, dtype):
    """Change the type. A float16 result is rounded by the step, which knows the declared type.

    Whole numbers of fewer bits are held as int32. One that does not fit loses its upper bits, as in the
    operator's ``value_inference``, which is NumPy's ``astype``.
    """
    kinds = {"fp16": torch.float32, "fp32": torch.float32, "bool": torch.bool, "int32": torch.int32}
    if dtype in kinds:
        return as_tensor(x).to(kinds[dtype])
    lowest = {"int8": -(2**7), "uint8": 0, "int16": -(2**15), "uint16": 0}
    if dtype not in lowest:
        raise NotCovered(f"the type {dtype!r}")
    values = as_tensor(x).to(torch.int32) - lowest[dtype]
    return torch.remainder(values, 2**8 if dtype.endswith("8") else 2**16) + lowest[dtype]


# Two values


def of_two(function):
    """An operator with two sides; lists become tensors, so that + adds and does not join."""

    def compute(x, y):
        x = as_tensor(x) if isinstance(x, list) or not torch.is_tensor(y) else x
        return function(x, as_tensor(y) if isinstance(y, list) else y)

    return compute


def _whole(value):
    """Whether it consists of whole numbers."""
    return not value.is_floating_point() if torch.is_tensor(value) else not isinstance(value, float)


def _divide(x, y):
    """x / y. Core ML says nowhere how it rounds a quotient of whole numbers."""
    if _whole(x) and _whole(y):
        raise NotCovered("what a quotient of whole numbers is rounded to is not defined; use floor_div")
    return x / y


add, sub, mul = of_two(operator.add), of_two(operator.sub), of_two(operator.mul)
real_div, pow = of_two(_divide), of_two(operator.pow)
# As in Python: rounded down, and the rest has the sign of the divisor.
floor_div = of_two(lambda x, y: torch.div(x, y, rounding_mode="floor"))
mod = of_two(lambda x, y: torch.remainder(x, y))
equal, not_equal = of_two(operator.eq), of_two(operator.ne)
less, less_equal = of_two(operator.lt), of_two(operator.le)
greater, greater_equal = of_two(operator.gt), of_two(operator.ge)
logical_and = of_two(lambda x, y: torch.logical_and(x, as_tensor(y)))
logical_or = of_two(lambda x, y: torch.logical_or(x, as_tensor(y)))
logical_xor = of_two(lambda x, y: torch.logical_xor(x, as_tensor(y)))
maximum = of_two(lambda x, y: torch.maximum(as_tensor(x), as_tensor(y)))
minimum = of_two(lambda x, y: torch.minimum(as_tensor(x), as_tensor(y)))


# Reductions


def reduction(function):
    """Reduce some dimensions, all when ``axes`` is missing."""

    def compute(x, axes=None, keep_dims=False):
        if axes == []:  # none; torch would take all
            return function(x[None], [0], keepdim=False)
        return function(x, list(range(x.ndim)) if axes is None else axes, keepdim=keep_dims)

    return compute


reduce_mean, reduce_sum = reduction(torch.mean), reduction(torch.sum)
reduce_max, reduce_min = reduction(torch.amax), reduction(torch.amin)
reduce_l1_norm = reduction(lambda x, axes, keepdim: torch.sum(torch.abs(x), axes, keepdim=keepdim))
reduce_sum_square = reduction(lambda x, axes, keepdim: torch.sum(x * x, axes, keepdim=keepdim))
reduce_l2_norm = reduction(lambda x, axes, keepdim: torch.sqrt(torch.sum(x * x, axes, keepdim=keepdim)))
reduce_log_sum_exp = reduction(torch.logsumexp)


def reduce_log_sum(x, axes=None, keep_dims=False, epsilon=0.0):
    """The logarithm of the sum."""
    return torch.log(reduce_sum(x, axes, keep_dims) + epsilon)


@reduction
def reduce_prod(x, axes, keepdim):
    """torch multiplies along one dimension at a time."""
    for axis in sorted((axis % x.ndim for axis in axes), reverse=True):
        x = torch.prod(x, axis, keepdim=keepdim)
    return x


FORMULAS: dict[str, Callable[..., torch.Tensor]] = {
    # Core ML takes an epsilon and says nothing of it.
    "atanh": lambda x, epsilon=0.0: torch.atanh(x),
    "einsum": lambda values, equation: torch.einsum(equation, *values),
    "inverse": lambda x, epsilon=1e-4: 1.0 / (x + epsilon),
    "log": lambda x, epsilon=1e-45: torch.log(x + epsilon),
    # Of several largest or smallest values the first.
    "reduce_argmax": lambda x, axis=-1, keep_dims=False, output_dtype="int32": torch.argmax(
        x, axis, keep_dims
    ),
    "reduce_argmin": lambda x, axis=-1, keep_dims=False, output_dtype="int32": torch.argmin(
        x, axis, keep_dims
    ),
    "rsqrt": lambda x, epsilon=1e-12: torch.rsqrt(x + epsilon),
    "scaled_dot_product_attention": lambda query, key, value, attn_mask=None: F.scaled_dot_product_attention(
        query, key, value, attn_mask
    ),
    "select": lambda cond, a, b: torch.where(as_tensor(cond) != 0, as_tensor(a), as_tensor(b)),
    "square": lambda x: x * x,
    "threshold": lambda x, alpha: torch.clamp(x, min=alpha),
}
"""Operators that one line says."""
