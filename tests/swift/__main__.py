"""``python -m tests.swift [WORD]``: try every change (whose name has WORD in it): which are noticed, which missed?"""

import sys

from tests.swift.changes import CHANGES
from tests.swift.compiler import MISSING, find

compiler = find() or sys.exit(MISSING)
chosen = [change for change in CHANGES if all(word in change.name for word in sys.argv[1:])]
missed = []
for change in chosen:
    said = change.noticed(compiler)
    print(f"{'noticed' if said else 'MISSED '}  {change.name:<60}  {(said or '')[:100]}", flush=True)
    missed += [] if said else [change.name]
print(f"{len(chosen) - len(missed)} of {len(chosen)} changes were noticed.")
sys.exit(bool(missed))
