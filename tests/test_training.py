"""Training: how it ends, is interrupted and goes on, and what it refuses."""

import _thread
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from helpers import training
from helpers.data import CIFAR10, hold_out
from helpers.evaluation import evaluate
from helpers.recipe import Recipe
from helpers.training import fit, make_optimizer, make_scheduler, time_per_step

TINY = replace(Recipe.smoke(), width=0.25, batch_size=90, epochs=2)


def weights(model):
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


def test_it_learns(drawings):
    model = replace(TINY, epochs=4).model()
    history = fit(model, drawings, replace(TINY, epochs=4), progress=False)
    assert history.finished
    assert len(history.rows) == 4
    assert history.rows[-1]["train_loss"] < history.rows[0]["train_loss"]
    assert history.validation_accuracy > 0.5  # guessing gives 0.1
    assert not model.training


def test_two_runs_with_one_seed_agree_and_with_another_do_not(drawings):
    runs = []
    for seed in (0, 0, 1):
        recipe = replace(TINY, seed=seed)
        model = recipe.model()
        fit(model, drawings, recipe, progress=False)
        runs.append(weights(model))
    assert torch.equal(runs[0], runs[1])
    assert not torch.equal(runs[0], runs[2])


class InterruptAt(torch.nn.Module):
    """Passes everything on, and presses Ctrl-C in the given call, counted while training or while testing."""

    def __init__(self, model, call, while_training):
        super().__init__()
        self.model, self.call, self.while_training, self.calls = model, call, while_training, 0

    def forward(self, images):
        if self.training == self.while_training and len(images) > 1:  # one image only asks whether it fits
            self.calls += 1
            if self.calls == self.call:
                _thread.interrupt_main()
        return self.model(images)


@pytest.mark.parametrize(
    ("call", "while_training"), [(3, True), (10, True), (14, True), (1, False), (2, False)]
)
def test_an_interrupted_run_keeps_what_it_has_and_goes_on_as_if_nothing_had_happened(
    drawings, capsys, call, while_training
):
    straight = TINY.model()
    expected = fit(straight, drawings, TINY, progress=False)

    model = InterruptAt(TINY.model(), call, while_training)
    history = fit(model, drawings, TINY)
    assert not history.finished
    assert 0 < history.steps <= 20
    assert f"interrupted after {history.steps} of 20 steps" in capsys.readouterr().out
    fit(model, drawings, TINY, resume=history, progress=False)
    assert history.finished
    assert history.steps == 20
    assert torch.equal(weights(model), weights(straight))
    assert history.column("validation_accuracy") == expected.column("validation_accuracy")


def test_the_seconds_before_an_interruption_count(drawings):
    model = InterruptAt(TINY.model(), 14, while_training=True)
    history = fit(model, drawings, TINY, progress=False)
    assert len(history.rows) == 1
    assert history.state["spent"] > 0
    history.state["spent"] = 1000.0
    fit(model, drawings, TINY, resume=history, progress=False)
    assert history.rows[1]["seconds"] > 1000 > history.rows[0]["seconds"]


def test_after_each_epoch_the_run_can_be_saved_and_would_go_on_from_there(drawings):
    model, seen = TINY.model(), []

    def keep(history):
        seen.append((len(history.rows), history.finished, weights(model)))

    fit(model, drawings, TINY, progress=False, after_epoch=keep)
    assert [(rows, finished) for rows, finished, _ in seen] == [(1, False), (2, True)]
    assert not torch.equal(seen[0][2], seen[1][2])
    assert torch.equal(seen[1][2], weights(model))


def test_a_history_of_another_recipe_or_a_finished_one_is_not_resumed(drawings):
    model = TINY.model()
    history = fit(model, drawings, TINY, progress=False)
    with pytest.raises(ValueError, match="another recipe"):
        fit(model, drawings, replace(TINY, learning_rate=0.2), resume=history)
    with pytest.raises(ValueError, match="has finished"):
        fit(model, drawings, TINY, resume=history)


def test_a_rate_that_diverges_stops_with_the_step_and_what_to_lower(drawings):
    recipe = replace(TINY, learning_rate=1e9, batch_norm=False)
    with pytest.raises(FloatingPointError, match=r"at step \d+.*Lower learning_rate"):
        fit(recipe.model(), drawings, recipe, progress=False)


class Hungry(torch.nn.Module):
    """Asks for a petabyte."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def forward(self, images):
        return torch.empty(10**15) + self.weight


def test_out_of_memory_names_the_batch_size(drawings):
    with pytest.raises(MemoryError, match="A batch of 90 images does not fit"):
        fit(Hungry(), drawings, TINY, progress=False)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"train_images": torch.zeros(0, 3, 32, 32, dtype=torch.uint8)}, "train_images is empty"),
        ({"train_images": torch.zeros(9, 32, 32, 3, dtype=torch.uint8)}, r"\(9, 32, 32, 3\).*N×3×32×32"),
        ({"test_images": torch.zeros(500, 3, 32, 32)}, "torch.float32.*torch.uint8"),
        ({"train_labels": torch.full((1000,), 10)}, "runs from 10 to 10.*0 to 9"),
        ({"train_labels": torch.full((1000,), -1)}, "runs from -1"),
        ({"test_labels": torch.zeros(3, dtype=torch.int64)}, r"one torch.int64 per image: \(500,\)"),
        ({"train_labels": torch.zeros(1000)}, "torch.float32"),
        ({"train_labels": [0] * 1000}, r"train_labels is a list, not a torch.Tensor"),
        ({"test_images": np.zeros((500, 3, 32, 32), np.uint8)}, "test_images is a ndarray"),
        ({"train_images": torch.zeros(9, 3, 32, 32, dtype=torch.uint8, device="meta")}, "on the meta device"),
        ({"test_labels": torch.zeros(500, dtype=torch.int64).to_sparse()}, "sparse"),
    ],
)
def test_data_of_the_wrong_kind_is_named_before_any_training(drawings, change, message):
    data = CIFAR10(**vars(drawings) | change)
    with pytest.raises(ValueError, match=message):
        fit(TINY.model(), data, TINY, progress=False)


def test_a_schedule_of_any_length_rises_and_falls():
    weight = torch.nn.Parameter(torch.zeros(1))
    for steps in (*range(1, 13), 63, 99):
        for warmup in (0, 0.1, 0.25, 0.5, 1, *(1 / n for n in range(3, 14))):
            recipe = Recipe(warmup=warmup, learning_rate=0.5)
            optimizer = torch.optim.SGD([weight], lr=0.5)
            scheduler, rates = make_scheduler(optimizer, recipe, steps), []
            for _ in range(steps):
                rates.append(scheduler.get_last_lr()[0])
                optimizer.step()
                scheduler.step()
            assert 0.04 < max(rates) <= 0.5
            top = rates.index(max(rates))
            assert rates == sorted(rates[:top]) + sorted(rates[top:], reverse=True)


def test_one_epoch_of_three_steps_can_be_trained(drawings):
    data = replace(
        drawings, train_images=drawings.train_images[:300], train_labels=drawings.train_labels[:300]
    )
    recipe = replace(TINY, epochs=1, sizes=(32,))
    assert fit(recipe.model(), data, recipe, progress=False).steps == 3


class Student(nn.Module):
    """Flattens with ``view``, as the commonest tutorial does."""

    def __init__(self):
        super().__init__()
        self.conv, self.pool, self.fc = nn.Conv2d(3, 8, 5), nn.MaxPool2d(2), nn.Linear(8 * 14 * 14, 10)

    def forward(self, images):
        return self.fc(self.pool(torch.relu(self.conv(images))).view(-1, 8 * 14 * 14))


@pytest.mark.parametrize("channels_last", [True, False])
def test_a_network_that_flattens_with_view_is_trained_and_tested(drawings, monkeypatch, channels_last):
    if not channels_last:
        monkeypatch.setattr(training, "LAYOUT", torch.contiguous_format)
    recipe = replace(TINY, epochs=1, sizes=(32,))
    student = Student()
    before = evaluate(student, drawings.test_images, drawings.test_labels)
    history = fit(student, drawings, recipe, progress=False)
    after = evaluate(student, drawings.test_images, drawings.test_labels)
    assert history.finished and not torch.equal(before.probs, after.probs)


class Answers(nn.Module):
    """One linear layer, and then what ``give`` makes of its logits."""

    def __init__(self, give=lambda logits: logits, outputs=10):
        super().__init__()
        self.fc, self.give = nn.Linear(3072, outputs), give

    def forward(self, images):
        return self.give(self.fc(images.flatten(1)))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Answers(outputs=3), "returns 1×3 for 1 images, and 1×10"),
        (lambda: Answers(outputs=1000), "returns 1×1000"),
        (lambda: Answers(lambda logits: (logits, logits)), "returns a tuple, not one tensor of logits"),
        (lambda: Answers(lambda logits: {"logits": logits}), "returns a dict"),
        (lambda: Answers(lambda logits: None), "returns a NoneType"),
        (lambda: Answers(lambda logits: logits[0]), "returns 10 for 1 images"),
        (lambda: Answers().requires_grad_(False), "No weight of this Answers can be trained"),
        (lambda: nn.Flatten(), "No weight of this Flatten can be trained"),
        (lambda: Answers().state_dict(), "A network .* is needed, and this is a state_dict"),
        (lambda: (Answers(), {}), "a tuple that holds one"),
        (lambda: "alexnet.pth", "the name of a file"),
        (lambda: Answers().double(), "does not take 32×32.*float32, pixels from 0 to 1"),
        (lambda: nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(1800, 10)), "does not take 32×32"),
        (lambda: Answers(lambda logits: logits.unknown), "does not take 32×32"),
    ],
)
def test_a_model_that_cannot_be_trained_is_told_from_the_start(drawings, make, message):
    with pytest.raises(ValueError, match=message):
        fit(make(), drawings, replace(TINY, sizes=(32,)), progress=False)


def test_a_model_of_one_layer_can_be_trained(drawings):
    recipe = replace(TINY, epochs=1, sizes=(32,))
    assert fit(Answers(), drawings, recipe, progress=False).finished
    with pytest.raises(ValueError, match="not one tensor of logits"):
        evaluate(Answers(lambda logits: [logits]), drawings.test_images, drawings.test_labels)
    with pytest.raises(ValueError, match="runs from 0 to 9; with 3 classes"):
        evaluate(Answers(outputs=3), drawings.test_images, drawings.test_labels)
    with pytest.raises(ValueError, match="this is the class Answers"):
        evaluate(Answers, drawings.test_images, drawings.test_labels)


@pytest.mark.parametrize("name", ["data", "recipe", "resume"])
@pytest.mark.parametrize("wrong", ["quick", {}, Recipe.quick])
def test_an_argument_of_another_kind_is_named(drawings, name, wrong):
    given = {"data": drawings, "recipe": TINY, "resume": None} | {name: wrong}
    with pytest.raises(ValueError, match=f"{name} is .* Pass "):
        fit(TINY.model(), progress=False, **given)


def test_a_device_that_is_not_there_is_named(drawings):
    for device in ("banana", "cuda:99", "meta", "privateuseone"):
        with pytest.raises(ValueError, match=f"device='{device}' cannot be used here"):
            fit(TINY.model(), drawings, TINY, device=device)


def test_a_trick_can_be_taken_away():
    model = TINY.model()
    usual, plain = make_optimizer(model, TINY), make_optimizer(model, replace(TINY, muon=False))
    assert len(usual.param_groups[0]["params"]) == 5  # four of five convolutions, one of two linear layers
    assert len(plain.param_groups[0]["params"]) == 7
    assert type(plain) is torch.optim.SGD
    late = replace(TINY, pool_first=False).model().features
    assert [type(layer).__name__ for layer in late[:4]] == ["Conv2d", "BatchNorm2d", "ReLU", "MaxPool2d"]


def test_a_model_for_one_size_only_is_told_from_the_start(drawings):
    rigid = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 10)).train()
    with pytest.raises(ValueError, match=r"does not take 16×16.*sizes=\(32,\)"):
        fit(rigid, drawings, replace(TINY, sizes=(16, 32)))
    assert rigid.training
    assert fit(rigid, drawings, replace(TINY, muon=False, epochs=1, sizes=(32,)), progress=False).finished


def test_a_step_takes_some_time():
    assert 0 < time_per_step(TINY, steps=1) < float("inf")


def test_a_step_that_does_not_fit_into_memory_and_a_recipe_that_is_none_are_named():
    with pytest.raises(MemoryError, match="A batch of 10000000000 images does not fit"):
        time_per_step(replace(TINY, batch_size=10**10))
    with pytest.raises(ValueError, match="which is no Recipe"):
        time_per_step("quick")


def test_what_is_held_out_is_not_learnt_and_the_test_images_are_not_asked(drawings, monkeypatch):
    asked = []
    monkeypatch.setattr(
        training,
        "evaluate",
        lambda model, images, labels, **how: asked.append(images) or evaluate(model, images, labels, **how),
    )
    history = fit(TINY.model(), drawings, TINY, progress=False)
    held = hold_out(drawings.train_labels, 0.1)
    for images in asked[1:]:
        assert torch.equal(images, drawings.train_images[held])
    assert len(asked) == 1 + TINY.epochs
    assert not any(torch.equal(one[:1], drawings.test_images[:1]) for one in asked)
    # Other pictures held out: the same training. Another picture among the rest: another one.
    spoilt = drawings.train_images.clone()
    spoilt[held] = 0
    again = fit(TINY.model(), replace(drawings, train_images=spoilt), TINY, progress=False)
    assert again.column("train_loss") == history.column("train_loss")
    spoilt[~held] = spoilt[~held].flip(0)
    other = fit(TINY.model(), replace(drawings, train_images=spoilt), TINY, progress=False)
    assert other.column("train_loss") != history.column("train_loss")


def test_a_final_training_may_use_every_image(drawings, capsys):
    history = fit(TINY.model(), drawings, replace(TINY, batch_size=100, validation=0))
    assert history.steps == 20
    assert history.column("validation_accuracy") == [None, None]
    assert math.isnan(history.validation_accuracy)
    assert "validation" not in capsys.readouterr().out


def test_a_batch_that_only_all_images_could_fill_is_refused_with_the_way_out(drawings):
    with pytest.raises(ValueError, match=r"100 are held out for validation.*validation=0"):
        fit(TINY.model(), drawings, replace(TINY, batch_size=950), progress=False)


def test_training_seconds_leave_validation_out(drawings):
    history = fit(TINY.model(), drawings, TINY, progress=False)
    assert 0 < history.training_seconds < history.seconds
    assert history.seconds - history.training_seconds == pytest.approx(
        sum(history.column("validation_seconds"))
    )
