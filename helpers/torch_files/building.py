"""Builds what ``torch.save`` writes: tensors, containers, and empty objects of the classes that are allowed.

Whatever else a file asks for becomes an ``Unknown``, which remembers the name and does nothing.
"""

import collections
from collections.abc import Callable, Iterable
from typing import Any

import torch

from helpers.plumbing.files import LARGEST, Refusal
from helpers.plumbing.paths import printable
from helpers.torch_files.pickles import Machine

MOST_STEPS = 300_000
"""Steps of a pickle. A tensor takes about 43."""


class Unknown:
    """Stands for something that the file asks for and that is not built.

    Attributes:
        name: the class or function, e.g. ``"posix.mkdir"``.
        is_model: it was pickled as an ``nn.Module`` is.
    """

    def __init__(self, name: str):
        self.name, self.is_model = printable(name, 80), False

    def __str__(self):
        return _TENSORS.get(self.name.rpartition(".")[2], self.name)


_TENSORS = {
    "_rebuild_sparse_tensor": "a sparse tensor (save tensor.to_dense())",
    "_rebuild_qtensor": "a quantised tensor (save tensor.dequantize())",
    "_rebuild_meta_tensor_no_storage": "a tensor on the meta device, which has no values",
    "_rebuild_nested_tensor": "a nested tensor (save tensor.to_padded_tensor(0.0))",
    "_rebuild_wrapper_subclass": "a tensor of a class of its own",
    "_rebuild_from_type_v2": "a tensor of a class of its own",
    "_reconstruct": "a NumPy array (save torch.from_numpy(array))",
}


class Content:
    """What ``read`` found.

    Attributes:
        value: the object that was saved; tensors are on the CPU.
        unknown: the names that the file asks for and that were not built, in order.
        called: those of them that are allowed, and that the file wants to call with arguments of its own.
    """

    def __init__(self, value: Any, unknown: set[str], called: set[str]):
        self.value, self.unknown, self.called = value, sorted(unknown), sorted(called)


class _Name:
    """A class or function that the file names, and that this reader knows what to do with."""

    def __init__(self, name: str):
        self.name = name


class _Allowed(_Name):
    """A class or function that the caller allows."""

    def __init__(self, name: str, thing):
        super().__init__(name)
        self.thing = thing


_DTYPES = {
    "Double": torch.float64, "Float": torch.float32, "Half": torch.float16, "BFloat16": torch.bfloat16,
    "Long": torch.int64, "Int": torch.int32, "Short": torch.int16, "Char": torch.int8, "Byte": torch.uint8,
    "Bool": torch.bool, "ComplexFloat": torch.complex64, "ComplexDouble": torch.complex128,
}  # fmt: skip
_DTYPES = {f"torch.{kind}Storage": dtype for kind, dtype in _DTYPES.items()}
_DTYPES["torch.storage.UntypedStorage"] = torch.uint8
"""The class of a storage as a file names it → what its numbers are."""


class Builder(Machine):
    """Takes the steps that ``torch.save`` writes, and no others.

    An error that is no ``Refusal`` means that the file is damaged.

    Args:
        storage: gets the key of a storage, the dtype of its numbers and their count, and gives them in one row.
        classes: classes and functions that the file may name; as in ``torch_files.read``.
    """

    def __init__(self, storage: Callable[[str, torch.dtype, int], torch.Tensor], classes: Iterable):
        super().__init__(MOST_STEPS)
        self.storage = storage
        self.bytes = 2 * LARGEST  # of all tensors; some may share their numbers
        self.allowed = {f"{thing.__module__}.{thing.__qualname__}": thing for thing in classes}
        self.unknown: dict[str, Unknown] = {}
        self.called: set[str] = set()

    def content(self, value: Any) -> Content:
        return Content(_plain(value), {thing.name for thing in self.unknown.values()}, self.called)

    def too_long(self) -> Refusal:
        return Refusal(
            f"holds more than {MOST_STEPS:,} steps of a pickle, more than any model needs. "
            "Save the weights alone: torch.save(model.state_dict(), path)."
        )

    def other(self, name, argument):
        raise Refusal(
            f"was refused: it asks for {name}, a step of a pickle that torch.save never writes. "
            "It is damaged, or made to do harm."
        )

    def named(self, module, name):
        """What stands for a class or function, which is not imported."""
        full = f"{module}.{name}".replace("__builtin__.", "builtins.", 1)
        if full in self.allowed:
            return _Allowed(full, self.allowed[full])
        dtype = getattr(torch, name, None) if module == "torch" else None
        if isinstance(dtype, torch.dtype):
            return dtype
        if full in _MAKERS or full in _DTYPES:
            return _Name(full)
        return self._unknown(full)

    def _unknown(self, name: str) -> Unknown:
        return self.unknown.setdefault(name, Unknown(name))

    def call(self, function, arguments, keywords=None):
        """What a call of the file gives. Only the calls of ``_MAKERS`` are made."""
        if isinstance(function, _Allowed):
            return self._blank(function, arguments or keywords)
        if isinstance(function, _Name) and function.name in _MAKERS and not keywords:
            self.spend(len(arguments) // 10)  # else one long tuple may be given often
            if any(isinstance(value, Unknown) for value in arguments):
                return next(value for value in arguments if isinstance(value, Unknown))
            return _MAKERS[function.name](self, *arguments)
        if isinstance(function, Unknown):
            return Unknown(function.name)  # each with a state of its own
        raise ValueError("a call of what cannot be called")

    def _blank(self, function: _Allowed, arguments):
        """An empty object of an allowed class: the file does not choose what it is made with."""
        thing: Any = function.thing
        if arguments or not isinstance(function.thing, type):
            self.called.add(function.name)
            return self._unknown(function.name)
        return thing.__new__(thing)

    def build(self, target, state):
        if isinstance(target, Unknown):
            target.is_model = isinstance(state, dict) and "_modules" in state
        elif type(target) in self.allowed.values() and type(state) is dict:
            self.spend(len(state))
            state = {name: _plain(value) for name, value in state.items()}
            getattr(target, "__setstate__", target.__dict__.update)(state)
        elif (
            type(target) is not collections.OrderedDict
        ):  # its state, the version of each module, is not needed
            raise ValueError("a state for what has none")

    def persistent(self, reference):
        """A storage, or in the older format the source of a class."""
        if type(reference) is not tuple or len(reference) > 6:
            raise ValueError("no storage")
        kind, thing, key, *rest = reference
        if kind == "module":
            return thing
        if kind != "storage" or not isinstance(key, str) or (len(rest) > 2 and rest[2] is not None):
            raise ValueError("no storage")
        if isinstance(thing, Unknown):
            return thing
        return self.storage(key, _DTYPES[thing.name], rest[1])

    def key(self, thing):
        """A key of a dict or a set. Others could take for ever to look up."""
        if thing is None or type(thing) in (str, bool) or isinstance(thing, Unknown):
            return thing
        if type(thing) is int and abs(thing) < 2**32:
            return thing
        raise ValueError("no key that torch.save writes")

    def fill(self, target, pairs):
        if not isinstance(target, Unknown):
            raise ValueError("something is put into what holds nothing")

    # -- what _MAKERS calls

    def _ordered(self, *pairs):
        return collections.OrderedDict() if not pairs else self._unknown("collections.OrderedDict")

    def _counter(self, counts=None):
        if type(counts) not in (dict, type(None)):
            raise ValueError("no counts")
        self.spend(len(counts or ()))
        return collections.Counter(counts)

    def _set(self, items=()):
        self.spend(len(items))
        return set(map(self.key, items))

    def _size(self, sizes):
        self.spend(len(sizes))
        return torch.Size(sizes)

    def _device(self, *where):
        return torch.device(*where)

    def _bytes(self, text, coding):
        self.spend(len(text) // 1000)
        if coding not in ("latin1", "latin-1"):
            raise ValueError("bytes in a coding that torch.save does not use")
        return text.encode("latin1")

    def _tensor(self, storage, offset, size, stride, *_):
        """A tensor on a storage that holds all of it, each number once."""
        if not len(size) == len(stride) <= 64:
            raise ValueError("a tensor of more dimensions than PyTorch has")
        if not all(type(number) is int and 0 <= number < 2**62 for number in (offset, *size, *stride)):
            raise ValueError("a tensor whose sizes are no sizes")
        count, last = 1, offset
        for number, step in zip(size, stride, strict=True):
            count, last = count * number, last + (number - 1) * step
        if count and last >= storage.numel():
            raise ValueError("a tensor that reaches beyond its storage")
        reach = 0
        for step, number in sorted(
            (step, number) for number, step in zip(size, stride, strict=True) if number > 1
        ):
            if step <= reach and count:
                raise _overlapping()
            reach += (number - 1) * step
        self.bytes -= count * storage.itemsize
        if self.bytes < 0:
            raise _overlapping()
        return storage.as_strided(size, stride, offset)

    def _tensor_of(self, storage, offset, size, stride, grad, hooks, dtype, *_):
        return self._tensor(storage.view(dtype), offset, size, stride)

    def _parameter(self, tensor, needs_grad, *_):
        return torch.nn.Parameter(tensor, bool(needs_grad))


def _plain(value):
    """An allowed function or class that the file only names is itself."""
    return value.thing if isinstance(value, _Allowed) else value


def _overlapping() -> Refusal:
    return Refusal(
        "holds a tensor whose numbers overlap: it says that it is larger than what it holds. "
        "Save tensor.clone() instead."
    )


_MAKERS: dict[str, Callable[..., Any]] = {
    "collections.OrderedDict": Builder._ordered,
    "collections.Counter": Builder._counter,
    "builtins.set": Builder._set,
    "torch.Size": Builder._size,
    "torch.device": Builder._device,
    "_codecs.encode": Builder._bytes,
    "torch._utils._rebuild_tensor": Builder._tensor,
    "torch._utils._rebuild_tensor_v2": Builder._tensor,
    "torch._utils._rebuild_tensor_v3": Builder._tensor_of,
    "torch._utils._rebuild_parameter": Builder._parameter,
    "torch._utils._rebuild_parameter_with_state": Builder._parameter,
}
"""The calls that are made, because ``torch.save`` writes them: name → what does it here."""
