"""Normalisation and activations."""

from typing import Any

import torch

from ..archive import NotCovered
from ..operators import activations
from ..operators.activations import FORMULAS
from .forms import batched, fields, plain


def _batchnorm(p, weights):
    shape = [p.channels]
    if p.computeMeanVar and p.instanceNormalization:
        return batched(activations.instance_norm), {
            "gamma": weights(p.gamma, shape),
            "beta": weights(p.beta, shape),
            "epsilon": p.epsilon or 1e-5,
        }
    if p.computeMeanVar or p.instanceNormalization:
        raise NotCovered("statistics of the batch itself")
    return batched(activations.batch_norm), {
        "mean": weights(p.mean, shape),
        "variance": weights(p.variance, shape),
        "gamma": weights(p.gamma, shape),
        "beta": weights(p.beta, shape),
        "epsilon": p.epsilon or 1e-5,
    }


def _layer_normalization(p, weights):
    shape = list(p.normalizedShape)
    return activations.layer_norm, {
        "axes": list(range(-len(shape), 0)),
        "gamma": weights(p.gamma, shape),
        "beta": weights(p.beta, shape),
        "epsilon": p.eps or 1e-5,
    }


def _mvn(p, weights):
    return _mvn_of, {
        "axes": [-3, -2, -1] if p.acrossChannels else [-2, -1],
        "scaled": p.normalizeVariance,
        "epsilon": p.epsilon or 1e-6,
    }


def _mvn_of(x, axes, scaled, epsilon):
    """Mean 0, and variance 1 if asked for."""
    variance, mean = torch.var_mean(x, axes, correction=0, keepdim=True)
    return (x - mean) * torch.rsqrt(variance + epsilon) if scaled else x - mean


_PLAIN = {
    "ReLU": torch.relu,
    "sigmoid": torch.sigmoid,
    "softplus": activations.softplus,
    "softsign": torch.nn.functional.softsign,
    "tanh": torch.tanh,
}
_WITH_NUMBERS = {
    "ELU": ("elu", "alpha"),
    "leakyReLU": ("leaky_relu", "alpha"),
    "linear": ("linear_activation", "alpha", "beta"),
    "scaledTanh": ("scaled_tanh", "alpha", "beta"),
    "sigmoidHard": ("sigmoid_hard", "alpha", "beta"),
    "thresholdedReLU": ("thresholded_relu", "alpha"),
}
# One number per channel, the third dimension from the end, or one for all.
_OF_CHANNELS = {
    "PReLU": lambda x, alpha: torch.where(x >= 0, x, alpha * x),
    "parametricSoftplus": lambda x, alpha, beta: alpha * activations.softplus(beta * x),
}
_GELUS = ("EXACT", "TANH_APPROXIMATION", "SIGMOID_APPROXIMATION")


def _activation(p, weights):
    kind = p.WhichOneof("NonlinearityType")
    a: Any = getattr(p, kind) if kind else None
    if kind in _PLAIN:
        return _PLAIN[kind], {}
    if kind in _WITH_NUMBERS:
        name, *numbers = _WITH_NUMBERS[kind]
        return FORMULAS[name], {number: getattr(a, number) for number in numbers}
    if kind not in _OF_CHANNELS:
        raise NotCovered(f"the function {kind}")
    names = ("alpha",) if kind == "PReLU" else ("alpha", "beta")
    counts = [len(getattr(a, n).floatValue) or len(getattr(a, n).float16Value) // 2 for n in names]
    values = {n: weights(getattr(a, n), [count, 1, 1]) for n, count in zip(names, counts, strict=True)}
    return _OF_CHANNELS[kind], values


LAYERS = {
    "activation": _activation,
    "batchnorm": _batchnorm,
    "clampedReLU": fields(FORMULAS["clamped_relu"], alpha="alpha", beta="beta"),
    "clip": fields(FORMULAS["clip"], alpha="minVal", beta="maxVal"),
    "gelu": lambda p, weights: (activations.gelu, {"mode": _GELUS[p.mode]}),
    "l2normalize": lambda p, weights: (activations.l2_norm, {"epsilon": p.epsilon or 1e-6}),
    "layerNormalization": _layer_normalization,
    "lrn": lambda p, weights: (
        batched(activations.local_response_norm),
        {"size": p.localSize, "alpha": p.alpha, "beta": p.beta, "k": p.k or 1.0},
    ),
    "mvn": _mvn,
    "softmax": plain(lambda x: FORMULAS["softmax"](x, -3)),
    "softmaxND": fields(FORMULAS["softmax"], axis="axis"),
    "tanh": plain(torch.tanh),
}
