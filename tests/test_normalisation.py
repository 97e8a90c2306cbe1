"""The normalisation, moved from the data loader into the network."""

import copy

import numpy as np
import pytest
import torch
from torch import nn
from torchvision import transforms
from torchvision.transforms import v2

from helpers import checkpoints, coreml, coreml_runtime
from helpers.model import AlexNet
from helpers.normalisation import normalise_inside
from helpers.onnx_coreml import convert
from helpers.onnx_export import WithSoftmax

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
ON_255 = transforms.Normalize([124, 116, 104], [58, 57, 57.5])
NORMALIZE = transforms.Normalize(MEAN, STD)


@pytest.fixture
def network():
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(16, 5)]
    return nn.Sequential(*layers).eval()


@pytest.fixture
def pixels():
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, (6, 3, 12, 20), dtype=np.uint8))


def export(network, path):
    example = torch.rand(1, 3, 12, 20)
    torch.onnx.export(
        WithSoftmax(network).eval(),
        (example,),
        path,
        input_names=["image"],
        output_names=["probs"],
        dynamo=False,
    )


GIVEN = {
    "numbers": (MEAN, STD),
    "tensors": (torch.tensor(MEAN).view(1, 3, 1, 1), torch.tensor(STD)),
    "NumPy": (np.array(MEAN), list(STD)),
    "Normalize": (NORMALIZE,),
    "v2.Normalize": (v2.Normalize(list(MEAN), list(STD)),),
    "Compose": (transforms.Compose([transforms.ToTensor(), NORMALIZE]),),
    "a list": ([transforms.PILToTensor(), transforms.ConvertImageDtype(torch.float32), NORMALIZE],),
    "Sequential": (nn.Sequential(transforms.ConvertImageDtype(torch.float32), NORMALIZE),),
    "v2.Compose": (
        v2.Compose([v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.Normalize(MEAN, STD)]),
    ),
}


@pytest.mark.parametrize("kind", GIVEN)
def test_the_network_answers_to_pixels_as_it_did_to_normalised_ones(network, pixels, kind):
    images = pixels.float() / 255
    assert torch.equal(normalise_inside(network, *GIVEN[kind])(images), network(NORMALIZE(images)))


def test_one_number_is_for_all_channels_and_grey_has_one(network, pixels):
    images = pixels.float() / 255
    half = transforms.Normalize([0.5] * 3, [0.25] * 3)
    assert torch.equal(normalise_inside(network, 0.5, 0.25)(images), network(half(images)))
    grey = nn.Sequential(nn.Flatten(), nn.Linear(12, 2)).eval()
    some = torch.rand(3, 1, 4, 3)
    assert torch.equal(normalise_inside(grey, (0.1307,), (0.3081,))(some), grey((some - 0.1307) / 0.3081))


@pytest.mark.parametrize(
    ("given", "trained_on"),
    [
        ({"largest_pixel": 255}, lambda pixels: pixels),
        ({"mean": [124, 116, 104], "std": [58, 57, 57.5], "largest_pixel": 255}, ON_255),
        ({"mean": ON_255, "largest_pixel": 255}, ON_255),
        ({"mean": v2.Compose([v2.ToImage(), v2.ToDtype(torch.float32), ON_255])}, ON_255),
    ],
    ids=["no normalisation", "numbers", "Normalize", "ToDtype without scale"],
)
def test_a_network_trained_on_0_to_255_takes_0_to_1(network, pixels, given, trained_on):
    expected = network(trained_on(pixels.float()))
    torch.testing.assert_close(normalise_inside(network, **given)(pixels.float() / 255), expected)


def test_the_mode_and_the_number_type_stay_and_the_network_is_the_same(network):
    network.train()[1].eval()  # a batch norm that is to stay as it is
    whole = normalise_inside(network.half(), NORMALIZE)
    assert whole.network is network
    assert whole.training and whole.normalise.training and not whole.network[1].training
    assert {one.dtype for one in whole.state_dict().values()} == {torch.float16, torch.int64}
    assert not normalise_inside(network.eval(), NORMALIZE).training


def test_a_checkpoint_of_the_network_still_loads(network, tmp_path):
    checkpoints.save_weights(network, tmp_path / "inner.pth")
    whole = normalise_inside(copy.deepcopy(network), NORMALIZE)
    nn.init.zeros_(whole.network[0].weight)
    with pytest.raises(ValueError, match=r"lacks normalise\.mean.*load_weights\(model\.network, path\)"):
        checkpoints.load_weights(whole, tmp_path / "inner.pth")
    checkpoints.load_weights(whole.network, tmp_path / "inner.pth")
    assert torch.equal(whole.network[0].weight, network[0].weight)
    # And the other way round: the whole one's file has all that the inner one needs.
    checkpoints.save_weights(whole, tmp_path / "whole.pth")
    nn.init.zeros_(whole.network[0].weight)
    checkpoints.load_weights(whole.network, tmp_path / "whole.pth")
    assert torch.equal(whole.network[0].weight, network[0].weight)
    checkpoints.save_model(whole, tmp_path / "model.pth")
    again = checkpoints.load_model(tmp_path / "model.pth", [nn.AdaptiveAvgPool2d])
    assert torch.equal(again.normalise.std, whole.normalise.std)


def test_it_goes_the_whole_road(network, pixels, tmp_path):
    names = list("abcde")
    whole = normalise_inside(network, NORMALIZE)
    expected = whole(pixels.float() / 255).softmax(1)
    export(whole, tmp_path / "a.onnx")
    converted = convert(
        tmp_path / "a.onnx",
        mode="classifier",
        image_input_names=["image"],
        class_labels=names,
        preprocessing_args={"image_scale": 1 / 255},
    )
    model = coreml_runtime.load(coreml.save(converted, tmp_path / "a.mlmodel"))
    assert (model.probs(pixels) - expected).abs().max() < 1e-5


REFUSED = {
    "Resize cannot go into the network": [[transforms.Resize(8), transforms.ToTensor(), NORMALIZE]],
    "Lambda cannot go": [transforms.Compose([transforms.ToTensor(), transforms.Lambda(abs), NORMALIZE])],
    "Normalize cannot go into": [[NORMALIZE, transforms.RandomErasing()]],
    "Compose is no Normalize": [transforms.Compose([])],
    "ToTensor is no Normalize": [transforms.Compose([transforms.ToTensor()])],
    "Normalize cannot go in": [[transforms.ToTensor(), NORMALIZE, NORMALIZE]],
    "RandomCrop is no Normalize": [transforms.RandomCrop(3)],
    "A transform has its own std": [NORMALIZE, STD],
    "std=None is not one number": [MEAN],
    "mean=None is not": [],
    "mean='a' is not": ["a", "b"],
    "mean=.* is not one number for each channel": [torch.zeros(3, 4, 4), STD],
    r"mean=nan is not": [float("nan"), 1.0],
    r"mean=\{": [{"mean": MEAN, "std": STD}],
    "mean has 3 numbers and std 2": [MEAN, (1, 1)],
    "std=0: the pixels are divided": [MEAN, (0.2, 0, 0.2)],
    "std=-1: the pixels": [MEAN, -1],
    r"mean=124 is on a scale of 0 to 255. Pass largest_pixel=255": [(124, 116, 104), (58, 57, 57)],
}


@pytest.mark.parametrize("message", REFUSED)
def test_what_cannot_be_right_is_refused(network, message):
    with pytest.raises(ValueError, match=message):
        normalise_inside(network, *REFUSED[message])


def test_what_is_of_another_scale_or_twice_is_refused(network):
    with pytest.raises(ValueError, match=r"on a scale of 0 to 1\. Leave largest_pixel out"):
        normalise_inside(network, MEAN, STD, largest_pixel=255)
    with pytest.raises(ValueError, match="largest_pixel=256 is what white was"):
        normalise_inside(network, MEAN, STD, largest_pixel=256)
    for twice in (AlexNet(width=0.25), normalise_inside(network, MEAN, STD)):
        with pytest.raises(ValueError, match="normalises its pixels itself already"):
            normalise_inside(twice, MEAN, STD)
    with pytest.raises(ValueError, match="this is a state_dict"):
        normalise_inside(network.state_dict(), MEAN, STD)


def test_weights_of_torchvision_say_their_numbers(network):
    from torchvision.models import ResNet18_Weights

    preset = ResNet18_Weights.DEFAULT.transforms()
    with pytest.raises(ValueError, match=r"ImageClassification.*transform\.mean, transform\.std"):
        normalise_inside(network, preset)
    assert normalise_inside(network, preset.mean, preset.std).normalise.mean.shape == (3, 1, 1)


def test_who_asks_for_a_scale_per_channel_is_sent_here(network, tmp_path):
    with pytest.raises(ValueError, match="normalise_inside"):
        coreml.from_torch(network, shape=(1, 3, 12, 20), image_scale=[1 / 255] * 3)
    export(network, tmp_path / "a.onnx")
    with pytest.raises(ValueError, match="normalise_inside"):
        convert(
            tmp_path / "a.onnx",
            image_input_names=["image"],
            preprocessing_args={"image_scale": [1 / 255] * 3},
        )
