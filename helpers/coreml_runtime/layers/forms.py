"""What the layers have in common: fields of the format, and functions made fit for it."""

import functools

import torch


def two(values, default):
    """Two numbers for height and width, or the format's default when the field is empty."""
    return [int(value) for value in values] if len(values) else [default, default]


def edges(amounts):
    """Border amounts as top, bottom, left, right."""
    edges = [int(size) for edge in amounts.borderAmounts for size in (edge.startEdgeSize, edge.endEdgeSize)]
    return edges or [0, 0, 0, 0]


@functools.cache
def batched(function):
    """A function of N×C×H×W for any rank from 3 on: what comes before the channels is all batch."""

    def compute(x, **parameters):
        if x.ndim == 4:
            return function(x, **parameters)
        result = function(x.reshape(-1, *x.shape[-3:]), **parameters)
        return result.reshape(*x.shape[:-3], *result.shape[1:])

    return compute


def vector(function):
    """In a neural network a single number has one dimension."""

    def compute(x, **parameters):
        return torch.atleast_1d(function(x, **parameters))

    return compute


def as_float(function):
    """In a neural network every number is a float: true is 1, and so are places and sizes."""

    def compute(*inputs, **parameters):
        result = function(*inputs, **parameters)
        several = isinstance(result, tuple)
        return tuple(value.float() for value in result) if several else result.float()

    return compute


def plain(function):
    """A layer without parameters."""
    return lambda p, weights: (function, {})


def fields(function, **names):
    """A layer whose parameters are fields of the format, some under another name: ``alpha="minVal"``."""

    def read(p, weights):
        values = {key: getattr(p, name) for key, name in names.items()}
        return function, {
            key: value if isinstance(value, _ONE) else list(value) for key, value in values.items()
        }

    return read


_ONE = (bool, int, float)
