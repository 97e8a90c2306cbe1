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
from helpers.workshop import environment

Row = tuple[bool, str, str]
"""Whether it is right, what it is, and what was found; where it is not right, also what to do."""

LEAST_MEMORY_GB = 2
"""GB. With less, the training of quick mode, which has 2.3 GB in use at most (``make bench``), may not end."""

SETUP = "run `make setup`"

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
    return [(not problem, "a system with Core ML Tools", problem or name)]


def packages() -> list[Row]:
    """Python, the packages and the disk, as ``environment`` finds them; one row where there is no package at all."""
    rows = environment.check()
    names = {f"{name} {version}" for name, version, _ in environment.pins("requirements.txt")}
    if any(ok for ok, what, _ in rows if what in names):
        return rows
    rows = [row for row in rows if row[1] not in names and "in turn" not in row[1]]
    return [*rows, (False, "the pinned packages", f"none is here: {SETUP}")]


def memory() -> list[Row]:
    """The memory that is free, for this process and in this container."""
    free = {"this process": resource.getrlimit(resource.RLIMIT_AS)[0]}
    if free["this process"] == resource.RLIM_INFINITY:
        free.clear()
    with contextlib.suppress(ImportError):
        import psutil

        free["this machine"] = psutil.virtual_memory().available
    with contextlib.suppress(OSError, ValueError):  # no container, or one without a limit
        folder = Path("/sys/fs/cgroup")
        most, used = (int((folder / f"memory.{name}").read_text()) for name in ("max", "current"))
        cached = re.search(r"^inactive_file (\d+)", (folder / "memory.stat").read_text(), re.M)
        free["this container"] = most - used + int(cached[1] if cached else 0)
    if not free:
        return []
    where, least = min(free.items(), key=lambda item: item[1])
    found = f"{least / 1e9:.1f} GB"
    if least < LEAST_MEMORY_GB * 1e9:
        found += f" for {where}: close other programs, or give it more. MODE=smoke needs least"
    return [(least >= LEAST_MEMORY_GB * 1e9, f"{LEAST_MEMORY_GB} GB of free memory", found)]


def artifacts() -> list[Row]:
    """The folder for what the notebooks make, which may be on another disk than the project."""
    what = f"{variables.called('CHAPTER_ARTIFACTS') if variables.read('CHAPTER_ARTIFACTS') else 'artifacts/'} to write to"
    try:
        folder = paths.artifacts_dir()
    except OSError as error:
        return [(False, what, str(error))]
    free = os.statvfs(folder)
    free_gb = free.f_bavail * free.f_frsize / 1e9
    advice = "" if free_gb > 1 else ": free some, or set CHAPTER_ARTIFACTS to a folder on another disk"
    return [(free_gb > 1, what, f"{free_gb:.1f} GB free{advice}")]


def helpers_here() -> list[Row]:
    """Whether a notebook, wherever it lies, imports the helpers of this folder."""
    code = [sys.executable, "-c", "import helpers; print(helpers.__file__)"]
    answer = subprocess.run(code, cwd="/", stdin=subprocess.DEVNULL, capture_output=True, text=True)
    ours = answer.stdout.strip() and Path(answer.stdout.strip()).resolve().is_relative_to(paths.ROOT)
    found = "are imported" if ours else f"those of another are imported, or none: {SETUP}"
    return [(bool(ours), "the helpers of this folder", found)]


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
        return [(False, "", f"{str(error).splitlines()[0]}. Type: {command}")]
    return [(True, "", "load")]


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
        text = f"{wrong[0]}Copy {cifar10.FOLDER} there again, or type: unset {shared}"
    elif wrong:
        folder = '"$CHAPTER_DATA"' if variables.read("CHAPTER_DATA") else "data"
        text = f"{wrong[0]}Type: rm -r {folder}/{cifar10.FOLDER}. The next notebook downloads it again"
    elif found is not None:
        text = said[-1].removesuffix(".")
    elif answers:
        text = "not here yet; the first notebook that needs it downloads it (170 MB)"
    else:
        text = f"not here, and no source answers. Copy data/{cifar10.FOLDER} from another machine, or set CHAPTER_CIFAR10"
    rows = [(not wrong and (found is not None or answers), PARTS["data"], text)]
    for ok, name, text in sources:
        if not ok and name == mirror:
            text += f". Start that server, or type: unset {mirror}"
        elif not ok and (found is not None or answers):
            ok, text = (
                True,
                "not needed: the data is here"
                if found is not None
                else f"not needed: another answers ({text})",
            )
        elif not ok:
            text += ". Check the network"
        rows.append((ok, name, text))
    return rows


def _sources(cifar10) -> list[Row]:
    """Each source of CIFAR-10, all asked at once: whether it answers, its host, and how."""
    mirror = variables.called(cifar10.MIRROR)
    try:
        urls = cifar10._sources()
    except ValueError:
        return [(False, mirror, "is no web address, which begins with http")]
    rows: list[Row] = [(False, "", "")] * len(urls)

    def ask(place: int, url: str) -> None:
        name = (urlsplit(url).hostname or "") if url in cifar10.MIRRORS else mirror
        began = time.monotonic()
        try:
            download.ask(url).close()
            rows[place] = (True, name, f"answers in {time.monotonic() - began:.1f} s")
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

    renew = f"Type: {here('python')} -m ipykernel install --sys-prefix"
    try:
        folder = Path(KernelSpecManager().get_kernel_spec("python3").resource_dir)
        manager, client = start_new_kernel(
            kernel_name="python3",
            startup_timeout=90,
            cwd=str(paths.ROOT / "notebooks"),
            stderr=subprocess.DEVNULL,
        )
    except (NoSuchKernel, RuntimeError, OSError) as error:
        return [(False, "", f"does not start ({type(error).__name__}). {renew}")]
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
            renew = f"Type: {here('jupyter')} kernelspec remove python3. It removes the other one"
        return [(False, "", f"the kernel python3 starts another Python than this one. {renew}")]
    if reply["helpers"]["status"] != "ok":
        return [(False, "", f"has no helpers: {SETUP}")]
    return [(True, "", "starts this Python, and has the helpers")]


def trust() -> list[Row]:
    """Whether JupyterLab trusts the notebooks, and whether they can be read."""
    import nbformat
    from nbformat.sign import NotebookNotary

    notary, trusted, names = NotebookNotary(), 0, sorted((paths.ROOT / "notebooks").glob("*.ipynb"))
    for path in names:
        try:
            trusted += notary.check_signature(nbformat.read(path, as_version=4))
        except Exception as error:  # nbformat has many errors for a damaged file
            return [
                (False, "", f"{paths.shorten(path)} is damaged ({type(error).__name__}). Type: make reset")
            ]
    found = f"{trusted} of {len(names)} trusted"
    if trusted < len(names):
        found += "; in the others a graph is a still picture until its cell is run. To see all move, type: "
        found += f"{here('jupyter')} trust notebooks/*.ipynb"
    return [(True, "", found)]


def chromium() -> list[Row]:
    """The browser that draws still pictures of graphs, for whoever exports a network of their own."""
    from helpers.netron_view import pictures

    if pictures.browser():
        return [(True, "", "here")]
    if os.environ.get("CHROMIUM"):
        return [
            (False, "", "CHROMIUM is set, and no program is there. Set it to one, or type: unset CHROMIUM")
        ]
    return [(True, "", "not here, and not needed: it draws still pictures of graphs that are yours")]


PARTS = {
    "device": "device and number type",
    "native": "Core ML Tools' native parts",
    "data": "CIFAR-10",
    "kernel": "the notebooks' kernel",
    "trust": "the notebooks",
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
        )
    except subprocess.TimeoutExpired:
        return [
            (False, PARTS[part], f"no answer in {PART_SECONDS} s. Close other programs, then run this again")
        ]
    with contextlib.suppress(ValueError, IndexError):
        rows = json.loads(answer.stdout.splitlines()[-1])
        return [(ok, what or PARTS[part], found) for ok, what, found in rows]
    said = (answer.stderr.strip().splitlines() or [f"its process ended with code {answer.returncode}"])[-1]
    return [(False, PARTS[part], f"{said:.200}: {SETUP}")]


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
            bare = bare or what == "the pinned packages"
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
            print("[OK]  " if ok else "[FIX] ", f"{what:<32} {found}", flush=True)
    except KeyboardInterrupt:
        print("\nInterrupted.", file=sys.stderr)
        return 1
    if wrong:
        print(f"\nTo fix: {wrong}. Do what the first such line says, then run `make doctor` again.")
    else:
        print("\nEverything is right.")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
