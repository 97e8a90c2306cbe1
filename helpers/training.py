"""Train AlexNet: a Recipe, fit(), evaluate(), and the History of a run.

Notebook 01 introduces the training loop and writes it out in full. This is the
same loop with what a class needs around it: a device chosen by itself, a
progress line, an interruption that loses nothing, and errors that say what to do.

``python -m helpers.training`` trains without a notebook, and
``torchrun --nproc-per-node=N -m helpers.training`` in N processes, on as many
GPUs or machines (see ``helpers.plumbing.processes``).
"""

import argparse
import ast
import contextlib
import copy
import ctypes
import json
import math
import numbers
import sys
import time
import weakref
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from statistics import mean, median

import torch
import torch.nn.functional as F

from helpers import camera, checkpoints
from helpers.data import load_cifar10
from helpers.model import AlexNet
from helpers.muon import Muon
from helpers.plumbing import paths, processes
from helpers.plumbing.files import check_file
from helpers.plumbing.interrupts import Interrupts, torch_modes
from helpers.plumbing.mode import mode
from helpers.plumbing.networks import check_network
from helpers.plumbing.paths import replacing


@dataclass(frozen=True, repr=False)
class Recipe:
    """Everything that decides how a run ends, apart from the machine.

    Change one field with ``dataclasses.replace(recipe, learning_rate=0.05)``.

    Attributes:
        name: what a table calls this recipe.
        epochs: passes over the training images.
        batch_size: images per step.
        learning_rate: the highest rate of the one-cycle schedule.
        warmup: share of the steps in which the rate rises to it; then it falls to
            zero, both in a straight line (Smith and Topin, 2018, "Super-Convergence").
        momentum: of the optimiser, in Nesterov's form.
        weight_decay: of the weights that Muon trains; each step takes ``learning_rate * weight_decay``
            of them away. Biases and batch norm keep theirs (He et al., 2018, "Bag of Tricks
            for Image Classification"). Without Muon: as ``torch.optim.SGD`` has it, on all
            convolution and linear weights.
        label_smoothing: share of the target spread evenly over all classes (Szegedy
            et al., 2016).
        crop_padding: pixels by which an image may be shifted each way; the border is
            filled by reflection. 0 turns the shift off.
        flip: show each image and its mirror image in turn, one per epoch (Jordan,
            2024, "94% on CIFAR-10 in 3.29 Seconds on a Single GPU").
        sizes: side in pixels of the training images: each is used for an equal share of the steps,
            one after the other. Small images cost little, and what is learnt from them need not be
            learnt again (progressive resizing: Howard and Gugger, 2020, "Fastai: A Layered API for
            Deep Learning"; Tan and Le, 2021, "EfficientNetV2"). ``(32,)`` leaves them as they are.
        width: multiplies every layer's channels (see ``AlexNet``).
        batch_norm: see ``AlexNet``.
        seed: decides the first weights, the order of the images and every crop.

    The fields below are left out where a recipe is printed and they have their usual
    value. From ``schedule`` on they are there to take a trick away and see what it was worth.

    Attributes:
        augment: ``"camera"`` makes the batches look as cameras might have taken them
            (``helpers.camera.imitate``, notebook 06); empty leaves them alone.
        cutout: side in pixels of a grey square that hides a random place of each image,
            so that the network learns not to lean on one detail (DeVries and Taylor,
            2017, "Improved Regularization of Convolutional Neural Networks with Cutout").
        muon: train the hidden layers' weights with Muon, the rest with SGD (see ``helpers.muon``).
            False trains everything with SGD; use another rate and weight decay then, such as 0.1 and 0.0005.
        bias_rate: how many times as fast biases and batch norm learn (Jordan, 2024, who takes 64).
        pool_first: see ``AlexNet``.
        schedule: False keeps ``learning_rate`` all the time.
        nesterov: momentum that looks one step ahead (Sutskever et al., 2013, "On the
            Importance of Initialization and Momentum in Deep Learning").
        alternating: False throws a new coin for every flip.
        bfloat16: 16-bit products where the hardware has them (see ``pick_precision``).
        channels_last: keep the channels of a pixel side by side in memory, the order
            in which convolutions are fastest (PyTorch's "Channels Last Memory Format").
        keep_memory: see ``keep_freed_memory``.
    """

    name: str = "custom"
    epochs: int = 4
    batch_size: int = 256
    learning_rate: float = 0.05
    warmup: float = 0.25
    momentum: float = 0.9
    weight_decay: float = 0.1
    label_smoothing: float = 0.1
    crop_padding: int = 2
    flip: bool = True
    sizes: tuple[int, ...] = (32,)
    width: float = 1.0
    batch_norm: bool = True
    seed: int = 0
    augment: str = ""
    cutout: int = 0
    muon: bool = True
    bias_rate: float = 10.0
    pool_first: bool = True
    schedule: bool = True
    nesterov: bool = True
    alternating: bool = True
    bfloat16: bool = True
    channels_last: bool = True
    keep_memory: bool = True

    def __post_init__(self):
        for f in fields(self):
            value = getattr(self, f.name)
            try:
                value = KINDS[f.type](value, *LIMITS.get(f.name, ()))
            except ValueError as error:
                raise ValueError(f"Recipe({f.name}={value!r}): {f.name} must be {error}.") from None
            object.__setattr__(self, f.name, value)

    def __repr__(self) -> str:
        shown = [f for f in fields(self) if f.name not in UNUSUAL or getattr(self, f.name) != f.default]
        return f"Recipe({', '.join(f'{f.name}={getattr(self, f.name)!r}' for f in shown)})"

    @classmethod
    def quick(cls) -> "Recipe":
        """Past 80 % on CIFAR-10 before the coffee is ready, with a network of half the width."""
        return cls(name="quick", epochs=3, crop_padding=1, sizes=(16, 24, 32), width=0.5)

    @classmethod
    def full(cls) -> "Recipe":
        """The recipe of the shipped checkpoint; its seed is the median one of the five that ``make bench`` trains."""
        return cls(name="full", seed=4, epochs=15, learning_rate=0.03, crop_padding=3, sizes=(16, 24, 32, 32))

    @classmethod
    def camera(cls) -> "Recipe":
        """A second, gentler training of a finished network, on pictures with the faults of a camera (notebook 06)."""
        return cls(name="camera", epochs=5, learning_rate=0.01, warmup=0.1, crop_padding=4, augment="camera")

    @classmethod
    def gpu(cls) -> "Recipe":
        """A wider network for one data-centre GPU; the aim is 93 %.

        A GPU wants larger batches. Muon's steps are equally long whatever the gradient is, as Adam's
        are, and for those four times the images in a step allow twice the rate (Malladi et
        al., 2022, "On the SDEs and Scaling Rules for Adaptive Gradient Algorithms").
        """
        return cls(
            name="gpu", epochs=40, batch_size=1024, learning_rate=0.06, crop_padding=4, width=3.0, cutout=8
        )

    @classmethod
    def smoke(cls) -> "Recipe":
        """Seconds, for tests: it shows that the road is open, not where it leads."""
        return cls(name="smoke", epochs=2, sizes=(16, 32), width=0.5)

    @classmethod
    def for_mode(cls) -> "Recipe":
        """The recipe of the mode this notebook runs in (``CHAPTER_MODE``)."""
        return {"quick": cls.quick, "full": cls.full, "smoke": cls.smoke}[mode()]()

    def model(self) -> AlexNet:
        """A new network with the first weights that ``seed`` decides.

        The global random state is left as it was.
        """
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            return AlexNet(width=self.width, batch_norm=self.batch_norm, pool_first=self.pool_first)


LIMITS = {
    "epochs": (1, math.inf),
    "batch_size": (1, math.inf),
    "learning_rate": (0, math.inf),
    "warmup": (0, 1),
    "momentum": (0, 1),
    "weight_decay": (0, math.inf),
    "label_smoothing": (0, 1),
    "crop_padding": (0, 31),  # the reflected border cannot be wider than the image
    "sizes": (16, 32),
    "width": (0.01, 64),  # with less no layer gets narrower, with more none fits into a memory
    "seed": (0, 2**64 - 1),
    "bias_rate": (0, math.inf),
    "cutout": (0, 32),
    "augment": ("", "camera"),
}
"""The smallest and largest value of a recipe's numbers, and all values of a text that has not any."""

LARGEST = 1e30
"""No number of a recipe is larger: a step as long as that still fits into float32."""


def _number(value, low, high, whole: bool = False):
    own = math.nan  # another library's number becomes Python's
    if isinstance(value, numbers.Integral if whole else numbers.Real) and not isinstance(value, bool):
        with contextlib.suppress(OverflowError):
            own = int(value) if whole else float(value)
    if not low <= own <= min(high, LARGEST):
        limits = f"at least {low}" if high == math.inf else f"from {low} to {high}"
        if LARGEST < own < high:
            limits = f"at most {LARGEST:g}"
        raise ValueError(f"a number, {limits}{', and whole' if whole else ''}")
    return own


def _whole_number(value, low, high) -> int:
    return _number(value, low, high, whole=True)


def _whole_numbers(values, low, high) -> tuple:
    try:
        if isinstance(values, (tuple, list)) and values:
            return tuple(_whole_number(value, low, high) for value in values)  # JSON has lists only
    except ValueError:
        pass
    raise ValueError(f"whole numbers from {low} to {high}, e.g. (16, 24, 32)")


def _switch(value) -> bool:
    if not isinstance(value, bool):
        raise ValueError("True or False")
    return value


def _text(value, *known) -> str:
    if not isinstance(value, str) or not value.isprintable():
        raise ValueError("a text on one line, without control characters")
    if known and value not in known:
        raise ValueError(" or ".join(map(repr, known)))
    return value


KINDS = {int: _whole_number, float: _number, bool: _switch, str: _text, tuple[int, ...]: _whole_numbers}
"""How the value of a recipe's field is checked, by the field's type."""

UNUSUAL = (
    "augment",
    "cutout",
    "muon",
    "bias_rate",
    "pool_first",
    "schedule",
    "nesterov",
    "alternating",
    "bfloat16",
    "channels_last",
    "keep_memory",
)
"""Fields that a printed recipe leaves out while they have their default."""

RECIPES = {"quick": Recipe.quick, "full": Recipe.full, "gpu": Recipe.gpu, "smoke": Recipe.smoke}


def pick_device(wanted=None) -> torch.device:
    """``wanted``, or else the fastest device there is: an NVIDIA GPU, then Apple's GPU, then the CPU.

    Raises:
        ValueError: ``wanted`` is not known, or not there.
    """
    if wanted is not None:
        try:
            probe = torch.zeros(1, device=wanted)
            probe.item()  # which the meta device, that holds no numbers, cannot give
            return probe.device
        except (RuntimeError, AssertionError, TypeError, ImportError) as error:
            raise ValueError(
                f"device={wanted!r} cannot be used here ({str(error).splitlines()[0]}). "
                f"Leave it out to take the fastest there is, {str(pick_device())!r}."
            ) from error
    if torch.cuda.is_available():
        return torch.device("cuda")
    if torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")


def pick_precision(device: torch.device) -> torch.dtype:
    """``bfloat16`` where the hardware multiplies it, else ``float32``.

    Weights, batch norm statistics and the loss stay in float32 either way
    (``torch.autocast``); only convolutions and matrix products are rounded.
    """
    if device.type == "cuda":
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
    elif device.type == "cpu":
        able = torch.cpu.get_capabilities()
        fast = any(able.get(name) for name in ("amx_bf16", "avx512_bf16", "bf16"))
    else:
        fast = False
    return torch.bfloat16 if fast else torch.float32


def describe_device(device: torch.device | None = None) -> str:
    """The device and its precision in words, e.g. ``"AMD EPYC, 2 threads, bfloat16"``."""
    device = device or pick_device()
    name = {
        "cuda": lambda: torch.cuda.get_device_name(device),
        "mps": lambda: "Apple GPU (MPS)",
        "cpu": lambda: (
            f"{torch.cpu.get_capabilities().get('cpu_name') or 'CPU'}, {torch.get_num_threads()} threads"
        ),
    }[device.type]()
    return f"{name}, {str(pick_precision(device)).removeprefix('torch.')}"


M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4
"""Two settings of glibc, by their names and numbers in its malloc.h."""


def keep_freed_memory() -> None:
    """Let this process keep, until it ends, what a training step frees (Linux with glibc only).

    Otherwise large blocks often go back to the system, which has to clear them, page by page, before
    the next step gets them again (see mallopt in the GNU C Library's manual).
    """
    if sys.platform == "linux":
        with contextlib.suppress(AttributeError):  # another C library, such as musl
            mallopt = ctypes.CDLL(None).mallopt
            mallopt(M_MMAP_MAX, 0)
            mallopt(M_TRIM_THRESHOLD, 2**31 - 1)


def check_split(images: torch.Tensor, labels: torch.Tensor, name: str, classes: int = 10) -> None:
    """Check one split before any time is spent on it.

    Raises:
        ValueError: a wrong shape or dtype, an empty split, or a label outside
            ``0 … classes - 1``; the message says which.
    """
    for what, given in (("images", images), ("labels", labels)):
        if not isinstance(given, torch.Tensor):
            raise ValueError(
                f"{name}_{what} is a {type(given).__name__}, not a torch.Tensor. Use torch.as_tensor({name}_{what})."
            )
        if given.layout != torch.strided or given.is_meta:
            raise ValueError(
                f"{name}_{what} is a tensor without a number in every place (sparse, or on the meta device). "
                f"Use {name}_{what}.to_dense(), or load it again."
            )
    if images.ndim != 4 or images.shape[1:] != (3, 32, 32):
        raise ValueError(
            f"{name}_images has the shape {tuple(images.shape)}; AlexNet takes N×3×32×32. "
            "A single image needs image[None]; channels last needs images.permute(0, 3, 1, 2)."
        )
    if images.dtype != torch.uint8:
        raise ValueError(
            f"{name}_images holds {images.dtype}; fit() and evaluate() take torch.uint8 from 0 to 255. "
            "For pixels from 0 to 1 use (images * 255).round().to(torch.uint8)."
        )
    if len(images) == 0:
        raise ValueError(f"{name}_images is empty: there is nothing to learn from. Check how it was cut.")
    if labels.shape != (len(images),) or labels.dtype != torch.int64:
        raise ValueError(
            f"{name}_labels has the shape {tuple(labels.shape)} and holds {labels.dtype}; "
            f"it needs one torch.int64 per image: ({len(images)},)."
        )
    low, high = labels.min().item(), labels.max().item()
    if low < 0 or high >= classes:
        raise ValueError(
            f"{name}_labels runs from {low} to {high}; with {classes} classes a label is 0 to {classes - 1}."
        )


def _generator(seed: int) -> torch.Generator:
    """Random numbers on the CPU. A generator takes 64 bits; multiples of odd numbers stay different in them."""
    return torch.Generator().manual_seed(seed % 2**64)


class Batches:
    """The training images in memory, handed out as shuffled, shifted, mirrored batches.

    All 50,000 images fit into 150 MB as uint8, so no ``DataLoader`` and no worker
    process is needed: a whole batch is cut out by one indexing operation.

    Args:
        images: N×3×32×32, uint8, 0 to 255.
        labels: N, int64.
        recipe: decides batch size, shift, flip, sizes and seed.
        device: where the batches are made.
        rank, world_size: which share of every batch this process takes.
    """

    def __init__(self, images, labels, recipe, device, rank=0, world_size=1):
        if len(images) < recipe.batch_size:
            raise ValueError(
                f"A batch of {recipe.batch_size} cannot be filled from {len(images)} images. "
                "Choose a smaller batch_size."
            )
        if recipe.batch_size % world_size:
            fitting = recipe.batch_size // world_size * world_size
            raise ValueError(
                f"{world_size} processes cannot share a batch of {recipe.batch_size} images evenly. "
                f"Choose a multiple of {world_size} as batch_size, e.g. {fitting or world_size}."
            )
        p = recipe.crop_padding
        padded = F.pad(images.float(), (p, p, p, p), mode="reflect").to(torch.uint8)
        # Pixels first, channels last: one index then fetches all three channels.
        self.pixels = padded.permute(0, 2, 3, 1).contiguous().to(device)
        self.labels = labels.to(device)
        self.recipe, self.device = recipe, device
        self.rank, self.world_size = rank, world_size
        self.steps = len(images) // recipe.batch_size

    def size(self, step: int) -> int:
        """The side of the images in the given step, counted from the start of the training."""
        sizes = self.recipe.sizes
        return sizes[min(step * len(sizes) // (self.recipe.epochs * self.steps), len(sizes) - 1)]

    def epoch(self, number: int, first_step: int = 0):
        """Yield ``(images, labels)`` for one epoch: N×3×S×S float from 0 to 1, and N int64.

        S is 32, or what ``recipe.sizes`` says for the step.

        Everything random comes from (seed, epoch) alone, so a run that was
        interrupted goes on with exactly the batches it would have had.
        """
        recipe, n = self.recipe, len(self.labels)
        generator = _generator(recipe.seed * 100_003 + number)
        order = torch.randperm(n, generator=generator).to(self.device)
        shift = torch.randint(0, 2 * recipe.crop_padding + 1, (2, n), generator=generator).to(self.device)
        # Alternating flip: a coin decides each image's side once, then the sides take turns.
        coin = _generator(recipe.seed) if recipe.alternating else generator
        turn = number if recipe.alternating else 0
        mirrored = (torch.randint(0, 2, (n,), generator=coin) + turn).remainder(2).bool().to(self.device)
        along = torch.arange(32, device=self.device)
        hidden = torch.randint(0, 32, (2, n), generator=generator).to(self.device) if recipe.cutout else None

        for step in range(first_step, self.steps):
            chosen = order[step * recipe.batch_size : (step + 1) * recipe.batch_size]
            chosen = chosen[self.rank :: self.world_size]
            rows = along + shift[0, chosen, None]
            columns = along.expand(len(chosen), 32)
            if recipe.flip:
                columns = torch.where(mirrored[chosen, None], 31 - columns, columns)
            columns = columns + shift[1, chosen, None]
            pixels = self.pixels[chosen[:, None, None], rows[:, :, None], columns[:, None, :]]
            pixels = pixels.permute(0, 3, 1, 2).float() / 255
            if recipe.augment:
                faults = _generator(((recipe.seed * 100_003 + number) * 100_003 + step) * 1009 + self.rank)
                pixels = camera.imitate(pixels, faults)
            if recipe.cutout:
                start = hidden[:, chosen, None] - recipe.cutout // 2
                inside = (along >= start) & (along < start + recipe.cutout)
                pixels = pixels.masked_fill((inside[0, :, :, None] & inside[1, :, None, :])[:, None], 0.5)
            if (size := self.size(number * self.steps + step)) != 32:
                pixels = F.interpolate(pixels, size, mode="bilinear")
            yield pixels, self.labels[chosen]


@dataclass(repr=False)
class History:
    """What happened in a run: one row per epoch, and how to go on.

    Attributes:
        recipe: the recipe of the run.
        device: the device and its precision in words.
        rows: per epoch ``epoch``, ``learning_rate`` (at its end), ``train_loss``,
            ``train_accuracy`` (on augmented images, while learning), ``test_accuracy``
            (0 to 1) and ``seconds`` (training and test together).
        steps: training steps done so far.
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

    def __repr__(self) -> str:
        how = "finished" if self.finished else "interrupted"
        return (
            f"History({self.recipe.name}: {how} after {len(self.rows)} epochs, {self.seconds:.0f} s, "
            f"test accuracy {self.test_accuracy:.2%}, {self.device})"
        )

    @property
    def test_accuracy(self) -> float:
        """Accuracy on the test images after the last epoch, 0 to 1 (nan before the first)."""
        return self.rows[-1]["test_accuracy"] if self.rows else float("nan")

    @property
    def seconds(self) -> float:
        """Seconds of training and testing, all epochs together."""
        return sum(row["seconds"] for row in self.rows)

    def column(self, name: str) -> list:
        """One value per epoch, e.g. ``history.column("train_loss")``."""
        return [row[name] for row in self.rows]

    def save(self, path) -> None:
        """Write the recipe and the rows as JSON (without the optimiser's state)."""
        content = {"recipe": asdict(self.recipe), "device": self.device, "steps": self.steps}
        content |= {"finished": self.finished, "rows": self.rows}
        with replacing(path) as temporary:
            temporary.write_text(json.dumps(content, indent=1), encoding="utf-8")

    @classmethod
    def load(cls, path) -> "History":
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
        rows = [{name: row[name] for name in ROW} for row in content["rows"]]
        for value in (value for row in rows for value in row.values()):
            _number(value, -LARGEST, LARGEST)
        recipe = recipe or Recipe(**content["recipe"])
        steps, finished = _whole_number(content["steps"], 0, math.inf), _switch(content["finished"])
        if finished != (len(rows) == recipe.epochs):
            raise ValueError(f"{len(rows)} rows for {recipe.epochs} epochs, and finished={finished}")
        return cls(recipe, _text(content["device"]), rows, steps, finished, state)


ROW = ("epoch", "learning_rate", "train_loss", "train_accuracy", "test_accuracy", "seconds")
"""What a row of a history holds."""

LARGEST_HISTORY = 10**7
"""Bytes. An epoch takes about 200."""

NOT_A_HISTORY = (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError)
"""What comes of reading something else as a history."""


class _Progress:
    """One line per finished epoch, and below it a line that moves while an epoch runs.

    In a notebook the lines are one display that is updated in place, so a saved
    notebook keeps the finished lines and no half-drawn bar. Elsewhere each
    finished line is printed.
    """

    def __init__(self, shown: bool, recipe: Recipe):
        self.shown, self.epochs = shown, recipe.epochs
        self.lines, self.handle, self.last = [], None, 0.0
        shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
        if shown and getattr(shell, "kernel", None) is not None:
            from IPython.display import display

            self.handle = display(self._bundle("starting …"), raw=True, display_id=True)

    @staticmethod
    def _bundle(text: str) -> dict:
        return {"text/plain": text}

    def _update(self, moving: str = "") -> None:
        text = "\n".join([*self.lines, moving] if moving else self.lines)
        self.handle.update(self._bundle(text), raw=True)

    def step(self, epoch: int, done: int, steps: int, loss: float) -> None:
        """Show how far the running epoch is; at most four times a second."""
        if self.handle is None or time.perf_counter() - self.last < 0.25:
            return
        self.last = time.perf_counter()
        bar = "█" * (20 * done // steps)
        self._update(f"epoch {epoch:2d}/{self.epochs}   {bar:░<20}  {done}/{steps}   loss {loss:.3f}")

    def say(self, line: str) -> None:
        """Add one line that stays."""
        if not self.shown:
            return
        self.lines.append(line)
        if self.handle is None:
            print(line, flush=True)
        else:
            self._update()

    def epoch(self, row: dict) -> None:
        """Add the line of a finished epoch."""
        self.say(
            f"epoch {row['epoch']:2d}/{self.epochs}   loss {row['train_loss']:.3f}   "
            f"train {row['train_accuracy']:6.1%}   test {row['test_accuracy']:6.1%}   {row['seconds']:5.1f} s"
        )


def make_optimizer(model, recipe: Recipe) -> torch.optim.SGD:
    """Muon for the weights of the hidden layers and SGD for the rest; or SGD for everything.

    The first layer sees pixels and the last one gives the logits: both stay with SGD, as Muon's source says.
    """
    weights = [p for p in model.parameters() if p.ndim > 1]
    biases = [p for p in model.parameters() if p.ndim <= 1]
    inner, outer = (weights[1:-1], weights[:1] + weights[1:][-1:]) if recipe.muon else (weights, [])
    groups = [
        {"params": inner, "weight_decay": recipe.weight_decay},
        {"params": outer, "weight_decay": 0.0},
        {"params": biases, "weight_decay": 0.0, "lr": recipe.learning_rate * recipe.bias_rate},
    ]
    groups[0] |= {"orthogonal": True} if recipe.muon else {}
    return (Muon if recipe.muon else torch.optim.SGD)(
        groups,
        lr=recipe.learning_rate,
        momentum=recipe.momentum,
        nesterov=recipe.nesterov and recipe.momentum > 0,
        fused=all(p.device.type in ("cpu", "cuda") for p in model.parameters()),
    )


def make_scheduler(optimizer, recipe: Recipe, steps: int):
    """The one-cycle schedule over ``steps`` steps: up in a straight line, then down to zero."""
    if not recipe.schedule:
        return torch.optim.lr_scheduler.ConstantLR(optimizer, factor=1.0)
    total = steps + 1  # it counts one ahead: the rate is set for the step to come
    # A rise of exactly one step, that is of no time at all, makes OneCycleLR divide by zero.
    warmup = recipe.warmup * (1 + 1e-9) if recipe.warmup * total == 1 else recipe.warmup
    return torch.optim.lr_scheduler.OneCycleLR(
        optimizer,
        max_lr=[group["lr"] for group in optimizer.param_groups],
        total_steps=total,
        pct_start=warmup,
        anneal_strategy="linear",
        cycle_momentum=False,
        div_factor=10,
        final_div_factor=1000,
    )


def fit(
    model,
    data,
    recipe: Recipe,
    *,
    device=None,
    resume: History | None = None,
    progress=True,
    after_epoch=None,
) -> History:
    """Train ``model`` in place and return the history of the run.

    Interrupting (Ctrl-C, or the notebook's stop button) is not an error: the
    model keeps what it has learnt, and the history that comes back goes on with
    ``fit(model, data, recipe, resume=history)``, to the same end as without a stop.
    A step that is under way is finished first. A second Ctrl-C does not wait for it:
    the run then goes on from the start of its epoch.

    Args:
        model: takes N×3×32×32 float from 0 to 1 and returns N×10 logits; images of all ``recipe.sizes``, too.
            One that has been trained before is trained on from its weights, and a printed line says so.
        data: has ``train_images`` and ``test_images`` (N×3×32×32, uint8, 0 to 255),
            ``train_labels`` and ``test_labels`` (N, int64), as ``load_cifar10()`` returns.
        recipe: how to train.
        device: default: the fastest there is.
        resume: the history of an interrupted run of such a model, the same data and recipe; the model
            gets the weights with which that run stopped.
        progress: show one line per epoch.
        after_epoch: called with the history after each epoch, when ``model`` and ``history.state``
            are up to date; ``helpers.runs`` saves them there.

    Started by ``torchrun`` (see ``helpers.plumbing.processes``), every process calls it with the
    same arguments. They share each batch, and all end with the same model and history.
    An interruption then ends the run.

    Raises:
        ValueError: data of a wrong shape, dtype or range; ``resume`` of another recipe, model or data, or
            without its state; a model that cannot be trained so (the message says why).
        FloatingPointError: the loss is no longer a number (the rate is too high).
        MemoryError: a batch does not fit into the device's memory.
    """
    _check_arguments(data, recipe, resume)
    classes = len(getattr(data, "classes", range(10)))
    check_split(data.train_images, data.train_labels, "train", classes)
    check_split(data.test_images, data.test_labels, "test", classes)
    device = pick_device(device)
    history = resume or History(recipe)
    _check_resumable(history, recipe)
    if recipe.keep_memory:
        keep_freed_memory()
    training, put_back = None, torch_modes(device)
    try:
        with _explain_memory(recipe):
            training = _Training(model, data, history, device, progress, classes)
            return training.run(after_epoch)
    except KeyboardInterrupt:
        put_back()
        if processes.size() > 1:  # the others wait for this process and would wait for ever
            raise
        return training.stopped() if training else history


_TRAINED = weakref.WeakSet()
"""The models that ``fit`` has trained in this process."""


def _check_arguments(data, recipe, resume) -> None:
    if not isinstance(recipe, Recipe):
        raise ValueError(f"recipe is {recipe!r:.60}, which is no Recipe. Pass one, e.g. Recipe.quick().")
    if not isinstance(resume, History | None):
        raise ValueError(f"resume is {resume!r:.60}, which is no History. Pass the one that fit returned.")
    for name in ("train_images", "train_labels", "test_images", "test_labels"):
        if not hasattr(data, name):
            raise ValueError(
                f"data is a {type(data).__name__} without {name}. Pass what load_cifar10() returns."
            )


def _check_resumable(history: History, recipe: Recipe) -> None:
    if history.recipe != recipe:
        raise ValueError(
            "The history to resume comes from another recipe. Pass the recipe it was made with, history.recipe."
        )
    if history.finished:
        raise ValueError(
            "This run has finished; there is nothing to resume. Train a new model without resume."
        )
    if history.steps and not history.state:
        raise ValueError(
            "The history to resume lacks the state of the optimiser, which History.save leaves out. Pass the "
            "history that fit returned, or train with helpers.runs, which keeps all of it; or train a new model "
            "without resume."
        )


class _Training:
    """One call of ``fit``: the network, its optimiser, and how far they are.

    An interruption may come between any two instructions. So whatever is counted follows from the steps
    done and the rows, and doing it twice changes nothing; only inside a step, while ``whole`` is
    False, the weights belong to no step, and the run falls back to ``history.state``.
    """

    def __init__(self, model, data, history: History, device, progress: bool, classes: int):
        recipe, state = history.recipe, history.state
        self.model, self.data, self.history, self.recipe = model, data, history, recipe
        self.precision = pick_precision(device) if recipe.bfloat16 else torch.float32
        self.layout = check_model(model, recipe, device, classes)
        rank, size = processes.rank(), processes.size()
        history.device = describe_device(device) + (f", {size} processes" if size > 1 else "")
        self.batches = Batches(data.train_images, data.train_labels, recipe, device, rank, size)
        self.losses, self.hits = torch.zeros(2, self.batches.steps, device=device)
        if state:
            self._check_state(state)
            model.load_state_dict(state["model"])
        self.trained = processes.shared(model)
        self.optimizer = make_optimizer(self.trained, recipe)
        self.scheduler = make_scheduler(self.optimizer, recipe, recipe.epochs * self.batches.steps)
        if state:
            self._take_up(state)
        self.clock = (len(history.rows), state["spent"] if state else 0.0, time.perf_counter())
        self.whole, self.ctrl_c = True, Interrupts()
        self.shown = _Progress(progress and rank == 0, recipe)

    def _check_state(self, state: dict) -> None:
        mine, its = (
            {name: t.shape for name, t in d.items()} for d in (self.model.state_dict(), state["model"])
        )
        if mine != its:
            raise ValueError(
                "The history to resume comes from another model. Pass the one that was trained, or one made like it."
            )
        if len(state["row"]["losses"]) != self.batches.steps:
            raise ValueError(
                f"The history to resume comes from other data: its epochs have {len(state['row']['losses'])} steps, "
                f"and with this data they have {self.batches.steps}. Pass the data it was made with."
            )

    def _take_up(self, state: dict) -> None:
        """Go on where this state was kept."""
        self.optimizer.load_state_dict(
            copy.deepcopy(state["optimizer"])
        )  # it would go on with the same tensors
        self.scheduler.load_state_dict(state["scheduler"])
        self.losses.copy_(state["row"]["losses"])
        self.hits.copy_(state["row"]["hits"])
        self.history.steps = state["steps"]
        del self.history.rows[state["steps"] // self.batches.steps :]

    def keep_state(self) -> None:
        """Keep where the run stands, in copies that no later step changes."""
        processes.take_back(self.trained, self.model)
        self.history.finished = len(self.history.rows) == self.recipe.epochs
        self.history.state = copy.deepcopy(
            {
                "steps": self.history.steps,
                "model": self.model.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "scheduler": self.scheduler.state_dict(),
                "row": {"losses": self.losses, "hits": self.hits},
                "spent": self.spent(),
            }
        )

    def spent(self) -> float:
        """Seconds spent on the current epoch, before an interruption too."""
        epoch, before, started = self.clock
        return before + time.perf_counter() - started if epoch == len(self.history.rows) else 0.0

    def run(self, after_epoch) -> History:
        """Train to the end."""
        if self.model in _TRAINED and not self.history.steps:
            self.shown.say(
                "This model has been trained before: it goes on from its weights, at the start of the recipe. "
                "recipe.model() makes a new one; after an interruption, resume=history goes on."
            )
        _TRAINED.add(self.model)
        with self.ctrl_c, torch.enable_grad():
            self.keep_state()
            while not self.history.finished:
                self.train_epoch()
                self.end_epoch()
                self.keep_state()
                if after_epoch:
                    after_epoch(self.history)
                self.clock = (len(self.history.rows), 0.0, time.perf_counter())
            self.model.eval()
            return self.history

    def stopped(self) -> History:
        """After an interruption: put everything in order."""
        if self.whole:
            self.keep_state()
        else:
            self.model.load_state_dict(self.history.state["model"])
            self.history.steps = self.history.state["steps"]
        self.model.eval()
        done = f"{self.history.steps} of {self.recipe.epochs * self.batches.steps} steps"
        if self.history.finished:
            self.shown.say(f"interrupted after {done}: the run is finished all the same")
        else:
            self.shown.say(
                f"interrupted after {done}: the model keeps what it has learnt; fit(..., resume=history) goes on"
            )
        return self.history

    def train_epoch(self) -> None:
        """Train to the end of the current epoch."""
        batches, history = self.batches, self.history
        epoch = len(history.rows)
        before = epoch * batches.steps
        # Reading a loss makes a GPU wait, so there it is read once in 50 steps.
        check_every = 1 if batches.device.type == "cpu" else 50
        first = history.steps - before
        self.trained.train()
        for step, (images, labels) in enumerate(batches.epoch(epoch, first), start=first):
            # Processes that train together wait for each other in a step: there Ctrl-C must not wait for its end.
            with self.ctrl_c.held() if processes.size() == 1 else contextlib.nullcontext():
                self.step(step, images, labels)
            if step % check_every == 0 or step == batches.steps - 1:
                _check_finite(self.losses[: step + 1], before, self.optimizer)
                self.shown.step(epoch + 1, step + 1, batches.steps, self.losses[step].item())

    def step(self, step: int, images, labels) -> None:
        """One step, the given one of the epoch."""
        self.whole = False
        with torch.autocast(images.device.type, self.precision, enabled=self.precision != torch.float32):
            logits = self.trained(images.contiguous(memory_format=self.layout))
        loss = F.cross_entropy(logits.float(), labels, label_smoothing=self.recipe.label_smoothing)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        self.scheduler.step()
        self.losses[step] = loss.detach()
        self.hits[step] = (logits.detach().argmax(1) == labels).sum()
        self.history.steps += 1
        self.whole = True

    def end_epoch(self) -> None:
        """Test the network and add the row of the epoch that has just been trained."""
        history = self.history
        seen = self.batches.steps * self.recipe.batch_size // processes.size()
        learnt = processes.mean(torch.stack([self.losses.mean(), self.hits.sum() / seen]))
        loss, accuracy = learnt.tolist()
        row = {
            "epoch": len(history.rows) + 1,
            "learning_rate": self.scheduler.get_last_lr()[0],
            "train_loss": loss,
            "train_accuracy": accuracy,
            "test_accuracy": _test_accuracy(self.trained, self.data, self.precision),
            "seconds": self.spent(),
        }
        history.rows.append(row)
        self.shown.epoch(row)


def _test_accuracy(model, data, precision) -> float:
    """Accuracy on the test images; each process tests its share of them."""
    share = slice(processes.rank(), None, processes.size())
    network = model.module if processes.size() > 1 else model
    result = evaluate(network, data.test_images[share], data.test_labels[share], precision=precision)
    if processes.size() == 1:
        return result.accuracy
    right = (result.predictions == result.labels).sum().float().to(next(network.parameters()).device)
    return processes.mean(right).item() * processes.size() / len(data.test_labels)


VIEW = "view size is not compatible"
"""What PyTorch says of ``view`` on images that are laid out channels last, where ``reshape`` would do."""


def check_model(model, recipe: Recipe, device, classes: int = 10) -> torch.memory_format:
    """Move the model to the device, and let it answer once, before any time is spent on it.

    Returns:
        How its numbers are laid out now: as the recipe says, but not channels last if the model cannot be.

    Raises:
        ValueError: it has nothing to train, does not take images of every size that the recipe trains
            with, or does not give a logit for each class; the message says what to do.
    """
    check_network(model)
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise ValueError(
            f"No weight of this {type(model).__name__} can be trained: it has none, or all are frozen. "
            "model.requires_grad_(True) sets them free."
        )
    was_training = model.training
    try:
        for layout in dict.fromkeys((memory_format(recipe), torch.contiguous_format)):
            model.to(device, memory_format=layout).eval()
            try:
                for size in sorted({32, *recipe.sizes}, reverse=True):
                    _check_answer(
                        model, torch.zeros(1, 3, size, size, device=device), layout, recipe, classes
                    )
                return layout
            except RuntimeError as error:
                if VIEW not in str(error):
                    raise
    finally:
        model.train(was_training)


@torch.no_grad()
def _check_answer(model, image, layout, recipe: Recipe, classes: int) -> None:
    size = image.shape[-1]
    try:
        answer = model(image.contiguous(memory_format=layout))
    except Exception as error:  # whatever a model of the learner's own raises
        if _out_of_memory(error) or (VIEW in str(error) and layout == torch.channels_last):
            raise
        do = (
            "Use dataclasses.replace(recipe, sizes=(32,)), or put an nn.AdaptiveMaxPool2d before the first linear layer."
            if size != 32
            else "It has to take N×3×32×32, float32, pixels from 0 to 1."
        )
        raise ValueError(
            f"The recipe trains with images of the sizes {recipe.sizes}, and the model does not take {size}×{size}: "
            f"{error}. {do}"
        ) from error
    _check_logits(answer, 1, classes)


def _check_logits(answer, images: int, classes: int | None = None) -> None:
    """Check that a model's answer is one row of logits for each image."""
    if not isinstance(answer, torch.Tensor):
        raise ValueError(
            f"The model gives a {type(answer).__name__}, not one tensor of logits. Let its forward() return the logits only."
        )
    if answer.ndim != 2 or len(answer) != images or classes not in (None, answer.shape[1]):
        raise ValueError(
            f"The model gives {tuple(answer.shape)} for {images} images, and the data has {classes or 'some'} classes: it "
            f"has to give {images}×{classes or 'classes'} logits. Change its last layer."
        )


def memory_format(recipe: Recipe) -> torch.memory_format:
    """How the network's and the images' numbers are laid out in memory."""
    return torch.channels_last if recipe.channels_last else torch.contiguous_format


def time_per_step(recipe: Recipe, *, device=None, steps: int = 10) -> float:
    """Seconds that one training step of this recipe takes here, on random pixels.

    Returns:
        The median of ``steps`` steps; with several ``recipe.sizes`` the mean of their medians.
    """
    device = pick_device(device)
    precision = pick_precision(device) if recipe.bfloat16 else torch.float32
    if recipe.keep_memory:
        keep_freed_memory()
    model = recipe.model().to(device, memory_format=memory_format(recipe)).train()
    optimizer = make_optimizer(model, recipe)
    labels = torch.randint(0, 10, (recipe.batch_size,), device=device)
    medians = {}
    for size in set(recipe.sizes):
        images = torch.randint(0, 256, (recipe.batch_size, 3, size, size), dtype=torch.uint8)
        images = images.to(device).contiguous(memory_format=memory_format(recipe))
        seconds = []
        for _ in range(steps + 2):  # the first two are slower: memory is set up, kernels are chosen
            started = time.perf_counter()
            with torch.autocast(device.type, precision, enabled=precision != torch.float32):
                logits = model(images.float() / 255)
            loss = F.cross_entropy(logits.float(), labels)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            loss.item()  # waits until a GPU has finished
            seconds.append(time.perf_counter() - started)
        medians[size] = median(seconds[2:])
    return mean(medians[size] for size in recipe.sizes)


def _check_finite(losses, steps_before: int, optimizer) -> None:
    """Stop at the first loss that is not a number."""
    wrong = (~losses.isfinite()).nonzero()
    if len(wrong):
        rate = optimizer.param_groups[0]["lr"]
        raise FloatingPointError(
            f"The loss is {losses[wrong[0, 0]].item()} at step {steps_before + wrong[0, 0].item() + 1}, with a "
            f"learning rate near {rate:.3g}: the training diverged. Lower learning_rate (a third is a good next "
            "try) and start with a new model; this one's weights are spoilt."
        )


def _out_of_memory(error: RuntimeError) -> bool:
    """Whether that is what it says. torch.OutOfMemoryError is one; the CPU's has no class of its own."""
    return "out of memory" in str(error).lower() or "can't allocate memory" in str(error)


@contextlib.contextmanager
def _explain_memory(recipe: Recipe):
    """Turn 'out of memory' into a sentence that names the batch size."""
    try:
        yield
    except RuntimeError as error:
        if _out_of_memory(error):
            raise MemoryError(
                f"A batch of {recipe.batch_size} images does not fit into the memory. "
                "Use dataclasses.replace(recipe, batch_size=…) with half of it."
            ) from error
        raise


@dataclass
class Evaluation:
    """What a model says about a set of images.

    Attributes:
        probs: N×classes, float32, rows sum to 1.
        labels: N, int64, the right answers.
    """

    probs: torch.Tensor = field(repr=False)
    labels: torch.Tensor = field(repr=False)
    loss: float = 0.0

    @property
    def predictions(self) -> torch.Tensor:
        """N, int64: the most probable class of each image."""
        return self.probs.argmax(1)

    @property
    def accuracy(self) -> float:
        """Share of right answers, 0 to 1."""
        return (self.predictions == self.labels).double().mean().item()

    def confusion(self) -> torch.Tensor:
        """classes×classes, int64: row = the right class, column = the model's answer."""
        classes = self.probs.shape[1]
        return torch.bincount(self.labels * classes + self.predictions, minlength=classes**2).view(
            classes, classes
        )


@torch.no_grad()
def evaluate(model, images, labels, *, precision=torch.float32, batch_size: int = 1000) -> Evaluation:
    """Run ``model`` on all images, in evaluation mode, on the device where it is.

    Args:
        model: takes N×3×32×32 float from 0 to 1 and returns N×10 logits.
        images: N×3×32×32, uint8, 0 to 255.
        labels: N, int64.
        precision: float32 for numbers that are to be compared with exported files;
            bfloat16 is faster where the hardware has it.
        batch_size: images per step; changes memory, not the result.

    Returns:
        The probabilities and labels on the CPU. The model's train/eval mode is
        left as it was.

    Raises:
        ValueError: images or labels of a wrong shape, dtype or range, or a model that does not give logits.
    """
    check_network(model)
    check_split(images, labels, "test")
    if not isinstance(batch_size, int) or batch_size < 1:
        raise ValueError(f"batch_size={batch_size!r} must be a whole number, at least 1.")
    if precision not in (torch.float32, torch.bfloat16, torch.float16):
        raise ValueError(f"precision={precision!r} must be torch.float32, torch.bfloat16 or torch.float16.")
    device = next(model.parameters(), torch.empty(0)).device
    was_training, layout = model.training, torch.channels_last
    model.eval()
    logits = []
    try:
        for batch in images.split(batch_size):
            batch = batch.to(device).contiguous(memory_format=layout).float() / 255
            with torch.autocast(device.type, precision, enabled=precision != torch.float32):
                try:
                    answer = model(batch)
                except RuntimeError as error:
                    if VIEW not in str(error):
                        raise
                    layout = torch.contiguous_format
                    answer = model(batch.contiguous())
            _check_logits(answer, len(batch))
            logits.append(answer.float())
    finally:
        model.train(was_training)
    logits = torch.cat(logits).cpu()
    check_split(images, labels, "test", classes=logits.shape[1])
    return Evaluation(logits.softmax(1), labels.cpu(), F.cross_entropy(logits, labels.cpu()).item())


def main(arguments=None) -> None:
    """``python -m helpers.training``: train one recipe, save the weights and their card."""
    parser = argparse.ArgumentParser(
        prog="python -m helpers.training",
        description="Train AlexNet on CIFAR-10, in one or several processes.",
    )
    parser.add_argument("--recipe", choices=RECIPES, default="quick")
    parser.add_argument(
        "--set",
        nargs="+",
        default=[],
        metavar="FIELD=VALUE",
        help="change fields of it, e.g. width=0.5 seed=1",
    )
    parser.add_argument("--device", help="cpu, cuda or mps; default: the fastest there is")
    parser.add_argument(
        "--save",
        default=checkpoints.TRAINED,
        metavar="NAME",
        help="in the artifacts folder; default %(default)s",
    )
    chosen = parser.parse_args(arguments)
    try:
        recipe = changed(RECIPES[chosen.recipe](), chosen.set)
    except ValueError as error:
        parser.error(str(error))
    try:
        with processes.joined(chosen.device) as device:
            data = processes.one_after_the_other(
                lambda: load_cifar10(drawings=True if chosen.recipe == "smoke" else None)
            )
            train_and_save(recipe, data, chosen.save, device)
    except KeyboardInterrupt as error:
        sys.exit(f"\n{error or 'Interrupted.'}")


def train_and_save(recipe: Recipe, data, name: str, device=None) -> None:
    """Train ``recipe``; the first process writes the weights and their card to the artifacts folder."""
    print(recipe, flush=True)
    model = recipe.model()
    history = fit(model, data, recipe, device=device)
    if not history.finished:
        raise KeyboardInterrupt(f"The training was interrupted, and {name} is as it was.")
    if processes.rank() > 0:
        return
    result = evaluate(model, data.test_images, data.test_labels)
    path = paths.artifact(name)
    checkpoints.save_weights(model, path)
    checkpoints.save_card(path, history=history, evaluation=result, data=data)
    print(f"{history!r}\n{paths.shorten(path)}: {result.accuracy:.2%} on the test images, in float32")


def changed(recipe: Recipe, changes: list[str]) -> Recipe:
    """``recipe`` with fields set from texts such as ``"width=0.5"``.

    Raises:
        ValueError: a text is not ``FIELD=VALUE``, or the recipe has no such field, or not with this value.
    """
    values, kinds = {}, {f.name: f.type for f in fields(Recipe)}
    for text in changes:
        name, _, value = text.partition("=")
        if name not in kinds:
            raise ValueError(f"{text!r}: a recipe has no field {name!r}. It has {', '.join(kinds)}.")
        try:
            values[name] = value.strip("\"'") if kinds[name] is str else ast.literal_eval(value)
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError) as error:
            raise ValueError(f"{text!r}: {value!r} is no number, True or False.") from error
    return replace(recipe, **values)


__all__ = [
    "RECIPES",
    "Batches",
    "Evaluation",
    "History",
    "Recipe",
    "changed",
    "describe_device",
    "evaluate",
    "fit",
    "make_optimizer",
    "make_scheduler",
    "pick_device",
    "pick_precision",
    "time_per_step",
]

if __name__ == "__main__":
    main()
