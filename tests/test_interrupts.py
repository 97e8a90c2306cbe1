"""Ctrl-C at any instant: what goes on afterwards equals a run without a stop."""

import signal
import threading
from dataclasses import replace

import pytest
import torch

from helpers import runs, training
from helpers.data import CIFAR10
from helpers.drawings import make_drawings
from helpers.history import History
from helpers.plumbing.interrupts import Interrupts, torch_modes
from helpers.recipe import Recipe
from helpers.training import fit
from tests.proof import interrupts

TINY = replace(Recipe.smoke(), width=0.125, batch_size=10, epochs=2, sizes=(32,))
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def drawings():
    """Ten steps in an epoch, ten pictures held out, and hardly any in all."""
    return CIFAR10(*make_drawings(train=110, test=20), source="drawings")


def test_a_run_that_was_interrupted_anywhere_equals_one_without_a_stop():
    """At 24 lines drawn at random, and wherever a GPU would be waited for; the proof does more of it."""
    stopped = []
    for what, how, result, stops, straight in interrupts.instants(interrupts.tiny_data(), CPU, 24, every=6):
        assert result == straight, (what, how)
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler, (what, how)
        stopped.append(stops)
    assert sum(stopped) > 20  # a few come after the last step, or where nothing has begun


class PressWhere:
    """Presses Ctrl-C ``times`` in a row in the given call of a function."""

    def __init__(self, function, call, times):
        self.function, self.call, self.times, self.calls = function, call, times, 0

    def __call__(self, *arguments, **options):
        result = self.function(*arguments, **options)
        self.calls += 1
        if self.calls == self.call:
            for _ in range(self.times):
                signal.raise_signal(signal.SIGINT)
        return result


@pytest.mark.parametrize(("times", "steps"), [(1, 14), (2, 10)])
def test_a_step_is_finished_first_and_the_second_press_does_not_wait_for_it(
    drawings, monkeypatch, times, steps
):
    """In the middle of the optimiser's step, when half of the weights have been changed."""
    straight = TINY.model()
    expected = fit(straight, drawings, TINY, progress=False)
    with monkeypatch.context() as patch:
        step = training.Muon._step
        press = PressWhere(step, 13 * 5 + 3, times)
        patch.setattr(training.Muon, "_step", lambda *arguments: press(*arguments))
        model = TINY.model()
        history = fit(model, drawings, TINY, progress=False)
    assert (history.steps, len(history.rows)) == (steps, 1)
    other = TINY.model()  # the weights come with the history
    fit(other, drawings, TINY, progress=False, resume=history)
    assert all(
        torch.equal(one, two) for one, two in zip(straight.parameters(), other.parameters(), strict=True)
    )
    untimed = {"seconds": 0, "validation_seconds": 0}
    assert [row | untimed for row in history.rows] == [row | untimed for row in expected.rows]


def test_after_the_last_step_an_interruption_is_no_loss(drawings, capsys):
    def press(history):
        if history.finished:
            signal.raise_signal(signal.SIGINT)

    history = fit(TINY.model(), drawings, TINY, after_epoch=press)
    assert history.finished
    assert "interrupted after 20 of 20 steps: the run is finished all the same" in capsys.readouterr().out
    with pytest.raises(ValueError, match="has finished"):
        fit(TINY.model(), drawings, TINY, resume=history)


def test_a_run_interrupted_while_it_is_saved_is_kept(drawings, monkeypatch, tmp_path):
    straight = runs.train(TINY, drawings, folder=tmp_path / "straight", progress=False)
    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", PressWhere(torch.save, 2, 1))  # of the finished run
        with pytest.raises(KeyboardInterrupt, match="the same call goes on"):
            runs.train(TINY, drawings, folder=tmp_path / "other", progress=False)
    run = runs.train(TINY, drawings, folder=tmp_path / "other")
    assert len(run.history.rows) == 2
    assert torch.equal(run.model.features[0].weight, straight.model.features[0].weight)


def test_a_finished_run_stays_until_its_repetition_is_finished(drawings, monkeypatch, tmp_path, capsys):
    first = runs.train(TINY, drawings, folder=tmp_path, device="cpu", progress=False)
    for call in (3, 12):  # in the first epoch, in the second
        with monkeypatch.context() as patch:
            patch.setattr(training, "_check_finite", PressWhere(training._check_finite, call, 1))
            with pytest.raises(KeyboardInterrupt):
                runs.train(TINY, drawings, again=True, folder=tmp_path, device="cpu", progress=False)
        assert runs.read(first.folder).history.rows == first.history.rows
        assert (
            runs.train(TINY, drawings, folder=tmp_path, device="cpu", progress=False).history.rows
            == first.history.rows
        )
    capsys.readouterr()
    second = runs.train(TINY, drawings, again=True, folder=tmp_path, device="cpu")
    assert "was interrupted after 1 epochs and goes on" in capsys.readouterr().out
    assert sorted(path.name for path in first.folder.iterdir()) == ["run.json", "run.pth"]
    assert runs.read(first.folder).history.rows == second.history.rows != first.history.rows  # other seconds


def test_without_its_state_an_unfinished_history_is_not_resumed(drawings, monkeypatch, tmp_path):
    monkeypatch.setattr(training, "_check_finite", PressWhere(training._check_finite, 13, 1))
    history = fit(TINY.model(), drawings, TINY, device="cpu", progress=False)
    history.save(tmp_path / "history.json")
    with pytest.raises(ValueError, match="lacks the state of the optimiser"):
        fit(TINY.model(), drawings, TINY, resume=History.load(tmp_path / "history.json"))
    with pytest.raises(ValueError, match="comes from another model"):
        fit(replace(TINY, width=0.25).model(), drawings, TINY, resume=history)
    fewer = replace(
        drawings, train_images=drawings.train_images[:50], train_labels=drawings.train_labels[:50]
    )
    with pytest.raises(ValueError, match="its epochs have 10 steps, and with this data they have 5"):
        fit(TINY.model(), fewer, TINY, resume=history)


def test_a_model_that_was_trained_before_is_trained_on_and_that_is_said(drawings, capsys):
    model, short = TINY.model(), replace(TINY, epochs=1)
    fit(model, drawings, short)
    assert "trained before" not in capsys.readouterr().out
    fit(model, drawings, short)
    assert "This model has been trained before: it goes on from its weights" in capsys.readouterr().out
    fit(model, drawings, short, progress=False)
    fit(TINY.model(), drawings, short)
    assert "trained before" not in capsys.readouterr().out


# -- how it is done ----------------------------------------------------------------------------------


def test_a_press_waits_for_the_end_of_a_held_block_only():
    done = []
    with Interrupts() as ctrl_c:
        with pytest.raises(KeyboardInterrupt), ctrl_c.held():
            signal.raise_signal(signal.SIGINT)
            done.append("the rest of the block")
        with pytest.raises(KeyboardInterrupt), ctrl_c.held():
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)
            done.append("not after the second press")
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        with ctrl_c.held():
            done.append("nothing is left over")
    assert done == ["the rest of the block", "nothing is left over"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_another_handler_and_another_thread_are_left_alone(monkeypatch):
    seen = []
    before = signal.signal(signal.SIGINT, lambda *_: seen.append("theirs"))
    try:
        with Interrupts() as ctrl_c, ctrl_c.held():
            signal.raise_signal(signal.SIGINT)
            assert seen == ["theirs"]
    finally:
        signal.signal(signal.SIGINT, before)

    def elsewhere():
        with Interrupts() as ctrl_c, ctrl_c.held():
            seen.append(signal.getsignal(signal.SIGINT) == ctrl_c._press)

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert seen == ["theirs", False]


def test_what_pytorch_has_switched_on_is_put_back():
    put_back = torch_modes(CPU)
    torch.no_grad().__enter__()
    torch.autocast("cpu", torch.bfloat16).__enter__()
    assert not torch.is_grad_enabled() and torch.is_autocast_enabled("cpu")
    put_back()
    assert torch.is_grad_enabled() and not torch.is_autocast_enabled("cpu")
    assert torch.autocast_increment_nesting() == 1
    assert torch.autocast_decrement_nesting() == 0
