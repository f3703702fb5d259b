"""Functions of `engine.kernels` by name, to be called from Python or, by their address, from each other."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from engine.kernel_cache import kernel_folder
from engine.machine_code.compilers import carry_out
from engine.machine_code.files import folder_name, read_object
from engine.machine_code.linking import link
from engine.machine_code.orders import Order
from engine.reports import ReportKernels

C_TYPES: dict[str, Any] = {
    "void": None,
    "int64": ctypes.c_int64,
    "float32": ctypes.c_float,
    "float64": ctypes.c_double,
}
"""What functions may take and give, by Numba's names."""

SLOW = ("attention", "choose", "experts", "matmul", "pack")
"""Modules whose kernels take longest to compile, in that order: they come first, so that all compilers end together."""


@dataclass(frozen=True)
class Function:
    """A function with its types; its code is loaded, or compiled first, when it is needed.

    Calling it lets other threads run meanwhile. Addresses go in as int64; whoever calls keeps the memory alive.
    """

    module: str
    name: str
    arguments: tuple[str, ...]
    result: str
    types: tuple[str, ...]

    @property
    def title(self) -> str:
        """A name for people and files."""
        return "-".join([f"{self.module}.{self.name}", *self.arguments])

    @cached_property
    def address(self) -> int:
        """Where the machine code begins."""
        return _addresses([self], _silent)[self]

    @cached_property
    def _call(self) -> Any:
        kind = ctypes.CFUNCTYPE(C_TYPES[self.result], *(C_TYPES[name] for name in self.types))
        return kind(self.address)

    def __call__(self, *values: float) -> Any:
        """Run it."""
        return self._call(*values)


def function(path: str, result: str, *types: str, made_for: tuple[str, ...] = ()) -> Function:
    """The function "module.name"; made_for: arguments of its maker, if the name is one's."""
    module, _, name = path.partition(".")
    return Function(module, name, made_for, result, types)


def step(path: str, *made_for: str) -> Function:
    """A step of a program: see `engine.kernels.jit.kernel`."""
    return function(path, "void", *("int64",) * 5, made_for=made_for)


def address_of(array: NDArray[Any] | None) -> int:
    """Where an array lies, which its owner must keep; 0 for none."""
    return 0 if array is None else int(array.ctypes.data)


def prepare(functions: Sequence[Function], report: ReportKernels) -> None:
    """Have all of these ready to be called; the missing ones are compiled side by side, of which report is told."""
    missing = [each for each in dict.fromkeys(functions) if "address" not in each.__dict__]
    for each, address in _addresses(missing, report).items():
        each.__dict__["address"] = address


_folder_name = cache(folder_name)

_linked: dict[Function, int] = {}
"""Where the code is that this process has linked already."""


def _addresses(functions: Sequence[Function], report: ReportKernels) -> dict[Function, int]:
    folder = kernel_folder() / _folder_name()
    folder.mkdir(parents=True, exist_ok=True)
    unlinked = [each for each in functions if each not in _linked]
    codes = {each: read_object(folder / f"{each.title}.o") for each in unlinked}
    slow_first = sorted(codes, key=lambda each: SLOW.index(each.module) if each.module in SLOW else len(SLOW))
    missing = {each.title: _order(each, folder) for each in slow_first if codes[each] is None}
    total, done = len(functions), len(functions) - len(missing)
    for title in carry_out(missing):
        report(done, total, title)
        done += 1
    for each, code in codes.items():
        code = code or read_object(folder / f"{each.title}.o")
        if code is None:
            raise FileNotFoundError(folder / f"{each.title}.o")
        _linked[each] = link(code)
    if missing:
        report(total, total, "done")
    return {each: _linked[each] for each in functions}


def _order(each: Function, folder: Path) -> Order:
    path = os.fspath(folder / f"{each.title}.o")
    return Order(each.module, each.name, each.arguments, each.result, each.types, path)


def _silent(done: int, total: int, name: str) -> None:
    """Report nothing."""
