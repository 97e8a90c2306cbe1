"""The structure of a pickle, read without running it.

``pickletools`` tells the steps of a pickle. They are followed here as far as they build dicts, lists,
tuples and constants. Whatever else they ask for, a class, a call, a state, is written down in a ``Symbol``:
nothing is imported, called or allocated that the file names.
"""

import pickletools

from helpers.netron_view import limits

MOST_STEPS = 500_000
"""Steps of a pickle. A checkpoint with 3,000 tensors and its optimiser has 300,000."""

CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
EMPTY = {"EMPTY_TUPLE": tuple, "EMPTY_LIST": list, "EMPTY_DICT": dict, "EMPTY_SET": list}
TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


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
        self.kind, self.args, self.members, self.state = kind, args, None, None

    @property
    def name(self) -> str:
        return self.kind[1]


def read(data: bytes):
    """What a pickle holds.

    Returns:
        The value: constants, ``list``, ``tuple``, ``dict`` (with keys of text and numbers only) and
        ``Symbol``; and the module and name of every class and function that the pickle names, a set.

    Raises:
        ValueError: it is no pickle, or is cut off.
        TooLargeError: it has more steps than ``MOST_STEPS``.
    """
    machine = _Machine()
    try:
        for step, (opcode, value, _) in enumerate(pickletools.genops(data)):
            if step >= MOST_STEPS:
                raise limits.TooLargeError(
                    f"has a pickle of more than {MOST_STEPS:,} steps, too many to be drawn"
                )
            machine.follow(opcode.name, value)
        return machine.pop(), machine.named
    except (AttributeError, IndexError, KeyError, TypeError) as error:
        raise ValueError(f"a pickle whose steps do not fit together ({type(error).__name__})") from error


class _Machine:
    """The machine that a pickle is a program for: one stack, the marks in it, and a memo."""

    def __init__(self):
        self.stack, self.marks, self.memo, self.named = [], [], {}, set()

    def follow(self, name: str, value) -> None:
        if name in CONSTANTS:
            self.stack.append(CONSTANTS[name])
        elif name in EMPTY:
            self.stack.append(EMPTY[name]())
        elif name in TUPLES:
            self.stack.append(tuple(self.popped(TUPLES[name])))
        elif method := getattr(self, name, None):
            method(value)
        elif value is not None:  # all kinds of numbers, bytes and texts
            self.stack.append(value)
        else:
            raise ValueError(f"the step {name}, which torch.save does not write")

    def popped(self, count: int) -> list:
        if count > len(self.stack) - (self.marks[-1] if self.marks else 0):
            raise ValueError("a step that takes more than there is")
        taken = self.stack[len(self.stack) - count :]
        del self.stack[len(self.stack) - count :]
        return taken

    def pop(self):
        return self.popped(1)[0]

    def marked(self) -> list:
        return self.popped(len(self.stack) - self.marks.pop())

    # One method for each other step, by its name in pickletools.

    def PROTO(self, _):
        pass

    FRAME = STOP = PROTO

    def MARK(self, _):
        self.marks.append(len(self.stack))

    def POP(self, _):
        if self.marks and self.marks[-1] == len(self.stack):
            self.marks.pop()
        else:
            self.pop()

    def POP_MARK(self, _):
        self.marked()

    def DUP(self, _):
        self.stack.append(self.stack[-1])

    def PUT(self, index):
        self.memo[index] = self.stack[-1]

    BINPUT = LONG_BINPUT = PUT

    def MEMOIZE(self, _):
        self.memo[len(self.memo)] = self.stack[-1]

    def GET(self, index):
        self.stack.append(self.memo[index])

    BINGET = LONG_BINGET = GET

    def TUPLE(self, _):
        self.stack.append(tuple(self.marked()))

    def LIST(self, _):
        self.stack.append(self.marked())

    FROZENSET = LIST

    def DICT(self, _):
        items = self.marked()
        self.stack.append({})
        self.set(items)

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
        module, _, name = words.partition(" ")
        self.name_class(module, name)

    def STACK_GLOBAL(self, _):
        self.name_class(*self.popped(2))

    def INST(self, words):
        args = tuple(self.marked())
        self.GLOBAL(words)
        self.call(self.pop(), args)

    def OBJ(self, _):
        function, *args = self.marked()
        self.call(function, tuple(args))

    def REDUCE(self, _):
        self.call(*self.popped(2))

    NEWOBJ = REDUCE

    def NEWOBJ_EX(self, _):
        function, args, _ = self.popped(3)
        self.call(function, args)

    def BUILD(self, _):
        state = self.pop()
        self.stack[-1].state = state if isinstance(state, dict) else {"": state}

    def PERSID(self, pid):
        self.stack.append(Symbol(("", "storage"), pid if isinstance(pid, tuple) else (pid,)))

    def BINPERSID(self, _):
        self.PERSID(self.pop())

    # What they share.

    def name_class(self, module, name) -> None:
        if not (isinstance(module, str) and isinstance(name, str)):
            raise ValueError("a class whose name is no text")
        self.named.add((module, name))
        self.stack.append(Symbol((module, name)))

    def call(self, function, args) -> None:
        self.stack.append(Symbol(function.kind, args if isinstance(args, tuple) else (args,)))

    def extend(self, items: list) -> None:
        target = self.stack[-1]
        if isinstance(target, list):
            target.extend(items)
        else:  # an object that fills itself
            self.set([part for item in items for part in (None, item)])

    def set(self, items: list) -> None:
        """Keys that are no text are told apart and not compared: a file may choose them all to have one hash."""
        target = self.stack[-1]
        if isinstance(target, Symbol):
            target.members = target = target.members or {}
        for key, value in zip(items[::2], items[1::2], strict=True):
            target[key if isinstance(key, str) else object()] = value


def count(root) -> int:
    """The parts of what ``read`` gave, each counted as often as Netron visits it: once for every way to it.

    A few dicts that hold each other twice make a number of many digits. It is worked out from the
    inside outwards, each part once, and not beyond ``MOST_VISITS``. A part that holds itself ends there, as
    it does in Netron.
    """
    counts, done, todo = {}, set(), [root]
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
