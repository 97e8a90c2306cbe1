"""The proof of a conversion: the saved Core ML model and the ONNX file compute the same.

The model is written to a scratch folder and read back by ``helpers.coreml_runtime``; the ONNX file is
run by ONNX Runtime, preprocessing done by hand. Both get the same few inputs: random ones, and the
edges (all 0, all 255). Four are enough, because a wrong operator is wrong almost everywhere.
"""

import math
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from helpers import coreml

from . import arguments, graph

LIMITS = {"float32": 1e-4, "float16": 0.02}
"""The largest difference that passes, of probabilities, or of other values per size of the largest one.

float32: two right programs add up in another order, which moves the 6th or 7th digit, and a deep network
carries that on. float16: every result keeps 11 bits, 3 digits, and errors of 0.0005 add up from layer to layer.
A network whose probabilities move more than that loses labels in float16, and its owner should know.
"""


class VerificationError(ValueError):
    """The Core ML model does not compute what the ONNX file computes.

    Attributes:
        output: the output that differs most; a classifier's is ``classLabelProbs``.
        expected: what ONNX Runtime computes there.
        found: what the Core ML model computes there.
        difference: how far they are apart.
        limit: how far they may be.
        layer: the first operator of the ONNX graph whose result differs ("Gelu"), None if none does
            by itself.
        tensor: the name of that result.
    """

    def __init__(
        self, text, *, output=None, expected=None, found=None, difference=None, limit=None, layer=None
    ):
        super().__init__(text)
        self.output, self.expected, self.found = output, expected, found
        self.difference, self.limit = difference, limit
        self.layer, self.tensor = (layer.kind, layer.tensor) if layer else (None, None)


@dataclass
class Difference:
    """The place where two arrays differ most.

    Attributes:
        size: |expected - found| there; infinite where one is no number and the other is.
        limit: what is allowed.
        where: the index in the flat array.
        expected, found: the two values.
    """

    size: float
    limit: float
    where: int
    expected: float
    found: float

    @property
    def too_large(self) -> bool:
        return self.size > self.limit


@dataclass
class Layer:
    """The first layer that differs: its operator, its name, its result, and how far that is off."""

    kind: str
    name: str
    tensor: str
    difference: Difference


def prove(job, converted, lower) -> None:
    """Compare a converted model with its ONNX file.

    Args:
        job: what was converted.
        converted: the result, a ``coremltools.models.MLModel``.
        lower: makes a Core ML model of a job; used to find the layer when the numbers differ.

    Raises:
        VerificationError: they differ, or one of the two cannot be run.
    """
    reference = Reference(job.proto)
    examples = _examples(job, reference)
    limit = LIMITS[job.precision]
    found = _run(job, converted, examples)
    worst, output, example = None, None, None
    for which, (values, expected) in enumerate(examples):
        for name in expected:
            difference = compare(expected[name], found[which][name], limit, name == job.probabilities)
            if worst is None or difference.size - difference.limit > worst.size - worst.limit:
                worst, output, example = difference, name, values
    if worst.too_large:
        raise _error(job, worst, output, example, lower)


def check_probabilities(job) -> None:
    """Refuse a classifier whose output is something else than probabilities.

    Raises:
        ValueError: values below 0 or above 1, or a sum that is not 1 (unless a sigmoid makes them,
            which judges each class by itself).
        VerificationError: ONNX Runtime cannot run the file.
    """
    name = job.probabilities
    node = _last_operator(job.proto, name)
    by_itself = node is not None and node.op_type in ("Sigmoid", "HardSigmoid")
    for _, expected in _examples(job, Reference(job.proto)):
        probs = expected[name]
        fits = probs.min() >= -1e-3 and probs.max() <= 1.001
        if not (fits and (by_itself or abs(probs.sum() - 1) < 1e-2)):
            raise ValueError(
                f"The model ends in {node.op_type if node else 'its input'}, so its output is not probabilities "
                f"(their sum is {probs.sum():.3g}, the smallest is {probs.min():.3g}). Add a softmax over the classes "
                "before the export (helpers.onnx_export.WithSoftmax)."
            )


def _last_operator(proto, name: str):
    """The node that computes an output, past those that only move values."""
    node = graph.maker(proto, name)
    moves = ("Identity", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Cast", "Dropout")
    while node is not None and node.op_type in moves:
        node = graph.maker(proto, node.input[0])
    return node


class Reference:
    """An ONNX model in ONNX Runtime, on the CPU.

    Raises:
        VerificationError: ONNX Runtime does not load it.
    """

    def __init__(self, proto):
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        self.outputs = [value.name for value in proto.graph.output]
        self._types = {value.name: graph.numpy_type(value) for value in graph.inputs(proto)}
        try:
            self._session = onnxruntime.InferenceSession(
                proto.SerializeToString(), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # its exceptions have no common base
            raise VerificationError(
                f"ONNX Runtime cannot run this model, so there is nothing to compare with: {graph.first_line(error)}. "
                "Check the export; verify=False converts all the same."
            ) from error

    def run(self, values: dict) -> dict:
        """The outputs by name. ONNX Runtime raises for inputs that the model cannot take."""
        given = {name: np.asarray(value, self._types[name]) for name, value in values.items()}
        return dict(zip(self.outputs, self._session.run(self.outputs, given), strict=True))


def compare(expected, found, limit: float, probabilities: bool = False) -> Difference:
    """Where two arrays differ most.

    Args:
        expected, found: arrays with as many values.
        limit: the largest difference that passes; for values that are not probabilities it grows with
            the largest value expected, when that is above 1.
        probabilities: whether the values are probabilities.
    """
    if np.asarray(expected).dtype == np.float16:
        limit = max(limit, 1e-3)  # its own last bit; a neural network keeps more of them
    expected = np.asarray(expected, np.float64).ravel()
    found = np.asarray(found, np.float64).ravel()
    if expected.size != found.size:
        return Difference(math.inf, limit, 0, expected.size, found.size)
    if not expected.size:
        return Difference(0.0, limit, 0, 0.0, 0.0)
    if not probabilities:
        finite = np.abs(expected[np.isfinite(expected)])
        limit *= max(1.0, finite.max(initial=0.0))
    same = (expected == found) | (np.isnan(expected) & np.isnan(found))
    with np.errstate(invalid="ignore"):
        distance = np.where(same, 0.0, np.abs(expected - found))
    distance[np.isnan(distance)] = math.inf
    where = int(distance.argmax())
    return Difference(float(distance[where]), limit, where, float(expected[where]), float(found[where]))


# The inputs


def _examples(job, reference) -> list[tuple[dict, dict]]:
    """Inputs as an app gives them, each with what ONNX Runtime answers."""
    random = np.random.default_rng(0)
    kinds = ("random", "random", "lowest", "highest")
    pairs, error = [], None
    for kind in kinds:
        values = {value.name: _value(job, value, kind, random) for value in graph.inputs(job.proto)}
        try:
            pairs.append((values, reference.run(_for_onnx(job, values))))
        except Exception as this:  # e.g. whole numbers that are no valid indices
            error = this
    if not pairs:
        raise VerificationError(
            f"ONNX Runtime cannot run this model, so there is nothing to compare with: {graph.first_line(error)}. "
            "Check the export; verify=False converts all the same."
        )
    return pairs


def _value(job, value, kind: str, random):
    """One input: pixels for an image, else an array."""
    shape = graph.shape(value)
    if value.name in job.images:
        if kind == "random":
            return random.integers(0, 256, shape, np.uint8)
        return np.full(shape, 0 if kind == "lowest" else 255, np.uint8)
    if graph.numpy_type(value).kind == "i":
        return random.integers(0, 2, shape, np.int32) * (kind == "random") + (kind == "highest")
    if kind == "random":
        return random.standard_normal(shape).astype(np.float32)
    return np.full(shape, 0.0 if kind == "lowest" else 1.0, np.float32)


def _for_onnx(job, values: dict) -> dict:
    """What the network itself sees of these inputs: pixels in its own channel order, scaled."""
    seen = dict(values)
    for name, image in job.images.items():
        pixels = values[name].astype(np.float32)
        pixels = pixels[:, ::-1] if image.colour == "BGR" else pixels
        seen[name] = pixels * np.float32(image.scale) + np.array(image.bias, np.float32).reshape(1, -1, 1, 1)
    return seen


# Core ML


def _run(job, converted, examples) -> list[dict]:
    """What the saved model computes for each example, by the names of the ONNX outputs."""
    from helpers import coreml_runtime

    ending = ".mlpackage" if job.program else ".mlmodel"
    with tempfile.TemporaryDirectory() as folder:
        path = coreml.save(converted, Path(folder) / f"model{ending}")
        try:
            model = coreml_runtime.load(path)
            return [_answer(job, model, values) for values, _ in examples]
        except ValueError as error:
            raise VerificationError(
                f"The converted model cannot be run here, so its numbers are not proved: {error} "
                "verify=False returns it unproved."
            ) from error


def _answer(job, model, values: dict) -> dict:
    given = {}
    for name, value in values.items():
        if name in job.images:  # 1×C×H×W as H×W×3, or H×W for grey
            value = value[0].transpose(1, 2, 0) if value.shape[1] == 3 else value[0, 0]
        given[name] = value
    answer = model.predict(given)
    if job.labels:
        probs = answer.pop(coreml.PROBABILITIES)
        answer[job.probabilities] = np.array([probs[label] for label in job.labels])
    return answer


# The error


def _error(job, worst, output, example, lower) -> VerificationError:
    which = f"the output {output!r}"
    if output == job.probabilities:
        which = f"the probability of {job.labels[worst.where]!r}"
        output = coreml.PROBABILITIES
    numbers = (
        f"The converted model computes something else than the ONNX file: for {which} ONNX Runtime says "
        f"{worst.expected:.6g}, Core ML {worst.found:.6g} (allowed difference {worst.limit:.1g}). "
    )
    layer = first_difference(job, example, lower)
    if layer:
        off = layer.difference
        text = (
            f"The first layer that differs is {layer.kind} ({layer.name or 'without a name'}), which makes "
            f"{layer.tensor!r}: {off.expected:.6g} in ONNX, {off.found:.6g} in Core ML. Pass a right lowering in "
            f"custom_conversion_functions={{{layer.kind!r}: …}}, or export the model with another operator."
        )
    elif job.precision == "float16":
        text = (
            "No layer differs in float32, so it is float16's rounding that this network cannot bear: "
            "use compute_precision='float32'."
        )
    else:
        text = "No layer differs by itself, so a pass of Core ML Tools that joins layers is wrong: try another target."
    return VerificationError(
        f"{numbers}{text} verify=False returns the model as it is.",
        output=output,
        expected=worst.expected,
        found=worst.found,
        difference=worst.size,
        limit=worst.limit,
        layer=layer,
    )


def first_difference(job, example: dict, lower) -> Layer | None:
    """The first layer of the ONNX graph whose result differs, computed in float32.

    First with every tensor between the layers as an output, in one conversion. That keeps Core ML Tools
    from joining layers; if nothing differs then, the graph is cut in half again and again instead.
    """
    proto = graph.with_shapes(job.proto)
    known = {value.name: value for value in (*proto.graph.value_info, *proto.graph.output)}
    candidates = []
    for node in proto.graph.node:
        for name in filter(None, node.output):
            value = known.get(name)
            if value is not None and 0 not in graph.shape(value) and graph.shape(value):
                candidates.append((node, name))
    floats = [(n, t) for n, t in candidates if graph.numpy_type(known[t]).kind == "f"]
    try:
        found = _differences(job, proto, [name for _, name in floats], example, lower)
    except ValueError:  # not every part of a model is a model
        found = {}
    for node, name in floats:
        if name in found and found[name].too_large:
            return Layer(node.op_type, node.name, name, found[name])

    low, high, layer = 0, len(floats) - 1, None
    while low <= high:
        middle = (low + high) // 2
        node, name = floats[middle]
        try:
            difference = _differences(job, proto, [name], example, lower).get(name)
        except ValueError:
            difference = None
        if difference is not None and difference.too_large:
            layer, high = Layer(node.op_type, node.name, name, difference), middle - 1
        else:
            low = middle + 1
    return layer


def _differences(job, proto, tensors: list[str], example: dict, lower) -> dict[str, Difference]:
    """How far each tensor is off in a model that has these tensors as its outputs."""
    part = graph.with_outputs(proto, tensors)
    # An output's name becomes one that Core ML can write; the tensors are told apart by their place.
    names = []
    for number, tensor in enumerate(tensors):
        names.append(graph.free_name(part, f"tensor_{number}"))
        graph.rename(part, tensor, names[-1])
    needed = {name for node in part.graph.node for name in node.input}
    kept = [value for value in part.graph.input if value.name in needed]
    del part.graph.input[:]
    part.graph.input.extend(kept)
    piece = arguments.Job(part, job.target, "float32", lowerings=job.lowerings)
    piece.images = {name: image for name, image in job.images.items() if name in needed}
    values = {value.name: example[value.name] for value in graph.inputs(part)}
    expected = Reference(part).run(_for_onnx(piece, values))
    (found,) = _run(piece, lower(piece), [(values, expected)])
    return {
        tensor: compare(expected[name], found[name], LIMITS["float32"])
        for tensor, name in zip(tensors, names, strict=True)
    }
