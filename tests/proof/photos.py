"""What real photos cost, cause by cause, and what the repairs bring: ``helpers/measured/photos.json``.

    CHAPTER_PHOTOS=/path/to/photos python -m tests.proof.photos [part of the table …]

The photos lie in one folder per class. They need no licence to be counted, and
nothing but counts is written. Without the variable the table stays as it is.
"""

import copy
import json
import os
import sys
from dataclasses import asdict

import torch

from helpers import camera, checkpoints, photos
from helpers.data import load_cifar10
from helpers.intervals import gain, share
from helpers.plumbing import paths

TABLE = paths.MEASURED / "photos.json"
NOT_RUN = 77
"""What the program exits with when there are no photos; ``make proof`` then says so."""
MIDDLE = 2
"""The strength at which the faults are summed up: the third of five."""


def entry(right, before=None) -> dict:
    """A share with its interval, and how much it differs from ``before`` on the same photos."""
    measured = asdict(share(right))
    return measured | ({"gain": asdict(gain(before, right))} if before is not None else {})


def right(model, images, labels, **arguments) -> torch.Tensor:
    answers = photos.ask(model, images, labels, **arguments)
    return answers.predictions == answers.labels


def measure_files(folder, plain, camera_file) -> dict:
    """The same network, converted with one mistake each."""
    network = checkpoints.load_checkpoint()[0]
    without = copy.deepcopy(network)
    without.normalise = torch.nn.Identity()
    swapped = {"image_scale": 1 / 255, "is_bgr": True}
    wrong = {
        "the chapter's call": photos.to_coreml(network, "scale.mlmodel", preprocessing_args=None),
        "red and blue swapped": photos.to_coreml(network, "swapped.mlmodel", preprocessing_args=swapped),
        "not normalised": photos.to_coreml(without, "bare.mlmodel"),
    }
    small = photos.load_photos(folder)
    best = right(plain, small.images, small.labels)
    rows = {name: entry(right(path, small.images, small.labels), best) for name, path in wrong.items()}
    return {"photos": len(best), "files": rows}


def measure_shapes(folder, plain, camera_file) -> dict:
    """Three crops and three ways to leave pixels out."""
    best, rows = None, {}
    for crop in photos.CROPS:
        for resize in photos.RESIZES:
            small = photos.load_photos(folder, crop, resize)
            answers = right(plain, small.images, small.labels)
            best = answers if best is None else best
            rows[f"{crop}, {resize}"] = entry(answers, best)
    return {"shapes": rows}


def pipelines(plain, camera_file) -> dict:
    return {
        "plain network": {"model": plain},
        "camera network": {"model": camera_file},
        "camera network, several views": {"model": camera_file, "tta": True},
        "plain network, several views": {"model": plain, "tta": True},
    }


def measure_faults(folder, plain, camera_file) -> dict:
    """The nine faults, done to squares of 128×128 before they become 32×32, and what the repairs bring."""
    loaded, roads = photos.load_photos(folder, size=128), pipelines(plain, camera_file)
    given = {"labels": loaded.labels}
    clean = {name: right(images=loaded.images, **given, **road) for name, road in roads.items()}
    curves, faulty = {}, {name: [] for name in roads}
    for fault, what in camera.CORRUPTIONS.items():
        rows = {name: [] for name in ("plain network", "camera network")}
        for place, strength in enumerate(what.strengths):
            images = camera.on_pixels(what.apply, loaded.images, strength)
            for name in roads if place == MIDDLE else rows:
                answers = right(images=images, **given, **roads[name])
                if name in rows:
                    rows[name].append(entry(answers))
                if place == MIDDLE:
                    faulty[name].append(answers)
        curves[fault] = {"strengths": what.strengths, "unit": what.unit} | rows
        print(fault, flush=True)
    kept = [place for place, what in enumerate(camera.CORRUPTIONS.values()) if not what.trained]
    spoilt = torch.stack(faulty["plain network"], 1)
    whole = clean["plain network"][:, None].expand_as(spoilt)
    cost = summary(faulty)["plain network"] | {"gain": asdict(gain(whole, spoilt))}
    return {
        "clean": {name: entry(answers, clean["plain network"]) for name, answers in clean.items()},
        "faults": curves,
        "cost_of_faults": {"plain network": cost},
        "under_faults": summary(faulty),
        "under_faults_not_trained": summary({k: [v[i] for i in kept] for k, v in faulty.items()}),
    }


def measure_test_images(folder, plain, camera_file) -> dict:
    """What the repairs cost on CIFAR-10's own test images."""
    data = load_cifar10(drawings=False)
    assert data.source == "CIFAR-10", "these numbers need CIFAR-10 itself"
    answers = {
        name: right(images=data.test_images, labels=data.test_labels, **road)
        for name, road in pipelines(plain, camera_file).items()
    }
    return {"test_images": {name: entry(rows, answers["plain network"]) for name, rows in answers.items()}}


PARTS = {
    "files": measure_files,
    "shapes": measure_shapes,
    "faults": measure_faults,
    "test_images": measure_test_images,
}


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
        return NOT_RUN
    chosen = sys.argv[1:] or list(PARTS)
    if unknown := set(chosen) - set(PARTS):
        print(f"There is no part {', '.join(unknown)}. The parts are {', '.join(PARTS)}.")
        return 2
    table = json.loads(TABLE.read_text(encoding="utf-8")) if TABLE.exists() else {}
    plain = photos.to_coreml(checkpoints.load_checkpoint()[0], "plain.mlmodel")
    camera_file = photos.to_coreml(checkpoints.load_camera()[0], "camera.mlmodel")
    for part in chosen:
        print(part, flush=True)
        table |= PARTS[part](folder, plain, camera_file)
    with paths.replacing(TABLE) as temporary:
        temporary.write_text(json.dumps(table, indent=1), encoding="utf-8")
    gained = table["under_faults"]["camera network, several views"]["gain"]
    lost = table["test_images"]["camera network"]["gain"]
    print(f"photos with faults: {gained['value']:+.1%}; test images: {lost['value']:+.2%}")
    return 0 if gained["value"] >= 0.05 and lost["value"] >= -0.01 else 1


if __name__ == "__main__":
    sys.exit(main())
