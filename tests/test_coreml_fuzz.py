"""A sample of the damaged files that `make proof` tries by the thousand, and what it found."""

import os
import shutil

import pytest

from helpers import coreml_runtime
from tests.proof import fuzz


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    return fuzz.make_models(tmp_path_factory.mktemp("models"), ("network.mlmodel", "sparse.mlpackage"))


def test_damaged_files_are_models_or_named_errors(models):
    answers = fuzz.attack(models, 300)
    counts = [count for kind in answers.values() for count in kind.values()]
    assert sum(counts) >= 300
    assert {"opened", "ValueError"} <= {answer for kind in answers.values() for answer in kind}


@pytest.fixture
def package(models, tmp_path):
    return shutil.copytree(models[1], tmp_path / "copy.mlpackage")


def test_a_pipe_in_the_place_of_a_file_does_not_wait(package):
    for file in sorted(f for f in package.rglob("*") if f.is_file()):
        content = file.read_bytes()
        file.unlink()
        os.mkfifo(file)
        with pytest.raises(ValueError, match="is missing"):
            coreml_runtime.load(package)
        file.unlink()
        file.write_bytes(content)
    coreml_runtime.load(package)


@pytest.mark.parametrize(
    "text",
    [
        '{"itemInfoEntries": [], "rootModelIdentifier": 0}',
        '{"itemInfoEntries": {"a": {"path": "%s"}}, "rootModelIdentifier": "a"}' % ("x" * 5000),
        "1" * 5000,
        "[" * 100_000,
        "\xff",
    ],
    ids=["a list", "a long name", "a long number", "deep", "no UTF-8"],
)
def test_a_strange_manifest_is_an_error(package, text):
    (package / "Manifest.json").write_text(text, encoding="latin-1")
    with pytest.raises(ValueError, match=r"copy\.mlpackage: "):
        coreml_runtime.load(package)
