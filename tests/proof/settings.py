"""The tests under every setting that has ever changed their verdict: ``helpers/measured/settings.json``.

    python -m tests.proof.settings [--only NAME …] [--again] [--list] [-- what pytest is to run instead …]

Every setting runs the tests as ``make test`` does, in a copy of this checkout: all of them; or, where only the
order of sums differs, those that compute (the marker ``processor``); or, where the machine around them differs,
those that meet it (``MEETING``). A copy with another Python, or for another
user, gets its own ``.venv`` (6 GB each, kept in ``artifacts/settings/`` for the next time). A row is written as
soon as its setting has run, and a program that was stopped goes on after the last one.
"""

import argparse
import contextlib
import hashlib
import json
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass, field
from pathlib import Path

from helpers.netron_view.pictures import BROWSERS
from helpers.plumbing import paths, variables
from helpers.workshop import environment, readme

TABLE = paths.MEASURED / "settings.json"
PYTEST = ["-n", "2", "--dist", "loadfile", "--no-loadscope-reorder", "-p", "tests.scratch"]
PYTEST += ["--nbval-lax", "--nbval-current-env", "--nbval-cell-timeout", "600"]
COMPUTING = ["-m", "processor and not long", "tests"]
MEETING = [
    f"tests/test_{name}.py"
    for name in [
        "checkpoints",
        "cifar10_1",
        "data",
        "environment",
        "full_disk",
        "ios_app",
        "netron_browser",
        "netron_view",
        "paths",
        "photos",
        "run",
        "runs",
    ]
] + ["notebooks/02_save_and_load.ipynb", "notebooks/05_into_an_ios_app.ipynb"]
"""Where the project meets a network, a folder, a user, a browser or another program."""
LEAST_FREE_GB = 10
LEFT_BEHIND = shutil.ignore_patterns(
    ".venv", ".git", "artifacts", "data", "photos", "__pycache__", ".*_cache", "*.egg-info"
)
WHICH = {str([]): "all", str(COMPUTING): "those that compute", str(MEETING): "those that meet the machine"}
"""What the table calls them."""
INSTRUCTIONS = {"AVX2": "avx2", "AVX512_CORE": "avx512bw", "AVX512_CORE_BF16": "avx512_bf16"}
"""What oneDNN calls them, and what Linux calls what they need."""


class NotHere(Exception):
    """A setting that this machine cannot have, and why."""


@dataclass
class Setting:
    """One way in which the tests are run.

    Attributes:
        words: what the table says.
        tests: what pytest is given; nothing stands for all.
        variables: of the environment; None takes one away.
        folder: where the copy of the checkout is to be, else somewhere.
        python: the minor version of Python 3 to run it with, else this one.
        ordinary: whether to run it as a user who is not root.
        load: whether all cores are busy with something else.
        chromium: whether there is one on the PATH.
    """

    words: str
    tests: list[str] = field(default_factory=list)
    variables: dict[str, str | None] = field(default_factory=dict)
    folder: str | None = None
    python: int | None = None
    ordinary: bool = False
    load: bool = False
    chromium: bool = True


def settings() -> dict[str, Setting]:
    """Every setting, by the name that ``--only`` takes."""
    dead = "http://127.0.0.1:9"
    proxies = {name: dead for lower in ("http_proxy", "https_proxy") for name in (lower, lower.upper())}
    no_data = dict.fromkeys(["CHAPTER_CIFAR10", "CHAPTER_MIRROR", "CHAPTER_DATA", "CHAPTER_PHOTOS"])
    no_data |= dict.fromkeys(variables.FORMER.values())
    every = {}
    for name in INSTRUCTIONS:
        words = f"`ONEDNN_MAX_CPU_ISA={name}`"
        every[name] = Setting(words, COMPUTING, {"ONEDNN_MAX_CPU_ISA": name})
    for count in (1, 2, 4):
        words = f"{count} thread{'s' * (count > 1)}"
        every[f"threads{count}"] = Setting(words, COMPUTING, {"OMP_NUM_THREADS": str(count)})
    every |= {
        "proxy": Setting("`http_proxy` and `https_proxy` at a dead port", MEETING, proxies),
        "user": Setting("an ordinary user", MEETING, ordinary=True),
        "proj": Setting("a checkout called `/proj`", MEETING, folder="/proj"),
        "name": Setting(
            "a checkout with a space, an umlaut and Chinese in its name", MEETING, folder="Öl und 模型"
        ),
        "chromium": Setting("without Chromium", MEETING, {"CHROMIUM": None}, chromium=False),
        "data": Setting("without CIFAR-10 and photos", variables=no_data),
        "load": Setting("two busy programs on every core", MEETING, load=True),
    }
    for minor in range(environment.OLDEST[1], environment.NEWEST[1] + 1):
        every[f"python3.{minor}"] = Setting(f"Python 3.{minor}", python=minor)
    return every


def instructions() -> set[str]:
    """The vector instructions of this processor, in Linux's words."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        raise NotHere("what this processor can do is not known here") from None
    return {word for line in lines if line.startswith("flags") for word in line.split(":")[1].split()}


def find_python(setting: Setting) -> str:
    """The Python for a setting.

    Raises:
        NotHere: there is none.
    """
    minors = (
        [setting.python] if setting.python else range(environment.NEWEST[1], environment.OLDEST[1] - 1, -1)
    )
    for minor in minors:
        places = [Path(f"/usr/bin/python3.{minor}"), Path(f"/usr/local/bin/python3.{minor}")]
        if not setting.ordinary:  # what lies in root's own folder is no one else's
            places += sorted(
                Path.home().glob(f".pyenv/versions/3.{minor}.*/bin/python3.{minor}"), reverse=True
            )
        for python in filter(Path.exists, places):
            if (
                subprocess.run([python, "-c", "import ensurepip, venv"], stderr=subprocess.DEVNULL).returncode
                == 0
            ):
                return str(python)
    which = f"Python 3.{setting.python}" if setting.python else "Python that an ordinary user may run"
    raise NotHere(f"there is no {which} on this machine")


@contextlib.contextmanager
def checkout(name: str, setting: Setting, user: dict):
    """A copy of this checkout for a setting: its folder and the Python to run it with."""
    own = setting.ordinary or setting.python not in (None, sys.version_info[1])
    kept = paths.artifact("settings") / name
    with contextlib.ExitStack() as stack:
        if setting.folder and os.path.isabs(setting.folder):
            folder = Path(setting.folder)
            if folder.exists():
                raise NotHere(f"there is a folder {folder} already")
        elif own and not setting.ordinary:
            folder = kept
        else:
            scratch = stack.enter_context(
                tempfile.TemporaryDirectory(prefix="settings-", ignore_cleanup_errors=True)
            )
            os.chmod(scratch, 0o755)
            folder = Path(scratch) / (setting.folder or "checkout")
        if folder is not kept:
            stack.callback(shutil.rmtree, folder, ignore_errors=True)
        try:
            shutil.copytree(paths.ROOT, folder, ignore=LEFT_BEHIND, dirs_exist_ok=True)
        except OSError as error:
            raise NotHere(f"the copy cannot be made: {error.strerror}") from error
        if user:
            subprocess.run(["chown", "-R", f"{user['user']}:{user['group']}", str(folder)], check=True)
        yield folder, install(folder, find_python(setting), user) if own else sys.executable


def install(folder: Path, python: str, user: dict) -> str:
    """Give a copy its own ``.venv``, as ``make test`` does, and return its Python."""
    if shutil.disk_usage(folder).free < LEAST_FREE_GB * 1e9:
        raise NotHere(f"fewer than {LEAST_FREE_GB} GB of disk are free")
    variables = {key: value for key, value in os.environ.items() if key not in ("PYTHON", "PYTHONPATH")}
    if user:
        variables |= {"HOME": str(folder), "PIP_NO_CACHE_DIR": "1"}
    command = [python, "-S", "helpers/workshop/environment.py", "tools"]
    done = subprocess.run(command, cwd=folder, env=variables, text=True, capture_output=True, **user)
    if done.returncode:
        raise NotHere(f"`make test` could not set it up: {done.stderr.strip().splitlines()[-1]}")
    return str(folder / ".venv/bin/python")


def programs_but(left_out: tuple, folder: Path) -> str:
    """A PATH of one folder, with a link to every program that is on the PATH now but some."""
    folder.mkdir()
    for place in os.get_exec_path():
        for program in Path(place).glob("*"):
            if program.name not in left_out:
                with contextlib.suppress(FileExistsError):
                    (folder / program.name).symlink_to(program)
    return str(folder)


def ordinary_user() -> dict:
    """What ``subprocess`` needs to run something as nobody.

    Raises:
        NotHere: only root can do that.
    """
    if os.geteuid() != 0:
        return {}  # whoever runs this is one
    nobody = pwd.getpwnam("nobody")
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


@contextlib.contextmanager
def busy():
    """Two programs on every core that do nothing but work."""
    programs = [
        subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(2 * os.cpu_count())
    ]
    try:
        yield
    finally:
        for program in programs:
            program.kill()
            program.wait()


def run(name: str, setting: Setting, tests: list[str]) -> dict:
    """The row of a setting: how many tests passed, failed and were skipped, and which failed.

    Raises:
        NotHere: it is not possible on this machine.
    """
    if name in INSTRUCTIONS and INSTRUCTIONS[name] not in instructions():
        raise NotHere(f"this processor has no {name}")
    user = ordinary_user() if setting.ordinary else {}
    variables = dict(os.environ) | {"OMP_NUM_THREADS": "1"} | setting.variables
    variables = {key: value for key, value in variables.items() if value is not None}
    with contextlib.ExitStack() as stack:
        folder, python = stack.enter_context(checkout(name, setting, user))
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True)))
        if user:
            os.chown(scratch, user["user"], user["group"])
        variables |= {"PYTHONPATH": str(folder), "HOME": str(scratch), "TMPDIR": str(scratch)}
        if not user:  # the Swift compiler lies there
            variables.setdefault("XDG_CACHE_HOME", str(Path.home() / ".cache"))
        if not setting.chromium:
            variables["PATH"] = programs_but(BROWSERS, scratch / "programs")
        if setting.load:
            stack.enter_context(busy())
        report = scratch / "report.xml"
        command = [python, "-m", "pytest", "-q", *PYTEST, f"--junitxml={report}", *(tests or setting.tests)]
        done = subprocess.run(command, cwd=folder, env=variables, stdout=subprocess.PIPE, text=True, **user)
        if done.returncode > 1 or not report.exists():
            raise RuntimeError(
                f"pytest came to no verdict (its exit code is {done.returncode}):\n{done.stdout[-3000:]}"
            )
        return read(report)


def read(report: Path) -> dict:
    """The numbers of a report in JUnit's format."""
    suite = ElementTree.parse(report).getroot()[0]
    failed = int(suite.get("failures")) + int(suite.get("errors"))
    skipped = int(suite.get("skipped"))
    cases = [case for case in suite.iter("testcase") if {"failure", "error"} & {part.tag for part in case}]
    return {
        "passed": int(suite.get("tests")) - failed - skipped,
        "failed": failed,
        "skipped": skipped,
        "which": [f"{case.get('classname')}::{case.get('name')}" for case in cases],
    }


def state() -> str:
    """One number for everything that is tested, but for the tables and the README, which proofs write; "" without git."""
    git = ["git", "ls-files", "-co", "--exclude-standard", "--deduplicate"]
    done = subprocess.run(git, cwd=paths.ROOT, text=True, capture_output=True)
    digest = hashlib.sha256()
    for name in done.stdout.splitlines():
        path = paths.ROOT / name
        if paths.MEASURED not in path.parents and name != "README.md" and path.is_file():
            digest.update(name.encode() + path.read_bytes())
    return "" if done.returncode else digest.hexdigest()[:16]


def main(arguments=None) -> int:
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))  # so that the copies are removed
    every = settings()
    parser = argparse.ArgumentParser(
        prog="python -m tests.proof.settings", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--only", nargs="+", choices=list(every), default=list(every), metavar="NAME")
    parser.add_argument(
        "--again", action="store_true", help="also what has been run on this state of the project"
    )
    parser.add_argument("--list", action="store_true", help="name the settings and stop")
    parser.add_argument("tests", nargs="*", help="what pytest is to run instead; nothing is written then")
    chosen = parser.parse_args(arguments)
    if chosen.list:
        print("\n".join(f"{name:12} {setting.words}" for name, setting in every.items()))
        return 0
    kept = json.loads(TABLE.read_text(encoding="utf-8")) if TABLE.exists() else {}
    rows, failed, now = kept.get("rows", {}), 0, state()
    for name in chosen.only:
        row = rows.get(name, {})
        if chosen.again or chosen.tests or not now or row.get("state") != now:
            row = {"words": every[name].words, "tests": WHICH[str(every[name].tests)], "state": now}
            try:
                row |= run(name, every[name], chosen.tests)
            except NotHere as reason:
                row["not_here"] = str(reason)
        print(
            f"{name:12} {row.get('not_here') or {k: row[k] for k in ('passed', 'failed', 'skipped')}}",
            flush=True,
        )
        for test in row.pop("which", []):
            print(f"{'':12} {test}")
        failed += row.get("failed", 0)
        rows[name] = row
        if not chosen.tests:
            ordered = {name: rows[name] for name in every if name in rows}
            with paths.replacing(TABLE) as temporary:
                temporary.write_text(
                    json.dumps({"rows": ordered}, indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
                )
            readme.update()  # the next setting's copy holds both, and a test compares them
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
