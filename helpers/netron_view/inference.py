"""Work out the shapes that an ONNX file does not say, in a process of its own.

onnx's inference is made for files that one trusts. At a forged Split or GatherND it ends the whole process;
for functions that call each other, for an Expand or a Gather of itself, it takes all memory and time.
"""

import subprocess
import sys

MEMORY = 2**30
"""Bytes of address space that the process may take."""

SECONDS = 2
"""Of work, not of waiting. ResNet-152 takes a tenth of one."""

PATIENCE = 120
"""Seconds to wait, on however busy a machine."""


def infer(data: bytes) -> bytes | None:
    """A serialised ``onnx.ModelProto`` with the shapes of all values, or None where that does not work out."""
    call = [sys.executable, "-P", __file__]
    try:
        done = subprocess.run(call, input=data, capture_output=True, timeout=PATIENCE)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


def _limit() -> None:
    """End this process when it takes too much. (Windows has no such limits; there it has ``PATIENCE``.)"""
    try:
        import resource
    except ImportError:
        return
    for kind, most in (
        (resource.RLIMIT_AS, MEMORY),
        (resource.RLIMIT_CPU, SECONDS + round(sum(resource.getrusage(resource.RUSAGE_SELF)[:2]))),
        (resource.RLIMIT_CORE, 0),
    ):
        _, hard = resource.getrlimit(kind)
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(kind, (most, hard))


def _main() -> None:
    from onnx import shape_inference

    _limit()
    inferred = shape_inference.infer_shapes(sys.stdin.buffer.read())
    sys.stdout.buffer.write(inferred.SerializeToString())


if __name__ == "__main__":
    _main()
