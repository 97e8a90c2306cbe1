"""Normalisation and activations."""

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


def clip(x, alpha, beta):
    """Cut off below alpha and above beta."""
    return torch.clamp(x, alpha, beta)


def clamped_relu(x, alpha, beta):
    """x above 0, alpha · x below, cut off above beta."""
    return torch.clamp(torch.where(x >= 0, x, alpha * x), max=beta)


def elu(x, alpha=1.0):
    """x above 0, alpha · (eˣ - 1) below."""
    return torch.where(x >= 0, x, alpha * torch.expm1(torch.clamp(x, max=0.0)))


def gelu(x, mode="EXACT"):
    """x · Φ(x), exactly or by one of two approximations."""
    if mode == "SIGMOID_APPROXIMATION":
        return x * torch.sigmoid(1.702 * x)
    if mode not in ("EXACT", "TANH_APPROXIMATION"):
        raise Unfit(f"unknown gelu mode {mode!r}")
    return F.gelu(x, approximate="tanh" if mode == "TANH_APPROXIMATION" else "none")


def leaky_relu(x, alpha=0.01):
    """x above 0, alpha · x below."""
    return torch.where(x >= 0, x, alpha * x)


def linear_activation(x, alpha=1.0, beta=0.0):
    """alpha · x + beta."""
    return alpha * x + beta


def prelu(x, alpha):
    """Leaky ReLU with one slope per channel (dimension 1)."""
    return F.prelu(x, as_tensor(alpha).reshape(-1))


def relu6(x):
    """ReLU cut off at 6."""
    return torch.clamp(x, 0.0, 6.0)


def scaled_tanh(x, alpha=1.0, beta=1.0):
    """alpha · tanh(beta · x)."""
    return alpha * torch.tanh(beta * x)


def sigmoid_hard(x, alpha=0.2, beta=0.5):
    """alpha · x + beta, cut off at 0 and 1."""
    return torch.clamp(alpha * x + beta, 0.0, 1.0)


def silu(x):
    """x · sigmoid(x)."""
    return x * torch.sigmoid(x)


def softplus(x):
    """log(1 + eˣ)."""
    # torch's own function becomes x itself above a threshold.
    return torch.logaddexp(x, torch.zeros_like(x))


def softplus_parametric(x, alpha, beta):
    """alpha · log(1 + e^(beta · x)), one pair per channel (dimension 1)."""
    shape = [-1, *[1] * (x.ndim - 2)]
    return alpha.reshape(shape) * softplus(beta.reshape(shape) * x)


def softsign(x):
    """x / (1 + |x|)."""
    return x / (1 + torch.abs(x))


def softmax(x, axis=-1):
    """eˣ divided by its sum along one dimension."""
    return F.softmax(x, dim=axis)


def thresholded_relu(x, alpha=1.0):
    """x where it is at least alpha, else 0."""
    return torch.where(x < alpha, torch.zeros_like(x), x)
