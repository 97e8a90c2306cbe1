"""Windows: convolution and pooling."""

import math

import torch
import torch.nn.functional as F

from ..archive import Unfit


def padding_pairs(pad_type, sizes, kernel, strides, dilations, pad):
    """How much is added before and after each spatial dimension.

    Args:
        pad_type: "valid" (none), "same" (output = input / stride, rounded up; an odd pixel goes to the
            end), "same_lower" (it goes to the start) or "custom" (``pad``: before, after, before, ...).
        sizes, kernel, strides, dilations: one number per spatial dimension.

    Raises:
        ValueError: another ``pad_type``, or a ``pad`` of the wrong length.
    """
    if pad_type == "valid":
        return [(0, 0)] * len(sizes)
    if pad_type == "custom":
        if pad is None or len(pad) != 2 * len(sizes) or min(pad) < 0:
            raise Unfit(f"custom padding needs {2 * len(sizes)} numbers from 0 on, not {pad}")
        return list(zip(pad[::2], pad[1::2], strict=True))
    if pad_type not in ("same", "same_lower"):
        raise Unfit(f"unknown padding type {pad_type!r}")
    pairs = []
    for size, window, stride, dilation in zip(sizes, kernel, strides, dilations, strict=True):
        total = max(0, (math.ceil(size / stride) - 1) * stride + (window - 1) * dilation + 1 - size)
        small, large = total // 2, total - total // 2
        pairs.append((small, large) if pad_type == "same" else (large, small))
    return pairs


def pad_spatial(x, pairs, value=0.0):
    """Add pixels around the spatial dimensions. ``F.pad`` wants the last dimension first."""
    return F.pad(x, [amount for pair in reversed(pairs) for amount in pair], value=value)


def conv(x, weight, bias=None, strides=None, pad_type="valid", pad=None, dilations=None, groups=1):
    """Convolution over 1 to 3 spatial dimensions; weight: outputs × inputs/groups × kernel."""
    count = x.ndim - 2
    strides, dilations = strides or [1] * count, dilations or [1] * count
    pairs = padding_pairs(pad_type, x.shape[2:], weight.shape[2:], strides, dilations, pad)
    padding = [before for before, _ in pairs]
    if any(before != after for before, after in pairs):
        x, padding = pad_spatial(x, pairs), [0] * count
    function = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}[count]
    return function(x, weight, bias, strides, padding, dilations, groups)


def conv_transpose(
    x,
    weight,
    bias=None,
    strides=None,
    pad_type="valid",
    pad=None,
    dilations=None,
    groups=1,
    output_shape=None,
):
    """The transposed convolution; weight: inputs × outputs/groups × kernel.

    ``pad`` is cut off the full result. Where ``output_shape`` asks for more than is left, zeros follow.
    """
    count = x.ndim - 2
    strides, dilations = strides or [1] * count, dilations or [1] * count
    function = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}[count]
    full = function(x, weight, None, strides, 0, 0, groups, dilations)
    wanted = [size * stride for size, stride in zip(x.shape[2:], strides, strict=True)]
    if pad_type == "same":
        wanted = output_shape[2:] if output_shape else wanted
        spare = [max(0, size - target) for size, target in zip(full.shape[2:], wanted, strict=True)]
        pairs = [(total // 2, total - total // 2) for total in spare]
    elif pad_type in ("valid", "custom"):
        pairs = padding_pairs(pad_type, x.shape[2:], weight.shape[2:], strides, dilations, pad)
        wanted = [size - sum(pair) for size, pair in zip(full.shape[2:], pairs, strict=True)]
        wanted = output_shape[2:] if output_shape else wanted
    else:
        raise Unfit(f"unknown padding type {pad_type!r}")
    for axis, (target, (before, _)) in enumerate(zip(wanted, pairs, strict=True), start=2):
        full = full.narrow(axis, before, min(target, full.shape[axis] - before))
    missing = [(0, target - size) for size, target in zip(full.shape[2:], wanted, strict=True)]
    full = pad_spatial(full, missing) if any(extra for _, extra in missing) else full
    return full if bias is None else full + bias.reshape(-1, *[1] * count)


def _pool(x, kind, kernel_sizes, strides, pad_type, pad, ceil_mode, exclude_padding, ceil_drops):
    """Pooling of one ``kind``: "max", "average" or "l2".

    ``ceil_mode`` rounds the number of windows up. Where there is padding, a last window that starts
    beyond the image and the padding before it is dropped again: judged per dimension, or for all
    dimensions when one is padded (``ceil_drops`` is "each" or "any").
    """
    count = x.ndim - 2
    sizes, strides = x.shape[2:], strides or [1] * count
    pairs = padding_pairs(pad_type, sizes, kernel_sizes, strides, [1] * count, pad)
    beyond = [0] * count
    if ceil_mode:
        padded_anywhere = any(sum(pair) for pair in pairs)
        for axis, (size, window, stride, (before, after)) in enumerate(
            zip(sizes, kernel_sizes, strides, pairs, strict=True)
        ):
            if before != after:
                raise Unfit("rounding up (ceil_mode) needs the same padding on both sides")
            windows = math.ceil((size + before + after - window) / stride) + 1
            last = (windows - 1) * stride
            if last >= size + before:
                if not (padded_anywhere if ceil_drops == "any" else before):
                    raise Unfit("the last pooling window lies outside the image; its value is not defined")
                last -= stride
            beyond[axis] = max(0, last + window - (size + before + after))
    ends = [(before, after + extra) for (before, after), extra in zip(pairs, beyond, strict=True)]

    symmetric = all(before == after for before, after in ends)
    small = all(2 * after <= window for (_, after), window in zip(ends, kernel_sizes, strict=True))
    if kind == "max":
        function = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}[count]
        if symmetric and small:
            return function(x, kernel_sizes, strides, [after for _, after in ends])
        return function(pad_spatial(x, ends, -math.inf), kernel_sizes, strides)

    mean = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}[count]
    if kind == "l2":
        return torch.sqrt(mean(pad_spatial(x * x, ends), kernel_sizes, strides) * math.prod(kernel_sizes))
    total = mean(pad_spatial(x, ends), kernel_sizes, strides)
    if not any(map(any, ends)) or not exclude_padding:
        return total
    # The share of the image's own pixels in each window.
    ones = torch.ones((1, 1, *sizes), dtype=x.dtype, device=x.device)
    return total / mean(pad_spatial(ones, ends), kernel_sizes, strides)


def _of_kind(kind):
    """The largest value of each window ("max"), or the root of the sum of squares ("l2")."""

    def compute(
        x, kernel_sizes, strides=None, pad_type="valid", pad=None, ceil_mode=False, ceil_drops="each"
    ):
        return _pool(x, kind, kernel_sizes, strides, pad_type, pad, ceil_mode, False, ceil_drops)

    return compute


max_pool, l2_pool = _of_kind("max"), _of_kind("l2")


def avg_pool(
    x,
    kernel_sizes,
    strides=None,
    pad_type="valid",
    pad=None,
    ceil_mode=False,
    exclude_padding_from_average=False,
    ceil_drops="each",
):
    """The mean of each window; padding counts as zeros, or not at all.

    What a last window covers beyond the padding (``ceil_mode``) is padding too: unlike torch, Core ML
    divides by the whole window there (apple/coremltools, issue 2772).
    """
    exclude = exclude_padding_from_average
    return _pool(x, "average", kernel_sizes, strides, pad_type, pad, ceil_mode, exclude, ceil_drops)
