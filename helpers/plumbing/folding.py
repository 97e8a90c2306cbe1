"""Fold batch norm into the convolution before it, for a network that is exported."""

import copy

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from helpers.plumbing.networks import device_of

POOLINGS = nn.MaxPool2d, nn.AdaptiveMaxPool2d


@torch.no_grad()
def fold_batch_norm(model: nn.Module, images: torch.Tensor) -> nn.Module:
    """The network without the batch norms that only scale and shift what a convolution gives.

    In evaluation mode a batch norm multiplies each channel by one number and adds another. The weights and the
    bias of the convolution before it can do that as well (PyTorch's ``fuse_conv_bn_eval``). Exporters do it
    by themselves, but not where a max pooling stands between the two, as in our AlexNet. There it is
    right as long as no channel is multiplied by a negative number: the largest of several values stays the largest.

    Args:
        model: in evaluation mode; it stays as it is.
        images: what it takes, a few examples.

    Returns:
        A copy with ``nn.Identity`` in place of each batch norm that was folded. The model itself if there is none,
        or if the copy's answers to ``images`` differ from the model's by more than float32 rounds.
    """
    try:
        folded = copy.deepcopy(model)
    except Exception:  # a network is anybody's code, and some cannot be copied
        return model
    if not sum(_fold(part) for part in folded.modules() if type(part) is nn.Sequential):
        return model
    answer, same = (network(images.to(device_of(model))) for network in (model, folded))
    return folded if torch.allclose(answer, same, rtol=1e-4, atol=1e-5) else model


def _fold(row: nn.Sequential) -> int:
    """Fold what can be folded in these layers, in place; returns how many batch norms."""
    layers, found = list(row), 0
    for place, norm in enumerate(layers):
        before = place - 1
        pooled = before > 0 and type(layers[before]) in POOLINGS and not layers[before].return_indices
        before -= pooled
        conv = layers[before] if before >= 0 else None
        if type(norm) is not nn.BatchNorm2d or type(conv) is not nn.Conv2d:
            continue
        scale = norm.weight
        if norm.running_var is None or (pooled and scale is not None and (scale < 0).any()):
            continue
        row[before], row[place] = fuse_conv_bn_eval(conv, norm), nn.Identity()
        found += 1
    return found
