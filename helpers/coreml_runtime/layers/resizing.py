"""Pictures in another size."""

import math

from ..operators import resizing
from .forms import two


def _upsample(p, weights):
    height, width = list(p.fractionalScalingFactor) or two(p.scalingFactor, 1)
    if p.mode and p.linearUpsampleMode == 0:
        return _upsample_default, {"height": height, "width": width}
    if p.mode:
        parameters = {"scale_factor_height": height, "scale_factor_width": width}
        return resizing.upsample_bilinear, {"align_corners": p.linearUpsampleMode == 1, **parameters}
    return resizing.upsample_nearest_neighbor, {"scale_factor_height": height, "scale_factor_width": width}


def _upsample_default(x, height, width):
    """Bilinear, as ``resize_bilinear`` samples unless told otherwise."""
    return resizing.resize_bilinear(x, math.floor(x.shape[-2] * height), math.floor(x.shape[-1] * width))


def _resize_bilinear(p, weights):
    modes = ("STRICT_ALIGN_CORNERS", "ALIGN_CORNERS", "DEFAULT", "OFFSET_CORNERS")
    height, width = two(p.targetSize, 1)
    parameters = {"target_size_height": height, "target_size_width": width}
    return resizing.resize_bilinear, {"sampling_mode": modes[p.mode.samplingMethod], **parameters}


LAYERS = {
    "resizeBilinear": _resize_bilinear,
    "upsample": _upsample,
}
