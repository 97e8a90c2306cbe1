"""What real photos cost, cause by cause, and what the repairs bring: ``helpers/measured/photos.json``.

    CHAPTER_PHOTOS=/path/to/photos python -m tests.proof.photos

The photos lie in one folder per class. They need no licence to be counted, and
nothing but counts is written. Without the variable the table stays as it is.
"""

import json
import os
import sys
from dataclasses import asdict

import torch

from helpers import camera, checkpoints, paths, photos
from helpers.data import load_cifar10
from helpers.intervals import gain, share

TABLE = paths.MEASURED / "photos.json"
MIDDLE = 2
"""The strength at which the faults are summed up: the third of five."""


def entry(right, before=None) -> dict:
    """A share with its interval, and how much it differs from ``before`` on the same photos."""
    measured = asdict(share(right))
    return measured | ({"gain": asdict(gain(before, right))} if before is not None else {})


def right(model, images, labels, **arguments) -> torch.Tensor:
    answers = photos.ask(model, images, labels, **arguments)
    return answers.predictions == answers.labels


def wrong_files(network) -> dict:
    """The same network, converted with one mistake each."""
    swapped = {"image_scale": 1 / 255, "is_bgr": True}
    return {
        "pixels from 0 to 255": photos.to_coreml(network, "scale.mlmodel", preprocessing_args=None),
        "red and blue swapped": photos.to_coreml(network, "swapped.mlmodel", preprocessing_args=swapped),
    }


def measure(folder) -> dict:
    data = load_cifar10(drawings=False)
    assert data.source == "CIFAR-10", "these numbers need CIFAR-10 itself"
    network, repaired = checkpoints.load_checkpoint()[0], checkpoints.load_camera()[0]
    plain, better = photos.to_coreml(network, "plain.mlmodel"), photos.to_coreml(repaired, "camera.mlmodel")

    small = photos.load_photos(folder)
    labels = small.labels
    best = right(plain, small.images, labels)
    table = {"photos": len(labels), "plain": entry(best)}
    files = wrong_files(network)
    table["files"] = {name: entry(right(path, small.images, labels), best) for name, path in files.items()}
    table["shapes"] = {}
    for crop in photos.CROPS:
        for resize in photos.RESIZES:
            images = photos.load_photos(folder, crop, resize).images
            table["shapes"][f"{crop}, {resize}"] = entry(right(plain, images, labels), best)
        print(crop, flush=True)

    large = photos.load_photos(folder, size=128).images
    pipelines = {
        "plain network": {"model": plain},
        "camera network": {"model": better},
        "camera network, several views": {"model": better, "several_views": True},
        "plain network, several views": {"model": plain, "several_views": True},
    }
    clean = {name: right(images=large, labels=labels, **how) for name, how in pipelines.items()}
    table["clean"] = {name: entry(answers, clean["plain network"]) for name, answers in clean.items()}
    table["faults"], faulty = {}, {name: [] for name in pipelines}
    for fault, what in camera.FAULTS.items():
        rows = {name: [] for name in ("plain network", "camera network")}
        for place, strength in enumerate(what.strengths):
            images = camera.on_pixels(what.apply, large, strength)
            for name in pipelines if place == MIDDLE else rows:
                answers = right(images=images, labels=labels, **pipelines[name])
                if name in rows:
                    rows[name].append(entry(answers))
                if place == MIDDLE:
                    faulty[name].append(answers)
        table["faults"][fault] = {"strengths": what.strengths, "unit": what.unit} | rows
        print(fault, flush=True)
    table["under_faults"] = summary(faulty)
    kept = [place for place, what in enumerate(camera.FAULTS.values()) if not what.trained]
    table["under_faults_not_trained"] = summary({k: [v[i] for i in kept] for k, v in faulty.items()})

    test = {
        name: right(images=data.test_images, labels=data.test_labels, **how)
        for name, how in pipelines.items()
    }
    table["test_images"] = {name: entry(answers, test["plain network"]) for name, answers in test.items()}
    return table


def summary(answers: dict) -> dict:
    """The mean over faults, with intervals that count each photo once."""
    before = torch.stack(answers["plain network"], 1)
    summed = {}
    for name, rows in answers.items():
        each = torch.stack(rows, 1)
        none = torch.zeros_like(each)
        summed[name] = asdict(gain(none, each)) | {"gain": asdict(gain(before, each))}
    return summed


def main() -> int:
    folder = os.environ.get("CHAPTER_PHOTOS")
    if not folder:
        print("CHAPTER_PHOTOS is not set: helpers/measured/photos.json stays as it is.")
        return 0
    table = measure(folder)
    with paths.replacing(TABLE) as temporary:
        temporary.write_text(json.dumps(table, indent=1), encoding="utf-8")
    gained = table["under_faults"]["camera network, several views"]["gain"]
    lost = table["test_images"]["camera network"]["gain"]
    print(f"photos with faults: {gained['value']:+.1%}; test images: {lost['value']:+.2%}")
    return 0 if gained["value"] >= 0.05 and lost["value"] >= -0.01 else 1


if __name__ == "__main__":
    sys.exit(main())
