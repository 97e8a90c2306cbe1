"""What surrounds a Core ML model: made from PyTorch, named, described, made smaller, shown.

Notebook 04 introduces it. coremltools is imported when it is first used. The rooms:
``files`` names, writes and reads models, ``metadata`` describes them, ``conversion``
makes them from PyTorch, ``compression`` makes them smaller, ``model_card`` shows one.
"""

from .compression import COMPRESSIONS, compress
from .conversion import ConversionError, from_torch
from .files import LABEL, PREVIEW, PROBABILITIES, describe, identifier, name_outputs, open_model, save, size
from .metadata import set_metadata
from .model_card import Card, card

__all__ = [
    "COMPRESSIONS",
    "LABEL",
    "PREVIEW",
    "PROBABILITIES",
    "Card",
    "ConversionError",
    "card",
    "compress",
    "describe",
    "from_torch",
    "identifier",
    "name_outputs",
    "open_model",
    "save",
    "set_metadata",
    "size",
]
