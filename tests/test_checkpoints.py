import os
import pickle

import pytest
import torch

from helpers import checkpoints, paths
from helpers.data import load_cifar10
from helpers.model import AlexNet
from helpers.training import History, Recipe, evaluate


@pytest.fixture
def model():
    torch.manual_seed(0)
    return AlexNet(width=0.25).eval()


def same(one, other):
    images = torch.rand(8, 3, 32, 32)
    with torch.no_grad():
        return torch.equal(one(images), other(images))


def test_both_ways_give_the_same_model_back(model, tmp_path):
    checkpoints.save_weights(model, tmp_path / "weights.pth")
    checkpoints.save_model(model, tmp_path / "whole.pth")
    assert same(model, checkpoints.load_weights(AlexNet(width=0.25), tmp_path / "weights.pth"))
    assert same(model, checkpoints.load_model(tmp_path / "whole.pth"))


@pytest.mark.parametrize("damage", ["cut", "byte", "empty", "text"])
def test_a_damaged_file_is_named_and_the_model_stays_as_it_was(model, tmp_path, damage):
    path = tmp_path / "weights.pth"
    checkpoints.save_weights(model, path)
    content = bytearray(path.read_bytes())
    if damage == "cut":
        content = content[: len(content) // 2]
    elif damage == "byte":
        content[len(content) // 2] ^= 1
    else:
        content = b"" if damage == "empty" else b"not a checkpoint at all"
    path.write_bytes(content)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(ValueError, match=r"weights\.pth is damaged or no PyTorch file"):
        checkpoints.load_weights(model, path)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


def test_weights_of_other_classes_name_the_layer_and_both_shapes(model, tmp_path):
    checkpoints.save_weights(AlexNet(classes=7, width=0.25), tmp_path / "seven.pth")
    with pytest.raises(ValueError, match=r"classifier\.3\.weight is \(7, 64\) in the file and \(10, 64\)"):
        checkpoints.load_weights(model, tmp_path / "seven.pth")


def test_weights_of_another_architecture_are_refused(model, tmp_path):
    checkpoints.save_weights(torch.nn.Linear(3, 2), tmp_path / "linear.pth")
    with pytest.raises(ValueError, match=r"does not fit this AlexNet: it lacks normalise\.mean"):
        checkpoints.load_weights(model, tmp_path / "linear.pth")
    checkpoints.save_weights(AlexNet(width=0.25, batch_norm=False), tmp_path / "plain.pth")
    with pytest.raises(ValueError, match="does not fit"):
        checkpoints.load_weights(model, tmp_path / "plain.pth")


def test_taking_one_way_for_the_other_is_explained(model, tmp_path):
    checkpoints.save_weights(model, tmp_path / "weights.pth")
    checkpoints.save_model(model, tmp_path / "whole.pth")
    with pytest.raises(ValueError, match=r"not a model.*load_weights"):
        checkpoints.load_model(tmp_path / "weights.pth")
    with pytest.raises(ValueError, match="was refused"):
        checkpoints.load_weights(model, tmp_path / "whole.pth")


class RunsCode:
    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        return (os.mkdir, (str(self.folder),))


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize(("protocol", "wanted"), [(2, r"\w+\.mkdir"), (4, r"\w+\.mkdir")])
def test_a_pickle_that_would_run_code_is_refused_and_does_not_run(model, tmp_path, protocol, wanted):
    trap = tmp_path / "it-ran"
    torch.save(RunsCode(trap), tmp_path / "evil.pth", pickle_protocol=protocol)
    with pytest.raises(ValueError, match=f"was refused: it asks for {wanted}, which"):
        checkpoints.load_model(tmp_path / "evil.pth")
    with pytest.raises(ValueError, match="was refused"):
        checkpoints.load_weights(model, tmp_path / "evil.pth")
    assert not trap.exists()
    torch.load(tmp_path / "evil.pth", weights_only=False)
    assert trap.exists()  # the trap does work


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_a_bare_pickle_is_refused_too(model, tmp_path):
    trap = tmp_path / "it-ran"
    (tmp_path / "evil.pth").write_bytes(pickle.dumps(RunsCode(trap)))
    with pytest.raises(ValueError):
        checkpoints.load_weights(model, tmp_path / "evil.pth")
    assert not trap.exists()


class MyNet(torch.nn.Sequential):
    pass


def test_a_class_of_ones_own_can_be_allowed(tmp_path):
    checkpoints.save_model(MyNet(torch.nn.Linear(3, 2)), tmp_path / "mine.pth")
    with pytest.raises(ValueError, match="MyNet, which is not on the allow-list"):
        checkpoints.load_model(tmp_path / "mine.pth")
    assert isinstance(checkpoints.load_model(tmp_path / "mine.pth", allowed=[MyNet]), MyNet)
    with pytest.raises(ValueError):  # and only for that one call
        checkpoints.load_model(tmp_path / "mine.pth")


def test_a_missing_file_is_named(model, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no file .*gone\.pth"):
        checkpoints.load_weights(model, tmp_path / "gone.pth")


def write_checkpoint(data, source, **recipe):
    recipe = Recipe(width=0.25, **recipe)
    model = recipe.model().eval()
    path = paths.artifact(checkpoints.TRAINED)
    checkpoints.save_weights(model, path)
    result = evaluate(model, data.test_images, data.test_labels)
    data = type(data)(**vars(data) | {"source": source})
    checkpoints.save_card(path, history=History(recipe), evaluation=result, data=data)
    return model


def test_the_learners_own_network_is_taken_for_its_own_data_only(drawings, capsys):
    mine = write_checkpoint(drawings, "drawings")
    model, card = checkpoints.load_trained(drawings)
    assert same(mine, model)
    assert card["recipe"]["width"] == 0.25
    write_checkpoint(drawings, "CIFAR-10")
    model, card = checkpoints.load_trained(drawings)
    assert card["recipe"]["name"] == "full"
    said = capsys.readouterr().out
    assert "was trained on CIFAR-10, and this run uses drawings" in said
    assert "the checkpoint that ships" in said


def test_a_network_that_pools_last_is_built_as_its_card_says(drawings):
    mine = write_checkpoint(drawings, "drawings", pool_first=False)
    model, _ = checkpoints.load_trained(drawings)
    assert [type(layer) for layer in model.features] == [type(layer) for layer in mine.features]
    assert same(mine, model)


def test_a_damaged_card_is_named(drawings):
    write_checkpoint(drawings, "drawings")
    paths.artifact("alexnet.json").write_text('{"recipe": {}}')
    with pytest.raises(ValueError, match=r"alexnet\.json is damaged"):
        checkpoints.load_trained(drawings)


# -- the checkpoint that ships ------------------------------------------------------------------------


def test_the_shipped_checkpoint_is_small_and_says_about_drawings_what_its_card_says():
    model, card = checkpoints.load_checkpoint()
    assert checkpoints.SHIPPED.stat().st_size < 14_000_000
    assert card["test_accuracy"] >= 0.86
    found = checkpoints.on_drawings(model)
    assert found["loss"] == pytest.approx(card["on_drawings"]["loss"], abs=1e-3)
    assert found["accuracy"] == pytest.approx(card["on_drawings"]["accuracy"], abs=0.011)
    assert found["accuracy"] > 0.2  # it has never seen a drawing; guessing gives 0.1


def test_a_card_tells_the_data_and_the_weights_it_belongs_to(drawings):
    model = write_checkpoint(drawings, "drawings")
    card = checkpoints.load_checkpoint(paths.artifact("alexnet.pth"))[1]
    assert card["data_checksum"] == drawings.checksum()
    assert card["on_drawings"] == checkpoints.on_drawings(model)
    with torch.no_grad():
        model.classifier[-1].bias[3] += 1.0
    assert card["on_drawings"]["loss"] != checkpoints.on_drawings(model)["loss"]
    other = drawings.test_labels.clone()
    other[7] += 1
    assert type(drawings)(**vars(drawings) | {"test_labels": other}).checksum() != card["data_checksum"]


@pytest.mark.skipif("CIFAR10_ROOT" not in os.environ, reason="needs the real CIFAR-10")
def test_the_shipped_checkpoint_has_the_accuracy_on_its_card():
    data = load_cifar10()
    model, card = checkpoints.load_checkpoint()
    result = evaluate(model, data.test_images, data.test_labels)
    assert data.checksum() == card["data_checksum"]
    assert abs(result.accuracy - card["test_accuracy"]) <= 0.0003  # another CPU may round three images over
    confusion = result.confusion()
    for k, name in enumerate(data.classes):
        found = (confusion[k, k] / confusion[k].sum()).item()
        assert abs(found - card["test_accuracy_per_class"][name]) < 0.003
