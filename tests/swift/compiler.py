"""Finds a Swift compiler, makes the stubs of Apple's frameworks, and compiles and runs the app with them.

``swiftc`` on the PATH is used where there is one, else the one that ``make swift`` puts into a cache folder:
a small Debian, entered with ``chroot`` in a mount namespace of its own, so that nothing stays mounted.
"""

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from helpers.ios_app import TEMPLATE

HERE = Path(__file__).resolve().parent
MISSING = (
    "No Swift compiler: `make swift` installs one on Debian (as root); elsewhere put `swiftc` on the PATH."
)

STUBS = (
    ("AppleFoundation",),
    ("Combine", "OSLog", "CoreGraphics", "XCTest"),
    ("CoreVideo", "QuartzCore", "ImageIO"),
    ("UIKit", "CoreML", "CoreMedia"),
    ("SwiftUI", "AVFoundation", "Vision"),
    ("PhotosUI",),
)
"""Each imports only from rows above it, so that the modules of a row are compiled at the same time."""

APP = "AlexNetApp"

LOGIC = (
    "Answer",
    "BundledModel",
    "Camera",
    "CaptureSession",
    "Classifier",
    "Crop",
    "Picture",
    "PhotoLoader",
    "Recognition",
)
"""The files of the app that decide something. The others show it."""


@dataclass(frozen=True)
class Compiler:
    """A compiler and the folder that it can see: ``base`` here, ``inside`` for it."""

    enter: tuple[str, ...]
    base: Path
    inside: str

    def run(self, folder: Path, *command: str, limit: int = 300) -> subprocess.CompletedProcess:
        """Run a command in a folder below ``base``. Its output is in ``stdout``, errors included."""
        where = f"{self.inside}/{folder.relative_to(self.base)}"
        return subprocess.run(
            [
                *(*self.enter, "env", "-C", where, f"HOME={self.inside}", f"TMPDIR={where}"),
                *("timeout", str(limit), *command),
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )


def find() -> Compiler | None:
    """The compiler of this machine, or None. On a Mac the stubs would meet the frameworks that they stand for."""
    if sys.platform == "darwin":
        return None
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "training-with-pytorch"
    if shutil.which("swiftc") and "SWIFT_ROOT" not in os.environ:
        base = cache / "swift-work"
        base.mkdir(parents=True, exist_ok=True)
        return Compiler((), base, str(base))
    root = Path(os.environ.get("SWIFT_ROOT") or cache / "swift")
    if not (root / "usr/bin/swiftc").is_symlink() or not shutil.which("unshare"):
        return None
    base = root / "tmp"
    # The compiler finds its own libraries through /proc.
    enter = [
        "unshare",
        "--mount",
        "sh",
        "-c",
        'mount -t proc proc "$0/proc" && exec chroot "$0" "$@"',
        str(root),
    ]
    if os.geteuid() != 0:
        enter[1:1] = ["--map-root-user", "--pid", "--fork"]
    return Compiler(tuple(enter), base, "/tmp")


class Failed(Exception):
    """The compiler said no; the message is what it said."""


class Project:
    """The app's sources in a scratch folder, compiled with the stubs.

    Args:
        compiler: as ``find`` gives it.
        changes: file of the template → (old, new), for a change that is to be noticed.
        written: a project that ``write_app`` wrote; without it the template is taken.
    """

    def __init__(
        self,
        compiler: Compiler,
        changes: dict[str, tuple[str, str]] | None = None,
        written: Path | None = None,
    ):
        self.compiler, self.modules = compiler, stubs(compiler)
        self.folder = Path(tempfile.mkdtemp(prefix="app-", dir=compiler.base))
        self.app = written.name if written else APP
        changes = dict(changes or {})
        for source in [*(written or TEMPLATE).rglob("*.swift"), HERE / "Logic.swift"]:
            text = source.read_text(encoding="utf-8").replace("__APP__", self.app)
            if source.name in changes:
                old, new = changes.pop(source.name)
                if text.count(old) != 1:
                    raise ValueError(f"{source.name} has {old!r} {text.count(old)} times, not once.")
                text = text.replace(old, new)
            place = self.folder / source.parent.name.replace("__APP__", self.app)
            place.mkdir(exist_ok=True)
            (place / source.name).write_text(_plain(text), encoding="utf-8")
        if changes:
            raise ValueError(f"The app has no {', '.join(changes)}.")

    def __enter__(self):
        return self

    def __exit__(self, *error):
        shutil.rmtree(self.folder, ignore_errors=True)

    def swiftc(self, *arguments: str) -> str:
        """What the compiler printed. Raises ``Failed`` on an error, and on a warning too."""
        flags = ["-parse-as-library", "-wmo", "-I", self.modules]
        done = self.compiler.run(self.folder, "swiftc", *flags, *arguments)
        if done.returncode or re.search(r"\b(warning|error):", done.stdout):
            raise Failed(done.stdout.strip() or f"swiftc ended with {done.returncode}")
        return done.stdout

    def sources(self, folder: str) -> list[str]:
        return sorted(f"{folder}/{path.name}" for path in (self.folder / folder).glob("*.swift"))

    def compile(self, *flags: str, simulator: bool = False, tests: bool = False) -> None:
        """Compile the app, and its tests too, to object files.

        Not ``-typecheck``: initialisation, exclusive access and data races are found after type checking.
        """
        for path in self.folder.rglob("*.swift") if simulator else ():
            text = path.read_text(encoding="utf-8")
            path.write_text(text.replace("#if targetEnvironment(simulator)", "#if true"), encoding="utf-8")
        module = ["-module-name", self.app, "-emit-module", "-emit-module-path", f"{self.app}.swiftmodule"]
        self.swiftc(*flags, *module, "-emit-object", "-o", "app.o", *self.sources(self.app))
        if tests:
            name = f"{self.app}Tests"
            self.swiftc(
                *flags, "-I", ".", "-module-name", name, "-emit-object", "-o", "tests.o", *self.sources(name)
            )

    def logic(self) -> str:
        """Build the files that decide, and their checks, into one program; run it and give what it printed."""
        objects = [f"{self.modules}/{name}.o" for row in STUBS for name in row if name != "XCTest"]
        sources = [f"{self.app}/{name}.swift" for name in LOGIC] + ["swift/Logic.swift"]
        self.swiftc(
            "-swift-version", "6", "-Onone", "-module-name", self.app, "-o", "run", *sources, *objects
        )
        done = self.compiler.run(self.folder, "./run")
        if done.returncode:
            raise Failed(done.stdout.strip() or f"the checks ended with {done.returncode}")
        return done.stdout.strip()


def _plain(text: str) -> str:
    """Apple's Foundation for Linux's; and a preview as a property: its macro needs a plugin that only Xcode has."""
    text = text.replace("import Foundation\n", "import AppleFoundation\n")
    return re.sub(
        r"^#Preview\(\"[^\"]+\"\)(?= \{)",
        lambda match: f"@MainActor @ViewBuilder private var preview{match.start()}: some View",
        text,
        flags=re.M,
    )


def stubs(compiler: Compiler) -> str:
    """Compile the stubs of Apple's frameworks once, and say where, as seen from a project's folder."""
    names = [name for row in STUBS for name in row]
    texts = {name: (HERE / f"stubs/{name}.swift").read_text(encoding="utf-8") for name in names}
    version = compiler.run(compiler.base, "swiftc", "--version").stdout
    key = hashlib.sha256((version + "".join(texts.values())).encode()).hexdigest()[:16]
    made = compiler.base / f"stubs-{key}"
    if not made.is_dir():
        fresh = Path(tempfile.mkdtemp(prefix="stubs-part-", dir=compiler.base))
        for name, text in texts.items():
            (fresh / f"{name}.swift").write_text(text, encoding="utf-8")
        with ThreadPoolExecutor(2) as pool:
            for row in STUBS:
                list(pool.map(lambda name: _stub(compiler, fresh, name), row))
        try:
            fresh.rename(made)
        except OSError:  # another process was first
            shutil.rmtree(fresh)
    return f"../{made.name}"


def _stub(compiler: Compiler, folder: Path, name: str) -> None:
    # Library evolution: an enum of Apple's may grow, so an `@unknown default` is wanted, as on a Mac.
    command = (
        "swiftc -suppress-warnings -swift-version 5 -parse-as-library -wmo -enable-library-evolution -I ."
    )
    module = f"-module-name {name} -emit-module -emit-module-path {name}.swiftmodule"
    done = compiler.run(
        folder, *command.split(), *module.split(), "-emit-object", "-o", f"{name}.o", f"{name}.swift"
    )
    if done.returncode:
        raise Failed(done.stdout)
