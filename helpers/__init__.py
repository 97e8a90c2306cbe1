"""The code behind the notebooks.

**A flat file is a module of the lessons; a folder is a machine behind one function, or a room that a
reader of the lessons need not enter.** Each module imports what it needs itself, and
``import helpers`` takes milliseconds.

The lessons, in the order in which the notebooks introduce them:

==============  ==  ==========================================================
chapter         00  what every notebook says at its start and keeps at its end
data            00  CIFAR-10: find, verify, hold in memory
drawings        00  ten drawn classes, for a machine with no data and no network
figures         00  one style for every figure
recipe          00  everything that decides how a training ends
training        00  fit(): the training loop, its optimiser and its schedule
model           01  AlexNet for 32×32 images, its normalisation inside
batches         01  the training images, shuffled, shifted and mirrored
muon            01  the optimiser of the hidden layers
history         01  what happened in a training, epoch by epoch
evaluation      01  evaluate(): what a network says about a set of images
checkpoints     01  the two ways to save and load a network, and the one that ships
runs            01  experiments: kept, loaded, compared
benchmark       01  what each trick is worth, as measured
onnx_export     03  PyTorch → ONNX, with the proof that the numbers agree
calibration     05  what a probability is worth: temperature, threshold
photos          06  real photos: opened, made 32×32, put to a Core ML file
camera          06  what a camera does to a picture: blur, noise, light, distance
intervals       06  how sure a measured accuracy is
normalisation   07  normalise_inside(): transforms.Normalize moved into a network
==============  ==  ==========================================================

The machines, each behind one function:

==============  ==  ==========================================================
exercises       00  check(), hint(), solution(): the exercises at a notebook's end
torch_files     02  read(): a file of torch.save, with nothing in it run
netron_view     03  show(): a Netron graph inside a notebook, with no server
onnx_coreml     04  convert(): ONNX → Core ML, with the proof that the numbers agree
coreml          04  from_torch(): PyTorch → Core ML; names, compression, the model card
coreml_runtime  04  load(): runs a saved Core ML model on any operating system
ios_app         05  write_app(): the Xcode project around a converted model
phone           06  serve(): a page for a phone that asks a Core ML file and collects labelled photos
==============  ==  ==========================================================

``plumbing/`` is what all of them stand on (paths, the mode, the device, interruptions), ``workshop/`` is for
those who maintain the series (the benchmark, ``make run``, the README's tables), ``measured/`` and ``pretrained/``
are data.
"""

import os

# PyTorch's CPU threads wait for each other many times in a step, and by default they
# wait by spinning: the fastest way on an idle machine, and a very slow one as soon as
# a browser wants one of the cores. "Passive" lets them sleep. It has to be set before
# torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
