"""AlexNet for 32×32 images, with the pixel normalisation inside.

Notebook 01 introduces this network and writes it out in full.
"""

import torch
from torch import nn

MEAN = (0.4914, 0.4822, 0.4465)
STD = (0.2470, 0.2435, 0.2616)
"""Mean and standard deviation of CIFAR-10's training pixels per channel (R, G, B), on a scale of 0 to 1."""


class Normalise(nn.Module):
    """Subtract each channel's mean and divide by its standard deviation; one number of each does for grey pictures.

    It lives inside the network so that whoever runs the exported file, a phone
    for one, has no numbers to copy and none to get wrong.
    """

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, mean=MEAN, std=STD):
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).view(-1, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(-1, 1, 1))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return (images - self.mean) / self.std


def convolution(
    inputs: int, outputs: int, *pooling: nn.Module, batch_norm: bool, pool_first: bool = True
) -> list[nn.Module]:
    """One 3×3 convolution and what follows it: (pooling,) (batch norm,) ReLU.

    Pooling comes first because batch norm and ReLU then touch a quarter of the
    pixels. For ReLU the order makes no difference: both keep the larger value.
    """
    rest = [nn.BatchNorm2d(outputs), nn.ReLU()] if batch_norm else [nn.ReLU()]
    convolution = nn.Conv2d(inputs, outputs, kernel_size=3, padding=1, bias=not batch_norm)
    return [convolution, *pooling, *rest] if pool_first else [convolution, *rest, *pooling]


class AlexNet(nn.Module):
    """AlexNet (Krizhevsky, Sutskever and Hinton, 2012) adapted to CIFAR-10.

    What stays: five convolutions, max pooling after the first, the second and
    the fifth, ReLU, then fully connected layers, the last of which gives one
    logit per class.

    What differs, and why:

    * The images are 32×32, not 224×224. The first convolution keeps every
      pixel (3×3, stride 1): 11×11 with stride 4 would leave 8×8 positions.
    * The layers are narrower and there are two fully connected ones of 256 and
      10, not three of 4096, 4096 and 1000: with width 1 0.9 million parameters for
      50,000 images, not 61 million for 1.2 million images.
    * Batch norm (Ioffe and Szegedy, 2015) takes the place of local response
      normalisation and of dropout: it trains in a few passes instead of ninety.
    * The pixel normalisation is the first layer.
    * The last pooling gives 4×4 values whatever comes in, so a training can begin with
      smaller images (``Recipe.sizes``). On 32×32 it is the same as the other two.

    Args:
        classes: number of classes.
        width: multiplies the number of channels of every layer.
        batch_norm: leave it out to see what it does (notebook 01).
        pool_first: False pools after batch norm and ReLU, as most networks do.

    Shapes:
        images: N×3×32×32, float, pixels from 0 to 1, channels R, G, B. Any size from 16×16 works;
            the weights are meant for 32×32. Grey pictures, N×1×H×W, count as R = G = B.
        returns: logits, N×classes, float; a softmax turns them into probabilities.
    """

    def __init__(
        self, classes: int = 10, width: float = 1.0, batch_norm: bool = True, pool_first: bool = True
    ):
        super().__init__()
        self.config = {"classes": classes, "width": width, "batch_norm": batch_norm, "pool_first": pool_first}
        how = {"batch_norm": batch_norm, "pool_first": pool_first}
        c1, c2, c3, c4, c5, hidden = (max(1, round(width * n)) for n in (32, 64, 128, 128, 128, 256))
        self.normalise = Normalise()
        self.features = nn.Sequential(
            *convolution(3, c1, nn.MaxPool2d(2), **how),  # 32×32 → 16×16
            *convolution(c1, c2, nn.MaxPool2d(2), **how),  # 16×16 → 8×8
            *convolution(c2, c3, **how),
            *convolution(c3, c4, **how),
            *convolution(c4, c5, nn.AdaptiveMaxPool2d(4), **how),  # 8×8 → 4×4
        )
        self.classifier = nn.Sequential(
            nn.Flatten(),
            nn.Linear(c5 * 4 * 4, hidden),
            nn.ReLU(),
            nn.Linear(hidden, classes),
        )

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.classifier(self.features(self.normalise(images)))
