"""A loaded Core ML model: what goes in, what comes out, and the way between."""

import collections
import copy
import math
import os
import sys
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike

from helpers.plumbing.quiet import coremltools

from . import pipeline
from .archive import ON_A_MAC, Archive, reason
from .features import PIL_MODES, ArrayInput, ImageInput, Preprocessing, class_labels, read_inputs
from .graph import Graph
from .network import NetworkReader
from .program import ProgramReader
from .steps import Name, to_float16

# Bytes that one operator's result may take for a whole batch; larger batches are cut up.
# About as much as the processor's cache holds.
_BATCH_BYTES = 16 * 2**20

NETWORKS = ("neuralNetwork", "neuralNetworkClassifier", "neuralNetworkRegressor")

COMPUTE_UNITS = ("ALL", "CPU_ONLY", "CPU_AND_GPU", "CPU_AND_NE")
"""What Core ML may compute with (``coremltools.ComputeUnit``): NE is the Neural Engine."""


class CoreMLModel:
    """A Core ML model that runs on torch. ``load`` makes one; see there.

    Attributes:
        path: the file or package.
        format: "neural network", "ML program", "linear classifier" or "pipeline of a ... and a ...".
        inputs: ``ImageInput`` or ``ArrayInput`` by name.
        outputs: the names of the outputs, as ``predict`` answers them.
        labels: the class labels in the order of the probabilities, None without a classifier.
        preprocessing: ``Preprocessing`` by the name of the image input.
        operators: how often each operator occurs.
        precision: "stored", "float32" or "float16".
        engine: "torch", "coreml" or "both".
        largest_difference: with ``engine="both"``: the largest difference of probabilities (or output
            values) between torch and Core ML so far, else None.
    """

    def __init__(
        self,
        path: str | os.PathLike,
        precision: str = "stored",
        engine: str = "torch",
        compute_unit: str = "ALL",
    ):
        if precision not in ("stored", "float32", "float16"):
            raise ValueError(f"precision={precision!r}: choose 'stored', 'float32' or 'float16'.")
        if engine not in ("torch", "coreml", "both"):
            raise ValueError(f"engine={engine!r}: choose 'torch', 'coreml' or 'both'.")
        if compute_unit not in COMPUTE_UNITS:
            raise ValueError(f"compute_unit={compute_unit!r}: choose {', '.join(map(repr, COMPUTE_UNITS))}.")
        if engine != "torch" and sys.platform != "darwin":
            raise RuntimeError(
                f"engine={engine!r} runs Apple's Core ML, which exists only on a Mac. "
                "Leave it out to run the model on torch."
            )
        self._archive = Archive(path)
        self.path, self.precision, self.engine = self._archive.path, precision, engine
        self.largest_difference = 0.0 if engine == "both" else None
        with self._archive.reading("the model"):
            self._read()
        self._native: Any = None  # Core ML's own model
        if engine != "torch":
            ct = coremltools()
            self._native = ct.models.MLModel(str(path), compute_units=ct.ComputeUnit[compute_unit])

    # What the file says

    def _read(self):
        """Everything that the file says."""
        specification = self._archive.specification
        kind = specification.WhichOneof("Type")
        readers = {"mlProgram": self._read_program, "glmClassifier": self._read_linear}
        readers |= dict.fromkeys(NETWORKS, self._read_network) | dict.fromkeys(
            pipeline.PIPELINES, self._read_pipeline
        )
        if kind not in readers:
            raise self._archive.error(
                f"it is a model of the kind '{kind}', which is not covered: {reason(kind)}",
                "Only neural networks, ML programs, linear classifiers and pipelines of them are.",
            )
        if len(specification.description.functions):
            raise self._archive.error("it has several functions, which is not covered", ON_A_MAC)
        self.inputs = read_inputs(self._archive)
        halves = {
            name for name, feature in self.inputs.items() if getattr(feature, "colour", "")[:7] == "float16"
        }
        self._float16_inputs = set(self.inputs) if self.precision == "float16" else halves
        # In a neural network every number is a float.
        self._integer_inputs: set[str] = set()
        self._answer_shapes: dict[str, tuple] = {}
        self.preprocessing: dict[str, Preprocessing] = {}
        self.labels: list | None = None
        self._label_names: tuple = ()
        self._probabilities = ""
        self.outputs = [feature.name for feature in specification.description.output]
        readers[kind](getattr(specification, kind))
        self._check_labels()

    def _read_program(self, program):
        self.format = "ML program"
        reader = ProgramReader(self._archive, self.precision)
        for name, feature in self.inputs.items():
            declared = reader.input_shapes.get(name)
            if (
                declared is None
                or len(declared) != len(feature.shape)
                or any(d is not None and d != s for d, s in zip(declared, feature.shape, strict=True))
            ):
                raise self._archive.error(
                    f"the input '{name}' is described as {feature.shape}, its program takes {declared}"
                )
        self._integer_inputs = reader.integer_inputs
        if self.precision == "stored":
            self._float16_inputs = self._float16_inputs | reader.float16_inputs
        self._float16_inputs = self._float16_inputs - self._integer_inputs
        self.labels = reader.labels
        self._label_names = reader.class_outputs or ()
        self._probabilities = reader.probabilities or ""
        missing = set(self.outputs) - set(reader.outputs)
        if missing:
            raise self._archive.error(f"its program does not make the output {sorted(missing)}")
        self._build(reader.steps)
        self.preprocessing = {
            name: self._marked_preprocessing(feature, reader.steps)
            for name, feature in self.inputs.items()
            if isinstance(feature, ImageInput)
        }

    @staticmethod
    def _marked_preprocessing(feature, steps) -> Preprocessing:
        """Scale and bias of an ML program: coremltools writes them as two operators with marked names."""
        scale, bias, name = 1.0, (0.0,) * feature.shape[1], feature.name
        for step in steps:
            constant = step.parameters.get("y")
            if step.parameters.get("x") != name:
                continue
            if step.operator == "cast":
                name = step.outputs[0]
            elif step.operator == "mul" and "__scaled__" in step.name and isinstance(constant, float):
                scale, name = constant, step.outputs[0]
            elif step.operator == "add" and "__biased__" in step.name and not isinstance(constant, Name):
                values = torch.as_tensor(constant).flatten().tolist()
                bias, name = tuple(values * (feature.shape[1] if len(values) == 1 else 1)), step.outputs[0]
        return Preprocessing(scale, bias)

    def _read_network(self, network):
        self.format = "neural network"
        description = self._archive.specification.description
        reader = NetworkReader(self._archive, network, self.inputs, self.precision)
        self.preprocessing = reader.preprocessing
        if reader.old:
            self._answer_shapes = {f.name: tuple(f.type.multiArrayType.shape) for f in description.output}
        if network.DESCRIPTOR.name == "NeuralNetworkClassifier":
            self.labels = class_labels(network)
            if not self.labels:
                raise self._archive.error("it is a classifier without class labels")
            self._label_names = (description.predictedFeatureName, description.predictedProbabilitiesName)
            last = reader.steps[-1].outputs[0] if reader.steps and reader.steps[-1].outputs else ""
            self._probabilities = network.labelProbabilityLayerName or last
        self._build(reader.steps)

    def _read_linear(self, classifier):
        self.format = "linear classifier"
        description = self._archive.specification.description
        self.labels = class_labels(classifier)
        self._label_names = (description.predictedFeatureName, description.predictedProbabilitiesName)
        self._probabilities = pipeline.PROBABILITIES
        self._build([pipeline.linear_classifier(self._archive, classifier, self.inputs)])

    def _read_pipeline(self, message):
        """Several models, one after the other: each reads what the pipeline is given or an earlier one made."""
        members = []
        for archive in pipeline.models(self._archive, message):
            member = copy.copy(self)  # opened like this one, and reads its own part of the file
            member._archive = archive
            with archive.reading("the model"):
                member._read()
            members.append(member)
        classifiers = [member for member in members if member.labels is not None]
        if len(classifiers) > 1:
            raise self._archive.error("it has several classifiers, which is not covered", ON_A_MAC)
        self.format = f"pipeline of a {' and a '.join(member.format for member in members)}"
        for member in classifiers:
            self.labels, self._label_names = member.labels, member._label_names
            self._probabilities = pipeline.PROBABILITIES
        for member in members:
            self._integer_inputs |= member._integer_inputs & set(self.inputs)
            self._float16_inputs = self._float16_inputs | member._float16_inputs & set(self.inputs)
        self._arrays = [name for name in self.outputs if name not in self._label_names]
        wanted = self._arrays + [self._probabilities] * bool(self._probabilities)
        self._graph = pipeline.Chain(self._archive, members, self.inputs, wanted)
        self.operators: collections.Counter[str] = collections.Counter()
        for member in members:
            self.preprocessing |= member.preprocessing
            self.operators += member.operators

    def _build(self, steps):
        """Check the steps as a whole and note which tensors to keep."""
        self._arrays = [name for name in self.outputs if name not in self._label_names]
        wanted = self._arrays + ([self._probabilities] if self._probabilities else [])
        self._wanted, self._steps, self._graphs = list(dict.fromkeys(wanted)), steps, {}
        self._graph = self._graph_of({name: feature.shape for name, feature in self.inputs.items()})
        self.operators = collections.Counter(step.operator for step in steps)

    def _graph_of(self, shapes):
        """The steps, checked for inputs of some shapes. The file may allow several."""
        steps = [replace(step, parameters=dict(step.parameters), releases=[]) for step in self._steps]
        return Graph(self._archive, steps, shapes, self._wanted, self._integer_inputs)

    def graph_for(self, batch: dict[str, torch.Tensor]) -> Graph | pipeline.Chain:
        """What computes inputs of these shapes; a file that allows several is checked for each once."""
        key = tuple(tuple(value.shape[1:]) for value in batch.values())
        own = key == tuple(self.inputs[name].shape for name in batch)
        if own or isinstance(self._graph, pipeline.Chain):
            return self._graph
        if key not in self._graphs:
            self._graphs = dict([*self._graphs.items()][-7:])  # not without end
            with self._archive.reading("the model"):
                self._graphs[key] = self._graph_of({name: value.shape[1:] for name, value in batch.items()})
        return self._graphs[key]

    def _check_labels(self):
        """As many labels as probabilities, each once."""
        if self.labels is None:
            return
        count = self._graph.sizes[self._probabilities]
        if len(self.labels) != count:
            raise self._archive.error(
                f"it has {len(self.labels)} class labels for {count} probabilities",
                "Convert it again with one label per class, in the order of the network's outputs.",
            )
        if len(set(self.labels)) != count:
            raise self._archive.error(
                "a class label occurs twice", "Convert it again with labels that all differ."
            )

    # What it computes

    def predict(self, inputs: dict) -> dict:
        """What ``coremltools.models.MLModel.predict`` answers on a Mac, for one example.

        Args:
            inputs: for each input its value. An image: a ``PIL.Image`` of the model's size in mode RGB
                (L for a greyscale model), or such a picture as uint8 array H×W×3 (H×W). An array: any
                array or tensor of the input's shape.

        Returns:
            For a classifier e.g. ``{"classLabel": "cat", "classLabelProbs": {"cat": 0.9, ...}}``, the
            names being those in the file. Any other output as float32 or int32 array in its own shape.

        Raises:
            ValueError: an input is missing or unknown, or has another size, mode or type.
        """
        if not isinstance(inputs, dict) or set(inputs) != set(self.inputs):
            given = sorted(map(str, inputs)) if isinstance(inputs, dict) else type(inputs).__name__
            raise ValueError(
                f"{self._archive.label} takes the inputs {sorted(self.inputs)}, not {given}. "
                f"Write predict({{'{next(iter(self.inputs))}': ...}})."
            )
        batch = {name: self._one(feature, inputs[name]) for name, feature in self.inputs.items()}
        if self.engine == "torch":
            return self._answer(self.graph_for(batch).run(batch))
        native = self._native.predict({name: self._for_coreml(name, batch[name]) for name in batch})
        if self.engine == "both":
            self._compare(native, self._answer(self.graph_for(batch).run(batch)))
        return native

    def probs(self, images: ArrayLike | torch.Tensor, batch_size: int | None = None) -> torch.Tensor:
        """The probabilities of a batch of images, in the order of ``labels``.

        The file says that it takes one image at a time; here every operator works on the whole batch.

        Args:
            images: uint8 tensor or array, N×3×H×W (N×1×H×W for a greyscale model), pixels 0 to 255,
                channels R, G, B whatever order the network sees. A model without an image input takes
                floats of its own shape without the leading 1: N×C×H×W.
            batch_size: how many at once; None chooses by the size of the model's activations.

        Returns:
            N×classes, float32.

        Raises:
            ValueError: the model is no classifier or has several inputs, or the images have another shape
                or type.
        """
        if self.labels is None:
            raise ValueError(f"{self._archive.label} is no classifier. Use run() for its outputs.")
        if self.engine != "torch":
            return self._probs_one_by_one(images, self.labels)
        results = self.run(images, batch_size)
        return results[self._probabilities].reshape(-1, len(self.labels))

    def run(self, images: ArrayLike | torch.Tensor, batch_size: int | None = None) -> dict[str, torch.Tensor]:
        """The output tensors of a batch on torch, for a model with one input.

        Args:
            images, batch_size: as for ``probs``.

        Returns:
            For each output tensor its name and N × its shape in the file; a classifier's probabilities
            are among them under the name that they have inside the file.
        """
        if len(self.inputs) != 1:
            raise ValueError(f"{self._archive.label} has {len(self.inputs)} inputs. Use predict().")
        feature = next(iter(self.inputs.values()))
        images = self._check_batch(feature, images)
        if batch_size is None:
            graph = self.graph_for({feature.name: self._to_network(feature, images[:1])})
            batch_size = max(1, min(256, _BATCH_BYTES // graph.largest_bytes))
        if batch_size < 1:
            raise ValueError(f"batch_size={batch_size}: it must be 1 or more.")
        parts = collections.defaultdict(list)
        for part in torch.split(images, batch_size):
            batch = {feature.name: self._to_network(feature, part)}
            for name, value in self.graph_for(batch).run(batch).items():
                parts[name].append(value)
        return self.shaped({name: torch.cat(values) for name, values in parts.items()})

    def answer_shape(self, name: str, shape: tuple) -> tuple:
        """A file from before iOS 13 answers arrays as it declares them, or as C×H×W."""
        declared = self._answer_shapes.get(name)
        if declared is None:
            return shape
        return declared if declared and math.prod(declared) == math.prod(shape) else shape[-3:]

    def shaped(self, results: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """The arrays of a batch in the shapes that the model answers."""
        for name in self._arrays:
            value = results[name]
            results[name] = value.reshape(len(value), *self.answer_shape(name, value.shape[1:]))
        return results

    def _answer(self, results) -> dict:
        """The first example of a batch as ``predict`` answers it."""
        results = self.shaped(results)
        answer = {name: results[name][0].numpy() for name in self._arrays}
        # Core ML's whole numbers have 32 bits.
        answer = {n: v.astype(np.int32) if v.dtype.kind in "iu" else v for n, v in answer.items()}
        if self.labels is not None:
            probs = results[self._probabilities][0].flatten()
            label_name, probs_name = self._label_names
            answer[label_name] = self.labels[int(probs.argmax())]
            if probs_name:
                answer[probs_name] = dict(zip(self.labels, probs.tolist(), strict=True))
        return answer

    # What goes in

    def _one(self, feature, value) -> torch.Tensor:
        """One example as a batch of one, ready for the network."""
        if isinstance(feature, ArrayInput):
            value = self._numbers(feature, torch.as_tensor(np.asarray(value)))
            if not feature.allows(tuple(value.shape)):
                raise ValueError(
                    f"the input '{feature.name}' has the shape {tuple(value.shape)}, "
                    f"the model takes {feature.takes() if feature.others else feature.shape}. Reshape it."
                )
            return to_float16(value[None]) if feature.name in self._float16_inputs else value[None]
        mode = PIL_MODES[feature.colour]
        # A PIL image has bands; an array has none.
        if hasattr(value, "getbands") and value.mode != mode:
            raise ValueError(
                f"the image '{feature.name}' has the mode {value.mode}, the model takes {mode}. "
                f"Use image.convert('{mode}')."
            )
        pixels, wanted = np.asarray(value), np.float32 if mode == "F" else np.uint8
        if pixels.dtype != wanted and not (mode == "F" and pixels.dtype.kind == "f"):
            raise ValueError(
                f"the image '{feature.name}' is of the type {pixels.dtype}. Give a PIL image or "
                f"a {wanted.__name__} array with pixels {'of the model' if mode == 'F' else 'from 0 to 255'}."
            )
        colours, shape = (3,) if mode == "RGB" else (), pixels.shape
        if shape[2:] != colours or not feature.allows((*feature.shape[:2], *shape[:2])):
            own = (feature.height, feature.width, *colours)
            raise ValueError(
                f"the image '{feature.name}' has the shape {shape}, the model takes "
                f"{feature.takes(2, 3) if feature.others else own} (height × width{' × 3' * len(colours)}). "
                f"Use image.resize(({feature.width}, {feature.height}))."
            )
        tensor = torch.from_numpy(pixels.copy())
        tensor = tensor.permute(2, 0, 1) if mode == "RGB" else tensor[None]
        return self._to_network(feature, tensor[None])

    def _numbers(self, feature, values) -> torch.Tensor:
        """An array in the type that the model computes with."""
        if feature.name not in self._integer_inputs:
            return values.float()
        if bool((values != values.int()).any()):
            raise ValueError(f"the input '{feature.name}' takes whole numbers. Round them first.")
        return values.int()

    def _check_batch(self, feature, images) -> torch.Tensor:
        """A batch as a tensor of the right shape and type."""
        images = torch.as_tensor(images)
        floats = isinstance(feature, ImageInput) and PIL_MODES[feature.colour] == "F"
        if isinstance(feature, ImageInput) and not floats and images.dtype != torch.uint8:
            raise ValueError(
                f"the images are {images.dtype}, the model takes uint8 with pixels from 0 to 255. For floats "
                "from 0 to 1 write (images * 255).round().to(torch.uint8)."
            )
        one = feature.shape[:1] == (1,)
        shape = (1, *images.shape[1:]) if one else tuple(images.shape[1:])
        if not feature.allows(shape) or len(images) == 0:
            sides = range(one, len(feature.shape))
            raise ValueError(
                f"the batch has the shape {tuple(images.shape)}, the model takes "
                f"{'×'.join(['N', feature.takes(*sides)] if sides else ['N'])} with at least one example."
            )
        return images

    def _to_network(self, feature, images) -> torch.Tensor:
        """N×C×H×W as the network sees it: its channel order, float32, and the file's leading 1."""
        if isinstance(feature, ImageInput) and feature.colour == "BGR":
            images = images.flip(1)
        images = self._numbers(feature, images)
        if feature.name in self._float16_inputs:
            images = to_float16(images)
        if images.ndim == 4:
            images = images.contiguous(memory_format=torch.channels_last)
        return images.unsqueeze(1) if images.ndim == len(feature.shape) else images

    # On a Mac

    def _for_coreml(self, name, batch):
        """The network's tensor back as what Core ML takes: a PIL image, or the array."""
        feature = self.inputs[name]
        if isinstance(feature, ArrayInput):
            return batch[0].numpy()
        from PIL import Image

        pixels = batch[0, 0].to(torch.float32 if PIL_MODES[feature.colour] == "F" else torch.uint8)
        if feature.shape[1] == 1:
            return Image.fromarray(pixels[0].numpy())
        pixels = pixels.flip(0) if feature.colour == "BGR" else pixels
        return Image.fromarray(pixels.permute(1, 2, 0).contiguous().numpy())

    def _probs_one_by_one(self, images, labels) -> torch.Tensor:
        """``probs`` through Core ML, which takes one image at a time."""
        if len(self.inputs) != 1 or not self._label_names[1]:
            raise ValueError(f"{self._archive.label} needs one input and named probabilities. Use predict().")
        feature = next(iter(self.inputs.values()))
        rows = []
        for image in self._check_batch(feature, images):
            given = {feature.name: self._to_network(feature, image[None])}
            answer = self._native.predict({n: self._for_coreml(n, value) for n, value in given.items()})
            if self.engine == "both":
                self._compare(answer, self._answer(self.graph_for(given).run(given)))
            probs = answer[self._label_names[1]]
            rows.append([probs[label] for label in labels])
        return torch.tensor(rows, dtype=torch.float32)

    def _compare(self, native: dict, ours: dict):
        """Note the largest difference between two answers."""
        for name, value in ours.items():
            if isinstance(value, dict):
                difference = max(abs(value[label] - native[name][label]) for label in value)
            elif isinstance(value, np.ndarray):
                difference = float(np.abs(value - np.asarray(native[name])).max())
            else:
                continue
            self.largest_difference = max(self.largest_difference, difference)

    def __repr__(self):
        lines = [f"{self._archive.label}: {self.format}, {sum(self.operators.values())} operators"]
        for name, feature in self.inputs.items():
            if isinstance(feature, ImageInput):
                p = self.preprocessing[name]
                bias = ", ".join(f"{b:.6g}" for b in p.bias)
                lines.append(f"  input   {name}: image {feature.width}×{feature.height}, {feature.colour}")
                lines.append(f"          scale {p.scale:.6g}, bias {bias}")
            else:
                lines.append(f"  input   {name}: array {'×'.join(map(str, feature.shape))}")
        lines += [f"  output  {name}" for name in self.outputs]
        if self.labels:
            shown = ", ".join(map(str, self.labels[:10])) + (", ..." if len(self.labels) > 10 else "")
            lines.append(f"  labels  {shown}")
        return "\n".join(lines)
