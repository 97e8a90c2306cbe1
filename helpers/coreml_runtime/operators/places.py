"""Order, shape and place: the same values, elsewhere."""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F

from ..archive import NotCovered, Unfit
from .arithmetic import as_numbers, as_tensor
from .windows import pad_spatial


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


def reshape(x, shape):
    """The same values in another shape; -1 is worked out, 0 keeps that dimension."""
    shape = as_numbers(shape)
    return as_tensor(x).reshape([x.shape[i] if size == 0 else size for i, size in enumerate(shape)])


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
    indices = _places(indices, x.shape[axis], x.device)
    before, after = x.shape[:axis], x.shape[axis + 1 :]
    if not batch_dims:
        return x.index_select(axis, indices.reshape(-1)).reshape([*before, *indices.shape, *after])
    if not 0 <= batch_dims <= axis:
        raise Unfit(f"batch_dims={batch_dims} along the dimension {axis}")
    # Batches × what lies between × the dimension × the rest; each batch has indices of its own.
    x = x.reshape(math.prod(before[:batch_dims]), math.prod(before[batch_dims:]), x.shape[axis], -1)
    picked = indices.reshape(len(x), 1, -1, 1).expand(-1, x.shape[1], -1, x.shape[3])
    return torch.gather(x, 2, picked).reshape([*before, *indices.shape[batch_dims:], *after])


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


def range_1d(end, start, step):
    """Numbers from ``start`` to ``end`` in steps."""
    numbers = [value.item() if torch.is_tensor(value) else value for value in (start, end, step)]
    return torch.arange(*numbers)


def crop(x, crop_height, crop_width):
    """Without some rows at the top and bottom and some columns at the left and right."""
    (top, bottom), (left, right) = as_numbers(crop_height), as_numbers(crop_width)
    height, width = x.shape[-2] - top - bottom, x.shape[-1] - left - right
    if min(top, bottom, left, right) < 0 or height < 1 or width < 1:
        raise Unfit(f"of {x.shape[-2]} rows and {x.shape[-1]} columns it would leave {height} and {width}")
    return x[..., top : x.shape[-2] - bottom, left : x.shape[-1] - right]


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


def pad(x, pad, mode="constant", constant_val=0.0):
    """Add values around the last dimensions: constant, mirrored or the edge repeated."""
    pad = as_numbers(pad)
    pairs = list(zip(pad[::2], pad[1::2], strict=True))
    if min(pad, default=0) < 0 or mode not in ("constant", "reflect", "replicate"):
        raise Unfit(f"padding by {pad} in the mode {mode!r}")
    if mode == "constant":
        return pad_spatial(x, pairs, float(constant_val))
    for axis, (before, after) in enumerate(pairs, start=-len(pairs)):
        last = x.shape[axis] - 1
        if mode == "reflect" and max(before, after) > last:
            raise Unfit(f"a mirror of {max(before, after)} values needs one more, not {last + 1}")
        if before or after:
            places = torch.arange(-before, last + after + 1, device=x.device)
            places = last - (last - places.abs()).abs() if mode == "reflect" else places.clamp(0, last)
            x = x.index_select(axis, places)
    return x


FORMULAS: dict[str, Callable[..., torch.Tensor]] = {
    # Equal values keep their order.
    "argsort": lambda x, axis=-1, ascending=False: torch.argsort(
        x, dim=axis, descending=not ascending, stable=True
    ),
    # Zero outside of a band around the diagonal; -1 keeps that whole side.
    "band_part": lambda x, lower=-1, upper=-1: x.triu(-lower if lower >= 0 else -x.shape[-2]).tril(
        upper if upper >= 0 else x.shape[-1]
    ),
    "fill": lambda shape, value=0.0: torch.full(as_numbers(shape), value),
    "fill_like": lambda ref_tensor, value=0.0: torch.full(as_tensor(ref_tensor).shape, value),
    "flatten2d": lambda x, axis=1: x.reshape(math.prod(x.shape[: axis % x.ndim if axis < 0 else axis]), -1),
    "identity": lambda x: as_tensor(x),
    # Channels become pixels; the block's place is the faster part of the channel number.
    "pixel_shuffle": lambda x, upscale_factor: F.pixel_shuffle(x, upscale_factor),
    "pixel_unshuffle": lambda x, downscale_factor: F.pixel_unshuffle(x, downscale_factor),
    "reverse": lambda x, axes=None: x.flip(list(range(x.ndim)) if axes is None else axes),
    # Known even when x has no memory.
    "shape": lambda x: torch.tensor(x.shape, dtype=torch.int32, device="cpu"),
    "squeeze": lambda x, axes=None: as_tensor(x).squeeze() if axes is None else as_tensor(x).squeeze(axes),
    "stack": lambda values, axis: torch.stack([as_tensor(value) for value in values], axis),
    "tile": lambda x, reps: torch.tile(as_tensor(x), as_numbers(reps)),
    "transpose": lambda x, perm: x.permute(perm),
}
"""Operators that one line says."""
