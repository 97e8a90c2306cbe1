"""Smaller Core ML files: fewer bits for each weight, or fewer weights.

Only the stored weights change. The phone unpacks them and computes as before;
"float16" alone changes the computation, too, in an ML program.
"""

from typing import Any

import numpy as np

from helpers.coreml_runtime.features import COLOURS
from helpers.plumbing import private_coremltools
from helpers.plumbing.quiet import coremltools, quiet

from . import differences, examples
from .description import all_weights, describe
from .files import PROBABILITIES, open_model

COMPRESSIONS = {
    "float16": "16 bits for each weight; an ML program also computes in 16 bits",
    "int8": "8 bits: whole numbers, with a scale for each output channel",
    "palette6": "6 bits: a number in a table of 64 values per layer",
    "palette4": "4 bits: a number in a table of 16 values per layer",
    "pruned": "the weights nearest to zero become zero and are not stored",
}
"""What ``compress`` can do, and what each weight takes then."""

SMALLEST = 2048
"""Weights of fewer numbers stay as they are, as in Core ML Tools: they save nothing and cost accuracy."""

STORED = {
    "float16": "float16",
    "int8": "8-bit numbers",
    "palette6": "6-bit palette",
    "palette4": "4-bit palette",
    "pruned": "without its zeros",
}
"""What ``describe`` calls weights that are stored this way."""

MAY_MOVE = {"float16": 0.02, "int8": 0.2, "palette6": 0.3, "palette4": 0.6, "pruned": 0.95}
"""How far an output may move: a probability, or another value per size of the largest one.

float16 rounds, as a conversion to it does. The others lose what cannot be had again; a network that moves
further has lost what it had learned.
"""


def compress(model: Any, how: str, *, sparsity: float = 0.5, verify: bool = True) -> Any:
    """Make a model smaller.

    Args:
        model: a ``coremltools.models.MLModel``, or the path of an ``.mlmodel`` or ``.mlpackage``;
            it stays as it is. Its weights are float32 or float16.
        how: one of ``COMPRESSIONS``.
        sparsity: for "pruned": the share of each layer's weights that become zero, 0 to 1.

        verify: run the small file and the old one on a few examples before returning (see ``MAY_MOVE``),
            and the small one against what Core ML Tools unpacks from it.

    Returns:
        A new MLModel with the same names, labels and metadata. All but "float16" need iOS 16 when the
        model is an ML program. Write it with ``save``. Its attribute ``compression`` says in a sentence what
        was done.

    Raises:
        ValueError: ``how`` is not known, the model is compressed already, its format has no such weights
            (a neural network cannot leave zeros out), none is large enough, or the answers move too far.
        FileNotFoundError: there is no such file.
    """
    model = open_model(model)
    said = describe(model)
    _check(said, how, sparsity)
    program = said["format"] == "ML program"
    small = _compress_program(model, how, sparsity) if program else _compress_network(model, how)
    numbers = describe(small)["numbers"]
    if not numbers.get(STORED[how]):
        raise ValueError(
            f"{how!r} would change nothing: no weight of a convolution or a fully connected layer has {SMALLEST} numbers "
            f"or more ({', '.join(said['operations'])}). The file is small already."
        )
    share = numbers[STORED[how]] / sum(numbers.values())
    small.compression = f"{how}: {share:.1%} of {sum(numbers.values()):,} numbers are stored as {STORED[how]}"
    if verify:
        moved = _prove(model, small, how)
        small.compression += f"; an output moves by up to {moved:.1g}"
    return small


def _check(said, how, sparsity) -> None:
    if how not in COMPRESSIONS:
        raise ValueError(f"how={how!r} is not known. Use one of {', '.join(COMPRESSIONS)}.")
    if not 0 < sparsity < 1:
        raise ValueError(
            f"sparsity={sparsity}: it is the share of weights that become zero. Give 0.1 to 0.9."
        )
    if said["format"] not in ("ML program", "neural network"):
        raise ValueError(
            f"A {said['format']} has no weights to compress here: give a neural network or an ML program. The parts of "
            "a pipeline are compressed before they are put together."
        )
    packed = [name for name in said["stored"] if not name.startswith(("float", "int", "bool"))]
    if packed:
        raise ValueError(
            f"The model is compressed already ({packed[0]}). Start from the one that the conversion made."
        )
    if how == "float16" and said["stored"][:1] == ["float16"]:
        raise ValueError("The model is stored in float16 already. Start from a float32 one.")
    if how == "pruned" and said["format"] == "neural network":
        raise ValueError(
            "A neural network stores its zeros like any other weight: pruning would not make it smaller. "
            "Convert for iOS 16 or later, which gives an ML program."
        )


def _prove(model, small, how: str) -> float:
    """How far the outputs move; the small file has to mean what Core ML Tools unpacks from it.

    Raises:
        ValueError: they move too far, or the file cannot be run.
    """
    given = _examples(model)
    try:
        before, after = (examples.answers(one, given) for one in (model, small))
        unpacked = examples.answers(_unpacked(small), given) if how != "float16" else after
    except ValueError as error:
        raise ValueError(
            f"The model cannot be run here, so its compression is not proved: {examples.cause(error)} "
            "verify=False compresses it all the same."
        ) from error
    exact = differences.LIMITS["float16" if "float16" in describe(small)["computed"] else "float32"]
    moved = 0.0
    for name, is_label in ((name, isinstance(value, str | int)) for name, value in before[0].items()):
        if is_label:
            continue
        rows = [[_array(answer[name]) for answer in answers] for answers in (before, after, unpacked)]
        for old, new, plain in zip(*rows, strict=True):
            for expected, limit, what in (
                (plain, exact, "its own weights, unpacked,"),
                (old, MAY_MOVE[how], "the model"),
            ):
                off = differences.largest_difference(expected, new, limit, name == PROBABILITIES)
                if off.too_large:
                    raise ValueError(
                        f"{how!r} is too much for this network: its output {name!r} has {off.found:.4g} where {what} has "
                        f"{off.expected:.4g}{off.reason and ': ' + off.reason}; the limit is {off.limit:.1g}. Take a way that "
                        "keeps more bits, or verify=False."
                    )
            moved = max(moved, off.size)
    return moved


def _array(value):
    """An output as an array; of a classifier the probabilities in the order of its labels."""
    return np.array(list(value.values())) if isinstance(value, dict) else value


def _examples(model) -> list[dict]:
    """Inputs that the model takes."""
    random = np.random.default_rng(0)
    found = []
    for picture, number in zip(examples.PICTURES, examples.NUMBERS, strict=True):
        example = {}
        for feature in model.get_spec().description.input:
            image, array = feature.type.imageType, feature.type.multiArrayType
            if feature.type.WhichOneof("Type") == "imageType":
                channels = 1 if "grey" in COLOURS.get(image.colorSpace, "") else 3
                pixels = examples.picture(picture, (channels, image.height, image.width), random)
                example[feature.name] = examples.as_core_ml(pixels)
            else:
                values = examples.numbers(number, tuple(array.shape), random)
                whole = array.dataType == array.ArrayDataType.INT32
                example[feature.name] = np.abs(values).clip(0, 1).round() if whole else values
        found.append(example)
    return found


def _unpacked(small):
    """The model with the weights that Core ML Tools reads out of it, in full."""
    with quiet():
        if small.get_spec().HasField("mlProgram"):
            from coremltools.optimize.coreml import decompress_weights

            return decompress_weights(small)
        from coremltools.models.neural_network.quantization_utils import quantize_weights

        return quantize_weights(_in_float32(small), 8, "dequantization")


def _compress_program(model, how, sparsity):
    with quiet():
        coremltools()
        import coremltools.optimize.coreml as cto

        if how == "float16":
            return private_coremltools.in_float16(model)
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


def _compress_network(model, how):
    with quiet():
        coremltools()
        from coremltools.models.neural_network.quantization_utils import quantize_weights

        # Their "kmeans_lut" asks for scikit-learn, and fails with NumPy 2.4.
        options: dict[str, dict[str, Any]] = {
            "float16": {"nbits": 16},
            "int8": {"nbits": 8, "quantization_mode": "linear"},
            "palette6": {"nbits": 6, "quantization_mode": "custom_lut", "lut_function": _palette},
            "palette4": {"nbits": 4, "quantization_mode": "custom_lut", "lut_function": _palette},
        }
        half = describe(model)["stored"][:1] == ["float16"]
        small = quantize_weights(
            _in_float32(model) if half else model, selector=_LargeWeights(), **options[how]
        )
        return quantize_weights(small, 16) if half else small


def _in_float32(model):
    """The same neural network with every weight in 32 bits: Core ML Tools compresses no others."""
    ct = coremltools()
    spec = model.get_spec()
    for layer in getattr(spec, spec.WhichOneof("Type")).layers:
        for weights in all_weights(getattr(layer, layer.WhichOneof("layer"))):
            if weights.float16Value:
                weights.floatValue.extend(np.frombuffer(weights.float16Value, np.float16).astype(np.float32))
                weights.ClearField("float16Value")
    return ct.models.MLModel(spec, skip_model_load=True)


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
    # In float16 many weights are equal, and the search takes seconds less. The table stays exact.
    with np.errstate(over="ignore"):
        near = np.asarray(weights).astype(np.float16)
    near = near if np.isfinite(near).all() else np.asarray(weights)
    table, indices = private_coremltools.lookup_table(bits, near)
    return table.astype(weights.dtype), indices.astype(np.uint8)
