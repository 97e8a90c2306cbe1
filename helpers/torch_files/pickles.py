"""Follows a pickle step by step, and runs nothing.

A pickle is a program for a machine with a stack and a memo, and it may call anything.
``pickletools.genops`` names its steps. ``Machine`` carries out those that ``torch.save`` writes, as far as
they build numbers, texts and containers. What becomes of the rest, its subclasses decide: of a class that
is named, of a call, of a state.
"""

import pickletools
from typing import IO, Any

CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
CONTAINERS = {"EMPTY_DICT": dict, "EMPTY_LIST": list, "EMPTY_TUPLE": tuple}
TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
VALUES = {
    "BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8",
    "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BINSTRING", "SHORT_BINSTRING",
}  # fmt: skip


class Machine:
    """The machine that a pickle is a program for.

    Nothing in a pickle is hashed or compared before ``key`` has seen it: a tuple of tuples, each twice in the
    next, would take for ever.

    Args:
        steps: how many may be taken, over all pickles that it runs.
    """

    def __init__(self, steps: int):
        self.left = steps

    def run(self, program: bytes | IO[bytes]) -> Any:
        """The object that one pickle builds. ``program``, bytes or a file, is then just behind it.

        Raises:
            Exception: of whatever class, where the steps do not fit together.
        """
        self.stack: list = []
        self.marks: list[list] = []
        self.memo: dict[int, Any] = {}
        for code, argument, _ in pickletools.genops(program):
            self.spend(1)
            self.step(code.name, argument)
        return self.pop()

    def spend(self, steps: int) -> None:
        self.left -= steps
        if self.left < 0:
            raise self.too_long()

    def step(self, name: str, argument: Any) -> None:
        if name in VALUES:
            self.stack.append(argument)
        elif name in CONSTANTS:
            self.stack.append(CONSTANTS[name])
        elif name in CONTAINERS:
            self.stack.append(CONTAINERS[name]())
        elif name in TUPLES:
            self.stack.append(tuple(self.popped(TUPLES[name])))
        elif method := getattr(self, name, None):
            method(argument)
        else:
            self.other(name, argument)

    def popped(self, count: int) -> list:
        """The last ``count`` things since the last mark."""
        if count > len(self.stack):
            raise ValueError("a step that takes more than there is")
        taken = self.stack[-count:]
        del self.stack[-count:]
        return taken

    def pop(self) -> Any:
        return self.popped(1)[0]

    def marked(self) -> list:
        """All things since the last mark, which goes too."""
        items, self.stack = self.stack, self.marks.pop()
        return items

    # What a subclass decides.

    def too_long(self):
        """The error for too many steps."""

    def other(self, name, argument):
        """Take a step that is not among those below."""

    def named(self, module, name):
        """What stands for a class or function."""

    def call(self, function, arguments, keywords=None):
        """What stands for what a call gives."""

    def build(self, target, state):
        """Give an object its state."""

    def persistent(self, reference):
        """What stands for what lies outside the pickle."""

    def key(self, thing):
        """What is put into a dict or a set as a key."""

    def fill(self, target, pairs):
        """Put pairs of key and value into what is no list, set or dict."""

    # One method for each other step, by its name in pickletools.

    def PROTO(self, _):
        pass

    FRAME = STOP = PROTO

    def MARK(self, _):
        self.marks.append(self.stack)
        self.stack = []

    def BINPUT(self, index):
        self.memo[index] = self.stack[-1]

    LONG_BINPUT = BINPUT

    def MEMOIZE(self, _):
        self.memo[len(self.memo)] = self.stack[-1]

    def BINGET(self, index):
        self.stack.append(self.memo[index])

    LONG_BINGET = BINGET

    def TUPLE(self, _):
        items = self.marked()  # which changes self.stack
        self.stack.append(tuple(items))

    def EMPTY_SET(self, _):
        self.stack.append(set())

    def APPEND(self, _):
        self.extend(self.popped(1))

    def APPENDS(self, _):
        self.extend(self.marked())

    ADDITEMS = APPENDS

    def SETITEM(self, _):
        self.set(self.popped(2))

    def SETITEMS(self, _):
        self.set(self.marked())

    def GLOBAL(self, words):
        self.stack.append(self.named(*words.split(" ", 1)))

    def STACK_GLOBAL(self, _):
        module, name = self.popped(2)
        if not (isinstance(module, str) and isinstance(name, str)):
            raise ValueError("a class whose name is no text")
        self.stack.append(self.named(module, name))

    def REDUCE(self, _):
        self.stack.append(self.call(*self.popped(2)))

    NEWOBJ = REDUCE

    def NEWOBJ_EX(self, _):
        self.stack.append(self.call(*self.popped(3)))

    def BUILD(self, _):
        state = self.pop()
        self.build(self.stack[-1], state)

    def BINPERSID(self, _):
        self.stack.append(self.persistent(self.pop()))

    def extend(self, items: list) -> None:
        target = self.stack[-1]
        if type(target) is list:
            target.extend(items)
        elif type(target) is set:
            target.update(map(self.key, items))
        else:
            self.fill(target, ((self.key(None), item) for item in items))

    def set(self, items: list) -> None:
        target = self.stack[-1]
        pairs = ((self.key(name), value) for name, value in zip(items[::2], items[1::2], strict=True))
        if not isinstance(target, dict):
            self.fill(target, pairs)
            return
        for name, value in pairs:  # not update(): a Counter would count the pairs
            target[name] = value
