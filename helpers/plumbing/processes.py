"""Several processes that train one network together: what ``torchrun`` starts.

``torchrun --nproc-per-node=2 -m helpers.workshop.train`` starts the same program twice.
Each process holds the whole network and takes its share of every batch; PyTorch's
``DistributedDataParallel`` then averages their gradients, so that all of them take
the same step. Without ``torchrun`` there is one process, and nothing here changes
what it does.
"""

import contextlib
import copy
import os

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel


def rank() -> int:
    """The number of this process, from 0; process 0 is the one that prints and writes."""
    return dist.get_rank() if dist.is_initialized() else 0


def size() -> int:
    """How many processes train together; 1 without ``torchrun``."""
    return dist.get_world_size() if dist.is_initialized() else 1


@contextlib.contextmanager
def joined(device: str | None = None):
    """Join the processes that ``torchrun`` started, and leave them at the end.

    GPUs talk through NCCL, CPUs through Gloo. What any process but the first
    prints is dropped; its errors are not.

    Args:
        device: ``"cpu"`` keeps the GPUs out of it.

    Yields:
        The device of this process, or None without ``torchrun``: then the fastest one is free to take.

    Raises:
        ValueError: there are more processes than GPUs on this machine.
    """
    if "LOCAL_RANK" not in os.environ:
        yield torch.device(device) if device else None
        return
    here, local_rank = int(os.environ["LOCAL_WORLD_SIZE"]), int(os.environ["LOCAL_RANK"])
    if device == "cpu" or not torch.cuda.is_available():
        own, backend = torch.device("cpu"), "gloo"
    elif here > torch.cuda.device_count():
        raise ValueError(
            f"{here} processes were started on a machine with {torch.cuda.device_count()} GPU(s); each needs "
            "one of its own. Lower --nproc-per-node, or add --device cpu after the module's name."
        )
    else:
        own, backend = torch.device("cuda", local_rank), "nccl"
        torch.cuda.set_device(own)
    dist.init_process_group(backend, device_id=own if backend == "nccl" else None)
    try:
        with open(os.devnull, "w") as nowhere, contextlib.ExitStack() as stack:
            if rank() > 0:
                stack.enter_context(contextlib.redirect_stdout(nowhere))
            yield own
    finally:
        dist.destroy_process_group()


def one_after_the_other(load):
    """``load()`` in every process, on each machine first in one: a download then happens once.

    Returns:
        What ``load`` returns.
    """
    if size() == 1:
        return load()
    first = os.environ["LOCAL_RANK"] == "0"
    if first:
        result = load()
    dist.barrier()
    return result if first else load()


class _Sum(torch.autograd.Function):
    """The sum of one tensor over all processes. Its gradient is the sum of theirs."""

    @staticmethod
    def forward(ctx, values):
        total = values.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx, gradient):
        total = gradient.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total


def mean(values: torch.Tensor) -> torch.Tensor:
    """The mean of a tensor over all processes; gradients pass through it."""
    return values if size() == 1 else _Sum.apply(values) / size()


class SharedBatchNorm(nn.BatchNorm2d):
    """Batch norm over the whole batch, of which this process holds a share.

    With the statistics of its own share alone, each process would train a slightly
    different network, the more so the smaller the share. PyTorch's ``SyncBatchNorm``
    does this on GPUs only; here it is for CPUs. The shares must be equally large.
    """

    def forward(self, values):
        if not self.training:
            return super().forward(values)
        exact = values if values.dtype == torch.float64 else values.float()
        average = mean(exact.mean((0, 2, 3)))
        centred = exact - average[:, None, None]
        variance = mean(centred.square().mean((0, 2, 3)))
        with torch.no_grad():
            count = size() * values.numel() / values.shape[1]
            self.running_mean.lerp_(average, self.momentum)
            self.running_var.lerp_(variance * count / (count - 1), self.momentum)
            self.num_batches_tracked += 1
        scale = self.weight * (variance + self.eps).rsqrt()
        return (centred * scale[:, None, None] + self.bias[:, None, None]).to(values.dtype)


def _with_shared_batch_norm(model: nn.Module) -> nn.Module:
    for parent in list(model.modules()):
        for name, layer in parent.named_children():
            if type(layer) is nn.BatchNorm2d:
                shared = SharedBatchNorm(layer.num_features, layer.eps, layer.momentum).to(layer.weight)
                shared.load_state_dict(layer.state_dict())
                setattr(parent, name, shared)
    return model


def shared(model: nn.Module) -> nn.Module:
    """What to train in place of ``model``, so that all processes train one network.

    Alone that is ``model`` itself. Otherwise it is a copy of it, wrapped by
    ``DistributedDataParallel`` and with batch norm over all shares of a batch;
    ``take_back`` brings what it has learnt into ``model``.
    """
    if size() == 1:
        return model
    twin = copy.deepcopy(model)
    device = next(twin.parameters()).device
    if device.type == "cuda":
        twin, devices = nn.SyncBatchNorm.convert_sync_batchnorm(twin), [device]
    else:
        twin, devices = _with_shared_batch_norm(twin), None
    # The running averages are the same everywhere: they come from all shares. No need to send them.
    return DistributedDataParallel(
        twin, device_ids=devices, forward_sync_buffers=False, gradient_as_bucket_view=True
    )


def take_back(trained: nn.Module, model: nn.Module) -> None:
    """Copy the weights of ``trained = shared(model)`` into ``model``."""
    if trained is not model:
        model.load_state_dict(trained.module.state_dict())
