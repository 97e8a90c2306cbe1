"""What happened in a training: the History that ``fit`` returns, and ``runs`` keeps."""

import json
import math
from dataclasses import asdict, dataclass, field
from pathlib import Path

from helpers.plumbing import paths
from helpers.plumbing.files import check_file
from helpers.plumbing.paths import replacing
from helpers.plumbing.values import LARGEST, number, switch, text, whole_number
from helpers.recipe import Recipe


@dataclass(repr=False)
class History:
    """What happened in a run: one row per epoch, and how to go on.

    Attributes:
        recipe: the recipe of the run.
        device: the device and its precision in words.
        rows: per epoch ``epoch``, ``learning_rate`` (at its end), ``train_loss``,
            ``train_accuracy`` (on augmented images, while learning), ``validation_accuracy``
            (0 to 1; None where nothing was held out), ``seconds`` (all of it) and ``validation_seconds``
            (the part of them that validation took).
        steps: training steps done so far.
        sizes: height and width of the training images, one after another (see ``Recipe.sizes``).
        finished: False when the run was interrupted.
        state: where the run stands, so that ``fit(..., resume=history)`` goes on there: the ``"steps"`` done;
            ``"model"``, ``"optimizer"`` and ``"scheduler"`` as their ``state_dict()``; what the ``"row"``
            of the current epoch is made of, the ``"losses"`` and ``"hits"`` (right answers) of its
            steps; the seconds already ``"spent"`` on it.
    """

    recipe: Recipe
    device: str = ""
    rows: list[dict] = field(default_factory=list)
    steps: int = 0
    finished: bool = False
    state: dict | None = None
    sizes: list[tuple[int, int]] = field(default_factory=list)

    def __post_init__(self):
        self.sizes = self.sizes or self.recipe.image_sizes(32, 32)

    def __repr__(self) -> str:
        how = "finished" if self.finished else "interrupted"
        return (
            f"History({self.recipe.name}: {how} after {len(self.rows)} epochs, {self.seconds:.0f} s, "
            f"{self._judged()}{self.device})"
        )

    def _judged(self) -> str:
        accuracy = self.validation_accuracy
        return "" if math.isnan(accuracy) else f"validation accuracy {accuracy:.2%}, "

    @property
    def validation_accuracy(self) -> float:
        """Accuracy on the images held out, after the last epoch, 0 to 1; nan before the first, and where none are."""
        last = self.rows[-1]["validation_accuracy"] if self.rows else None
        return math.nan if last is None else last

    @property
    def seconds(self) -> float:
        """Seconds of training and validation, all epochs together."""
        return sum(row["seconds"] for row in self.rows)

    @property
    def training_seconds(self) -> float:
        """Seconds of training alone, all epochs together."""
        return self.seconds - sum(row["validation_seconds"] for row in self.rows)

    def column(self, name: str) -> list:
        """One value per epoch, e.g. ``history.column("train_loss")``."""
        return [row[name] for row in self.rows]

    def save(self, path: str | Path) -> None:
        """Write the recipe and the rows as JSON (without the optimiser's state)."""
        content = {"recipe": asdict(self.recipe), "device": self.device, "steps": self.steps}
        content |= {"finished": self.finished, "rows": self.rows, "sizes": self.sizes}
        with replacing(path) as temporary:
            temporary.write_text(json.dumps(content, indent=1), encoding="utf-8")

    @classmethod
    def load(cls, path: str | Path) -> "History":
        """Read what ``save`` wrote.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: it is damaged, or holds something else.
        """
        check_file(path, "history.save(path) writes one.", LARGEST_HISTORY)
        try:
            return cls.of(json.loads(Path(path).read_text(encoding="utf-8")))
        except NOT_A_HISTORY as error:
            raise ValueError(
                f"{paths.shorten(path)} is damaged, or no history ({type(error).__name__}). Save the history again."
            ) from error

    @classmethod
    def of(cls, content: dict, recipe: Recipe | None = None, state: dict | None = None) -> "History":
        """The history in a dict with the keys that ``save`` writes.

        Raises:
            One of ``NOT_A_HISTORY``: it is none.
        """
        rows = [{name: row[name] for name in ROW} | _judged(row) for row in content["rows"]]
        for value in (value for row in rows for value in row.values() if value is not None):
            number(value, -LARGEST, LARGEST)
        recipe = recipe or Recipe.of(content["recipe"])
        steps, finished = whole_number(content["steps"], 0), switch(content["finished"])
        if finished != (len(rows) == recipe.epochs):
            raise ValueError(f"{len(rows)} rows for {recipe.epochs} epochs, and finished={finished}")
        sizes = [
            (whole_number(height, 1), whole_number(width, 1)) for height, width in content.get("sizes", [])
        ]
        if sizes and len(sizes) != len(recipe.sizes):
            raise ValueError(f"{len(sizes)} sizes of images for {len(recipe.sizes)}")
        return cls(recipe, text(content["device"]), rows, steps, finished, state, sizes)


ROW = ("epoch", "learning_rate", "train_loss", "train_accuracy", "seconds")
"""What a row of every history holds, beside the validation."""


def _judged(row: dict) -> dict:
    """The validation in a row. Histories of earlier versions have none: they tested after each epoch."""
    return {
        "validation_accuracy": row.get("validation_accuracy"),
        "validation_seconds": row.get("validation_seconds", 0.0),
    }


LARGEST_HISTORY = 10**7
"""Bytes. An epoch takes about 200."""

NOT_A_HISTORY = (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError)
"""What comes of reading something else as a history."""
