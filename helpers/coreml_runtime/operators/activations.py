"""Normalisation and activations."""

from collections.abc import Callable

import torch
import torch.nn.functional as F

from ..archive import NotCovered, Unfit
from .arithmetic import as_tensor


def batch_norm(x, mean, variance, gamma=None, beta=None, epsilon=1e-5):
    """Batch norm with the statistics in the file; channels are dimension 1."""
    return F.batch_norm(x, mean, variance, gamma, beta, False, 0.0, epsilon)


def layer_norm(x, axes=None, gamma=None, beta=None, epsilon=1e-5):
    """Mean 0 and variance 1 over ``axes``, then scaled and shifted."""
    axes = sorted(axis % x.ndim for axis in (axes or range(x.ndim)))
    shape = [x.shape[axis] for axis in axes]
    if axes == list(range(x.ndim - len(axes), x.ndim)):
        return F.layer_norm(x, shape, gamma, beta, epsilon)
    variance, mean = torch.var_mean(x, axes, correction=0, keepdim=True)
    result = (x - mean) * torch.rsqrt(variance + epsilon)
    full = [x.shape[axis] if axis in axes else 1 for axis in range(x.ndim)]
    result = result if gamma is None else result * gamma.reshape(full)
    return result if beta is None else result + beta.reshape(full)


def instance_norm(x, gamma=None, beta=None, epsilon=1e-5):
    """Mean 0 and variance 1 over the pixels of each channel, then scaled and shifted."""
    axes = list(range(2, x.ndim))
    variance, mean = torch.var_mean(x, axes, correction=0, keepdim=True)
    result, shape = (x - mean) * torch.rsqrt(variance + epsilon), [-1, *[1] * len(axes)]
    result = result if gamma is None else result * gamma.reshape(shape)
    return result if beta is None else result + beta.reshape(shape)


def l2_norm(x, epsilon=1e-6):
    """Divided by the root of the sum of squares of the last three dimensions."""
    return x * torch.rsqrt((x * x).sum((-3, -2, -1), keepdim=True) + epsilon)


def local_response_norm(x, size, alpha=1e-4, beta=0.75, k=1.0):
    """AlexNet's normalisation over neighbouring channels; alpha is divided by the window's size."""
    if x.ndim < 4:
        raise NotCovered("Apple's documentation and its test disagree about the channels of rank 3")
    return F.local_response_norm(x, size, alpha, beta, k)


# Activations


def gelu(x, mode="EXACT"):
    """x · Φ(x), exactly or by one of two approximations."""
    if mode == "SIGMOID_APPROXIMATION":
        return x * torch.sigmoid(1.702 * x)
    if mode not in ("EXACT", "TANH_APPROXIMATION"):
        raise Unfit(f"unknown gelu mode {mode!r}")
    return F.gelu(x, approximate="tanh" if mode == "TANH_APPROXIMATION" else "none")


def prelu(x, alpha):
    """Leaky ReLU with one slope per channel (dimension 1)."""
    return F.prelu(x, as_tensor(alpha).reshape(-1))


def softplus(x):
    """log(1 + eˣ)."""
    # torch's own function becomes x itself above a threshold.
    return torch.logaddexp(x, torch.zeros_like(x))


def softplus_parametric(x, alpha, beta):
    """alpha · log(1 + e^(beta · x)), one pair per channel (dimension 1)."""
    shape = [-1, *[1] * (x.ndim - 2)]
    return alpha.reshape(shape) * softplus(beta.reshape(shape) * x)


FORMULAS: dict[str, Callable[..., torch.Tensor]] = {
    "clamped_relu": lambda x, alpha, beta: torch.clamp(torch.where(x >= 0, x, alpha * x), max=beta),
    "clip": lambda x, alpha, beta: torch.clamp(x, alpha, beta),
    "elu": lambda x, alpha=1.0: torch.where(x >= 0, x, alpha * torch.expm1(torch.clamp(x, max=0.0))),
    "leaky_relu": lambda x, alpha=0.01: torch.where(x >= 0, x, alpha * x),
    "linear_activation": lambda x, alpha=1.0, beta=0.0: alpha * x + beta,
    "relu6": lambda x: torch.clamp(x, 0.0, 6.0),
    "scaled_tanh": lambda x, alpha=1.0, beta=1.0: alpha * torch.tanh(beta * x),
    "sigmoid_hard": lambda x, alpha=0.2, beta=0.5: torch.clamp(alpha * x + beta, 0.0, 1.0),
    "silu": lambda x: x * torch.sigmoid(x),
    "softmax": lambda x, axis=-1: F.softmax(x, dim=axis),
    "softsign": lambda x: x / (1 + torch.abs(x)),
    "thresholded_relu": lambda x, alpha=1.0: torch.where(x < alpha, torch.zeros_like(x), x),
}
"""Operators that one line says."""
