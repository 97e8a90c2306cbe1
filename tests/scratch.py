"""Pytest plugin: notebooks run as tests in smoke mode, each in a scratch folder of its own.

So every notebook is opened first, with nothing that an earlier one has made, and
the checkout stays as it is.
"""

import os
import tempfile
from pathlib import Path

import nbval.plugin
import pytest


class ScratchKernel(nbval.plugin.RunningKernel):
    """A kernel whose working directory is the notebook's scratch folder."""

    def __init__(self, kernel_name, cwd=None, startup_timeout=60):
        super().__init__(kernel_name, os.environ["CHAPTER_ARTIFACTS"], startup_timeout)


nbval.plugin.RunningKernel = ScratchKernel
_folders = {}


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item):
    if item.path.suffix == ".ipynb" and item.path not in _folders:
        _folders[item.path] = tempfile.TemporaryDirectory(prefix=f"{item.path.stem}-")
        os.environ["CHAPTER_ARTIFACTS"] = str(Path(_folders[item.path].name))
        os.environ["CHAPTER_MODE"] = "smoke"


def pytest_sessionfinish():
    for folder in _folders.values():
        folder.cleanup()
