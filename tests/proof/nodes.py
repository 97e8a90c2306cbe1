"""The official tests of the ONNX operators, run through Core ML: ``python -m tests.proof.nodes``.

The onnx package has a test for every corner of every operator. Those whose operators have a lowering
here are converted, with constants for every input but the first, so that weights are weights; the saved
file is read back and computed by ``helpers.coreml_runtime``, and compared with the output that the test
expects. Each test passes, is refused with a reason, or fails; a wrong number without an error is a failure,
and there may be none.

``node_refusals.json`` lists what is known to be refused, by reason. The proof holds it to the truth and
writes ``helpers/measured/onnx_nodes.json``; with ``--accept`` it writes the list, too.
"""

import collections
import importlib
import importlib.metadata
import json
import re
import sys
import tempfile
import warnings
from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper

from helpers import coreml, coreml_runtime
from helpers.coreml.differences import LIMITS, largest_difference
from helpers.onnx_coreml import convert, lowerings
from helpers.plumbing import paths

MEASURED = paths.MEASURED / "onnx_nodes.json"
REFUSALS = Path(__file__).with_name("node_refusals.json")

FORMATS = {"ML program": ("15", "17"), "neural network": ("13",)}
"""The targets that are tried for each format; a newer one has more operators."""


class Refused(Exception):
    """A test that cannot be run, with the reason."""


# The cases


def cases(modules=None):
    """The tests whose every operator has a lowering.

    Args:
        modules: names in ``onnx.backend.test.case.node``, e.g. ["gelu"]; None for all.
    """
    from onnx.backend.test.case import node as collection
    from onnx.backend.test.loader import load_model_tests

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some tests divide by 0 on purpose
        if modules is None:
            everything = load_model_tests(kind="node")
        else:
            for module in modules:
                importlib.import_module(f"{collection.__name__}.{module}")
            everything = collection._NodeTestCases
    return [case for case in everything if all(lowerings.known(node, {}) for node in case.model.graph.node)]


def prepared(case):
    """The model of a test with constants for all inputs but the first, and what goes in and comes out.

    Core ML takes and gives no booleans, so these are cast at the border.
    """
    proto = onnx.ModelProto()
    proto.CopyFrom(case.model)
    body = proto.graph
    ((inputs, outputs),) = case.data_sets
    inputs, outputs = [list(map(_array, arrays)) for arrays in (inputs, outputs)]
    for value, array in list(zip(body.input, inputs, strict=True))[1:]:
        body.initializer.append(numpy_helper.from_array(np.asarray(array), value.name))
        body.input.remove(value)
    for value in body.output:
        if value.type.tensor_type.elem_type == onnx.TensorProto.BOOL:
            _cast(body, value, value.name, f"{value.name} as a number", onnx.TensorProto.FLOAT)
    first = body.input[0] if body.input else None
    if first is not None and first.type.tensor_type.elem_type == onnx.TensorProto.BOOL:
        for node in body.node:
            for index, name in enumerate(node.input):
                if name == first.name:
                    node.input[index] = f"{name} as a boolean"
        cast = helper.make_node(
            "Cast", [first.name], [f"{first.name} as a boolean"], to=onnx.TensorProto.BOOL
        )
        body.node.insert(0, cast)
        first.type.tensor_type.elem_type = onnx.TensorProto.FLOAT
    return proto, inputs[:1], outputs


def _array(value):
    if isinstance(value, onnx.TensorProto):
        return numpy_helper.to_array(value)
    if not isinstance(value, np.ndarray | np.generic):
        raise Refused("a sequence, a map or an optional value is no array")
    return value


def _cast(body, value, old: str, new: str, kind: int):
    """Let the output be the cast of what it was."""
    body.node.append(helper.make_node("Cast", [old], [new], to=kind))
    value.name = new
    value.type.tensor_type.elem_type = kind


# One case


def outcome(case, target: str) -> tuple[str, str]:
    """("passed" | "refused" | "failed", the reason)."""
    try:
        proto, inputs, expected = prepared(case)
        found = _computed(proto, inputs, target)
    except Refused as error:
        return "refused", str(error)
    for want, (name, have) in zip(expected, found.items(), strict=True):
        difference = largest_difference(want, have, LIMITS["float32"])
        if difference.too_large:
            return "failed", f"{name}: {difference}"
    return "passed", ""


def _computed(proto, inputs, target: str) -> dict:
    try:
        converted = convert(proto, minimum_ios_deployment_target=target, verify=False)
        ending = ".mlpackage" if converted.get_spec().HasField("mlProgram") else ".mlmodel"
        with tempfile.TemporaryDirectory() as folder:
            model = coreml_runtime.load(coreml.save(converted, Path(folder) / f"model{ending}"))
            answer = model.predict(dict(zip(model.inputs, inputs, strict=True)))
            return {name: answer[name] for name in model.outputs}
    except Exception as error:
        raise Refused(f"{type(error).__name__}: {error}") from error


def attempt(case, kind: str) -> tuple[str, str]:
    """The best outcome over the targets of a format; a failure at any of them counts."""
    result = ("refused", "")
    for target in FORMATS[kind]:
        result = outcome(case, target)
        if result[0] != "refused":
            break
    return result


# All of them

REASONS = [
    (r"empty arrays", "Core ML has no empty arrays"),
    (r"a sequence, a map or an optional", "Core ML has no sequences, maps or optional values"),
    (r"of the type object", "Core ML has no arrays of texts"),
    (r"of the type (u?int\d|bool)", "Core ML takes whole numbers of 32 bits with a sign only"),
    (r"of the type (float8|float4|bfloat16)", "Core ML has no floats of 4 or 8 bits, and no bfloat16"),
    (r"Cast to (FLOAT|BFLOAT16)", "Core ML has no floats of 4 or 8 bits, and no bfloat16"),
    (r"Cast to (UINT|INT)[24] ", "Core ML computes with whole numbers of 32 bits only"),
    (r"training mode", "a model in training mode is refused on purpose"),
    (r"is a constant", "the answer does not depend on the input: there is nothing to run"),
    (r"ConstantOfShape requires a constant", "the shape of the result would depend on the input"),
    (r"non_zero|whereNonZero", "the shape of the result would depend on the input"),
    (r"rank <= 5", "Core ML has arrays of at most 5 dimensions"),
    (r"mask of a Dropout", "Core ML drops nothing, so there is no mask"),
    (r"where the maximum was", "Core ML's pooling does not say where the maximum was"),
    (r"GridSample.*(rank 4|rank 5)", "Core ML samples pictures, not volumes"),
    (r"GridSample mode 'cubic'", "Core ML samples by the nearest pixel or linearly, not by cubes"),
    (r"reduce_(max|min)", "Core ML has no largest or smallest of booleans"),
    (r"LSTM with", "onnx2coreml does not lower this kind of LSTM"),
    (r"available from version 5|No available version|batch_dims", "needs iOS 14 or later"),
    (
        r"^ValueError: Core ML Tools cannot write .*(ndarray|\[\[)",
        "Core ML Tools cannot write one exponent per element",
    ),
    (
        r"deconvolution",
        "a layer's transposed convolution has no dilation",
    ),
]
"""The reason of a refusal: a pattern in the text of the error, and what it means."""


def why(text: str) -> str:
    """The reason of a refusal in words that do not change with a name or a number."""
    for pattern, reason in REASONS:
        if re.search(pattern, text):
            return reason
    return f"not explained: {text}"


def run_all(selected, kind: str, report=print) -> dict:
    """The outcome of every case in one format.

    Returns:
        ``passed``: how many; ``refused``: names by reason; ``failed``: what went wrong by name.
    """
    passed, refused, failed = 0, collections.defaultdict(list), {}
    for number, case in enumerate(selected, 1):
        result, reason = attempt(case, kind)
        passed += result == "passed"
        if result == "refused":
            refused[why(reason)].append(case.name)
        if result == "failed":
            failed[case.name] = reason
        if number % 100 == 0:
            report(f"  {kind}: {number} of {len(selected)}")
    return {"passed": passed, "refused": dict(refused), "failed": failed}


def names(listed: dict) -> set[str]:
    """The names in a list by reason."""
    return {name for group in listed.values() for name in group}


def main(accept: bool = False) -> int:
    selected = cases()
    found = {kind: run_all(selected, kind) for kind in FORMATS}
    lists = {
        kind: {reason: sorted(group) for reason, group in sorted(result["refused"].items())}
        for kind, result in found.items()
    }
    if accept:
        _write(REFUSALS, lists)
    listed = json.loads(REFUSALS.read_text(encoding="utf-8"))
    table, holds = {}, True
    for kind, result in found.items():
        for name, text in result["failed"].items():
            print(f"FAILED  {kind}: {name}: {text}")
        new, gone = names(lists[kind]) - names(listed[kind]), names(listed[kind]) - names(lists[kind])
        for name in sorted(new):
            print(f"refused, and not in {REFUSALS.name}  {kind}: {name}")
        for name in sorted(gone):
            print(f"in {REFUSALS.name}, and not refused  {kind}: {name}")
        unexplained = [reason for reason in lists[kind] if reason.startswith("not explained")]
        for reason in unexplained:
            print(f"{reason}  {kind}: {', '.join(lists[kind][reason])}")
        holds = holds and not (result["failed"] or new or gone or unexplained)
        table[kind] = {
            "tests": len(selected),
            "passed": result["passed"],
            "refused": {reason: len(group) for reason, group in lists[kind].items()},
            "failed": len(result["failed"]),
        }
        refused = len(names(lists[kind]))
        print(f"{kind}: {result['passed']} passed, {refused} refused, {table[kind]['failed']} failed")
    if holds:
        versions = {name: importlib.metadata.version(name) for name in ("onnx", "onnx2coreml", "coremltools")}
        _write(MEASURED, {"versions": versions, "formats": table})
    return 0 if holds else 1


def _write(path: Path, content) -> None:
    with paths.replacing(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main("--accept" in sys.argv[1:]))
