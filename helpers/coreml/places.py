"""One place of a dimension, for both roads."""

from typing import Any


def one(x: Any, axis: int, index: int, *, name: str) -> Any:
    """The values at one index of a dimension, which goes.

    A neural network's own ways do not do that before iOS 14: its slice cannot drop the dimension, and its gather
    takes a single index for a list of one.

    Args:
        x: a variable of the Builder, of two dimensions at least. axis, index: may count from the end.
        name: of the result.
    """
    from coremltools.converters.mil import Builder as mb

    axis %= x.rank
    begin, end = [0] * x.rank, list(x.shape)
    begin[axis] = index % x.shape[axis]
    end[axis] = begin[axis] + 1
    return mb.squeeze(x=mb.slice_by_index(x=x, begin=begin, end=end), axes=[axis], name=name)
