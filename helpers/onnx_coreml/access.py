"""What every lowering needs: the node's inputs and attributes, and Core ML Tools' Builder."""

import numpy as np

from helpers.plumbing.private_coremltools import numpy_type


def builder():
    from coremltools.converters.mil import Builder

    return Builder


def ios13():
    from coremltools import target

    return target.iOS13


def attribute(node, name, default=None):
    """An attribute's value; texts as str."""
    import onnx

    for entry in node.attribute:
        if entry.name == name:
            value = onnx.helper.get_attribute_value(entry)
            return value.decode() if isinstance(value, bytes) else value
    return default


def given(context, node, index):
    """What an input is, None if it is left out."""
    if index >= len(node.input) or not node.input[index]:
        return None
    return context.values_map[node.input[index]]


def constant(context, node, index):
    """An input as an array, None if it is left out.

    Raises:
        ValueError: its value is known only when the model runs.
    """
    value = given(context, node, index)
    if value is None:
        return None
    if value.val is None:
        raise ValueError(f"its input {node.input[index]!r} has to be a constant")
    return np.asarray(value.val)


def number(x, value):
    """A number of the type of ``x``."""
    return numpy_type(x).type(value)


def whole(x) -> bool:
    return np.issubdtype(numpy_type(x), np.integer)


def picked(x, places, node):
    """The entries at ``places`` of every dimension."""
    mb = builder()
    for axis, chosen in enumerate(places):
        if not np.array_equal(chosen, np.arange(x.shape[axis])):
            x = mb.gather(x=x, indices=chosen.astype(np.int32), axis=axis)
    return mb.identity(x=x, name=node.output[0])
