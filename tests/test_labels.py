"""Class labels, however they are given."""

import numpy as np
import pytest
import torch

from helpers.data import CLASSES
from helpers.plumbing.labels import find, in_order, meant

WANTED = ["cat", "dog", "ship"]


@pytest.mark.parametrize(
    "given",
    [
        WANTED,
        (label for label in WANTED),
        np.array(WANTED),
        {2: "ship", 0: "cat", 1: "dog"},
        {"ship": 2, "cat": 0, "dog": 1},
        {"2": "ship", "0": "cat", "1": "dog"},
        {np.int64(2): "ship", np.int64(0): "cat", np.int64(1): "dog"},
        dict.fromkeys(WANTED).keys(),
    ],
    ids=["list", "generator", "array", "numbered", "class_to_idx", "from JSON", "NumPy's numbers", "keys"],
)
def test_they_are_put_in_order(given):
    labels = in_order(given, count=3)
    assert labels == WANTED
    assert all(type(label) is str for label in labels)


def test_whole_numbers_become_texts_and_a_file_is_read(tmp_path):
    assert in_order(torch.arange(3)) == in_order(range(3)) == ["0", "1", "2"]
    assert in_order({"7": 1, "3": 0}) == ["3", "7"]
    path = tmp_path / "labels.txt"
    path.write_text("\ufeffcat\r\n\n dog\nship\n", encoding="utf-8")
    assert in_order(path) == in_order(str(path)) == WANTED


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (set(WANTED), "is a set, which has no order"),
        (frozenset(WANTED), "has no order"),
        ({1: "cat", 2: "dog"}, "none for the output 0"),
        ({0: "cat", 2: "dog"}, "none for the output 1"),
        ({"cat": 0, "dog": 0}, "does not say which label is which"),
        ({0: 1, 1: 0}, "does not say which label is which"),
        ({True: "cat", False: "dog"}, "does not say"),
        ({0: ["n01", "tench"]}, "does not say"),
        (torch.rand(3), "is float and no text"),
        (np.zeros((2, 2)), "is list and no text"),
        (enumerate(WANTED), "is tuple and no text"),
        ([b"cat"], "is bytes and no text"),
        ([True], "is bool and no text"),
        ([None], "is NoneType and no text"),
        (None, "Give a list"),
        (b"cat", "Give a list"),
        (torch.tensor(3), "Give a list"),
        ([], "class_labels is empty"),
        ({}, "class_labels is empty"),
        (["cat", "cat"], "'cat' stands twice"),
        (["caf\u00e9", "cafe\u0301"], "stands twice"),
        (["cat\n", "dog"], "no screen can show"),
        (["", "dog"], "no screen can show"),
        (["a\ud800"], "no screen can show"),
        (["cat", "dog"], "2 class labels for an output of 3"),
    ],
)
def test_what_has_no_order_or_cannot_be_shown_is_refused(given, message):
    with pytest.raises(ValueError, match=message):
        in_order(given, count=3 if message.endswith("3") else None)


def test_a_missing_file_and_one_that_is_no_text_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="no label file"):
        in_order(str(tmp_path / "gone.txt"))
    (tmp_path / "bad.txt").write_bytes(b"\xff\xfe")
    (tmp_path / "large.txt").write_text("x\n" * 2**20)
    for path in (tmp_path / "bad.txt", tmp_path / "large.txt", tmp_path):
        with pytest.raises(ValueError, match="no text file"):
            in_order(path)


FILES = {
    "cat\ndog\n\ncat\n": r"'cat' stands twice, in line 1 of .*labels\.txt and in line 4 of",
    "cat\ndo\x85g\n": r"line 2 of .*labels\.txt has 'do\\x85g', which no screen",
    "cat\n\u2028\ndog\x0bs\n": r"line 3 of .*labels\.txt has 'dog\\x0bs', which no screen",
    "\n \n": "class_labels is empty",
    '["cat", "dog"]': r"labels\.txt is JSON.*json\.loads",
    '{"0": "cat"}': r"labels\.txt is JSON.*json\.loads",
    "cat\ndog": "2 class labels for an output of 3",
}


@pytest.mark.parametrize("text", FILES)
def test_a_file_is_refused_by_the_number_of_its_line(tmp_path, text):
    (tmp_path / "labels.txt").write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=FILES[text]):
        in_order(tmp_path / "labels.txt", count=3)


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_a_file_of_any_system_is_read(tmp_path, end):
    (tmp_path / "labels.txt").write_bytes(end.join(["\ufefft-shirt/top", "", " l'œuf", "👩‍🚀 "]).encode())
    assert in_order(tmp_path / "labels.txt") == ["t-shirt/top", "l'œuf", "👩‍🚀"]


# -- found by the name of a folder --------------------------------------------------------------------

OWN = ["T-shirt/top", "Ankle boot", "car", "van", "puppies", "glass", "a", "A", "box", "buses"]


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("ankle_boot", "Ankle boot"),
        ("ANKLE-BOOT", "Ankle boot"),
        ("AnkleBoot", "Ankle boot"),
        ("tshirt/top", "T-shirt/top"),
        ("Car", "car"),
        ("a", "a"),
        ("A", "A"),
    ],
)
def test_a_label_is_found_however_it_is_written(name, label):
    assert OWN[find(name, OWN)] == label


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("automobile", "car"),
        ("cars", "car"),
        ("vans", "van"),
        ("dog", "puppies"),
        ("puppy", "puppies"),
        ("glasses", "glass"),
        ("boxes", "box"),
        ("bus", "buses"),
        ("cat", None),
        ("cap", None),
        ("glas", None),
        ("ankle", None),
        ("_", None),
        ("", None),
        ("á", None),
    ],
)
def test_a_near_name_is_proposed_by_its_meaning_and_never_taken(name, label):
    assert find(name, OWN) is None
    assert meant(name, OWN) == label


def test_a_name_that_means_two_labels_is_not_guessed():
    assert find("ankle boot", ["ankle-boot", "ankle_boot"]) is None
    assert find("ankle-boot", ["ankle-boot", "ankle_boot"]) == 0
    assert find("car", ["car", "automobile"]) == 0
    assert find("auto", ["Automobile", "truck"]) == 0
    assert meant("vehicle", list(CLASSES)) is None
    assert meant("boats", ["boat", "ship"]) is None
