"""Reads an ML program (``.mlpackage``): operators, constants and compressed weights."""

import functools
import inspect
from typing import Any

import numpy as np
import torch

from . import constants
from .archive import Archive, NotCovered, reason
from .compressed import DECODERS, decoded_size
from .operators import OPERATORS
from .steps import Name, Step, half

_signature = functools.cache(inspect.signature)

_SMALL = 256
"""Constants of up to so many bytes are read once: strides, padding and the like are everywhere the same."""


class ProgramReader:
    """Turns the main function of an ML program into steps.

    Args:
        archive: the opened model.
        precision: "stored", "float32" or "float16"; see ``load``.

    Attributes:
        steps: the operators in order.
        probabilities: the name of the tensor that ``classify`` reads, None without a classifier.
        input_shapes: for each input of the function its declared shape.
        float16_inputs: the names of the inputs that are float16.
        integer_inputs: the names of the inputs that are whole numbers.
        labels: the class labels in the order of that tensor, None without a classifier.
        class_outputs: the names of the label and of the dictionary of probabilities.
        outputs: the names of the function's outputs.

    Raises:
        ValueError: an operator is not covered, or a value is not what its declaration says.
    """

    def __init__(self, archive: Archive, precision: str):
        self._archive = archive
        self._precision = precision
        self._constants: dict[str, Any] = {}
        self._small: dict[bytes, Any] = {}
        self.steps: list[Step] = []
        self.probabilities: Name | None = None
        self.labels: list | None = None
        self.class_outputs: tuple[str, ...] | None = None
        program = archive.specification.mlProgram
        name = archive.specification.description.defaultFunctionName or "main"
        if name not in program.functions:
            raise archive.error(f"its program has no function '{name}'")
        function = program.functions[name]
        if function.opset not in function.block_specializations:
            raise archive.error(f"its program has no block for the operator set '{function.opset}'")
        block = function.block_specializations[function.opset]
        declared = {i.name: constants.declared(i.type) for i in function.inputs}
        self.input_shapes = {name: shape for name, (_, shape) in declared.items()}
        self.float16_inputs = {name for name, (dtype, _) in declared.items() if dtype == "FLOAT16"}
        self.integer_inputs = {
            name for name, (dtype, _) in declared.items() if constants.kind(dtype) == "integer"
        }
        for operation in block.operations:
            name = operation.outputs[0].name if operation.outputs else "?"
            where = f"the operator '{operation.type}' called '{name}'"
            with archive.reading(where):
                self._read(operation, name, where)
        self.outputs = list(block.outputs)
        for name in self.outputs:
            if name in self._constants:
                raise archive.error(f"its output '{name}' is a constant", "There is nothing to run.")

    def _read(self, operation, name, where):
        """One operation of the block: a constant, a compressed constant, ``classify`` or a step."""
        kind = operation.type
        constant = kind.startswith("constexpr_") and kind.removeprefix("constexpr_") in DECODERS
        if operation.blocks or not (constant or kind in OPERATORS or kind in ("const", "classify")):
            raise NotCovered(reason(kind))
        if kind == "const":
            value = operation.attributes["val"]
            if value.ByteSize() > _SMALL or value.HasField("blobFileValue"):
                self._define(name, constants.read(self._archive, value, name))
                return
            written = value.SerializeToString()
            if written not in self._small:
                self._small[written] = constants.read(self._archive, value, name)
            self._define(name, self._small[written])
            return
        inputs = {key: self._argument(key, value, where) for key, value in operation.inputs.items()}
        if constant:
            inputs |= {
                key: constants.read(self._archive, value, name)
                for key, value in operation.attributes.items()
                if key != "name"
            }
            self._decode(operation, kind.removeprefix("constexpr_"), inputs, where)
        elif kind == "classify":
            self._classify(operation, inputs, where)
        else:
            parameters = {key: self._bind(value, key) for key, value in inputs.items()}
            self._check_arguments(OPERATORS[kind], parameters, where)
            types = [constants.declared(output.type) for output in operation.outputs]
            rounds = [
                self._precision == "float16" or (self._precision == "stored" and dtype == "FLOAT16")
                for dtype, _ in types
            ]
            names = [output.name for output in operation.outputs]
            for name in names:
                self._refuse_second(name)
            shapes = [shape for _, shape in types]
            kinds = [constants.kind(dtype) for dtype, _ in types]
            self.steps.append(Step(kind, name, OPERATORS[kind], [], parameters, names, shapes, rounds, kinds))

    def _check_arguments(self, function, parameters, where):
        """The operator takes what the file gives it, and gets what it needs."""
        known = _signature(function).parameters
        for name in parameters.keys() - known.keys():
            raise self._archive.refuse(where, NotCovered(f"its argument '{name}'"))
        for name, parameter in known.items():
            if parameter.default is parameter.empty and name not in parameters:
                raise self._archive.error(f"{where} has no value for '{name}'")

    def _argument(self, key, argument, where):
        """One input: a ``Name``, a constant (NumPy or str), or a list of these."""
        found = []
        for binding in argument.arguments:
            if binding.WhichOneof("binding") == "name":
                found.append(self._constants.get(binding.name, Name(binding.name)))
            else:
                found.append(constants.read(self._archive, binding.value, f"{key} of {where}"))
        if not found:
            raise self._archive.error(f"{where} has no value for '{key}'")
        # Only these take a list, and coremltools writes a list of one like a single value.
        return found if key == "values" or len(found) > 1 else found[0]

    def _bind(self, value, key):
        """A constant as the operators want it: numbers, strings and lists of integers, else float tensors."""
        if isinstance(value, list):
            return [self._bind(item, key) for item in value]
        if not isinstance(value, np.ndarray):
            return value
        if value.dtype.kind == "f":
            if value.ndim == 0:
                rounded = self._precision == "float16" and not key.startswith("scale_factor")  # a size
                return half(float(value)) if rounded else float(value)
            return self._rounded(value)
        return value.tolist() if value.ndim <= 1 else torch.from_numpy(value.astype(np.int64))

    def _rounded(self, value):
        """A weight as float32, rounded to float16 before if that precision was asked for."""
        weight = torch.from_numpy(np.require(value, requirements=["C", "W"]))
        return (weight.half() if self._precision == "float16" else weight).float()

    def _refuse_second(self, name):
        if name in self._constants:
            raise self._archive.error(f"the name '{name}' is made twice")

    def _define(self, name, value):
        self._refuse_second(name)
        self._constants[name] = value

    def _classify(self, operation, inputs, where):
        """Note where the probabilities come from and what their labels are; Core ML does the rest."""
        probabilities, classes = inputs.get("probabilities"), inputs.get("classes")
        if not isinstance(probabilities, Name) or isinstance(classes, Name) or classes is None:
            raise self._archive.error(f"{where} lacks its probabilities or its classes")
        if len(operation.outputs) != 2 or self.probabilities is not None:
            raise self._archive.error(f"{where} is not the one classifier with two outputs")
        self.probabilities = probabilities
        self.labels = classes.tolist() if isinstance(classes, np.ndarray) else [str(c) for c in classes]
        self.class_outputs = tuple(output.name for output in operation.outputs)

    # Compressed weights

    def _decode(self, operation, kind, inputs, where):
        """A compressed weight, decoded by coremltools once its size is known to be right."""
        if any(isinstance(value, Name) for value in inputs.values()):
            raise self._archive.error(f"{where} reads something that is no constant")
        shapes = [constants.declared(output.type)[1] for output in operation.outputs]
        size = decoded_size(kind, inputs)
        self._archive.take(size, 4, where)
        result = DECODERS[kind](inputs)
        results = result if isinstance(result, tuple) else (result,)
        if len(results) != len(shapes):
            raise self._archive.error(f"{where} has {len(shapes)} outputs instead of {len(results)}")
        for output, value, shape in zip(operation.outputs, results, shapes, strict=True):
            if value.shape != shape:
                raise self._archive.error(
                    f"{where} decodes to the shape {value.shape}, the file declares {shape}"
                )
            self._define(output.name, value)
