"""How fast the Core ML runtime is beside ONNX Runtime: ``python -m tests.proof.speed``.

The shipped AlexNet, float32, one thread each, the same batch. The two take turns, and what is compared is
the processor time of each turn: a busy machine makes both slower, not one.
"""

import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

import onnxruntime
import torch

from helpers import checkpoints, coreml, coreml_runtime, onnx_coreml
from helpers.onnx_export import export_onnx
from helpers.plumbing import paths

from .zoo import pictures

TABLE = paths.MEASURED / "runtime.json"
IMAGES = 256
TURNS = 9
LEAST = 0.5
"""How fast the runtime has to be, ONNX Runtime being 1."""


def seconds(function) -> float:
    start = time.process_time()
    function()
    return time.process_time() - start


def compare(session, model, images, turns=TURNS) -> dict:
    """Let ONNX Runtime and the Core ML runtime take turns.

    Args:
        session: an ``InferenceSession`` with one thread.
        model: an opened Core ML model.
        images: N×3×32×32, uint8.

    Returns:
        ``ratio``: the speed of the runtime, ONNX Runtime being 1, as the median over the turns;
        ``lowest`` and ``highest`` turn.
    """
    pixels = (images.float() / 255).numpy()

    def onnx_turn():
        session.run(None, {session.get_inputs()[0].name: pixels})

    def coreml_turn():
        model.probs(images)

    onnx_turn(), coreml_turn()
    ratios = sorted(seconds(onnx_turn) / seconds(coreml_turn) for _ in range(turns))
    return {
        "ratio": round(statistics.median(ratios), 2),
        "lowest": round(ratios[0], 2),
        "highest": round(ratios[-1], 2),
    }


def open_session(path):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def main() -> int:
    torch.set_num_threads(1)
    shipped, _ = checkpoints.load_checkpoint()
    table = {"images": IMAGES, "turns": TURNS, "threads": 1, "formats": {}}
    with tempfile.TemporaryDirectory() as folder:
        folder, labels = Path(folder), [f"class {i}" for i in range(10)]
        export_onnx(shipped, folder / "alexnet.onnx", classes=labels, batch=None)
        session = open_session(folder / "alexnet.onnx")
        export_onnx(shipped, folder / "one.onnx", classes=labels)
        for kind, target, suffix in (
            ("neural network", "13", ".mlmodel"),
            ("ML program", "15", ".mlpackage"),
        ):
            model = onnx_coreml.convert(
                folder / "one.onnx",
                mode="classifier",
                image_input_names=["image"],
                preprocessing_args={"image_scale": 1 / 255},
                class_labels=labels,
                minimum_ios_deployment_target=target,
                verify=False,
            )
            path = coreml.save(model, folder / f"alexnet{suffix}")
            found = compare(session, coreml_runtime.load(path), pictures(IMAGES, 32))
            table["formats"][kind] = found
            print(
                f"{kind}: {found['ratio']:.2f} times as fast as ONNX Runtime "
                f"({found['lowest']:.2f} to {found['highest']:.2f})",
                flush=True,
            )
    with paths.replacing(TABLE) as temporary:
        temporary.write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")
    return 0 if all(found["ratio"] >= LEAST for found in table["formats"].values()) else 1


if __name__ == "__main__":
    sys.exit(main())
