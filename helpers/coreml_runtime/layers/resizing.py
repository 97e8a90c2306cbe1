"""Pictures in another size."""

from ..operators import resizing
from .forms import two


def _upsample(p, weights):
    height, width = list(p.fractionalScalingFactor) or two(p.scalingFactor, 1)
    factors = {"scale_factor_height": height, "scale_factor_width": width}
    if not p.mode:
        return resizing.upsample_nearest_neighbor, factors
    corners, half = p.linearUpsampleMode == 1, p.linearUpsampleMode == 2
    return resizing.upsample_bilinear, {"align_corners": corners, "half_pixel_centers": half, **factors}


def _resize_bilinear(p, weights):
    modes = ("STRICT_ALIGN_CORNERS", "ALIGN_CORNERS", "DEFAULT", "OFFSET_CORNERS")
    height, width = two(p.targetSize, 1)
    parameters = {"target_size_height": height, "target_size_width": width}
    return resizing.resize_bilinear, {"sampling_mode": modes[p.mode.samplingMethod], **parameters}


LAYERS = {
    "resizeBilinear": _resize_bilinear,
    "upsample": _upsample,
}
