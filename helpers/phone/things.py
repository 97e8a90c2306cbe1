"""Which photos show the same thing, and what that means for a test: notebook 06 splits by thing, not by photo."""

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from helpers import drawings, photos
from helpers.data import CLASSES
from helpers.plumbing import paths


def own_photos() -> Path:
    """The folder of the learner's own photos; with fewer than three things in it a folder of drawings stands in.

    It prints which of the two it is. The drawings are 4:3, as photos are, in ``artifacts/scratch/drawings/``.

    Raises:
        ValueError: as ``helpers.photos.find``: a folder of photos that is no class, or photos outside of all.
    """
    folder, count = paths.photos_dir(), 0
    if any(folder.glob("[!.]*/[!.]*")):
        count = len(set(things(folder, photos.find(folder)[0])))
        print(f"{paths.shorten(folder)}: photos of {count} thing{'s' * (count != 1)}")
    if count >= 3:
        return folder
    print("Drawings stand in until there are photos of three things.")
    for number in range(20):
        place = paths.artifact(f"scratch/drawings/{CLASSES[number % 10]}/{number}.png")
        if not place.is_file():
            drawing = drawings.draw(number % 10, np.random.default_rng(number), size=640)
            with paths.replacing(place) as temporary:
                drawing.crop((0, 80, 640, 560)).save(temporary)
    return paths.artifacts_dir() / "scratch/drawings"


def things(folder: str | Path, files: Sequence[Path]) -> list[str]:
    """What each photo shows, by the number that the page has given to the thing in the folder's ``log.csv``.

    A photo that is not in the log, as it came by another way, counts as a thing of its own.

    Args:
        folder: as it was given to ``helpers.photos.evaluate_folder``.
        files: the photos, as ``helpers.photos.Photos.files`` has them.
    """
    folder, noted = Path(folder), dict[Path, str]()
    if (folder / "log.csv").is_file():
        with open(folder / "log.csv", newline="", encoding="utf-8", errors="replace") as file:
            rows = [row for row in csv.DictReader(file) if row.get("photo") and row.get("thing")]
        noted = {folder / row["photo"]: row["thing"] for row in rows}
    return [noted.get(Path(path), Path(path).relative_to(folder).as_posix()) for path in files]


def kept_back(things: Sequence[str]) -> torch.Tensor:
    """Every third thing for the test, with all its photos: N, bool. The same things give the same split.

    Raises:
        ValueError: there are fewer than three things, and a third of them is none.
    """
    if len(set(things)) < 3:
        raise ValueError(
            f"These photos show {len(set(things))} things, and it takes three: two to learn, one for the test. "
            "Photograph more, and leave 'the same thing' unticked for another one."
        )
    test = set(sorted(set(things))[::3])  # the page's numbers are random
    return torch.tensor([thing in test for thing in things])


def of_each(right: torch.Tensor, things: Sequence[str]) -> torch.Tensor:
    """The share of right answers for each thing, in the order of the alphabet: for ``helpers.intervals.gain``.

    Photos of one thing are right and wrong together, so that things are counted, and not photos.

    Args:
        right: N, bool. things: N texts.

    Returns:
        One number for each thing, float64, 0 to 1.
    """
    return torch.stack(
        [right[[one == thing for one in things]].double().mean() for thing in sorted(set(things))]
    )
