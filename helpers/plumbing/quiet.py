"""Converters talk at length; these keep them quiet. Errors stay errors.

Outside macOS ``coremltools`` prints ten lines about parts that only a Mac has,
and both ONNX exporters report their progress. None of it helps a reader.
"""

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator
from types import ModuleType

TALKATIVE = ("torch.onnx", "coremltools")
"""The loggers that are set to errors only."""


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep progress bars, version notes and deprecation notes out of the notebook; errors stay."""
    loggers = [logging.getLogger(name) for name in TALKATIVE]
    levels = [logger.level for logger in loggers]
    silence = io.StringIO()
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(silence),
            contextlib.redirect_stderr(silence),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def coremltools() -> ModuleType:
    """Import coremltools without its notes about untested versions and missing Mac parts.

    Returns:
        The module.

    Raises:
        ImportError: coremltools is not installed.
    """
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with quiet():
            import coremltools as ct
    except ImportError as error:
        raise ImportError(
            f"Core ML files need coremltools ({error}). Run `make setup`. There is no build for Windows: use WSL there."
        ) from error
    finally:
        logging.disable(before)
    return ct
