"""Convert an ONNX file to Core ML, and print the proof that both compute the same."""

import argparse
import contextlib
import sys
from pathlib import Path

from helpers import coreml
from helpers.coreml.options import NETWORK_TARGETS, PROGRAM_TARGETS
from helpers.plumbing import paths

from . import arguments, conversion, proof

FORMATS = {".mlmodel": NETWORK_TARGETS, ".mlpackage": PROGRAM_TARGETS}
DEFAULTS = {".mlmodel": "13", ".mlpackage": "15"}


def main(given: list[str] | None = None) -> int:
    """Run the command. Returns the exit code: 0, or 1 with the reason on stderr; 2 for a wrong call."""
    parser = _parser()
    asked = parser.parse_args(given)
    ending = Path(asked.output).suffix
    if ending not in FORMATS:
        parser.error(f"-o {asked.output}: the file ends in {' or '.join(FORMATS)}")
    target = asked.target or DEFAULTS[ending]
    if target not in FORMATS[ending]:
        parser.error(f"--target {target}: an {ending} is for iOS {', '.join(FORMATS[ending])}")
    if not asked.image_input and (asked.scale is not None or asked.bias or asked.bgr):
        parser.error("--scale, --bias and --bgr are for pictures: say which input is one, --image-input NAME")
    try:
        job = _job(asked, target)
        if asked.verify:
            converted, agreement = proof.proved(job, conversion.lower)
        else:
            converted, agreement = proof.unproved(job, conversion.lower), None
        path = coreml.save(converted, asked.output)
    except (OSError, TypeError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    print("\n".join(_lines(job, path, agreement)))
    return 0


def _parser() -> argparse.ArgumentParser:
    usage = "%(prog)s MODEL -o OUT [options]"
    parser = argparse.ArgumentParser("python -m helpers.onnx_coreml", usage, __doc__)
    add = parser.add_argument
    add("model", metavar="MODEL", help="an .onnx")
    add("-o", "--output", required=True, metavar="OUT", help="the .mlpackage or .mlmodel to write")
    add("--image-input", action="append", metavar="NAME", help="an input that becomes a picture")
    add("--scale", type=_number, metavar="NUMBER", help="multiplies each pixel, 0 to 255: 1/255")
    add("--bias", type=_numbers, metavar="R,G,B", help="added then; a grey picture has one: --bias=-1")
    add("--bgr", action="store_true", help="the network sees blue first")
    add("--labels", metavar="FILE", help="one class label per line: makes a classifier")
    add(
        "--input-shape",
        action="append",
        type=_shape,
        metavar="SHAPE",
        help="fixes open sizes: 1,3,224,224 or NAME=1,3,224,224",
    )
    add(
        "--target",
        choices=NETWORK_TARGETS + PROGRAM_TARGETS,
        metavar="IOS",
        help=f"{', '.join(NETWORK_TARGETS)} (.mlmodel); {', '.join(PROGRAM_TARGETS)} (.mlpackage)",
    )
    add(
        "--precision",
        choices=("float32", "float16"),
        default="float32",
        metavar="KIND",
        help="float32 or float16",
    )
    add("--no-verify", dest="verify", action="store_false", help="write it without the proof")
    return parser


def _number(text: str) -> float:
    """A number, or a fraction of two: "1/255"."""
    over, _, under = text.partition("/")
    with contextlib.suppress(ValueError, ZeroDivisionError):
        return float(over) / float(under or 1)
    raise argparse.ArgumentTypeError(f"{text!r} is no number. Write one like 0.5 or 1/255")


def _numbers(text: str) -> list[float]:
    found = [_number(part) for part in text.split(",")]
    if len(found) not in (1, 3):
        raise argparse.ArgumentTypeError(f"{text!r}: give red,green,blue, or one number for a grey picture")
    return found


def _shape(text: str) -> tuple[str, tuple[int, ...]]:
    name, _, sizes = text.rpartition("=")
    try:
        return name, tuple(int(size) for size in sizes.replace("×", ",").replace("x", ",").split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r}: write whole numbers, 1,3,224,224") from None


def _job(asked, target: str) -> arguments.Job:
    """What is asked for, as ``convert`` takes it."""
    pixels = {"image_scale": asked.scale, "is_bgr": asked.bgr or None}
    colours = ("gray_bias",) if len(asked.bias or ()) == 1 else ("red_bias", "green_bias", "blue_bias")
    pixels |= dict(zip(colours, asked.bias or (), strict=False))
    images = asked.image_input, {key: value for key, value in pixels.items() if value is not None}, (), None
    shapes = dict(asked.input_shape or ())
    shape = shapes.pop("") if set(shapes) == {""} else shapes or None
    return arguments.read(
        asked.model,
        "classifier" if asked.labels else None,
        images,
        (asked.labels, coreml.LABEL),
        (None, False),
        None,
        (target, asked.precision),
        shape,
    )


def _lines(job: arguments.Job, path: Path, agreement: proof.Agreement | None) -> list[str]:
    """What was written, and the proof."""
    kind = f"ML program in {job.precision}" if job.program else "neural network"
    lines = [f"{paths.shorten(path)}: {kind} for iOS {job.target}, {coreml.size(path) / 1e6:.1f} MB"]
    for name, text in coreml.describe(path)["inputs"].items():
        lines.append(f"input {name}: {text}")
    if agreement is None:
        return [*lines, "not proved: --no-verify"]
    lines.append(f"proof: {agreement.examples} examples, ONNX Runtime against the Core ML file")
    for name, (shape, off) in agreement.outputs.items():
        name = coreml.PROBABILITIES if name == job.probabilities else name
        size = "×".join(map(str, shape)) or "1"
        lines.append(f"output {name}, {size}: largest difference {off.size:.1e} (allowed {off.limit:.1e})")
    if agreement.labels is not None:
        lines.append(f"labels: {agreement.labels} of {agreement.examples} equal")
    return lines


if __name__ == "__main__":
    sys.exit(main())
