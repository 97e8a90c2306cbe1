"""Normalisation and activations."""

from typing import Any

import torch

from ..archive import NotCovered
from ..operators import activations
from .forms import batched, plain


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


def _activation(p, weights):
    kind = p.WhichOneof("NonlinearityType")
    a: Any = getattr(p, kind) if kind else None
    plain = {"ReLU": torch.relu, "tanh": torch.tanh, "sigmoid": torch.sigmoid}
    plain["softsign"] = torch.nn.functional.softsign
    plain["softplus"] = activations.softplus
    if kind in plain:
        return plain[kind], {}
    if kind in ("PReLU", "parametricSoftplus"):
        names = ("alpha", "beta")[: 1 if kind == "PReLU" else 2]
        counts = [len(getattr(a, n).floatValue) or len(getattr(a, n).float16Value) // 2 for n in names]
        values = {n: weights(getattr(a, n), [count, 1, 1]) for n, count in zip(names, counts, strict=True)}
        return _prelu_of if kind == "PReLU" else _softplus_of, values
    functions = {
        "linear": activations.linear_activation,
        "scaledTanh": activations.scaled_tanh,
        "sigmoidHard": activations.sigmoid_hard,
        "leakyReLU": activations.leaky_relu,
        "thresholdedReLU": activations.thresholded_relu,
        "ELU": activations.elu,
    }
    if kind not in functions:
        raise NotCovered(f"the function {kind}")
    two = kind in ("linear", "scaledTanh", "sigmoidHard")
    return functions[kind], {"alpha": a.alpha, "beta": a.beta} if two else {"alpha": a.alpha}


def _prelu_of(x, alpha):
    """One slope per channel, the third dimension from the end, or one for all."""
    return torch.where(x >= 0, x, alpha * x)


def _softplus_of(x, alpha, beta):
    """alpha · log(1 + e^(beta · x)), one pair per channel or one for all."""
    return alpha * activations.softplus(beta * x)


def _gelu(p, weights):
    names = ("EXACT", "TANH_APPROXIMATION", "SIGMOID_APPROXIMATION")
    return activations.gelu, {"mode": names[p.mode]}


LAYERS = {
    "activation": _activation,
    "batchnorm": _batchnorm,
    "clampedReLU": lambda p, weights: (activations.clamped_relu, {"alpha": p.alpha, "beta": p.beta}),
    "clip": lambda p, weights: (activations.clip, {"alpha": p.minVal, "beta": p.maxVal}),
    "gelu": _gelu,
    "l2normalize": lambda p, weights: (activations.l2_norm, {"epsilon": p.epsilon or 1e-6}),
    "layerNormalization": _layer_normalization,
    "lrn": lambda p, weights: (
        batched(activations.local_response_norm),
        {"size": p.localSize, "alpha": p.alpha, "beta": p.beta, "k": p.k or 1.0},
    ),
    "mvn": _mvn,
    "softmax": plain(lambda x: activations.softmax(x, -3)),
    "softmaxND": lambda p, weights: (activations.softmax, {"axis": p.axis}),
    "tanh": plain(torch.tanh),
}
