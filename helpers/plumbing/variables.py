"""What is set from outside: the one place that reads this project's environment variables.

===================  ==================================================================
CHAPTER_MODE         how long the road may take: quick, full or smoke (``mode``)
CHAPTER_DATA         the folder for the data sets, in place of ``data/``
CHAPTER_CIFAR10      a shared folder with ``cifar-10-batches-py/`` in it, looked in first
CHAPTER_MIRROR       the address of a copy of CIFAR-10's archive, asked first
CHAPTER_PHOTOS       the folder of the learner's own photos, in place of ``photos/``
CHAPTER_ARTIFACTS    the folder for everything that is made, in place of ``artifacts/``
CHAPTER_LANGUAGE     the language of the answers, in place of the notebook's (``language``)
===================  ==================================================================

``make setup`` imports this with whatever Python 3 the machine has.
"""

import os

FORMER = {"CHAPTER_CIFAR10": "CIFAR10_ROOT", "CHAPTER_MIRROR": "CIFAR10_MIRROR"}
"""What two of them were called before. The old names still work."""

_said: set = set()


def called(name: str) -> str:
    """The name under which a variable is set: its former one, if it is set under that alone."""
    former = FORMER.get(name, name)
    return former if os.environ.get(former) and not os.environ.get(name) else name


def read(name: str) -> str:
    """The value of a variable, "" where it is not set or empty.

    Where it is set under its former name, a printed line says so, once in a process.
    """
    found = called(name)
    if found != name and found not in _said:
        _said.add(found)
        print(f"{found} still works; its name is {name} now.")
    return os.environ.get(found, "")
