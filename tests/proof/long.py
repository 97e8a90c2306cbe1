"""The tests that take long, which ``make test`` leaves out: ``python -m tests.proof.long``.

``tests/conftest.py`` lists them. It writes no table.
"""

import os
import subprocess
import sys

from helpers.plumbing import paths
from tests.proof.settings import PYTEST


def main() -> int:
    command = [sys.executable, "-m", "pytest", *PYTEST, "-m", "long", "tests"]
    return subprocess.run(command, cwd=paths.ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"}).returncode


if __name__ == "__main__":
    sys.exit(main())
