"""Real photos: opened, made as small as a network wants them, and put to a Core ML file.

Notebook 06 introduces it. Photos lie in one folder per class, ``photos/cat/*.jpg``; the classes are CIFAR-10's
unless others are named.
They stay where they are: nothing here writes them or sends them anywhere (``helpers.phone`` collects some).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from helpers import figures
from helpers.coreml_runtime import load
from helpers.data import CLASSES
from helpers.evaluation import Evaluation
from helpers.intervals import Interval, share
from helpers.plumbing import paths
from helpers.plumbing.labels import find as find_label
from helpers.plumbing.labels import in_order
from helpers.plumbing.labels import meant as meant_label
from helpers.plumbing.measured import read
from helpers.plumbing.photo_files import open_photo

SUFFIXES = (".jpg", ".jpeg", ".png", ".heic", ".heif", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif")
"""What a photo's name may end in, in small or capital letters. Other files are left alone."""

CROPS = {"centre crop": "centerCrop", "squash": "scaleFill", "letterbox": "scaleFit"}
"""The ways to make a photo square, and what Vision's ``imageCropAndScaleOption`` calls each."""

RESIZES = ("antialiased", "bilinear", "nearest")
"""The ways to leave pixels out: see ``shrink``."""


# -- one photo ---------------------------------------------------------------------------------------


def shrink(
    picture: Image.Image,
    crop: str = "centre crop",
    resize: str = "antialiased",
    size: int | tuple[int, int] = 32,
) -> torch.Tensor:
    """Make a photo small, and a square or another rectangle of it.

    Args:
        picture: a PIL picture in mode RGB.
        crop: ``"centre crop"`` cuts off what is too long; ``"squash"`` presses all of it into the rectangle;
            ``"letterbox"`` fits all of it in and leaves the rest black: Vision leaves it transparent, as
            Apple's page on ``VNImageCropAndScaleOption`` says, and a picture without alpha has black there.
        resize: ``"antialiased"`` averages over all pixels that become one; ``"bilinear"`` looks at the
            four around one point, ``"nearest"`` at one. In a photo a hundred times as large as the
            result, the last two leave most pixels out.
        size: height and width of the result; one number for a square.

    Returns:
        3×height×width, uint8, 0 to 255.

    Raises:
        ValueError: an unknown crop or resize, a picture in another mode, or a size below 1.
    """
    if getattr(picture, "mode", None) != "RGB":
        raise ValueError(
            f"This is {picture!r:.80}, and a PIL picture in mode RGB is needed. Take open_photo(path), or convert('RGB')."
        )
    high, wide = _sides(size)
    if crop not in CROPS or resize not in RESIZES:
        wrong, known = (crop, CROPS) if crop not in CROPS else (resize, RESIZES)
        raise ValueError(f"{wrong!r} is not known. Use one of {', '.join(map(repr, known))}.")
    width, height = picture.size
    if crop == "letterbox":
        scale = min(wide / width, high / height)
        inner = max(1, round(width * scale)), max(1, round(height * scale))
        canvas = Image.new("RGB", (wide, high))
        corner = (wide - inner[0]) // 2, (high - inner[1]) // 2
        canvas.paste(_resize(picture, (0, 0, width, height), inner, resize), corner)
    else:
        across, down = float(width), float(height)  # what is kept of the photo
        if crop == "centre crop":
            across, down = min(width, height * wide / high), min(height, width * high / wide)
        left, top = (width - across) / 2, (height - down) / 2
        canvas = _resize(picture, (left, top, left + across, top + down), (wide, high), resize)
    return torch.from_numpy(np.array(canvas)).permute(2, 0, 1)


def _sides(size) -> tuple[int, int]:
    """Height and width, of one number or a pair."""
    sides = size if isinstance(size, tuple | list) else (size, size)
    if len(sides) != 2 or not all(isinstance(side, int) and side >= 1 for side in sides):
        raise ValueError(
            f"size={size!r} must be a whole number of pixels, at least 1, or a pair of them, (height, width)."
        )
    return tuple(sides)


def _resize(picture, box, size, resize) -> Image.Image:
    if resize == "antialiased":
        return picture.resize(size, Image.Resampling.BILINEAR, box=box)
    if resize == "nearest":
        return picture.resize(size, Image.Resampling.NEAREST, box=box)
    # Pillow's own bilinear averages; looking at single points needs a transformation.
    across, down = (box[2] - box[0]) / size[0], (box[3] - box[1]) / size[1]
    points = (across, 0, box[0], 0, down, box[1])
    return picture.transform(size, Image.Transform.AFFINE, points, Image.Resampling.BILINEAR)


# -- a folder of photos ------------------------------------------------------------------------------


@dataclass(repr=False)
class Photos:
    """The photos of a folder, made small.

    Attributes:
        images: N×3×height×width, uint8, 0 to 255.
        labels: N, int64, places in ``classes``.
        files: N paths.
        ignored: files in the class folders that are no photos by their name.
        classes: the names of the classes.
    """

    images: torch.Tensor
    labels: torch.Tensor
    files: list[Path]
    ignored: list[Path] = field(default_factory=list)
    classes: Sequence[str] = CLASSES

    def __repr__(self) -> str:
        some = (
            f"; left alone: {', '.join(paths.printable(path.name) for path in self.ignored)}"
            if self.ignored
            else ""
        )
        return f"{len(self.labels)} photos of {len(set(self.labels.tolist()))} classes{some}"


def find(folder: str | Path, classes: Sequence[str] = CLASSES) -> tuple[list[Path], list[int], list[Path]]:
    """The photos of a folder with one folder per class: their paths, their labels, and what was left alone.

    Hidden files are passed over. In the name of a folder capitals, spaces, ``_`` and ``-`` do not matter, and a word
    that means the same is enough: "car" and "air plane" are found (``helpers.plumbing.labels.find``).

    Args:
        folder: has a folder for each class of which there are photos.
        classes: their names, in the order of the model's outputs.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: a folder that is no class, photos outside the class folders, or no photo at all.
    """
    folder, classes = Path(folder), in_order(classes, argument="classes")
    if not folder.is_dir():
        example = "cat" if "cat" in classes else classes[0]
        raise FileNotFoundError(
            f"There is no folder {paths.shorten(folder)}. Make it, with a folder for each class, e.g. "
            f"{paths.shorten(folder / example)}, and put your photos in there."
        )
    files, labels, ignored = [], [], []
    for place in sorted(folder.iterdir()):
        if place.name.startswith("."):
            continue
        if not place.is_dir():
            if place.suffix.lower() in SUFFIXES:
                raise ValueError(
                    f"{paths.shorten(place)} lies outside the class folders, so its class is not known. "
                    f"Move it into a folder with the name of what it shows: {_listed(classes)}."
                )
            continue
        label = find_label(place.name, classes)
        if label is None:
            meant = meant_label(place.name, classes)
            hint = f" Did you mean {meant!r}?" if meant else ""
            count = "ten" if len(classes) == 10 else f"{len(classes):,}"
            raise ValueError(
                f"{paths.shorten(place)}: there is no class {place.name!r}.{hint} "
                f"The {count} that are known are {_listed(classes)}."
            )
        for path in sorted(place.iterdir()):
            if path.name.startswith("."):
                continue
            if path.suffix.lower() in SUFFIXES:
                files.append(path)
                labels.append(label)
            else:
                ignored.append(path)
    if not files:
        raise ValueError(
            f"There is no photo in {paths.shorten(folder)}. Put some into folders named after the classes "
            f"({_listed(classes)}); their names end in {', '.join(SUFFIXES)}."
        )
    return files, labels, ignored


def _listed(classes) -> str:
    """The names of the classes for a message, of many the first ones."""
    more = len(classes) - 20
    return ", ".join(classes[:20]) + (f" and {more:,} more" if more > 0 else "")


def load_photos(
    folder: str | Path,
    crop: str = "centre crop",
    resize: str = "antialiased",
    size: int | tuple[int, int] = 32,
    classes: Sequence[str] = CLASSES,
) -> Photos:
    """Open all photos of a folder and make them small. One photo is held in memory at a time.

    Args:
        folder: has one folder per class.
        crop, resize, size: as for ``shrink``.
        classes: as for ``find``.

    Raises:
        FileNotFoundError, ValueError: as ``find``, ``open_photo`` and ``shrink`` say.
    """
    files, labels, ignored = find(folder, classes)
    images = [shrink(open_photo(path), crop, resize, size) for path in files]
    return Photos(torch.stack(images), torch.tensor(labels), files, ignored, tuple(classes))


# -- answers -----------------------------------------------------------------------------------------


def tta_views(images: torch.Tensor, size: tuple[int, int] = (32, 32)) -> list[torch.Tensor]:
    """Ten views for test-time augmentation: whole and as four overlapping crops, each with its mirror image.

    An object that is small in one view may be large in another. The mean of the answers is steadier than
    one answer (Krizhevsky, Sutskever and Hinton, 2012, section 4.1, did so with ten). Where a crop would have
    to be enlarged, which blurs it and shows a network what it has never seen, the picture is shifted instead,
    by a 32nd of its side, with its border reflected.

    Args:
        images: N×C×height×width, uint8, 0 to 255.
        size: height and width of the result.

    Returns:
        Ten times N×C×height×width, uint8.
    """
    windows = [round(side * VIEW_SHARE) for side in images.shape[-2:]]
    source = images
    if windows[0] < size[0] or windows[1] < size[1]:
        windows = list(images.shape[-2:])
        border = [max(1, round(side / 32)) for side in reversed(windows) for _ in range(2)]
        source = F.pad(images.float(), border, mode="reflect").to(torch.uint8)
    ends = [
        (slice(0, window), slice(side - window, side))
        for window, side in zip(windows, source.shape[-2:], strict=True)
    ]
    seen = [images] + [source[..., rows, columns] for rows in ends[0] for columns in ends[1]]
    seen = [to_size(view, size) for view in seen]
    return seen + [view.flip(-1) for view in seen]


VIEW_SHARE = 0.875
"""The side of a crop in ``tta_views``, as a share of the picture's."""


def to_size(images: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """N×C×H×W to N×C×height×width, uint8, averaging where pixels are left out."""
    if images.shape[-2:] == tuple(size):
        return images
    small = F.interpolate(images.float(), size, mode="bilinear", antialias=True)
    return small.round().clamp(0, 255).to(torch.uint8)


def to_32(images: torch.Tensor) -> torch.Tensor:
    """N×3×S×S to N×3×32×32, uint8, averaging where pixels are left out."""
    return to_size(images, (32, 32))


LUMA = (19595, 38470, 7471)
"""How much red, green and blue are in a grey, of 65,536: as Pillow's mode L has it (ITU-R 601)."""


def to_grey(images: torch.Tensor) -> torch.Tensor:
    """N×3×H×W to N×1×H×W, uint8, as Pillow's ``convert("L")``."""
    return ((images.int() * torch.tensor(LUMA)[:, None, None]).sum(1, keepdim=True) + 2**15 >> 16).to(
        torch.uint8
    )


def ask(
    model: Any,
    images: torch.Tensor,
    labels: torch.Tensor,
    *,
    tta: bool = False,
    classes: Sequence[str] = CLASSES,
) -> Evaluation:
    """What a Core ML file answers to pictures, which are made as large, and as grey, as it takes them.

    Args:
        model: a file or package, or a loaded ``CoreMLModel``, with these classes as its labels.
        images: N×3×S×S, uint8, 0 to 255.
        labels: N, int64.
        tta: test-time augmentation, the mean of the answers to ``tta_views(images)``.
        classes: the names of the labels, in order.

    Raises:
        FileNotFoundError, ValueError: there is no such file, or it has other classes, or no image input.
    """
    model = load(model) if isinstance(model, str | Path) else model
    names = in_order(classes, argument="classes")
    if model.labels is not None and list(map(str, model.labels)) != names:
        raise ValueError(
            f"The model knows {_listed(list(map(str, model.labels)))}; the photos are of {_listed(names)}. "
            "Convert a network for these classes, with these names in this order."
        )
    _, channels, height, width = _image_shape(model)
    size = height, width
    views = tta_views(images, size) if tta else [to_size(images, size)]
    if channels == 1 != images.shape[1]:
        views = [to_grey(view) for view in views]
    return Evaluation(torch.stack([model.probs(view) for view in views]).mean(0), labels)


def _image_shape(model) -> tuple:
    """1 × channels × height × width of the image that the model takes."""
    shapes = [feature.shape for feature in model.inputs.values()]
    if len(shapes) != 1 or len(shapes[0]) != 4:
        raise ValueError(
            f"The model takes {' and '.join('×'.join(map(str, shape)) for shape in shapes)}, and one image is needed. "
            "Convert it with an image input."
        )
    return tuple(shapes[0])


@dataclass(repr=False)
class Result:
    """What a model said about the photos of a folder.

    Attributes:
        photos: the photos that were judged.
        evaluation: probabilities and labels, as ``helpers.evaluation.evaluate`` gives them.
    """

    photos: Photos
    evaluation: Evaluation

    @property
    def right(self) -> torch.Tensor:
        """N, bool: whether each answer is right."""
        return self.evaluation.predictions == self.evaluation.labels

    @property
    def accuracy(self) -> Interval:
        """The share of right answers with its 95 % interval."""
        return share(self.right)

    def __repr__(self) -> str:
        return f"{self.photos!r}: right {self.accuracy} with 95 % confidence"

    def show_mistakes(self, count: int = 20) -> None:
        """A contact sheet of the wrong answers, the surest first; above each the answer and (the class)."""
        wrong = (~self.right).nonzero().flatten()
        sure = self.evaluation.probs.max(1).values[wrong]
        wrong = wrong[sure.argsort(descending=True)][:count]
        if not len(wrong):
            print("no mistakes")
            return
        answers = self.evaluation.predictions
        names = self.photos.classes
        titles = [f"{names[int(answers[i])]}\n({names[int(self.evaluation.labels[i])]})" for i in wrong]
        pictures = torch.stack([shrink(open_photo(self.photos.files[i]), "squash", size=96) for i in wrong])
        alt = f"{len(wrong)} photos with a wrong answer; above each the answer, and in brackets its class."
        figures.images(pictures, titles, alt=alt)


def evaluate_folder(
    folder: str | Path,
    model: Any = None,
    *,
    crop: str = "centre crop",
    resize: str = "antialiased",
    tta: bool = False,
    classes: Sequence[str] | None = None,
) -> Result:
    """Put all photos of a folder to a Core ML file.

    Args:
        folder: has one folder per class, as ``photos/cat/*.jpg``.
        model: a Core ML file or package, or a loaded one; without it the camera network that ships with
            the project is converted.
        crop, resize: as for ``shrink``.
        tta: as for ``ask``.
        classes: their names in the order of the model's outputs; default: the labels of the model.

    Raises:
        FileNotFoundError, ValueError: as ``find``, ``open_photo`` and ``shrink`` say.

    Example:
        >>> result = evaluate_folder("photos")  # doctest: +SKIP
        >>> result.show_mistakes()  # doctest: +SKIP
    """
    if model is None:
        find(folder, classes or CLASSES)  # a slip in a name is told before anything is converted
        model = to_coreml()
    model = load(model) if isinstance(model, str | Path) else model
    classes = classes or _own_classes(model)
    _, _, height, width = _image_shape(model)
    larger = 4 if tta else 1
    photos = load_photos(folder, crop, resize, (larger * height, larger * width), classes)
    return Result(photos, ask(model, photos.images, photos.labels, tta=tta, classes=classes))


def _own_classes(model) -> Sequence[str]:
    """The classes that a model knows; CIFAR-10's, in their order, if they are those or it does not say."""
    labels = getattr(model, "labels", None) or CLASSES
    return CLASSES if set(labels) == set(CLASSES) else tuple(map(str, labels))


def measured(section: str) -> dict[str, tuple[Interval, Interval]]:
    """What was measured on our own photos: name → the share of right answers, and its gain over the plain road.

    ``tests/proof/photos.py`` wrote the numbers; the photos themselves are not part of the project.

    Args:
        section: ``"files"``, ``"shapes"``, ``"clean"``, ``"cost_of_faults"`` (against the photos as they are),
            ``"under_faults"``, ``"under_faults_not_trained"`` or ``"test_images"``.
    """
    rows = {name: dict(row) for name, row in read("photos")[section].items()}
    gains = {name: Interval(**row.pop("gain")) for name, row in rows.items()}
    return {name: (Interval(**row), gains[name]) for name, row in rows.items()}


def to_coreml(
    network: torch.nn.Module | None = None,
    name: str = "photos.mlmodel",
    *,
    classes: Sequence[str] = CLASSES,
    shape: Sequence[int] = (1, 3, 32, 32),
    **arguments: Any,
) -> Path:
    """A network as a Core ML file in ``artifacts/scratch/``, by the road of notebooks 03 and 04.

    Args:
        network: in evaluation mode; without it the camera network that ships with the project.
        name: of the file.
        classes, shape: as for ``helpers.onnx_export.export_onnx``.
        arguments: for ``helpers.onnx_coreml.convert``, in place of a picture from 0 to 255 and these labels.

    Returns:
        The path of the file.
    """
    from helpers import checkpoints, coreml
    from helpers.onnx_coreml import convert
    from helpers.onnx_export import export_onnx

    network = checkpoints.load_camera()[0] if network is None else network
    onnx = paths.artifact(f"scratch/{Path(name).stem}.onnx")
    export_onnx(network, onnx, classes=classes, shape=shape)
    usual: dict = {"image_input_names": ["image"], "mode": "classifier", "class_labels": list(classes)}
    usual |= {"preprocessing_args": {"image_scale": 1 / 255}}
    return coreml.save(convert(onnx, **(usual | arguments)), paths.artifact(f"scratch/{name}"))
