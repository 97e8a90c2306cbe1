"""Transposed convolution in Core ML's operators, for both roads: as ONNX and PyTorch define it.

Its size is written as padding: a neural network's layer has no other way. What ``output_padding`` adds at the
end is taken off the padding there; what is left of it is zeros behind the result.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from helpers.plumbing.private_coremltools import numpy_type

from . import pooling


def conv_transpose(
    x: Any,
    weight: Any,
    bias: Any,
    strides: Sequence[int],
    dilations: Sequence[int],
    groups: int,
    pads: Sequence[tuple[int, int]],
    *,
    name: str,
) -> Any:
    """A transposed convolution of any output size.

    Args:
        x: N×C×…, a variable of the Builder. weight: C × (channels / groups) × …, constant, and so is the bias,
            which may be None.
        strides, dilations: of each spatial dimension.
        pads: (before, after) of each: how much of the result goes; below 0 after it zeros come.
        name: of the result.
    """
    from coremltools.converters.mil import Builder as mb

    count = x.rank - 2
    extra = [(0, max(0, -after)) for _, after in pads]
    cut = pooling.pad_arguments([(before, max(0, after)) for before, after in pads])
    options = {"strides": strides, "dilations": dilations, "groups": groups, **cut}
    if not any(map(any, extra)):
        options |= {"bias": bias} if bias is not None else {}
        return mb.conv_transpose(x=x, weight=weight, name=name, **options)
    result = pooling.pad_spatial(mb.conv_transpose(x=x, weight=weight, **options), extra, 0)
    values = np.zeros(weight.shape[1] * groups) if bias is None else bias.val
    values = np.reshape(values, [1, -1] + [1] * count).astype(numpy_type(x))
    return mb.add(x=result, y=values, name=name)
