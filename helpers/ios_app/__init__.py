"""Writes an Xcode project around a converted model: open it on a Mac, press Run.

Notebook 05 introduces it. The project is text: the Swift files of ``template/``
with the app's name filled in. Around it come the model, ten drawn reference
pictures, and the probabilities that ``helpers.coreml_runtime`` computes for
them, which the project's own tests compare with the real Core ML.

The rooms: ``app_model`` checks the model and writes the threshold into it,
``reference`` makes the pictures and their probabilities, ``folder`` puts files
into a folder and never replaces what it did not write.
"""

import json
import os
import re
from pathlib import Path

from helpers.coreml_runtime import CoreMLModel

from .app_model import read_model, with_threshold
from .folder import publish, tree
from .reference import TOLERANCE, icons, reference_files

TEMPLATE = Path(__file__).resolve().parent / "template"
"""The project as it is written, with ``__APP__`` for the app's name and ``__BUNDLE__`` for its identifier."""

CHINESE = {
    "airplane": "飞机",
    "automobile": "汽车",
    "bird": "鸟",
    "cat": "猫",
    "deer": "鹿",
    "dog": "狗",
    "frog": "青蛙",
    "horse": "马",
    "ship": "船",
    "truck": "卡车",
}
"""The labels of CIFAR-10 in Simplified Chinese."""


def write_app(
    model: str | os.PathLike,
    folder: str | os.PathLike,
    *,
    threshold: float,
    also: dict | None = None,
    chinese: dict[str, str] = CHINESE,
    bundle_prefix: str = "com.example",
    overwrite: bool = False,
) -> Path:
    """Write a complete Xcode project (Xcode 16, iOS 17, SwiftUI) around a Core ML model.

    The folder's name becomes the app's name. The project is there whole or not at all.

    Args:
        model: a ``.mlpackage`` or ``.mlmodel`` with one image input called ``image``, of any size, in colour or grey,
            and the outputs ``classLabel`` and ``classLabelProbs``, as ``helpers.onnx_coreml.convert`` makes it.
        folder: where the project goes, e.g. ``artifacts/AlexNetApp``.
        threshold: an answer below this probability is "not sure", 0 to 1; ``helpers.calibration.threshold``
            finds it. It is written into the metadata of the app's copy of the model.
        also: further models to choose from in the app: path → threshold. The app calls each by its file's name.
        chinese: label → Simplified Chinese. A label that is not in it stays as it is.
        bundle_prefix: something that is yours alone, e.g. ``"org.ada-lovelace"``. With the app's name behind it
            it is the bundle identifier, and Apple gives each of those to one developer only.
        overwrite: replace what an earlier call wrote into this folder. Files that came from elsewhere are
            kept. So is a file that was edited since, as long as there is nothing new to write into it; it is
            printed which.

    Returns:
        The ``.xcodeproj``, the thing to open.

    Raises:
        FileNotFoundError: there is no such model, or the folder above ``folder`` does not exist.
        ValueError: a model has no image input, no labels or other names, or its answers are no
            probabilities; a label, a threshold, ``chinese``, the folder's name or the prefix cannot be used;
            two models have one name; an argument of another type.
        FileExistsError: the folder holds something that would be replaced.
    """
    also = also or {}
    _check_arguments(folder, model, also, chinese)
    app = Path(folder).name
    _check_names(app, bundle_prefix)
    written = template_files(app, f"{bundle_prefix}.{app}")
    models: dict[str, tuple[CoreMLModel, float]] = {}
    labels: dict[str, None] = {}
    for path, certainty in [(model, threshold), *also.items()]:
        loaded, files = read_model(path)
        certainty, name = _checked(certainty), Path(path).stem
        _check_other(name, models)
        models[name] = loaded, certainty
        labels |= dict.fromkeys(loaded.labels or ())
        written |= {f"{app}/{inside}": data for inside, data in with_threshold(files, certainty).items()}
    written[f"{app}/Labels.xcstrings"] = _catalog(labels, chinese)
    written |= {f"{app}/Assets.xcassets/AppIcon.appiconset/{name}": data for name, data in icons().items()}
    written |= {f"{app}Tests/{name}": data for name, data in reference_files(models).items()}
    if kept := publish(written, Path(folder), overwrite):
        print(f"Kept as you edited {'it' if len(kept) == 1 else 'them'}: {', '.join(kept)}")
    return Path(folder) / f"{app}.xcodeproj"


def _check_arguments(folder, model, also, chinese) -> None:
    if not isinstance(also, dict):
        raise ValueError(
            f"also= is a dict, path → threshold, not {also!r:.80}, e.g. {{'Other.mlpackage': 0.7}}."
        )
    for path in (folder, model, *also):
        if not isinstance(path, str | os.PathLike):
            raise ValueError(
                f"write_app takes paths, and {path!r:.80} is none. Save a model with coreml.save."
            )
    if not isinstance(chinese, dict) or not all(isinstance(word, str) for word in chinese.values()):
        raise ValueError(
            "chinese= is a dict, label → text, e.g. {'cat': '猫'}. A label that is not in it stays as it is."
        )


def template_files(app: str, bundle_identifier: str) -> dict[str, bytes]:
    """The text files of the project: path inside the folder → content."""
    files = {}
    for path in sorted(TEMPLATE.rglob("*")):
        if path.is_file() and not path.name.startswith("."):
            name = path.relative_to(TEMPLATE).as_posix().replace("__APP__", app)
            text = path.read_text(encoding="utf-8")
            files[name] = text.replace("__APP__", app).replace("__BUNDLE__", bundle_identifier).encode()
    return files


def _checked(threshold) -> float:
    if isinstance(threshold, bool) or not isinstance(threshold, int | float) or not 0 <= threshold <= 1:
        raise ValueError(f"threshold={threshold!r} is a probability: a number from 0 to 1.")
    return round(float(threshold), 6)


def _check_other(name: str, models) -> None:
    """Xcode compiles each model into one folder of the app, and a Mac's disk knows no capitals."""
    for other in models:
        if other.casefold() == name.casefold():
            raise ValueError(
                f"Two models are called {other} and {name}, and the app tells them apart by name. Rename one."
            )


TAKEN = """
Accelerate Actor Any AnyObject AppIntents Array CFNetwork Character Clock Codable Collection Comparable CoreData
CoreImage CoreLocation CoreText Decoder Dictionary Dispatch Distributed Encodable Encoder Error Executor Float Float16
Float32 Float64 Glibc Hashable Hasher Int Int8 Int16 Int32 Int64 Iterator KeyPath MapKit Metal MetalKit Mirror Mutex
Never Numeric ObjectiveC Observable Observation Optional Photos Process Protocol Range Regex RegexBuilder Result
SceneKit Security Self Sequence Set Slice SpriteKit StoreKit Substring Swift SwiftData Synchronization Testing Type
UInt UInt8 UInt16 UInt32 UInt64 Unicode UserNotifications Void WidgetKit
"""
"""Modules of Xcode, and types of Swift, that no file of the app happens to name."""


def _check_names(app: str, bundle_prefix: str) -> None:
    if not re.fullmatch(r"[A-Z][A-Za-z0-9]{0,39}", app):
        raise ValueError(
            f"The folder's name becomes the app's name, and {app!r} is no name for a Swift module. "
            "Take up to 40 letters and digits that begin with a capital, e.g. AlexNetApp."
        )
    sources = "\n".join(path.read_text(encoding="utf-8") for path in TEMPLATE.rglob("*.swift"))
    code = re.sub(r"//.*|\"[^\"]*\"", "", sources)
    if app in {*TAKEN.split(), *re.findall(r"\b[A-Z]\w*", code)}:
        raise ValueError(
            f"The app cannot be called {app}: Swift, or a part of the app, has that name. Add 'App' to it."
        )
    part = r"[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?"
    if not isinstance(bundle_prefix, str) or not re.fullmatch(
        rf"[A-Za-z]([A-Za-z0-9-]*[A-Za-z0-9])?(\.{part})*", bundle_prefix
    ):
        raise ValueError(
            f"bundle_prefix={bundle_prefix!r} cannot begin an identifier: take letters a to z, digits, hyphens and "
            "dots, e.g. org.ada-lovelace."
        )


def _catalog(labels, chinese) -> bytes:
    """The strings catalog of the labels. A label without a translation waits for one in Xcode."""
    strings = {}
    for label in labels:
        state = "translated" if label in chinese else "needs_review"
        strings[label] = {
            "extractionState": "manual",
            "localizations": {
                "en": {"stringUnit": {"state": "translated", "value": label}},
                "zh-Hans": {"stringUnit": {"state": state, "value": chinese.get(label, label)}},
            },
        }
    catalog = {"sourceLanguage": "en", "strings": strings, "version": "1.0"}
    return (json.dumps(catalog, ensure_ascii=False, indent=2) + "\n").encode()


__all__ = ["CHINESE", "TEMPLATE", "TOLERANCE", "publish", "template_files", "tree", "write_app"]
