"""The device to compute on, and the precision it is fast in."""

import torch


def pick_device(wanted: str | torch.device | None = None) -> torch.device:
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
