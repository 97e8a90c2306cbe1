"""The proof of a conversion: the saved Core ML model and the ONNX file compute the same.

The saved model is run by ``helpers.coreml_runtime``; the ONNX file by ONNX Runtime, preprocessing done
by hand. Both get the same few inputs (``helpers.coreml.examples``).
"""

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np

from helpers import coreml
from helpers.coreml import examples
from helpers.coreml.differences import LIMITS, Difference, largest_difference, says_nothing, spread
from helpers.coreml.probabilities import check_probabilities
from helpers.plumbing.errors import first_line

from . import arguments, graph, standard


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
        self,
        text: str,
        *,
        output: str | None = None,
        expected: float | None = None,
        found: float | None = None,
        difference: float | None = None,
        limit: float | None = None,
        layer: "Layer | None" = None,
    ):
        super().__init__(text)
        self.output, self.expected, self.found = output, expected, found
        self.difference, self.limit = difference, limit
        self.layer: str | None = layer.kind if layer else None
        self.tensor: str | None = layer.tensor if layer else None


@dataclass
class Layer:
    """The first layer that differs: its operator, its name, its result, and how far that is off."""

    kind: str
    name: str
    tensor: str
    difference: Difference


@dataclass
class Agreement:
    """What a proof has found.

    Attributes:
        examples: how many inputs were tried.
        outputs: of each output the shape, and the place where it is furthest from what is allowed.
        labels: of how many examples a classifier's label is the same; None without one.
    """

    examples: int
    outputs: dict[str, tuple[tuple[int, ...], Difference]]
    labels: int | None


def proved(job, lower) -> tuple[Any, Agreement]:
    """The Core ML model that ``lower`` makes of a job, once it has computed what the ONNX file computes.

    Returns:
        ``coremltools.models.MLModel``, and the agreement.

    Raises:
        ValueError: a classifier's output is no probabilities.
        VerificationError: the two differ.
    """
    evidence = Proof(job)
    if job.labels:
        evidence.check_probabilities()
    converted = lower(job)
    return converted, evidence.check(converted, lower)


def unproved(job, lower):
    """The Core ML model of a job. Without ONNX Runtime only a classifier's last operator is looked at.

    Raises:
        ValueError: what it makes are no probabilities.
    """
    if job.labels and _last_operator(job.proto, job.probabilities) in NO_PROBABILITIES:
        raise ValueError(
            f"The model ends in {_last_operator(job.proto, job.probabilities)}, so its output is not probabilities. Add a "
            "softmax over the classes before the export (helpers.onnx_export.WithSoftmax)."
        )
    return lower(job)


class Proof:
    """An ONNX model's own answers to a few examples, which its conversion has to give, too.

    Raises:
        VerificationError: ONNX Runtime cannot run the model.
    """

    def __init__(self, job):
        if standard.has_float16(job.proto):
            _check_rounding(job)
            job = dataclasses.replace(job, proto=standard.in_float32(job.proto))
        self.job = job
        self.examples = _examples(job, Reference(job.proto))
        self._expected = {
            value.name: [expected[value.name] for _, expected in self.examples]
            for value in job.proto.graph.output
        }

    def check_probabilities(self) -> None:
        """Refuse a classifier whose output is something else than probabilities.

        Raises:
            ValueError: values below 0 or above 1, or a sum that is not 1 (unless a sigmoid makes them,
                which judges each class by itself).
        """
        name = self.job.probabilities
        kind = _last_operator(self.job.proto, name)
        rows = [np.ravel(answer) for answer in self._expected[name]]
        check_probabilities(rows, kind, each=kind in BY_THEMSELVES)

    def check(self, converted, lower) -> Agreement:
        """Compare a conversion with the ONNX file.

        Args:
            converted: the result, a ``coremltools.models.MLModel``.
            lower: makes a Core ML model of a job; used to find the layer when the numbers differ.

        Raises:
            VerificationError: they differ, or the conversion cannot be run, or the outputs prove nothing.
        """
        job = self.job
        found = _run(job, converted, [values for values, _ in self.examples])
        worst: dict[str, tuple[Difference, dict]] = {}
        for which, (values, expected) in enumerate(self.examples):
            _check_names(set(expected), set(found[which]))
            for name in expected:
                difference = self._difference(name, expected[name], found[which][name])
                if name not in worst or _excess(difference) > _excess(worst[name][0]):
                    worst[name] = difference, values
        output = max(worst, key=lambda name: _excess(worst[name][0]))
        difference, values = worst[output]
        if difference.too_large:
            raise _error(job, difference, output, values, lower)
        self._check_weak(lower)
        return self._agreement(found, worst)

    def _agreement(self, found, worst) -> Agreement:
        shapes = {name: np.shape(answers[0]) for name, answers in self._expected.items()}
        outputs = {name: (shapes[name], difference) for name, (difference, _) in worst.items()}
        probs = self.job.probabilities
        if probs is None:
            return Agreement(len(found), outputs, None)
        pairs = zip(self._expected[probs], found, strict=True)
        equal = sum(int(np.argmax(expected) == np.argmax(answer[probs])) for expected, answer in pairs)
        return Agreement(len(found), outputs, equal)

    def _difference(self, name, expected, found) -> Difference:
        probabilities = name == self.job.probabilities
        if probabilities and found.size == expected.size:  # text → number has no shape
            found = found.reshape(expected.shape)
        return largest_difference(
            expected, found, LIMITS[self.job.precision], probabilities, self._expected[name]
        )

    def _check_weak(self, lower) -> None:
        """Look closer where the outputs hardly depend on the inputs: equal answers prove little then."""
        silent = {name: says_nothing(answers) for name, answers in self._expected.items()}
        if all(silent.values()):
            name, why = next(iter(silent.items()))
            example = self.examples[0][0]
            layer = _first_of_all(self.job, example, lower) if "NaN" not in why else None
            if layer:
                raise _error(self.job, layer.difference, name, example, lower)
            if "NaN" in why:
                raise VerificationError(
                    f"The output {name!r} is {why}, so there is nothing to prove. Was the network trained, and did its "
                    "loss stay a number? verify=False converts it as it is."
                )
        if self.job.precision == "float16" and any(
            spread(answers) < 10 * LIMITS["float16"] for answers in self._expected.values()
        ):  # rounding hides what little they say; the same program in float32 has to be right
            exact = Proof.__new__(Proof)
            exact.__dict__ |= self.__dict__ | {"job": dataclasses.replace(self.job, precision="float32")}
            exact.check(lower(exact.job), lower)


def _excess(difference: Difference) -> float:
    return difference.size - difference.limit


BY_THEMSELVES = ("Sigmoid", "HardSigmoid")
"""Operators after which each class is judged by itself, so that the probabilities need not add up to 1."""

NO_PROBABILITIES = ("Gemm", "MatMul", "Conv", "Add", "Relu", "BatchNormalization", "LogSoftmax")
"""Operators that a classifier must not end in, seen without running it."""


def _check_names(expected: set, found: set) -> None:
    if expected != found:
        raise VerificationError(
            f"The converted model has the outputs {', '.join(sorted(found))}, the ONNX file "
            f"{', '.join(sorted(expected))}. Rename them in the export (output_names)."
        )


def _last_operator(proto, name: str) -> str:
    """The operator that computes an output, past those that only move values."""
    node = graph.maker(proto, name)
    moves = ("Identity", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Cast", "Dropout")
    while node is not None and node.op_type in moves:
        node = graph.maker(proto, node.input[0])
    return node.op_type if node is not None else "its input"


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
                f"ONNX Runtime cannot run this model, so there is nothing to compare with: {first_line(error)}. "
                "Check the export; verify=False converts all the same."
            ) from error

    def run(self, values: dict) -> dict:
        """The outputs by name. ONNX Runtime raises for inputs that the model cannot take."""
        given = {name: np.asarray(value, self._types[name]) for name, value in values.items()}
        return dict(zip(self.outputs, self._session.run(self.outputs, given), strict=True))


def _check_rounding(job) -> None:
    """A model in 16 bits is proved in 32: with each result rounded it has to say nearly the same.

    Raises:
        VerificationError: it does not.
    """
    wide = Reference(standard.in_float32(job.proto))
    for values, expected in _examples(job, Reference(job.proto)):
        for name, found in wide.run(_for_onnx(job, values)).items():
            off = largest_difference(expected[name], found, LIMITS["float16"], name == job.probabilities)
            if off.too_large:
                raise VerificationError(
                    f"The model's numbers have 16 bits, and it needs their rounding: its output {name!r} is "
                    f"{off.expected:.6g}, and {off.found:.6g} with 32 bits, as they are converted. Export it in float32.",
                    output=name,
                    expected=off.expected,
                    found=off.found,
                    difference=off.size,
                    limit=off.limit,
                )


# The inputs


def _examples(job, reference) -> list[tuple[dict, dict]]:
    """Inputs as an app gives them, each with what ONNX Runtime answers."""
    random = np.random.default_rng(0)
    pairs, errors = [], []
    for picture, number in zip(examples.PICTURES, examples.NUMBERS, strict=True):
        if job.precision == "float16" and number == "wide":
            number = "normal"  # a network that computes in 16 bits is not made for large numbers
        values = {
            value.name: _value(job, value, picture, number, random) for value in graph.inputs(job.proto)
        }
        try:
            pairs.append((values, reference.run(_for_onnx(job, values))))
        except Exception as error:  # e.g. whole numbers that are no valid indices
            errors.append(error)
    if not pairs:
        raise VerificationError(
            f"ONNX Runtime cannot run this model, so there is nothing to compare with: {first_line(errors[-1])}. "
            "Check the export; verify=False converts all the same."
        )
    return pairs


def _value(job, value, picture: str, number: str, random):
    """One input: pixels for an image, else an array."""
    shape = graph.shape(value)
    if value.name in job.images:
        return examples.picture(picture, job.images[value.name].shape[1:], random)[None]
    if graph.numpy_type(value) == np.uint8:
        return random.integers(0, 256, shape).astype(np.float32)
    if graph.numpy_type(value).kind == "i":
        # Negative ones are rarely valid where whole numbers say which row to take.
        indices = any(n.op_type.startswith(("Gather", "Scatter", "OneHot")) for n in job.proto.graph.node)
        low, high = {"wide": (0, 10), "edges": (0 if indices else -9, 10)}.get(number, (0, 2))
        if number in ("zeros", "ones"):
            return np.full(shape, number == "ones", np.int32)
        return random.integers(low, high, shape, np.int32)
    return examples.numbers(number, shape, random)


def _for_onnx(job, values: dict) -> dict:
    """What the network itself sees of these inputs: pixels in its own channel order, scaled."""
    seen = dict(values)
    for name, image in job.images.items():
        pixels = values[name].astype(np.float32)
        pixels = pixels[:, ::-1] if image.colour == "BGR" else pixels
        pixels = pixels * np.float32(image.scale) + np.array(image.bias, np.float32).reshape(1, -1, 1, 1)
        seen[name] = image.as_in_the_file(pixels)
    return seen


# Core ML


def _run(job, converted, batch: list[dict]) -> list[dict]:
    """What the saved model computes for each example, by the names of the ONNX outputs."""
    given = [
        {name: examples.as_core_ml(v[0]) if name in job.images else v for name, v in values.items()}
        for values in batch
    ]
    try:
        found = examples.answers(converted, given)
    except ValueError as error:
        newer = "" if job.program else "Target '15' has more operators than a neural network. "
        raise VerificationError(
            f"The converted model cannot be run here, so its numbers are not proved: "
            f"{examples.cause(error)} {newer}verify=False returns it unproved."
        ) from error
    if job.labels:
        for answer in found:
            del answer[job.label_name]
            probs = answer.pop(coreml.PROBABILITIES)
            answer[job.probabilities] = np.array([probs[label] for label in job.labels])
    return found


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
    if worst.reason:
        numbers = f"The converted model is not what the ONNX file is: for {which} {worst.reason}. "
    layer = first_difference(job, example, lower)
    if layer:
        off = layer.difference
        text = (
            f"The first layer that differs is {layer.kind} ({layer.name or 'without a name'}), which makes "
            f"{layer.tensor!r}: {off.reason or f'{off.expected:.6g} in ONNX, {off.found:.6g} in Core ML'}. Pass a right "
            "lowering in "
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
    layer = _first_of_all(job, example, lower)
    if layer:
        return layer
    floats = _float_tensors(job.proto)
    proto = graph.with_shapes(job.proto)
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


def _float_tensors(proto) -> list[tuple]:
    """Every (node, tensor) between the layers whose shape is known and whose numbers are floats."""
    proto = graph.with_shapes(proto)
    known = {value.name: value for value in (*proto.graph.value_info, *proto.graph.output)}
    found = []
    for node in proto.graph.node:
        for value in (known.get(name) for name in node.output if name):
            if value is not None and graph.shape(value) and 0 not in graph.shape(value):
                found.append((node, value))
    return [(node, value.name) for node, value in found if graph.numpy_type(value).kind == "f"]


def _first_of_all(job, example: dict, lower) -> Layer | None:
    """The first layer that differs when every tensor between the layers is an output, in one conversion."""
    floats = _float_tensors(job.proto)
    try:
        proto = graph.with_shapes(job.proto)
        found = _differences(job, proto, [name for _, name in floats], example, lower) if floats else {}
    except ValueError:  # not every part of a model is a model
        return None
    for node, name in floats:
        if name in found and found[name].too_large:
            return Layer(node.op_type, node.name, name, found[name])
    return None


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
    (found,) = _run(piece, lower(piece), [values])
    return {
        tensor: largest_difference(expected[name], found[name], LIMITS["float32"])
        for tensor, name in zip(tensors, names, strict=True)
    }
