"""Pin every package that ``make setup`` and ``make test`` install: ``make pins``.

``requirements.txt`` names what a learner uses, ``requirements-dev.txt`` the tools of the workshop. uv works out
what these packages need in turn, for Linux, macOS and every supported Python at once, and three files keep the
answer:

``constraints.txt``
    What a learner gets: every package with its version, one a line. pip, conda and Binder read it.
``.ci/hashes.txt``
    The same with the SHA-256 of every file, which ``make setup`` insists on. PyTorch and what only its build
    for NVIDIA cards brings are left out: the smaller build for processors alone has the same version and
    other files.
``.ci/hashes-dev.txt``
    What the workshop gets on top, with the SHA-256 of every file.

With ``--newest`` every version in both files is first replaced by the newest that fits all others.
"""

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
REQUIREMENTS, TOOLS, CONSTRAINTS, HASHES, TOOL_HASHES = (
    ROOT / name
    for name in (
        "requirements.txt",
        "requirements-dev.txt",
        "constraints.txt",
        ".ci/hashes.txt",
        ".ci/hashes-dev.txt",
    )
)
UNHASHED = re.compile(r"(torch|torchvision|triton|nvidia-[\w-]+|cuda-[\w-]+)==")
PIN = re.compile(r"^([A-Za-z0-9_.-]+)==([^ #;\\\n]+)", re.M)
HEAD = "# Made by `make pins` from {}, for Linux, macOS and every supported Python.\n"


def find_uv(folder: str) -> str:
    """The command uv: the machine's own, or one in a virtual environment of its own."""
    found = shutil.which("uv")
    if not found:
        print("fetching uv", flush=True)
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        subprocess.run([f"{folder}/bin/pip", "install", "--quiet", "uv"], check=True)
        found = f"{folder}/bin/uv"
    return found


def resolve(uv: str, requirements: str, *within: str) -> list[str]:
    """One text for every package: its name, version and marker, then a line for every hash.

    ``within`` may be ``-c`` and a file that holds the versions to choose from.
    """
    options = ["--universal", "--python-version", "3.11", "--no-build", "--generate-hashes", "--upgrade"]
    quiet = ["--no-header", "--no-annotate", "--no-emit-index-url", "--quiet"]
    command = [uv, "pip", "compile", *options, *quiet, *within, "-"]
    result = subprocess.run(
        command, cwd=ROOT, input=requirements, text=True, stdout=subprocess.PIPE, check=True
    )
    return re.findall(r"^\S.*\n(?:[ ].*\n)*", result.stdout, re.M)


def one_a_line(packages: list[str]) -> str:
    """The packages without their hashes."""
    return "".join(package.split("\n")[0].removesuffix(" \\") + "\n" for package in packages)


def newest(uv: str, texts: list[str]) -> list[str]:
    """``texts`` with the newest versions that go together; of two for two Pythons the older one."""
    found = {}
    for package in resolve(uv, PIN.sub(r"\1", "\n".join(texts))):
        name, version = PIN.match(package).groups()
        found.setdefault(name, version)  # uv lists the older Python's first
    return [PIN.sub(lambda pin: f"{pin[1]}=={found[pin[1]]}", text) for text in texts]


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="make pins", description="Pin every package that make setup and make test install."
    )
    parser.add_argument("--newest", action="store_true", help="take the newest versions first")
    chosen = parser.parse_args()
    texts = [path.read_text(encoding="utf-8") for path in (REQUIREMENTS, TOOLS)]
    with tempfile.TemporaryDirectory() as folder:
        uv = find_uv(folder)
        if chosen.newest:
            texts = newest(uv, texts)
        everything = resolve(uv, "\n".join(texts))
        versions = Path(folder) / "versions"
        versions.write_text(one_a_line(everything), encoding="utf-8")
        learner = resolve(uv, texts[0], "-c", str(versions))
    for path, text in zip((REQUIREMENTS, TOOLS), texts, strict=True):
        path.write_text(text, encoding="utf-8")
    head = HEAD.format(REQUIREMENTS.name)
    CONSTRAINTS.write_text(head + one_a_line(learner))
    HASHES.write_text(head + "".join(package for package in learner if not UNHASHED.match(package)))
    on_top = [package for package in everything if package not in learner]
    TOOL_HASHES.write_text(HEAD.format(TOOLS.name) + "".join(on_top))
    pyproject = ROOT / "pyproject.toml"
    setuptools = dict(PIN.findall(texts[0]))["setuptools"]
    text = pyproject.read_text(encoding="utf-8")
    pyproject.write_text(
        re.sub(r'"setuptools==[^"]+"', f'"setuptools=={setuptools}"', text), encoding="utf-8"
    )
    print(f"{len(learner)} packages are pinned for a learner, and {len(on_top)} on top for the workshop")


if __name__ == "__main__":
    try:
        main()
    except subprocess.CalledProcessError:
        sys.exit("The versions were not found, and nothing was changed. The message above says why.")
