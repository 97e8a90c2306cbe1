"""Where data, artifacts and shipped weights live, and how a file is written.

The notebooks change nothing outside two folders beside ``notebooks/``:
``data/`` (the data set) and ``artifacts/`` (everything that is made). Both can
be moved with an environment variable, which is how the tests run in a scratch
folder and how thirty laptops can share one copy of the data.
"""

import contextlib
import os
import shutil
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
"""The checkout: the folder that holds ``notebooks/`` and ``helpers/``."""

PRETRAINED = Path(__file__).resolve().parent / "pretrained"
"""The checkpoint that ships with the project. Never written by a notebook."""


MEASURED = Path(__file__).resolve().parent / "measured"
"""The measured numbers that ship with the project; README and notebooks show them. Only scripts write here."""


def data_dir() -> Path:
    """The folder that holds ``cifar-10-batches-py/``: ``CHAPTER_DATA``, else ``data/``.

    It is not created here: looking for data must not leave an empty folder.
    """
    return Path(os.environ.get("CHAPTER_DATA") or ROOT / "data").absolute()


def photos_dir() -> Path:
    """The folder of the learner's own photos, one folder per class: ``CHAPTER_PHOTOS``, else ``photos/``.

    Nothing is ever written there, and git ignores it.
    """
    return Path(os.environ.get("CHAPTER_PHOTOS") or ROOT / "photos").absolute()


def artifacts_dir() -> Path:
    """The folder for everything that is made: ``CHAPTER_ARTIFACTS``, else ``artifacts/``.

    It is created if it is missing.

    Raises:
        PermissionError: the folder cannot be made or written to.
    """
    folder = Path(os.environ.get("CHAPTER_ARTIFACTS") or ROOT / "artifacts").absolute()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise PermissionError(
            f"Cannot write to the artifacts folder {shorten(folder)}: {error.strerror}. Give yourself "
            "write access to it, or set the environment variable CHAPTER_ARTIFACTS to another folder."
        ) from error
    return folder


def artifact(name: str) -> Path:
    """The path of one file in the artifacts folder, e.g. ``artifact("alexnet.onnx")``.

    A folder in ``name``, as in ``artifact("scratch/try.onnx")``, is made.
    """
    path = artifacts_dir() / name
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def shorten(path: str | os.PathLike) -> str:
    """A path as a reader wants to see it: relative to the checkout where it lies inside."""
    path = Path(path)
    with contextlib.suppress(ValueError):
        return path.absolute().relative_to(ROOT).as_posix()
    return path.as_posix()


@contextlib.contextmanager
def replacing(path: str | os.PathLike):
    """Write a file so that it is there whole or not at all.

    Yields a temporary path in the same folder. When the block ends well, that
    file takes the place of ``path`` in one step (``os.replace``); when it
    raises, the temporary file is removed and ``path`` stays as it was.

    Example:
        >>> with replacing(artifact("notes.txt")) as temporary:  # doctest: +SKIP
        ...     temporary.write_text("all or nothing")

    Raises:
        OSError: the folder does not exist or cannot be written to.
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise FileNotFoundError(
            f"Cannot write {shorten(path)}: the folder {shorten(path.parent)} does not exist. Make it first."
        )
    # The suffix is kept at the end because some writers choose their format by it.
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.partial{path.suffix}")
    try:
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        if error.filename is None:
            raise
        raise type(error)(
            error.errno,
            f"Cannot write {path.name}: {error.strerror}. Free the space or the permission, then run again",
            shorten(path),
        ) from error
    finally:
        temporary.unlink(missing_ok=True)


def put_back(path: str | os.PathLike) -> None:
    """Give a folder its name again, if ``replacing_folder`` was killed between its last two steps."""
    path = Path(path)
    old = path.with_name(f".old-{path.name}")
    if old.exists() and not path.exists():
        old.rename(path)


@contextlib.contextmanager
def replacing_folder(path: str | os.PathLike):
    """``replacing`` for a folder: it is there whole or not at all.

    Yields the path of a new folder beside ``path``, which the block makes and fills.
    A folder cannot take another's place in one step, so the old one steps aside for
    a moment; if anything goes wrong, it comes back.

    Raises:
        OSError: the folder cannot be written to.
    """
    path = Path(path)
    fresh, old = path.with_name(f".new-{path.name}"), path.with_name(f".old-{path.name}")
    put_back(path)
    shutil.rmtree(fresh, ignore_errors=True)
    shutil.rmtree(old, ignore_errors=True)
    try:
        yield fresh
        if path.exists():
            path.rename(old)
        fresh.rename(path)
    finally:
        put_back(path)
        shutil.rmtree(fresh, ignore_errors=True)
        if path.exists():
            shutil.rmtree(old, ignore_errors=True)
