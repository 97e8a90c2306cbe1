"""What is used of onnx2coreml although it does not promise it: its own lowerings, one by one.

Checked with version 1.1.0. Nothing here changes the package.
"""

from helpers.plumbing.quiet import quiet

CHECKED_WITH = "1.1.0"


def own_lowering(kind: str):
    """onnx2coreml's function (context, node) for an operator, None if it has none."""
    with quiet():
        from onnx2coreml._lowering import resolve

    return resolve(kind)
