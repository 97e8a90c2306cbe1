"""ONNX → Core ML: ``convert()``, called like the retired onnx_coreml package.

Notebook 04 introduces it. The operators are lowered by onnx2coreml; what is added here is
what an app needs around them (images, pixel preprocessing, class labels, names), right
lowerings where onnx2coreml has wrong ones, and a proof: no model is returned before it
has computed the same numbers as the ONNX file.

The rooms: ``graph`` reads and edits the ONNX graph, ``arguments`` and ``pictures`` check
what the caller asks for; ``sizes``, ``standard`` and ``legacy`` bring a file of somebody else
to fixed sizes and today's operators; ``lowerings``, ``activations`` and ``resize`` put operators
right (with ``access``, which reads a node), ``proof`` compares the numbers, and ``conversion`` holds ``convert``
itself. ``private_onnx2coreml`` is what is used of that package without its promise.
"""

from .conversion import convert
from .proof import VerificationError

__all__ = ["VerificationError", "convert"]
