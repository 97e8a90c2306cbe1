"""Pictures in another size."""

import math

import numpy as np
import torch
import torch.nn.functional as F

from ..archive import NotCovered, Unfit
from .arithmetic import as_numbers, as_tensor


def _nearest(x, axis, size):
    """One dimension in another size: each new pixel takes the one that its start lies in."""
    places = torch.arange(size, device=x.device) * x.shape[axis] // size
    return x.index_select(axis, places)


def resize_nearest_neighbor(x, target_size_height, target_size_width):
    """The picture in another size, pixels repeated or left out."""
    return _nearest(_nearest(x, -2, int(target_size_height)), -1, int(target_size_width))


def _scaled(x, height, width):
    """The picture's new size, in float32 as the file's factors are: 0.7 of 10 pixels are 7."""
    return (np.array(x.shape[-2:], np.float32) * np.array([height, width], np.float32)).tolist()


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


def resize(x, shape, resized_dims, interpolation_mode="LINEAR", sampling_mode="DEFAULT"):
    """The last dimensions in another size, 0 meaning its own; ``shape`` ends with the new sizes."""
    count, shape = int(resized_dims), as_numbers(shape)
    if not 0 <= count <= min(len(shape), x.ndim) or interpolation_mode not in ("LINEAR", "NEAREST_NEIGHBOR"):
        raise Unfit(f"{count} new sizes out of {shape} in the mode {interpolation_mode!r}")
    if interpolation_mode == "NEAREST_NEIGHBOR" and sampling_mode != "DEFAULT":
        raise NotCovered(f"which of two pixels is the nearest with {sampling_mode!r}")
    for axis in range(-count, 0):
        size = shape[axis] or x.shape[axis]
        if interpolation_mode == "LINEAR":
            x = _linear(x, axis, size, sampling_mode)
        else:
            x = _nearest(x, axis, size)
    return x


def _linear(x, axis, size, mode):
    """One dimension in another size, between pixels in proportion to the distance."""
    places = _positions(mode, x.shape[axis], size, x.device)
    before = places.floor().long()
    after = (before + 1).clamp(max=x.shape[axis] - 1)
    share = (places - before).float().reshape([-1, *[1] * (-1 - axis)])
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
    height, width = map(math.floor, _scaled(x, scale_factor_height, scale_factor_width))
    return resize_bilinear(x, height, width, mode)


def affine(
    x,
    transform_matrix,
    output_height,
    output_width,
    sampling_mode,
    padding_mode,
    padding_value,
    coordinates_mode,
    align_corners,
):
    """The picture turned, moved and scaled: at each new place, from -1 to 1, what lies where the matrix points."""
    if not align_corners or coordinates_mode != "normalized_minus_one_to_one":
        raise NotCovered(f"coordinates {coordinates_mode!r} from edge to edge of the corner pixels")
    matrix = as_tensor(transform_matrix).float().reshape(-1, 2, 3).expand(x.shape[0], 2, 3)
    grid = F.affine_grid(matrix, [*x.shape[:2], int(output_height), int(output_width)], align_corners=True)
    return resample(x, grid, sampling_mode, padding_mode, padding_value, coordinates_mode, align_corners)


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
