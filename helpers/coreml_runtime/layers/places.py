"""Order, shape and place: the same values, elsewhere; and constants."""

import torch

from ..archive import NotCovered, Unfit
from ..operators import places
from ..operators.places import FORMULAS
from .forms import as_float, batched, edges, fields, plain, vector


def _concat_of(*inputs, axis, interleave=False):
    return places.concat(inputs, axis, interleave)


def _concat(p, weights):
    return _concat_of, {"axis": -5 if p.sequenceConcat else -3}


def _slice_of(x, begin, end, stride, axis):
    """x[begin:end:stride] along one of the last three dimensions."""
    axis = x.ndim - 3 + axis
    if stride < 1 or axis < 0:
        raise Unfit("a slice needs a positive stride and three dimensions")
    return x[(slice(None),) * axis + (slice(begin, end, stride),)]


def _slice(p, weights):
    return _slice_of, {"begin": p.startIndex, "end": p.endIndex, "stride": p.stride or 1, "axis": p.axis}


def _split_nd(p, weights):
    if p.splitSizes:
        return places.split, {"axis": p.axis, "split_sizes": list(p.splitSizes)}
    return _split_of, {"axis": p.axis, "parts": p.numSplits}


def _split_of(x, axis, parts):
    """As equal as can be: the first parts are one longer."""
    if not 0 < parts <= x.shape[axis]:
        raise Unfit(f"{x.shape[axis]} cannot be split into {parts} parts")
    return torch.tensor_split(x, parts, axis)


def _flatten_of(x, channels_last):
    """All of the last three dimensions in one: C·H·W × 1 × 1, or H·W·C × 1 × 1."""
    x = x.movedim(-3, -1) if channels_last else x
    return x.flatten(-3)[..., None, None]


def _reshape_of(x, shape, channels_last):
    """Of rank 5. With the channels last, the numbers are taken and put down pixel by pixel."""
    if len(shape) not in (3, 4):
        raise Unfit(f"a target of {len(shape)} dimensions")
    sequence, (c, h, w) = shape[0] if len(shape) == 4 else x.shape[0], shape[-3:]
    if not channels_last:
        return x.reshape(sequence, 1, c, h, w)
    return x.movedim(-3, -1).reshape(sequence, 1, h, w, c).movedim(-1, -3)


def _permute(p, weights):
    """Of rank 5: sequence, C, H, W in another order; the batch stays the second."""
    order = [axis + (axis > 0) for axis in list(p.axis) or range(4)]
    return FORMULAS["transpose"], {"perm": [order[0], 1, *order[1:]]}


def _pad_layer(p, weights):
    kind = p.WhichOneof("PaddingType") or "constant"
    mode = {"constant": "constant", "reflection": "reflect", "replication": "replicate"}[kind]
    return places.pad, {"pad": edges(p.paddingAmounts), "mode": mode, "constant_val": p.constant.value}


def _constant_pad(p, weights):
    if p.padToGivenOutputSizeMode:
        raise NotCovered("padding to a given size")
    return places.pad, {"pad": list(p.padAmounts), "mode": "constant", "constant_val": p.value}


def _crop(p, weights):
    return _crop_of, {"amounts": edges(p.cropAmounts), "offset": list(p.offset)}


def _crop_of(x, *other, amounts, offset):
    """Some rows and columns off; or, from an offset on, as many as another picture has."""
    if other:
        (height, width), (top, left) = other[0].shape[-2:], offset
        amounts = [top, x.shape[-2] - top - height, left, x.shape[-1] - left - width]
    return places.crop(x, amounts[:2], amounts[2:])


def _reorganize_data(p, weights):
    functions = (places.space_to_depth, places.depth_to_space, FORMULAS["pixel_shuffle"])
    names = ("block_size", "block_size", "upscale_factor")
    return batched(functions[p.mode]), {names[p.mode]: p.blockSize}


def _embedding_of(x, weight, bias):
    """One row of a table for each number; the last dimension of size 1 becomes the row."""
    rows = weight.t()[x.squeeze(-1).long()]
    return rows if bias is None else rows + bias


def _embedding(p, weights):
    return lambda x, **parameters: _embedding_of(x[..., 0, 0], **parameters)[..., None, None], {
        "weight": weights(p.weights, [p.outputChannels, p.inputDim]),
        "bias": weights(p.bias, [p.outputChannels]) if p.hasBias else None,
    }


def _embedding_nd(p, weights):
    return _embedding_of, {
        "weight": weights(p.weights, [p.embeddingSize, p.vocabSize]),
        "bias": weights(p.bias, [p.embeddingSize]) if p.hasBias else None,
    }


_SCATTER_MODES = ("update", "add", "sub", "mul", "div", "max", "min")


def _scatter(function):
    def read(p, weights):
        where = {} if function is places.scatter_nd else {"axis": p.axis}
        return function, {"mode": _SCATTER_MODES[p.mode], **where}

    return read


LAYERS = {
    "argSort": lambda p, weights: (
        as_float(FORMULAS["argsort"]),
        {"axis": p.axis, "ascending": not p.descending},
    ),
    "broadcastToLike": plain(lambda x, like: torch.broadcast_to(x, like.shape)),
    "broadcastToStatic": fields(torch.broadcast_to, size="targetShape"),
    "concat": _concat,
    "concatND": fields(_concat_of, axis="axis", interleave="interleave"),
    "constantPad": _constant_pad,
    "copy": plain(lambda x: x),
    "crop": _crop,
    "cumSum": fields(places.cumsum, axis="axis", exclusive="excludeFinalSum", reverse="reverse"),
    "embedding": _embedding,
    "embeddingND": _embedding_nd,
    "expandDims": fields(places.expand_dims, axes="axes"),
    "fillDynamic": lambda p, weights: (FORMULAS["fill"], {"shape": None, "value": p.value}),
    "fillLike": fields(FORMULAS["fill_like"], value="value"),
    "fillStatic": fields(FORMULAS["fill"], shape="targetShape", value="value"),
    "flatten": fields(_flatten_of, channels_last="mode"),
    "flattenTo2D": fields(FORMULAS["flatten2d"], axis="axis"),
    "gather": fields(places.gather, axis="axis"),
    "gatherAlongAxis": fields(places.gather_along_axis, axis="axis"),
    "gatherND": plain(places.gather_nd),
    "getShape": plain(as_float(FORMULAS["shape"])),
    "loadConstant": lambda p, weights: (lambda value: value, {"value": weights(p.data, p.shape)}),
    "loadConstantND": lambda p, weights: (lambda value: value, {"value": weights(p.data, p.shape)}),
    "lowerTriangular": fields(torch.tril, diagonal="k"),
    "matrixBandPart": fields(FORMULAS["band_part"], lower="numLower", upper="numUpper"),
    "oneHot": fields(
        places.one_hot,
        one_hot_vector_size="oneHotVectorSize",
        axis="axis",
        on_value="onValue",
        off_value="offValue",
    ),
    "padding": _pad_layer,
    "permute": _permute,
    "rankPreservingReshape": fields(places.reshape, shape="targetShape"),
    "reorganizeData": _reorganize_data,
    "reshape": fields(_reshape_of, shape="targetShape", channels_last="mode"),
    "reshapeLike": plain(lambda x, like: x.reshape(like.shape)),
    "reshapeStatic": fields(places.reshape, shape="targetShape"),
    "reverse": lambda p, weights: (
        FORMULAS["reverse"],
        {"axes": [i for i, turn in enumerate(p.reverseDim) if turn]},
    ),
    "scatter": _scatter(places.scatter),
    "scatterAlongAxis": _scatter(places.scatter_along_axis),
    "scatterND": _scatter(places.scatter_nd),
    "sequenceRepeat": lambda p, weights: (FORMULAS["tile"], {"reps": [p.nRepetitions or 1, 1, 1, 1, 1]}),
    "slice": _slice,
    "sliceStatic": fields(
        vector(places.slice_by_index),
        begin="beginIds",
        end="endIds",
        stride="strides",
        begin_mask="beginMasks",
        end_mask="endMasks",
        squeeze_mask="squeezeMasks",
    ),
    "split": lambda p, weights: (places.split, {"axis": -3, "num_splits": p.nOutputs}),
    "splitND": _split_nd,
    "squeeze": lambda p, weights: (
        vector(FORMULAS["squeeze"]),
        {"axes": None if p.squeezeAll else list(p.axes)},
    ),
    "stack": fields(lambda *inputs, axis: FORMULAS["stack"](inputs, axis), axis="axis"),
    "tile": fields(FORMULAS["tile"], reps="reps"),
    "topK": fields(as_float(places.topk), k="K", axis="axis", ascending="useBottomK"),
    "transpose": fields(FORMULAS["transpose"], perm="axes"),
    "upperTriangular": fields(torch.triu, diagonal="k"),
}
