"""Delete what was made, ask first where someone wrote something: ``make clean``.

Run by the machine's own Python, whether or not there is a ``.venv``, so it uses the standard library alone.
"""

import hashlib
import json
import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TOOLS = (".pytest_cache", ".ruff_cache", ".mypy_cache")
LIST = ".written.json"
"""What ``helpers.ios_app`` leaves in a project: each file that it wrote, with the SHA-256 of what it wrote."""
XCODES = ("xcuserdata", ".DS_Store")
"""What Xcode and the Finder add by themselves."""


def edited(project):
    """The files of an app's folder that someone wrote or changed, and why nobody can tell."""
    try:
        written = json.loads((project / LIST).read_text(encoding="utf-8"))
        sums = {str(name): str(value) for name, value in written.items()}
    except (OSError, ValueError, AttributeError):
        return [LIST + " is missing or damaged, so nobody knows what was edited"]
    found = []
    for path in sorted(project.rglob("*")):
        inside = path.relative_to(project)
        if path.is_dir() or str(inside) == LIST or set(XCODES) & set(inside.parts):
            continue
        try:
            same = hashlib.sha256(path.read_bytes()).hexdigest() == sums.get(inside.as_posix())
        except OSError:
            same = False
        if not same:
            found.append(inside.as_posix())
    return found


def someones(artifacts):
    """The folders in ``artifacts/`` that hold someone's work: folder -> what of it, in words."""
    projects = {path.parent for name in (LIST, "*.xcodeproj") for path in artifacts.rglob(name)}
    works = {project: edited(project) for project in sorted(projects)}
    mine = artifacts / "mine"
    works[mine] = sorted(path.relative_to(mine).as_posix() for path in mine.rglob("*") if path.is_file())
    return {folder: found for folder, found in works.items() if found}


def asked(folder, found):
    """Whether someone at the keyboard says that a folder may go."""
    more = f", ... ({len(found)} in all)" if len(found) > 3 else ""
    name = folder.relative_to(ROOT).as_posix()
    print(f"{name} holds work of yours: {', '.join(found[:3])}{more}")
    if not sys.stdin.isatty():
        print(f"  kept: nobody is here to be asked. `rm -r {name}` deletes it.")
        return False
    if input("  Delete it? [y/N] ").strip().lower() in ("y", "yes"):
        return True
    print("  kept")
    return False


def remove(path, kept):
    """Delete a file or folder, but not the folders in ``kept`` and what leads there."""
    if path in kept:
        return
    if path.is_symlink() or not path.is_dir():
        path.unlink()
    elif any(path in folder.parents for folder in kept):
        for inside in list(path.iterdir()):
            remove(inside, kept)
    else:
        shutil.rmtree(str(path))


def clean():
    """Delete everything that was made, but not ``data/``, ``.venv`` and what someone wants to keep."""
    artifacts = ROOT / "artifacts"
    kept = {folder for folder, found in someones(artifacts).items() if not asked(folder, found)}
    folders = [
        path for path in ROOT.iterdir() if path.is_dir() and path.name not in (".venv", ".git", "data")
    ]
    caches = [path for folder in folders for path in folder.rglob("__pycache__")]
    for path in [artifacts, *(ROOT / name for name in TOOLS), *ROOT.glob("*.egg-info"), *caches]:
        if path.exists() or path.is_symlink():
            remove(path, kept)


if __name__ == "__main__":
    try:
        clean()
    except (KeyboardInterrupt, EOFError):
        sys.exit("\nInterrupted. Nothing was deleted.")
    except OSError as error:
        sys.exit(f"{error.filename} cannot be deleted: {error.strerror}. Give yourself write access.")
