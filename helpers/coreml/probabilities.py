"""Are a classifier's answers probabilities?"""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from .files import specification


def last_operator(model: Any) -> tuple[str, bool]:
    """What makes a classifier's probabilities, and whether it judges each class by itself (a sigmoid).

    Args:
        model: the path of an ``.mlmodel`` or ``.mlpackage``, or an MLModel.
    """
    spec = specification(model)
    kind = spec.WhichOneof("Type")
    makers, reads = {}, {}
    if kind == "mlProgram":
        name = ""
        for function in spec.mlProgram.functions.values():
            for operation in function.block_specializations[function.opset].operations:
                x = operation.inputs["x"].arguments if "x" in operation.inputs else []
                for out in operation.outputs:
                    makers[out.name], reads[out.name] = operation.type, x[0].name if x else ""
                if operation.type == "classify":
                    name = operation.inputs["probabilities"].arguments[0].name
    else:
        network = getattr(spec, kind)
        for layer in network.layers:
            what = layer.WhichOneof("layer")
            what = layer.activation.WhichOneof("NonlinearityType") if what == "activation" else what
            for out in layer.output:
                makers[out], reads[out] = what, layer.input[0] if layer.input else ""
        name = getattr(network, "labelProbabilityLayerName", "") or next(reversed(makers), "")
    moves = ("reshape", "squeeze", "expand_dims", "cast", "identity", "flatten", "reshapeStatic")
    while makers.get(name) in moves:  # each name once, so that no circle of a damaged file goes on for ever
        makers.pop(name)
        name = reads[name]
    operator = makers.get(name, "its input")
    return operator, operator.startswith("sigmoid")


def check_probabilities(rows: ArrayLike, ends_in: str, *, each: bool) -> None:
    """Refuse a classifier's answers that are no probabilities.

    Args:
        rows: examples × classes.
        ends_in: the last operator, for the message.
        each: whether each class is judged by itself (a sigmoid): the sum is then no matter.

    Raises:
        ValueError: values below 0 or above 1, or a sum that is not 1.
    """
    for probs in np.asarray(rows, np.float64):
        fits = probs.min() >= -1e-3 and probs.max() <= 1.001  # NaN fits nowhere
        if not (fits and (each or abs(probs.sum() - 1) < 1e-2)):
            raise ValueError(
                f"The model ends in {ends_in}, so its output is not probabilities (their sum is {probs.sum():.3g}, the "
                f"smallest is {probs.min():.3g}, the largest {probs.max():.3g}). Add a softmax over the classes before "
                "the export (helpers.onnx_export.WithSoftmax) and convert it again."
            )


def check_answers(model: Any, rows: ArrayLike) -> None:
    """``check_probabilities`` of a saved model's answers.

    Args:
        model: the path of an ``.mlmodel`` or ``.mlpackage``, or an MLModel.
        rows: examples × classes.
    """
    operator, each = last_operator(model)
    check_probabilities(rows, operator, each=each)
