"""What helps on an NVIDIA GPU. There is none where these tests run: a stand-in for CUDA records and replays on the CPU."""

import contextlib
import json
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from helpers import muon, training
from helpers.model import AlexNet, Normalise
from helpers.plumbing import graphs, processes
from helpers.recipe import Recipe
from helpers.training import fit, make_optimizer
from helpers.workshop import gpu, readme

CUDA = torch.device("cuda")


class Graph:
    """As ``torch.cuda.CUDAGraph``, but its replay does what was recorded once more, on the CPU."""

    def __init__(self):
        self.replays = 0

    def replay(self):
        self.replays += 1
        for target, value in zip(self.result, self.again(), strict=True):
            target.copy_(value)


@pytest.fixture
def cuda(monkeypatch):
    """Stand-ins for what ``helpers.plumbing.graphs`` takes from CUDA; the list of graphs that were recorded."""
    made = []

    class Stream:
        def __init__(self, device=None):
            assert device in (None, torch.device("cpu"))

        def wait_stream(self, other):
            pass

    @contextlib.contextmanager
    def recording(graph, stream):
        made.append(graph)
        yield

    monkeypatch.setattr(torch.cuda, "Stream", Stream)
    monkeypatch.setattr(torch.cuda, "current_stream", Stream)
    monkeypatch.setattr(torch.cuda, "device", lambda device: contextlib.nullcontext())
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: contextlib.nullcontext())
    monkeypatch.setattr(torch.cuda, "CUDAGraph", Graph)
    monkeypatch.setattr(torch.cuda, "graph", recording)
    return made


class Counting(graphs.Recorded):
    """A recorded step whose recording takes no step, as CUDA's does not, and whose replay takes one."""

    def recorded(self, images, labels):
        step, self.step = (
            self.step,
            lambda images, labels: (torch.zeros(()), torch.zeros((), dtype=torch.int64)),
        )
        graph = super().recorded(images, labels)
        self.step = step

        graph.again, graph.result = lambda: step(self.images, self.labels), self.result
        return graph


RECIPE = replace(Recipe.smoke(), epochs=1, batch_size=100, validation=0.0)


def test_recorded_steps_train_as_steps_do(drawings, cuda, monkeypatch):
    usual = RECIPE.model()
    expected = fit(usual, drawings, RECIPE, progress=False)
    monkeypatch.setattr(training, "recordable", lambda model, device, own: own == OWN)
    monkeypatch.setattr(training, "Recorded", Counting)
    kinds, usual_step = set(), muon.Muon._step

    def seen(self, weight, group):
        kinds.add(type(group["lr"]))
        return usual_step(self, weight, group)

    monkeypatch.setattr(muon.Muon, "_step", seen)
    model = RECIPE.model()
    history = fit(model, drawings, RECIPE, progress=False)
    assert kinds == {torch.Tensor}  # replayed or not, so that both round alike
    steps = len(drawings.train_labels) // 100
    assert len(cuda) == 2  # one graph for each size of image
    assert sum(graph.replays for graph in cuda) == steps - 2 * graphs.WARM_UP
    for row, wanted in zip(history.rows, expected.rows, strict=True):
        assert row["train_loss"] == pytest.approx(wanted["train_loss"], rel=1e-3)
        assert row["learning_rate"] == wanted["learning_rate"]
    for found, wanted in zip(model.parameters(), usual.parameters(), strict=True):
        assert (found - wanted).norm() <= 1e-2 * wanted.norm() + 1e-4
    rates = [group["lr"] for group in history.state["optimizer"]["param_groups"]]
    assert all(isinstance(rate, float) for rate in rates)  # as a scheduler and a file want them


OWN = {AlexNet, Normalise}


def test_a_network_of_ours_and_of_pytorchs_layers_is_recorded_on_a_gpu_alone(monkeypatch):
    model = AlexNet(width=0.1)
    model.classifier.append(torch.nn.Dropout())
    assert graphs.recordable(model, CUDA, OWN)
    model.compile()
    assert graphs.recordable(model, CUDA, OWN)
    assert not graphs.recordable(model, torch.device("cpu"), OWN)
    monkeypatch.setattr(processes, "size", lambda: 2)
    assert not graphs.recordable(model, CUDA, OWN)


def put_a_layer(model):
    class Mine(torch.nn.ReLU):
        pass

    model.features[3] = Mine()


@pytest.mark.parametrize(
    "change",
    [
        put_a_layer,
        lambda model: setattr(model.features[3], "forward", lambda images: images),
        lambda model: model.features[0].register_forward_hook(lambda *_: None),
        lambda model: model.features[0].register_forward_pre_hook(lambda *_: None),
        lambda model: model.features[0].register_full_backward_hook(lambda *_: None),
        lambda model: model.features[0].register_full_backward_pre_hook(lambda *_: None),
        lambda model: model.features[0].weight.register_hook(lambda gradient: gradient),
        lambda model: model.features[0].weight.register_post_accumulate_grad_hook(lambda weight: None),
        lambda model: torch.nn.utils.parametrizations.weight_norm(model.features[0]),
    ],
)
def test_a_network_with_python_code_of_its_own_is_not_recorded(change):
    model = AlexNet(width=0.1)
    assert graphs.recordable(model, CUDA, OWN)
    change(model)
    assert not graphs.recordable(model, CUDA, OWN)


def test_muon_takes_its_rate_as_a_tensor(cuda):
    images, labels = torch.rand(8, 3, 32, 32), torch.arange(8)
    found = []
    for as_rate in (float, torch.tensor):
        torch.manual_seed(0)
        model = AlexNet(width=0.1)
        optimizer = make_optimizer(model, Recipe.quick())
        assert isinstance(optimizer, muon.Muon)
        for group in optimizer.param_groups:
            group["lr"] = as_rate(group["lr"])
        before = [p.detach().clone() for p in model.parameters()]
        F.cross_entropy(model(images), labels).backward()
        optimizer.step()
        found.append([p.detach() - old for p, old in zip(model.parameters(), before, strict=True)])
    for with_number, with_tensor in zip(*found, strict=True):
        assert with_number.abs().max() > 0
        assert (with_number - with_tensor).norm() <= 1e-4 * with_number.norm()


def test_a_run_is_a_row_of_the_table(drawings, monkeypatch, tmp_path, capsys):
    row = gpu.run(RECIPE, drawings, compiled=False, seeds=2)
    assert [one["seed"] for one in row["results"]] == [0, 1]
    assert "seed 1:" in capsys.readouterr().out
    monkeypatch.setattr("helpers.plumbing.paths.MEASURED", tmp_path)
    assert readme.the_gpu().startswith("Nobody")
    (tmp_path / "gpu.json").write_text(json.dumps({"Some GPU": {"smoke": row}}))
    line = readme.the_gpu().splitlines()[-1]
    assert line.startswith("| Some GPU | width 0.5 | 1 |") and "not compiled" in line
    assert line.count("|") == len(gpu.HEAD) + 1


def test_without_a_gpu_it_says_what_to_do(capsys):
    with pytest.raises(SystemExit):
        gpu.main([])
    assert "no NVIDIA GPU" in (said := capsys.readouterr().err) and "--speedrun" in said


def test_the_table_is_of_the_recipes_as_they_are():
    table = json.loads((readme.paths.MEASURED / "gpu.json").read_text(encoding="utf-8"))
    for rows in table.values():
        for name, recipe in gpu.recipes().items():
            assert (rows[name]["epochs"], rows[name]["width"]) == (recipe.epochs, recipe.width)
