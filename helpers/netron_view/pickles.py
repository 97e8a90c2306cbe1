"""What a pickle holds, as far as it is drawn: dicts, lists and constants, and a ``Symbol`` for all else.

Nothing is imported, called or allocated that the file names.
"""

from typing import Any

from helpers.netron_view import limits
from helpers.torch_files.pickles import Machine

MOST_STEPS = 500_000
"""Steps of a pickle. A checkpoint with 3,000 tensors and its optimiser has 300,000."""


class Symbol:
    """Stands for a class, or for what a call of it would give.

    Attributes:
        kind: Module and name of the class, e.g. ``("torch.nn.modules.linear", "Linear")``.
        args: What the call gets, a tuple; None for the class itself.
        members: What is set in it as in a dict.
        state: The attributes that it is given, a dict.
    """

    __slots__ = ("args", "kind", "members", "state")

    def __init__(self, kind: tuple[str, str], args: tuple | None = None):
        self.kind, self.args = kind, args
        self.members: dict | None = None
        self.state: dict | None = None

    @property
    def name(self) -> str:
        return self.kind[1]


def read(data: bytes) -> tuple[Any, set[tuple[str, str]]]:
    """What a pickle holds.

    Returns:
        The value: constants, ``list``, ``tuple``, ``dict`` (with keys of text and placeholders for others) and
        ``Symbol``; and the module and name of every class and function that the pickle names, a set.

    Raises:
        ValueError: it is no pickle, or is cut off.
        TooLargeError: it has more steps than ``MOST_STEPS``.
    """
    machine = _Outline(MOST_STEPS)
    try:
        return machine.run(data), machine.seen
    except (AttributeError, IndexError, KeyError, TypeError) as error:
        raise ValueError(f"a pickle whose steps do not fit together ({type(error).__name__})") from error


class _Outline(Machine):
    """Takes the steps of every pickle, and writes down what it asks for."""

    def __init__(self, steps: int):
        super().__init__(steps)
        self.seen: set[tuple[str, str]] = set()

    def too_long(self) -> limits.TooLargeError:
        return limits.TooLargeError(f"has a pickle of more than {MOST_STEPS:,} steps, too many to be drawn")

    def other(self, name, argument):
        if argument is None:
            raise ValueError(f"the step {name}, which torch.save does not write")
        self.stack.append(argument)  # a number, bytes or a text

    def named(self, module, name):
        self.seen.add((module, name))
        return Symbol((module, name))

    def call(self, function, arguments, keywords=None):
        return Symbol(function.kind, arguments if isinstance(arguments, tuple) else (arguments,))

    def build(self, target, state):
        target.state = state if isinstance(state, dict) else {"": state}

    def persistent(self, reference):
        return Symbol(("", "storage"), reference if isinstance(reference, tuple) else (reference,))

    def key(self, thing):
        """Keys that are no text are told apart and not compared: a file may choose them all to have one hash."""
        return thing if isinstance(thing, str) else object()

    def fill(self, target, pairs):
        target.members = target.members or {}
        target.members.update(pairs)

    # Steps that torch.save does not write, and other programs do.

    PUT, GET = Machine.BINPUT, Machine.BINGET

    def POP(self, _):
        if self.stack:
            self.stack.pop()
        else:  # it takes the mark
            self.marked()

    def POP_MARK(self, _):
        self.marked()

    def DUP(self, _):
        self.stack.append(self.stack[-1])

    def EMPTY_SET(self, _):  # a list, as nothing is looked up in it
        self.stack.append([])

    def LIST(self, _):
        items = self.marked()
        self.stack.append(items)

    FROZENSET = LIST

    def DICT(self, _):
        items = self.marked()
        self.stack.append({})
        self.set(items)

    def INST(self, words):
        arguments = tuple(self.marked())
        self.stack.append(self.call(self.named(*words.split(" ", 1)), arguments))

    def OBJ(self, _):
        function, *arguments = self.marked()
        self.stack.append(self.call(function, tuple(arguments)))

    def PERSID(self, reference):
        self.stack.append(self.persistent(reference))


def count(root: Any) -> int:
    """The parts of what ``read`` gave, each counted as often as Netron visits it: once for every way to it.

    A few dicts that hold each other twice make a number of many digits. It is worked out from the
    inside outwards, each part once, and not beyond ``MOST_VISITS``. A part that holds itself ends there, as
    it does in Netron.
    """
    counts: dict[int, int] = {}
    done, todo = set(), [root]
    while todo:
        part = todo[-1]
        if id(part) in counts:
            todo.pop()
        if id(part) in done:
            continue
        inside = _inside(part)
        if id(part) in counts:
            total = 1 + sum(counts.get(id(child), 1) for child in inside)
            counts[id(part)] = min(total, limits.MOST_VISITS + 1)
            done.add(id(part))
        else:
            counts[id(part)] = 0
            todo += [child for child in inside if id(child) not in counts and _inside(child)]
    return counts[id(root)]


def _inside(part) -> tuple | list:
    if isinstance(part, Symbol):
        return part.args or (), part.members or (), part.state or ()
    return list(part.values()) if isinstance(part, dict) else part if isinstance(part, list | tuple) else ()
