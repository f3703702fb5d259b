"""Pickles as data: a machine of its own for the few instructions that saved tensors need, which calls nothing.

A global is only a name here and a call only a note of it; names that are not expected are refused before anything is
made of them. Python's own unpickler would call what the file asks for.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from io import BytesIO

from engine.errors import ModelFileError

MAX_BYTES = 2 << 20
"""Of a model's pickle, which has a few hundred bytes a tensor. A byte of it can ask for some eighty in memory."""
ORDERED_DICT = "collections.OrderedDict"


@dataclass(frozen=True, slots=True)
class Global:
    """Something that the pickle names: `module.name`."""

    name: str


@dataclass(frozen=True, slots=True)
class Call:
    """A call that the pickle asks for, and that was not made."""

    function: str
    arguments: tuple[object, ...]


@dataclass(frozen=True, slots=True)
class Persistent:
    """A reference to something outside the pickle."""

    key: object


class UnsafePickleError(ModelFileError):
    """A pickle asks for something that no saved tensors need."""


class _Mark:
    """Where a group of values on the stack begins."""


_MARK = _Mark()
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_EMPTY: dict[str, Callable[[], object]] = {"EMPTY_DICT": dict, "EMPTY_LIST": list, "EMPTY_TUPLE": tuple}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_VALUES = frozenset(
    "INT BININT BININT1 BININT2 LONG LONG1 LONG4 FLOAT BINFLOAT BINSTRING SHORT_BINSTRING UNICODE BINUNICODE "
    "SHORT_BINUNICODE BINUNICODE8 BINBYTES SHORT_BINBYTES BINBYTES8".split()
)
_IGNORED = frozenset({"PROTO", "FRAME"})
_STOP = "STOP"

_OPCODES = {opcode.code.encode("latin-1"): opcode for opcode in pickletools.opcodes}
"""Python's own table of instructions, with readers of their arguments."""


def read_pickle(raw: bytes, allowed: frozenset[str], where: str) -> object:
    """The value of a pickle, in which calls of `allowed` names are `Call`s and ordered dictionaries plain ones.

    where: begins error messages. Raises ModelFileError, UnsafePickleError for a name that is not allowed.
    """
    if len(raw) > MAX_BYTES:
        raise ModelFileError(
            f"{where} has a pickle of {len(raw)} bytes, the limit is {MAX_BYTES}.", "Choose another file."
        )
    return read_next_pickle(BytesIO(raw), allowed, where)


def read_next_pickle(program: BytesIO, allowed: frozenset[str], where: str) -> object:
    """The same of the pickle that begins here; afterwards the place is behind it."""
    machine = _Machine(allowed, where)
    try:
        machine.run_all(program)
    except ModelFileError:
        raise
    except (ValueError, IndexError, KeyError, TypeError, OverflowError, AttributeError, RecursionError) as error:
        raise ModelFileError(f"{where} is no sound pickle: {error}.", "The file is damaged: fetch it again.") from None
    return machine.result()


class _Machine:
    """A stack, and a memo of values that are used again."""

    def __init__(self, allowed: frozenset[str], where: str) -> None:
        self._allowed = allowed
        self._where = where
        self._stack: list[object] = []
        self._memo: dict[int, object] = {}
        self._special: dict[str, Callable[[object], None]] = {
            "MARK": lambda _: self._stack.append(_MARK),
            "TUPLE": lambda _: self._stack.append(tuple(self._group())),
            "LIST": lambda _: self._stack.append(self._group()),
            "DICT": lambda _: self._stack.append(self._filled({}, self._group())),
            "APPEND": lambda _: self._extend([self._stack.pop()]),
            "APPENDS": lambda _: self._extend(self._group()),
            "SETITEM": lambda _: self._set_items(self._last(2)),
            "SETITEMS": lambda _: self._set_items(self._group()),
            "STACK_GLOBAL": lambda _: self._push_global(*self._last(2)),
            "REDUCE": lambda _: self._reduce(*self._last(2)),
            "BUILD": lambda _: self._build(self._stack.pop()),
            "BINPERSID": lambda _: self._stack.append(Persistent(self._stack.pop())),
            "MEMOIZE": lambda _: self._remember(len(self._memo)),
            "PUT": self._remember,
            "BINPUT": self._remember,
            "LONG_BINPUT": self._remember,
            "GET": self._recall,
            "BINGET": self._recall,
            "LONG_BINGET": self._recall,
        }

    def run_all(self, program: BytesIO) -> None:
        """Do every instruction up to the last. One that is not known here is refused before its argument is read."""
        known = _VALUES.union(_CONSTANTS, _EMPTY, _TUPLES, self._special, _IGNORED, {"GLOBAL", _STOP})
        while code := program.read(1):
            opcode = _OPCODES.get(code)
            if opcode is None or opcode.name not in known:
                raise UnsafePickleError(
                    f"{self._where} uses the pickle instruction {opcode.name if opcode else code!r}, which saved "
                    "tensors do not need.",
                    "Do not trust this file. Look for the model as safetensors or GGUF.",
                )
            if opcode.name == _STOP:
                return
            if opcode.name == "GLOBAL":
                self._push_global(_line(program), _line(program))
            else:
                self._run(opcode.name, opcode.arg.reader(program) if opcode.arg else None)
        raise ValueError("it has no end")

    def _run(self, name: str, argument: object) -> None:
        if name in _VALUES:
            self._stack.append(argument)
        elif name in _CONSTANTS:
            self._stack.append(_CONSTANTS[name])
        elif name in _EMPTY:
            self._stack.append(_EMPTY[name]())
        elif name in _TUPLES:
            self._stack.append(tuple(self._last(_TUPLES[name])))
        elif name in self._special:
            self._special[name](argument)

    def result(self) -> object:
        """What the pickle holds."""
        if len(self._stack) != 1:
            raise ModelFileError(f"{self._where} is no sound pickle.", "The file is damaged: fetch it again.")
        return self._stack[0]

    def _last(self, count: int) -> list[object]:
        if len(self._stack) < count:
            raise IndexError("its stack is empty")
        values = self._stack[-count:]
        del self._stack[-count:]
        return values

    def _group(self) -> list[object]:
        """The values above the last mark, which go."""
        for at in range(len(self._stack) - 1, -1, -1):
            if self._stack[at] is _MARK:
                values = self._stack[at + 1 :]
                del self._stack[at:]
                return values
        raise ValueError("a mark is missing")

    def _extend(self, values: Iterable[object]) -> None:
        target = self._stack[-1]
        if not isinstance(target, list):
            raise TypeError("something is appended to what is no list")
        target.extend(values)

    def _set_items(self, values: list[object]) -> None:
        target = self._stack[-1]
        if not isinstance(target, dict):
            raise TypeError("something is put into what is no dictionary")
        self._filled(target, values)

    def _filled(self, target: dict[object, object], values: list[object]) -> dict[object, object]:
        if len(values) % 2:
            raise ValueError("a value is missing")
        for key, value in zip(values[::2], values[1::2], strict=True):
            if not isinstance(key, (str, int)):
                raise TypeError("a dictionary has a key that is neither text nor number")
            target[key] = value
        return target

    def _push_global(self, module: object, name: object) -> None:
        if not isinstance(module, str) or not isinstance(name, str):
            raise TypeError("it asks for something by what is no name")
        full = f"{module}.{name}"
        if full not in self._allowed and full != ORDERED_DICT:
            raise UnsafePickleError(
                f"{self._where} asks for {full}, which saved tensors do not need; nothing of it was run.",
                "Do not trust this file. Look for the model as safetensors or GGUF.",
            )
        self._stack.append(Global(full))

    def _reduce(self, function: object, arguments: object) -> None:
        if not isinstance(function, Global) or not isinstance(arguments, tuple):
            raise TypeError("it calls what cannot be called")
        if function.name != ORDERED_DICT:
            self._stack.append(Call(function.name, arguments))
            return
        pairs = arguments[0] if arguments else []
        if not isinstance(pairs, list) or not all(isinstance(pair, (list, tuple)) and len(pair) == 2 for pair in pairs):
            raise TypeError("an ordered dictionary is made of something else than pairs")
        self._stack.append(self._filled({}, [value for pair in pairs for value in pair]))

    def _build(self, state: object) -> None:
        """Attributes that a state dictionary was saved with, such as its version: not needed."""
        if not isinstance(self._stack[-1], dict) or not isinstance(state, dict):
            raise TypeError("it sets the state of something else than a dictionary")

    def _remember(self, index: object) -> None:
        if self._stack[-1] is _MARK:
            raise ValueError("it remembers a mark")
        self._memo[int(str(index))] = self._stack[-1]

    def _recall(self, index: object) -> None:
        self._stack.append(self._memo[int(str(index))])


def _line(program: BytesIO) -> str:
    """A name that ends with its line."""
    line = program.readline()
    if not line.endswith(b"\n"):
        raise ValueError("a name has no end")
    return line[:-1].decode("utf-8")
