"""Class labels, however they are given."""

import numpy as np
import pytest
import torch

from helpers.plumbing.labels import in_order

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
    for path in (tmp_path / "bad.txt", tmp_path):
        with pytest.raises(ValueError, match="no text file"):
            in_order(path)
