"""The environment: makes ``.venv`` (``make setup``) and checks it (notebook 00).

With the argument ``tools`` it adds what only the workshop's commands need (``make test``).
Run by the machine's own Python before anything is installed, so it uses the
standard library alone, and the words in it stay readable to a Python that is
too old to run the rest: it has to tell its owner so.
"""

from __future__ import print_function

import os
import sys
import time

try:
    import _signal as signal  # the part in C, there at once: Ctrl-C is to be answered from the start
except ImportError:
    import signal

INTERRUPTED = "Interrupted. Run the same command again: it starts over, and what was downloaded is kept."
_child = None  # the process at work, "starting" while it is being started
_pressed = False


def end(child):
    """Ask a process and its own children to stop, and see to it that they do."""
    try:
        os.killpg(child, signal.SIGINT)  # pip clears up after itself
        for _ in range(100):
            if os.waitpid(child, os.WNOHANG)[0]:
                return
            time.sleep(0.1)
        os.killpg(child, signal.SIGKILL)
    except OSError:
        pass  # it is gone


def on_interrupt(number, _):
    """Ctrl-C at any instant: end what was started, say one sentence, and leave at once."""
    global _pressed
    _pressed = True
    if _child == "starting":
        return  # run() comes back to it
    signal.signal(number, signal.SIG_IGN)
    if _child is not None:
        end(_child.pid)
    os.write(2, ("\n" + INTERRUPTED + "\n").encode("ascii"))
    os._exit(128 + number)


def answer_interrupts():
    """Answer Ctrl-C from now on, unless whoever started this process had it ignored."""
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, on_interrupt)


if __name__ == "__main__":
    answer_interrupts()  # before the imports, which can be interrupted, too

import contextlib
import errno
import hashlib
import json
import platform
import re
import shutil
import subprocess

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
VENV = os.path.join(ROOT, ".venv")
VENV_PYTHON = os.path.join(VENV, "bin", "python")
STAMP = os.path.join(VENV, ".complete")
TOOLS_STAMP = os.path.join(VENV, ".tools")
OLDEST, NEWEST = (3, 11), (3, 13)
LEAST_FREE_GB = 3
PINS = ("requirements.txt", "constraints.txt", ".ci/hashes.txt")
"""What a learner uses; every package with its version; the same with the hashes of their files."""
TOOL_PINS = ("requirements-dev.txt", ".ci/hashes-dev.txt")
"""What the workshop uses; every package that comes on top, with the hashes of its files."""

# Runs in .venv: prints the packages that are not the pinned ones, and fails unless helpers is this checkout's.
COMPARE = """
import os, sys
sys.path[0], root, pins = sys.argv[1:]
import environment
environment.ROOT = root
for package, (wanted, found) in environment.differences(pins).items():
    print(package, wanted, found or "missing")
del sys.path[0]
import helpers
assert os.path.realpath(helpers.__file__).startswith(os.path.join(os.path.realpath(root), ""))
"""


def stop(message):
    """End with one clear sentence."""
    sys.exit("\n" + message + "\n")


def supported(version):
    return OLDEST <= tuple(version[:2]) <= NEWEST


def names_of_supported():
    return "Python 3.11, 3.12 or 3.13"


def check_python():
    """Stop unless this Python can run the notebooks."""
    if not supported(sys.version_info):
        age = "too old" if sys.version_info[:2] < OLDEST else "too new"
        which = getattr(shutil, "which", lambda name: None)
        found = [n for n in ("python3.13", "python3.12", "python3.11") if which(n)]
        advice = "PYTHON=%s make setup" % found[0] if found else "PYTHON=python3.12 make setup"
        stop(
            "%s is needed, and this is Python %s (%s): it is %s. Install one of them, then name it: %s"
            % (names_of_supported(), platform.python_version(), sys.executable, age, advice)
        )
    try:
        import ensurepip  # noqa: F401
        import venv  # noqa: F401
    except ImportError as error:
        stop(
            "This Python has no '%s' module. On Debian and Ubuntu install it with: "
            "sudo apt install python%d.%d-venv" % (error.name, sys.version_info[0], sys.version_info[1])
        )
    if why_no_build():
        stop(why_no_build())


def why_no_build():
    """Why coremltools cannot be installed on this system: a sentence, or "" if it can."""
    machine = (platform.system(), platform.machine())
    if machine[0] != "Windows" and machine not in (("Linux", "aarch64"), ("Linux", "arm64")):
        return ""
    return (
        "coremltools has no build for %s on %s. It runs on macOS, on Linux with an x86-64 processor, "
        "and on Windows inside WSL (see README, Platforms)." % machine
    )


def wanted_stamp(names=PINS):
    """What a complete .venv was made from: the pins, in one number."""
    digest = hashlib.sha256()
    for name in names:
        with open(os.path.join(ROOT, name), "rb") as file:
            digest.update(file.read())
    return digest.hexdigest()


def read_stamp(path):
    """What an installation wrote at its end; None where it was broken off."""
    try:
        with open(path) as file:
            return json.load(file)
    except (OSError, ValueError):
        return None


def write_stamp(path, names):
    with open(path + ".partial", "w") as file:
        json.dump(wanted_stamp(names), file)
    os.rename(path + ".partial", path)


def pins(name):
    """The lines of one of the files of pins: ``(package, version, whether it is for some machines only)``."""
    with open(os.path.join(ROOT, name)) as file:
        found = re.findall(r"^([A-Za-z0-9_.-]+)==([^ #;\n]+)( *;)?", file.read(), re.M)
    return [(package, version, bool(marker)) for package, version, marker in found]


def differences(name="constraints.txt"):
    """The packages here that are not the pinned ones: package -> ``(wanted, found)``. Found is "" where it is missing."""
    from importlib.metadata import PackageNotFoundError, version

    wanted, optional = {}, set()
    for package, pinned, some_machines in pins(name):
        wanted.setdefault(package, []).append(pinned)
        if some_machines:
            optional.add(package)
    different = {}
    for package, versions in wanted.items():
        try:
            found = version(package) or "damaged"
        except PackageNotFoundError:
            if package in optional:
                continue
            found = ""
        if found.split("+")[0] not in versions:
            different[package] = (" or ".join(versions), found)
    return different


def run(command, show=None, stderr=subprocess.STDOUT, cwd=None):
    """Run a command to its end: ``(exit code, its lines)``. ``show`` sees each line as it comes."""
    global _child
    _child, process = "starting", None
    try:
        # In a session of its own Ctrl-C reaches this process alone, and it ends the other.
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=stderr,
            universal_newlines=True,
            cwd=cwd or ROOT,
            start_new_session=True,
        )
    finally:
        _child = process
        if _pressed:
            on_interrupt(signal.SIGINT, None)
    lines = []
    for line in process.stdout:
        lines.append(line.rstrip())
        if show:
            show(lines[-1])
            sys.stdout.flush()
    process.stdout.close()
    code = process.wait()
    _child = None
    return code, lines


def venv_version():
    """Python's (major, minor) in .venv, or None if there is none that runs."""
    try:
        code, said = run([VENV_PYTHON, "-c", "import sys; print(*sys.version_info[:2])"])
        return None if code else tuple(int(n) for n in said[0].split())
    except (OSError, ValueError, IndexError):
        return None


def not_as_pinned(name):
    """What of a file of pins is another version in .venv, or missing, first; "" when all is as pinned."""
    here = os.path.dirname(os.path.abspath(__file__))
    code, said = run([VENV_PYTHON, "-E", "-c", COMPARE, here, ROOT, name], stderr=subprocess.DEVNULL, cwd="/")
    return (said[0] if said else "helpers") if code or said else ""


def why_incomplete(tools=False):
    """Why .venv must be (re)made: a sentence, or "" if it is complete.

    With ``tools`` those of the workshop may be missing, but not half there.
    """
    if not os.path.isdir(VENV):
        return "making it"
    version = venv_version()
    if version is None or not supported(version):
        return "its Python does not run here; making it again"
    # PYTHON=... is a wish; without it, whatever made .venv is good enough.
    if os.environ.get("PYTHON") and version != tuple(sys.version_info[:2]):
        return "it holds Python %d.%d, and PYTHON=%s asks for another; making it again" % (
            version + (os.environ["PYTHON"],)
        )
    stamp = read_stamp(STAMP)
    if stamp is None or (tools and os.path.exists(TOOLS_STAMP) and read_stamp(TOOLS_STAMP) is None):
        return "an installation was broken off; making it again"
    if stamp != wanted_stamp():
        return "the pinned versions have changed; making it again"
    package = not_as_pinned("constraints.txt")
    return "a package is not the pinned one (%s); making it again" % package if package else ""


def why_without_tools():
    """Why the tools of the workshop must be added to a complete .venv: a sentence, or "" if they are there."""
    if not os.path.exists(TOOLS_STAMP):
        return "adding the tools of the workshop"
    if read_stamp(TOOLS_STAMP) != wanted_stamp(TOOL_PINS):
        return "the pinned tools of the workshop have changed; adding them again"
    package = not_as_pinned(TOOL_PINS[1])
    return "a tool of the workshop is not the pinned one (%s); adding them again" % package if package else ""


def show_pip(line):
    """Print what a learner wants to know of pip's output."""
    size = re.search(r"Downloading (\S+?)-(\S+?)-\S+ \((\d{2,}(?:\.\d+)? [MG]B)\)", line)
    if size:
        print("  downloading %s %s (%s)" % size.groups())
    elif line.startswith("Installing collected packages"):
        print("  unpacking %d packages" % len(line.split(",")))


def pip(command, *arguments):
    """Run pip in .venv, show what it downloads, and explain a failure in one sentence."""
    quiet = ["--disable-pip-version-check", "--progress-bar", "off"]
    code, lines = run([VENV_PYTHON, "-m", "pip", command] + quiet + list(arguments), show_pip)
    if code == 0:
        return
    text = "\n".join(lines)
    if "No space left on device" in text or "Errno 28" in text:
        stop(
            "The disk is full: %.1f GB are left in %s, and the packages take about 6 GB on Linux. "
            "Free some space, then run the same command again." % (free_gb(), ROOT)
        )
    if "DO NOT MATCH THE HASHES" in text:
        stop(
            "A package that was downloaded is not the one in .ci/hashes*.txt: damaged on its way, or another file. "
            "Run the same command again, and if that does not help, look at where pip takes it from:\n\n"
            + "\n".join(lines[-15:])
        )
    if re.search(r"NewConnectionError|NameResolutionError|Max retries|ReadTimeout|ConnectionError", text):
        stop(
            "The package index could not be reached. Check the network, then run the same command again: "
            "what was downloaded is kept."
        )
    stop("pip could not install the requirements; its last lines say why:\n\n" + "\n".join(lines[-15:]))


def free_gb():
    return shutil.disk_usage(ROOT).free / 1e9


@contextlib.contextmanager
def alone(folder, waits=""):
    """Only one process at a time is in this block for ``folder``; another says ``waits`` and waits for it.

    The system gives the lock back when its process ends, however that happens.
    """
    import fcntl

    handle = os.open(str(folder), os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (IOError, OSError) as error:
        if error.errno in (errno.EAGAIN, errno.EACCES):
            if waits:
                print(waits)
                sys.stdout.flush()
            fcntl.flock(handle, fcntl.LOCK_EX)
        # Some network drives know no locks: go on without one.
    try:
        yield
    finally:
        os.close(handle)


WHEELS = ("--only-binary", ":all:")


def make_venv():
    """Make ``.venv`` anew and fill it with exactly the pinned packages."""
    if free_gb() < LEAST_FREE_GB:
        stop(
            "The disk is full: %.1f GB are left in %s, and at least %d GB are needed (about 6 GB with PyTorch's "
            "usual Linux build). Free some space, then run the same command again."
            % (free_gb(), ROOT, LEAST_FREE_GB)
        )
    if os.path.exists(STAMP):
        os.remove(STAMP)
    code, said = run([sys.executable, "-m", "venv", "--clear", VENV])
    if code:
        stop("Could not make %s: '%s -m venv' failed:\n\n%s" % (VENV, sys.executable, "\n".join(said[-15:])))
    print("installing the pinned packages: a few minutes the first time, once")
    requirements, constraints, hashes = (os.path.join(ROOT, name) for name in PINS)
    # PyTorch stands in the second step alone: its builds have one version and different hashes.
    pip("install", "--no-deps", "--require-hashes", "-r", hashes, *WHEELS)
    pip("install", "-r", requirements, "-c", constraints, *WHEELS)
    pip("install", "--no-deps", "--no-build-isolation", "--editable", ROOT)
    write_stamp(STAMP, PINS)


def add_tools():
    """Put the pinned tools of the workshop into a complete ``.venv``."""
    folder, hashes = os.path.join(VENV, "tools"), os.path.join(ROOT, TOOL_PINS[1])
    exact = ("--no-deps", "--require-hashes", "-r", hashes) + WHEELS
    # What fails without a network fails here, and leaves .venv as it was.
    pip("download", "--dest", folder, *exact)
    open(TOOLS_STAMP, "w").close()  # from here on they may be half there
    pip("install", "--no-index", "--find-links", folder, *exact)
    shutil.rmtree(folder)
    write_stamp(TOOLS_STAMP, TOOL_PINS)


def carry_out(make, reason):
    """Say why, and make what is missing."""
    print(".venv: %s (Python %s)" % (reason, platform.python_version()))
    sys.stdout.flush()
    try:
        make()
    except (IOError, OSError) as error:
        stop(
            "Could not make %s: %s. Free the space or the permission, then run the same command again."
            % (VENV, error.strerror)
        )
    print(".venv: complete")


def setup(tools=False):
    """Make ``.venv`` complete, with ``tools`` those of the workshop too; does nothing when it is."""
    if sys.version_info < (3, 6):
        check_python()  # which stops: the rest needs more than such a Python has
    if not why_incomplete(tools) and not (tools and why_without_tools()):
        return
    check_python()
    with alone(ROOT, "Another `make setup` is at work in this folder. This one waits for its end."):
        reason = why_incomplete(tools)
        if reason:
            carry_out(make_venv, reason)
        reason = why_without_tools() if tools else ""
        if reason:
            carry_out(add_tools, reason)


def check():
    """One row per requirement of the notebooks: ``(ok, what, found)``.

    Notebook 00 prints them. A row fails when the learner cannot go on without
    doing something about it, and ``found`` then says what.
    """
    from helpers.plumbing.language import translated

    different = differences()
    missing = translated("missing: run `make setup`, then choose .venv as the kernel")
    rows = [(supported(sys.version_info), names_of_supported(), "Python " + platform.python_version())]
    for package, wanted, _ in pins("requirements.txt"):
        _, found = different.pop(package, (wanted, wanted))
        if found != wanted:
            found = translated("{found}: run `make setup`", found=found) if found else missing
        rows.append((found == wanted, "%s %s" % (package, wanted), found))
    others = ["%s %s" % (package, found or "missing") for package, (_, found) in different.items()]
    found = translated("as pinned")
    if others:
        found = translated("{found}: run `make setup`", found=", ".join(others[:3]))
    rows.append((not others, translated("what these need in turn"), found))
    free = free_gb()
    found = "%.0f GB" % free if free > 1 else translated("{free:.1f} GB: free some", free=free)
    rows.append((free > 1, translated("1 GB of free disk"), found))
    return rows


def main(arguments):
    """``make setup``; with ``tools`` those of the workshop too; ``run`` and ``doctor`` take this process's place."""
    if sys.version_info >= (3, 6):  # an older one is refused below, in words that it can read
        sys.path.insert(0, ROOT)
        from helpers.plumbing.mode import mode

        try:
            mode()
        except ValueError as error:
            stop(str(error))
    if arguments[:1] == ["doctor"]:
        python = VENV_PYTHON if venv_version() else sys.executable
        if python != VENV_PYTHON:
            check_python()
        os.execv(python, [python, "-m", "helpers.workshop.doctor"])
    setup(tools=arguments[:1] == ["tools"])
    if arguments[:1] == ["run"]:
        # Ctrl-C waits until helpers.workshop.run is there to answer it.
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT, signal.SIGTERM])
        os.execv(VENV_PYTHON, [VENV_PYTHON, "-m", "helpers.workshop.run"] + arguments[1:])


if __name__ == "__main__":
    main(sys.argv[1:])
