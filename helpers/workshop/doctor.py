"""What is right on this machine, and what is not: ``make doctor``.

Each line begins with ``[OK]``, or with ``[FIX]`` and then says what to type; a line is to be fixed when the
learner cannot go on as things are, or has set something that does not work. What packages do is tried in a
process of its own, so that one that ends its process, or hangs, costs no more than its line. Nothing that is
printed says where on the disk, under which name or on which machine this is.

``helpers.workshop.environment`` finds a Python that this runs in, and checks the packages.
"""

import contextlib
import getpass
import io
import json
import os
import platform
import re
import resource
import subprocess
import sys
import threading
import time
from pathlib import Path
from urllib.parse import urlsplit

from helpers.plumbing import download, paths, variables
from helpers.plumbing.language import ENGLISH, language, marked, padded
from helpers.plumbing.language import translated as _
from helpers.workshop import environment

Row = tuple[bool, str, str]
"""Whether it is right, what it is, and what was found; where it is not right, also what to do."""

LEAST_MEMORY_GB = 2
"""GB. With less, the training of quick mode, which has 2.3 GB in use at most (``make bench``), may not end."""

SETUP = marked("run `make setup`")

ANSWER_SECONDS = 5.0
"""For a source of the data to answer."""

PART_SECONDS = 180
"""For what runs in a process of its own, on however busy a machine. Alone each takes two to eight."""


def here(program: str) -> str:
    """A program of this environment, as one types it in the project's folder."""
    in_venv = os.path.realpath(sys.prefix) == os.path.realpath(environment.VENV)
    return f".venv/bin/{program}" if in_venv else program


# -- what needs no package --------------------------------------------------------------------------


def system() -> list[Row]:
    """The operating system and the processor."""
    name = f"{platform.system()}, {platform.machine()}"
    problem = environment.why_no_build()
    return [(not problem, _("a system with Core ML Tools"), problem or name)]


def packages() -> list[Row]:
    """Python, the packages and the disk, as ``environment`` finds them; one row where there is no package at all."""
    rows = environment.check()
    names = {f"{name} {version}" for name, version, _ in environment.pins("requirements.txt")}
    if any(ok for ok, what, _ in rows if what in names):
        return rows
    rows = [row for row in rows if row[1] not in names and row[1] != _("what these need in turn")]
    return [*rows, (False, _("the pinned packages"), _("none is here: {setup}", setup=_(SETUP)))]


def memory() -> list[Row]:
    """The memory that is free, for this process and in this container."""
    free = {_("this process"): resource.getrlimit(resource.RLIMIT_AS)[0]}
    if free[_("this process")] == resource.RLIM_INFINITY:
        free.clear()
    with contextlib.suppress(ImportError):
        import psutil

        free[_("this machine")] = psutil.virtual_memory().available
    with contextlib.suppress(OSError, ValueError):  # no container, or one without a limit
        folder = Path("/sys/fs/cgroup")
        most, used = (int((folder / f"memory.{name}").read_text()) for name in ("max", "current"))
        cached = re.search(r"^inactive_file (\d+)", (folder / "memory.stat").read_text(), re.M)
        free[_("this container")] = most - used + int(cached[1] if cached else 0)
    if not free:
        return []
    where, least = min(free.items(), key=lambda item: item[1])
    found = f"{least / 1e9:.1f} GB"
    if least < LEAST_MEMORY_GB * 1e9:
        found = _(
            "{found} for {where}: close other programs, or give it more. MODE=smoke needs least",
            found=found,
            where=where,
        )
    return [(least >= LEAST_MEMORY_GB * 1e9, _("{least} GB of free memory", least=LEAST_MEMORY_GB), found)]


def artifacts() -> list[Row]:
    """The folder for what the notebooks make, which may be on another disk than the project."""
    where = variables.called("CHAPTER_ARTIFACTS") if variables.read("CHAPTER_ARTIFACTS") else "artifacts/"
    what = _("{where} to write to", where=where)
    try:
        folder = paths.artifacts_dir()
    except OSError as error:
        return [(False, what, str(error))]
    free = os.statvfs(folder)
    free_gb = free.f_bavail * free.f_frsize / 1e9
    found = _("{free:.1f} GB free", free=free_gb)
    if free_gb <= 1:
        found = _("{found}: free some, or set CHAPTER_ARTIFACTS to a folder on another disk", found=found)
    return [(free_gb > 1, what, found)]


def helpers_here() -> list[Row]:
    """Whether a notebook, wherever it lies, imports the helpers of this folder."""
    code = [sys.executable, "-c", "import helpers; print(helpers.__file__)"]
    answer = subprocess.run(code, cwd="/", stdin=subprocess.DEVNULL, capture_output=True, text=True)
    ours = answer.stdout.strip() and Path(answer.stdout.strip()).resolve().is_relative_to(paths.ROOT)
    found = (
        _("are imported") if ours else _("those of another are imported, or none: {setup}", setup=_(SETUP))
    )
    return [(bool(ours), _("the helpers of this folder"), found)]


# -- what runs in a process of its own --------------------------------------------------------------


def device() -> list[Row]:
    """The processor that computes, and the numbers it is fast in."""
    from helpers.plumbing.device import describe_device

    return [(True, "", describe_device())]


def native() -> list[Row]:
    """The parts of Core ML Tools in C++, without which no model is written."""
    from helpers.plumbing.quiet import coremltools

    coremltools()
    try:
        import coremltools.libmilstoragepython
        import coremltools.libmodelpackage
    except ImportError as error:
        version = dict((name, pin) for name, pin, _ in environment.pins("requirements.txt"))["coremltools"]
        command = f"{here('python')} -m pip install --force-reinstall --no-deps --only-binary :all: coremltools=={version}"
        said = str(error).splitlines()[0]
        return [(False, "", _("{said}. Type: {command}", said=said, command=command))]
    return [(True, "", _("load"))]


def data() -> list[Row]:
    """CIFAR-10 on this machine, and each place in the network that has it."""
    from helpers import data as cifar10

    download.ANSWER_SECONDS = ANSWER_SECONDS
    shared, mirror = variables.called(cifar10.SHARED), variables.called(cifar10.MIRROR)
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        found = cifar10._look_in_folders()
    said = printed.getvalue().splitlines()
    wrong = [line.removesuffix("Looking further.") for line in said if line.endswith("Looking further.")]
    sources = _sources(cifar10)
    answers = any(ok for ok, _, _ in sources)
    if wrong and wrong[0].startswith(shared):
        text = _(
            "{said} Copy {folder} there again, or type: unset {name}",
            said=wrong[0].rstrip(),
            folder=cifar10.FOLDER,
            name=shared,
        )
    elif wrong:
        text = _(
            "{said} Type: rm -r {folder}/{name}. The next notebook downloads it again",
            said=wrong[0].rstrip(),
            folder='"$CHAPTER_DATA"' if variables.read("CHAPTER_DATA") else "data",
            name=cifar10.FOLDER,
        )
    elif found is not None:
        text = said[-1].removesuffix(".")
    elif answers:
        text = _("not here yet; the first notebook that needs it downloads it (170 MB)")
    else:
        text = _(
            "not here, and no source answers. Copy data/{folder} from another machine, or set CHAPTER_CIFAR10",
            folder=cifar10.FOLDER,
        )
    rows = [(not wrong and (found is not None or answers), _(PARTS["data"]), text)]
    for ok, name, text in sources:
        if not ok and name == mirror:
            text = _("{said}. Start that server, or type: unset {name}", said=text, name=mirror)
        elif not ok and (found is not None or answers):
            ok = True
            text = (
                _("not needed: the data is here")
                if found is not None
                else _("not needed: another answers ({said})", said=text)
            )
        elif not ok:
            text = _("{said}. Check the network", said=text)
        rows.append((ok, name, text))
    return rows


def _sources(cifar10) -> list[Row]:
    """Each source of CIFAR-10, all asked at once: whether it answers, its host, and how."""
    mirror = variables.called(cifar10.MIRROR)
    try:
        urls = cifar10._sources()
    except ValueError:
        return [(False, mirror, _("is no web address, which begins with http"))]
    rows: list[Row] = [(False, "", "")] * len(urls)

    def ask(place: int, url: str) -> None:
        name = (urlsplit(url).hostname or "") if url in cifar10.MIRRORS else mirror
        began = time.monotonic()
        try:
            download.ask(url).close()
            rows[place] = (True, name, _("answers in {seconds:.1f} s", seconds=time.monotonic() - began))
        except download.SourceFailed as failure:
            rows[place] = (False, name, str(failure))

    threads = [threading.Thread(target=ask, args=one, daemon=True) for one in enumerate(urls)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return rows


def kernel() -> list[Row]:
    """Start a kernel as JupyterLab does, beside the notebooks, and ask it which Python it is."""
    from jupyter_client.kernelspec import KernelSpecManager, NoSuchKernel
    from jupyter_client.manager import start_new_kernel

    renew = _("Type: {python} -m ipykernel install --sys-prefix", python=here("python"))
    try:
        folder = Path(KernelSpecManager().get_kernel_spec("python3").resource_dir)
        manager, client = start_new_kernel(
            kernel_name="python3",
            startup_timeout=90,
            cwd=str(paths.ROOT / "notebooks"),
            stderr=subprocess.DEVNULL,
        )
    except (NoSuchKernel, RuntimeError, OSError) as error:
        return [(False, "", _("does not start ({error}). {renew}", error=type(error).__name__, renew=renew))]
    try:
        asked = {"python": "__import__('sys').prefix", "helpers": "__import__('helpers') and 1"}
        reply = client.execute("", user_expressions=asked, reply=True, timeout=90)["content"][
            "user_expressions"
        ]
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
    python = reply["python"].get("data", {}).get("text/plain", "").strip("'\"")
    if os.path.realpath(python) != os.path.realpath(sys.prefix):
        if not folder.resolve().is_relative_to(Path(sys.prefix).resolve()):
            command = f"{here('jupyter')} kernelspec remove python3"
            renew = _("Type: {command}. It removes the other one", command=command)
        return [
            (False, "", _("the kernel python3 starts another Python than this one. {renew}", renew=renew))
        ]
    if reply["helpers"]["status"] != "ok":
        return [(False, "", _("has no helpers: {setup}", setup=_(SETUP)))]
    return [(True, "", _("starts this Python, and has the helpers"))]


def trust() -> list[Row]:
    """Whether JupyterLab trusts the notebooks, and whether they can be read."""
    import nbformat
    from nbformat.sign import NotebookNotary

    folder = paths.ROOT / "notebooks" / ("" if language() == ENGLISH else language())
    notary, trusted, names = NotebookNotary(), 0, sorted(folder.glob("*.ipynb"))
    for path in names:
        try:
            trusted += notary.check_signature(nbformat.read(path, as_version=4))
        except Exception as error:  # nbformat has many errors for a damaged file
            name, kind = paths.shorten(path), type(error).__name__
            return [(False, "", _("{name} is damaged ({error}). Type: make reset", name=name, error=kind))]
    found = _("{trusted} of {all} trusted", trusted=trusted, all=len(names))
    if trusted < len(names):
        found = _(
            "{found}; in the others a graph is a still picture until its cell is run. To see all move, type: {jupyter} trust {folder}/*.ipynb",
            found=found,
            jupyter=here("jupyter"),
            folder=paths.shorten(folder),
        )
    return [(True, "", found)]


def chromium() -> list[Row]:
    """The browser that draws still pictures of graphs, for whoever exports a network of their own."""
    from helpers.netron_view import pictures

    if pictures.browser():
        return [(True, "", _("here"))]
    if os.environ.get("CHROMIUM"):
        said = _("CHROMIUM is set, and no program is there. Set it to one, or type: unset CHROMIUM")
        return [(False, "", said)]
    return [(True, "", _("not here, and not needed: it draws still pictures of graphs that are yours"))]


PARTS = {
    "device": marked("device and number type"),
    "native": marked("Core ML Tools' native parts"),
    "data": "CIFAR-10",
    "kernel": marked("the notebooks' kernel"),
    "trust": marked("the notebooks"),
    "chromium": "Chromium",
}
"""The functions that run in a process of their own, and what each looks at."""


def apart(part: str) -> list[Row]:
    """The rows of one part, tried in a process of its own."""
    code = f"from helpers.workshop import doctor; doctor.tell({part!r})"
    try:
        answer = subprocess.run(
            [sys.executable, "-c", code],
            cwd=paths.ROOT,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PART_SECONDS,
            env={**os.environ, "CHAPTER_LANGUAGE": language()},
        )
    except subprocess.TimeoutExpired:
        found = _("no answer in {seconds} s. Close other programs, then run this again", seconds=PART_SECONDS)
        return [(False, _(PARTS[part]), found)]
    with contextlib.suppress(ValueError, IndexError):
        rows = json.loads(answer.stdout.splitlines()[-1])
        return [(ok, what or _(PARTS[part]), found) for ok, what, found in rows]
    said = (
        answer.stderr.strip().splitlines()
        or [_("its process ended with code {code}", code=answer.returncode)]
    )[-1]
    return [(False, _(PARTS[part]), f"{said:.200}: {_(SETUP)}")]


def tell(part: str) -> None:
    """Print the rows of a part for the process that asked."""
    rows = globals()[part]()
    print("\n" + json.dumps(rows))


def without_names(text: str) -> str:
    """A line without what is nobody else's business: the folder, the user, the machine."""
    for private, public in ((str(paths.ROOT), "."), (os.path.expanduser("~"), "~")):
        if len(private) > 1:
            text = text.replace(private, public)
    text = re.sub(r"(?<![\w.~:/-])/(?:[^\s/'\"]+/)+", "…/", text)
    for name in (platform.node(), platform.node().partition(".")[0], _user()):
        if len(name) > 2 and name != "root":
            text = re.sub(rf"(?<!\w){re.escape(name)}(?!\w)", "…", text)
    return text


def _user() -> str:
    with contextlib.suppress(Exception):  # in a container a number may have no name
        return getpass.getuser()
    return ""


def check():
    """The rows, one after the other as they are found. Notebook 00 and ``make doctor`` print them.

    Yields:
        ``(whether it is right, what it is, what was found)``; nothing private stands in them.
    """
    bare = False
    for look in (system, packages, memory, artifacts, helpers_here):
        for ok, what, found in look():
            bare = bare or what == _("the pinned packages")
            yield ok, what, without_names(found)
    for part in () if bare else PARTS:
        for ok, what, found in apart(part):
            yield ok, what, without_names(found)


def main() -> int:
    """Print every line; 0 when all is right, else 1."""
    wrong = 0
    try:
        for ok, what, found in check():
            wrong += not ok
            print("[OK]  " if ok else "[FIX] ", f"{padded(what, 32)} {found}", flush=True)
    except KeyboardInterrupt:
        print("\nInterrupted.", file=sys.stderr)
        return 1
    if wrong:
        said = _(
            "To fix: {count}. Do what the first such line says, then run `make doctor` again.", count=wrong
        )
    else:
        said = _("Everything is right.")
    print(f"\n{said}")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
