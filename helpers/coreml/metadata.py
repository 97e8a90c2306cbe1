"""What Xcode shows about a model: who made it, what for, and what each input and output is."""

import json
import math
from typing import Any

from helpers.coreml_runtime.features import COLOURS
from helpers.plumbing.labels import in_order

from .description import describe
from .files import LABEL, PROBABILITIES, open_model


def set_metadata(
    model: Any,
    *,
    description: str,
    author: str = "",
    licence: str = "",
    version: str = "",
    inputs: dict | None = None,
    outputs: dict | None = None,
    labels: Any = None,
    more: dict | None = None,
) -> Any:
    """Write the texts that Xcode shows to whoever opens the model.

    Every input and output gets a line: yours, or else one made from its type.

    Args:
        model: a ``coremltools.models.MLModel`` of any kind, or the path of one.
        description, author, licence, version: of the whole model.
        inputs, outputs: name → text.
        labels: the classes (see ``helpers.plumbing.labels.in_order``), for a model that answers with an array; they
            are kept as JSON under ``"classes"``. A classifier has its labels inside and needs none.
        more: further name → text, which an app can read, e.g. ``{"threshold": "0.8"}``.

    Returns:
        The model, changed in place (a path is opened; write the result with ``save``).

    Raises:
        ValueError: a name that the model does not have, labels that disagree with the model's own,
            or a text that is no text.
        FileNotFoundError: there is no such file.
    """
    model = open_model(model)
    features = model.get_spec().description
    _check_texts({"description": description, "author": author, "licence": licence, "version": version})
    extra = dict(more or {})
    if labels is not None:
        extra["classes"] = json.dumps(_checked_labels(labels, features, model), ensure_ascii=False)
    _check_texts(extra)
    for given, side, there in (
        (inputs, "input", features.input),
        (outputs, "output", features.output),
    ):
        names = [feature.name for feature in there]
        unknown = [name for name in given or {} if name not in names]
        if unknown:
            raise ValueError(
                f"The model has no {side} {unknown[0]!r}. Its {side}s are {', '.join(names)}: use one of these names."
            )
        _check_texts(given or {})

    model.short_description = description
    model.author, model.license, model.version = author, licence, version
    for feature in features.input:
        model.input_description[feature.name] = (inputs or {}).get(feature.name) or _in_words(feature)
    for feature in features.output:
        model.output_description[feature.name] = (outputs or {}).get(feature.name) or _in_words(feature)
    for name, text in extra.items():
        model.user_defined_metadata[name] = text
    return model


def _check_texts(texts) -> None:
    for name, text in texts.items():
        if not isinstance(text, str):
            raise ValueError(
                f"The metadata {name!r} is {type(text).__name__}, and Core ML keeps texts only. Write str({text!r})."
            )


def _checked_labels(labels, features, model) -> list[str]:
    labels = in_order(labels, argument="labels")
    own = describe(model).get("labels")
    if own is not None and [str(label) for label in own] != labels:
        raise ValueError(
            f"The model is a classifier with the labels {', '.join(map(str, own[:3]))}, …, and labels= says "
            f"{', '.join(labels[:3])}, …. Convert it again with the right class_labels."
        )
    shapes = [list(f.type.multiArrayType.shape) for f in features.output if f.type.HasField("multiArrayType")]
    if own is None and shapes and all(shapes) and len(labels) not in map(math.prod, shapes):
        sizes = ", ".join("×".join(map(str, shape)) for shape in shapes)
        raise ValueError(
            f"There are {len(labels)} labels for an output of {sizes}. Give one label per value."
        )
    return labels


def _in_words(feature) -> str:
    """A line about an input or output, from its type."""
    if feature.name == LABEL:
        return "the most probable class"
    if feature.name == PROBABILITIES:
        return "the probability of each class, 0 to 1"
    kind = feature.type.WhichOneof("Type")
    if kind == "imageType":
        image = feature.type.imageType
        colour = "greyscale" if "grey" in COLOURS.get(image.colorSpace, "") else "colour"
        return f"a {colour} picture, {image.width}×{image.height} pixels"
    if kind == "multiArrayType":
        shape = feature.type.multiArrayType.shape
        return f"numbers, {'×'.join(map(str, shape))}" if shape else "numbers"
    return {"dictionaryType": "a number for each class", "stringType": "a text"}.get(kind, "a value")
