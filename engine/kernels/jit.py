"""How kernels are compiled: the options, the cache directory, and values known at compile time."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

import numba
from numba import types
from numba.core.imputils import lower_constant
from numba.extending import models, register_model, typeof_impl

OPTIONS: dict[str, Any] = {"nogil": True, "error_model": "numpy"}
"""No bounds or division checks raise in a kernel; the interpreter lock is not held."""

KERNEL = types.void(types.int64, types.int64, types.int64, types.int64, types.int64)
"""Every kernel: (step, batch, first, last, thread): two record addresses, a range of units, the thread's number."""


def use_cache(directory: Path) -> Path:
    """Keep compiled kernels under `directory`, apart for each version of their source.

    Numba notices a change in the file of a function, not in the files of what it calls; the hash does.
    Must be called before the first kernel is imported.
    """
    digest = hashlib.sha256(numba.__version__.encode())
    for source in sorted(Path(__file__).parent.rglob("*.py")):
        digest.update(source.read_bytes())
    home = directory / digest.hexdigest()[:16]
    home.mkdir(parents=True, exist_ok=True)
    os.environ["NUMBA_CACHE_DIR"] = str(home)
    numba.config.reload_config()
    return home


def inner(function: Callable[..., Any]) -> Any:
    """A function for use inside kernels; compiled with each kernel that calls it."""
    return numba.njit(**OPTIONS)(function)


class Kernel:
    """A step of the program: called by address, compiled when the address is first asked for, and cached."""

    def __init__(self, function: Callable[..., None]) -> None:
        self.function = function
        self.name = function.__name__

    @cached_property
    def compiled(self) -> Any:
        """The C callback that Numba made of the function."""
        return numba.cfunc(KERNEL, cache=True, error_model="numpy")(self.function)

    @property
    def address(self) -> int:
        """Where the machine code begins."""
        return int(self.compiled.address)


def kernel(function: Callable[..., None]) -> Kernel:
    """Decorator: a step of the program with the signature KERNEL."""
    return Kernel(function)


class Static:
    """A value that is part of a kernel's type, as a template argument is in C++.

    Subclasses are hashable and importable by name, so that the cache finds a kernel again.
    """


class StaticType(types.Type):
    """The Numba type of one Static value."""

    def __init__(self, value: Static) -> None:
        self.value = value
        super().__init__(name=f"static({value!r})")


register_model(StaticType)(models.OpaqueModel)


@typeof_impl.register(Static)
def _typeof_static(value: Static, _context: Any) -> StaticType:
    return StaticType(value)


@lower_constant(StaticType)
def _constant_static(context: Any, _builder: Any, kind: StaticType, _value: Any) -> Any:
    return context.get_value_type(kind)(None)
