"""``python -m tests.swift``: try every change, and say which were noticed and which were missed."""

import sys

from tests.swift.changes import CHANGES
from tests.swift.compiler import MISSING, find

compiler = find() or sys.exit(MISSING)
missed = []
for change in CHANGES:
    said = change.noticed(compiler)
    print(f"{'noticed' if said else 'MISSED '}  {change.name:<60}  {(said or '')[:100]}", flush=True)
    missed += [] if said else [change.name]
print(f"{len(CHANGES) - len(missed)} of {len(CHANGES)} changes were noticed.")
sys.exit(bool(missed))
