"""What every test of ``helpers`` gets: a scratch artifacts folder, and no mode or proxy from outside."""

import ctypes
import os
import signal
import sys

import pytest

# The servers of the tests are on this machine, and no proxy of the user's can reach them.
for name in ("no_proxy", "NO_PROXY"):
    os.environ[name] = ",".join(filter(None, [os.environ.get(name), "127.0.0.1,localhost"]))

# A script's background process ignores Ctrl-C, and so would everything here that is to be interrupted.
signal.signal(signal.SIGINT, signal.default_int_handler)


COMPUTING = "recipe batches history evaluation training processes muon interrupts runs model camera calibration onnx_export coreml coreml_operators bench"
"""The test files that compare sums of PyTorch's, which another processor may add in another order."""


def pytest_collection_modifyitems(items):
    """Mark the tests of these files."""
    for item in items:
        if item.path.stem.removeprefix("test_") in COMPUTING.split():
            item.add_marker("processor")


@pytest.fixture(autouse=True)
def scratch_artifacts(tmp_path, monkeypatch):
    """The artifacts folder of this test."""
    folder = tmp_path / "artifacts"
    monkeypatch.setenv("CHAPTER_ARTIFACTS", str(folder))
    monkeypatch.delenv("CHAPTER_MODE", raising=False)
    return folder


@pytest.fixture
def ordinary_user():
    """Takes from an administrator, for this test, the right to pass over the permissions of files.

    It is the calling thread's right on Linux (``man 7 capabilities``): a set of bits that ``capset`` changes.
    """
    if os.geteuid() != 0:
        yield
        return
    if not sys.platform.startswith("linux"):
        pytest.skip("no file is closed to an administrator here")
    system, version = ctypes.CDLL(None, use_errno=True), (ctypes.c_uint32 * 2)(0x20080522, 0)
    before = (ctypes.c_uint32 * 6)()  # twice: effective, permitted, inheritable
    assert system.capget(version, before) == 0
    less = (ctypes.c_uint32 * 6)(*before)
    less[0] &= ~0b110  # CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH
    assert system.capset(version, less) == 0
    yield
    assert system.capset(version, before) == 0


@pytest.fixture(scope="session")
def drawings():
    """A small data set: 1,000 training and 500 test drawings."""
    from helpers.data import CIFAR10
    from helpers.drawings import make_drawings

    return CIFAR10(*make_drawings(train=1000, test=500), source="drawings")


@pytest.fixture(scope="session")
def sharp_model():
    """A small AlexNet whose batch norm has seen something and whose answers are far from uniform.

    Comparing near-uniform probabilities would prove nothing.
    """
    import torch

    from helpers.model import AlexNet

    torch.manual_seed(0)
    model = AlexNet(width=0.25).train()
    with torch.no_grad():
        for _ in range(5):
            model(torch.rand(64, 3, 32, 32) * torch.rand(64, 3, 1, 1))
        model.classifier[-1].weight *= 300
    return model.eval()


@pytest.fixture(scope="session")
def grey_model(tmp_path_factory):
    """A ``.mlpackage`` for five classes of grey pictures that are wider than high; their names are no plain words."""
    import torch

    from helpers import coreml
    from helpers.onnx_coreml import convert

    folder = tmp_path_factory.mktemp("grey")
    torch.manual_seed(0)
    layers = [torch.nn.AvgPool2d(8), torch.nn.Conv2d(1, 4, 1), torch.nn.Flatten(), torch.nn.Linear(60, 5)]
    network = torch.nn.Sequential(*layers, torch.nn.Softmax(1)).eval()
    network[3].weight.data *= 10  # else its answers to all pictures were alike
    names = {"input_names": ["image"], "output_names": ["p"], "dynamo": False}
    torch.onnx.export(network, (torch.rand(1, 1, 24, 40),), folder / "a.onnx", **names)
    converted = convert(
        folder / "a.onnx",
        mode="classifier",
        image_input_names=["image"],
        class_labels=["self", "T-shirt/top", 'say "cat"', "0: \\(nil)", "👩‍🚀"],
        preprocessing_args={"image_scale": 1 / 255},
        minimum_ios_deployment_target="15",
    )
    return coreml.save(converted, folder / "Grey.mlpackage")
