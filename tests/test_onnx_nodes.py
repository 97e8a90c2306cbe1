"""A sample of the official ONNX operator tests; ``make proof`` runs all of them."""

import json

import pytest

from helpers.onnx_coreml import lowerings
from tests.proof import nodes

SAMPLE = ["argmax", "div", "gelu", "mod", "pad", "reciprocal", "split"]
LISTED = json.loads(nodes.REFUSALS.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def cases():
    found = nodes.cases(SAMPLE)
    return [case for case in found if case.name.removeprefix("test_").startswith(tuple(SAMPLE))]


@pytest.mark.parametrize("kind", list(nodes.FORMATS))
def test_a_sample_ends_as_the_committed_list_says(cases, kind):
    sample = cases[::3]
    assert len(sample) > 15
    refused = nodes.names(LISTED[kind])
    found = {case.name: nodes.attempt(case, kind) for case in sample}
    expected = {case.name: "refused" if case.name in refused else "passed" for case in sample}
    assert {name: result for name, (result, _) in found.items()} == expected
    for name, (result, reason) in found.items():
        if result == "refused":
            assert name in LISTED[kind][nodes.why(reason)]


def test_the_table_is_that_of_the_list_and_nothing_failed():
    table = json.loads(nodes.MEASURED.read_text(encoding="utf-8"))["formats"]
    for kind, row in table.items():
        assert row["failed"] == 0
        assert row["refused"] == {reason: len(group) for reason, group in LISTED[kind].items()}
        assert row["passed"] + len(nodes.names(LISTED[kind])) == row["tests"]


def test_a_wrong_number_is_a_failure(cases, monkeypatch):
    """onnx2coreml's own Gelu takes the wrong formula for 'tanh', 0.0005 off: that must show."""
    (case,) = [case for case in cases if case.name == "test_gelu_tanh_1"]
    assert nodes.outcome(case, "15")[0] == "passed"
    monkeypatch.delitem(lowerings.LOWERINGS, "Gelu")
    assert nodes.outcome(case, "15")[0] == "failed"
