"""Everything that decides how a training ends: the Recipe.

Notebook 01 introduces it, field by field.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import Any

import torch

from helpers.model import AlexNet
from helpers.plumbing import paths
from helpers.plumbing.mode import mode
from helpers.plumbing.values import number, switch, text, whole_number, whole_numbers

KINDS: dict[Any, Callable] = {
    int: whole_number,
    float: number,
    bool: switch,
    str: text,
    tuple[int, ...]: whole_numbers,
}
"""How the value of a field is checked, by the field's type."""

RETIRED = {"schedule", "nesterov", "alternating", "bfloat16", "channels_last", "keep_memory"}
"""Fields of earlier versions. They took a trick away, which the benchmark now does by itself."""


def within(*limits: float | str, usual: Any, shown: bool = True) -> Any:
    """A field with its usual value and its limits: the smallest and the largest number, or the texts it knows.

    ``shown`` says whether a printed recipe names it while it has its usual value.
    """
    return field(default=usual, metadata={"limits": limits, "shown": shown})


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
            filled by reflection. 0 turns the shift off. (Pixels of the data, as those of ``cutout``.)
        flip: show each image and its mirror image in turn, one per epoch (Jordan,
            2024, "94% on CIFAR-10 in 3.29 Seconds on a Single GPU").
        sizes: sides of the training images, in pixels of a picture 32 wide: 32 is the data's own size, whatever
            that is, and 16 half of it. (28 is the own size, too, of data 28 wide or high.) Each is used for
            an equal share of the steps, one after the other. Small images cost little, and what is learnt
            from them need not be learnt again (progressive resizing: Howard and Gugger, 2020, "Fastai: A
            Layered API for Deep Learning"; Tan and Le, 2021, "EfficientNetV2"). ``(32,)`` leaves them as they are.
        width: multiplies every layer's channels (see ``AlexNet``).
        batch_norm: see ``AlexNet``.
        validation: share of the training images that is kept out of the training and judges the network after
            each epoch (``helpers.data.hold_out``). 0 trains on all of them, and nothing is judged.
        seed: decides the first weights, the order of the images and every crop.

    The fields below are left out where a recipe is printed and they have their usual value.

    Attributes:
        augment: ``"camera"`` makes the batches look as cameras might have taken them
            (``helpers.camera.augment``, notebook 06); empty leaves them alone.
        cutout: side in pixels of a grey square that hides a random place of each image,
            so that the network learns not to lean on one detail (DeVries and Taylor,
            2017, "Improved Regularization of Convolutional Neural Networks with Cutout").
        muon: train the hidden layers' weights with Muon, the rest with SGD (see ``helpers.muon``).
            False trains everything with SGD; use another rate and weight decay then, such as 0.1 and 0.0005.
        bias_rate: how many times as fast biases and batch norm learn (Jordan, 2024, who takes 64).
        pool_first: see ``AlexNet``.
    """

    name: str = "custom"
    epochs: int = within(1, usual=4)
    batch_size: int = within(1, usual=256)
    learning_rate: float = within(0, usual=0.05)
    warmup: float = within(0, 1, usual=0.25)
    momentum: float = within(0, 1, usual=0.9)
    weight_decay: float = within(0, usual=0.1)
    label_smoothing: float = within(0, 1, usual=0.1)
    crop_padding: int = within(0, 31, usual=2)  # the reflected border cannot be wider than the image
    flip: bool = True
    sizes: tuple[int, ...] = within(16, 32, usual=(32,))
    width: float = within(
        0.01, 64, usual=1.0
    )  # with less no layer gets narrower, with more none fits into a memory
    batch_norm: bool = True
    validation: float = within(0, 0.9, usual=0.1)
    seed: int = within(0, 2**64 - 1, usual=0)
    augment: str = within("", "camera", usual="", shown=False)
    cutout: int = within(0, 256, usual=0, shown=False)
    muon: bool = within(usual=True, shown=False)
    bias_rate: float = within(0, usual=10.0, shown=False)
    pool_first: bool = within(usual=True, shown=False)

    def __post_init__(self):
        for f in fields(self):
            value = getattr(self, f.name)
            try:
                value = KINDS[f.type](value, *f.metadata.get("limits", ()))
            except ValueError as error:
                note = " 32 leaves images as they are, of whatever size." if f.name == "sizes" else ""
                raise ValueError(f"Recipe({f.name}={value!r:.60}): {f.name} must be {error}.{note}") from None
            object.__setattr__(self, f.name, value)

    def __repr__(self) -> str:
        shown = [
            f for f in fields(self) if f.metadata.get("shown", True) or getattr(self, f.name) != f.default
        ]
        return f"Recipe({', '.join(f'{f.name}={getattr(self, f.name)!r}' for f in shown)})"

    @classmethod
    def quick(cls) -> "Recipe":
        """About 80 % on CIFAR-10 before the coffee is ready, with a network of half the width."""
        return cls(name="quick", epochs=3, crop_padding=1, sizes=(16, 24, 32), width=0.5)

    @classmethod
    def full(cls) -> "Recipe":
        """The recipe of the shipped checkpoint; its seed is the median one, by validation, of those that ``make bench`` trained."""
        return cls(
            name="full",
            seed=0,
            epochs=15,
            learning_rate=0.03,
            crop_padding=3,
            sizes=(16, 24, 32, 32),
            width=1.5,
        )

    @classmethod
    def camera(cls) -> "Recipe":
        """Fine-tuning: a second, gentler training of a finished network, on pictures with the corruptions of a camera (notebook 06)."""
        return cls(
            name="camera",
            epochs=5,
            learning_rate=0.01,
            warmup=0.1,
            crop_padding=4,
            width=cls.full().width,
            augment="camera",
        )

    @classmethod
    def gpu(cls) -> "Recipe":
        """94 % within half a minute on one data-centre GPU: four times the width, and 66 passes instead of 15.

        Its fields were chosen with the images held out; with them chosen, it learns from all images, so
        ``validation`` is 0. Muon's steps are equally long whatever the gradient is, as Adam's are, and
        for those a batch k times as large allows a rate √k times as high (Malladi et al., 2022, "On the SDEs
        and Scaling Rules for Adaptive Gradient Algorithms"): 512 images and 0.042 follow from 256 and 0.03.
        ``python -m helpers.workshop.gpu`` measures it.
        """
        return cls(
            name="gpu",
            epochs=66,
            batch_size=512,
            learning_rate=0.042,
            crop_padding=4,
            sizes=(16, 24, 32, 32),
            width=4.0,
            validation=0.0,
            cutout=12,
        )

    @classmethod
    def smoke(cls) -> "Recipe":
        """Seconds, for tests: it shows that the road is open, not where it leads."""
        return cls(name="smoke", epochs=2, sizes=(16, 32), width=0.5)

    @classmethod
    def for_mode(cls) -> "Recipe":
        """The recipe of the mode this notebook runs in (``CHAPTER_MODE``)."""
        return {"quick": cls.quick, "full": cls.full, "smoke": cls.smoke}[mode()]()

    @classmethod
    def of(cls, content: dict) -> "Recipe":
        """The recipe in a dict, as a card or a history of this or an earlier version holds it.

        Before there was a validation set, all images were trained on.

        Raises:
            ValueError: it has a field that no version knows, or a value that is outside the limits.
        """
        known = {f.name for f in fields(cls)} | RETIRED
        unknown = [str(name) for name in content if name not in known]
        if unknown:
            raise ValueError(
                f"its recipe has {paths.printable(unknown[0])}, which this version of the project does not know"
            )
        kept = {name: value for name, value in content.items() if name not in RETIRED}
        return cls(**{"validation": 0.0} | kept)

    def image_sizes(self, height: int, width: int) -> list[tuple[int, int]]:
        """Height and width of the training images, one after another, for data of this height and width."""
        whole = max(self.sizes) if max(self.sizes) in (height, width) else 32
        return [(round(height * size / whole), round(width * size / whole)) for size in self.sizes]

    def model(self, classes: int = 10) -> AlexNet:
        """A new network with the first weights that ``seed`` decides, for pictures of any size, grey ones too.

        The global random state is left as it was.
        """
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            return AlexNet(classes, width=self.width, batch_norm=self.batch_norm, pool_first=self.pool_first)


RECIPES = {"quick": Recipe.quick, "full": Recipe.full, "gpu": Recipe.gpu, "smoke": Recipe.smoke}
"""The recipes by their names, for the command line."""
