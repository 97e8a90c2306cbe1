"""Ctrl-C that lets a training step end first.

Python raises ``KeyboardInterrupt`` between any two of its instructions, also when half of a
network's weights have taken a step and the other half have not.
"""

import contextlib
import signal

import torch


class Interrupts:
    """While this is entered, a Ctrl-C inside ``held()`` waits for its end; elsewhere it is raised at once.

    The second Ctrl-C does not wait. Only Python's own way with Ctrl-C is changed. Where a program has
    another one, and outside the main thread, which alone may change it, nothing waits: whoever uses
    this needs a second answer for an interruption in the middle of a step.
    """

    def __init__(self) -> None:
        self.holding = self.pressed = False

    def __enter__(self):
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            with contextlib.suppress(ValueError):  # another thread than the main one
                signal.signal(signal.SIGINT, self._press)
        return self

    def __exit__(self, *error):
        self.put_back()

    def put_back(self) -> None:
        """Give Ctrl-C back to Python. Also for whoever was interrupted before ``with`` could do it."""
        if signal.getsignal(signal.SIGINT) == self._press:
            signal.signal(signal.SIGINT, signal.default_int_handler)

    def _press(self, number, frame):
        if not self.holding or self.pressed:
            raise KeyboardInterrupt
        self.pressed = True

    @contextlib.contextmanager
    def held(self):
        """A short block that Ctrl-C does not cut in two.

        Raises:
            KeyboardInterrupt: at its end, if Ctrl-C was pressed in it.
        """
        self.holding, self.pressed = True, False
        try:
            yield
        finally:
            self.holding = False
        if self.pressed:
            raise KeyboardInterrupt


def torch_modes(device: torch.device):
    """What PyTorch has switched on now, as a function that puts it back so.

    ``torch.no_grad()`` and ``torch.autocast()`` are switched by Python code, and an interruption between
    the switch and the block leaves them on for all that follows.
    """
    grad, cast, cache = (
        torch.is_grad_enabled(),
        torch.is_autocast_enabled(device.type),
        torch.is_autocast_cache_enabled(),
    )
    depth = torch.autocast_increment_nesting() - 1
    torch.autocast_decrement_nesting()

    def put_back() -> None:
        torch.set_grad_enabled(grad)
        torch.set_autocast_enabled(device.type, cast)
        torch.set_autocast_cache_enabled(cache)
        torch.autocast_increment_nesting()
        while torch.autocast_decrement_nesting() > depth:
            pass
        torch.clear_autocast_cache()

    return put_back
