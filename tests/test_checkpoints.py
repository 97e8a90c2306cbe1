import copy
import dataclasses
import json
import os
import pickle
import re
import sys

import numpy as np
import pytest
import torch

from helpers import checkpoints
from helpers.data import load_cifar10
from helpers.evaluation import evaluate
from helpers.history import History
from helpers.model import AlexNet
from helpers.plumbing import paths, variables
from helpers.recipe import Recipe
from helpers.torch_files import weights


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
    says = {"empty": "empty", "text": "a text, not the file itself"}.get(damage, "damaged or no PyTorch file")
    with pytest.raises(ValueError, match=rf"weights\.pth is {says}"):
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


# -- weights that are no weights ----------------------------------------------------------------------


BIAS = "classifier.3.bias"
BAD_TENSORS = {
    "int": (3, "is a int, not a tensor"),
    "text": ("x", "is a str, not a tensor"),
    "none": (None, "is a NoneType"),
    "sparse": (torch.zeros(10).to_sparse(), r"a sparse tensor \(save tensor\.to_dense"),
    "meta": (torch.zeros(10, device="meta"), "on the meta device"),
    "complex": (torch.zeros(10, dtype=torch.complex64), "holds complex64, and the network float32"),
    "int8": (torch.ones(10, dtype=torch.int8), "holds int8, and the network float32"),
    "bool": (torch.ones(10, dtype=torch.bool), "holds bool, and the network float32"),
    "nan": (torch.full((10,), float("nan")), "holds NaN or infinity"),
    "infinity": (torch.full((10,), -float("inf")), "holds NaN or infinity"),
    "too large for float32": (torch.full((10,), 1e300, dtype=torch.float64), "holds NaN or infinity"),
    "shape": (torch.zeros(11), r"is \(11,\) in the file and \(10,\)"),
    "expanded": (torch.zeros(1).expand(10), "numbers overlap"),
    "overlapping": (torch.zeros(11).as_strided((5, 2), (1, 1)), "numbers overlap"),
    "huge": (torch.zeros(1).expand(2**40), "numbers overlap"),
}


@pytest.mark.parametrize("kind", BAD_TENSORS)
def test_one_entry_that_is_no_weight_is_named_and_nothing_is_changed(model, tmp_path, kind):
    value, message = BAD_TENSORS[kind]
    before = copy.deepcopy(model.state_dict())
    model.train()
    torch.save(
        {name: torch.full_like(t, 7) for name, t in before.items()} | {BIAS: value}, tmp_path / "a.pth"
    )
    with pytest.raises(ValueError, match=message):
        checkpoints.load_weights(model, tmp_path / "a.pth")
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert model.training


@pytest.mark.filterwarnings("ignore:.*uant")
def test_quantised_weights_are_named(model, tmp_path):
    state = model.state_dict() | {BIAS: torch.quantize_per_tensor(torch.rand(10), 0.1, 0, torch.qint8)}
    torch.save(state, tmp_path / "a.pth")
    with pytest.raises(ValueError, match=r"a quantised tensor \(save tensor\.dequantize"):
        checkpoints.load_weights(model, tmp_path / "a.pth")


def test_a_counter_takes_whole_numbers_only(model, tmp_path):
    name = "features.2.num_batches_tracked"
    for value, fits in ((7.0, True), (7.5, False), (float("nan"), False)):
        torch.save(model.state_dict() | {name: torch.tensor(value)}, tmp_path / "a.pth")
        if fits:  # as in a state_dict of which every tensor was made a float16
            assert checkpoints.load_weights(model, tmp_path / "a.pth").state_dict()[name] == 7
        else:
            with pytest.raises(ValueError, match=name):
                checkpoints.load_weights(model, tmp_path / "a.pth")


def test_half_precision_is_loaded_and_converted(model, tmp_path):
    torch.save({name: tensor.half() for name, tensor in model.state_dict().items()}, tmp_path / "half.pth")
    loaded = checkpoints.load_weights(AlexNet(width=0.25), tmp_path / "half.pth")
    assert loaded.features[0].weight.dtype == torch.float32
    assert torch.equal(loaded.features[0].weight, model.features[0].weight.half().float())


def test_a_network_that_cannot_be_filled_is_named(model, tmp_path):
    checkpoints.save_weights(model, tmp_path / "a.pth")
    with pytest.raises(ValueError, match="no values yet"):
        checkpoints.load_weights(AlexNet(width=0.25).to("meta"), tmp_path / "a.pth")
    with pytest.raises(ValueError, match="the name of a file"):
        checkpoints.load_weights(tmp_path / "a.pth", model)
    model.classifier[-1].bias = torch.nn.Parameter(torch.zeros(1).expand(10))  # one number, seen ten times
    before = copy.deepcopy(model.features.state_dict())
    torch.save({name: torch.full_like(t, 7) for name, t in model.state_dict().items()}, tmp_path / "a.pth")
    with pytest.raises(ValueError, match="cannot be changed"):
        checkpoints.load_weights(model, tmp_path / "a.pth")
    assert all(torch.equal(before[name], tensor) for name, tensor in model.features.state_dict().items())


def interrupted_at(line, call):
    """Run ``call`` with a Ctrl-C before the line-th line that runs in the two modules; whether it came that far."""
    count, stopped = 0, False

    def trace(frame, event, argument):
        nonlocal count, stopped
        if frame.f_code.co_filename not in (checkpoints.__file__, weights.__file__):
            return None
        count += event == "line"
        if count == line and not stopped:
            stopped = True
            raise KeyboardInterrupt
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        call()
    except KeyboardInterrupt:
        pass
    finally:
        sys.settrace(before)
    return stopped


def test_an_interruption_at_any_line_leaves_all_weights_old_or_all_new(tmp_path):
    old, new = torch.nn.Linear(3, 2), torch.nn.Linear(3, 2)
    checkpoints.save_weights(new, tmp_path / "new.pth")
    before = copy.deepcopy(old.state_dict())
    outcomes, line = set(), 1
    while interrupted_at(line, lambda: checkpoints.load_weights(old, tmp_path / "new.pth")):
        same = [torch.equal(tensor, before[name]) for name, tensor in old.state_dict().items()]
        assert all(same) or not any(same), f"half of it after an interruption at line {line}"
        outcomes.add(all(same))
        old.load_state_dict(before)
        line += 1
    assert line > 20
    assert outcomes == {True, False}


# -- files as training scripts write them -------------------------------------------------------------


def wrapped(state, head):
    return {f"{head}{name}": tensor for name, tensor in state.items()}


NESTED = {
    "net": lambda state: {"net": state, "acc": 93.1, "epoch": 7},
    "two deep": lambda state: {"checkpoint": {"model": state}},
    "DataParallel": lambda state: wrapped(state, "module."),
    "torch.compile": lambda state: wrapped(state, "_orig_mod."),
    "both": lambda state: {"state_dict": wrapped(state, "module._orig_mod.")},
    "inside": lambda state: {name.replace(".", "._orig_mod.", 1): tensor for name, tensor in state.items()},
    "Lightning": lambda state: {"state_dict": wrapped(state, "model."), "hyper_parameters": {"lr": 0.1}},
    "a NumPy number beside": lambda state: {"state_dict": state, "best": np.float64(0.8)},
    "a NumPy array beside": lambda state: {"state_dict": state, "curve": np.zeros(3)},
    "an object beside": lambda state: {"state_dict": state, "args": RunsCode("nowhere")},
    "twice the same": lambda state: {"model": state, "best": state},
    "two heads": lambda state: wrapped(state, "backbone.net."),
    "a loss beside": lambda state: {"state_dict": wrapped(state, "model.") | {"loss.weight": torch.ones(10)}},
    "AveragedModel": lambda state: wrapped(state, "module.") | {"n_averaged": torch.tensor(3)},
    "in a list": lambda state: [state, {"state": {0: {"exp_avg": torch.ones(2)}}, "param_groups": []}],
    "in lists": lambda state: {
        "optimizer_states": [{"state": {}, "param_groups": []}],
        "models": [(state, 3)],
    },
    "numbered": lambda state: {0: {"model": state}},
    "a number among them": lambda state: state | {"epoch": 3},
    "a larger one beside": lambda state: {"student": state, "teacher": AlexNet(width=0.5).state_dict()},
}


@pytest.mark.parametrize("kind", NESTED)
@pytest.mark.parametrize("zipped", [True, False])
def test_weights_are_found_where_training_scripts_put_them(model, tmp_path, kind, zipped):
    content = NESTED[kind](model.state_dict())
    torch.save(content, tmp_path / "a.pth", _use_new_zipfile_serialization=zipped)
    assert same(model, checkpoints.load_weights(AlexNet(width=0.25), tmp_path / "a.pth"))


def test_weights_of_a_plain_network_go_into_a_wrapped_one(model, tmp_path):
    checkpoints.save_weights(model, tmp_path / "a.pth")
    wrapper = torch.nn.DataParallel(AlexNet(width=0.25))
    assert same(
        model, checkpoints.load_weights(wrapper, tmp_path / "a.pth").module.cpu()
    )  # it takes a GPU by itself


def test_two_sets_of_weights_are_not_guessed_between(model, tmp_path):
    torch.save({"model": model.state_dict(), "ema": AlexNet(width=0.25).state_dict()}, tmp_path / "a.pth")
    with pytest.raises(ValueError, match=r"several sets.*\['model'\] and \['ema'\].*under='ema'"):
        checkpoints.load_weights(model, tmp_path / "a.pth")
    other = checkpoints.load_weights(AlexNet(width=0.25), tmp_path / "a.pth", under="model")
    assert same(other, model)
    assert not same(model, checkpoints.load_weights(other, tmp_path / "a.pth", under="ema"))
    with pytest.raises(ValueError, match=r"no weights under 'net' that fit; \['model'\] and \['ema'\] does"):
        checkpoints.load_weights(model, tmp_path / "a.pth", under="net")


def test_two_networks_in_one_state_dict_are_not_guessed_between(model, tmp_path):
    both = wrapped(model.state_dict(), "student.") | wrapped(AlexNet(width=0.25).state_dict(), "teacher.")
    torch.save({"epoch": 3, "state_dict": both}, tmp_path / "a.pth")
    with pytest.raises(ValueError, match=r"\['student\.…'\] and .*under='state_dict\.teacher'"):
        checkpoints.load_weights(model, tmp_path / "a.pth")
    found = checkpoints.load_weights(AlexNet(width=0.25), tmp_path / "a.pth", under="state_dict.student")
    assert same(model, found)


def test_weights_from_before_batch_norm_counted_are_loaded(model, tmp_path):
    state = {name: tensor for name, tensor in model.state_dict().items() if "num_batches" not in name}
    torch.save(state, tmp_path / "a.pth")
    fresh = AlexNet(width=0.25)
    fresh.features[2].num_batches_tracked += 7
    loaded = checkpoints.load_weights(fresh, tmp_path / "a.pth").state_dict()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in state.items())
    assert loaded["features.2.num_batches_tracked"] == 0


def test_one_tensor_under_two_names_is_not_guessed(model, tmp_path):
    state = model.state_dict()
    torch.save(state | {"classifier.module.1.bias": torch.ones(64)}, tmp_path / "a.pth")
    with pytest.raises(ValueError, match=r"does not fit this AlexNet: it has classifier\.1\.bias, which"):
        checkpoints.load_weights(AlexNet(width=0.25), tmp_path / "a.pth")


def test_a_network_that_is_itself_called_module_is_loaded_by_its_own_names(tmp_path):
    def made():
        both = torch.nn.ModuleDict({"module": torch.nn.Linear(2, 2)})
        both.weight, both.bias = torch.nn.Parameter(torch.rand(2, 2)), torch.nn.Parameter(torch.rand(2))
        return both

    saved = made()
    torch.save({"net": saved.state_dict()}, tmp_path / "a.pth")
    loaded = checkpoints.load_weights(made(), tmp_path / "a.pth").state_dict()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in saved.state_dict().items())


def test_weights_of_a_part_say_which_part(model, tmp_path):
    torch.save({"model": wrapped(model.state_dict(), "module.")}, tmp_path / "a.pth")
    whole = torch.nn.Sequential(torch.nn.Flatten(0, 0), AlexNet(width=0.25))
    with pytest.raises(ValueError, match=r"lacks 1\.normalise.*load_weights\(model\[1\], path\)"):
        checkpoints.load_weights(whole, tmp_path / "a.pth")
    assert same(model, checkpoints.load_weights(whole[1], tmp_path / "a.pth"))


NO_WEIGHTS = {
    "the state of an optimiser, not of a network": {
        "state": {0: {"exp_avg": torch.ones(2)}},
        "param_groups": [],
    },
    "2 tensors without a name": [torch.ones(2, 2), torch.ones(2)],
    "1 tensor without a name": torch.ones(2),
    "a dict without weights": {"epoch": 3},
    "a int without weights": 3,
}


@pytest.mark.parametrize("message", NO_WEIGHTS)
def test_a_file_without_weights_says_what_it_holds(model, tmp_path, message):
    torch.save(NO_WEIGHTS[message], tmp_path / "a.pth")
    with pytest.raises(ValueError, match=rf"holds {message}.*torch\.save\(model\.state_dict"):
        checkpoints.load_weights(model, tmp_path / "a.pth")


def test_numpy_arrays_are_called_by_their_name(tmp_path):
    network = torch.nn.Linear(2, 2)
    torch.save({name: one.numpy() for name, one in network.state_dict().items()}, tmp_path / "a.pth")
    with pytest.raises(ValueError, match=r"weight is a NumPy array \(save torch\.from_numpy\(array\)\)"):
        checkpoints.load_weights(network, tmp_path / "a.pth")


def test_a_whole_network_of_a_package_is_loaded_when_its_classes_are_named(tmp_path):
    """The list in the refusal is the list to allow."""
    from torchvision.models.resnet import BasicBlock, ResNet

    network = ResNet(BasicBlock, [1, 1, 1, 1], num_classes=3).eval()
    checkpoints.save_model(network, tmp_path / "a.pth")
    with pytest.raises(
        ValueError, match=r"AdaptiveAvgPool2d and .*BasicBlock and .*ResNet, which.*load_weights"
    ):
        checkpoints.load_model(tmp_path / "a.pth")
    allowed = [torch.nn.AdaptiveAvgPool2d, BasicBlock, ResNet]
    assert same(network, checkpoints.load_model(tmp_path / "a.pth", allowed))


def test_what_does_not_fit_is_compared_with_the_weights_inside(model, tmp_path):
    torch.save({"epoch": 1, "net": AlexNet(classes=7, width=0.25).state_dict()}, tmp_path / "a.pth")
    with pytest.raises(ValueError, match=r"classifier\.3\.weight is \(7, 64\).*under \['net'\]"):
        checkpoints.load_weights(model, tmp_path / "a.pth")


def test_a_whole_model_beside_other_things_is_found(model, tmp_path):
    torch.save({"model": model, "epoch": 3}, tmp_path / "a.pth")
    assert same(model, checkpoints.load_model(tmp_path / "a.pth"))
    with pytest.raises(ValueError, match=r"a whole helpers\.model\.AlexNet.*load_model"):
        checkpoints.load_weights(model, tmp_path / "a.pth")


def test_state_comes_back_as_it_was_saved(tmp_path):
    momentum = torch.rand(3, 2)
    optimizer = {"state": {0: {"momentum": momentum}}, "param_groups": [{"lr": 0.1, "betas": (0.9, 0.99)}]}
    saved = {"rows": [{"loss": 1.5, "epoch": 1}], "optimizer": optimizer, "none": None, "pair": (1, "ä")}
    torch.save(saved, tmp_path / "run.pth")
    found = checkpoints.read_state(tmp_path / "run.pth")
    assert torch.equal(found["optimizer"]["state"][0].pop("momentum"), momentum)
    del optimizer["state"][0]["momentum"]
    assert found == saved
    torch.save({"path": Trap(os.getcwd)}, tmp_path / "run.pth")
    with pytest.raises(ValueError, match=r"asks for \w+\.getcwd"):
        checkpoints.read_state(tmp_path / "run.pth")


# -- whole models that are traps ----------------------------------------------------------------------


class Trap:
    """Pickles as a call of ``function`` with ``arguments``."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


def test_no_object_is_built_with_arguments_of_the_file(tmp_path):
    torch.save(Trap(torch.nn.Linear, 2**31, 2**31), tmp_path / "a.pth")  # would take terabytes
    with pytest.raises(
        ValueError, match=r"calls torch\.nn\.modules\.linear\.Linear with arguments of its own"
    ):
        checkpoints.load_model(tmp_path / "a.pth")
    torch.save(Trap(os.getpid), tmp_path / "b.pth")
    with pytest.raises(ValueError, match=r"getpid with arguments of its own"):
        checkpoints.load_model(tmp_path / "b.pth", allowed=[os.getpid])


def set_forward(model):
    vars(model.classifier)["forward"] = model.features[0]  # another allowed module in the place of a method


def set_hook(model):
    model._forward_hooks[0] = model.features[0]


def set_nan(model):
    with torch.no_grad():
        model.features[0].weight[0] = float("nan")


def set_cycle(model):
    model._modules["again"] = model


def set_many(model):
    for _ in range(20):  # 2²⁰ visits of 20 modules
        model = torch.nn.Sequential(model, model)
    return model


def set_number(model):
    model._modules = {"0": 3}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (set_forward, "a hook or a method of its own"),
        (set_hook, "a hook or a method of its own"),
        (set_nan, "NaN or infinity"),
        (set_cycle, "damaged"),
        (set_many, "damaged"),
        (set_number, "damaged"),
    ],
)
def test_a_whole_model_with_a_trap_in_it_is_refused(model, tmp_path, change, message):
    torch.save(change(model) or model, tmp_path / "a.pth")
    with pytest.raises(ValueError, match=message):
        checkpoints.load_model(tmp_path / "a.pth")


class WithFunction(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.activation = torch.nn.functional.relu

    def forward(self, images):
        return self.activation(images)


def test_a_function_that_a_network_keeps_can_be_allowed(tmp_path):
    checkpoints.save_model(WithFunction(), tmp_path / "a.pth")
    with pytest.raises(ValueError, match=r"asks for .*WithFunction and torch\.nn\.functional\.relu"):
        checkpoints.load_model(tmp_path / "a.pth")
    loaded = checkpoints.load_model(tmp_path / "a.pth", allowed=[WithFunction, torch.nn.functional.relu])
    assert loaded(torch.tensor([-1.0, 2.0])).tolist() == [0.0, 2.0]
    with pytest.raises(ValueError, match="it is no class"):
        checkpoints.load_model(tmp_path / "a.pth", allowed=["WithFunction"])


def test_what_cannot_be_saved_whole_is_said(tmp_path):
    network = torch.nn.Linear(3, 2)
    network.scale = lambda x: x
    with pytest.raises(ValueError, match=r"cannot be saved whole.*save_weights"):
        checkpoints.save_model(network, tmp_path / "a.pth")
    with pytest.raises(ValueError, match="a state_dict"):
        checkpoints.save_weights(network.state_dict(), tmp_path / "a.pth")
    assert list(tmp_path.iterdir()) == []


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


@pytest.fixture(scope="module")
def learnt(drawings, tmp_path_factory):
    """A checkpoint with its card, made once: file name → content."""
    folder = tmp_path_factory.mktemp("learnt")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CHAPTER_ARTIFACTS", str(folder))
        write_checkpoint(drawings, "drawings")
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def own(learnt):
    """The path of that checkpoint in this test's artifacts folder."""
    for name, content in learnt.items():
        paths.artifact(name).write_bytes(content)
    return paths.artifact("alexnet.pth")


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


# -- cards --------------------------------------------------------------------------------------------


def changed(**fields):
    return lambda card: card | fields


def recipe(**fields):
    return lambda card: card | {"recipe": card["recipe"] | fields}


def without(name):
    return lambda card: {key: value for key, value in card.items() if key != name}


BAD_CARDS = {
    "reversed classes": (lambda card: card | {"classes": card["classes"][::-1]}, "not in the same order"),
    "reversed twice": (
        lambda card: (
            card
            | {"classes": card["classes"][::-1]}
            | {"test_accuracy_per_class": dict(reversed(card["test_accuracy_per_class"].items()))}
        ),
        "other classes than the data, or in another order",
    ),
    "three classes": (
        changed(classes=["a", "b", "c"], test_accuracy_per_class=None),
        "test_accuracy_per_class is None",
    ),
    "classes in a text": (changed(classes="airplane"), "classes is 'airplane', not a list"),
    "a class twice": (changed(classes=["a"] * 10), "classes is"),
    "700 %": (changed(test_accuracy=7.0), "test_accuracy is 7.0, not a number from 0 to 1"),
    "a text for a number": (changed(test_accuracy="90 %"), "test_accuracy is '90 %'"),
    "true for a number": (changed(test_accuracy=True), "test_accuracy is True"),
    "control characters": (changed(data="\x1b[2Jdrawings"), r"data is '\\x1b\[2Jdrawings'"),
    "a list for a recipe": (changed(recipe=[["width", 1]]), r"recipe is \[\['width', 1\]\]"),
    "width 10⁹": (
        recipe(width=1e9),
        r"Recipe\(width=1000000000.0\): width must be a number, from 0.01 to 64\. Train",
    ),
    "width 10⁴⁰⁰": (recipe(width=10**400), "width must be a number"),
    "width 0": (recipe(width=0), r"width must be a number, from 0.01"),
    "a width that does not fit": (recipe(width=50), r"does not fit the AlexNet of alexnet\.json"),
    "a text for a switch": (
        recipe(batch_norm="yes"),
        r"Recipe\(batch_norm='yes'\): batch_norm must be True or False",
    ),
    "an unknown field": (recipe(depth=8), "its recipe has depth, which this version"),
    "NaN": (lambda card: json.dumps(card | {"test_accuracy": float("nan")}), "NaN is no number"),
    "no accuracy": (without("test_accuracy"), "test_accuracy is missing"),
    "no recipe": (without("recipe"), "recipe is missing"),
    "a loss of 10⁴⁰⁰": (
        lambda card: without("weights_sha256")(card) | {"on_drawings": {"accuracy": 0.1, "loss": 10**400}},
        "on_drawings is .*, not an accuracy and a loss",
    ),
    "another checksum": (changed(weights_sha256="0" * 64), "does not belong to alexnet.pth"),
    "a list": (lambda card: [], "it holds a list"),
    "cut off": (lambda card: json.dumps(card)[:200], "is damaged or was changed"),
    "deep": (lambda card: "[" * 100_000, "is damaged or was changed"),
    "no text": (lambda card: b"\xff\xfe", "is damaged or was changed"),
    "giant": (lambda card: json.dumps(card | {"note": "x" * 2_000_000}), "more than 1 MB"),
    "missing": (lambda card: None, r"no file .*alexnet\.json"),
}


@pytest.mark.parametrize("kind", BAD_CARDS)
def test_a_card_that_cannot_be_true_is_said_and_what_ships_is_used(own, drawings, capsys, kind):
    change, message = BAD_CARDS[kind]
    path = own.with_suffix(".json")
    content = change(json.loads(path.read_text()))
    path.unlink()
    if content is not None:
        content = content if isinstance(content, str | bytes) else json.dumps(content)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    if kind != "reversed twice":  # only the data tells their order then
        with pytest.raises((ValueError, FileNotFoundError), match=message):
            checkpoints.load_checkpoint(own)
    card = checkpoints.load_trained(drawings)[1]
    assert card["recipe"]["name"] == "full"
    said = capsys.readouterr().out
    assert re.search(f"Your own network is not used.*{message}", said)
    assert "Train it again" in said or kind == "reversed twice"
    assert "the checkpoint that ships" in said
    assert said.isprintable() or "\x1b" not in said


def test_new_weights_beside_an_old_card_are_noticed(own, drawings, capsys):
    torch.manual_seed(1)
    checkpoints.save_weights(AlexNet(width=0.25), own)  # a second training, killed before its card
    with pytest.raises(ValueError, match="does not belong to"):
        checkpoints.load_checkpoint(own)
    assert checkpoints.load_trained(drawings)[1]["recipe"]["name"] == "full"
    assert "does not belong to" in capsys.readouterr().out


def test_the_same_weights_saved_again_keep_their_card(own, learnt):
    state = checkpoints.load_checkpoint(own)[0].to(memory_format=torch.channels_last).state_dict()
    torch.save({"net": state}, own, _use_new_zipfile_serialization=False)
    assert own.read_bytes() != learnt[own.name]
    found = checkpoints.load_checkpoint(own)[0].state_dict()
    assert all(torch.equal(tensor, found[name]) for name, tensor in state.items())


def test_a_card_from_before_there_were_checksums_is_believed_if_the_drawings_agree(own):
    card_file = own.with_suffix(".json")
    card = json.loads(card_file.read_text())
    del card["weights_sha256"]
    card_file.write_text(json.dumps(card))
    model = checkpoints.load_checkpoint(own)[0]
    with torch.no_grad():
        model.classifier[-1].bias[3] += 1.0
    checkpoints.save_weights(model, own)
    with pytest.raises(ValueError, match="does not belong to"):
        checkpoints.load_checkpoint(own)
    del card["on_drawings"]  # nothing tells whose card it is
    card_file.write_text(json.dumps(card))
    with pytest.raises(ValueError, match="does not belong to"):
        checkpoints.load_checkpoint(own)


def test_a_card_is_not_written_for_the_weights_of_another_training(drawings):
    """Two trainings write to one name: first both write their weights, then the first one its card."""
    first, second = Recipe(width=0.25), Recipe(width=0.25, seed=1)
    path = paths.artifact(checkpoints.TRAINED)
    network = first.model().eval()
    with torch.no_grad():
        network.classifier[-1].weight *= 300  # answers that are far from uniform, as a trained one's are
    checkpoints.save_weights(network, path)
    result = evaluate(network, drawings.test_images, drawings.test_labels)
    checkpoints.save_weights(second.model(), path)
    with pytest.raises(ValueError, match="does not hold the network that was evaluated"):
        checkpoints.save_card(path, history=History(first), evaluation=result, data=drawings)
    assert not path.with_suffix(".json").exists()


def test_a_class_without_test_images_has_no_accuracy(drawings):
    few = drawings.test_labels < 9
    part = dataclasses.replace(
        drawings, test_images=drawings.test_images[few], test_labels=drawings.test_labels[few]
    )
    write_checkpoint(part, "drawings")
    card = checkpoints.load_checkpoint(paths.artifact("alexnet.pth"))[1]
    assert card["test_accuracy_per_class"]["truck"] is None


def test_weights_that_are_gone_or_no_file_are_said(own, drawings, capsys):
    own.unlink()
    assert checkpoints.load_trained(drawings)[1]["recipe"]["name"] == "full"
    assert "There is no file" in capsys.readouterr().out
    own.mkdir()
    assert checkpoints.load_trained(drawings)[1]["recipe"]["name"] == "full"
    assert "is a folder, not a file" in capsys.readouterr().out


def test_a_card_of_an_earlier_version_may_have_fields_that_are_retired():
    recipe = Recipe.quick()
    earlier = dataclasses.asdict(recipe) | {"schedule": True, "keep_memory": True}
    assert Recipe.of(earlier) == recipe
    with pytest.raises(ValueError, match="its recipe has speed, which this version"):
        Recipe.of(earlier | {"speed": 2})


# -- the checkpoint that ships ------------------------------------------------------------------------


def test_the_shipped_checkpoint_is_small_and_says_about_drawings_what_its_card_says():
    model, card = checkpoints.load_checkpoint()
    assert checkpoints.SHIPPED.stat().st_size < 14_000_000
    assert card["test_accuracy"] >= 0.86
    assert checkpoints.checksum(model) == card["weights_sha256"]
    assert checkpoints.load_camera()[1]["weights_sha256"] != card["weights_sha256"]
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


@pytest.mark.skipif(
    not variables.read("CHAPTER_CIFAR10"), reason="needs the real CIFAR-10: set CHAPTER_CIFAR10"
)
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
