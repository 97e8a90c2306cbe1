"""What CONTRIBUTING.md says of the house and of the commands is true."""

import re

import pytest

from helpers import chapter
from helpers.plumbing import paths
from helpers.plumbing.measured import read
from helpers.workshop import house

TEXT = house.CONTRIBUTING.read_text(encoding="utf-8")


def test_the_picture_of_the_house_is_that_of_the_imports():
    assert house.filled(TEXT) == TEXT, "Draw it anew: python -m helpers.workshop.house"


def test_a_text_without_a_place_for_the_picture_is_refused():
    with pytest.raises(ValueError, match="no place for the picture"):
        house.filled("# Carrying on\n")


def test_an_import_that_the_arrows_say_already_is_not_drawn(monkeypatch):
    found = {"top": {"middle", "bottom", "plumbing.paths"}, "middle": {"bottom"}, "bottom": set()}
    found |= {"plumbing.paths": set(), "workshop.run": {"top"}}
    monkeypatch.setattr(house, "imports", lambda: found)
    assert house.arrows() == [("top", "middle"), ("middle", "bottom")]


def test_imports_inside_functions_and_of_names_are_found():
    found = house.imports()
    assert {"drawings", "plumbing.paths", "plumbing.mode"} <= found["data"]
    assert "netron_view" in found["workshop.run"]  # inside a function
    assert "netron_view" not in found["netron_view"]


def test_every_target_has_its_cost():
    makefile = (paths.ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z]+):.*## ", makefile, re.M)) - {"help"}
    rows = set(re.findall(r"`([a-z]+)[^`]*`", " ".join(re.findall(r"^\| (`.+?) \|", TEXT, re.M))))
    assert rows == targets


def test_the_times_of_the_targets_are_the_measured_ones():
    seconds = {name: sum(one["seconds"].values()) for name, one in read("notebooks").items()}
    for target, took in {
        "`run`": seconds["quick"],
        "`run MODE=full`": seconds["full"],
        "`notebooks`": seconds["quick"] + seconds["full"],
    }.items():
        assert re.search(rf"^\| {re.escape(target)} \|.*\| {chapter.in_words(took)} \|", TEXT, re.M), (
            target,
            took,
        )


def test_every_file_that_is_named_is_there():
    for name in re.findall(r"`((?:helpers|tests|notebooks)/[\w./-]+)`", TEXT):
        if "name" not in name and "NN" not in name:
            assert (paths.ROOT / name).exists() or (paths.ROOT / f"{name}.py").exists(), name
