"""The notebooks as they were shipped, and back to that: ``make reset``.

Git knows how they were shipped: as in the last commit that came from elsewhere. Where there is no git, as
in an unpacked archive, ``make setup``, ``make run`` and ``make lab`` put a copy aside before anything is
opened. What a learner wrote moves to ``artifacts/mine/`` first, and is never replaced or deleted there.
"""

import contextlib
import subprocess
import sys
import tomllib
from pathlib import Path

from helpers.plumbing import paths

NOTEBOOKS = paths.ROOT / "notebooks"


def found(folder: Path) -> dict[str, bytes]:
    """The notebooks in a folder and those in it: path → content. What is hidden is left out."""
    names = [path.relative_to(folder) for path in sorted(folder.rglob("*.ipynb")) if path.is_file()]
    return {
        name.as_posix(): (folder / name).read_bytes()
        for name in names
        if not any(part.startswith(".") for part in name.parts)
    }


def copy_folder() -> Path:
    """Where the copy of this version's notebooks is, in a checkout without git."""
    project = tomllib.loads((NOTEBOOKS.parent / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return NOTEBOOKS / ".shipped" / project["version"]


def _git(*arguments: str) -> bytes | None:
    """What git says; None where there is no git, or it says no."""
    # In a container the folder often belongs to another user, and git would refuse to look.
    command = ["git", "-c", f"safe.directory={NOTEBOOKS.parent}", "-C", str(NOTEBOOKS), *arguments]
    with contextlib.suppress(OSError):
        answer = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True)
        return answer.stdout if answer.returncode == 0 else None
    return None


def from_git() -> dict[str, bytes]:
    """The notebooks of the last commit that is not the learner's own; nothing where git does not know them."""
    came = _git("merge-base", "HEAD", "@{upstream}") or _git("rev-parse", "HEAD")
    if not came:
        return {}
    commit = came.decode().strip()
    names = (_git("ls-tree", "-r", "-z", "--name-only", commit, ".") or b"").decode().split("\0")
    contents = {name: _git("show", f"{commit}:./{name}") for name in names if name.endswith(".ipynb")}
    return {name: content for name, content in contents.items() if content is not None}


def keep() -> None:
    """Put a copy of the notebooks aside where git does not know them, unless there is one of this version."""
    with contextlib.suppress(OSError):  # a read-only install: nobody can change the notebooks there
        copy = copy_folder()
        if copy.exists() or from_git():
            return
        copy.parent.mkdir(exist_ok=True)
        with paths.replacing_folder(copy) as fresh:
            for name, content in found(NOTEBOOKS).items():
                (fresh / name).parent.mkdir(parents=True, exist_ok=True)
                (fresh / name).write_bytes(content)


def put_aside(name: str, content: bytes) -> Path:
    """Keep a learner's copy of a notebook under a name that is free: ``artifacts/mine/NAME-mine-1.ipynb``."""
    number = 1
    while True:
        path = paths.artifact(f"mine/{name.removesuffix('.ipynb')}-mine-{number}.ipynb")
        if not path.exists():
            with paths.replacing(path, len(content)) as temporary:
                temporary.write_bytes(content)
            return path
        if path.read_bytes() == content:
            return path
        number += 1


def reset() -> list[tuple[str, Path | None]]:
    """Put every notebook back as it was shipped, and the learner's copy aside.

    Returns:
        Each notebook that was not as shipped, and where the learner's copy is; None where there was none.

    Raises:
        FileNotFoundError: nobody knows how they were shipped. Nothing was changed.
        OSError: a copy or a notebook cannot be written. What was not put aside is as it was.
    """
    shipped = from_git() or found(copy_folder())
    if not shipped:
        raise FileNotFoundError(
            "Nobody knows how the notebooks were shipped: there is neither git nor a copy here. Download the project "
            "again, into another folder."
        )
    mine, changed = found(NOTEBOOKS), []
    for name, content in shipped.items():
        if mine.get(name) == content:
            continue
        kept = put_aside(name, mine[name]) if name in mine else None
        (NOTEBOOKS / name).parent.mkdir(parents=True, exist_ok=True)
        with paths.replacing(NOTEBOOKS / name, len(content)) as temporary:
            temporary.write_bytes(content)
        changed.append((name, kept))
    return changed


def main(arguments: list[str] | None = None) -> int:
    """``make reset``; with ``keep``, put a copy aside where one is needed."""
    if (sys.argv[1:] if arguments is None else arguments) == ["keep"]:
        keep()
        return 0
    try:
        changed = reset()
    except OSError as error:
        print(error, file=sys.stderr)
        return 1
    for name, kept in changed:
        yours = f"; yours is now {paths.shorten(kept)}" if kept else ""
        print(f"notebooks/{name}: as it was shipped{yours}")
    if changed:
        print("If one is open in JupyterLab, choose there: File, Reload Notebook from Disk.")
    else:
        print("Every notebook is as it was shipped.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
