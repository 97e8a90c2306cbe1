"""Sequences: the long short-term memory."""

import torch

from ..archive import NotCovered
from ..operators import sequences

_ACTIVATION_NAMES = {"linear": "linear", "ReLU": "relu", "sigmoid": "sigmoid", "tanh": "tanh"}


def _lstm_weights(p, w, weights):
    """One direction's weights as the operator of ML programs wants them: input, forget, output, cell."""
    gates, hidden = ("inputGate", "forgetGate", "outputGate", "blockInput"), p.outputVectorSize

    def joined(what, shape, names=gates):
        return torch.cat([weights(getattr(w, f"{gate}{what}"), shape) for gate in names])

    return {
        "weight_ih": joined("WeightMatrix", [hidden, p.inputVectorSize]),
        "weight_hh": joined("RecursionMatrix", [hidden, hidden]),
        "bias": joined("BiasVector", [hidden]) if p.params.hasBiasVectors else None,
        "peephole": joined("PeepholeVector", [hidden], gates[:3]) if p.params.hasPeepholeVectors else None,
    }


def _lstm_options(p, activations):
    kinds = [activation.WhichOneof("NonlinearityType") for activation in activations]
    linear = [a.linear for a, kind in zip(activations, kinds, strict=True) if kind == "linear"]
    if any(kind not in _ACTIVATION_NAMES for kind in kinds) or any(
        (a.alpha, a.beta) != (1, 0) for a in linear
    ):
        raise NotCovered(f"the activations {', '.join(map(str, kinds))}")
    if p.params.forgetBias or p.params.coupledInputAndForgetGate:
        raise NotCovered("a forget bias or coupled gates")
    names = ("recurrent_activation", "cell_activation", "activation")
    options = dict(zip(names, (_ACTIVATION_NAMES[kind] for kind in kinds), strict=True))
    return options | {"clip": p.params.cellClipThreshold or 50.0, "output_sequence": p.params.sequenceOutput}


def _lstm_of(x, *states, direction, **parameters):
    """Vectors lie in the third dimension from the end of sequence × batch × size × 1 × 1."""
    x = x.flatten(2)
    two = direction == "bidirectional"
    hidden = parameters["weight_hh"].shape[1] * (2 if two else 1)
    if not states:
        h = c = x.new_zeros(x.shape[1], hidden)
    elif two:
        h, c = (
            torch.cat([s.reshape(x.shape[1], -1) for s in pair], -1) for pair in (states[::2], states[1::2])
        )
    else:
        h, c = (state.reshape(x.shape[1], -1) for state in states)
    y, h, c = sequences.lstm(x, h, c, direction=direction, **parameters)
    if not two:
        return tuple(value[..., None, None] for value in (y, h[None], c[None]))
    (h, h_back), (c, c_back) = h.chunk(2, -1), c.chunk(2, -1)
    return tuple(v[..., None, None] for v in (y, h[None], c[None], h_back[None], c_back[None]))


def _lstm(p, weights):
    parameters = _lstm_weights(p, p.weightParams, weights) | _lstm_options(p, p.activations)
    return _lstm_of, {"direction": "reverse" if p.reverseInput else "forward", **parameters}


def _lstm_two_ways(p, weights):
    forward, back = (_lstm_weights(p, w, weights) for w in p.weightParams)
    options = _lstm_options(p, p.activationsForwardLSTM)
    if _lstm_options(p, p.activationsBackwardLSTM) != options:
        raise NotCovered("other activations backwards")
    both = forward | {f"{name}_back": value for name, value in back.items()}
    return _lstm_of, {"direction": "bidirectional", **both, **options}


LAYERS = {
    "biDirectionalLSTM": _lstm_two_ways,
    "uniDirectionalLSTM": _lstm,
}
