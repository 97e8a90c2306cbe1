"""Interrupt a tiny training at random instants and go on: ``python -m tests.proof.interrupts [--device cuda]``.

Whatever the instant, the run that went on must equal the run without a stop, bit by bit: weights,
rows (all but their seconds) and learning rates. Interrupted are ``fit``, ``runs.train`` and
``runs.train(again=True)``, at lines of ``helpers`` and of PyTorch's own Python code: by the signal that Ctrl-C
sends, and by a bare ``KeyboardInterrupt``, as where a program has its own way with signals. Then,
at every place where a GPU would be waited for.
"""

import argparse
import contextlib
import io
import json
import os
import random
import signal
import sys
import tempfile
import threading
from collections import Counter
from dataclasses import replace
from pathlib import Path
from unittest import mock

import torch

from helpers import runs, training
from helpers.data import CIFAR10
from helpers.drawings import make_drawings
from helpers.plumbing import paths
from helpers.plumbing.device import describe_device
from helpers.recipe import Recipe
from helpers.training import fit

TABLE = paths.MEASURED / "interrupts.json"
TINY = replace(Recipe.smoke(), width=0.05, batch_size=10, epochs=2)
PLACES = {"helpers": str(Path(paths.__file__).parent), "torch": str(Path(torch.__file__).parent)}
"""Whose lines are counted."""
WAITS = [(torch.Tensor, "item"), (torch.Tensor, "tolist"), (torch.Tensor, "cpu"), (training, "_check_finite")]
"""Where a GPU has to be waited for."""


def tiny_data() -> CIFAR10:
    return CIFAR10(*make_drawings(train=20, test=10), source="drawings")


def press() -> None:
    """Ctrl-C."""
    signal.raise_signal(signal.SIGINT)


def bare() -> None:
    """An interruption that no handler of ours has seen."""
    raise KeyboardInterrupt


class AtLine:
    """While entered, counts the lines of ``place`` that this thread runs, and interrupts at one of them."""

    def __init__(self, place: str, line: int | None = None, interrupt=press):
        self.folder, self.line, self.interrupt, self.lines = PLACES[place], line, interrupt, 0

    def __enter__(self):
        sys.settrace(self._call)
        return self

    def __exit__(self, *error):
        sys.settrace(None)

    def _call(self, frame, event, argument):
        return self._line if frame.f_code.co_filename.startswith(self.folder) else None

    def _line(self, frame, event, argument):
        if event == "line":
            self.lines += 1
            if self.lines == self.line:
                sys.settrace(None)
                self.interrupt()
        return self._line


class AtWait:
    """While entered, counts the calls of one function, and interrupts after one of them."""

    def __init__(self, owner, name: str, call: int | None = None, interrupt=press):
        self.calls = 0
        original = getattr(owner, name)

        def waiting(*arguments, **options):
            result = original(*arguments, **options)
            self.calls += 1
            if self.calls == call:
                interrupt()
            return result

        self.patch = mock.patch.object(owner, name, waiting)

    def __enter__(self):
        self.patch.start()
        return self

    def __exit__(self, *error):
        self.patch.stop()


class Fit:
    """``fit``, interrupted once and resumed."""

    def __init__(self, data, device):
        self.data, self.device = data, device

    def run(self, where=None) -> tuple[dict, int]:
        """The outcome, and how often it was interrupted. ``where`` is entered for the first call only."""
        model, history, stops = TINY.model(), None, 0
        while history is None or not history.finished:
            with (
                where if where and not stops else contextlib.nullcontext(),
                contextlib.redirect_stdout(io.StringIO()),
            ):
                try:
                    history = fit(model, self.data, TINY, device=self.device, resume=history)
                except KeyboardInterrupt:  # nothing had begun
                    model = TINY.model()
                if history is None or not history.finished:
                    stops += 1
        return outcome(model, history), stops


class Runs:
    """``runs.train``, interrupted once and called again; with ``again``, over a finished run."""

    def __init__(self, data, device, again: bool):
        self.data, self.again = data, again
        self.options = {"again": again, "device": device}

    def run(self, where=None) -> tuple[dict, int]:
        run, stops = None, 0
        with tempfile.TemporaryDirectory() as folder:
            if self.again:
                before = self._train(folder, again=False)
            while run is None:
                with where if where and not stops else contextlib.nullcontext():
                    try:
                        run = self._train(folder)
                    except KeyboardInterrupt:
                        stops += 1
                if self.again:
                    kept = runs.read(before.folder)
                    assert outcome(kept.model, kept.history) == outcome(before.model, before.history)
            read = runs.read(run.folder)
            assert outcome(read.model, read.history) == outcome(run.model, run.history)
        return outcome(run.model, run.history), stops

    def _train(self, folder, **options):
        name = mock.patch.object(runs, "code_checksum", lambda: "")  # thousands of lines that train nothing
        with name, contextlib.redirect_stdout(io.StringIO()):
            return runs.train(TINY, self.data, folder=folder, **self.options | options)


def outcome(model, history) -> dict:
    """All that must be equal."""
    rows = [{name: value for name, value in row.items() if "seconds" not in name} for row in history.rows]
    weights = {name: tensor.cpu().numpy().tobytes() for name, tensor in model.state_dict().items()}
    return {"weights": weights, "rows": rows, "steps": history.steps}


def instants(data, device, count: int, seed: int = 0, every: int = 1):
    """Yield ``(what, how, outcome, stops, straight)`` for ``count`` random lines, then at ``every`` so many waits."""
    chance = random.Random(seed)
    kinds = {"fit": Fit(data, device)}
    kinds |= {"runs.train": Runs(data, device, False), "runs.train(again=True)": Runs(data, device, True)}
    straight = {what: kind.run()[0] for what, kind in kinds.items()}
    lines = {}
    for what, kind in kinds.items():
        for place in PLACES:
            counter = AtLine(place)
            kind.run(counter)
            lines[what, place] = counter.lines
    for number in range(count):
        what, place = list(lines)[number % len(lines)]
        interrupt = (press, bare)[number // len(lines) % 2]
        where = AtLine(place, chance.randint(1, lines[what, place]), interrupt)
        yield what, f"{interrupt.__name__}, lines of {place}", *kinds[what].run(where), straight[what]
    for owner, name in WAITS:
        counter = AtWait(owner, name)
        kinds["fit"].run(counter)
        for call in range(1, counter.calls + 1, every):
            where = AtWait(owner, name, call, (press, bare)[call % 2])
            yield "fit", f"at {name}", *kinds["fit"].run(where), straight["fit"]


def count(found) -> dict:
    """How many instants of each kind were tried, how many of them interrupted it, and after how many it was equal."""
    table: dict[tuple, Counter] = {}
    for what, how, result, stops, straight in found:
        row = table.setdefault((what, how), Counter())
        row.update(tried=1, interrupted=min(stops, 1), equal=result == straight)
    return table


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.proof.interrupts", description=__doc__.split("\n\n")[0]
    )
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--instants", type=int, default=200)
    chosen = parser.parse_args()
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    assert threading.current_thread() is threading.main_thread()
    device = torch.device(chosen.device)
    table = count(instants(tiny_data(), device, chosen.instants))
    for (what, how), row in table.items():
        print(
            f"{what:<24} {how:<24} {row['tried']:4d} tried {row['interrupted']:4d} stopped {row['equal']:4d} equal"
        )
    tried, equal = (sum(row[name] for row in table.values()) for name in ("tried", "equal"))
    print(f"{equal} of {tried} runs that went on equal the run without a stop ({describe_device(device)})")
    written = json.loads(TABLE.read_text(encoding="utf-8")) if TABLE.exists() else {}
    written[device.type] = {
        "machine": describe_device(device),
        "tried": tried,
        "equal": equal,
        "rows": [{"what": what, "how": how} | dict(row) for (what, how), row in table.items()],
    }
    with paths.replacing(TABLE) as temporary:
        temporary.write_text(json.dumps(written, indent=1) + "\n", encoding="utf-8")
    return 0 if equal == tried else 1


if __name__ == "__main__":
    sys.exit(main())
