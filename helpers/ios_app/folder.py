"""Puts a set of files into a folder, whole or not at all, and replaces only what it wrote itself."""

import hashlib
import json
import os
import shutil
from pathlib import Path

from helpers.plumbing import paths

LIST = ".written.json"
"""In the folder: each file that was written, with the SHA-256 of what was written."""


def publish(files: dict[str, bytes], folder: Path, overwrite: bool) -> list[str]:
    """Write ``files`` into ``folder``.

    A new folder is made beside the old one and takes its place when it is complete. A file of the folder
    that this function did not write stays. One that it wrote and that was edited since also stays, as long
    as ``files`` has nothing new for it; otherwise nothing at all is written.

    Args:
        files: path inside the folder, with forward slashes → content.
        folder: may exist; the folder above it must.
        overwrite: a folder that already holds something is refused without it.

    Returns:
        The files that were left as someone edited them.

    Raises:
        FileNotFoundError: the folder above does not exist.
        FileExistsError: the folder, or a file in it, would be lost.
        PermissionError: a file in it cannot be read.
        OSError: it cannot be written; an older one is then still whole.
    """
    try:
        return _publish(files, folder, overwrite)
    except PermissionError as error:
        if error.errno is None or error.filename is None:
            raise  # it says already what to do
        raise PermissionError(
            f"{paths.shorten(error.filename)} cannot be read, so nobody knows what it holds. Give yourself read "
            "access, or choose another folder. Nothing was changed."
        ) from error


def _publish(files: dict[str, bytes], folder: Path, overwrite: bool) -> list[str]:
    name = paths.shorten(folder)
    if not folder.parent.is_dir():
        raise FileNotFoundError(
            f"Cannot write {name}: the folder {paths.shorten(folder.parent)} does not exist. Make it first."
        )
    paths.remove_leftovers(folder.parent)
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise FileExistsError(f"{name} is a file or a link, not a folder. Choose another name.")
    if folder.exists() and any(folder.iterdir()) and not overwrite:
        raise FileExistsError(
            f"{name} is not empty. Choose another folder, or pass overwrite=True: it replaces what an earlier "
            "call wrote there and keeps everything else."
        )
    earlier = _earlier(folder)
    keep = _edited(files, folder, earlier)
    with paths.replacing_folder(folder, sum(map(len, files.values()))) as fresh:
        if folder.exists():
            _copy(folder, fresh)
        else:
            fresh.mkdir()
        for gone in set(earlier) - set(files):
            _remove(fresh, gone)
        for inside, content in files.items():
            target = fresh / inside
            if inside in keep or (target.is_file() and target.read_bytes() == content):
                continue  # an untouched file keeps its date, and Xcode does not build it again
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
        sums = {inside: _sha(content) for inside, content in sorted(files.items())}
        (fresh / LIST).write_text(json.dumps(sums, indent=1), encoding="utf-8")
    return sorted(keep)


def tree(folder: str | os.PathLike) -> str:
    """The files of a folder as a drawing, with sizes; an ``.mlpackage`` counts as one file.

    Raises:
        FileNotFoundError: there is no such folder.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"There is no folder {paths.shorten(folder)}. Run write_app first.")
    lines = [f"{folder.name}/"]

    def add(inside: Path, before: str) -> None:
        entries = sorted(entry for entry in inside.iterdir() if not entry.name.startswith("."))
        for entry in entries:
            last = entry == entries[-1]
            line = f"{before}{'└── ' if last else '├── '}{entry.name}"
            if entry.is_dir() and entry.suffix != ".mlpackage":
                lines.append(line + "/")
                add(entry, before + ("    " if last else "│   "))
            else:
                parts = [entry] if entry.is_file() else [part for part in entry.rglob("*") if part.is_file()]
                lines.append(f"{line:<58}{sum(part.stat().st_size for part in parts):>10,} bytes")

    add(folder, "")
    return "\n".join(lines)


def _copy(folder: Path, fresh: Path) -> None:
    """The folder as it is, with what is not ours."""
    try:
        shutil.copytree(folder, fresh, symlinks=True)
    except shutil.Error as error:  # about files: one triple each
        place, _, why = error.args[0][0]
        why = "it cannot be read" if "Permission denied" in why else "it is no ordinary file"
        raise FileExistsError(
            f"{paths.shorten(place)} would be lost: {why}. Move it away, or choose another folder."
        ) from error


def _sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _earlier(folder: Path) -> dict[str, str]:
    """What an earlier call wrote: path → SHA-256."""
    try:
        if (folder / LIST).exists() and not (folder / LIST).is_file():
            raise ValueError("to open a pipe is to wait for its writer")
        listed = json.loads((folder / LIST).read_text(encoding="utf-8"))
        sums = {str(name): str(value) for name, value in listed.items()}
    except FileNotFoundError:
        return {}
    except (ValueError, AttributeError, OSError) as error:
        raise FileExistsError(
            f"{paths.shorten(folder / LIST)} cannot be read, so nobody knows which files may be replaced. "
            f"Move {paths.shorten(folder)} away, or choose another folder."
        ) from error
    outside = [name for name in sums if Path(name).is_absolute() or ".." in Path(name).parts]
    if outside:
        raise FileExistsError(
            f"{paths.shorten(folder / LIST)} names {outside[0]!r}, which lies outside. Move the folder away."
        )
    return sums


def _edited(files: dict[str, bytes], folder: Path, earlier: dict[str, str]) -> set[str]:
    """The files that someone edited and for which there is nothing new. Raises where there is."""
    keep, lost = set(), []
    for inside in sorted(set(files) | set(earlier)):
        target = folder / inside
        blocked = next(
            (
                part
                for part in target.parents
                if folder in part.parents and part.exists() and not part.is_dir()
            ),
            None,
        )
        if blocked is not None:
            lost.append(blocked.relative_to(folder).as_posix())
        elif target.is_symlink() or target.is_dir():
            lost.append(inside)
        elif target.is_file():
            now, new = _sha(target.read_bytes()), _sha(files[inside]) if inside in files else None
            if now in (earlier.get(inside), new):
                continue
            if new is not None and new == earlier.get(inside):
                keep.add(inside)
            else:
                lost.append(inside)
    if lost:
        raise FileExistsError(
            f"{paths.shorten(folder)}: {lost[0]} was not written by write_app, or was edited since, and would be "
            f"lost{f' (and {len(lost) - 1} more)' if len(lost) > 1 else ''}. Move it away, or choose another folder."
        )
    return keep


def _remove(fresh: Path, inside: str) -> None:
    """Remove a file that is no longer part of the project, and the folders that it leaves empty."""
    target = fresh / inside
    target.unlink(missing_ok=True)
    for part in target.parents:
        if part == fresh or not part.is_dir() or any(part.iterdir()):
            break
        part.rmdir()
