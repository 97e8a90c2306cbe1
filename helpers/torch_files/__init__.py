"""Reads a file of ``torch.save`` without running it, at a cost that its length bounds.

A ``.pth`` is a pickle: a program that may call anything. It is followed step by step (``pickles``), and only
what ``torch.save`` writes is built: numbers, texts, containers, tensors (``building``). Whatever else the file
asks for becomes an ``Unknown``, which remembers the name and does nothing. The numbers of the tensors have to
be in the file, byte for byte (``formats``).

Built on it: a network's tensors are found by their names (``weights``), and a whole model is checked (``whole_models``).
"""

import os
import zipfile
from collections.abc import Iterable
from pathlib import Path

from helpers.plumbing import files
from helpers.plumbing.paths import printable, shorten
from helpers.torch_files.building import MOST_STEPS, Content, Unknown
from helpers.torch_files.formats import Archive, Stream

LONGEST_LIST = 450
"""Characters of the classes and functions that an error lists: about ten."""

__all__ = ["MOST_STEPS", "Content", "Unknown", "damaged", "read", "refused"]


def read(path: str | os.PathLike, classes: Iterable = ()) -> Content:
    """Read a file of ``torch.save``, in the zip format or the older one.

    Args:
        path: of the file.
        classes: classes of which objects may be made: empty ones, by ``cls.__new__(cls)``, then given
            the state in the file. ``__init__`` is not called. A function in it may be named by the file, not called.

    Raises:
        FileNotFoundError: there is no such file.
        PermissionError: it must not be read.
        ValueError: it is damaged, too large, or something else; the message says what, and what to do.
    """
    path = Path(path)
    size = files.check_file(path, "Run the notebook that writes it, or check the name.")
    try:
        with files.Bounded(path) as file:
            start = file.read(512)
            file.seek(-min(8, size), os.SEEK_END)
            end = file.read(8)
            kind = files.what_it_is(start, end, path.suffix.lower()) or files.protobuf(start)
            if kind:
                raise files.Refusal(f"is {kind}")
            archive = zipfile.is_zipfile(file)
            file.seek(0)
            return (Archive if archive else Stream)(file, size, classes).content()
    except files.Refusal as error:
        raise ValueError(f"{shorten(path)} {error}") from error
    except PermissionError:
        raise
    except MemoryError as error:
        raise ValueError(f"{shorten(path)} does not fit into memory. Close other programs.") from error
    except Exception as error:  # damage may lead anywhere: zlib, struct, zipfile, torch
        raise damaged(path) from error


def damaged(path: str | os.PathLike) -> ValueError:
    """The error for a file that cannot be what it should be."""
    return ValueError(
        f"{shorten(path)} is damaged or no PyTorch file. Delete it and make it again, or copy it again."
    )


def refused(path: str | Path, content: Content, advice: str) -> ValueError:
    """The error for a file that asks for more than is allowed."""
    trust = "Only if you trust whoever made it: torch.load(path, weights_only=False) builds everything, and runs its code."
    if content.called:
        return ValueError(
            f"{shorten(path)} was refused: it calls {' and '.join(content.called[:5])} with arguments of its own, "
            f"which is done for no class, allowed or not. {trust}"
        )
    asked = printable(" and ".join(content.unknown), LONGEST_LIST)
    return ValueError(
        f"{shorten(path)} was refused: it asks for {asked}, which is not on "
        f"the allow-list, and loading it could run that code. {advice} {trust}".replace("  ", " ")
    )
