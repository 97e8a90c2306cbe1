"""The operators of Core ML as functions on torch tensors.

Names, arguments and meaning are those of the ML program operators, whose
reference is the class of the same name in ``coremltools.converters.mil.mil.ops.defs``.
The neural network format (``NeuralNetwork.proto``) is mapped onto them in ``network.py``.
All shapes are those of one example, its leading dimension of 1 included.
"""

import math
import operator

import torch
import torch.nn.functional as F


def as_tensor(value):
    """A tensor from a tensor, a number or a list of numbers."""
    return value if torch.is_tensor(value) else torch.as_tensor(value)


# Windows: convolution and pooling


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
        if pad is None or len(pad) != 2 * len(sizes):
            raise ValueError(f"custom padding needs {2 * len(sizes)} numbers, not {pad}")
        return list(zip(pad[::2], pad[1::2], strict=True))
    if pad_type not in ("same", "same_lower"):
        raise ValueError(f"unknown padding type {pad_type!r}")
    pairs = []
    for size, window, stride, dilation in zip(sizes, kernel, strides, dilations, strict=True):
        total = max(0, (math.ceil(size / stride) - 1) * stride + (window - 1) * dilation + 1 - size)
        small, large = total // 2, total - total // 2
        pairs.append((small, large) if pad_type == "same" else (large, small))
    return pairs


def _pad_spatial(x, pairs, value=0.0):
    """Add pixels around the spatial dimensions. ``F.pad`` wants the last dimension first."""
    return F.pad(x, [amount for pair in reversed(pairs) for amount in pair], value=value)


def conv(x, weight, bias=None, strides=None, pad_type="valid", pad=None, dilations=None, groups=1):
    """Convolution over 1 to 3 spatial dimensions; weight: outputs × inputs/groups × kernel."""
    count = x.ndim - 2
    strides, dilations = strides or [1] * count, dilations or [1] * count
    pairs = padding_pairs(pad_type, x.shape[2:], weight.shape[2:], strides, dilations, pad)
    padding = [before for before, _ in pairs]
    if any(before != after for before, after in pairs):
        x, padding = _pad_spatial(x, pairs), [0] * count
    function = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}[count]
    return function(x, weight, bias, strides, padding, dilations, groups)


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
                raise ValueError("rounding up (ceil_mode) needs the same padding on both sides")
            windows = math.ceil((size + before + after - window) / stride) + 1
            last = (windows - 1) * stride
            if last >= size + before:
                if not (padded_anywhere if ceil_drops == "any" else before):
                    raise ValueError(
                        "the last pooling window lies outside the image; its value is not defined"
                    )
                last -= stride
            beyond[axis] = max(0, last + window - (size + before + after))
    ends = [(before, after + extra) for (before, after), extra in zip(pairs, beyond, strict=True)]

    symmetric = all(before == after for before, after in ends)
    small = all(2 * after <= window for (_, after), window in zip(ends, kernel_sizes, strict=True))
    if kind == "max":
        function = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}[count]
        if symmetric and small:
            return function(x, kernel_sizes, strides, [after for _, after in ends])
        return function(_pad_spatial(x, ends, -math.inf), kernel_sizes, strides)

    function = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}[count]
    if kind == "l2":
        return torch.sqrt(
            function(_pad_spatial(x * x, ends), kernel_sizes, strides) * math.prod(kernel_sizes)
        )
    total = function(_pad_spatial(x, ends), kernel_sizes, strides)
    if not any(after for _, after in ends) or (not exclude_padding and not any(beyond)):
        return total
    # The pixels that count: the image's own, or those of the padding too, never those beyond it.
    ones = torch.ones((1, 1, *sizes), dtype=x.dtype, device=x.device)
    counted = _pad_spatial(ones, pairs, 0.0 if exclude_padding else 1.0)
    counted = _pad_spatial(counted, [(0, extra) for extra in beyond])
    return total / function(counted, kernel_sizes, strides)


def max_pool(x, kernel_sizes, strides=None, pad_type="valid", pad=None, ceil_mode=False, ceil_drops="each"):
    """The largest value of each window."""
    return _pool(x, "max", kernel_sizes, strides, pad_type, pad, ceil_mode, False, ceil_drops)


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
    """The mean of each window; padding counts as zeros, or not at all."""
    exclude = exclude_padding_from_average
    return _pool(x, "average", kernel_sizes, strides, pad_type, pad, ceil_mode, exclude, ceil_drops)


def l2_pool(x, kernel_sizes, strides=None, pad_type="valid", pad=None, ceil_mode=False, ceil_drops="each"):
    """The root of the sum of squares of each window."""
    return _pool(x, "l2", kernel_sizes, strides, pad_type, pad, ceil_mode, False, ceil_drops)


# Products


def linear(x, weight, bias=None):
    """x · weightᵀ + bias; weight: outputs × inputs."""
    return F.linear(x, weight, bias)


def matmul(x, y, transpose_x=False, transpose_y=False):
    """Matrix product over the last two dimensions."""
    x = x.transpose(-1, -2) if transpose_x else x
    y = y.transpose(-1, -2) if transpose_y else y
    return torch.matmul(x, y)


# Normalisation


def batch_norm(x, mean, variance, gamma=None, beta=None, epsilon=1e-5):
    """Batch norm with the statistics in the file; channels are dimension 1."""
    return F.batch_norm(x, mean, variance, gamma, beta, False, 0.0, epsilon)


def layer_norm(x, axes=None, gamma=None, beta=None, epsilon=1e-5):
    """Mean 0 and variance 1 over ``axes``, then scaled and shifted."""
    axes = sorted(axis % x.ndim for axis in (axes or range(x.ndim)))
    shape = [x.shape[axis] for axis in axes]
    if axes == list(range(x.ndim - len(axes), x.ndim)):
        return F.layer_norm(x, shape, gamma, beta, epsilon)
    variance, mean = torch.var_mean(x, axes, correction=0, keepdim=True)
    result = (x - mean) * torch.rsqrt(variance + epsilon)
    full = [x.shape[axis] if axis in axes else 1 for axis in range(x.ndim)]
    result = result if gamma is None else result * gamma.reshape(full)
    return result if beta is None else result + beta.reshape(full)


def local_response_norm(x, size, alpha=1e-4, beta=0.75, k=1.0):
    """AlexNet's normalisation over neighbouring channels; alpha is divided by the window's size."""
    return F.local_response_norm(x, size, alpha, beta, k)


# Activations


def clip(x, alpha, beta):
    """Cut off below alpha and above beta."""
    return torch.clamp(x, alpha, beta)


def elu(x, alpha=1.0):
    """x above 0, alpha · (eˣ - 1) below."""
    return torch.where(x >= 0, x, alpha * torch.expm1(torch.clamp(x, max=0.0)))


def gelu(x, mode="EXACT"):
    """x · Φ(x), exactly or by one of two approximations."""
    if mode == "SIGMOID_APPROXIMATION":
        return x * torch.sigmoid(1.702 * x)
    if mode not in ("EXACT", "TANH_APPROXIMATION"):
        raise ValueError(f"unknown gelu mode {mode!r}")
    return F.gelu(x, approximate="tanh" if mode == "TANH_APPROXIMATION" else "none")


def leaky_relu(x, alpha=0.01):
    """x above 0, alpha · x below."""
    return torch.where(x >= 0, x, alpha * x)


def linear_activation(x, alpha=1.0, beta=0.0):
    """alpha · x + beta."""
    return alpha * x + beta


def prelu(x, alpha):
    """Leaky ReLU with one slope per channel (dimension 1)."""
    return F.prelu(x, as_tensor(alpha).reshape(-1))


def relu6(x):
    """ReLU cut off at 6."""
    return torch.clamp(x, 0.0, 6.0)


def scaled_tanh(x, alpha=1.0, beta=1.0):
    """alpha · tanh(beta · x)."""
    return alpha * torch.tanh(beta * x)


def sigmoid_hard(x, alpha=0.2, beta=0.5):
    """alpha · x + beta, cut off at 0 and 1."""
    return torch.clamp(alpha * x + beta, 0.0, 1.0)


def softmax(x, axis=-1):
    """eˣ divided by its sum along one dimension."""
    return F.softmax(x, dim=axis)


def thresholded_relu(x, alpha=1.0):
    """x where it is at least alpha, else 0."""
    return torch.where(x >= alpha, x, torch.zeros_like(x))


# One value at a time


def inverse(x, epsilon=1e-4):
    """1 / (x + epsilon)."""
    return 1.0 / (x + epsilon)


def rsqrt(x, epsilon=1e-12):
    """1 / √(x + epsilon)."""
    return torch.rsqrt(x + epsilon)


def log(x, epsilon=1e-45):
    """Natural logarithm of x + epsilon."""
    return torch.log(x + epsilon)


def cast(x, dtype):
    """Change the type. A float16 result is rounded by the step, which knows the declared type."""
    kinds = {"fp16": torch.float32, "fp32": torch.float32, "bool": torch.bool, "int32": torch.int32}
    if dtype not in kinds:
        raise ValueError(f"cast to {dtype!r} is not covered")
    return as_tensor(x).to(kinds[dtype])


def arithmetic(function):
    """An operator with two sides; lists become tensors, so that + adds and does not join."""

    def compute(x, y):
        x = as_tensor(x) if isinstance(x, list) or not torch.is_tensor(y) else x
        return function(x, as_tensor(y) if isinstance(y, list) else y)

    return compute


add, sub, mul = arithmetic(operator.add), arithmetic(operator.sub), arithmetic(operator.mul)
real_div, power = arithmetic(operator.truediv), arithmetic(operator.pow)
maximum = arithmetic(lambda x, y: torch.maximum(as_tensor(x), as_tensor(y)))
minimum = arithmetic(lambda x, y: torch.minimum(as_tensor(x), as_tensor(y)))


# Reductions


def reduction(function):
    """Reduce some dimensions, all when ``axes`` is missing."""

    def compute(x, axes=None, keep_dims=False):
        return function(x, list(range(x.ndim)) if axes is None else axes, keepdim=keep_dims)

    return compute


reduce_mean, reduce_sum = reduction(torch.mean), reduction(torch.sum)
reduce_max, reduce_min = reduction(torch.amax), reduction(torch.amin)


# Shape and place


def shape(x):
    """The shape as a tensor of integers."""
    return torch.tensor(x.shape, dtype=torch.int32)


def reshape(x, shape):
    """The same values in another shape; -1 is worked out, 0 keeps that dimension."""
    shape = shape.tolist() if torch.is_tensor(shape) else shape
    return as_tensor(x).reshape([x.shape[i] if size == 0 else size for i, size in enumerate(shape)])


def transpose(x, perm):
    """The dimensions in another order."""
    return x.permute(perm)


def squeeze(x, axes=None):
    """Without the dimensions of size 1 (all of them, or ``axes``)."""
    return as_tensor(x).squeeze() if axes is None else as_tensor(x).squeeze(axes)


def expand_dims(x, axes):
    """With new dimensions of size 1 at the places ``axes`` of the result."""
    x = as_tensor(x)
    rank = x.ndim + len(axes)
    for axis in sorted(axis % rank for axis in axes):
        x = x.unsqueeze(axis)
    return x


def concat(values, axis, interleave=False):
    """Joined along one dimension, one after the other or channel by channel in turn."""
    values = [as_tensor(value) for value in values]
    if not interleave:
        return torch.cat(values, axis)
    axis = axis % values[0].ndim
    return torch.stack(values, axis + 1).flatten(axis, axis + 1)


def stack(values, axis):
    """Joined along a new dimension."""
    return torch.stack([as_tensor(value) for value in values], axis)


def split(x, axis, num_splits=0, split_sizes=None):
    """Cut along one dimension into equal parts or parts of the given sizes."""
    if split_sizes is not None:
        return torch.split(x, split_sizes, axis)
    if not 0 < num_splits <= 4096 or x.shape[axis] % num_splits:
        raise ValueError(f"{x.shape[axis]} cannot be split into {num_splits} equal parts")
    return torch.split(x, x.shape[axis] // num_splits, axis)


def slice_by_index(x, begin, end, stride=None, begin_mask=None, end_mask=None, squeeze_mask=None):
    """x[begin:end:stride] in every dimension; a mask takes the whole side, or removes the dimension."""
    x = as_tensor(x)
    removed = []
    for axis in range(x.ndim):
        if squeeze_mask and squeeze_mask[axis]:
            x = x.narrow(axis, begin[axis] % x.shape[axis], 1)
            removed.append(axis)
            continue
        part = slice(
            None if begin_mask and begin_mask[axis] else begin[axis],
            None if end_mask and end_mask[axis] else end[axis],
            stride[axis] if stride else 1,
        )
        positions = range(*part.indices(x.shape[axis]))
        if positions.step > 0:
            x = x[(slice(None),) * axis + (part,)]
        else:
            x = x.index_select(
                axis, torch.arange(positions.start, positions.stop, positions.step, device=x.device)
            )
    return x.squeeze(removed) if removed else x


def slice_by_size(x, begin, size):
    """``size`` values from ``begin`` on in every dimension; -1 takes all that are left."""
    for axis, (start, length) in enumerate(zip(begin, size, strict=True)):
        start = start % x.shape[axis]
        x = x.narrow(axis, start, x.shape[axis] - start if length == -1 else length)
    return x


def gather(x, indices, axis=0, batch_dims=0, validate_indices=False):
    """The entries at ``indices`` along one dimension."""
    if batch_dims:
        raise ValueError("gather with batch_dims is not covered")
    x, indices = as_tensor(x), as_tensor(indices).long()
    axis = axis % x.ndim
    indices = torch.where(indices < 0, indices + x.shape[axis], indices).to(x.device)
    picked = x.index_select(axis, indices.reshape(-1))
    return picked.reshape(*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :])


def pad(x, pad, mode="constant", constant_val=0.0):
    """Add values around the last dimensions: constant, mirrored or the edge repeated."""
    if len(pad) % 2:
        raise ValueError("padding needs an even number of amounts")
    amounts = [amount for i in range(len(pad) - 2, -1, -2) for amount in pad[i : i + 2]]
    if mode == "constant":
        return F.pad(x, amounts, value=float(constant_val))
    # torch mirrors and repeats in up to three dimensions and wants the untouched ones left out.
    while len(amounts) > 2 and amounts[-2:] == [0, 0]:
        amounts = amounts[:-2]
    return F.pad(x, amounts, mode={"reflect": "reflect", "replicate": "replicate"}[mode])


def upsample_nearest_neighbor(x, scale_factor_height=1, scale_factor_width=1):
    """Each pixel repeated."""
    if scale_factor_height != int(scale_factor_height) or scale_factor_width != int(scale_factor_width):
        raise ValueError("only whole scale factors are covered")
    x = x.repeat_interleave(int(scale_factor_height), -2)
    return x.repeat_interleave(int(scale_factor_width), -1)
