"""The layers of neural networks in the operators of ML programs, one module for each family.

Each layer is a function (its fields, weights()) → (a torch function, its keyword arguments);
``weights(message, shape)`` reads a weight.
"""

from collections.abc import Callable
from typing import Any

from . import activations, arithmetic, places, resizing, sequences, windows

LAYERS: dict[str, Callable[..., Any]] = {}
for family in (activations, arithmetic, places, resizing, sequences, windows):
    LAYERS |= family.LAYERS
"""Every layer of neural networks that is covered; any other is refused by name."""
