"""The roads from a photo to an answer: which network is asked, and how the photo becomes square."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from helpers import checkpoints, coreml, photos
from helpers.coreml_runtime import CoreMLModel, ImageInput, load
from helpers.plumbing.paths import printable


@dataclass(frozen=True)
class Answer:
    """What a network says about a photo.

    Attributes:
        network, crop: the road that the photo took. threshold: below it the network is "not sure", 0 to 1.
        seen: 3×S×S, uint8, 0 to 255: all that the network sees. probs: float32, one for each label.
        label: the most probable one.
    """

    network: str
    crop: str
    threshold: float
    seen: torch.Tensor
    probs: torch.Tensor
    label: str


class Roads:
    """One or more networks with the same labels, each with every crop. ``helpers.phone.serve`` says what may be given.

    Attributes:
        networks: name → model; the first one's answer is the one that counts.
        labels: the classes, as the models name them.
    """

    def __init__(self, models: Any = None, threshold: float | None = None):
        if models is None:
            plain = photos.to_coreml(checkpoints.load_checkpoint()[0], "plain.mlmodel")
            models = {"camera network": photos.to_coreml(), "plain network": plain}
        if not isinstance(models, Mapping):
            models = {Path(getattr(models, "path", models)).stem: models}
        if not models:
            raise ValueError("There is no model. Give a Core ML file, or several as {name: file}.")
        if threshold is not None and not (isinstance(threshold, int | float) and 0 <= threshold <= 1):
            raise ValueError(f"threshold={threshold!r} is a probability: a number from 0 to 1.")
        self.networks, self._thresholds, self.labels = {}, {}, tuple[str, ...]()
        for name, model in models.items():
            model = model if isinstance(model, CoreMLModel) else load(model)
            labels, self.labels = _labels(model), self.labels or _labels(model)
            if labels != self.labels:
                raise ValueError(
                    f"{printable(name)!r} has other labels than {printable(next(iter(models)))!r}. Networks that "
                    "are shown side by side name the same classes in the same order."
                )
            self.networks[str(name)] = model
            self._thresholds[str(name)] = _threshold(model) if threshold is None else float(threshold)

    def ask(self, picture: Image.Image, crops: bool = True, networks: bool = True) -> list[Answer]:
        """Put a photo to the networks, by the road that ``helpers.photos`` takes.

        Args:
            picture: as ``photos.open_photo`` gives it.
            crops, networks: all of them; else only the first one.
        """
        answers = []
        for name, model in list(self.networks.items())[: None if networks else 1]:
            _, channels, _, side = next(iter(model.inputs.values())).shape
            source = picture if channels == 3 else picture.convert("L").convert("RGB")
            for crop in list(photos.CROPS)[: None if crops else 1]:
                seen = photos.shrink(source, crop, size=side)
                (probs,) = model.probs(seen[None, :channels])
                label = self.labels[int(probs.argmax())]
                answers.append(Answer(name, crop, self._thresholds[name], seen, probs, label))
        return answers


def _labels(model: CoreMLModel) -> tuple[str, ...]:
    """The labels of a classifier of square pictures."""
    (one, *more), labels = model.inputs.values(), model.labels
    if more or not isinstance(one, ImageInput) or one.width != one.height or labels is None:
        taken = ", ".join(f"{each.name} ({'×'.join(map(str, each.shape))})" for each in (one, *more))
        raise ValueError(
            f"{printable(model.path)} takes {taken} and has {'no ' if labels is None else ''}labels. A phone's photos "
            "are put to a classifier with one square image as its input: convert it with "
            'image_input_names=[…], mode="classifier" and class_labels=….'
        )
    return tuple(map(str, labels))


def _threshold(model: CoreMLModel) -> float:
    """What the model's metadata say, as ``ios_app.write_app`` writes it; 0 where they say nothing."""
    text = coreml.open_model(model.path).user_defined_metadata.get("threshold", "0")
    try:
        return min(1.0, max(0.0, float(text)))
    except ValueError:
        return 0.0
