"""Where data, artifacts and shipped weights live, and how a file is written.

The notebooks change nothing outside two folders beside ``notebooks/``:
``data/`` (the data set) and ``artifacts/`` (everything that is made). Both can
be moved with an environment variable, which is how the tests run in a scratch
folder and how thirty laptops can share one copy of the data.
"""

import contextlib
import ctypes
import errno
import fcntl
import os
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from helpers.plumbing import variables

ROOT = Path(__file__).resolve().parents[2]
"""The checkout: the folder that holds ``notebooks/`` and ``helpers/``."""

PRETRAINED = ROOT / "helpers/pretrained"
"""The checkpoint that ships with the project. Never written by a notebook."""

MEASURED = ROOT / "helpers/measured"
"""The measured numbers that ship with the project; README and notebooks show them. Only scripts write here."""

PARTIAL = ".partial-"
"""How the hidden folders begin in which something is being written, beside the place where it belongs."""

FORMER = re.compile(r"\.cifar-10-download-.+|\.(new|old)-.+\.mlpackage|\..+\.\d+\.partial(\.\w+)?")
"""What the first versions of this project called what they were writing. They had no locks."""

FORMER_SECONDS = 24 * 3600
"""After so long nobody is still writing it."""

LOCK, ASIDE = ".lock", ".aside"
"""In such a folder: the file that is locked as long as the writer lives; and what has to step aside."""

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""What a system says when there is no room: on the disk, for this user, for a file of this size."""

NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS)
"""What a disk says that cannot lock files. Leftovers stay there, as nobody can tell them from what is in work."""


def _folder(variable: str, usual: str) -> Path:
    return Path(os.path.expanduser(variables.read(variable) or ROOT / usual)).absolute()


def data_dir() -> Path:
    """The folder that holds ``cifar-10-batches-py/``: ``CHAPTER_DATA``, else ``data/``.

    It is not created here: looking for data must not leave an empty folder. Whoever names
    ``cifar-10-batches-py`` itself means the folder around it.
    """
    folder = _folder("CHAPTER_DATA", "data")
    return folder.parent if folder.name == "cifar-10-batches-py" else folder


def photos_dir() -> Path:
    """The folder of the learner's own photos, one folder per class: ``CHAPTER_PHOTOS``, else ``photos/``.

    Only ``helpers.phone`` writes there, the photos that somebody labels on its page. Git ignores it.
    """
    return _folder("CHAPTER_PHOTOS", "photos")


def artifacts_dir() -> Path:
    """The folder for everything that is made: ``CHAPTER_ARTIFACTS``, else ``artifacts/``.

    It is created if it is missing.

    Raises:
        PermissionError: the folder cannot be made or written to.
        OSError: the disk is full.
    """
    return _writable(_folder("CHAPTER_ARTIFACTS", "artifacts"))


def artifact(name: str) -> Path:
    """The path of one file in the artifacts folder, e.g. ``artifact("alexnet.onnx")``.

    A folder in ``name``, as in ``artifact("scratch/try.onnx")``, is made.

    Raises:
        PermissionError, OSError: as ``artifacts_dir``.
    """
    path = artifacts_dir() / name
    _writable(path.parent)
    return path


def _writable(folder: Path) -> Path:
    """A folder for artifacts, made if it is missing, and tried."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        full = error.errno in FULL
        raise (OSError if full else PermissionError)(
            f"Cannot write to the artifacts folder {shorten(folder)}: {error.strerror}. "
            f"{'Free some space' if full else 'Give yourself write access to it'}, or set the environment "
            "variable CHAPTER_ARTIFACTS to another folder."
        ) from error
    return folder


def printable(text: object, longest: int | None = None) -> str:
    """A text from outside as it may go to a terminal: what is no visible sign is written as its code.

    A server, or the name of a file, could otherwise move the cursor or turn the writing round; and a
    name that is no UTF-8 could not be printed at all.

    Args:
        text: a text, or whatever ``str`` makes one of.
        longest: characters of the result; a longer one ends in ``…``.
    """
    seen = str(text)[: None if longest is None else longest + 1]
    shown = "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in seen)
    return shown if longest is None or len(shown) <= longest else shown[: longest - 1] + "…"


def shorten(path: str | os.PathLike) -> str:
    """A path as a reader wants to see it: printable, and relative to the checkout where it lies inside."""
    path = Path(path)
    with contextlib.suppress(ValueError):
        path = path.absolute().relative_to(ROOT)
    return printable(path.as_posix())


# -- writing -----------------------------------------------------------------------------------------


@contextlib.contextmanager
def replacing(path: str | os.PathLike, size: int | None = None) -> Iterator[Path]:
    """Write a file so that it is there whole or not at all.

    Yields a temporary path of the same name, in a hidden folder beside ``path``. When the block ends
    well, that file takes the place of ``path`` in one step (``os.replace``). When it raises, or the
    program is killed, ``path`` stays as it was. Whoever has the old file open reads it to its end.
    Several writers at once do not meet: the last one's file stays.

    Args:
        path: the file to write.
        size: its bytes, if they are known: they are named when the disk is full.

    Example:
        >>> with replacing(artifact("notes.txt")) as temporary:  # doctest: +SKIP
        ...     temporary.write_text("all or nothing")

    Raises:
        OSError: the folder does not exist or cannot be written to, or the disk is full. A library's own
            error in the block becomes this one too, when the disk turns out to be full.
    """
    path = Path(path).absolute()
    with _writing(path, size) as temporary:
        yield temporary
        _to_disk(temporary)
        os.replace(temporary, path)


@contextlib.contextmanager
def replacing_folder(path: str | os.PathLike, size: int | None = None) -> Iterator[Path]:
    """``replacing`` for a folder: it is there whole or not at all.

    Yields the path of a new folder of the same name, which the block makes and fills. Where the system
    can, the old and the new one then change places in one step. Where it cannot (disks of a network, or
    of other systems), the old one steps aside for a moment, in which a reader finds nothing; a program
    that is killed in that moment leaves it aside, and the next writer puts it back.

    A reader that opens one file after the other may get files of both, and has to read again.

    Raises:
        OSError: as ``replacing``; or this program works in the folder, so that all of it would go.
    """
    path = Path(path).absolute()
    for here in (Path.cwd(), ROOT):
        if path.resolve() in (here, *here.parents):
            raise FileExistsError(
                f"Cannot write {shorten(path)}: this program works in that folder. Choose another name."
            )
    with _writing(path, size) as fresh:
        yield fresh
        for folder, _, files in os.walk(fresh, topdown=False):
            for name in files:
                file = os.path.join(folder, name)
                if os.path.isfile(file) and not os.path.islink(
                    file
                ):  # to open a pipe is to wait for its writer
                    _to_disk(file)
            with contextlib.suppress(OSError):  # not every disk does this for folders
                _to_disk(folder)
        _publish(fresh, path)


def remove_leftovers(folder: str | os.PathLike, below: bool = False) -> None:
    """Remove what killed programs left half-written in a folder, and put back what they left aside.

    Every writer does this in the folder that it writes to. What a living program is writing stays.

    Args:
        folder: need not exist.
        below: also in the folders inside it.
    """
    for left in list(Path(folder).glob(f"{PARTIAL}*")):
        with contextlib.suppress(OSError):  # its writer lives, or it is another user's
            gone = f"{left}-"  # whoever was about to lock it sees that it is lost
            with _locked(left):
                _put_back(left)
                os.rename(left, gone)
            shutil.rmtree(gone, ignore_errors=True)
    for left in list(Path(folder).glob(".*")):
        with contextlib.suppress(OSError):
            if FORMER.fullmatch(left.name) and time.time() - left.lstat().st_mtime > FORMER_SECONDS:
                _remove_former(left)
    for place, inside, _ in os.walk(os.fspath(folder)) if below else ():
        for name in inside:
            remove_leftovers(os.path.join(place, name))


def _remove_former(left: Path) -> None:
    """Remove what a first version left, or put it back where it was the only one."""
    place = left.with_name(left.name.removeprefix(".old-"))
    if not os.path.lexists(place):
        os.rename(left, place)
    elif left.is_dir() and not left.is_symlink():
        shutil.rmtree(left, ignore_errors=True)
    else:
        left.unlink()


@contextlib.contextmanager
def _writing(path: Path, size: int | None):
    """A place to write ``path`` in; an error names ``path`` and says what to do."""
    if not path.parent.is_dir():
        raise FileNotFoundError(
            f"Cannot write {shorten(path)}: the folder {shorten(path.parent)} does not exist. Make it first."
        )
    try:
        with _own_folder(path.parent) as own:
            try:
                yield own / path.name
            except Exception as error:
                written = sum(file.stat().st_size for file in _files(own))
                if full := _no_room(error, own):
                    for file in _files(own):  # a library may keep it open, and then it would take room unseen
                        os.truncate(file, 0)
                    raise _cannot_write(path, full, size, written) from error
                raise
        with contextlib.suppress(OSError):  # it is there; not every disk and folder lets this be asked
            _to_disk(path.parent)
    except OSError as error:
        # An error about another file, e.g. one that was being read, is not about this one.
        if not isinstance(error.filename, str) or path.parent not in Path(error.filename).parents:
            raise
        raise _cannot_write(path, error, size) from error


def _cannot_write(path: Path, error: OSError, size: int | None, written: int = 0) -> OSError:
    advice = "Give yourself write access, or choose another place"
    if error.errno in FULL:
        least = f"{max(size or written, 1e5) / 1e6:.1f} MB"
        advice = f"It needs {'' if size else 'more than '}{least}. Free some space, or choose another disk"
    named = type(OSError(error.errno, ""))(
        f"Cannot write {shorten(path)}: {os.strerror(error.errno) if error.errno else error}. {advice}, then run this again. "
        "What was there before is as it was."
    )
    named.errno = error.errno
    return named


def _no_room(error: Exception, own: Path) -> OSError | None:
    """What the system says when the disk is full, if that is why writing into ``own`` failed.

    PyTorch and Core ML Tools turn it into errors of their own, so another megabyte is tried.
    """
    if isinstance(error, OSError) and error.errno is not None:
        return error if error.errno in FULL else None
    largest = max(_files(own), key=lambda file: file.stat().st_size, default=own / "trial")
    try:
        with open(largest, "ab") as file:
            file.write(bytes(1 << 20))
            file.flush()
            os.fsync(file.fileno())
    except OSError as problem:
        return problem if problem.errno in FULL else None
    return None


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]


def _to_disk(path) -> None:
    """Return when a file, or the names in a folder, would outlive a power cut."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


# A writer's own folder is locked as long as its program lives. The system gives a lock back when the
# program ends, however that happens; so an unlocked folder is a leftover, whatever its age or name.


@contextlib.contextmanager
def _own_folder(parent: Path):
    """A new hidden folder in ``parent``, locked, and removed in the end; first, leftovers are removed."""
    remove_leftovers(parent)
    with contextlib.ExitStack() as stack:
        while True:
            making = tempfile.TemporaryDirectory(prefix=PARTIAL, dir=parent, ignore_cleanup_errors=True)
            own = Path(stack.enter_context(making))
            try:
                stack.enter_context(_locked(own))
            except (BlockingIOError, FileNotFoundError):
                continue  # another program swept it away before it was locked
            except OSError as error:
                if error.errno not in NO_LOCKS:
                    raise
            if own.exists():
                break
        stack.callback(_put_back, own)
        yield own


@contextlib.contextmanager
def _locked(own: Path):
    """Hold the lock of a writer's own folder.

    Raises:
        BlockingIOError: another has it. OSError: the disk has none.
    """
    with open(own / LOCK, "wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield


def _put_back(own: Path) -> None:
    """Give a folder that stepped aside its place again, if nothing is there."""
    for old in (own / ASIDE).glob("*"):
        if not os.path.lexists(own.parent / old.name):
            with contextlib.suppress(OSError):  # another writer was quicker
                os.rename(old, own.parent / old.name)


def _publish(fresh: Path, path: Path) -> None:
    """Put the folder ``fresh`` in the place of ``path``; what was there is then in ``fresh``'s folder."""
    aside = fresh.parent / ASIDE
    while True:
        try:
            os.rename(fresh, path)  # this works where nothing is, or an empty folder
            return
        except OSError as error:
            link = error.errno == errno.ENOTDIR and path.is_symlink()
            if not link and error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
        with contextlib.suppress(FileNotFoundError):  # another writer has just moved it: once more
            if _exchange(fresh, path):
                return
            shutil.rmtree(aside, ignore_errors=True)
            aside.mkdir()
            os.rename(path, aside / path.name)


def _exchange(one: Path, other: Path) -> bool:
    """Let two paths change places in one step; False where the system or the disk cannot.

    Raises:
        FileNotFoundError: one of them is not there.
    """
    system, names = ctypes.CDLL(None, use_errno=True), [os.fsencode(one), os.fsencode(other)]
    try:
        if sys.platform == "darwin":
            failed = system.renamex_np(*names, 2)  # RENAME_SWAP of <sys/stdio.h>
        else:
            failed = system.renameat2(-100, names[0], -100, names[1], 2)  # AT_FDCWD, RENAME_EXCHANGE
    except AttributeError:  # an old C library
        return False
    if failed and ctypes.get_errno() == errno.ENOENT:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(other))
    return not failed
