"""Real photos: opened, made 32×32, and put to a Core ML file.

Notebook 06 introduces it. Photos lie in one folder per class, ``photos/cat/*.jpg``.
They stay where they are: nothing here writes them or sends them anywhere. (``helpers.phone`` collects some.)
"""

import contextlib
import io
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageCms, ImageOps

from helpers import figures
from helpers.coreml_runtime import load
from helpers.data import CLASSES
from helpers.evaluation import Evaluation
from helpers.intervals import Interval, share
from helpers.plumbing import paths
from helpers.plumbing.measured import read

SUFFIXES = (".jpg", ".jpeg", ".png", ".heic", ".heif", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif")
"""What a photo's name may end in, in small or capital letters. Other files are left alone."""

FORMATS = ("JPEG", "PNG", "HEIF", "WEBP", "GIF", "BMP", "TIFF", "AVIF")
"""What is decoded, whatever a file is called. Pillow knows fifty more, and gives some to other programs."""

SYNONYMS = {
    "airplane": "plane aeroplane aircraft airliner jet",
    "automobile": "car auto",
    "bird": "",
    "cat": "kitten kitty",
    "deer": "fawn stag",
    "dog": "doggy puppy",
    "frog": "toad",
    "horse": "pony foal",
    "ship": "boat vessel",
    "truck": "lorry",
}
"""Other words for the classes. Words that only look alike mean something else: a car is no cat, a bear no deer."""

CROPS = {"centre crop": "centerCrop", "squash": "scaleFill", "letterbox": "scaleFit"}
"""The ways to make a photo square, and what Vision's ``imageCropAndScaleOption`` calls each."""

RESIZES = ("antialiased", "bilinear", "nearest")
"""The ways to leave pixels out: see ``shrink``."""

MOST_PIXELS = 64_000_000
"""What is decoded at most. An iPhone's largest photo has 49 million pixels."""

LARGE_PIXELS = 4_000_000
"""A JPEG with more is decoded at a half, a quarter or an eighth of its width, which its format offers: the
first that leaves no more than so many pixels. That is three times as fast, and much more than a network takes."""


# -- one photo ---------------------------------------------------------------------------------------


def open_photo(path: str | Path | bytes) -> Image.Image:
    """Open a photo as the person who took it saw it: upright, RGB, 8 bits.

    * The orientation that a phone notes beside the pixels (EXIF) is applied.
    * Transparent parts become white. Of an animation the first picture is taken.
    * CMYK, Lab, palettes and greys become RGB; 16 bits become 8.
    * An embedded colour profile is applied, as Vision does on the phone: every iPhone since 2016 notes its
      colours in Display P3. The result is in sRGB. A damaged or unfitting profile counts as none.
    * HEIC, the format of an iPhone, is read with pillow-heif.

    Args:
        path: of the photo; or what such a file holds, as bytes.

    Returns:
        A picture in mode RGB.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no picture, is damaged, or has too many pixels; the message names the file.
    """
    file = io.BytesIO(path) if isinstance(path, bytes) else Path(path)
    name = paths.shorten(file) if isinstance(file, Path) else "This photo"
    if isinstance(file, Path) and not file.is_file():
        raise FileNotFoundError(f"There is no photo {name}. Check its name.")
    import pillow_heif

    pillow_heif.register_heif_opener()
    try:
        with warnings.catch_warnings():
            # Pillow warns of large pictures and odd metadata; the check below says it in our words.
            warnings.simplefilter("ignore")
            with Image.open(file, formats=FORMATS) as image:
                _check_size(image, name)
                _leave_out_pixels(image)
                return _to_rgb(ImageOps.exif_transpose(image))
    except _TooLarge as error:
        raise ValueError(str(error)) from None
    except Image.DecompressionBombError as error:
        raise ValueError(_too_large(name, "more than 178")) from error
    except Exception as error:  # the decoders' exceptions have no common base
        raise ValueError(
            f"{name} is no picture that can be read, or is damaged ({paths.printable(str(error))}). "
            "Open it in a photo program and save it as JPEG, or take it out of the folder."
        ) from error


class _TooLarge(Exception):
    """More pixels than will be decoded."""


def _too_large(name, megapixels) -> str:
    return (
        f"{name} has {megapixels} megapixels, and at most {MOST_PIXELS / 1e6:.0f} are decoded "
        "(a JPEG may have up to 178, unless it is progressive). Save a smaller copy of it."
    )


def _check_size(image, name) -> None:
    pixels = image.width * image.height
    # Only a baseline JPEG is decoded at a fraction of its size without holding all of it.
    small = image.format in ("JPEG", "MPO") and not image.info.get("progressive")
    if pixels > MOST_PIXELS and not small:
        raise _TooLarge(_too_large(name, f"{pixels / 1e6:.0f}"))


def _leave_out_pixels(image) -> None:
    """Let a large JPEG be decoded at a fraction of its width."""
    pixels = image.width * image.height
    if image.format in ("JPEG", "MPO") and pixels > LARGE_PIXELS:
        fraction = next((f for f in (2, 4) if pixels <= f * f * LARGE_PIXELS), 8)
        image.draft("RGB", (image.width // fraction, image.height // fraction))


def _to_rgb(image) -> Image.Image:
    profile = image.info.get("icc_profile")
    if image.mode == "F":
        raise ValueError("its pixels are floating-point numbers")
    if image.mode.startswith("I"):  # 16 bits of grey, of which convert() would cut off all but the lowest 8
        grey = np.asarray(image).astype(np.float64)
        image = Image.fromarray((grey.clip(0, 65535) / 257).round().astype(np.uint8))
    if not image.has_transparency_data:
        return _to_srgb(image, profile)
    image = image.convert("LA" if image.mode in ("1", "L", "LA", "La") else "RGBA")
    opaque = Image.new("RGB", image.size, "white")
    opaque.paste(_to_srgb(image, profile), mask=image.getchannel("A"))
    return opaque


def _to_srgb(image, profile: bytes | None) -> Image.Image:
    """The colours that the numbers of a picture mean by its ICC profile, as RGB; its transparency is left out."""
    mode = {"1": "L", "L": "L", "LA": "L", "CMYK": "CMYK"}.get(image.mode, "RGB")
    if profile:
        with contextlib.suppress(ImageCms.PyCMSError):  # it is damaged, or made for another kind of picture
            numbers = image if image.mode == mode else image.convert(mode)
            srgb = ImageCms.createProfile("sRGB")
            converted = ImageCms.profileToProfile(numbers, io.BytesIO(profile), srgb, outputMode="RGB")
            return converted or image.convert("RGB")
    return image.convert("RGB")


def shrink(
    picture: Image.Image,
    crop: str = "centre crop",
    resize: str = "antialiased",
    size: int = 32,
) -> torch.Tensor:
    """Make a photo square and small.

    Args:
        picture: a PIL picture in mode RGB.
        crop: ``"centre crop"`` cuts off what is too long; ``"squash"`` presses all of it into the square;
            ``"letterbox"`` fits all of it in and leaves the rest black: Vision leaves it transparent, as
            Apple's page on ``VNImageCropAndScaleOption`` says, and a picture without alpha has black there.
        resize: ``"antialiased"`` averages over all pixels that become one; ``"bilinear"`` looks at the
            four around one point, ``"nearest"`` at one. In a photo a hundred times as large as the
            result, the last two leave most pixels out.
        size: width and height of the result.

    Returns:
        3×size×size, uint8, 0 to 255.

    Raises:
        ValueError: an unknown crop or resize, a picture in another mode, or a size below 1.
    """
    if getattr(picture, "mode", None) != "RGB":
        raise ValueError(
            f"This is {picture!r:.80}, and a PIL picture in mode RGB is needed. Take open_photo(path), or convert('RGB')."
        )
    if not isinstance(size, int) or size < 1:
        raise ValueError(f"size={size!r} must be a whole number of pixels, at least 1.")
    if crop not in CROPS or resize not in RESIZES:
        wrong, known = (crop, CROPS) if crop not in CROPS else (resize, RESIZES)
        raise ValueError(f"{wrong!r} is not known. Use one of {', '.join(map(repr, known))}.")
    width, height = picture.size
    if crop == "letterbox":
        scale = size / max(width, height)
        inner = max(1, round(width * scale)), max(1, round(height * scale))
        canvas = Image.new("RGB", (size, size))
        corner = (size - inner[0]) // 2, (size - inner[1]) // 2
        canvas.paste(_resize(picture, (0, 0, width, height), inner, resize), corner)
    else:
        side = min(width, height)
        left, top = (width - side) / 2, (height - side) / 2
        box = (0, 0, width, height) if crop == "squash" else (left, top, left + side, top + side)
        canvas = _resize(picture, box, (size, size), resize)
    return torch.from_numpy(np.array(canvas)).permute(2, 0, 1)


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
        images: N×3×S×S, uint8, 0 to 255.
        labels: N, int64, places in ``CLASSES``.
        files: N paths.
        ignored: files in the class folders that are no photos by their name.
    """

    images: torch.Tensor
    labels: torch.Tensor
    files: list[Path]
    ignored: list[Path] = field(default_factory=list)

    def __repr__(self) -> str:
        some = (
            f"; left alone: {', '.join(paths.printable(path.name) for path in self.ignored)}"
            if self.ignored
            else ""
        )
        return f"{len(self.labels)} photos of {len(set(self.labels.tolist()))} classes{some}"


def find(folder: str | Path) -> tuple[list[Path], list[int], list[Path]]:
    """The photos of a folder with one folder per class: their paths, their labels, and what was left alone.

    Hidden files are passed over.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: a folder that is no class, photos outside the class folders, or no photo at all.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(
            f"There is no folder {paths.shorten(folder)}. Make it, with a folder for each class, e.g. "
            f"{paths.shorten(folder / 'cat')}, and put your photos in there."
        )
    files, labels, ignored = [], [], []
    for place in sorted(folder.iterdir()):
        if place.name.startswith("."):
            continue
        if not place.is_dir():
            if place.suffix.lower() in SUFFIXES:
                raise ValueError(
                    f"{paths.shorten(place)} lies outside the class folders, so its class is not known. "
                    f"Move it into a folder with the name of what it shows: {', '.join(CLASSES)}."
                )
            continue
        name = place.name.lower()
        if name not in CLASSES:
            meant = _meant(name)
            hint = f" Did you mean {meant!r}?" if meant else ""
            raise ValueError(
                f"{paths.shorten(place)}: there is no class {place.name!r}.{hint} "
                f"The ten that are known are {', '.join(CLASSES)}."
            )
        for path in sorted(place.iterdir()):
            if path.name.startswith("."):
                continue
            if path.suffix.lower() in SUFFIXES:
                files.append(path)
                labels.append(CLASSES.index(name))
            else:
                ignored.append(path)
    if not files:
        raise ValueError(
            f"There is no photo in {paths.shorten(folder)}. Put some into folders named after the classes "
            f"({', '.join(CLASSES)}); their names end in {', '.join(SUFFIXES)}."
        )
    return files, labels, ignored


def _meant(name: str) -> str | None:
    """The class that a name means: the class itself or another word for it, one or several of them."""
    name = name.strip()
    words = {name, name.removesuffix("s"), name[:-3] + "y" if name.endswith("ies") else name}
    for label in CLASSES:
        if words & {label, *SYNONYMS[label].split()}:
            return label
    return None


def load_photos(
    folder: str | Path, crop: str = "centre crop", resize: str = "antialiased", size: int = 32
) -> Photos:
    """Open all photos of a folder and make them small. One photo is held in memory at a time.

    Args:
        folder: has one folder per class.
        crop, resize, size: as for ``shrink``.

    Raises:
        FileNotFoundError, ValueError: as ``find``, ``open_photo`` and ``shrink`` say.
    """
    files, labels, ignored = find(folder)
    images = [shrink(open_photo(path), crop, resize, size) for path in files]
    return Photos(torch.stack(images), torch.tensor(labels), files, ignored)


# -- answers -----------------------------------------------------------------------------------------


def tta_views(images: torch.Tensor) -> list[torch.Tensor]:
    """Ten views for test-time augmentation: whole and as four overlapping crops, each with its mirror image.

    An object that is small in one view may be large in another. The mean of the answers is steadier than
    one answer (Krizhevsky, Sutskever and Hinton, 2012, section 4.1, did so with ten).

    Args:
        images: N×3×S×S, uint8, 0 to 255; S is 32 or more.

    Returns:
        Ten times N×3×32×32, uint8.
    """
    side = images.shape[-1]
    window = round(side * VIEW_SHARE)
    ends = (slice(0, window), slice(side - window, side))
    seen = [images] + [images[..., rows, columns] for rows in ends for columns in ends]
    seen = [to_32(view) for view in seen]
    return seen + [view.flip(-1) for view in seen]


VIEW_SHARE = 0.875
"""The side of a crop in ``tta_views``, as a share of the picture's."""


def to_32(images: torch.Tensor) -> torch.Tensor:
    """N×3×S×S to N×3×32×32, uint8, averaging where pixels are left out."""
    if images.shape[-2:] == (32, 32):
        return images
    small = F.interpolate(images.float(), (32, 32), mode="bilinear", antialias=True)
    return small.round().clamp(0, 255).to(torch.uint8)


def ask(model: Any, images: torch.Tensor, labels: torch.Tensor, *, tta: bool = False) -> Evaluation:
    """What a Core ML file answers to pictures.

    Args:
        model: a file or package, or a loaded ``CoreMLModel``, with the ten classes as its labels.
        images: N×3×S×S, uint8, 0 to 255.
        labels: N, int64.
        tta: test-time augmentation, the mean of the answers to ``tta_views(images)``.

    Raises:
        FileNotFoundError, ValueError: there is no such file, or it has other classes.
    """
    model = load(model) if isinstance(model, str | Path) else model
    if model.labels is not None and tuple(model.labels) != CLASSES:
        raise ValueError(
            f"The model knows {', '.join(map(str, model.labels))}; the photos are of {', '.join(CLASSES)}. "
            "Convert a network for CIFAR-10 with these names in this order."
        )
    seen = tta_views(images) if tta else [to_32(images)]
    return Evaluation(torch.stack([model.probs(view) for view in seen]).mean(0), labels)


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
        titles = [f"{CLASSES[answers[i]]}\n({CLASSES[self.evaluation.labels[i]]})" for i in wrong]
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
) -> Result:
    """Put all photos of a folder to a Core ML file.

    Args:
        folder: has one folder per class, as ``photos/cat/*.jpg``.
        model: a Core ML file or package, or a loaded one; without it the camera network that ships with
            the project is converted.
        crop, resize: as for ``shrink``.
        tta: as for ``ask``.

    Raises:
        FileNotFoundError, ValueError: as ``find``, ``open_photo`` and ``shrink`` say.

    Example:
        >>> result = evaluate_folder("photos")  # doctest: +SKIP
        >>> result.show_mistakes()  # doctest: +SKIP
    """
    photos = load_photos(folder, crop, resize, size=128 if tta else 32)
    model = model or to_coreml()
    return Result(photos, ask(model, photos.images, photos.labels, tta=tta))


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


def to_coreml(network: torch.nn.Module | None = None, name: str = "photos.mlmodel", **arguments: Any) -> Path:
    """A network as a Core ML file in ``artifacts/scratch/``, by the road of notebooks 03 and 04.

    Args:
        network: in evaluation mode; without it the camera network that ships with the project.
        name: of the file.
        arguments: for ``helpers.onnx_coreml.convert``, in place of a picture from 0 to 255 and ten labels.

    Returns:
        The path of the file.
    """
    from helpers import checkpoints, coreml
    from helpers.onnx_coreml import convert
    from helpers.onnx_export import export_onnx

    network = checkpoints.load_camera()[0] if network is None else network
    onnx = paths.artifact(f"scratch/{Path(name).stem}.onnx")
    export_onnx(network, onnx, classes=CLASSES)
    usual: dict = {"image_input_names": ["image"], "mode": "classifier", "class_labels": list(CLASSES)}
    usual |= {"preprocessing_args": {"image_scale": 1 / 255}}
    return coreml.save(convert(onnx, **(usual | arguments)), paths.artifact(f"scratch/{name}"))
