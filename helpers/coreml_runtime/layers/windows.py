"""Convolution and pooling."""

import torch

from ..archive import NotCovered
from ..operators import arithmetic, windows
from .forms import batched, edges, two


def _padding(p, kind):
    """``pad_type`` and ``pad`` of a layer with windows."""
    if kind == "same":
        return {"pad_type": "same_lower" if p.same.asymmetryMode == 1 else "same"}
    if kind == "includeLastPixel":
        height, width = two(p.includeLastPixel.paddingAmounts, 0)
        return {"pad_type": "custom", "pad": [height, height, width, width], "ceil_mode": True}
    return {"pad_type": "custom", "pad": edges(p.valid.paddingAmounts)}


def _deconvolution(p, weights):
    if list(p.dilationFactor) not in ([], [1, 1]):
        raise NotCovered("a dilated deconvolution, whose dilation the format ignores")
    groups = p.nGroups or 1
    shape = [p.kernelChannels, p.outputChannels // groups, *two(p.kernelSize, 3)]
    padding = _padding(p, p.WhichOneof("ConvolutionPaddingType"))
    return batched(_deconvolution_of), {
        "weight": weights(p.weights, shape),
        "bias": weights(p.bias, [p.outputChannels]) if p.hasBias else None,
        "strides": two(p.stride, 1),
        "groups": groups,
        "size": list(p.outputShape),
        **padding,
    }


def _deconvolution_of(x, weight, size, **parameters):
    """A transposed convolution. The format does not say where a result of another size would lie."""
    result = windows.conv_transpose(x, weight, **parameters)
    if size and list(result.shape[2:]) != size:
        raise NotCovered(f"a deconvolution to {size} instead of {list(result.shape[2:])}")
    return result


def _three(p, name):
    return [getattr(p, f"{name}{axis}") or 1 for axis in ("Depth", "Height", "Width")]


def _padding_3d(p):
    if p.paddingType:
        return {"pad_type": ("custom", "valid", "same")[p.paddingType]}
    sides = ("Front", "Back", "Top", "Bottom", "Left", "Right")
    return {"pad_type": "custom", "pad": [getattr(p, f"customPadding{side}") for side in sides]}


def _convolution_3d(p, weights):
    if p.isDeconvolution:
        raise NotCovered("a deconvolution of volumes")
    groups = p.nGroups or 1
    shape = [p.outputChannels, p.inputChannels // groups, *_three(p, "kernel")]
    return windows.conv, {
        "weight": weights(p.weights, shape),
        "bias": weights(p.bias, [p.outputChannels]) if p.hasBias else None,
        "strides": _three(p, "stride"),
        "dilations": _three(p, "dilation"),
        "groups": groups,
        **_padding_3d(p),
    }


def _pooling_3d(p, weights):
    parameters = {"kernel_sizes": _three(p, "kernel"), "strides": _three(p, "stride"), **_padding_3d(p)}
    if p.type == 0:
        return windows.max_pool, parameters
    return windows.avg_pool, {"exclude_padding_from_average": p.countExcludePadding, **parameters}


def _convolution(p, weights):
    if p.isDeconvolution:
        return _deconvolution(p, weights)
    shape = [p.outputChannels, p.kernelChannels, *two(p.kernelSize, 3)]
    return batched(windows.conv), {
        "weight": weights(p.weights, shape),
        "bias": weights(p.bias, [p.outputChannels]) if p.hasBias else None,
        "strides": two(p.stride, 1),
        "dilations": two(p.dilationFactor, 1),
        "groups": p.nGroups or 1,
        **_padding(p, p.WhichOneof("ConvolutionPaddingType")),
    }


def _global_pool(x, kind):
    """One window over all of the last two dimensions."""
    if kind == 2:
        return torch.sqrt((x * x).sum((-2, -1), keepdim=True))
    return x.amax((-2, -1), keepdim=True) if kind == 0 else x.mean((-2, -1), keepdim=True)


def _pooling(p, weights):
    if p.globalPooling:
        return _global_pool, {"kind": p.type}
    function = (windows.max_pool, windows.avg_pool, windows.l2_pool)[p.type]
    parameters = {
        "kernel_sizes": two(p.kernelSize, 3),
        "strides": two(p.stride, 1),
        # The format judges the last window of both dimensions when either is padded.
        "ceil_drops": "any",
        **_padding(p, p.WhichOneof("PoolingPaddingType")),
    }
    if p.type == 1:
        parameters["exclude_padding_from_average"] = p.avgPoolExcludePadding
    return batched(function), parameters


LAYERS = {
    "convolution": _convolution,
    "convolution3d": _convolution_3d,
    "globalPooling3d": lambda p, weights: (
        arithmetic.reduce_mean if p.type else arithmetic.reduce_max,
        {"axes": [-3, -2, -1], "keep_dims": True},
    ),
    "pooling": _pooling,
    "pooling3d": _pooling_3d,
}
