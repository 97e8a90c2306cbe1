from pathlib import Path

import pytest
import torch

from helpers.model import MEAN, STD, AlexNet
from helpers.plumbing.networks import check_logits, check_network, device_of


@pytest.mark.parametrize(("width", "batch_norm"), [(1.0, True), (0.25, True), (0.25, False)])
def test_it_gives_one_logit_per_class(width, batch_norm):
    model = AlexNet(classes=7, width=width, batch_norm=batch_norm)
    assert model(torch.rand(3, 3, 32, 32)).shape == (3, 7)
    kinds = {type(layer).__name__ for layer in model.modules()}
    assert ("BatchNorm2d" in kinds) == batch_norm


def test_it_is_an_alexnet_and_small_enough():
    model = AlexNet()
    kinds = [type(layer).__name__ for layer in model.modules()]
    pooling = kinds.count("MaxPool2d") + kinds.count("AdaptiveMaxPool2d")
    assert (kinds.count("Conv2d"), pooling, kinds.count("Linear")) == (5, 3, 2)
    assert sum(parameter.numel() for parameter in model.parameters()) < 3_500_000


def test_the_last_pooling_is_the_same_as_the_others_and_fits_smaller_pictures():
    model = AlexNet(width=0.25).eval()
    plain = AlexNet(width=0.25).eval()
    plain.load_state_dict(model.state_dict())
    (place,) = (i for i, layer in enumerate(plain.features) if isinstance(layer, torch.nn.AdaptiveMaxPool2d))
    plain.features[place] = torch.nn.MaxPool2d(2)
    images = torch.rand(4, 3, 32, 32)
    assert torch.equal(model(images), plain(images))
    for size in (16, 24, 28):
        assert model(torch.rand(4, 3, size, size)).shape == (4, 10)


def test_pixels_are_normalised_inside():
    model = AlexNet().eval()
    images = torch.rand(4, 3, 32, 32)
    by_hand = (images - torch.tensor(MEAN).view(1, 3, 1, 1)) / torch.tensor(STD).view(1, 3, 1, 1)
    torch.testing.assert_close(model(images), model.classifier(model.features(by_hand)))
    assert {"normalise.mean", "normalise.std"} <= set(model.state_dict())


def test_config_builds_the_same_network_again():
    model = AlexNet(classes=5, width=0.5, batch_norm=False)
    shapes = {name: tensor.shape for name, tensor in model.state_dict().items()}
    again = AlexNet(**model.config)
    assert {name: tensor.shape for name, tensor in again.state_dict().items()} == shapes


def test_pooling_first_changes_no_answer_where_only_relu_follows():
    torch.manual_seed(0)
    first = AlexNet(width=0.25, batch_norm=False)
    last = AlexNet(width=0.25, batch_norm=False, pool_first=False)
    for one, other in zip(first.parameters(), last.parameters(), strict=True):
        other.data.copy_(one.data)
    kinds = [[type(layer).__name__ for layer in model.features[:3]] for model in (first, last)]
    assert kinds == [["Conv2d", "MaxPool2d", "ReLU"], ["Conv2d", "ReLU", "MaxPool2d"]]
    images = torch.rand(4, 3, 32, 32)
    torch.testing.assert_close(first(images), last(images))
    assert [type(layer) for layer in AlexNet(**last.config).features] == [type(x) for x in last.features]


@pytest.mark.parametrize(
    ("thing", "advice"),
    [
        (AlexNet(width=0.25).state_dict(), r"state_dict.*load_weights\(model, path\)"),
        ("alexnet.pth", r"name of a file, 'alexnet\.pth'.*load_model"),
        (Path("alexnet.pth"), "name of a file"),
        (AlexNet, r"the class AlexNet.*Build one: AlexNet\(…\)"),
        ((AlexNet(width=0.25), {}), "Take it out"),
        (None, "a NoneType"),
        (lambda image: image, "a function"),
        (torch.zeros(3), "a Tensor"),
    ],
)
def test_what_is_no_network_is_said_with_the_way_to_one(thing, advice):
    with pytest.raises(ValueError, match=advice):
        check_network(thing)


def test_a_network_passes_and_one_without_tensors_is_on_the_cpu():
    check_network(AlexNet(width=0.25))
    assert device_of(torch.nn.Flatten()).type == "cpu"
    assert device_of(AlexNet(width=0.25).to("meta")).type == "meta"


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda logits: logits.softmax(1), "already returns probabilities"),
        (lambda logits: logits.softmax(1).half(), "already returns probabilities"),
        (lambda logits: (logits, logits), "returns a tuple"),
        (lambda logits: logits[:, :3], "4×3 for 4 images, and 4×10"),
        (lambda logits: logits[:, :, None], r"4×10×1"),
        (lambda logits: logits / 0, "NaN or infinity"),
    ],
)
def test_answers_that_are_no_logits_are_refused(answer, message):
    logits = torch.randn(4, 10)
    check_logits(logits, 10)
    check_logits(logits.log_softmax(1), 10)  # their softmax is right
    with pytest.raises(ValueError, match=message):
        check_logits(answer(logits), 10)
