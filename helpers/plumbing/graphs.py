"""Training steps that a GPU runs by itself: recorded once as a CUDA graph, then replayed.

A step of ``AlexNet`` is many small tasks for the GPU. Python takes longer to hand them over one by one
than a fast GPU takes to do them; a recorded step is handed over at once (Nguyen et al., 2021,
"Accelerating PyTorch with CUDA Graphs", PyTorch's blog). What that brings stands in ``helpers/workshop/tried.md``.
"""

import contextlib
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from helpers.plumbing import processes

WARM_UP = 3
"""Steps of each image size that are taken one task at a time, while PyTorch sets up memory and chooses its kernels."""

Step = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""Takes images and labels through the network and the optimiser, and returns the loss and the number of right answers."""


def recordable(model: nn.Module, device: torch.device, own: set[type]) -> bool:
    """Whether a step of a network may be recorded: by one process, on an NVIDIA GPU, if it runs no Python code but what is known.

    Args:
        model: any network.
        device: where it is trained.
        own: the classes whose code may be recorded, beside PyTorch's own layers.
    """
    if device.type != "cuda" or processes.size() > 1:
        return False
    hooks = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    for part in model.modules():
        known = type(part) in own or type(part).__module__.startswith("torch.nn.modules.")
        if not known or "forward" in vars(part) or any(getattr(part, name) for name in hooks):
            return False
    return not any(
        weight._backward_hooks or weight._post_accumulate_grad_hooks for weight in model.parameters()
    )


class Recorded:
    """A training step which does the same as the one it is given, in less time.

    The first steps of each size of image are real steps, too; then one is recorded, and from there on
    replayed with new images, labels and learning rates. Python code inside it runs no more then: the network
    must not decide anything, or draw random numbers, by itself. Every step computes with rates that
    lie on the GPU, so that one which is replayed does what one that is not replayed would do.

    Args:
        step: the step to record. It must not read a number from the GPU.
        trained_by: the optimiser that it calls. Its groups keep their rates as numbers, which a scheduler sets.
    """

    def __init__(self, step: Step, trained_by: torch.optim.Optimizer):
        self.step, self.groups = step, trained_by.param_groups
        self.zero_grad = trained_by.zero_grad
        weights = (weight for group in self.groups for weight in group["params"])
        self.device = next(weights).device  # which need not be the GPU that PyTorch takes by itself
        self.rates = [torch.zeros((), device=self.device) for _ in self.groups]
        self.stream = torch.cuda.Stream(self.device)
        self.seen = 0
        self.shape: torch.Size | None = None
        self.graph: torch.cuda.CUDAGraph | None = None

    def __call__(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """What ``step(images, labels)`` returns; the next call overwrites it."""
        with torch.cuda.device(self.device), self.rates_on_the_gpu():
            if self.shape != images.shape:
                self.seen, self.shape, self.graph = 0, images.shape, None
            self.seen += 1
            if self.seen <= WARM_UP:
                return self.apart(lambda: self.step(images, labels))
            graph = self.graph = self.graph or self.recorded(images, labels)
            self.images.copy_(images)
            self.labels.copy_(labels)
            graph.replay()
            return self.result

    @contextlib.contextmanager
    def rates_on_the_gpu(self) -> Iterator[None]:
        """A block in which the groups have tensors as rates."""
        numbers = [group["lr"] for group in self.groups]
        try:
            for group, rate in zip(self.groups, self.rates, strict=True):
                rate.fill_(group["lr"])
                group["lr"] = rate
            yield
        finally:
            for group, number in zip(self.groups, numbers, strict=True):
                group["lr"] = number

    def apart(self, call: Callable[[], tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
        """Run something in a stream of its own, as PyTorch asks of what comes before a recording."""
        here = torch.cuda.current_stream()
        self.stream.wait_stream(here)
        with torch.cuda.stream(self.stream):
            result = call()
        here.wait_stream(self.stream)
        return result

    def recorded(self, images: Tensor, labels: Tensor) -> torch.cuda.CUDAGraph:
        """Record a step for images of this shape; recording takes no step."""
        self.images, self.labels = images.clone(), labels.clone()
        self.zero_grad(set_to_none=True)  # the gradients live in the graph's memory
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=self.stream):
            self.result = self.step(self.images, self.labels)
        return graph
