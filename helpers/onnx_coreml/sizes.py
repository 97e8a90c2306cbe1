"""Fixes the sizes that a file leaves open: Core ML models here have fixed ones.

A size is open where the file gives it a name ("batch"), a number below 0, or nothing at all.
"""

import numbers
from typing import Any

import numpy as np
import onnx

from . import graph

TRAINED = 224
"""The size that stands in the advice for one that nobody knows."""


def fixed(proto: onnx.ModelProto, input_shape: Any) -> onnx.ModelProto:
    """The model with the sizes that the caller gives.

    Args:
        proto: it is changed.
        input_shape: the shape of the one input, or shapes by the input's name in the file; None for none. A size
            with a name is fixed wherever it has that name.

    Raises:
        ValueError: sizes are open still, or those that are given do not fit; the text says what to write.
    """
    values = {value.name: value for value in graph.inputs(proto)}
    given = _by_name(input_shape, values)
    named: dict[str, int] = {}
    for name, shape in given.items():
        _fit(values[name], shape, named)
    for value in values.values():
        for dim in _dims(value):
            if dim.dim_param in named:
                dim.dim_value = named[dim.dim_param]
    left = [value for value in values.values() if _is_open(value)]
    if left:
        raise ValueError(_advice(left, list(values)))
    if given or any(_is_open(value) for value in proto.graph.output):
        return _inferred(proto)
    return proto


def _dims(value):
    return value.type.tensor_type.shape.dim


def _open_dims(value) -> list[int]:
    return [
        n for n, dim in enumerate(_dims(value)) if dim.WhichOneof("value") != "dim_value" or dim.dim_value < 0
    ]


def _is_open(value) -> bool:
    array = value.type.HasField("tensor_type")
    return array and (not value.type.tensor_type.HasField("shape") or bool(_open_dims(value)))


def _by_name(given, values: dict) -> dict[str, tuple[int, ...]]:
    """The given shapes by the input's name, checked."""
    if given is None:
        return {}
    if not isinstance(given, dict):
        if len(values) != 1:
            example = ", ".join(f"{name!r}: …" for name in values)
            raise ValueError(
                f"input_shape is one shape, and the model has {len(values)} inputs. Give one for each: "
                f"input_shape={{{example}}}."
            )
        given = {next(iter(values)): given}
    for name, shape in given.items():
        if name not in values:
            raise ValueError(f"input_shape has {name!r}, and the model's inputs are {', '.join(values)}.")
        whole = isinstance(shape, tuple | list) and all(
            isinstance(size, numbers.Integral) and not isinstance(size, bool) and int(size) > 0
            for size in shape
        )
        if not whole:
            raise ValueError(
                f"input_shape is {shape!r} for {name!r}. Write whole numbers above 0, e.g. (1, 3, {TRAINED}, {TRAINED})."
            )
    return {name: tuple(map(int, shape)) for name, shape in given.items()}


def _fit(value, shape, named: dict) -> None:
    """Write a shape into an input, and note the sizes that have names."""
    text = f"input_shape={shape} for {value.name!r}, which the file says is {_text(value)}"
    array = value.type.tensor_type
    if not array.HasField("shape"):
        for _ in shape:
            array.shape.dim.add()
    if len(_dims(value)) != len(shape):
        raise ValueError(f"{text}: give {len(_dims(value))} sizes instead of {len(shape)}.")
    for place, (dim, size) in enumerate(zip(_dims(value), shape, strict=True)):
        if place not in _open_dims(value) and dim.dim_value != size:
            raise ValueError(f"{text}: size {place + 1} is fixed, leave it {dim.dim_value}.")
        if dim.dim_param and named.setdefault(dim.dim_param, size) != size:
            raise ValueError(
                f"{text}: {dim.dim_param!r} is one size, and would be {named[dim.dim_param]} and {size}."
            )
        if not dim.dim_param:
            dim.dim_value = size


def _text(value) -> str:
    if not value.type.tensor_type.HasField("shape"):
        return "of any shape"
    sizes = [
        str(dim.dim_value) if dim.WhichOneof("value") == "dim_value" else dim.dim_param
        for dim in _dims(value)
    ]
    return "×".join(size if size and not size.startswith("-") else "?" for size in sizes) or "a single number"


def _advice(left, names: list[str]) -> str:
    """What is open, and what to type."""
    found, shapes = [], {}
    for value in left:
        sizes, places = [dim.dim_value for dim in _dims(value)], _open_dims(value)
        for place in places:
            sizes[place] = TRAINED if place else 1
        which = ", ".join(str(place + 1) for place in places)
        count = (
            f"size{'s' if len(places) > 1 else ''} {which} of the input"
            if places
            else "every size of the input"
        )
        found.append(f"{count} {value.name!r}, {_text(value)}")
        shapes[value.name] = tuple(sizes or (1, 3, TRAINED, TRAINED))
    example = next(iter(shapes.values())) if len(names) == 1 else shapes
    return (
        f"The file leaves open {' and '.join(found)}; Core ML gets fixed ones: write input_shape={example} with the "
        "sizes that the network was trained with, and 1 for the batch, as an app classifies one picture at a time."
    )


# The shapes behind the inputs


def _inferred(proto):
    """The model with the shapes that follow from its inputs' in the place of those it had."""
    declared = [graph.copy(value) for value in proto.graph.output]
    del proto.graph.value_info[:]
    for value in proto.graph.output:
        if value.type.HasField("tensor_type"):
            value.type.tensor_type.ClearField("shape")
    proto = graph.with_shapes(proto)
    if any(_is_open(value) for value in proto.graph.output):
        _measure(proto, declared)
    return proto


def _measure(proto, declared) -> None:
    """Write the outputs' shapes that ONNX Runtime finds; as they were declared where it does not run."""
    try:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        session = onnxruntime.InferenceSession(
            proto.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        zeros = {v.name: np.zeros(graph.shape(v), graph.numpy_type(v)) for v in graph.inputs(proto)}
        shapes = [np.shape(found) for found in session.run(None, zeros)]
    except Exception:  # the proof says what is wrong with it
        for value, before in zip(proto.graph.output, declared, strict=True):
            value.CopyFrom(before)
        return
    for value, shape in zip(proto.graph.output, shapes, strict=True):
        value.type.tensor_type.shape.CopyFrom(onnx.helper.make_tensor_type_proto(1, shape).tensor_type.shape)
