"""Smaller Core ML files: fewer bits for each weight, or fewer weights.

Only the stored weights change. The phone unpacks them and computes as before;
"float16" alone changes the computation, too, in an ML program.
"""

from helpers.quiet import coremltools, quiet

from .files import describe, open_model

HOW = {
    "float16": "16 bits for each weight; an ML program also computes in 16 bits",
    "int8": "8 bits: whole numbers, with a scale for each output channel",
    "palette6": "6 bits: a number in a table of 64 values per layer",
    "palette4": "4 bits: a number in a table of 16 values per layer",
    "pruned": "the weights nearest to zero become zero and are not stored",
}
"""What ``compress`` can do, and what each weight takes then."""

SMALLEST = 2048
"""Weights of fewer numbers stay as they are, as in Core ML Tools: they save nothing and cost accuracy."""


def compress(model, how: str, *, sparsity: float = 0.5):
    """Make a model smaller.

    Args:
        model: a ``coremltools.models.MLModel``, or the path of an ``.mlmodel`` or ``.mlpackage``;
            it stays as it is. Its weights are float32 or float16.
        how: one of ``HOW``.
        sparsity: for "pruned": the share of each layer's weights that become zero, 0 to 1.

    Returns:
        A new MLModel with the same names, labels and metadata. All but "float16" need iOS 16 when the
        model is an ML program. Write it with ``save``.

    Raises:
        ValueError: ``how`` is not known, the model is compressed already, or its format has no such
            weights (a neural network cannot leave zeros out).
        FileNotFoundError: there is no such file.
    """
    model = open_model(model)
    said = describe(model)
    if how not in HOW:
        raise ValueError(f"how={how!r} is not known. Use one of {', '.join(HOW)}.")
    if not 0 < sparsity < 1:
        raise ValueError(
            f"sparsity={sparsity}: it is the share of weights that become zero. Give 0.1 to 0.9."
        )
    packed = [name for name in said["stored"] if not name.startswith(("float", "int", "bool"))]
    if packed:
        raise ValueError(
            f"The model is compressed already ({packed[0]}). Start from the one that the conversion made."
        )
    if said["format"] == "ML program":
        if how == "float16" and said["stored"][:1] == ["float16"]:
            raise ValueError("The model is stored in float16 already. Start from a float32 one.")
        return _compress_program(model, how, sparsity)
    if said["format"] == "neural network":
        if how == "pruned":
            raise ValueError(
                "A neural network stores its zeros like any other weight: pruning would not make it smaller. "
                "Convert for iOS 16 or later, which gives an ML program."
            )
        return _compress_network(model, how)
    raise ValueError(
        f"A {said['format']} has no weights to compress: give a neural network or an ML program."
    )


def _compress_program(model, how, sparsity):
    with quiet():
        coremltools()
        import coremltools.optimize.coreml as cto

        if how == "float16":
            return _in_float16(model)
        if how == "int8":
            apply = cto.linear_quantize_weights
            settings = cto.OpLinearQuantizerConfig(mode="linear_symmetric", weight_threshold=SMALLEST)
        elif how == "pruned":
            apply = cto.prune_weights
            settings = cto.OpMagnitudePrunerConfig(target_sparsity=sparsity, weight_threshold=SMALLEST)
        else:
            bits = int(how.removeprefix("palette"))
            apply = cto.palettize_weights
            # Their own "kmeans" asks for scikit-learn whenever the weights are float32.
            settings = cto.OpPalettizerConfig(
                mode="custom", lut_function=lambda weights: _palette(bits, weights), weight_threshold=SMALLEST
            )
        return apply(model, cto.OptimizationConfig(global_config=settings))


def _in_float16(model):
    """Weights and computation in 16 bits: the pass that a conversion with ``compute_precision`` runs."""
    from coremltools.converters.mil.mil.passes.defs.quantization import add_fp16_cast
    from coremltools.models import utils

    # The last operation answers with a text, which has no precision.
    cast = add_fp16_cast(op_selector=lambda operation: operation.op_type != "classify")
    return utils._apply_graph_pass(model, cast, spec_version=model.get_spec().specificationVersion)


def _compress_network(model, how):
    with quiet():
        coremltools()
        from coremltools.models.neural_network.quantization_utils import quantize_weights

        # Their "kmeans_lut" asks for scikit-learn, and fails with NumPy 2.4.
        options = {
            "float16": {"nbits": 16},
            "int8": {"nbits": 8, "quantization_mode": "linear"},
            "palette6": {"nbits": 6, "quantization_mode": "custom_lut", "lut_function": _palette},
            "palette4": {"nbits": 4, "quantization_mode": "custom_lut", "lut_function": _palette},
        }[how]
        return quantize_weights(model, selector=_LargeWeights(), **options)


class _LargeWeights:
    """Chooses the weights of convolutions and fully connected layers, but not their biases.

    Left alone, Core ML Tools would also put the statistics of batch norm into a table of 16 values.
    """

    def do_quantize(self, layer, weight_param="weights"):
        kind = layer.WhichOneof("layer")
        if kind not in ("convolution", "innerProduct", "batchedMatmul") or weight_param != "weights":
            return False
        return len(getattr(layer, kind).weights.floatValue) >= SMALLEST


def _palette(bits: int, weights):
    """The best table of values for some weights, by k-means in one dimension.

    Args:
        bits: of an index into the table.
        weights: an array of floats.

    Returns:
        The table, 2^bits values of the weights' type, and an index for each weight, uint8, flat.
    """
    import numpy as np
    from coremltools.models.neural_network.quantization_utils import _get_kmeans_lookup_table_and_weight

    # In float16 many weights are equal, and the search takes seconds less. The table stays exact.
    with np.errstate(over="ignore"):
        near = np.asarray(weights).astype(np.float16)
    near = near if np.isfinite(near).all() else np.asarray(weights)
    table, indices = _get_kmeans_lookup_table_and_weight(bits, near, force_kmeans1d=True)
    return table.astype(weights.dtype), indices.astype(np.uint8)
