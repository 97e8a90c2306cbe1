"""Opens a photo as the person who took it saw it: ``helpers.photos`` and the command line of ``coreml_runtime`` use it."""

import contextlib
import io
import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageCms, ImageOps

from helpers.plumbing import paths

FORMATS = ("JPEG", "PNG", "HEIF", "WEBP", "GIF", "BMP", "TIFF", "AVIF")
"""What is decoded, whatever a file is called. Pillow knows fifty more, and gives some to other programs."""

MOST_PIXELS = 64_000_000
"""What is decoded at most. An iPhone's largest photo has 49 million pixels."""

SHORT_SIDE, LARGE_PIXELS = 720, 4_000_000
"""A JPEG is decoded at a half, a quarter or an eighth of its width, which its format offers, as long as that leaves
its shorter side so many pixels; and until no more than so many are left in all. That is several times as fast, and
still more than most networks take."""


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
    """Let a JPEG be decoded at a fraction of its width."""
    pixels, short = image.width * image.height, min(image.size)
    needed = next((f for f in (1, 2, 4) if pixels <= f * f * LARGE_PIXELS), 8)
    harmless = next((f for f in (8, 4, 2) if short >= f * SHORT_SIDE), 1)
    fraction = max(needed, harmless)
    if fraction > 1 and image.format in ("JPEG", "MPO"):
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
