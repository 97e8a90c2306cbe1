"""The steps of a Core ML model in their order: checked once, then run on whole batches."""

import math
from typing import Any

import torch

from .archive import UNFIT
from .dry_run import MAX_ACTIVATION_BYTES, TooLarge, dry_run
from .steps import Name, Step, half, kind_of

MAX_LIVE_BYTES = 2**30
"""What all tensors that wait for a later operator may take together."""

MAX_WORK = 2**40
"""Floating-point operations for one image. VGG-16 takes 2**35."""

MAX_RANK = 16
"""Core ML takes 5 dimensions, the operators of ML programs a few more on their way."""

_CHOICES = [
    "clip",
    "concat",
    "depth_to_space",
    "expand_dims",
    "flatten2d",
    "identity",
    "max_pool",
    "relu",
    "relu6",
    "reshape",
    "slice_by_index",
    "split",
    "squeeze",
    "stack",
    "transpose",
]
"""Operators whose results are among the values that they are given."""


class Graph:
    """The steps in order, checked once and then run on whole batches.

    Args:
        archive: where the steps come from; it words the errors.
        steps: in the order of the file.
        inputs: for each input of the model the shape of one example, in the file's own rank.
        integers: the names of the inputs that hold whole numbers.
        outputs: the names of the values wanted.

    Raises:
        ValueError: a name is missing or made twice, a shape differs from what the file declares, or
            a tensor would be larger than ``MAX_ACTIVATION_BYTES``.
    """

    def __init__(self, archive, steps: list[Step], inputs: dict[str, tuple], outputs: list[str], integers=()):
        self._archive = archive
        self.steps = steps
        self.inputs = inputs
        self._integers = integers
        self.outputs = outputs
        self._check_names()
        self.largest_bytes = self._check_shapes()
        for step in steps:
            weight = step.parameters.get("weight")
            if torch.is_tensor(weight) and weight.ndim == 4:
                # Pixels first, channels last: torch's convolutions are half again as fast that way on a CPU.
                step.parameters["weight"] = weight.to(memory_format=torch.channels_last)
        self._round_once()

    def run(self, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Run a batch.

        The file's shapes are for one example (usually 1×3×H×W). ``torch.func.vmap`` runs every step
        on all examples at once and lets each see the file's own shapes, so that a reshape to 1×4096
        keeps its meaning.

        Args:
            batch: for each input N × the shape of one example, float32.

        Returns:
            For each output N × its shape, float32.
        """
        names = list(batch)

        def one_example(*values):
            known = dict(zip(names, values, strict=True))
            for step in self.steps:
                try:
                    results = step.run(known)
                except (RuntimeError, IndexError, ValueError) as error:
                    raise self._archive.refuse(str(step), error) from error
                known.update(zip(step.outputs, results, strict=True))
                for name in step.releases:
                    known.pop(name, None)
            return tuple(known[name] for name in self.outputs)

        with torch.no_grad():
            if all(len(value) == 1 for value in batch.values()):
                results = [result[None] for result in one_example(*(value[0] for value in batch.values()))]
            else:
                results = torch.func.vmap(one_example)(*batch.values())
        return dict(zip(self.outputs, results, strict=True))

    def _check_names(self):
        """Every value is made once and before it is read; note when each is read for the last time."""
        made, last_reader = set(self.inputs), {}
        for step in self.steps:
            for name in step.needs():
                if name not in made:
                    raise self._archive.error(f"{step} reads '{name}', which nothing before it makes")
                last_reader[name] = step
            for name in step.outputs:
                # Only "copy" may write a name again, says the format of neural networks.
                if name in made and step.operator != "copy":
                    raise self._archive.error(
                        f"the name '{name}' is made twice, the second time by '{step.name}'",
                        "Core ML refuses such a file: give one of the two another name and save it again.",
                    )
                made.add(name)
        for name in self.outputs:
            if name not in made:
                raise self._archive.error(
                    f"no operator makes the output '{name}'",
                    "A renamed output may have left its maker behind: rename both, or convert again.",
                )
        for name, step in last_reader.items():
            if name not in self.outputs:
                step.releases.append(name)

    def _round_once(self):
        """What chooses among float16 values makes float16 values, and is not rounded again."""
        rounded: set[str] = set()

        def exact(argument):
            if isinstance(argument, Name):
                return argument in rounded
            if isinstance(argument, (list, tuple)):
                return all(map(exact, argument))
            if torch.is_tensor(argument):
                return not argument.is_floating_point()
            return not isinstance(argument, float) or half(argument) == argument

        for step in self.steps:
            if step.operator in _CHOICES and exact([*step.arguments, *step.parameters.values()]):
                step.rounds = [False] * len(step.rounds)
                rounded.update(step.outputs)
            elif step.rounds and all(step.rounds):
                rounded.update(step.outputs)
            else:
                rounded.difference_update(step.outputs)  # a name may be written again

    def _check_shapes(self) -> int:
        """Run every step on tensors without memory and compare shapes. Returns the largest size in bytes."""
        values: dict[str, Any] = {}
        seen: dict[tuple, Any] = {}
        largest, live, work = 1, 0, 0
        for name, taken in self.inputs.items():
            dtype = torch.int32 if name in self._integers else torch.float32
            values[name] = torch.empty(taken, dtype=dtype, device="meta")
        for step in self.steps:
            where = str(step)
            with self._archive.reading(where):
                try:
                    results, more = dry_run(step, values, seen)
                except TooLarge as error:
                    raise self._too_large(
                        f"{where} makes a tensor of {error}", MAX_ACTIVATION_BYTES
                    ) from error
            work += more
            if work > MAX_WORK:
                raise self._archive.error(
                    f"up to {where} it takes {work:.1e} operations for one input",
                    f"The limit is {MAX_WORK:.1e}: do not trust this file.",
                )
            if len(results) != len(step.outputs):
                raise self._archive.error(
                    f"{where} makes {len(results)} values, the file names {len(step.outputs)}", UNFIT
                )
            declared = zip(step.outputs, results, step.shapes, step.kinds, strict=True)
            for name, result, shape, kind in declared:
                if not torch.is_tensor(result) or result.ndim > MAX_RANK:
                    raise self._archive.error(
                        f"{where} makes no tensor of up to {MAX_RANK} dimensions", UNFIT
                    )
                if shape is not None and not _fits(tuple(result.shape), shape):
                    raise self._archive.error(
                        f"{where} makes a tensor of shape {tuple(result.shape)}, the file declares {shape}",
                        UNFIT,
                    )
                if kind is not None and kind_of(result) != kind:
                    raise self._archive.error(
                        f"{where} makes {kind_of(result)}s, the file declares {kind}s", UNFIT
                    )
                size = result.numel() * result.element_size()
                largest, live = max(largest, size), live + size
                values[name] = result
            if live > MAX_LIVE_BYTES:
                raise self._too_large(
                    f"at {where} it holds tensors of {live / 2**30:,.1f} GiB", MAX_LIVE_BYTES
                )
            gone = [values[name] for name in step.releases if name not in self.inputs]
            live -= sum(value.numel() * value.element_size() for value in gone)
        # The outputs of one example, for whoever counts labels.
        self.shapes = {name: tuple(values[name].shape) for name in self.outputs}
        self.sizes = {name: math.prod(shape) for name, shape in self.shapes.items()}
        return largest

    def _too_large(self, cause, limit) -> ValueError:
        return self._archive.error(
            f"{cause} from one input", f"The limit is {limit / 2**30:.1f} GiB: do not trust this file."
        )


def _fits(shape: tuple, declared: tuple) -> bool:
    """Whether a shape is the declared one; None in the declaration stands for any size."""
    return len(shape) == len(declared) and all(
        d is None or s == d for s, d in zip(shape, declared, strict=True)
    )
