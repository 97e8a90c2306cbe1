"""The operators of Core ML as functions on torch tensors.

Names, arguments and meaning are those of the ML program operators, whose
reference is the class of the same name in ``coremltools.converters.mil.mil.ops.defs``.
The neural network format (``NeuralNetwork.proto``) is mapped onto them in ``network.py``.
All shapes are those of one example, its leading dimension of 1 included.
"""

import math
import operator

import numpy as np
import torch
import torch.nn.functional as F

from .archive import NotCovered, Unfit


def as_tensor(value):
    """A tensor from a tensor, a number or a list of numbers."""
    return value if torch.is_tensor(value) else torch.as_tensor(value)


def as_numbers(value):
    """A list of numbers from a tensor, a number or a list of numbers."""
    value = value.tolist() if torch.is_tensor(value) else value
    return [int(number) for number in (value if isinstance(value, list) else [value])]


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
    full = _pad_spatial(full, missing) if any(extra for _, extra in missing) else full
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
        return function(_pad_spatial(x, ends, -math.inf), kernel_sizes, strides)

    function = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}[count]
    if kind == "l2":
        return torch.sqrt(
            function(_pad_spatial(x * x, ends), kernel_sizes, strides) * math.prod(kernel_sizes)
        )
    total = function(_pad_spatial(x, ends), kernel_sizes, strides)
    if not any(map(any, ends)) or not exclude_padding:
        return total
    # The share of the image's own pixels in each window.
    ones = torch.ones((1, 1, *sizes), dtype=x.dtype, device=x.device)
    return total / function(_pad_spatial(ones, ends), kernel_sizes, strides)


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
    """The mean of each window; padding counts as zeros, or not at all.

    What a last window covers beyond the padding (``ceil_mode``) is padding too: unlike torch, Core ML
    divides by the whole window there (apple/coremltools, issue 2772).
    """
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


def einsum(values, equation):
    """The sum over the letters that the right side of the equation leaves out."""
    return torch.einsum(equation, *values)


def scaled_dot_product_attention(query, key, value, attn_mask=None):
    """softmax(query · keyᵀ / √size + mask) · value."""
    return F.scaled_dot_product_attention(query, key, value, attn_mask)


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


def instance_norm(x, gamma=None, beta=None, epsilon=1e-5):
    """Mean 0 and variance 1 over the pixels of each channel, then scaled and shifted."""
    axes = list(range(2, x.ndim))
    variance, mean = torch.var_mean(x, axes, correction=0, keepdim=True)
    result, shape = (x - mean) * torch.rsqrt(variance + epsilon), [-1, *[1] * len(axes)]
    result = result if gamma is None else result * gamma.reshape(shape)
    return result if beta is None else result + beta.reshape(shape)


def l2_norm(x, epsilon=1e-6):
    """Divided by the root of the sum of squares of the last three dimensions."""
    return x * torch.rsqrt((x * x).sum((-3, -2, -1), keepdim=True) + epsilon)


def local_response_norm(x, size, alpha=1e-4, beta=0.75, k=1.0):
    """AlexNet's normalisation over neighbouring channels; alpha is divided by the window's size."""
    if x.ndim < 4:
        raise NotCovered("Apple's documentation and its test disagree about the channels of rank 3")
    return F.local_response_norm(x, size, alpha, beta, k)


# Activations


def clip(x, alpha, beta):
    """Cut off below alpha and above beta."""
    return torch.clamp(x, alpha, beta)


def clamped_relu(x, alpha, beta):
    """x above 0, alpha · x below, cut off above beta."""
    return torch.clamp(torch.where(x >= 0, x, alpha * x), max=beta)


def elu(x, alpha=1.0):
    """x above 0, alpha · (eˣ - 1) below."""
    return torch.where(x >= 0, x, alpha * torch.expm1(torch.clamp(x, max=0.0)))


def gelu(x, mode="EXACT"):
    """x · Φ(x), exactly or by one of two approximations."""
    if mode == "SIGMOID_APPROXIMATION":
        return x * torch.sigmoid(1.702 * x)
    if mode not in ("EXACT", "TANH_APPROXIMATION"):
        raise Unfit(f"unknown gelu mode {mode!r}")
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


def softplus(x):
    """log(1 + eˣ)."""
    # torch's own function becomes x itself above a threshold.
    return torch.logaddexp(x, torch.zeros_like(x))


def softplus_parametric(x, alpha, beta):
    """alpha · log(1 + e^(beta · x)), one pair per channel (dimension 1)."""
    shape = [-1, *[1] * (x.ndim - 2)]
    return alpha.reshape(shape) * softplus(beta.reshape(shape) * x)


def softmax(x, axis=-1):
    """eˣ divided by its sum along one dimension."""
    return F.softmax(x, dim=axis)


def thresholded_relu(x, alpha=1.0):
    """x where it is at least alpha, else 0."""
    return torch.where(x < alpha, torch.zeros_like(x), x)


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


def arithmetic(function):
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


add, sub, mul = arithmetic(operator.add), arithmetic(operator.sub), arithmetic(operator.mul)
real_div, power = arithmetic(_divide), arithmetic(operator.pow)
# As in Python: rounded down, and the rest has the sign of the divisor.
floor_div = arithmetic(lambda x, y: torch.div(x, y, rounding_mode="floor"))
mod = arithmetic(lambda x, y: torch.remainder(x, y))
equal, not_equal = arithmetic(operator.eq), arithmetic(operator.ne)
less, less_equal = arithmetic(operator.lt), arithmetic(operator.le)
greater, greater_equal = arithmetic(operator.gt), arithmetic(operator.ge)
logical_and = arithmetic(lambda x, y: torch.logical_and(x, as_tensor(y)))
logical_or = arithmetic(lambda x, y: torch.logical_or(x, as_tensor(y)))
logical_xor = arithmetic(lambda x, y: torch.logical_xor(x, as_tensor(y)))
maximum = arithmetic(lambda x, y: torch.maximum(as_tensor(x), as_tensor(y)))
minimum = arithmetic(lambda x, y: torch.minimum(as_tensor(x), as_tensor(y)))


def select(cond, a, b):
    """a where the condition holds, else b."""
    return torch.where(as_tensor(cond) != 0, as_tensor(a), as_tensor(b))


def threshold(x, alpha):
    """x, but at least alpha."""
    return torch.clamp(x, min=alpha)


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


def reduce_argmax(x, axis=-1, keep_dims=False, output_dtype="int32"):
    """Where the largest value is; the first one, if there are several."""
    return torch.argmax(x, axis, keepdim=keep_dims)


def reduce_argmin(x, axis=-1, keep_dims=False, output_dtype="int32"):
    """Where the smallest value is; the first one, if there are several."""
    return torch.argmin(x, axis, keepdim=keep_dims)


# Order


def argsort(x, axis=-1, ascending=False):
    """The places of the values, sorted; equal values keep their order."""
    return torch.argsort(x, dim=axis, descending=not ascending, stable=True)


def topk(x, k=1, axis=-1, ascending=False, sort=True, return_indices=True, output_indices_dtype="int32"):
    """The k largest (or smallest) values and their places; of equal values the first."""
    values, places = torch.sort(x, dim=axis, descending=not ascending, stable=True)
    k = int(k)
    if not 0 < k <= x.shape[axis]:
        raise Unfit(f"the {k} largest of {x.shape[axis]} values")
    values, places = values.narrow(axis, 0, k), places.narrow(axis, 0, k)
    return (values, places) if return_indices else values


def cumsum(x, axis=0, exclusive=False, reverse=False):
    """Running sums, with or without the value itself, from either end."""
    x = x.flip(axis) if reverse else x
    result = torch.cumsum(x, axis)
    if exclusive:  # moved by one place: taking x off again would round
        start = torch.zeros_like(result.narrow(axis, 0, 1))
        result = torch.cat([start, result.narrow(axis, 0, x.shape[axis] - 1)], axis)
    return result.flip(axis) if reverse else result


# Shape and place


def shape(x):
    """The shape as a tensor of integers."""
    return torch.tensor(x.shape, dtype=torch.int32, device="cpu")  # known even when x has no memory


def reshape(x, shape):
    """The same values in another shape; -1 is worked out, 0 keeps that dimension."""
    shape = as_numbers(shape)
    return as_tensor(x).reshape([x.shape[i] if size == 0 else size for i, size in enumerate(shape)])


def flatten2d(x, axis=1):
    """The dimensions before ``axis`` in one, those from it on in another."""
    axis = axis % x.ndim if axis < 0 else axis
    return x.reshape(math.prod(x.shape[:axis]), math.prod(x.shape[axis:]))


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
        raise Unfit(f"{x.shape[axis]} cannot be split into {num_splits} equal parts")
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


def _places(indices, size, device):
    """Indices as torch wants them: int64, from 0 on; a negative one counts from the end."""
    indices = as_tensor(indices).long().to(device)
    return torch.where(indices < 0, indices + size, indices)


def gather(x, indices, axis=0, batch_dims=0, validate_indices=False):
    """The entries at ``indices`` along one dimension."""
    x = as_tensor(x)
    axis = axis % x.ndim
    if batch_dims:
        if axis != batch_dims:
            raise NotCovered(f"batch_dims={batch_dims} along the dimension {axis}")
        return gather_nd(x, as_tensor(indices)[..., None], batch_dims)
    indices = _places(indices, x.shape[axis], x.device)
    picked = x.index_select(axis, indices.reshape(-1))
    return picked.reshape([*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :]])


def gather_along_axis(x, indices, axis=0, validate_indices=False):
    """At each place the entry that ``indices`` names, along one dimension."""
    x = as_tensor(x)
    return torch.gather(x, axis, _places(indices, x.shape[axis], x.device))


def _flat_places(indices, sizes, device):
    """Indices into several dimensions (the last dimension of ``indices``) as indices into one."""
    places = 0
    for column, size in enumerate(sizes):
        places = places * size + _places(indices[..., column], size, device)
    return places


def gather_nd(x, indices, batch_dims=0, validate_indices=False):
    """The entries at ``indices``, whose last dimension counts through the first dimensions of x."""
    x, indices = as_tensor(x), as_tensor(indices)
    depth = batch_dims + indices.shape[-1]
    sizes = x.shape[batch_dims:depth]
    places = _flat_places(indices, sizes, x.device)
    if batch_dims:  # one example after the other
        examples = torch.arange(math.prod(x.shape[:batch_dims]), device=x.device) * math.prod(sizes)
        places = places.reshape(len(examples), -1) + examples[:, None]
    picked = x.flatten(0, depth - 1).index_select(0, places.reshape(-1))
    return picked.reshape([*indices.shape[:-1], *x.shape[depth:]])


_SCATTERS = {"add": "sum", "mul": "prod", "max": "amax", "min": "amin"}


def scatter_along_axis(data, indices, updates, axis=0, mode="add", validate_indices=False):
    """``data`` with ``updates`` put in, added, multiplied ... at the places ``indices``."""
    data, updates = as_tensor(data), as_tensor(updates)
    places = _places(indices, data.shape[axis], data.device)
    updates = updates.to(data)
    if mode == "sub":
        return data.scatter_add(axis, places, -updates)
    if mode == "update":
        return data.scatter(axis, places, updates)
    if mode not in _SCATTERS:
        raise NotCovered(f"the mode {mode!r}")
    return data.scatter_reduce(axis, places, updates, _SCATTERS[mode])


def scatter(data, indices, updates, axis=0, mode="add", validate_indices=False):
    """Whole slices along one dimension replaced, added, multiplied ..."""
    data, updates = as_tensor(data), as_tensor(updates)
    axis = axis % data.ndim
    updates = updates.reshape([*data.shape[:axis], -1, *data.shape[axis + 1 :]])
    shape = [1] * data.ndim
    shape[axis] = -1
    indices = as_tensor(indices).reshape(shape).expand(updates.shape)
    return scatter_along_axis(data, indices, updates, axis, mode)


def scatter_nd(data, indices, updates, mode="add", validate_indices=False):
    """As ``scatter``, with places that count through the first dimensions of ``data``."""
    data, indices, updates = as_tensor(data), as_tensor(indices), as_tensor(updates)
    depth = indices.shape[-1]
    places = _flat_places(indices, data.shape[:depth], data.device).reshape(-1)
    flat = data.flatten(0, depth - 1)
    updates = updates.reshape(-1, *data.shape[depth:])
    return scatter(flat, places, updates, 0, mode).reshape(data.shape)


def one_hot(indices, one_hot_vector_size, axis=-1, on_value=1, off_value=0):
    """A new dimension with ``on_value`` at the index and ``off_value`` elsewhere."""
    indices = as_tensor(indices)
    classes = torch.arange(int(one_hot_vector_size), device=indices.device)
    axis = axis % (indices.ndim + 1)
    hot = indices.unsqueeze(axis) == classes.reshape(-1, *[1] * (indices.ndim - axis))
    return torch.where(hot, as_tensor(on_value), as_tensor(off_value))


def fill(shape, value=0.0):
    """A tensor of one value."""
    return torch.full(as_numbers(shape), value)


def range_1d(end, start, step):
    """Numbers from ``start`` to ``end`` in steps."""
    numbers = [value.item() if torch.is_tensor(value) else value for value in (start, end, step)]
    return torch.arange(*numbers)


def tile(x, reps):
    """The tensor repeated along each dimension."""
    return torch.tile(as_tensor(x), as_numbers(reps))


def reverse(x, axes=None):
    """Turned round along some dimensions, all when ``axes`` is missing."""
    return x.flip(list(range(x.ndim)) if axes is None else axes)


def crop(x, crop_height, crop_width):
    """Without some rows at the top and bottom and some columns at the left and right."""
    (top, bottom), (left, right) = as_numbers(crop_height), as_numbers(crop_width)
    height, width = x.shape[-2] - top - bottom, x.shape[-1] - left - right
    if min(top, bottom, left, right) < 0 or height < 1 or width < 1:
        raise Unfit(f"of {x.shape[-2]} rows and {x.shape[-1]} columns it would leave {height} and {width}")
    return x[..., top : x.shape[-2] - bottom, left : x.shape[-1] - right]


def fill_like(ref_tensor, value=0.0):
    """One value in the shape of a tensor."""
    return torch.full(as_tensor(ref_tensor).shape, value)


def band_part(x, lower=-1, upper=-1):
    """Zero outside of a band around the diagonal; -1 keeps that whole side."""
    x = x if lower < 0 else torch.triu(x, -lower)
    return x if upper < 0 else torch.tril(x, upper)


def depth_to_space(x, block_size):
    """Channels become pixels; the block's place is the slower part of the channel number."""
    n, channels, height, width = x.shape
    x = x.reshape(n, block_size, block_size, channels // block_size**2, height, width)
    return x.permute(0, 3, 4, 1, 5, 2).reshape(n, -1, height * block_size, width * block_size)


def space_to_depth(x, block_size):
    """Pixels become channels; the reverse of ``depth_to_space``."""
    n, channels, height, width = x.shape
    x = x.reshape(n, channels, height // block_size, block_size, width // block_size, block_size)
    return x.permute(0, 3, 5, 1, 2, 4).reshape(n, -1, height // block_size, width // block_size)


def pixel_shuffle(x, upscale_factor):
    """Channels become pixels; the block's place is the faster part of the channel number."""
    return F.pixel_shuffle(x, upscale_factor)


def pixel_unshuffle(x, downscale_factor):
    """The reverse of ``pixel_shuffle``."""
    return F.pixel_unshuffle(x, downscale_factor)


def pad(x, pad, mode="constant", constant_val=0.0):
    """Add values around the last dimensions: constant, mirrored or the edge repeated."""
    pad = as_numbers(pad)
    pairs = list(zip(pad[::2], pad[1::2], strict=True))
    if min(pad, default=0) < 0 or mode not in ("constant", "reflect", "replicate"):
        raise Unfit(f"padding by {pad} in the mode {mode!r}")
    if mode == "constant":
        return _pad_spatial(x, pairs, float(constant_val))
    for axis, (before, after) in enumerate(pairs, start=-len(pairs)):
        last = x.shape[axis] - 1
        if mode == "reflect" and max(before, after) > last:
            raise Unfit(f"a mirror of {max(before, after)} values needs one more, not {last + 1}")
        if before or after:
            places = torch.arange(-before, last + after + 1, device=x.device)
            places = last - (last - places.abs()).abs() if mode == "reflect" else places.clamp(0, last)
            x = x.index_select(axis, places)
    return x


# Pictures in another size


def _nearest(x, axis, size):
    """One dimension in another size: each new pixel takes the one that its start lies in."""
    places = torch.arange(size, device=x.device) * x.shape[axis] // size
    return x.index_select(axis, places)


def resize_nearest_neighbor(x, target_size_height, target_size_width):
    """The picture in another size, pixels repeated or left out."""
    return _nearest(_nearest(x, -2, int(target_size_height)), -1, int(target_size_width))


def _scaled(x, height, width):
    """The picture's new size, in float32 as the file's factors are: 0.7 of 10 pixels are 7."""
    return (np.float32(x.shape[-2:]) * np.float32([height, width])).tolist()


def upsample_nearest_neighbor(x, scale_factor_height=1, scale_factor_width=1):
    """Each pixel repeated."""
    sizes = _scaled(x, scale_factor_height, scale_factor_width)
    if any(size != int(size) for size in sizes):
        raise NotCovered(f"a picture of {sizes[1]:g}×{sizes[0]:g} pixels, which are no whole numbers")
    return resize_nearest_neighbor(x, *sizes)


def _positions(mode, old, new, device):
    """Where the new pixels lie among the old ones, along one dimension: numbers from 0 to old - 1."""
    i = torch.arange(new, device=device, dtype=torch.float64)
    if mode == "ALIGN_CORNERS" and new == 1:
        places = torch.full_like(i, (old - 1) / 2)
    elif mode in ("STRICT_ALIGN_CORNERS", "ALIGN_CORNERS"):
        places = i * ((old - 1) / max(1, new - 1))
    elif mode == "DEFAULT":
        places = i * (old / new)
    elif mode == "OFFSET_CORNERS":
        places = (i + 0.5) * (max(1, old - 1) / new)
    elif mode == "UNALIGN_CORNERS":
        places = (i + 0.5) * (old / new) - 0.5
    else:
        raise Unfit(f"unknown sampling mode {mode!r}")
    return places.clamp(0, old - 1)


def _linear(x, axis, size, mode):
    """One dimension in another size, between pixels in proportion to the distance."""
    places = _positions(mode, x.shape[axis], size, x.device)
    before = places.floor().long()
    after = (before + 1).clamp(max=x.shape[axis] - 1)
    share = (places - before).float().reshape([-1] if axis == -1 else [-1, 1])
    return x.index_select(axis, before) * (1 - share) + x.index_select(axis, after) * share


def resize_bilinear(x, target_size_height=1, target_size_width=1, sampling_mode="DEFAULT"):
    """The picture in another size, between pixels in proportion to the distance."""
    x = _linear(x, -2, int(target_size_height), sampling_mode)
    return _linear(x, -1, int(target_size_width), sampling_mode)


def upsample_bilinear(
    x, scale_factor_height=1, scale_factor_width=1, align_corners=True, half_pixel_centers=None
):
    """As ``resize_bilinear``, given factors; the size is rounded down and the factor made to fit it."""
    half = not align_corners if half_pixel_centers is None else half_pixel_centers
    if align_corners and half:
        raise Unfit("pixels cannot be counted from the corners and from half a pixel on")
    mode = "STRICT_ALIGN_CORNERS" if align_corners else "UNALIGN_CORNERS" if half else "DEFAULT"
    return resize_bilinear(x, *map(math.floor, _scaled(x, scale_factor_height, scale_factor_width)), mode)


def resample(x, coordinates, sampling_mode, padding_mode, padding_value, coordinates_mode, align_corners):
    """The picture at given places, x before y."""
    if coordinates_mode == "normalized_zero_to_one":
        coordinates = coordinates * 2 - 1
    elif coordinates_mode != "normalized_minus_one_to_one":
        raise NotCovered(f"coordinates of the kind {coordinates_mode!r}")
    modes = {
        "constant": "zeros",
        "border": "border",
        "symmetric" if not align_corners else "reflection": "reflection",
    }
    if padding_mode not in modes or (padding_mode == "constant" and padding_value):
        raise NotCovered(f"the padding {padding_mode!r} ({padding_value})")
    return F.grid_sample(x, coordinates, sampling_mode, modes[padding_mode], align_corners)


# Sequences

_GATES = {
    "linear": lambda x: x,
    "relu": torch.relu,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
}


MAX_SEQUENCE = 2**16
"""The longest sequence: a step takes about 50 µs, and a file of a kilobyte may ask for any number."""


def _lstm_one_way(x, h, c, weights, functions, clip, backwards):
    """One direction of a long short-term memory.

    Args:
        x: sequence × batch × inputs.
        h, c: batch × hidden size.
        weights: of the inputs, of the state, the bias and the peepholes (each may be None); four blocks:
            input gate, forget gate, output gate, cell.
        functions: of the gates, of the cell and of the output.
        clip: the largest amount that c may have, None for any.

    Returns:
        The output of every step in the order in which they were made, and the last h and c.
    """
    weight_x, weight_h, bias, peephole = weights
    gate, cell, activation = functions
    look = [0.0] * 3 if peephole is None else peephole.chunk(3)
    outputs, steps = [], range(len(x))
    if x.is_meta:  # only the shapes are wanted
        steps = range(1)
    for step in reversed(steps) if backwards else steps:
        i, f, o, z = (F.linear(x[step], weight_x, bias) + F.linear(h, weight_h)).chunk(4, -1)
        c_new = gate(f + look[1] * c) * c + gate(i + look[0] * c) * cell(z)
        c_new = c_new if clip is None else c_new.clamp(-clip, clip)
        c, h = c_new, gate(o + look[2] * c_new) * activation(c_new)
        outputs.append(h)
    return torch.stack(outputs).expand(len(x), *h.shape), h, c


def lstm(
    x,
    initial_h,
    initial_c,
    weight_ih,
    weight_hh,
    bias=None,
    peephole=None,
    weight_ih_back=None,
    weight_hh_back=None,
    bias_back=None,
    peephole_back=None,
    direction="forward",
    output_sequence=False,
    recurrent_activation="sigmoid",
    cell_activation="tanh",
    activation="tanh",
    clip=None,
):
    """Long short-term memory over sequence × batch × inputs.

    A single backward direction gives its outputs in the order in which they were made; of two
    directions, the second in the order of the sequence.
    """
    if len(x) > MAX_SEQUENCE:
        raise NotCovered(f"a sequence of {len(x):,} steps; the limit is {MAX_SEQUENCE:,}")
    names = (recurrent_activation, cell_activation, activation)
    if any(name.lower() not in _GATES for name in names):
        raise NotCovered(f"the activations {', '.join(names)}")
    functions = [_GATES[name.lower()] for name in names]
    forward = (weight_ih, weight_hh, bias, peephole)
    if direction in ("forward", "reverse"):
        y, h, c = _lstm_one_way(x, initial_h, initial_c, forward, functions, clip, direction == "reverse")
        return (y if output_sequence else y[-1:]), h, c
    if direction != "bidirectional":
        raise Unfit(f"unknown direction {direction!r}")
    back = (weight_ih_back, weight_hh_back, bias_back, peephole_back)
    (h_f, h_b), (c_f, c_b) = initial_h.chunk(2, -1), initial_c.chunk(2, -1)
    y_f, h_f, c_f = _lstm_one_way(x, h_f, c_f, forward, functions, clip, False)
    y_b, h_b, c_b = _lstm_one_way(x, h_b, c_b, back, functions, clip, True)
    y = torch.cat([y_f, y_b.flip(0)], -1) if output_sequence else torch.cat([y_f[-1:], y_b[-1:]], -1)
    return y, torch.cat([h_f, h_b], -1), torch.cat([c_f, c_b], -1)
