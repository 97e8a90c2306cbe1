"""Sequences: the long short-term memory."""

import torch
import torch.nn.functional as F

from ..archive import NotCovered, Unfit

_GATES = {
    "linear": lambda x: x,
    "relu": torch.relu,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
}
MAX_SEQUENCE = 2**16
"""The longest sequence: a step takes about 50 µs, and a file of a kilobyte may ask for any number."""


def _lstm_one_way(x, h, c, weights, functions, clip, backwards):
    """One direction of a long short-term memory.

    Args:
        x: sequence × batch × inputs.
        h, c: batch × hidden size.
        weights: of the inputs, of the state, the bias and the peepholes (each may be None); four blocks:
            input gate, forget gate, output gate, cell.
        functions: of the gates, of the cell and of the output.
        clip: the largest amount that c may have, None for any.

    Returns:
        The output of every step in the order in which they were made, and the last h and c.
    """
    weight_x, weight_h, bias, peephole = weights
    gate, cell, activation = functions
    look = [0.0] * 3 if peephole is None else peephole.chunk(3)
    outputs, steps = [], range(len(x))
    if x.is_meta:  # only the shapes are wanted
        steps = range(1)
    for step in reversed(steps) if backwards else steps:
        i, f, o, z = (F.linear(x[step], weight_x, bias) + F.linear(h, weight_h)).chunk(4, -1)
        c_new = gate(f + look[1] * c) * c + gate(i + look[0] * c) * cell(z)
        c_new = c_new if clip is None else c_new.clamp(-clip, clip)
        c, h = c_new, gate(o + look[2] * c_new) * activation(c_new)
        outputs.append(h)
    return torch.stack(outputs).expand(len(x), *h.shape), h, c


def lstm(
    x,
    initial_h,
    initial_c,
    weight_ih,
    weight_hh,
    bias=None,
    peephole=None,
    weight_ih_back=None,
    weight_hh_back=None,
    bias_back=None,
    peephole_back=None,
    direction="forward",
    output_sequence=False,
    recurrent_activation="sigmoid",
    cell_activation="tanh",
    activation="tanh",
    clip=None,
):
    """Long short-term memory over sequence × batch × inputs.

    A single backward direction gives its outputs in the order in which they were made; of two
    directions, the second in the order of the sequence.
    """
    if len(x) > MAX_SEQUENCE:
        raise NotCovered(f"a sequence of {len(x):,} steps; the limit is {MAX_SEQUENCE:,}")
    names = (recurrent_activation, cell_activation, activation)
    if any(name.lower() not in _GATES for name in names):
        raise NotCovered(f"the activations {', '.join(names)}")
    functions = [_GATES[name.lower()] for name in names]
    forward = (weight_ih, weight_hh, bias, peephole)
    if direction in ("forward", "reverse"):
        y, h, c = _lstm_one_way(x, initial_h, initial_c, forward, functions, clip, direction == "reverse")
        return (y if output_sequence else y[-1:]), h, c
    if direction != "bidirectional":
        raise Unfit(f"unknown direction {direction!r}")
    back = (weight_ih_back, weight_hh_back, bias_back, peephole_back)
    (h_f, h_b), (c_f, c_b) = initial_h.chunk(2, -1), initial_c.chunk(2, -1)
    y_f, h_f, c_f = _lstm_one_way(x, h_f, c_f, forward, functions, clip, False)
    y_b, h_b, c_b = _lstm_one_way(x, h_b, c_b, back, functions, clip, True)
    y = torch.cat([y_f, y_b.flip(0)], -1) if output_sequence else torch.cat([y_f[-1:], y_b[-1:]], -1)
    return y, torch.cat([h_f, h_b], -1), torch.cat([c_f, c_b], -1)
