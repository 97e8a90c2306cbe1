"""A sample of the damaged files that `make proof` tries by the thousand, and what it found."""

import json
import os
import shutil
import subprocess
import sys
import time

import pytest

from helpers import coreml_runtime
from helpers.netron_view import pictures
from helpers.plumbing import paths
from helpers.workshop import readme
from tests.proof import fuzz


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """For each reader the folder of its whole files, made once."""
    made = {}

    def get(reader):
        if reader not in made:
            made[reader] = tmp_path_factory.mktemp(reader)
            if reader == "coreml_runtime":  # two of the five kinds: the others take ten seconds to make
                fuzz.make_networks(made[reader], ("network.mlmodel", "sparse.mlpackage"))
            else:
                fuzz.READERS[reader][0](made[reader])
        return sorted(made[reader].iterdir())

    return get


@pytest.mark.parametrize(
    ("reader", "files"), [("checkpoints", 150), ("netron_view", 60), ("coreml_runtime", 150)]
)
def test_damaged_files_are_models_or_named_errors(reader, files, whole, monkeypatch):
    monkeypatch.setattr(pictures, "BROWSERS", ())
    monkeypatch.delenv("CHROMIUM", raising=False)
    found = fuzz.open_many(reader, whole(reader), 0, files)
    assert found["broken"] == []
    answers = {answer for kind in found["answers"].values() for answer in kind}
    assert len(answers) >= 2 and "opened" in answers
    assert sum(count for kind in found["answers"].values() for count in kind.values()) == files


def test_a_number_gives_the_same_file_again_on_any_day(whole, tmp_path, monkeypatch):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
    for number in range(40):
        one, what = fuzz.damage(whole("checkpoints"), tmp_path / "a", 7, number)
        with monkeypatch.context() as patch:
            patch.setattr(time, "localtime", lambda *_: time.struct_time((2001, 2, 3, 4, 5, 6, 5, 34, 0)))
            other, same = fuzz.damage(whole("checkpoints"), tmp_path / "b", 7, number)
        assert what == same
        if one.is_file():
            assert one.read_bytes() == other.read_bytes()


def test_every_whole_file_is_opened(whole):
    for reader in fuzz.READERS:
        for path in whole(reader):
            assert fuzz.answer_to(reader, path) == "opened", path.name


@pytest.mark.parametrize(
    "error", [ZeroDivisionError("x damaged"), ValueError("another file"), ValueError("damaged \x1b[2J")]
)
def test_an_error_that_is_not_documented_is_found(error, monkeypatch, whole):
    def reader(path):
        raise error

    make, _, documented = fuzz.READERS["checkpoints"]
    monkeypatch.setitem(fuzz.READERS, "checkpoints", (make, reader, documented))
    found = fuzz.open_many("checkpoints", whole("checkpoints"), 0, 3)
    assert len(found["broken"]) == 3


@pytest.mark.parametrize(
    ("body", "why"),
    [("while True: pass", "in greedy"), ("x = b'x' * 2**31", "MemoryError")],
    ids=["time", "memory"],
)
def test_a_reader_without_bounds_is_ended_and_named(body, why, tmp_path):
    (tmp_path / "x.pth").write_bytes(b"x" * 100)
    code = f"""
from pathlib import Path
from tests.proof import fuzz
def greedy(path):
    if told:
        {body}
told = []
tell = fuzz._limit_time
fuzz._limit_time = lambda number: (tell(number), told.append(number))
fuzz.READERS["checkpoints"] = (None, greedy, (ValueError,))
fuzz.SECONDS = 1
fuzz.work("checkpoints", Path({str(tmp_path)!r}), 5, 1, 0)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=paths.ROOT)
    assert "file 5" in done.stderr
    assert why in done.stderr + done.stdout


def test_the_committed_table_holds():
    """What the long run wrote: no damaged file broke a reader, and none took more than the limits."""
    table = json.loads(fuzz.TABLE.read_text(encoding="utf-8"))
    assert set(table["readers"]) == set(fuzz.READERS)
    for row in table["readers"].values():
        assert row["files"] == row["opened"] + row["refused"] >= fuzz.FILES
        assert min(row["opened"], row["refused"]) > 0
        assert row["largest_memory_mib"] < table["memory_limit_mib"]
        assert row["longest_seconds"] < table["seconds_limit"]
        assert f"{row['opened']:,} opened" in readme.the_proofs()


# --- What chance would seldom make


@pytest.fixture
def package(whole, tmp_path):
    models = {path.name: path for path in whole("coreml_runtime")}
    return shutil.copytree(models["sparse.mlpackage"], tmp_path / "copy.mlpackage")


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
