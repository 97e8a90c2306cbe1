"""What surrounds a Core ML model: made from PyTorch, named, described, made smaller, shown.

Notebook 04 introduces it. coremltools is imported when it is first used. The rooms:
``files`` opens, names and writes models, ``description`` says what is in one, ``metadata``
writes into it what Xcode shows, ``model_card`` shows that without Xcode; ``torch_conversion``
makes models from PyTorch (with ``options``, ``torch_operators``, ``pooling``,
``deconvolution`` and ``places``), ``compression`` makes them smaller; ``examples``, ``differences`` and
``probabilities`` are what the proofs of both roads need.
"""

import warnings

from .compression import COMPRESSIONS, compress
from .description import describe
from .files import LABEL, PREVIEW, PROBABILITIES, name_outputs, open_model, save, size
from .metadata import set_metadata
from .model_card import ModelCard, model_card
from .torch_conversion import ConversionError, from_torch

__all__ = [
    "COMPRESSIONS",
    "LABEL",
    "PREVIEW",
    "PROBABILITIES",
    "ConversionError",
    "ModelCard",
    "compress",
    "describe",
    "from_torch",
    "model_card",
    "name_outputs",
    "open_model",
    "save",
    "set_metadata",
    "size",
]


def __getattr__(name: str):
    """Let ``card``, the earlier name of ``model_card``, still work; it says what it is called now."""
    if name != "card":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    warnings.warn("helpers.coreml.card is helpers.coreml.model_card now.", DeprecationWarning, stacklevel=2)
    return model_card
