"""The code behind the notebooks, one module for one noun.

Nothing heavy is imported here: ``import helpers`` takes milliseconds, and each
module imports what it needs itself. From the bottom of the road to the top:

=================  ==========================================================
paths              where data, artifacts and shipped weights live
mode               how long the road may take: the one reader of CHAPTER_MODE
environment        makes ``.venv`` and checks it
quiet              keeps talkative converters quiet
labels             class labels, however they are given, in their order
torch_files        reads a file of torch.save: runs nothing, costs no more than its length
onnx_files         opens an ONNX file, and says what a file is that is none
intervals          how sure a measured accuracy is
figures            one style for every figure
camera             what a camera does to a picture: blur, noise, light, distance
drawings           ten drawn classes for a machine with no data and no network
data               CIFAR-10: find, download, verify, hold in memory
model              AlexNet for 32×32 images, its normalisation inside
exportable         asked before every export: is this a network that can be written down?
checkpoints        the two ways to save and load, and the one that ships
processes          several processes that train one network (torchrun)
interrupts         Ctrl-C that lets a training step end first
training           Recipe, fit(), evaluate(), History
camera_network     makes the second checkpoint, for photos from a camera
runs               experiments: kept, loaded, compared
calibration        what a probability is worth: temperature, threshold
onnx_export        PyTorch → ONNX, with the proof that the numbers agree
coreml_runtime     runs a saved Core ML model on any operating system
coreml             PyTorch → Core ML; names, metadata, compression, the model card
netron_view        a Netron graph inside a notebook, with no server
onnx_coreml        ONNX → Core ML, with the proof that the numbers agree
photos             real photos: opened, made 32×32, put to a Core ML file
ios_app            writes the Xcode project around a converted model
bench              our training against a beginner's loop (``make bench``)
chapter            what a notebook prints first, what it proved
readme             fills the README's tables from what was measured
run                executes every notebook in order (``make run``)
=================  ==========================================================
"""

import os

# PyTorch's CPU threads wait for each other many times in a step, and by default they
# wait by spinning: the fastest way on an idle machine, and a very slow one as soon as
# a browser wants one of the cores. "Passive" lets them sleep. It has to be set before
# torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
