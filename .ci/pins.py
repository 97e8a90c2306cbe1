"""Pin every package that ``make setup`` installs: ``make pins``.

``requirements.txt`` names what the project uses itself. uv works out what these packages need in turn, for
Linux, macOS and every supported Python at once, and two files keep the answer:

``constraints.txt``
    Every package with its version, one a line. pip, conda and Binder read it.
``.ci/hashes.txt``
    The same with the SHA-256 of every file, which ``make setup`` insists on. PyTorch and what only its build
    for NVIDIA cards brings are left out: the smaller build for processors alone has the same version and
    other files.

With ``--newest`` every version in ``requirements.txt`` is first replaced by the newest that fits all others.
"""

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
REQUIREMENTS, CONSTRAINTS, HASHES = (
    ROOT / name for name in ("requirements.txt", "constraints.txt", ".ci/hashes.txt")
)
UNHASHED = re.compile(r"(torch|torchvision|triton|nvidia-[\w-]+|cuda-[\w-]+)==")
PIN = re.compile(r"^([A-Za-z0-9_.-]+)==([^ #;\\\n]+)", re.M)
HEAD = "# Made by `make pins` from requirements.txt, for Linux, macOS and every supported Python.\n"


def find_uv(folder: str) -> str:
    """The command uv: the machine's own, or one in a virtual environment of its own."""
    found = shutil.which("uv")
    if not found:
        print("fetching uv", flush=True)
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        subprocess.run([f"{folder}/bin/pip", "install", "--quiet", "uv"], check=True)
        found = f"{folder}/bin/uv"
    return found


def resolve(uv: str, requirements: str) -> list[str]:
    """One text for every package: its name, version and marker, then a line for every hash."""
    options = ["--universal", "--python-version", "3.11", "--no-build", "--generate-hashes", "--upgrade"]
    quiet = ["--no-header", "--no-annotate", "--no-emit-index-url", "--quiet"]
    command = [uv, "pip", "compile", *options, *quiet, "-"]
    result = subprocess.run(
        command, cwd=ROOT, input=requirements, text=True, stdout=subprocess.PIPE, check=True
    )
    return re.findall(r"^\S.*\n(?:[ ].*\n)*", result.stdout, re.M)


def newest(uv: str, requirements: str) -> str:
    """``requirements`` with the newest versions that go together; of two for two Pythons the older one."""
    found = {}
    for package in resolve(uv, PIN.sub(r"\1", requirements)):
        name, version = PIN.match(package).groups()
        found.setdefault(name, version)  # uv lists the older Python's first
    return PIN.sub(lambda pin: f"{pin[1]}=={found[pin[1]]}", requirements)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="make pins", description="Pin every package that make setup installs."
    )
    parser.add_argument("--newest", action="store_true", help="take the newest versions first")
    chosen = parser.parse_args()
    requirements = REQUIREMENTS.read_text(encoding="utf-8")
    with tempfile.TemporaryDirectory() as folder:
        uv = find_uv(folder)
        if chosen.newest:
            requirements = newest(uv, requirements)
        packages = resolve(uv, requirements)
    REQUIREMENTS.write_text(requirements, encoding="utf-8")
    CONSTRAINTS.write_text(HEAD + "".join(p.split("\n")[0].removesuffix(" \\") + "\n" for p in packages))
    HASHES.write_text(HEAD + "".join(p for p in packages if not UNHASHED.match(p)))
    pyproject = ROOT / "pyproject.toml"
    setuptools = dict(PIN.findall(requirements))["setuptools"]
    text = pyproject.read_text(encoding="utf-8")
    pyproject.write_text(
        re.sub(r'"setuptools==[^"]+"', f'"setuptools=={setuptools}"', text), encoding="utf-8"
    )
    print(f"{len(packages)} packages are pinned in {CONSTRAINTS.name} and {HASHES.name}")


if __name__ == "__main__":
    try:
        main()
    except subprocess.CalledProcessError:
        sys.exit("The versions were not found, and nothing was changed. The message above says why.")
