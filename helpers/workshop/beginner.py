"""The training loop that a first tutorial teaches, to measure ours against: see ``helpers.workshop.bench``."""

import time

import torch
import torch.nn.functional as F
from PIL import Image
from torch.utils.data import DataLoader, Dataset

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


def loaders(data, recipe: Recipe, workers: int) -> tuple[DataLoader, DataLoader]:
    """A beginner's batches of the training images, shifted and mirrored, and of the test images."""
    from torchvision import transforms

    varied = transforms.Compose(
        [transforms.RandomCrop(32, padding=4), transforms.RandomHorizontalFlip(), transforms.ToTensor()]
    )
    train = Pictures(data.train_images, data.train_labels, varied)
    test = Pictures(data.test_images, data.test_labels, transforms.ToTensor())
    return (
        DataLoader(train, batch_size=recipe.batch_size, shuffle=True, num_workers=workers),
        DataLoader(test, batch_size=recipe.batch_size, num_workers=workers),
    )


def learn(model, data, recipe: Recipe, *, workers=0, device="cpu", epochs: int, target: float) -> list[dict]:
    """The loop of the well-known first tutorials: DataLoader, PIL transforms, float32, Adam at 0.001.

    Args:
        model: what to train, in place.
        data: as ``load_cifar10()`` returns, or a part of it.
        recipe: decides the batch size and the seed, nothing else.
        workers: processes that load pictures; 0: this one does.
        device: where the model is trained.
        epochs: where it ends at the latest.
        target: a test accuracy, 0 to 1. It ends at the first epoch that reaches it, but not before the second.

    Returns:
        A row per epoch: ``epoch``, ``test_accuracy`` (0 to 1), ``seconds`` (training and test).
    """
    torch.manual_seed(recipe.seed)
    train, test = loaders(data, recipe, workers)
    model.to(device)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.001)
    rows = []
    while len(rows) < epochs:
        started = time.perf_counter()
        model.train()
        for images, labels in train:
            images, labels = images.to(device), labels.to(device)
            optimizer.zero_grad()
            F.cross_entropy(model(images), labels).backward()
            optimizer.step()
        model.eval()
        right = 0
        with torch.no_grad():
            for images, labels in test:
                right += (model(images.to(device)).argmax(1).cpu() == labels).sum().item()
        accuracy = right / len(data.test_labels)
        rows.append(
            {"epoch": len(rows) + 1, "test_accuracy": accuracy, "seconds": time.perf_counter() - started}
        )
        print(f"  epoch {len(rows):2d}   test {accuracy:6.1%}   {rows[-1]['seconds']:6.1f} s", flush=True)
        if accuracy >= target and len(rows) > 1:
            break
    return rows
