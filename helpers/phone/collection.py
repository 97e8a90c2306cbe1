"""The photos that are kept because somebody said what they show, and how many of the answers were right."""

import contextlib
import csv
import fcntl
import io
import os
import re
import secrets
import threading
import time
from collections import Counter
from pathlib import Path

import torch

from helpers import figures, intervals, photos
from helpers.phone.roads import Answer, Roads
from helpers.plumbing import paths

COLUMNS = ("photo", "label", "thing", "road", "answer", "probability")
"""What ``log.csv`` says: a row for each photo and road. Photos of one and the same thing have one ``thing``."""

NONE = "none of these"
"""What the log calls a thing that the network has no label for. There is no folder for its photo."""

LOSSLESS_PIXELS = 1_000_000
"""Up to so many pixels a photo is kept bit by bit, as PNG; a larger one as JPEG, a tenth of the size."""


class Collection:
    """A folder of labelled photos, and their count. It may be used from several threads."""

    def __init__(self, roads: Roads, folder: str | Path | None = None):
        self.roads, self.folder = roads, Path(folder) if folder else paths.photos_dir()
        self._folders, self._lock = _folders(roads.labels), threading.Lock()
        # phone → whether each of its photos was answered right; what the last one showed, and which thing it was
        self._right: dict[str, list[bool]] = {}
        self._last: dict[str, tuple[str, str]] = {}
        self._all: list[bool] = []

    def keep(self, photo: bytes, label: int | None, phone: str = "", same: bool = False) -> list[Answer]:
        """Keep a photo under its label, without anything but its pixels, and count the answer.

        What is counted and noted is the answer to the file that is kept: notebook 06 will find the same.

        Args:
            photo: what a photo's file holds.
            label: the place of its class in ``roads.labels``; None for none of these, which is noted alone.
            phone: whose count it goes to.
            same: it shows the same thing as the photo before.

        Raises:
            ValueError: it is no picture, or is too large; or there is no such label.
            OSError: the disk is full, or the folder cannot be written to. Then nothing is kept.
        """
        picture = photos.open_photo(photo)
        if label is None:
            return self._note("", NONE, self.roads.ask(picture), phone, same)
        if label not in range(len(self.roads.labels)):
            raise ValueError(
                f"There are {len(self.roads.labels)} labels, and {label!r} is the place of none."
            )
        small = picture.width * picture.height <= LOSSLESS_PIXELS
        path = self.folder / self._folders[label] / f"{secrets.token_hex(8)}.{'png' if small else 'jpg'}"
        path.parent.mkdir(parents=True, exist_ok=True)
        picture.info = {}  # a comment of the photo's would go with it
        try:
            with paths.replacing(path) as temporary:
                picture.save(temporary, quality=95, subsampling=0)
            answers = self.roads.ask(photos.open_photo(path))
            name = path.relative_to(self.folder).as_posix()
            return self._note(name, self.roads.labels[label], answers, phone, same)
        except BaseException:
            path.unlink(missing_ok=True)
            raise

    def _note(self, photo: str, label: str, answers: list[Answer], phone: str, same: bool) -> list[Answer]:
        with self._lock:
            before, thing = self._last.get(phone, ("", ""))
            thing = thing if same and label == before else secrets.token_hex(4)
            roads = [(f"{one.network}, {one.crop}", one.label, one.probs.max().item()) for one in answers]
            _append(self.folder / "log.csv", [(photo, label, thing, *road) for road in roads])
            self._last[phone] = label, thing
            if photo:
                for right in (self._right.setdefault(phone, []), self._all):
                    right.append(answers[0].label == label)
        return answers

    def count(self, phone: str) -> dict:
        """A phone's photos, how many were answered right, the interval, and how many more narrow it to ±5 points."""
        right = list(self._right.get(phone, []))
        if not right:
            return {"photos": 0}
        share = intervals.share(torch.tensor(right))
        found = {"photos": len(right), "right": sum(right), "more": intervals.needed(share) - len(right)}
        return found | {"share": share.value, "low": share.low, "high": share.high}

    def counts(self) -> dict[str, intervals.Interval]:
        """The accuracy on all photos, and on every phone's in the order in which they came: for ``intervals.show``."""
        with self._lock:
            rows = {"all": list(self._all)} if self._all else {}
            rows |= {f"phone {number}": list(right) for number, right in enumerate(self._right.values(), 1)}
        return {name: intervals.share(torch.tensor(right)) for name, right in rows.items()}

    def chart(self, seconds: float = 0) -> None:
        """Draw how the accuracy and its interval settle as photos come in.

        Args:
            seconds: for so long the figure grows with every photo. The Stop button ends it sooner.
        """
        end, drawn, handle = time.monotonic() + seconds, -1, None
        with contextlib.suppress(KeyboardInterrupt):
            while drawn < 0 or time.monotonic() < end:
                if len(right := list(self._all)) != drawn:
                    drawn, handle = len(right), figures.settling(right, handle)
                time.sleep(min(0.5, max(0.0, end - time.monotonic())))


def _folders(labels) -> list[str]:
    """A folder's name for every label: the label itself, where it can be one and no other has it."""
    names = [re.sub(r"[/\x00-\x1f\x7f]", "_", label)[:60].lstrip(".").strip() for label in labels]
    while clashes := [
        one for one, times in Counter(map(str.casefold, names)).items() if times > 1 or not one
    ]:
        numbered = [name.casefold() in clashes for name in names]
        names = [f"{name} {place}".strip() if numbered[place] else name for place, name in enumerate(names)]
    return names


def _append(path: Path, rows: list[tuple]) -> None:
    """Add rows to a table, all or none of them. Several programs may do so at once."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "ab", buffering=0) as file:
        with contextlib.suppress(OSError):  # a disk without locks
            fcntl.flock(file, fcntl.LOCK_EX)
        before, text = file.seek(0, os.SEEK_END), io.StringIO(newline="")
        csv.writer(text).writerows(rows if before else [COLUMNS, *rows])
        try:
            if file.write(text.getvalue().encode()) < len(text.getvalue().encode()):
                raise OSError(paths.FULL[0], os.strerror(paths.FULL[0]), str(path))
        except BaseException:
            file.truncate(before)
            raise
