"""The training loop that a first tutorial teaches, to measure ours against: see ``helpers.workshop.bench``."""

import time

import torch
import torch.nn.functional as F
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from helpers.data import hold_out
from helpers.recipe import Recipe


class Pictures(Dataset):
    """One PIL picture at a time, as torchvision's own CIFAR-10 hands them out."""

    def __init__(self, images, labels, transform):
        self.images = images.permute(0, 2, 3, 1).numpy()
        self.labels, self.transform = labels.tolist(), transform

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, index):
        return self.transform(Image.fromarray(self.images[index])), self.labels[index]


def split(data, recipe: Recipe) -> tuple[tuple, tuple]:
    """The training images with their labels, and those that our recipe holds out: two pairs."""
    held = hold_out(data.train_labels, recipe.validation)
    train, validation = ((data.train_images[chosen], data.train_labels[chosen]) for chosen in (~held, held))
    return train, validation


def loaders(data, recipe: Recipe, workers: int) -> tuple[DataLoader, DataLoader]:
    """A beginner's batches of the training images, shifted and mirrored, and of those held out."""
    from torchvision import transforms

    varied = transforms.Compose(
        [transforms.RandomCrop(32, padding=4), transforms.RandomHorizontalFlip(), transforms.ToTensor()]
    )
    train, validation = split(data, recipe)
    return (
        DataLoader(Pictures(*train, varied), batch_size=recipe.batch_size, shuffle=True, num_workers=workers),
        DataLoader(
            Pictures(*validation, transforms.ToTensor()), batch_size=recipe.batch_size, num_workers=workers
        ),
    )


def learn(
    model,
    data,
    recipe: Recipe,
    *,
    workers=0,
    device="cpu",
    epochs: int,
    target: float = 2.0,
    progress: bool = True,
) -> list[dict]:
    """The loop of the well-known first tutorials: DataLoader, PIL transforms, float32, Adam at 0.001.

    Args:
        model: what to train, in place.
        data: as ``load_cifar10()`` returns, or a part of it.
        recipe: decides the batch size, the seed and what is held out for validation, nothing else.
        workers: processes that load pictures; 0: this one does.
        device: where the model is trained.
        epochs: where it ends at the latest.
        target: a validation accuracy, 0 to 1. It ends at the first epoch that reaches it, but not before the
            second. More than 1: it trains all its epochs.
        progress: print a line per epoch.

    Returns:
        A row per epoch: ``epoch``, ``validation_accuracy`` (0 to 1), ``seconds`` (all of it) and
        ``validation_seconds`` (the part of them that validation took).
    """
    torch.manual_seed(recipe.seed)
    train, validation = loaders(data, recipe, workers)
    model.to(device)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.001)
    rows: list[dict] = []
    while len(rows) < epochs:
        started = time.perf_counter()
        model.train()
        for images, labels in train:
            images, labels = images.to(device), labels.to(device)
            optimizer.zero_grad()
            loss = F.cross_entropy(model(images), labels)
            loss.backward()
            optimizer.step()
        loss.item()  # waits until a GPU has finished
        trained = time.perf_counter()
        accuracy = _accuracy(model, validation, device)
        ended = time.perf_counter()
        row = {"epoch": len(rows) + 1, "validation_accuracy": accuracy}
        rows.append(row | {"validation_seconds": ended - trained, "seconds": ended - started})
        if progress:
            print(
                f"  epoch {len(rows):2d}   validation {accuracy:6.1%}   {ended - started:6.1f} s", flush=True
            )
        if accuracy >= target and len(rows) > 1:
            break
    return rows


@torch.no_grad()
def _accuracy(model, batches, device) -> float:
    model.eval()
    right = count = 0
    for images, labels in batches:
        right += (model(images.to(device)).argmax(1).cpu() == labels).sum().item()
        count += len(labels)
    return right / max(count, 1)
