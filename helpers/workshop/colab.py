"""What a notebook calls that was opened alone, on Colab or on a machine of one's own: ``install``.

Such a machine has packages of its own, PyTorch first of all. They are used as they are; only what is missing
is installed, and nothing that is there changes its version.
"""

import re
import subprocess
import sys
import tempfile
from importlib import invalidate_caches, metadata
from pathlib import Path

from packaging.version import Version

ROOT = Path(__file__).parents[2]

OLDEST = {"torch": "2.12", "torchvision": "0.27", "numpy": "2.0"}
"""Older versions have not been tried, and are refused."""

OF_A_LAB = {
    "ipykernel", "jupyterlab", "nbclient", "nbconvert", "nbformat", "nbstripout", "psutil", "setuptools",
}  # fmt: skip
"""What the series needs to be opened and run on a machine of one's own, and no notebook imports."""


def installed() -> dict[str, str]:
    """Every package that is here, with its version."""
    found = {}
    for one in metadata.distributions():
        if one.metadata["Name"]:
            found.setdefault(re.sub(r"[-_.]+", "-", one.metadata["Name"]).lower(), one.version)
    return found


def wanted() -> dict[str, str]:
    """The packages that the notebooks import, with the versions that the series pins."""
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    pins = dict(re.match(r"([\w-]+)==(\S+)", line).groups() for line in lines if "==" in line.split("#")[0])  # type: ignore[union-attr]
    return {name: version for name, version in pins.items() if name not in OF_A_LAB}


def install() -> None:
    """Install what the notebooks need and this machine lacks.

    Raises:
        ImportError: a package that is here is too old, or pip could not install one that is missing.
    """
    here, pins = installed(), wanted()
    old = [
        f"{name} {here[name]} (needed: {oldest} or newer)"
        for name, oldest in OLDEST.items()
        if name in here and Version(here[name]) < Version(oldest)
    ]
    if old:
        raise ImportError(
            f"Too old here: {', '.join(old)}. Choose a newer runtime (on Colab: Runtime, Change runtime type), "
            "or run the series on your own machine, where `make lab` needs nothing that is there already."
        )
    missing = {name: version for name, version in pins.items() if name not in here}
    if missing:
        print(f"Installing {', '.join(missing)} …", flush=True)
        _pip(missing, here)
        invalidate_caches()
    kept = [f"{name} {here[name]}" for name in OLDEST if name in here]
    print(f"The project is in {ROOT.name}/. {'Used as they are: ' + ', '.join(kept) + '.' if kept else ''}")


def _pip(missing: dict[str, str], here: dict[str, str]) -> None:
    """Install packages and change nothing that is here: the pinned versions, or those that go with it."""
    with tempfile.TemporaryDirectory() as folder:
        constraints = Path(folder) / "constraints.txt"
        constraints.write_text("".join(f"{name}=={version}\n" for name, version in here.items()))
        for names in ([f"{name}=={version}" for name, version in missing.items()], list(missing)):
            command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
            done = subprocess.run(
                [*command, "--constraint", str(constraints), *names], text=True, capture_output=True
            )
            if done.returncode == 0:
                return
    last = [line for line in done.stderr.splitlines() if line.strip()][-3:]
    raise ImportError(
        f"pip could not install {', '.join(missing)} beside what is here. Its last words:\n"
        + "\n".join(last)
        + "\nRun the series on your own machine (`make lab`), or in a new, empty environment."
    )
