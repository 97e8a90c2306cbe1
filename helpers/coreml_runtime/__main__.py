"""Ask a Core ML model about pictures, or compare it with the ONNX file that it came from."""

import argparse
import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from helpers import coreml_runtime
from helpers.plumbing import onnx_files
from helpers.plumbing.errors import first_line
from helpers.plumbing.photo_files import open_photo

from .features import PIL_MODES, ImageInput


def main(arguments: list[str] | None = None) -> int:
    """Run the command. Returns the exit code: 0, or 1 with the reason on stderr, or when the two differ."""
    parser = argparse.ArgumentParser(prog="python -m helpers.coreml_runtime", description=__doc__)
    parser.add_argument("model", metavar="MODEL", help="an .mlmodel or .mlpackage; alone: what it takes")
    parser.add_argument(
        "pictures", metavar="PICTURE", nargs="*", help="JPEG, HEIC, PNG or the like, of any size"
    )
    parser.add_argument(
        "--check", metavar="MODEL.onnx", help="compare with ONNX Runtime, on noise and pictures"
    )
    parser.add_argument("--tolerance", metavar="T", type=float, help="what may differ: 1e-4, in float16 1e-2")
    parser.add_argument("--top", metavar="N", type=int, default=3, help="how many classes are printed: 3")
    parser.add_argument("--squash", action="store_true", help="fit pictures in whole, not only their centre")
    chosen = parser.parse_args(arguments)
    if chosen.top < 1 or (chosen.tolerance is not None and not chosen.tolerance > 0):
        parser.error("--top and --tolerance have to be above 0")
    try:
        model = coreml_runtime.load(chosen.model)
        examples = [_opened(model, path, chosen.squash) for path in chosen.pictures]
        for path, example in zip(chosen.pictures, examples, strict=True):
            print(f"{Path(path).name}: {_shown(model.predict(example), chosen.top)}")
        if chosen.check:
            return _check(model, Path(chosen.check), examples, chosen.tolerance)
        if not examples:
            print(model)
    except (OSError, ValueError, RuntimeError, ImportError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _opened(model, path, squash) -> dict:
    """A picture as the model's input, in its size and colours; opened as ``helpers.photos`` does."""
    feature = next(iter(model.inputs.values()))
    if len(model.inputs) != 1 or not isinstance(feature, ImageInput) or PIL_MODES[feature.colour] == "F":
        raise ValueError(f"{model.path.name} does not take one picture of 8 bits. Write predict() in Python.")
    image = open_photo(path).convert(PIL_MODES[feature.colour])
    fit = Image.Image.resize if squash else ImageOps.fit
    return {feature.name: fit(image, (feature.width, feature.height), Image.Resampling.BILINEAR)}


def _shown(answer: dict, top: int) -> str:
    """The likeliest classes with their probabilities; of arrays the shape and the range."""
    texts = []
    for value in answer.values():
        if isinstance(value, dict):
            best = sorted(value.items(), key=lambda pair: -pair[1])[:top]
            texts.append(", ".join(f"{label} {probability:.1%}" for label, probability in best))
        elif isinstance(value, np.ndarray):
            texts.append(f"{'×'.join(map(str, value.shape))} from {value.min():.6g} to {value.max():.6g}")
    return "; ".join(texts or map(str, answer.values()))


# The comparison


def _check(model, path, examples, tolerance) -> int:
    """Print how far the model's numbers are from those of the ONNX file. Returns 0, or 1 when they differ."""
    import onnxruntime

    try:
        proto = onnx_files.read(path).SerializeToString()
        session = onnxruntime.InferenceSession(proto, providers=["CPUExecutionProvider"])
    except (OSError, ValueError):
        raise
    except Exception as error:  # its exceptions have no common base
        raise ValueError(f"ONNX Runtime cannot run {path}: {first_line(error)}") from error
    random = np.random.default_rng(0)
    noise = [{n: _noise(model, n, f, random) for n, f in model.inputs.items()} for _ in range(5)]
    pairs = [_pairs(model, session, example) for example in examples + noise]
    worst, name = max((_difference(*pair), name) for answers in pairs for name, pair in answers.items())
    halves = any(any(step.rounds) for step in getattr(model, "_steps", []))
    allowed = tolerance or (1e-2 if halves else 1e-4)
    spread = max(float(np.ptp([answers[name][1] for answers in pairs], 0).max()) for name in pairs[0])
    print(
        f"{'agrees with' if worst <= allowed else 'DIFFERS from'} {path.name} on {len(pairs)} inputs: by up to "
        f"{worst:.2g} ('{name}'), {allowed:.2g} is allowed.\nThe answers themselves vary by up to {spread:.2g}."
    )
    return int(not worst <= allowed)


def _noise(model, name, feature, random) -> np.ndarray:
    """A random input: pixels, whole numbers or normal ones."""
    if isinstance(feature, ImageInput) and PIL_MODES[feature.colour] != "F":
        return random.integers(0, 256, feature.shape[2:] + (3,) * (feature.shape[1] == 3), np.uint8)
    shape = feature.shape[2:] if isinstance(feature, ImageInput) else feature.shape
    return random.integers(0, 2, shape) if name in model._integer_inputs else random.normal(size=shape)


def _pairs(model, session, example) -> dict:
    """By the name of each ONNX output: what Core ML says and what ONNX Runtime says."""
    taken, outputs = session.get_inputs(), [value.name for value in session.get_outputs()]
    names = {value.name: value.name if len(example) > 1 else next(iter(example)) for value in taken}
    if len(taken) != len(example) or set(names.values()) != set(example):
        raise ValueError(f"The ONNX file has the inputs {sorted(names)}, the model {sorted(example)}.")
    types = {"tensor(double)": "f8", "tensor(float16)": "f2", "tensor(int64)": "i8", "tensor(int32)": "i4"}
    given = {}
    for value in taken:
        feature = model.inputs[names[value.name]]
        seen = model._one(feature, example[feature.name])[0].numpy()
        if isinstance(feature, ImageInput):  # the network sees what the file makes of the pixels
            done = model.preprocessing[feature.name]
            seen = np.float32(done.scale) * seen + np.array(done.bias, np.float32).reshape(-1, 1, 1)
        given[value.name] = seen[(None,) * (len(value.shape) - seen.ndim)].astype(types.get(value.type, "f4"))
    try:
        theirs = dict(zip(outputs, session.run(outputs, given), strict=True))
    except Exception as error:  # its exceptions have no common base
        raise ValueError(f"ONNX Runtime does not take the model's input: {first_line(error)}") from error
    answer = model.predict(example)
    ours = {n: np.array([*v.values()] if isinstance(v, dict) else v) for n, v in answer.items()}
    ours.pop(next(iter(model._label_names), None), None)
    ours_only, theirs_only = sorted(ours.keys() - theirs), sorted(theirs.keys() - ours)
    if len(ours_only) == len(theirs_only) == 1:  # a classifier's probabilities have another name
        ours[theirs_only[0]] = ours.pop(ours_only[0])
    if set(ours) != set(theirs):
        raise ValueError(f"The ONNX file has the outputs {sorted(theirs)}, the model {sorted(ours)}.")
    return {name: (ours[name].ravel(), theirs[name].ravel()) for name in theirs}


def _difference(ours, theirs) -> float:
    """The largest difference, of large numbers in proportion; infinite for NaN or another number of values."""
    if ours.size != theirs.size:
        return float("inf")
    far = np.abs(ours - theirs) / np.maximum(1, np.abs(theirs))
    return float(np.nan_to_num(far, nan=np.inf).max(initial=0))


if __name__ == "__main__":
    sys.exit(main())
