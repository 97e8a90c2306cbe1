"""What is used of Core ML Tools although it does not promise it: all of it stands here.

Checked with version 9.0. Nothing here changes the package for longer than one conversion.
"""

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np

from helpers.plumbing.quiet import coremltools

CHECKED_WITH = "9.0"


def identifier(name: str) -> str:
    """A name as Core ML Tools writes it: letters, digits and underscores, a letter first, no reserved word."""
    coremltools()  # the first import, which is a loud one
    from coremltools.converters.mil.mil.passes.defs.preprocess import NameSanitizer

    return NameSanitizer("var_").sanitize_name(name, allow_prefix_underscore=False)


def numpy_type(x: Any) -> np.dtype:
    """The NumPy type of a variable of the Builder."""
    from coremltools.converters.mil.mil.types import nptype_from_builtin

    return np.dtype(nptype_from_builtin(x.dtype))


def in_float16(model: Any) -> Any:
    """An ML program that stores its weights and computes in 16 bits: the pass of a conversion to float16."""
    from coremltools.converters.mil.mil.passes.defs.quantization import add_fp16_cast
    from coremltools.models.utils import _apply_graph_pass

    # The last operation answers with a text, which has no precision.
    cast = add_fp16_cast(op_selector=lambda operation: operation.op_type != "classify")
    return _apply_graph_pass(model, cast, spec_version=model.get_spec().specificationVersion)


def lookup_table(bits: int, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The best table of 2^bits values for some weights, by k-means in one dimension, and each weight's index."""
    from coremltools.models.neural_network.quantization_utils import _get_kmeans_lookup_table_and_weight

    return _get_kmeans_lookup_table_and_weight(bits, weights, force_kmeans1d=True)


def decompressed(kind: str, *parts: Any) -> np.ndarray:
    """A compressed weight of an ML program as the converter itself unpacks it.

    Args:
        kind: the operator without ``constexpr_``. parts: its inputs in their order.
    """
    from coremltools.converters.mil.mil.ops.defs.iOS16.constexpr_ops import constexpr_affine_dequantize
    from coremltools.converters.mil.mil.ops.defs.iOS18.compression import (
        constexpr_blockwise_shift_scale,
        constexpr_lut_to_dense,
    )

    operators = (constexpr_affine_dequantize, constexpr_blockwise_shift_scale, constexpr_lut_to_dense)
    return {one.__name__.removeprefix("constexpr_"): one for one in operators}[kind].decompress(*parts)


# The PyTorch front end


_ONE_AT_A_TIME = threading.RLock()


@contextlib.contextmanager
def torch_lowerings(own: dict) -> Iterator[None]:
    """Convert with lowerings of one's own in the place of the front end's.

    Its registry is one for the whole process. So conversions wait for each other here, and afterwards, after
    an error too, the registry is as it was.

    Args:
        own: functions (context, node) by the name of PyTorch's operator.
    """
    from coremltools.converters.mil.frontend.torch.torch_op_registry import _TORCH_OPS_REGISTRY

    with _ONE_AT_A_TIME:
        table = _TORCH_OPS_REGISTRY.name_to_func_mapping
        before = {name: table[name] for name in own if name in table}
        try:
            table.update(own)
            yield
        finally:
            for name in own:
                del table[name]
            table.update(before)


def torch_inputs(context: Any, node: Any) -> list:
    """The inputs of a node of PyTorch's graph, one at least."""
    from coremltools.converters.mil.frontend.torch.ops import _get_inputs

    return _get_inputs(context, node, min_expected=1)


def torch_select(context: Any, node: Any) -> Any:
    """The front end's own lowering of ``select``."""
    from coremltools.converters.mil.frontend.torch.ops import select

    return select(context, node)


def torch_convolution(context: Any, node: Any) -> Any:
    """The front end's own lowering of every convolution."""
    from coremltools.converters.mil.frontend.torch.ops import _convolution

    return _convolution(context, node)


def torch_int(context: Any, node: Any) -> Any:
    """The front end's own lowering of ``int``."""
    from coremltools.converters.mil.frontend.torch.ops import _int

    return _int(context, node)
