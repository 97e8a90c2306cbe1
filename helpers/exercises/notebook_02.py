"""The checks of notebook 02."""

import pickle
from pathlib import Path

import torch
from torch import nn

from helpers.checkpoints import load_weights
from helpers.plumbing.language import translated as _

from . import Exercise, Wrong, number_is


def refused(refused: float, /, *, state: dict, other: nn.Module) -> None:
    theirs = other.state_dict()
    shared = [name for name, tensor in state.items() if theirs[name].shape != tensor.shape]
    weights = sum(name.endswith("weight") for name in shared)
    number_is(
        refused,
        len(shared),
        [
            (0, _("`load_state_dict` never cuts a tensor to size: what has another shape is refused.")),
            (1, _("The error names all of them, not only the first.")),
            (
                len(state),
                _("Some do not depend on the width: the normalisation, the counters, the last bias."),
            ),
            (len(state) - len(shared), _("That is how many fit. Asked is how many are refused.")),
            (
                weights,
                _(
                    "That is the weights alone. The biases and the running statistics have one number per channel, too."
                ),
            ),
        ],
        _(
            "Compare the shapes, name by name: {tensors} tensors, and the names are the same in both.",
            tensors=len(state),
        ),
    )


def damaged(copy: Path, by_torch: bool, by_helpers: bool, /, *, original: Path, model: nn.Module) -> None:
    if not copy.exists():
        raise Wrong("There is no file {name}: write the changed bytes into it.", name=copy.name)
    if copy.resolve() == Path(original).resolve():
        raise Wrong(
            "That is the file itself, and it is damaged now. Run section 1 again, and work on a copy."
        )
    mine, theirs = copy.read_bytes(), Path(original).read_bytes()
    changed = sum(a != b for a, b in zip(mine, theirs, strict=False)) + abs(len(mine) - len(theirs))
    if changed != 1:
        raise Wrong(
            "{changed:,} bytes of the copy are not as in the original. Change one, and keep the length.",
            changed=changed,
        )
    if by_torch != _refuses(torch.load, copy):
        raise Wrong(
            _(
                "Look once more at `torch.load`: it reads the copy without a word, and a number in it is another. A zip "
                "file keeps a checksum of its parts, but this reader does not compare it."
            )
            if by_torch
            else _(
                "`torch.load` does refuse this copy: the byte you changed is one that the file's structure needs."
            )
        )
    if by_helpers != _refuses(load_weights, model, copy):
        raise Wrong(
            "Look once more at `load_weights`: it compares the checksums before it takes a single number."
        )


def _refuses(load, *arguments) -> bool:
    try:
        load(*arguments)
    except (ValueError, RuntimeError, OSError, pickle.UnpicklingError):
        return True
    return False


def halved(small: dict, changed: float, /, *, model: nn.Module, images: torch.Tensor) -> None:
    if any(weight.dtype == torch.float16 for weight in model.parameters()):
        raise Wrong(
            "`model.half()` changes the network itself. Run the second cell of the notebook again, and halve a copy."
        )
    floats = {name: tensor for name, tensor in model.state_dict().items() if tensor.is_floating_point()}
    kinds = {str(small[name].dtype) for name in floats if name in small}
    if set(small) != set(model.state_dict()) or kinds != {"torch.float16"}:
        kept = (
            _("not all names are there")
            if set(small) != set(model.state_dict())
            else _("they are {kinds}", kinds=", ".join(sorted(kinds)))
        )
        raise Wrong(
            "`small` has to be the whole state_dict with its floating-point tensors as float16; {kept}.",
            kept=kept,
        )
    with torch.no_grad():
        before = model(images)
        mine = model.state_dict() | {name: small[name].float() for name in floats}
        after = torch.func.functional_call(model, mine, images)
    right = (before.argmax(1) != after.argmax(1)).sum().item()
    number_is(
        changed,
        right,
        [
            (
                (before != after).any(1).sum().item(),
                _(
                    "That is how many pictures got other numbers. An answer is the class with the largest of them."
                ),
            ),
            (
                (before != after).sum().item(),
                _("That is how many single numbers differ. Asked is in how many pictures the answer does."),
            ),
            (len(images) - right, _("That is how many answers are the same. Asked is how many changed.")),
        ],
        _(
            "Compare the answers to the {images:,} pictures before and after: `argmax(1)` of each.",
            images=len(images),
        ),
        within=1,
    )


EXERCISES = {
    "02.1": Exercise(
        refused,
        "Every tensor with a side that depends on the width; what is left over would not be a network.",
        "The message of `load_state_dict` has a line for each. Or compare: `other.state_dict()[name].shape`.",
    ),
    "02.2": Exercise(
        damaged,
        "`torch.load` trusts the disk, and a wrong number is a network that is a little wrong. `load_weights` asks the "
        "checksum that every zip file keeps.",
        "`bytearray(PATH.read_bytes())` can be changed at a place: `^= 255` turns all bits of one byte round. Then try "
        "both readers on the copy, each in a `try`.",
    ),
    "02.3": Exercise(
        halved,
        "Half the bytes, and hardly an answer changes: three digits are enough to use a network (not to train it).",
        "Go through `model.state_dict().items()` and halve what `is_floating_point()`; the counters are whole numbers. To "
        "compare, load `small` into an `AlexNet(**model.config)`: it makes 32 bits of them again.",
    ),
}
