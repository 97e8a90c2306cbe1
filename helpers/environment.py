"""The environment: makes ``.venv`` (``make setup``) and checks it (notebook 00).

Run by the machine's own Python before anything is installed, so it uses the
standard library alone, and the words in it stay readable to a Python that is
too old to run the rest: it has to tell its owner so.
"""

from __future__ import print_function

import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
VENV = os.path.join(ROOT, ".venv")
VENV_PYTHON = os.path.join(VENV, "bin", "python")
STAMP = os.path.join(VENV, ".complete")
OLDEST, NEWEST = (3, 11), (3, 13)
LEAST_FREE_GB = 3

# Runs in .venv: prints what the pinned requirements and the installed versions disagree on.
COMPARE = """
import re, sys
from importlib.metadata import version
for name, wanted in re.findall(r"^([A-Za-z0-9_.-]+)==([^ #;]+)", open(sys.argv[1]).read(), re.M):
    try:
        found = version(name) or "damaged"
    except Exception:
        found = "missing"
    if found.split("+")[0] != wanted:
        print(name, wanted, found)
import helpers
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
    machine = (platform.system(), platform.machine())
    if machine[0] == "Windows" or machine in (("Linux", "aarch64"), ("Linux", "arm64")):
        stop(
            "coremltools has no build for %s on %s. It runs on macOS, on Linux with an x86-64 processor, "
            "and on Windows inside WSL (see README, Platforms)." % machine
        )


def wanted_stamp():
    """What a complete .venv was made from: the pins, in one number."""
    with open(os.path.join(ROOT, "requirements.txt"), "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()


def venv_version():
    """Python's (major, minor) in .venv, or None if there is none that runs."""
    try:
        code = "import sys; print(*sys.version_info[:2])"
        text = subprocess.check_output([VENV_PYTHON, "-c", code], stderr=subprocess.DEVNULL)
        return tuple(int(n) for n in text.split())
    except (OSError, subprocess.CalledProcessError, ValueError):
        return None


def why_incomplete():
    """Why .venv must be (re)made: a sentence, or "" if it is complete."""
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
    try:
        with open(STAMP) as file:
            stamp = json.load(file)
    except (OSError, ValueError):
        return "an installation was broken off; making it again"
    if stamp != wanted_stamp():
        return "requirements.txt has changed; making it again"
    compare = [VENV_PYTHON, "-c", COMPARE, os.path.join(ROOT, "requirements.txt")]
    result = subprocess.run(compare, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd="/")
    if result.returncode or result.stdout.strip():
        package = result.stdout.decode().split("\n")[0] or "helpers"
        return "a package is not the pinned one (%s); making it again" % package
    return ""


def pip_install(*arguments):
    """Run pip in .venv, show what it downloads, and explain a failure in one sentence."""
    command = [VENV_PYTHON, "-m", "pip", "install", "--disable-pip-version-check", "--progress-bar", "off"]
    process = subprocess.Popen(
        command + list(arguments),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        universal_newlines=True,
        cwd=ROOT,
    )
    lines = []
    for line in process.stdout:
        lines.append(line.rstrip())
        size = re.search(r"Downloading (\S+?)-(\S+?)-\S+ \((\d{2,}(?:\.\d+)? [MG]B)\)", line)
        if size:
            print("  downloading %s %s (%s)" % size.groups())
        elif line.startswith("Installing collected packages"):
            print("  unpacking %d packages" % len(line.split(",")))
        sys.stdout.flush()
    if process.wait() == 0:
        return
    text = "\n".join(lines)
    if "No space left on device" in text or "Errno 28" in text:
        stop(
            "The disk is full: %.1f GB are left in %s, and the packages take about 6 GB on Linux. "
            "Free some space, then run the same command again." % (free_gb(), ROOT)
        )
    if re.search(r"NewConnectionError|NameResolutionError|Max retries|ReadTimeout|ConnectionError", text):
        stop(
            "The package index could not be reached. Check the network, then run the same command again: "
            "what was downloaded is kept."
        )
    stop("pip could not install the requirements; its last lines say why:\n\n" + "\n".join(lines[-15:]))


def free_gb():
    return shutil.disk_usage(ROOT).free / 1e9


def setup():
    """Make ``.venv`` complete; does nothing when it is."""
    reason = why_incomplete()
    if not reason:
        return
    check_python()
    if free_gb() < LEAST_FREE_GB:
        stop(
            "The disk is full: %.1f GB are left in %s, and at least %d GB are needed (about 6 GB with PyTorch's "
            "usual Linux build). Free some space, then run the same command again."
            % (free_gb(), ROOT, LEAST_FREE_GB)
        )
    print(".venv: %s (Python %s)" % (reason, platform.python_version()))
    try:
        subprocess.run([sys.executable, "-m", "venv", "--clear", VENV], check=True)
        print("installing the pinned packages: a few minutes the first time, once")
        pip_install("-r", os.path.join(ROOT, "requirements.txt"))
        pip_install("--no-deps", "--editable", ROOT)
        with open(STAMP + ".partial", "w") as file:
            json.dump(wanted_stamp(), file)
        os.replace(STAMP + ".partial", STAMP)
    except subprocess.CalledProcessError as error:
        stop(
            "Could not make %s: '%s' failed. Its message stands above."
            % (VENV, " ".join(map(str, error.cmd[:4])))
        )
    except OSError as error:
        stop(
            "Could not make %s: %s. Free the space or the permission, then run the same command again."
            % (VENV, error.strerror)
        )
    except KeyboardInterrupt:
        stop("Interrupted. Run the same command again: it starts over, and what was downloaded is kept.")
    print(".venv: complete")


def check():
    """One row per requirement of the notebooks: ``(ok, what, found)``.

    Notebook 00 prints them. A row fails when the learner cannot go on without
    doing something about it, and ``found`` then says what.
    """
    from importlib.metadata import PackageNotFoundError, version

    rows = [(supported(sys.version_info), names_of_supported(), "Python " + platform.python_version())]
    with open(os.path.join(ROOT, "requirements.txt")) as file:
        pins = re.findall(r"^([A-Za-z0-9_.-]+)==([^ #;\n]+)", file.read(), re.M)
    for name, wanted in pins:
        try:
            found = version(name)
        except PackageNotFoundError:
            found = "missing: run `make setup`, then choose .venv as the kernel"
        ok = found.split("+")[0] == wanted
        rows.append(
            (
                ok,
                "%s %s" % (name, wanted),
                found if ok or "missing" in found else found + ": run `make setup`",
            )
        )
    free = free_gb()
    rows.append(
        (free > 1, "1 GB of free disk", "%.0f GB" % free if free > 1 else "%.1f GB: free some" % free)
    )
    return rows


if __name__ == "__main__":
    setup()
