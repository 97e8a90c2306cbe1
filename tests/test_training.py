import _thread
import json
import platform
import signal
from dataclasses import asdict, fields, replace

import numpy as np
import pytest
import torch
from torch import nn

from helpers import figures, training
from helpers.batches import Batches
from helpers.data import CIFAR10
from helpers.evaluation import Evaluation, evaluate
from helpers.history import ROW, History
from helpers.recipe import RECIPES, Recipe
from helpers.training import fit, make_optimizer, make_scheduler, time_per_step
from helpers.workshop.train import changed, train_and_save

HAS_MALLINFO = platform.libc_ver()[0] == "glibc" and platform.libc_ver()[1] >= "2.33"
TINY = replace(Recipe.smoke(), width=0.25, batch_size=100, epochs=2)


def weights(model):
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


def test_it_learns(drawings):
    model = replace(TINY, epochs=4).model()
    history = fit(model, drawings, replace(TINY, epochs=4), progress=False)
    assert history.finished
    assert len(history.rows) == 4
    assert history.rows[-1]["train_loss"] < history.rows[0]["train_loss"]
    assert history.test_accuracy > 0.5  # guessing gives 0.1
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


def test_making_a_model_leaves_the_global_random_state_alone():
    before = torch.get_rng_state()
    TINY.model()
    assert torch.equal(torch.get_rng_state(), before)


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
    assert history.column("test_accuracy") == expected.column("test_accuracy")


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
    with pytest.raises(MemoryError, match="A batch of 100 images does not fit"):
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


def test_a_batch_larger_than_the_data_is_refused(drawings):
    with pytest.raises(ValueError, match="A batch of 5000 cannot be filled from 1000 images"):
        fit(TINY.model(), drawings, replace(TINY, batch_size=5000), progress=False)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"batch_size": 0}, r"Recipe\(batch_size=0\): batch_size must be a number, at least 1"),
        ({"learning_rate": -0.1}, "learning_rate"),
        ({"learning_rate": float("nan")}, "learning_rate"),
        ({"crop_padding": 32}, "from 0 to 31"),
        ({"width": "wide"}, "width='wide'"),
        ({"width": 0}, "from 0.01 to 64"),
        ({"epochs": 1.5}, r"Recipe\(epochs=1.5\): epochs must be a number, at least 1, and whole"),
        ({"batch_size": 100.0}, "and whole"),
        ({"crop_padding": 1.5}, "from 0 to 31, and whole"),
        ({"learning_rate": float("inf")}, "learning_rate must be a number, at least 0"),
        ({"epochs": True}, "epochs must be a number"),
        ({"seed": "a"}, "seed must be a number, from 0"),
        ({"seed": -1}, "seed must be a number, from 0"),
        ({"flip": "no"}, "flip must be True or False"),
        ({"muon": 1}, "muon must be True or False"),
        ({"name": None}, "name must be a text"),
        ({"name": "a\x1b[2Jb"}, "on one line, without control characters"),
        ({"learning_rate": 1e308}, "learning_rate must be a number, at most 1e.30"),
        ({"augment": "lens"}, "augment must be '' or 'camera'"),
    ],
)
def test_a_recipe_that_cannot_be_trained_is_refused_when_it_is_made(change, message):
    with pytest.raises(ValueError, match=message):
        replace(TINY, **change)


ODD = [
    None,
    "",
    "1",
    b"1",
    1,
    0.5,
    -1,
    10**400,
    2**64,
    True,
    float("nan"),
    -float("inf"),
    1j,
    [],
    (20,),
    [True],
]
ODD += [{}, torch.tensor(1), np.int64(20), np.float32(0.5), np.bool_(True), lambda: 1]


@pytest.mark.parametrize("name", [f.name for f in fields(Recipe)])
def test_a_field_of_a_recipe_holds_its_own_type_or_is_named(name):
    """Whatever it is given; what is taken can be trained, printed and written as JSON."""
    refused = 0
    for value in ODD:
        try:
            recipe = Recipe(**{name: value})
        except ValueError as error:
            refused += 1
            assert str(error).startswith(f"Recipe({name}={value!r}): {name} must be ")
        else:
            assert type(getattr(recipe, name)) is type(getattr(Recipe(), name))
            assert eval(repr(recipe)) == recipe == Recipe(**json.loads(json.dumps(asdict(recipe))))
    assert refused > len(ODD) / 2


@pytest.mark.parametrize("seed", [20240501, 2**63, 2**64 - 1])
def test_a_large_seed_is_a_seed_as_any_other(drawings, seed):
    first = {}
    for number in (seed, seed - 1):
        recipe = replace(TINY, seed=number, augment="camera")
        batches = Batches(drawings.train_images, drawings.train_labels, recipe, "cpu")
        first[number] = next(batches.epoch(1))[0]
    assert not torch.equal(*first.values())
    assert not torch.equal(
        weights(replace(TINY, seed=seed).model()), weights(replace(TINY, seed=seed - 1).model())
    )


def test_what_seed_and_epoch_decide_stays_as_it_was(drawings):
    """Another order of the images would be another run under the same name."""
    recipe = replace(TINY, seed=7, crop_padding=0, flip=False)
    (_, labels), *_ = Batches(drawings.train_images, drawings.train_labels, recipe, "cpu").epoch(1)
    order = torch.randperm(1000, generator=torch.Generator().manual_seed(7 * 100_003 + 1))
    assert torch.equal(labels, drawings.train_labels[order[:100]])


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


@pytest.mark.parametrize("wrong", [{"batch_size": 0}, {"batch_size": 1.5}, {"precision": torch.int8}])
def test_a_batch_or_a_precision_that_cannot_be_is_named(drawings, wrong):
    with pytest.raises(ValueError, match=r"=.* must be "):
        evaluate(Answers(), drawings.test_images, drawings.test_labels, **wrong)


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


def test_a_printed_recipe_leaves_out_what_is_as_usual():
    assert "cutout" not in repr(Recipe.quick())
    assert repr(Recipe.gpu()).endswith("seed=0, cutout=8)")
    assert eval(repr(Recipe.gpu())) == Recipe.gpu()


def test_every_recipe_is_an_alexnet():
    for make in RECIPES.values():
        layers = [type(layer).__name__ for layer in make().model().modules()]
        assert layers.count("Conv2d") == 5
        assert layers.count("Linear") == 2


def test_a_recipe_can_be_changed_from_the_command_line():
    assert changed(TINY, ["width=2", "batch_norm=False"]) == replace(TINY, width=2, batch_norm=False)
    with pytest.raises(ValueError, match="no field 'depth'"):
        changed(TINY, ["depth=3"])
    with pytest.raises(ValueError, match="'wide' is no number"):
        changed(TINY, ["width=wide"])
    assert changed(TINY, ["augment=camera", "name=a b", "sizes=16,32"]) == replace(
        TINY, augment="camera", name="a b", sizes=(16, 32)
    )
    assert changed(TINY, ['augment="camera"']).augment == "camera"
    for wrong in ("augment=lens", "epochs=1.5", "flip=0", "sizes=32", "width", "width={[]: 1}"):
        with pytest.raises(ValueError, match=wrong.partition("=")[0]):
            changed(TINY, [wrong])


def test_a_trick_can_be_taken_away():
    model = TINY.model()
    usual, plain = make_optimizer(model, TINY), make_optimizer(model, replace(TINY, muon=False))
    assert len(usual.param_groups[0]["params"]) == 5  # four of five convolutions, one of two linear layers
    assert len(plain.param_groups[0]["params"]) == 7
    assert type(plain) is torch.optim.SGD
    late = replace(TINY, pool_first=False).model().features
    assert [type(layer).__name__ for layer in late[:4]] == ["Conv2d", "BatchNorm2d", "ReLU", "MaxPool2d"]


# -- batches -----------------------------------------------------------------------------------------


def numbered(count=40):
    """Images whose pixels tell which image, row and column they come from, and labels that count them."""
    images = torch.zeros(count, 3, 32, 32, dtype=torch.uint8)
    images[:, 0] = torch.arange(count, dtype=torch.uint8)[:, None, None]
    images[:, 1] = torch.arange(32, dtype=torch.uint8)[:, None]
    images[:, 2] = torch.arange(32, dtype=torch.uint8)[None, :]
    return images, torch.arange(count)


def epoch(recipe, number, **share):
    images, labels = numbered()
    pairs = list(Batches(images, labels, recipe, torch.device("cpu"), **share).epoch(number))
    return (torch.cat([i for i, _ in pairs]) * 255).round().to(torch.uint8), torch.cat([n for _, n in pairs])


def test_without_augmentation_an_epoch_is_the_data_in_another_order():
    recipe = Recipe(batch_size=10, crop_padding=0, flip=False)
    pixels, labels = epoch(recipe, 0)
    assert torch.equal(pixels, numbered()[0][labels])
    assert sorted(labels.tolist()) == list(range(40))
    assert labels.tolist() != list(range(40))
    assert labels.tolist() != epoch(recipe, 1)[1].tolist()


def test_a_flip_mirrors_columns_only_and_takes_turns():
    recipe = Recipe(batch_size=10, crop_padding=0, flip=True)
    seen = {}
    for number in (0, 1):
        pixels, labels = epoch(recipe, number)
        for picture, label in zip(pixels, labels.tolist(), strict=True):
            original = numbered()[0][label]
            mirrored = torch.equal(picture, original.flip(-1))
            assert mirrored or torch.equal(picture, original)
            seen.setdefault(label, []).append(mirrored)
    assert all(first != second for first, second in seen.values())
    assert 5 < sum(first for first, _ in seen.values()) < 35


def test_a_shift_moves_rows_and_columns_by_at_most_the_padding():
    recipe = Recipe(batch_size=10, crop_padding=3, flip=False)
    pixels, _ = epoch(recipe, 0)
    middle = pixels[:, 1:, 16, 16].int() - 16
    assert middle.min() == -3
    assert middle.max() == 3
    assert len(middle.unique(dim=0)) > 10


def test_pictures_grow_in_equal_shares_of_the_steps():
    recipe = Recipe(batch_size=10, epochs=3, crop_padding=0, flip=False, sizes=(16, 24))
    images, labels = numbered()
    batches = Batches(images, labels, recipe, torch.device("cpu"))
    sides = [pixels.shape[-2:] for number in range(3) for pixels, _ in batches.epoch(number)]
    assert sides == [(16, 16)] * 6 + [(24, 24)] * 6
    resumed = [pixels.shape[-1] for pixels, _ in batches.epoch(1, first_step=1)]
    assert resumed == [16, 24, 24]
    large, _ = next(Batches(images, labels, replace(recipe, sizes=(32,)), torch.device("cpu")).epoch(0))
    small, _ = next(batches.epoch(0))
    means = nn.functional.avg_pool2d(large, 2)  # of four pixels
    torch.testing.assert_close(small, means)


def test_a_model_for_one_size_only_is_told_from_the_start(drawings):
    rigid = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 10)).train()
    with pytest.raises(ValueError, match=r"does not take 16×16.*sizes=\(32,\)"):
        fit(rigid, drawings, replace(TINY, sizes=(16, 32)))
    assert rigid.training
    assert fit(rigid, drawings, replace(TINY, muon=False, epochs=1, sizes=(32,)), progress=False).finished


def test_sizes_are_kept_by_a_history(tmp_path):
    history = History(replace(TINY, sizes=[16, 32]))
    history.save(tmp_path / "history.json")
    assert History.load(tmp_path / "history.json").recipe == history.recipe == replace(TINY, sizes=(16, 32))


def test_the_curves_say_where_the_pictures_grow(monkeypatch):
    shown = []
    monkeypatch.setattr(figures, "show", lambda figure, alt: shown.append((figure, alt)))
    row = {"epoch": 1, "train_loss": 1.0, "train_accuracy": 0.5, "test_accuracy": 0.5}
    rows = [row | {"epoch": epoch, "test_accuracy": 0.1 * epoch} for epoch in (1, 2, 3)]
    for sizes in ((16, 24, 24, 32), (32,)):
        figures.curves(History(replace(TINY, epochs=4, sizes=sizes), rows=rows))
    (grown, said), (plain, nothing) = shown
    assert "grow to 24×24 after 1 of 4 epochs, to 32×32 after 3 of 4 epochs." in said
    assert "grow" not in nothing
    for figure, lines in ((grown, 2), (plain, 0)):
        for axis in figure.axes:
            assert sum(line.get_linestyle() == ":" for line in axis.lines) == lines
    loss, accuracy = grown.axes
    assert {text.get_text() for text in loss.texts} == {"to 24×24", "to 32×32"}
    assert {text.get_text() for text in accuracy.texts} == {"train", "test"}


@pytest.mark.parametrize("sizes", [(), 32, (8, 32), (64,), (16.5,), "16"])
def test_sizes_that_cannot_be_trained_are_refused(sizes):
    with pytest.raises(ValueError, match="whole numbers from 16 to 32"):
        Recipe(sizes=sizes)


def test_cutout_hides_one_square_and_changes_nothing_else():
    recipe = Recipe(batch_size=10, crop_padding=2, cutout=8)
    pixels, labels = epoch(recipe, 0)
    whole, same = epoch(replace(recipe, cutout=0), 0)
    assert torch.equal(labels, same)
    changed = (pixels != whole).any(1)
    sides = torch.stack([changed.any(2).sum(1), changed.any(1).sum(1)])
    assert sides.max() == 8
    assert sides.min() >= 3  # a square at the border is cut off; one of its columns may already be grey
    hidden = (pixels == 128).all(1)
    assert (hidden & changed).sum() == changed.sum()
    assert len(hidden.flatten(1).float().argmax(1).unique()) > 20  # at another place in each image


def test_two_processes_share_every_batch():
    recipe = Recipe(batch_size=10, crop_padding=2)
    whole = epoch(recipe, 0)[1]
    halves = [epoch(recipe, 0, rank=rank, world_size=2)[1] for rank in (0, 1)]
    assert sorted(torch.cat(halves).tolist()) == sorted(whole.tolist())
    assert set(halves[0].tolist()).isdisjoint(halves[1].tolist())


# -- evaluation --------------------------------------------------------------------------------------


def test_evaluation_is_in_evaluation_mode_and_puts_the_mode_back(drawings):
    model = TINY.model().train()
    whole = evaluate(model, drawings.test_images, drawings.test_labels)
    one_by_one = evaluate(model, drawings.test_images[:5], drawings.test_labels[:5], batch_size=1)
    torch.testing.assert_close(whole.probs[:5], one_by_one.probs)
    assert model.training
    torch.testing.assert_close(whole.probs.sum(1), torch.ones(500))


def test_accuracy_and_confusion_count_right():
    probs = torch.eye(3)[[0, 1, 1, 2]]
    result = Evaluation(probs, torch.tensor([0, 1, 2, 2]))
    assert result.accuracy == 0.75
    assert result.confusion().tolist() == [[1, 0, 0], [0, 1, 0], [0, 1, 1]]


def test_a_history_can_be_saved_and_read(drawings, tmp_path):
    history = fit(TINY.model(), drawings, TINY, progress=False)
    history.save(tmp_path / "history.json")
    again = History.load(tmp_path / "history.json")
    assert again.rows == history.rows
    assert again.recipe == TINY
    assert repr(again) == repr(history)
    assert "finished after 2 epochs" in repr(again)


@pytest.mark.parametrize(
    "change",
    [
        {"finished": "no"},
        {"finished": False},
        {"rows": []},
        {"steps": -1},
        {"steps": 3.5},
        {"device": {"name": "cpu"}},
        {"device": "\x1b[2J"},
        {"rows": [1, True]},
        {"rows": [1, float("nan")]},
        {"rows": [1, 10**400]},
        {"rows": [1, "2"]},
    ],
)
def test_a_history_that_says_what_cannot_be_is_no_history(tmp_path, change):
    rows = [dict.fromkeys(ROW, 1), dict.fromkeys(ROW, 1.0)]
    history = History(TINY, "CPU", rows, 20, finished=True)
    history.save(tmp_path / "history.json")
    assert History.load(tmp_path / "history.json") == history
    kept = json.loads((tmp_path / "history.json").read_text())
    if change.get("rows"):
        change = {"rows": [rows[0] | {"seconds": value} for value in change["rows"]]}
    (tmp_path / "history.json").write_text(json.dumps(kept | change))
    with pytest.raises(ValueError, match="is damaged, or no history"):
        History.load(tmp_path / "history.json")


def test_a_step_takes_some_time():
    assert 0 < time_per_step(TINY, steps=1) < float("inf")


def test_an_interrupted_training_of_the_command_line_leaves_the_saved_network_alone(
    drawings, monkeypatch, scratch_artifacts
):
    saved = scratch_artifacts / "net.pth"
    scratch_artifacts.mkdir()
    saved.write_text("what was there")
    monkeypatch.setattr(training, "_check_finite", lambda *_: signal.raise_signal(signal.SIGINT))
    with pytest.raises(KeyboardInterrupt, match="is as it was"):
        train_and_save(TINY, drawings, "net.pth")
    assert saved.read_text() == "what was there"
