"""Run every long proof, one after the other: ``make proof``.

Each is a module of its own (``python -m tests.proof.NAME``) that proves at length
what ``make test`` samples, and writes its table to ``helpers/measured/``. In the end
the README shows what the tables say.
"""

import subprocess
import sys
from pathlib import Path

from helpers import readme

PROOFS = sorted(path.stem for path in Path(__file__).parent.glob("*.py") if not path.stem.startswith("_"))


def main() -> int:
    failed = []
    for name in PROOFS:
        print(f"\n{name}", flush=True)
        if subprocess.run([sys.executable, "-m", f"tests.proof.{name}"]).returncode:
            failed.append(name)
    readme.update()
    print(
        f"\n{len(PROOFS) - len(failed)} of {len(PROOFS)} proofs hold"
        + (f"; not: {', '.join(failed)}" if failed else "")
    )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
