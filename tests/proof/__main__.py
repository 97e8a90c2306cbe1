"""Run every long proof, one after the other: ``make proof``.

Each is a module of its own (``python -m tests.proof.NAME``) that proves at length
what ``make test`` samples, and writes its table to ``helpers/measured/``. In the end
the README shows what the tables say.
"""

import subprocess
import sys
from pathlib import Path

from helpers.workshop import readme
from tests.proof import photos

PROOFS = sorted(path.stem for path in Path(__file__).parent.glob("*.py") if not path.stem.startswith("_"))


def main() -> int:
    codes = {}
    for name in PROOFS:
        print(f"\n{name}", flush=True)
        codes[name] = subprocess.run([sys.executable, "-m", f"tests.proof.{name}"]).returncode
    readme.update()
    missing = [name for name, code in codes.items() if code == photos.NOT_RUN]
    failed = [name for name, code in codes.items() if code and name not in missing]
    held = len(codes) - len(missing) - len(failed)
    print(
        f"\n{held} proofs hold; failed: {', '.join(failed) or 'none'}; not run: {', '.join(missing) or 'none'}"
    )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
