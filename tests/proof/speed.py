"""How long the Core ML runtime takes beside ONNX Runtime: ``python -m tests.proof.speed``.

Opening a file, one picture, and a batch; the shipped AlexNet and MobileNetV2 at 224×224; both formats, and
float16, which Core ML computes with and ONNX Runtime does not: it has the same network in float32. One thread
each. The two take turns, and what is compared is the processor time of each turn: a busy machine makes both
slower, not one.
"""

import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

import onnxruntime
import torch
from torch import nn

from helpers import checkpoints, coreml, coreml_runtime, onnx_coreml
from helpers.onnx_export import export_onnx
from helpers.plumbing import paths

from . import zoo

TABLE = paths.MEASURED / "runtime.json"
FORMATS = {
    "neural network": ("13", None),
    "ML program": ("15", None),
    "ML program, float16": ("15", "float16"),
}
"""The iOS that each is made for, and its precision."""
BATCHES = {"alexnet": (32, 256), "mobilenet_v2": (224, 32)}
"""Height and width, and how many pictures at once."""
TURNS, REPEATS = 9, 5
MOST, FLOAT16 = {"load": 3.5, "one": 3.5, "batch": 2.0}, 1.25
"""How many times ONNX Runtime's time are too many, and how many times that where results are rounded."""


def seconds(function) -> float:
    start = time.process_time()
    function()
    return time.process_time() - start


def in_turns(ours, theirs, turns=TURNS) -> dict:
    """The time of ``ours``, that of ``theirs`` being 1: ``ratio`` (median of the turns), ``lowest``, ``highest``."""
    ours(), theirs()
    ratios = sorted(seconds(ours) / seconds(theirs) for _ in range(turns))
    found = {"ratio": statistics.median(ratios), "lowest": ratios[0], "highest": ratios[-1]}
    return {name: round(value, 2) for name, value in found.items()}


def open_session(path):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def export(name, folder: Path) -> tuple[Path, Path]:
    """A network as two ONNX files that answer probabilities: for one picture, and for batches."""
    one, many = folder / f"{name}.onnx", folder / f"{name} in batches.onnx"
    if name == "alexnet":
        shipped, _ = checkpoints.load_checkpoint()
        export_onnx(shipped, one, classes=zoo.LABELS)
        export_onnx(shipped, many, classes=zoo.LABELS, batch=None)
        return one, many
    network = nn.Sequential(zoo.make(name), nn.Softmax(1)).eval()
    example = torch.rand(2, 3, BATCHES[name][0], BATCHES[name][0])
    names = {"input_names": ["image"], "output_names": ["probs"], "external_data": False}
    batch = {"dynamic_shapes": ({0: torch.export.Dim("batch")},)}
    for path, images, dynamic in ((one, example[:1], {}), (many, example, batch)):
        with zoo.quiet():
            torch.onnx.export(network, (images,), str(path), dynamo=True, **names, **dynamic)
    return one, many


def convert(file: Path, kind: str) -> Path:
    target, precision = FORMATS[kind]
    model = onnx_coreml.convert(
        file,
        mode="classifier",
        image_input_names=["image"],
        preprocessing_args={"image_scale": 1 / 255},
        class_labels=zoo.LABELS,
        minimum_ios_deployment_target=target,
        verify=False,
        **({"compute_precision": precision} if precision else {}),
    )
    suffix = ".mlmodel" if kind == "neural network" else ".mlpackage"
    return coreml.save(model, file.with_name(f"{file.stem}, {kind}{suffix}"))


def compare(path: Path, one: Path, many: Path, images) -> dict:
    """Loading, one picture and a batch of a Core ML file, each in turns with ONNX Runtime."""
    model, singly, batches = coreml_runtime.load(path), open_session(one), open_session(many)
    pixels = (images.float() / 255).numpy()
    first, image = pixels[:1].copy(), images[:1]
    return {
        "load": in_turns(lambda: coreml_runtime.load(path), lambda: open_session(one)),
        "one": in_turns(
            lambda: [model.probs(image) for _ in range(REPEATS)],
            lambda: [singly.run(None, {singly.get_inputs()[0].name: first}) for _ in range(REPEATS)],
        ),
        "batch": in_turns(
            lambda: model.probs(images), lambda: batches.run(None, {batches.get_inputs()[0].name: pixels})
        ),
    }


def main() -> int:
    torch.set_num_threads(1)
    table: dict = {"turns": TURNS, "threads": 1, "networks": {}}
    with tempfile.TemporaryDirectory() as folder:
        for name, (size, count) in BATCHES.items():
            one, many = export(name, Path(folder))
            rows = table["networks"][name] = {"size": size, "images": count, "formats": {}}
            for kind in FORMATS:
                found = compare(convert(one, kind), one, many, zoo.pictures(count, size))
                rows["formats"][kind] = found
                words = ", ".join(f"{what} {ratio['ratio']:.2f}" for what, ratio in found.items())
                print(f"{name}, {kind}: {words} times ONNX Runtime's time", flush=True)
    with paths.replacing(TABLE) as temporary:
        temporary.write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")
    return 0 if holds(table) else 1


def holds(table: dict) -> bool:
    """Whether no time is longer than ``MOST`` allows."""
    rows = [pair for network in table["networks"].values() for pair in network["formats"].items()]
    return bool(rows) and all(
        row[what]["ratio"] <= most * (FLOAT16 if "float16" in kind else 1)
        for kind, row in rows
        for what, most in MOST.items()
    )


if __name__ == "__main__":
    sys.exit(main())
