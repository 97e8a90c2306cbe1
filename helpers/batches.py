"""The training images, handed out as shuffled, shifted, mirrored batches.

Notebook 01 shows what a batch looks like.
"""

from collections.abc import Iterator

import torch
import torch.nn.functional as F

from helpers import camera
from helpers.recipe import Recipe


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

    def mirrored(self, epoch: int, generator: torch.Generator) -> torch.Tensor:
        """Which images are shown as their mirror image in this epoch: N, bool.

        A coin decides each image's side once, then the sides take turns ("alternating flip").
        """
        coin = torch.randint(0, 2, (len(self.labels),), generator=_generator(self.recipe.seed))
        return (coin + epoch).remainder(2).bool()

    def epoch(self, number: int, first_step: int = 0) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Yield ``(images, labels)`` for one epoch: N×3×S×S float from 0 to 1, and N int64.

        S is 32, or what ``recipe.sizes`` says for the step.

        Everything random comes from (seed, epoch) alone, so a run that was
        interrupted goes on with exactly the batches it would have had.
        """
        recipe, n = self.recipe, len(self.labels)
        generator = _generator(recipe.seed * 100_003 + number)
        order = torch.randperm(n, generator=generator).to(self.device)
        shift = torch.randint(0, 2 * recipe.crop_padding + 1, (2, n), generator=generator).to(self.device)
        mirrored = self.mirrored(number, generator).to(self.device)
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
                pixels = camera.augment(pixels, faults)
            if hidden is not None:
                start = hidden[:, chosen, None] - recipe.cutout // 2
                inside = (along >= start) & (along < start + recipe.cutout)
                pixels = pixels.masked_fill((inside[0, :, :, None] & inside[1, :, None, :])[:, None], 0.5)
            if (size := self.size(number * self.steps + step)) != 32:
                pixels = F.interpolate(pixels, size, mode="bilinear")
            yield pixels, self.labels[chosen]
