"""The operators of Core ML as functions on torch tensors, one module for each family.

Names, arguments and meaning are those of the ML program operators, whose
reference is the class of the same name in ``coremltools.converters.mil.mil.ops.defs``.
The neural network format (``NeuralNetwork.proto``) is mapped onto them in ``layers``.
All shapes are those of one example, its leading dimension of 1 included.
"""

import torch

from . import activations, arithmetic, places, resizing, sequences, windows

COVERED = {
    activations: """
        batch_norm gelu instance_norm l2_norm layer_norm local_response_norm prelu softplus
        softplus_parametric
    """,
    arithmetic: """
        add cast equal floor_div greater greater_equal less less_equal linear logical_and
        logical_or logical_xor matmul maximum minimum mod mul not_equal pow real_div
        reduce_l1_norm reduce_l2_norm reduce_log_sum reduce_log_sum_exp reduce_max reduce_mean
        reduce_min reduce_prod reduce_sum reduce_sum_square sub
    """,
    resizing: """
        affine resample resize resize_bilinear resize_nearest_neighbor upsample_bilinear
        upsample_nearest_neighbor
    """,
    places: """
        concat crop cumsum depth_to_space expand_dims gather gather_along_axis
        gather_nd one_hot pad range_1d reshape scatter scatter_along_axis scatter_nd
        slice_by_index slice_by_size space_to_depth split topk
    """,
    sequences: """
        lstm
    """,
    windows: """
        avg_pool conv conv_transpose l2_pool max_pool
    """,
}
"""The operators of each family that are functions of it, by their names in the file."""

ONES = """
    abs acos asin atan ceil cos cosh erf exp exp2 floor logical_not relu round sigmoid sign sin sinh
    sqrt tan tanh
"""
"""Those that torch has under the same name, one value at a time."""

OPERATORS = {name: arithmetic.of_one(getattr(torch, name)) for name in ONES.split()}
for family in (activations, arithmetic, places):
    OPERATORS |= family.FORMULAS
OPERATORS |= {name: getattr(family, name) for family, names in COVERED.items() for name in names.split()}
"""Every operator of ML programs that is covered; any other is refused by name."""
