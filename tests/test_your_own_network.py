"""A network that is not ours walks the whole road: trained, tested, kept, exported, converted, proved, put into an app.

Three moves: a homework with its own normalisation, on grey pictures; a network that flattens with ``view``; and a
hundred classes with SELU on pixels from 0 to 255. And the other kinds of networks and data that people bring.
"""

import copy
from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn

from helpers import calibration, camera, checkpoints, coreml, figures, photos, runs
from helpers.batches import Batches
from helpers.coreml_runtime import load
from helpers.data import Images
from helpers.evaluation import check_split, compare, evaluate
from helpers.ios_app import write_app
from helpers.onnx_coreml import convert
from helpers.onnx_export import export_onnx, run_onnx
from helpers.recipe import Recipe
from helpers.training import fit

RECIPE = replace(Recipe.smoke(), epochs=3, batch_size=32, sizes=(32,), flip=False)


class Homework(nn.Module):
    """Convolutions and fully connected layers side by side, for grey pictures of 28×28."""

    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.tensor(0.5))
        self.register_buffer("std", torch.tensor(0.25))
        self.seen = nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten())
        self.said = nn.Sequential(
            nn.Linear(8 * 13 * 13 + 784, 32), nn.ReLU(), nn.Dropout(0.2), nn.Linear(32, 5)
        )

    def forward(self, pixels):
        pixels = (pixels - self.mean) / self.std
        return self.said(torch.cat([self.seen(pixels), pixels.flatten(1)], dim=1))


class View(nn.Module):
    """Flattens with ``x.view(-1, 1024)`` after its convolutions."""

    def __init__(self):
        super().__init__()
        self.one, self.two = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 16, 3, padding=1)
        self.fc = nn.Linear(1024, 10)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.one(x)), 2)
        x = F.max_pool2d(F.relu(self.two(x)), 2)
        return self.fc(x.view(-1, 1024))


class Selu(nn.Module):
    """A hundred classes, SELU, and pixels from 0 to 255."""

    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 16, 4, stride=4), nn.SELU(), nn.Conv2d(16, 32, 4, stride=4), nn.SELU()
        )
        self.dropout, self.fc = nn.AlphaDropout(0.05), nn.Linear(128, 100)

    def forward(self, pixels):
        return self.fc(self.dropout(self.features(pixels / 128 - 1).flatten(1)))


class From0To255(nn.Module):
    """What fit and evaluate give, 0 to 1, as this network takes it."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, pixels):
        return self.network(pixels * 255)


def small(classes, channels=3):
    """A network for pictures of any size."""
    return nn.Sequential(
        nn.Conv2d(channels, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(8, 16, 3, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(4),
        nn.Flatten(),
        nn.Linear(256, classes),
    )


def patterns(classes, shape, count=192, tests=96, floats=False):
    """A data set that is learnt in seconds: a pattern for each class, under noise."""
    random = torch.Generator().manual_seed(0)
    channels, height, width = shape
    each = torch.rand(len(classes), channels, height // 4, width // 4, generator=random)

    def split(count):
        labels = torch.arange(count) % len(classes)
        pixels = 0.7 * F.interpolate(each[labels], (height, width))
        pixels += 0.3 * torch.rand(count, *shape, generator=random)
        return (pixels if floats else (pixels * 255).to(torch.uint8)), labels

    return Images(*split(count), *split(tests), classes=classes, source="patterns")


def names(count):
    return [f"kind {number}" for number in range(count)]


MOVES = {
    "a homework on grey pictures": (
        Homework,
        (["T-shirt", "bag", "boot", "$ dress $", "dress"], (1, 28, 28)),
    ),
    "view(-1, 1024)": (View, (names(10), (3, 32, 32))),
    "SELU, a hundred classes, 0 to 255": (lambda: From0To255(Selu()), (names(100), (3, 32, 32), 400, 200)),
    "two classes, 48×64, floats": (lambda: small(2), (names(2), (3, 48, 64), 192, 96, True)),
}


@pytest.fixture
def shown(monkeypatch):
    """The alternative texts of the figures, which are drawn and not shown."""
    texts = []

    def show(figure, alt):
        figure.canvas.draw()
        plt.close(figure)
        texts.append(alt)

    monkeypatch.setattr(figures, "show", show)
    return texts


@pytest.mark.parametrize("move", MOVES)
def test_a_network_of_ones_own_walks_the_whole_road(move, tmp_path, shown):
    make, given = MOVES[move]
    torch.manual_seed(0)
    data, network = patterns(*given), make()
    names, shape = data.classes, (1, *data.train_images.shape[1:])
    history = fit(network, data, RECIPE, progress=False, device="cpu")
    assert history.finished and history.sizes == [shape[2:]]
    found = evaluate(network, data.test_images, data.test_labels)
    assert found.probs.shape == (len(data.test_labels), len(names))
    assert found.accuracy > 2 / len(names) * (len(names) > 2) + 0.8 * (len(names) == 2)
    _draw(history, found, data, shown)

    checkpoints.save_weights(network, tmp_path / "weights.pth")
    loaded = checkpoints.load_weights(make(), tmp_path / "weights.pth").eval()
    pixels = (data.test_images * 255).round().to(torch.uint8)
    pixels = pixels if data.test_images.is_floating_point() else data.test_images
    wanted = evaluate(loaded, pixels, data.test_labels)

    onnx = tmp_path / "own.onnx"
    export_onnx(loaded, onnx, classes=names, shape=shape, dynamo=False)
    assert compare(wanted, run_onnx(onnx, pixels, data.test_labels)).max_abs_diff < 1e-4
    warmth = calibration.temperature(found.probs, found.labels)
    sure = calibration.threshold(calibration.with_temperature(found.probs, warmth), found.labels, right=0.01)
    assert 0 < sure.share <= 1
    for target, suffix in (("13", "mlmodel"), ("15", "mlpackage")):
        usual = {"image_input_names": ["image"], "preprocessing_args": {"image_scale": 1 / 255}}
        usual |= {"mode": "classifier", "class_labels": list(names), "minimum_ios_deployment_target": target}
        file = coreml.save(convert(onnx, **usual), tmp_path / f"own.{suffix}")
        assert load(file).labels == list(names)
        answers = photos.ask(file, pixels, data.test_labels, classes=names)
        assert compare(wanted, answers).max_abs_diff < 1e-4
        card = coreml.model_card(file, pixels[0].numpy())
        best = max(card.answer, key=card.answer.get)
        assert best == names[wanted.predictions[0]]
        assert len(repr(card)) < 10_000
        if shape[1] == 3:
            assert write_app(file, tmp_path / f"Own{target}App", threshold=sure.value).exists()
    with_torch = coreml.from_torch(loaded, shape=shape, class_labels=names, exporter="trace")
    straight = photos.ask(
        coreml.save(with_torch, tmp_path / "t.mlpackage"), pixels, data.test_labels, classes=names
    )
    assert compare(wanted, straight).max_abs_diff < 1e-4


def _draw(history, found, data, shown):
    """Every figure that a lesson draws of a classifier."""
    figures.curves(history)
    figures.overlay({"own": history})
    figures.confusion(found.confusion(), data.classes)
    figures.per_class(found.confusion(), data.classes)
    figures.one_of_each(data.train_images, data.train_labels, data.classes)
    figures.class_counts({"train": data.train_labels, "test": data.test_labels}, data.classes)
    figures.images(data.test_images[:2], ["one", "two"], alt="two pictures")
    figures.mistakes(found, data.test_images, data.classes)
    figures.reliability(found)
    assert len(shown) >= 8


# -- data of every kind ------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 28, 40), (1, 96, 64), (3, 256, 256)])
def test_pictures_of_other_sizes_grow_shift_mirror_and_meet_a_camera(shape):
    data = patterns(names(3), shape, count=24, tests=6)
    recipe = replace(RECIPE, epochs=2, batch_size=12, sizes=(16, 32), flip=True, crop_padding=3)
    history = fit(small(3, shape[0]), data, replace(recipe, cutout=9, augment="camera"), progress=False)
    half = tuple(side // 2 for side in shape[1:])
    assert history.finished and history.sizes == [half, shape[1:]]


def test_the_own_size_of_the_data_is_its_size_in_a_recipe_too():
    assert replace(RECIPE, sizes=(28,)).image_sizes(28, 28) == [(28, 28)]
    assert replace(RECIPE, sizes=(16, 24, 32)).image_sizes(64, 48) == [(32, 24), (48, 36), (64, 48)]
    assert replace(RECIPE, sizes=(16, 24)).image_sizes(32, 32) == [(16, 16), (24, 24)]


def test_floats_and_bytes_of_the_same_pictures_are_trained_alike():
    data = patterns(names(3), (3, 28, 40), count=64)
    floats = replace(data, train_images=data.train_images / 255, test_images=data.test_images / 255)
    recipe, found = replace(RECIPE, epochs=1, crop_padding=2), []
    for one in (data, floats):
        torch.manual_seed(0)
        network = small(3)
        fit(network, one, recipe, progress=False, device="cpu")
        found.append(evaluate(network, one.test_images, one.test_labels))
    assert torch.equal(found[0].probs, found[1].probs)


def test_data_need_not_say_how_many_classes_there_are():
    data = patterns(names(4), (3, 32, 32), count=64)
    data.classes = None
    assert fit(small(6), data, replace(RECIPE, epochs=1), progress=False).finished
    with pytest.raises(ValueError, match="train_labels runs from 0 to 3; with 3 classes a label is 0 to 2"):
        fit(small(3), data, RECIPE, progress=False)


PIXELS = torch.randint(0, 256, (64, 3, 32, 32), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
DATA = Images(PIXELS, torch.arange(64) % 4, PIXELS, torch.arange(64) % 4, classes=list("abcd"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"train_labels": DATA.train_labels + 1}, "train_labels runs from 1 to 4; with 4 classes"),
        ({"classes": list("abcdef")}, "1×6 logits are needed.*or data.classes, which has 6 names"),
        ({"train_images": PIXELS.float()}, r"runs from 0 to 255; float.*Use train_images / 255"),
        ({"train_images": PIXELS / 128 - 1}, "runs from -1 to .*put the normalisation into the network"),
        ({"train_images": PIXELS / 0}, "runs from nan"),
        ({"train_images": PIXELS.double() / 255}, "holds torch.float64"),
        ({"train_images": PIXELS[:, 0]}, r"\(64, 32, 32\).*grey ones without channels images\[:, None\]"),
        ({"train_images": PIXELS[:, [0, 1, 2, 0]]}, r"\(64, 4, 32, 32\)"),
        ({"test_images": PIXELS / 255}, "test_images holds torch.float32 and train_images torch.uint8"),
        ({"test_images": PIXELS[:, :, :16]}, "training images are 3×32×32 and the test images 3×16×32"),
    ],
)
def test_data_that_cannot_be_trained_is_named(change, message):
    with pytest.raises(ValueError, match=message):
        fit(small(4), replace(DATA, **change), RECIPE, progress=False)


def test_a_split_alone_is_checked_for_any_number_of_classes():
    labels = torch.arange(64) + 900
    check_split(PIXELS, labels, "test")
    check_split(PIXELS[:, :1] / 255, labels, "test", 1000)
    with pytest.raises(ValueError, match="runs from 900 to 963; with 950 classes"):
        check_split(PIXELS, labels, "test", 950)
    with pytest.raises(ValueError, match="labels count from 0"):
        check_split(PIXELS, labels - 901, "test")


def test_a_shift_wider_than_the_picture_is_named():
    data = patterns(names(2), (3, 16, 20), count=32)
    with pytest.raises(ValueError, match=r"crop_padding=20 shifts images of 16×20.*less than 16"):
        fit(small(2), data, replace(RECIPE, crop_padding=20, validation=0.0), progress=False)


# -- networks of every kind --------------------------------------------------------------------------


class Wrapped(nn.Module):
    """A small network, and what ``make`` makes of it and the pictures."""

    def __init__(self, make):
        super().__init__()
        self.net, self.make = small(4), make

    def forward(self, pixels):
        return self.make(self, pixels)


def in_place(self, pixels):
    logits = self.net(pixels).sigmoid()
    return logits.exp() + logits.add_(1)


def of_28(self, pixels):
    assert pixels.shape[-1] == 28, "28 pixels only"
    return self.net(pixels)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Wrapped(lambda self, x: (self.net(x), x)), "returns a tuple.*wrap it in a module"),
        (
            lambda: Wrapped(lambda self, x: (self.net(x), x) if self.training else self.net(x)),
            "returns a tuple",
        ),
        (lambda: Wrapped(lambda self, x: self.net(x).argmax(1)), "returns torch.int64, not logits"),
        (lambda: Wrapped(lambda self, x: self.net(x).detach()), r"has a part in its answer.*\.detach\(\)"),
        (lambda: Wrapped(in_place), "cannot compute the gradients of this Wrapped.*operations in place"),
        (lambda: Wrapped(of_28), "the forward of Wrapped says: 28 pixels only"),
        (lambda: small(4).requires_grad_(False), "can be trained: all are frozen"),
        (lambda: nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()), "can be trained: it has none"),
        (lambda: small(4).half(), r"layer '0' \(Conv2d\).*0.weight is torch.float16. Call model.float\(\)"),
        (lambda: small(4).to("meta"), "'0.weight' is on the meta device"),
        (
            lambda: small(4, channels=1),
            r"32×32 pixels in 3 channels.*layer '0' \(Conv2d\) says: .*1 channels",
        ),
        (lambda: small(7), "1×7 for 1 images, and 1×4.*or data.classes, which has 4 names"),
    ],
)
def test_a_network_that_cannot_be_trained_is_told_by_its_layer(make, message):
    with pytest.raises(ValueError, match=message):
        fit(make(), DATA, replace(RECIPE, epochs=1), progress=False)


def test_view_with_another_size_is_told_from_a_last_layer():
    network = Wrapped(lambda self, x: self.net[8](x.reshape(-1, 256)))
    with pytest.raises(ValueError, match=r"12×4 for 1 images.*\.view\(-1, n\)"):
        fit(network, DATA, RECIPE, progress=False)
    network = Wrapped(lambda self, x: self.net[8](x.reshape(-1, 1000)))
    with pytest.raises(ValueError, match=r"invalid for input of size 3072.*made for images of another size"):
        fit(network, DATA, RECIPE, progress=False)


def test_view_of_what_was_permuted_works_where_pytorch_lets_it_and_is_told_where_not(tmp_path):
    def make():
        return Wrapped(lambda self, x: self.net[8](self.net[:7](x).permute(0, 2, 3, 1).view(-1, 256)))

    assert fit(make(), DATA, replace(RECIPE, epochs=1), progress=False).finished
    with pytest.raises(ValueError, match=r"the forward of Wrapped says: view size.*\.flatten\(1\)"):
        export_onnx(make().eval(), tmp_path / "a.onnx", classes=DATA.classes)


def test_what_is_frozen_stays_as_it_is_and_the_rest_is_trained():
    network = small(4)
    network[:4].requires_grad_(False)  # with its batch norm
    before = copy.deepcopy(network.state_dict())
    fit(network, DATA, replace(RECIPE, epochs=1), progress=False, device="cpu")
    same = {name for name, tensor in network.state_dict().items() if torch.equal(tensor, before[name])}
    assert same == {name for name in before if name[0] in "01"}


def test_a_network_whose_sizes_are_found_by_itself_is_trained():
    network = nn.Sequential(nn.LazyConv2d(4, 3), nn.Flatten(), nn.LazyLinear(4))
    assert fit(network, DATA, replace(RECIPE, epochs=1), progress=False).finished


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_a_network_in_another_precision_is_tested(dtype):
    torch.manual_seed(0)
    network = small(4).eval()
    wanted = evaluate(network, DATA.test_images, DATA.test_labels)
    found = evaluate(copy.deepcopy(network).to(dtype), DATA.test_images, DATA.test_labels)
    assert compare(wanted, found).max_abs_diff < 0.01


def test_a_network_without_weights_is_tested():
    network = nn.Sequential(nn.AdaptiveAvgPool2d((2, 1)), nn.Flatten())
    assert evaluate(network, DATA.test_images, DATA.test_labels).probs.shape == (64, 6)


def test_a_batch_of_one_picture_names_the_batch_norm_that_cannot_have_it():
    network = nn.Sequential(nn.Flatten(), nn.Linear(3072, 8), nn.BatchNorm1d(8), nn.Linear(8, 4))
    with pytest.raises(ValueError, match=r"layer '2' \(BatchNorm1d\).*batch_size of 2 or more"):
        fit(network, DATA, replace(RECIPE, batch_size=1), progress=False)
    assert len(evaluate(network, DATA.test_images[:33], DATA.test_labels[:33], batch_size=32).probs) == 33


class Noise(nn.Module):
    def forward(self, pixels):
        return pixels + 1e-4 * torch.randn_like(pixels)


class Counts(nn.Module):
    calls = 0

    def forward(self, pixels):
        self.calls += 1
        return pixels * self.calls


class Drops(nn.Module):
    def forward(self, pixels):
        return F.dropout(pixels, 0.5)


def woken():
    network = nn.Sequential(small(4), nn.Dropout(0.5)).eval()
    network[1].train()
    return network


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: nn.Sequential(Noise(), small(4)), r"its layer '0' \(Noise\) draws random numbers"),
        (lambda: nn.Sequential(small(4), Counts()), r"its layer '1' \(Counts\) keeps something"),
        (lambda: Wrapped(lambda self, x: self.net(x) + torch.rand(4)), "the forward of Wrapped draws random"),
        (lambda: nn.Sequential(small(4), Drops()), r"F.dropout in Sequential.1 .*training=self.training"),
        (
            lambda: nn.Sequential(nn.BatchNorm2d(3, track_running_stats=False), small(4)),
            "batch norm Sequential.0 uses the statistics of the batch.*track_running_stats=True",
        ),
        (
            lambda: nn.Sequential(small(4), nn.BatchNorm1d(4, track_running_stats=False)),
            "batch norm Sequential.1 uses the statistics of the batch",
        ),
        (woken, r"its layer '1' \(Dropout\) is in training mode"),
    ],
)
def test_what_changes_in_evaluation_mode_is_named_by_its_layer(tmp_path, make, message):
    network = make() if make is woken else make().eval()
    with pytest.raises(ValueError, match=message):
        export_onnx(network, tmp_path / "a.onnx", classes=DATA.classes, dynamo=False)
    with pytest.raises(ValueError, match=message) as told:
        coreml.from_torch(network, class_labels=DATA.classes)
    assert "Call model.eval() first" not in str(told.value)


@pytest.mark.parametrize("kind", [nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d])
@pytest.mark.parametrize("dynamo", [True, False])
def test_pooling_into_windows_that_are_not_alike_is_exported(tmp_path, kind, dynamo):
    """Neither of PyTorch's exporters writes down 28 pixels in 6 windows; AlexNet's last pooling is such a one at 28×28."""
    torch.manual_seed(0)
    network = nn.Sequential(kind((6, None)), kind((4, 7)), nn.Flatten(), nn.Linear(84, 4)).eval()
    pixels, labels = PIXELS[:8, :, 2:30, 2:30], DATA.test_labels[:8]
    export_onnx(network, tmp_path / "a.onnx", classes=DATA.classes, shape=(1, 3, 28, 28), dynamo=dynamo)
    agreement = compare(evaluate(network, pixels, labels), run_onnx(tmp_path / "a.onnx", pixels, labels))
    assert agreement.max_abs_diff < 1e-6


@pytest.mark.parametrize(
    "shape", [(3, 32, 32), (1, 3, 32), 32, (2, 3, 32, 32), (1, 2, 32, 32), (1, 3, 32.0, 32)]
)
def test_a_shape_that_is_none_is_named(tmp_path, shape):
    with pytest.raises(ValueError, match=r"shape=.*Give 1×3×height×width, or 1×1×… for grey"):
        export_onnx(small(4).eval(), tmp_path / "a.onnx", classes=DATA.classes, shape=shape)
    with pytest.raises(ValueError, match="Give 1×3×height×width"):
        coreml.from_torch(small(4).eval(), shape=shape)


# -- figures, photos and runs ------------------------------------------------------------------------


@pytest.mark.parametrize("count", [2, 30, 100, 1000])
def test_figures_of_any_number_of_classes_can_be_read(count, shown, capsys):
    random, classes = (
        torch.Generator().manual_seed(0),
        [f"great white shark number {n}" for n in range(count)],
    )
    labels = torch.arange(2 * count) % count
    matrix = torch.eye(count, dtype=torch.int64) * 8
    matrix[1, 0] = 5  # the most frequent mistake
    matrix[count - 1, 0] += 3
    pictures = torch.rand(2 * count, 1, 28, 28, generator=random)
    figures.confusion(matrix, classes)
    figures.per_class(matrix, classes)
    figures.one_of_each(pictures, labels, classes, rows=2)
    figures.class_counts({"train": labels}, classes)
    confused, accuracy, examples, _ = shown
    mistaken, right = ("50%", "50.0%") if count == 2 else ("38%", "61.5%")
    assert f"great white shark number 1 taken for great white shark number 0, {mistaken}" in confused
    assert f"lowest great white shark number 1 with {right}" in accuracy
    many = count > figures.MOST_CLASSES
    assert (f"the 20 most confused of {count:,} classes" in confused) == many
    assert (f"the 20 lowest of {count:,} classes" in accuracy) == many
    assert (f"the first 20 of {count:,} classes" in examples) == many
    assert (f"the first 20 of {count:,} classes" in capsys.readouterr().out) == many


def test_a_confusion_matrix_of_many_classes_shows_those_that_are_confused(monkeypatch):
    kept = []
    monkeypatch.setattr(figures, "show", lambda figure, alt: (kept.append(figure.axes[0]), plt.close(figure)))
    matrix = torch.eye(100, dtype=torch.int64) * 10
    for place in range(10):  # ten pairs: 20 classes
        matrix[5 * place, 5 * place + 1] = 10 + place
    figures.confusion(matrix, names(100))
    shown = [text.get_text() for text in kept[0].get_xticklabels()]
    assert shown == [f"kind {5 * place + more}" for place in range(10) for more in (0, 1)]


def test_a_folder_of_photos_is_put_to_a_model_of_other_classes_and_another_size(tmp_path, capsys):
    torch.manual_seed(0)
    data = patterns(["Bag", "boot", "dress"], (1, 32, 48))
    network = small(3, channels=1)
    fit(network, data, RECIPE, progress=False)
    file = photos.to_coreml(network.cpu().eval(), "grey.mlmodel", classes=data.classes, shape=(1, 1, 32, 48))
    for place, (picture, label) in enumerate(zip(data.test_images[:9], data.test_labels[:9], strict=True)):
        folder = tmp_path / "photos" / data.classes[label]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture[0].numpy()).save(folder / f"{place}.png")
    result = photos.evaluate_folder(tmp_path / "photos", file)
    wanted = evaluate(network, data.test_images[:9], data.test_labels[:9])
    order = wanted.labels.argsort(stable=True)  # a folder after the other
    assert (result.evaluation.probs - wanted.probs[order]).abs().max() < 1e-4
    assert len(photos.evaluate_folder(tmp_path / "photos", file, tta=True).evaluation.probs) == 9
    with pytest.raises(
        ValueError, match="The model knows Bag, boot, dress; the photos are of boot, Bag, dress"
    ):
        photos.evaluate_folder(tmp_path / "photos", file, classes=["boot", "Bag", "dress"])
    (tmp_path / "photos" / "Bag").rename(tmp_path / "photos" / "bags")
    with pytest.raises(
        ValueError, match=r"no class 'bags'\. Did you mean 'Bag'.*The 3 that are known are Bag, boot"
    ):
        photos.evaluate_folder(tmp_path / "photos", file)


@pytest.mark.parametrize("crop", photos.CROPS)
def test_a_photo_becomes_any_rectangle(crop):
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (60, 90, 3), dtype=np.uint8))
    small = photos.shrink(picture, crop, size=(20, 40))
    assert small.shape == (3, 20, 40)
    tall = photos.shrink(picture, crop, size=(40, 20))
    black = [int((one == 0).all(0).all(along).sum()) for one, along in ((small, 0), (tall, 1))]
    assert black == ([10, 27] if crop == "letterbox" else [0, 0])  # columns of 40, rows of 40
    if crop == "centre crop":  # of 60×90 the middle 60×30
        middle = photos.shrink(picture.crop((30, 0, 60, 60)), "squash", size=(40, 20))
        assert (tall.int() - middle.int()).abs().float().mean() < 3  # its border has no neighbours
    with pytest.raises(ValueError, match=r"size=\(20, 0\) must be .* \(height, width\)"):
        photos.shrink(picture, crop, size=(20, 0))


def test_grey_of_colours_is_pillows():
    pixels = PIXELS[:4]
    wanted = [np.asarray(Image.fromarray(one.permute(1, 2, 0).numpy()).convert("L")) for one in pixels]
    assert np.array_equal(photos.to_grey(pixels)[:, 0].numpy(), np.stack(wanted))


def test_a_run_of_other_data_is_kept_and_read(tmp_path, capsys):
    data = patterns(names(5), (1, 28, 28), count=64)
    recipe = replace(RECIPE, epochs=1, width=0.1)
    run = runs.train(recipe, data, folder=tmp_path, device="cpu")
    again = runs.train(recipe, data, folder=tmp_path, device="cpu")
    assert "loaded, not trained" in capsys.readouterr().out
    kept = runs.read(run.folder)
    wanted = evaluate(run.model, data.test_images, data.test_labels).probs
    for one in (again, kept):
        assert one.history.sizes == [(28, 28)]
        found = evaluate(one.model, data.test_images, data.test_labels).probs
        assert (found - wanted).abs().max() < 1e-6


def test_the_camera_takes_grey_pictures_of_any_shape_and_says_what_they_have_not():
    grey = torch.rand(4, 1, 28, 40, generator=torch.Generator().manual_seed(0))
    for name, corruption in camera.CORRUPTIONS.items():
        if name == "too warm":
            with pytest.raises(ValueError, match="Grey pictures have no white balance"):
                corruption.apply(grey, 1.0)
        else:
            changed = corruption.apply(grey, corruption.strengths[2])
            assert changed.shape == grey.shape and not torch.equal(changed, grey)
    assert camera.augment(grey, torch.Generator().manual_seed(0)).shape == grey.shape
    # Three channels of the same grey stay grey, and are what the grey picture becomes.
    for change in (camera.blur, camera.motion_blur, camera.distance):
        assert torch.allclose(change(grey.expand(-1, 3, -1, -1), 2.0), change(grey, 2.0), atol=1e-6)


def test_a_cutout_hides_every_place_of_a_picture_that_is_not_square():
    data = patterns(names(2), (1, 12, 40), count=200, floats=True)
    recipe = replace(RECIPE, batch_size=200, crop_padding=0, cutout=4)
    ((pixels, _),) = Batches(data.train_images, data.train_labels, recipe, torch.device("cpu")).epoch(0)
    hidden = (pixels == 0.5).any(0)[0]
    assert hidden.any(0).all() and hidden.any(1).all()
    assert (pixels == 0.5).sum((1, 2, 3)).max() == 16


def test_a_shift_reflects_what_lies_beyond_the_border():
    data = patterns(names(2), (1, 12, 20), count=64, floats=True)
    recipe = replace(RECIPE, batch_size=64, crop_padding=11)
    ((pixels, labels),) = Batches(data.train_images, torch.arange(64), recipe, torch.device("cpu")).epoch(0)
    padded = F.pad(data.train_images, (11, 11, 11, 11), mode="reflect")
    for picture, label in zip(pixels, labels, strict=True):
        places = padded[label].unfold(1, 12, 1).unfold(2, 20, 1).flatten(1, 2)  # every window
        assert (places[0] == picture).all((1, 2)).any()
