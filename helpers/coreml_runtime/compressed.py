"""Compressed weights of ML programs, decoded: fewer bits for each number, tables of values, zeros left out.

What Core ML Tools decodes itself is left to it, once the sizes are known to be right.
"""

import math

import numpy as np

from helpers.plumbing import private_coremltools

from .archive import Unfit, unpack_bits


def decoded_size(kind, inputs) -> int:
    """How many numbers a compressed weight decodes to, worked out from what is stored.

    Raises:
        ValueError: the parts do not belong together.
    """
    if "shape" in inputs:
        count = math.prod(int(size) for size in inputs["shape"])
        packed = inputs["indices"] if kind == "lut_to_dense" else inputs["mask"]
        bits = int(math.log2(inputs["lut"].size)) if kind == "lut_to_dense" else 1
        if kind == "lut_to_dense" and inputs["lut"].size not in (2, 4, 16, 64, 256):
            raise Unfit(f"a table of {inputs['lut'].size} values")
        if packed.size != math.ceil(count * bits / 8):
            raise Unfit(f"{packed.size} bytes do not hold {count} numbers of {bits} bits")
        return count
    main = {
        "affine_dequantize": "quantized_data",
        "blockwise_shift_scale": "data",
        "cast": "source_val",
        "lut_to_dense": "indices",
        "lut_to_sparse": "indices_mask",
        "sparse_blockwise_shift_scale": "data_mask",
        "sparse_to_dense": "mask",
    }
    count = inputs[main[kind]].size
    return count * inputs["lut"].shape[-1] if kind.startswith("lut") else count


def _affine_dequantize(inputs):
    """8-bit numbers: scale · (data - zero point)."""
    return private_coremltools.decompressed(
        "affine_dequantize",
        inputs["quantized_data"],
        inputs["zero_point"],
        inputs["scale"],
        int(inputs["axis"]),
    )


def _blockwise_shift_scale(inputs):
    """4- or 8-bit numbers with a scale per block."""
    data, scale = inputs["data"], inputs["scale"]
    if data.ndim != scale.ndim or any(d % s for d, s in zip(data.shape, scale.shape, strict=True)):
        raise Unfit(f"scales of shape {scale.shape} do not divide data of shape {data.shape}")
    return private_coremltools.decompressed("blockwise_shift_scale", data, scale, inputs.get("offset"))


def _lut_to_dense(inputs):
    """Indices into a table of values (palettised weights)."""
    if "shape" in inputs:  # iOS 16: packed indices, one table
        indices = unpack_bits(
            inputs["indices"], int(math.log2(inputs["lut"].size)), math.prod(int(s) for s in inputs["shape"])
        )
        return inputs["lut"][indices].reshape([int(s) for s in inputs["shape"]])
    axis = inputs.get("vector_axis")
    return private_coremltools.decompressed(
        "lut_to_dense", inputs["indices"], inputs["lut"], None if axis is None else int(axis)
    )


def _sparse_to_dense(inputs):
    """The values that are not zero, and a mask that says where they go."""
    mask, values = inputs["mask"], inputs["nonzero_data"]
    if "shape" in inputs:  # iOS 16: a packed mask
        shape = [int(size) for size in inputs["shape"]]
        mask = unpack_bits(mask, 1, math.prod(shape)).reshape(shape)
    if int(np.count_nonzero(mask)) != values.size:
        raise Unfit(f"the mask has room for {np.count_nonzero(mask)} values, {values.size} are stored")
    dense = np.zeros(mask.shape, values.dtype)
    dense[mask != 0] = values
    return dense


def _lut_to_sparse(inputs):
    """Indices into a table for the values that are not zero: a mask and those values."""
    mask, vector = inputs["indices_mask"], inputs["lut"].shape[-1]
    indices = _sparse_to_dense({"mask": mask, "nonzero_data": inputs["indices_nonzero_data"]})
    dense = _lut_to_dense({**inputs, "indices": indices})
    mask = np.repeat(mask, vector, int(inputs["vector_axis"])) if vector > 1 else mask
    return mask, dense[mask != 0]


def _sparse_blockwise_shift_scale(inputs):
    """4- or 8-bit numbers for the values that are not zero: a mask and those values."""
    mask = inputs["data_mask"]
    data = _sparse_to_dense({"mask": mask, "nonzero_data": inputs["nonzero_data"]})
    return mask, _blockwise_shift_scale({**inputs, "data": data})[mask != 0]


def _cast(inputs):
    """float16 as float32."""
    return inputs["source_val"].astype(np.float32)


DECODERS = {
    "affine_dequantize": _affine_dequantize,
    "blockwise_shift_scale": _blockwise_shift_scale,
    "cast": _cast,
    "lut_to_dense": _lut_to_dense,
    "lut_to_sparse": _lut_to_sparse,
    "sparse_blockwise_shift_scale": _sparse_blockwise_shift_scale,
    "sparse_to_dense": _sparse_to_dense,
}
"""By the name of the operator in the file, without ``constexpr_``: what it gets → the weight, or a mask and values."""
