"""The code behind the notebooks, one module for one noun.

Nothing heavy is imported here: ``import helpers`` takes milliseconds, and each
module imports what it needs itself. From the bottom of the road to the top:

=================  ==========================================================
paths              where data, artifacts and shipped weights live
environment        makes ``.venv`` and checks it
figures            one style for every figure
data               CIFAR-10: find, download, verify, hold in memory
drawings           ten drawn classes for a machine with no data and no network
model              AlexNet for 32×32 images, its normalisation inside
training           Recipe, fit(), evaluate(), History
checkpoints        the two ways to save and load, and the safe third
onnx_export        PyTorch → ONNX, with the proof that the numbers agree
onnx_coreml        ONNX → Core ML
coreml             what a Core ML model needs on the phone: names and metadata
chapter            the mode, what a notebook prints first, what it proved
run                executes every notebook in order (``make run``)
=================  ==========================================================
"""

import os

# PyTorch's CPU threads wait for each other many times in a step, and by default they
# wait by spinning: the fastest way on an idle machine, and a very slow one as soon as
# a browser wants one of the cores. "Passive" lets them sleep. It has to be set before
# torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
