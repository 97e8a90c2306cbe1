"""What is seen of a training while it runs."""

import sys
import time
from typing import Any


class Progress:
    """One line per finished epoch, and below it a line that moves while an epoch runs.

    In a notebook the lines are one display that is updated in place, so a saved
    notebook keeps the finished lines and no half-drawn bar. Elsewhere each
    finished line is printed.
    """

    def __init__(self, shown: bool, epochs: int):
        self.shown, self.epochs = shown, epochs
        self.lines: list[str] = []
        self.handle: Any = None
        self.last = 0.0
        shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
        if shown and getattr(shell, "kernel", None) is not None:
            from IPython.display import display

            self.handle = display(self._bundle("starting …"), raw=True, display_id=True)

    @staticmethod
    def _bundle(text: str) -> dict:
        return {"text/plain": text}

    def _update(self, moving: str = "") -> None:
        text = "\n".join([*self.lines, moving] if moving else self.lines)
        self.handle.update(self._bundle(text), raw=True)

    def step(self, epoch: int, done: int, steps: int, loss: float) -> None:
        """Show how far the running epoch is; at most four times a second."""
        if self.handle is None or time.perf_counter() - self.last < 0.25:
            return
        self.last = time.perf_counter()
        bar = "█" * (20 * done // steps)
        self._update(f"epoch {epoch:2d}/{self.epochs}   {bar:░<20}  {done}/{steps}   loss {loss:.3f}")

    def say(self, line: str) -> None:
        """Add one line that stays."""
        if not self.shown:
            return
        self.lines.append(line)
        if self.handle is None:
            print(line, flush=True)
        else:
            self._update()

    def epoch(self, row: dict) -> None:
        """Add the line of a finished epoch."""
        judged = row["validation_accuracy"]
        validation = "" if judged is None else f"validation {judged:6.1%}   "
        self.say(
            f"epoch {row['epoch']:2d}/{self.epochs}   loss {row['train_loss']:.3f}   "
            f"train {row['train_accuracy']:6.1%}   {validation}{row['seconds']:5.1f} s"
        )
