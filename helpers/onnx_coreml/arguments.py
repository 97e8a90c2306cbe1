"""Checks what the caller of ``convert`` asks for, and turns it into one ``Job``.

The arguments are those of the retired package's ``convert`` (onnx/onnx-coreml, converter.py).
None is taken and ignored: what today's Core ML cannot do is an error that says what to use.

What ``image_input_names``, ``preprocessing_args`` and their two brothers may say stands in ``pictures``.
"""

import inspect
import math
from dataclasses import dataclass, field

import numpy as np
import onnx

from helpers import coreml
from helpers.coreml.options import OF_A_CLASSIFIER, PROGRAM_TARGETS, check_name, check_target
from helpers.plumbing.labels import in_order
from helpers.plumbing.private_coremltools import identifier

from . import graph, legacy, pictures, sizes, standard


@dataclass
class Job:
    """A checked request: what to convert, and into what.

    Attributes:
        proto: the ONNX model, edited; the caller's own stays as it was.
        target: the iOS version, as ``helpers.coreml.options`` lists it.
        precision: "float32" or "float16".
        images: the inputs that are pictures, by name.
        image_outputs: the outputs that are pictures, by name.
        labels: the class labels, None without a classifier.
        label_name: what the output with the label is called.
        probabilities: the output that becomes the probabilities, None without a classifier.
        regressor: whether the file says that it is one.
        lowerings: the caller's own lowerings by operator or by the name of a node.
    """

    proto: onnx.ModelProto
    target: str
    precision: str
    images: dict[str, pictures.Image] = field(default_factory=dict)
    image_outputs: dict[str, pictures.Image] = field(default_factory=dict)
    labels: list[str] | None = None
    label_name: str = coreml.LABEL
    probabilities: str | None = None
    regressor: bool = False
    lowerings: dict = field(default_factory=dict)

    @property
    def program(self) -> bool:
        """Whether it becomes an ML program."""
        return self.target in PROGRAM_TARGETS


def read(model, mode, images, classes, own, shape_map, target, input_shape) -> Job:
    """The checked request. The errors are those of ``convert``, and so are its arguments, in groups:

    Args:
        model, mode: as they are.
        images: ``image_input_names`` and ``preprocessing_args``, and the same two of the outputs.
        classes: ``class_labels`` and ``predicted_feature_name``.
        own: ``custom_conversion_functions`` and ``add_custom_layers``.
        shape_map: ``onnx_coreml_input_shape_map``.
        target: ``minimum_ios_deployment_target`` and ``compute_precision``.
        input_shape: as it is.
    """
    proto = sizes.fixed(graph.read(model), input_shape)
    _refuse_training_mode(proto)
    proto = legacy.modernised(proto, standard.opset(proto))
    if mode not in (None, "classifier", "regressor"):
        raise ValueError(
            f"mode={mode!r} is not known. Use 'classifier', 'regressor', or None for plain output arrays."
        )
    job = Job(proto, check_target(*target), target[1])
    for value in proto.graph.output:
        graph.numpy_type(value)  # is it an array at all?
    functions, add_custom_layers = own
    job.lowerings = _lowerings(proto, functions)
    names = _use_core_ml_names(proto)
    job.images = pictures.inputs(proto, names, *images[:2])
    _check_inputs(proto, job.images)
    _check_shape_map(proto, names, shape_map, job.images)
    job.image_outputs = pictures.outputs(proto, names, *images[2:])
    if not isinstance(add_custom_layers, bool):
        raise ValueError(f"add_custom_layers={add_custom_layers!r}: use True or False.")
    _refuse_unknown_operators(proto, job.lowerings, add_custom_layers)
    class_labels, label_name = classes
    if mode == "classifier":
        _classifier(job, class_labels, label_name)
    elif class_labels is not None:
        raise ValueError("class_labels are for a classifier: add mode='classifier', or leave them out.")
    elif label_name != coreml.LABEL:
        raise ValueError(
            f"predicted_feature_name={label_name!r} names a classifier's label: add mode='classifier', or leave it out."
        )
    if mode == "regressor":
        _regressor(job)
    return job


_EVALUATE = {
    "BatchNormalization": "build it with track_running_stats=True",
    "Dropout": "write F.dropout(x, p, training=self.training), or use nn.Dropout",
}
"""What to do about a layer that trains although the model was in evaluation mode."""


def _refuse_training_mode(proto) -> None:
    constants = {t.name: t for t in proto.graph.initializer}
    for node in proto.graph.node:
        if node.op_type == "Constant" and node.attribute and node.attribute[0].name == "value":
            constants[node.output[0]] = node.attribute[0].t
    for node in proto.graph.node:
        flags = {a.name: a.i for a in node.attribute}
        training = node.op_type == "BatchNormalization" and (
            sum(map(bool, node.output)) > 1 or flags.get("training_mode")
        )
        if node.op_type in legacy.NO_LONGER and standard.opset(proto) < legacy.FIRST_THAT_RUNS:
            training = node.op_type != "Gemm" and not flags.get("is_test")
        if node.op_type == "Dropout" and len(node.input) > 2 and node.input[2] in constants:
            training = bool(onnx.numpy_helper.to_array(constants[node.input[2]]))
        if training:
            raise ValueError(
                f"The model was exported in training mode: its {node.op_type} ({node.name or node.output[0]}) would go on "
                "training on the phone. Export it in evaluation mode, model.eval(); if it was, that layer takes no notice "
                f"of it: {_EVALUATE[node.op_type]}."
            )


def _use_core_ml_names(proto) -> dict[str, str]:
    """ "input.1" of an old export becomes "input_1", "list" becomes "list_workaround".

    Returns:
        The name in Core ML by the name in the ONNX file, for every input and output.
    """
    values = (*graph.inputs(proto), *proto.graph.output)
    renamed = {value.name: value.name for value in values}
    for value in values:
        wanted = identifier(value.name)
        if wanted != value.name:
            old, new = value.name, graph.free_name(proto, wanted)
            graph.rename(proto, old, new)
            renamed[old] = new
    return renamed


# Inputs, operators


def _dims(value):
    return value.type.tensor_type.shape.dim


def _check_inputs(proto, images) -> None:
    for value in graph.inputs(proto):
        if any(dim.WhichOneof("value") == "dim_value" and not dim.dim_value for dim in _dims(value)):
            raise ValueError(f"The input {value.name!r} is empty, and Core ML has no empty arrays.")
        if not graph.shape(value):
            raise ValueError(
                f"The input {value.name!r} is a single number, and Core ML takes arrays of one dimension at least. Make it a "
                "constant, or an array of one, and export the model again."
            )
        kind = graph.numpy_type(value)
        if kind == np.uint8:
            _check_bytes(proto, value.name)
            continue
        if kind.kind not in "fi" or kind.itemsize < 2 or kind == "int16":
            raise ValueError(
                f"The input {value.name!r} is of the type {kind}, and Core ML takes arrays of float or 32-bit "
                "integer numbers. Begin the model with a cast from float, and export it again."
            )
        if value.name in images and kind.kind != "f":
            raise ValueError(
                f"The image {value.name!r} is of the type {kind}, and Core ML gives a network floats. "
                "Export the model with a float input."
            )


def _check_bytes(proto, name: str) -> None:
    """Bytes become floats in Core ML: right where the model casts them to floats before it computes."""
    if operator := standard.computes_with(proto, name):
        raise ValueError(
            f"The input {name!r} is of the type uint8, and the model gives the bytes to {operator} as they are; Core ML "
            "has no arrays of bytes. Begin the model with a cast to float, and export it again."
        )


def _check_shape_map(proto, renamed, shape_map, images) -> None:
    """The old map told where the sizes of an array belong in sequence, batch, channel, height, width."""
    known = {value.name: graph.shape(value) for value in graph.inputs(proto)}
    for name, places in dict(shape_map or {}).items():
        value = renamed.get(name, name)
        if value not in known:
            raise ValueError(
                f"onnx_coreml_input_shape_map has {name!r}, and the model's inputs are {', '.join(known)}."
            )
        if value in images and list(places) == [1, 2, 3, 4][-len(known[value]) :]:
            continue  # (batch,) channel, height, width: what an image is anyway
        shape = "×".join(map(str, known[value]))
        raise ValueError(
            f"onnx_coreml_input_shape_map={{{name!r}: {places!r}}}: since iOS 13 Core ML keeps the shape of an "
            f"array as it is, and {name!r} will be {shape}. Leave the map out; for another order of the sizes "
            "transpose inside the model and export it again."
        )


def _lowerings(proto, functions) -> dict:
    """The caller's functions, by operator or by the name of a node."""
    own = {}
    for name, function in dict(functions or {}).items():
        if not callable(function):
            raise ValueError(f"custom_conversion_functions[{name!r}] is {function!r}, which is no function.")
        try:
            inspect.signature(function).bind("context", "node")
        except TypeError:
            raise ValueError(
                f"custom_conversion_functions[{name!r}] does not take (context, node). The old package gave it a "
                "layer builder; today it makes operators with coremltools' Builder (mb) and returns the result: "
                "def lower(context, node): return mb.relu(x=context.values_map[node.input[0]], name=node.output[0])."
            ) from None
        if any(name in (node.op_type, node.name) for node in proto.graph.node):
            own[name] = function
            continue
        node = graph.maker(proto, name)
        if node is None:
            raise ValueError(
                f"custom_conversion_functions has {name!r}, which is no operator, node or output of this model."
            )
        # Outputs are renamed on the way; a node keeps its name.
        node.name = node.name or f"maker of {name}"
        own[node.name] = function
    return own


def _refuse_unknown_operators(proto, own: dict, add_custom_layers: bool) -> None:
    """No lowering, no conversion; the old package's way out, custom layers, is gone."""
    from .lowerings import known

    # Nodes that compute with constants only are folded before the operators are looked up.
    constant = {tensor.name for tensor in proto.graph.initializer} | {""}
    unknown = []
    for node in proto.graph.node:
        if set(node.input) <= constant:
            constant |= set(node.output)
        elif not known(node, own):
            unknown.append(node)
    if not unknown:
        return
    kinds = ", ".join(sorted({node.op_type for node in unknown}))
    custom = (
        "add_custom_layers=True has no equivalent today: a custom layer is Swift code, which an ML program "
        "cannot hold and nothing here could prove. "
        if add_custom_layers
        else ""
    )
    raise ValueError(
        f"No lowering is known for the operator {kinds}. {custom}Write one from Core ML's operators and pass it: "
        f"custom_conversion_functions={{{unknown[0].op_type!r}: function(context, node)}}, or export the model "
        "with other operators."
    )


# Classifier and regressor


def _classifier(job: Job, class_labels, label_name) -> None:
    proto = job.proto
    if class_labels is None:
        raise ValueError(
            "mode='classifier' needs class_labels: a list of texts, or a file with one label per line."
        )
    labels = in_order(class_labels)
    _check_label_name(label_name, proto)
    fitting = [
        value
        for value in proto.graph.output
        if value.name not in job.image_outputs and math.prod(graph.shape(value)) == len(labels)
    ]
    if not fitting:
        counts = ", ".join(str(math.prod(graph.shape(v))) for v in proto.graph.output)
        raise ValueError(
            f"There are {len(labels)} class labels for {counts} outputs. Give one label per output."
        )
    if len(fitting) > 1:
        raise ValueError(
            f"{len(fitting)} outputs have {len(labels)} values: {', '.join(v.name for v in fitting)}. Export the "
            "model with one output for the classes."
        )
    others = {v.name for v in (*graph.inputs(proto), *proto.graph.output)} - {fitting[0].name}
    for own in others.intersection(OF_A_CLASSIFIER):
        raise ValueError(
            f"The model has an input or output {own!r}, which is what Core ML calls a classifier's own outputs. Export it "
            "with another name (input_names, output_names)."
        )
    job.labels, job.label_name = labels, label_name
    # Core ML Tools adds an output called classLabel…; the tensor inside needs another name.
    old = fitting[0].name
    job.probabilities = old if old == "probabilities" else graph.free_name(proto, "probabilities")
    if old != job.probabilities:
        graph.rename(proto, old, job.probabilities)
    for own in graph.names(proto).intersection(
        OF_A_CLASSIFIER
    ):  # a tensor inside would be a second one of that name
        graph.rename(proto, own, graph.free_name(proto, f"inner_{own}"))


def _check_label_name(name, proto) -> None:
    taken = {value.name for value in (*graph.inputs(proto), *proto.graph.output)} | {coreml.PROBABILITIES}
    check_name(name, "predicted_feature_name=")
    if name in taken:
        raise ValueError(
            f"predicted_feature_name={name!r} is the name of another input or output. Choose another, "
            "e.g. 'classLabel'."
        )


def _regressor(job: Job) -> None:
    if job.program:
        raise ValueError(
            f"mode='regressor' with target {job.target}: an ML program has no kind of its own for regressors. Use "
            "mode=None, which gives the same numbers under the output's own name, or a target up to '13'."
        )
    outputs = job.proto.graph.output
    if len(outputs) != 1 or job.image_outputs:
        raise ValueError(
            f"mode='regressor' predicts one output array, and the model has {len(outputs)} outputs"
            f"{', an image among them' if job.image_outputs else ''}. Use mode=None."
        )
    job.regressor = True
