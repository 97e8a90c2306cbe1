"""What every test of ``helpers`` gets: a scratch artifacts folder, and no mode from outside."""

import pytest


@pytest.fixture(autouse=True)
def scratch_artifacts(tmp_path, monkeypatch):
    """The artifacts folder of this test."""
    folder = tmp_path / "artifacts"
    monkeypatch.setenv("CHAPTER_ARTIFACTS", str(folder))
    monkeypatch.delenv("CHAPTER_MODE", raising=False)
    return folder


@pytest.fixture(scope="session")
def drawings():
    """A small data set: 1,000 training and 500 test drawings."""
    from helpers.data import CIFAR10
    from helpers.drawings import make_drawings

    return CIFAR10(*make_drawings(train=1000, test=500), source="drawings")
