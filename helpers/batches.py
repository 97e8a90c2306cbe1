"""The training images, handed out as shuffled, shifted, mirrored batches.

Notebook 01 shows what a batch looks like.
"""

from collections.abc import Iterator

import torch
import torch.nn.functional as F

from helpers import camera
from helpers.plumbing.networks import scaled
from helpers.recipe import Recipe


def _generator(seed: int) -> torch.Generator:
    """Random numbers on the CPU. A generator takes 64 bits; multiples of odd numbers stay different in them."""
    return torch.Generator().manual_seed(seed % 2**64)


class Batches:
    """The training images in memory, handed out as shuffled, shifted, mirrored batches.

    CIFAR-10's 50,000 images fit into 150 MB as uint8, so no ``DataLoader`` and no worker
    process is needed: a whole batch is cut out by one indexing operation.

    Args:
        images: N×C×height×width, uint8 (0 to 255) or float32 (0 to 1).
        labels: N, int64.
        recipe: decides batch size, shift, flip, sizes and seed.
        device: where the batches are made.
        rank, world_size: which share of every batch this process takes.
    """

    def __init__(
        self,
        images: torch.Tensor,
        labels: torch.Tensor,
        recipe: Recipe,
        device: torch.device,
        rank: int = 0,
        world_size: int = 1,
    ):
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
        self.height, self.width = images.shape[2:]
        if recipe.crop_padding >= min(self.height, self.width):
            raise ValueError(
                f"crop_padding={recipe.crop_padding} shifts images of {self.height}×{self.width} pixels by their whole side, "
                f"where nothing is left to reflect. Choose less than {min(self.height, self.width)}."
            )
        # Pixels first, channels last: one index then fetches all channels.
        self.pixels = images.permute(0, 2, 3, 1).contiguous().to(device)
        self.labels = labels.to(device)
        self.recipe, self.device = recipe, device
        self.rank, self.world_size = rank, world_size
        self.steps = len(images) // recipe.batch_size

    def size(self, step: int) -> tuple[int, int]:
        """Height and width of the images in the given step, counted from the start of the training."""
        sizes = self.recipe.image_sizes(self.height, self.width)
        return sizes[min(step * len(sizes) // (self.recipe.epochs * self.steps), len(sizes) - 1)]

    def mirrored(self, epoch: int, generator: torch.Generator) -> torch.Tensor:
        """Which images are shown as their mirror image in this epoch: N, bool.

        A coin decides each image's side once, then the sides take turns ("alternating flip").
        """
        coin = torch.randint(0, 2, (len(self.labels),), generator=_generator(self.recipe.seed))
        return (coin + epoch).remainder(2).bool()

    def epoch(self, number: int, first_step: int = 0) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Yield ``(images, labels)`` for one epoch: N×C×height×width float from 0 to 1, and N int64.

        Height and width are the data's, or what ``recipe.sizes`` says for the step.

        Everything random comes from (seed, epoch) alone, so a run that was
        interrupted goes on with exactly the batches it would have had.
        """
        recipe, n = self.recipe, len(self.labels)
        generator = _generator(recipe.seed * 100_003 + number)

        def places(count):
            return torch.randint(0, count, (n,), generator=generator).to(self.device)

        order = torch.randperm(n, generator=generator).to(self.device)
        down, across = (places(2 * recipe.crop_padding + 1) - recipe.crop_padding for _ in range(2))
        mirrored = self.mirrored(number, generator).to(self.device)
        row, column = (torch.arange(side, device=self.device) for side in (self.height, self.width))
        hidden = (places(self.height), places(self.width)) if recipe.cutout else None

        for step in range(first_step, self.steps):
            chosen = order[step * recipe.batch_size : (step + 1) * recipe.batch_size]
            chosen = chosen[self.rank :: self.world_size]
            rows = row + down[chosen, None]
            columns = column.expand(len(chosen), self.width)
            if recipe.flip:
                columns = torch.where(mirrored[chosen, None], self.width - 1 - columns, columns)
            columns = columns + across[chosen, None]
            rows, columns = _reflected(rows, self.height), _reflected(columns, self.width)
            pixels = self.pixels[chosen[:, None, None], rows[:, :, None], columns[:, None, :]]
            pixels = scaled(pixels.permute(0, 3, 1, 2))
            if recipe.augment:
                corruptions = _generator(
                    ((recipe.seed * 100_003 + number) * 100_003 + step) * 1009 + self.rank
                )
                pixels = camera.augment(pixels, corruptions)
            if hidden:
                inside = [
                    _inside(along, h[chosen], recipe.cutout)
                    for along, h in zip((row, column), hidden, strict=True)
                ]
                pixels = pixels.masked_fill((inside[0][:, :, None] & inside[1][:, None])[:, None], 0.5)
            if (size := self.size(number * self.steps + step)) != (self.height, self.width):
                pixels = F.interpolate(pixels, size, mode="bilinear")
            yield pixels, self.labels[chosen]


def _reflected(places: torch.Tensor, side: int) -> torch.Tensor:
    """Places beyond a border become those as far inside of it; 0 to side - 1."""
    return (side - 1) - ((side - 1) - places.abs()).abs()


def _inside(along: torch.Tensor, middle: torch.Tensor, length: int) -> torch.Tensor:
    """Which places lie within ``length`` places about the middle of each image: N×places, bool."""
    start = middle[:, None] - length // 2
    return (along >= start) & (along < start + length)
