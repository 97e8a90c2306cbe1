"""Batch norm folded at the export: smaller graphs that compute the same."""

from collections import Counter

import pytest
import torch
from torch import nn

from helpers import coreml
from helpers.model import AlexNet
from helpers.onnx_export import export_onnx
from helpers.plumbing.folding import fold_batch_norm


def trained(model, scale=1.0):
    """With statistics and scales as a training leaves them."""
    generator = torch.Generator().manual_seed(0)
    for part in model.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.running_mean.copy_(torch.randn(part.num_features, generator=generator))
            part.running_var.copy_(0.5 + torch.rand(part.num_features, generator=generator))
            if part.affine:
                part.weight.data = scale * (0.5 + torch.rand(part.num_features, generator=generator))
                part.bias.data = torch.randn(part.num_features, generator=generator)
    return model.eval()


IMAGES = torch.rand(8, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def norms(model):
    return sum(isinstance(part, nn.BatchNorm2d) for part in model.modules())


@pytest.mark.parametrize("pool_first", [True, False])
def test_every_batch_norm_of_ours_is_folded_and_every_probability_stays(pool_first):
    model = trained(AlexNet(width=0.5, pool_first=pool_first))
    folded = fold_batch_norm(model, IMAGES)
    assert (norms(model), norms(folded)) == (5, 0)
    with torch.no_grad():
        difference = (model(IMAGES).softmax(1) - folded(IMAGES).softmax(1)).abs().max()
    assert difference < 1e-6


@pytest.mark.parametrize("dynamo", [True, False])
def test_the_file_holds_convolutions_poolings_relu_and_linear_layers(tmp_path, dynamo):
    graph = export_onnx(
        trained(AlexNet(width=0.5)), tmp_path / "net.onnx", classes=list("abcdefghij"), dynamo=dynamo
    ).graph
    found = Counter(node.op_type for node in graph.node)
    flat = found.pop("Flatten", 0) + found.pop("Reshape", 0)
    assert flat == 1
    assert found == {"Sub": 1, "Div": 1, "Conv": 5, "MaxPool": 3, "Relu": 6, "Gemm": 2, "Softmax": 1}


def test_the_core_ml_file_made_without_onnx_holds_none_either():
    model = coreml.from_torch(trained(AlexNet(width=0.25)), class_labels=list("abcdefghij"))
    (function,) = model.get_spec().mlProgram.functions.values()
    found = {step.type for step in function.block_specializations[function.opset].operations}
    assert "conv" in found
    assert "batch_norm" not in found


def test_with_a_negative_scale_a_norm_after_a_pooling_stays():
    """The largest of several values is the smallest once they are multiplied by a negative number."""
    model = trained(AlexNet(width=0.25), scale=-1.0)
    folded = fold_batch_norm(model, IMAGES)
    assert norms(folded) == 3
    with torch.no_grad():
        assert torch.allclose(model(IMAGES), folded(IMAGES), atol=1e-5)


class Twice(nn.Module):
    """Its convolution is also asked without the norm."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.row = nn.Sequential(self.conv, nn.BatchNorm2d(4))

    def forward(self, images):
        return self.row(images) + self.conv(images)


class Row(nn.Sequential):
    """Looks like one, but does something else."""

    def forward(self, images):
        return self[0](images)


@pytest.mark.parametrize(
    "make",
    [
        Twice,
        lambda: nn.Sequential(Row(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))),
        lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.BatchNorm2d(4)),
        lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.AvgPool2d(2), nn.BatchNorm2d(4)),
        lambda: nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 4, 3)),
        lambda: nn.Sequential(
            torch.nn.utils.parametrizations.weight_norm(nn.Conv2d(3, 4, 3)), nn.BatchNorm2d(4)
        ),
        lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.MaxPool2d(2), nn.BatchNorm2d(4, affine=False)),
        lambda: nn.Sequential(
            nn.Conv2d(3, 4, 3, padding=1, padding_mode="reflect", groups=1), nn.BatchNorm2d(4)
        ),
    ],
)
def test_whatever_the_network_is_its_answers_stay(make):
    torch.manual_seed(0)
    model = trained(make())
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    folded = fold_batch_norm(model, IMAGES)
    with torch.no_grad():
        assert torch.allclose(model(IMAGES), folded(IMAGES), rtol=1e-4, atol=1e-5)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
