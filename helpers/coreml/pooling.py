"""Pooling in Core ML's operators, for both roads: as ONNX and PyTorch define it.

Core ML's own ``ceil_mode`` divides the average of a window that reaches over the edge by the whole
kernel (apple/coremltools #2772), and drops the last window in other cases. So it is never used: what it
adds is written as padding.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from helpers.plumbing.private_coremltools import numpy_type


def more_for_ceil(
    sizes: Sequence[int], spans: Sequence[int], strides: Sequence[int], pads: Sequence[tuple[int, int]]
) -> list[int]:
    """How much padding at the end lets the last windows of ``ceil_mode`` fit, in each dimension.

    Args:
        sizes: of the input. spans: of a window, holes included. strides: of the windows.
        pads: (before, after), which are there anyway. A window that would begin behind the input and the
            padding before it is dropped.
    """
    more = []
    for size, span, stride, (before, after) in zip(sizes, spans, strides, pads, strict=True):
        last = math.ceil((size + before + after - span) / stride) * stride
        if last >= size + before:
            last -= stride
        more.append(max(0, last + span - (size + before + after)))
    return more


def max_pool(
    x: Any,
    kernel: Sequence[int],
    strides: Sequence[int],
    dilations: Sequence[int],
    pads: Sequence[tuple[int, int]],
    more: Sequence[int],
    *,
    name: str,
) -> Any:
    """The largest value of each window.

    Args:
        x: N×C×…, a variable of the Builder.
        kernel, strides, dilations: of each spatial dimension.
        pads: (before, after) of each; padding is never the largest.
        more: of ``more_for_ceil``, or zeros.
        name: of the result.
    """
    mb = _mb()
    ends = _ends(pads, more)
    if max(dilations) > 1:
        padded = pad_spatial(x, ends, np.finfo(numpy_type(x)).min)
        return mb.identity(x=_dilated(padded, kernel, strides, dilations, mb.maximum), name=name)
    return mb.max_pool(x=x, kernel_sizes=kernel, strides=strides, name=name, **pad_arguments(ends))


def average_pool(
    x: Any,
    kernel: Sequence[int],
    strides: Sequence[int],
    dilations: Sequence[int],
    pads: Sequence[tuple[int, int]],
    more: Sequence[int],
    *,
    padding_counts: bool,
    name: str,
) -> Any:
    """The average of each window; arguments as for ``max_pool``.

    Args:
        padding_counts: whether the padding counts as zeros; what ``ceil_mode`` adds behind it never does.
    """
    mb = _mb()
    if max(dilations) > 1:
        total = _dilated(pad_spatial(x, _ends(pads, more), 0), kernel, strides, dilations, mb.add)
        ones = np.ones(x.shape[2:], np.float32)
        counted = np.pad(ones, pads, constant_values=float(padding_counts))
        counted = np.pad(counted, [(0, extra) for extra in more])
        for axis, (places, stride, dilation) in enumerate(zip(kernel, strides, dilations, strict=True)):
            span = (places - 1) * dilation + 1
            view = np.lib.stride_tricks.sliding_window_view(counted, span, axis)
            counted = np.take(view, range(0, view.shape[axis], stride), axis)[..., ::dilation].sum(-1)
        return mb.real_div(x=total, y=counted[None, None].astype(numpy_type(x)), name=name)
    if padding_counts and any(more):
        x, pads = pad_spatial(x, pads, 0), [(0, 0)] * len(pads)
        padding_counts = False
    return mb.avg_pool(
        x=x,
        kernel_sizes=kernel,
        strides=strides,
        exclude_padding_from_average=not padding_counts,
        name=name,
        **pad_arguments(_ends(pads, more)),
    )


def pad_spatial(x: Any, pads: Sequence[tuple[int, int]], value: float) -> Any:
    """``x`` with ``value`` around its spatial dimensions."""
    if not any(map(any, pads)):
        return x
    flat = [0] * 4 + [amount for pair in pads for amount in pair]
    return _mb().pad(x=x, pad=flat, mode="constant", constant_val=numpy_type(x).type(value))


def _mb():
    from coremltools.converters.mil import Builder

    return Builder


def _ends(pads, more):
    return [(before, after + extra) for (before, after), extra in zip(pads, more, strict=True)]


def _dilated(x, kernel, strides, dilations, combine):
    """Windows with holes: one strided slice per place in the window, one dimension after the other."""
    mb = _mb()
    for axis, (places, stride, dilation) in enumerate(zip(kernel, strides, dilations, strict=True), 2):
        count = (x.shape[axis] - (places - 1) * dilation - 1) // stride + 1
        result = None
        for place in range(places):
            begin, end, step = [0] * x.rank, list(x.shape), [1] * x.rank
            begin[axis] = place * dilation
            end[axis], step[axis] = begin[axis] + (count - 1) * stride + 1, stride
            part = mb.slice_by_index(x=x, begin=begin, end=end, stride=step)
            result = part if result is None else combine(x=result, y=part)
        x = result
    return x


def pad_arguments(pads: Sequence[tuple[int, int]]) -> dict:
    """``pad_type`` and ``pad`` of a convolution or pooling for (before, after) of each dimension."""
    if not any(map(any, pads)):
        return {"pad_type": "valid"}
    return {"pad_type": "custom", "pad": [amount for pair in pads for amount in pair]}
