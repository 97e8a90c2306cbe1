"""Try every change of the app for the worse: which are noticed, which missed?

Stopped and started again, it goes on where it stopped, as long as the app, the stubs and the checks are the same.
"""

import argparse
import hashlib
import json
import sys

from helpers.ios_app import TEMPLATE
from tests.swift.changes import CHANGES
from tests.swift.compiler import HERE, MISSING, find

parser = argparse.ArgumentParser(prog="python -m tests.swift", description=__doc__)
parser.add_argument("words", nargs="*", help="only the changes with these words in their names")
words = parser.parse_args().words
compiler = find() or sys.exit(MISSING)
version = compiler.run(compiler.base, "swiftc", "--version").stdout
sources = sorted([*TEMPLATE.rglob("*.swift"), *HERE.rglob("*.swift"), *HERE.glob("*.py")])
key = hashlib.sha256(version.encode() + b"".join(path.read_bytes() for path in sources)).hexdigest()[:16]
kept = compiler.base / f"changes-{key}.json"
for former in set(compiler.base.glob("changes-*.json")) - {kept}:
    former.unlink()
done = json.loads(kept.read_text()) if kept.exists() else {}

chosen = [change for change in CHANGES if all(word in change.name for word in words)]
if not chosen:
    sys.exit(f"No change has {' and '.join(words)} in its name.")
print(version.splitlines()[0])
for place, change in enumerate(chosen, start=1):
    if change.name not in done:
        done[change.name] = change.noticed(compiler)
        kept.write_text(json.dumps(done))
    said = done[change.name]
    print(
        f"{place:>2}/{len(chosen)} {'noticed' if said else 'MISSED '}  {change.name:<60}  {(said or '')[:100]}",
        flush=True,
    )
missed = [change.name for change in chosen if not done[change.name]]
print(f"{len(chosen) - len(missed)} of {len(chosen)} changes were noticed.")
if len(done) == len(CHANGES):
    kept.unlink()
sys.exit(bool(missed))
