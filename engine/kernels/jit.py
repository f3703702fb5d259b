"""How kernels are written: which functions others call by address, which are inside, what is known at compile time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numba
from numba import types
from numba.core.imputils import lower_constant
from numba.extending import models, register_model, typeof_impl

from engine.kernels.libraries import InnerCompiler
from engine.kernels.static import Static

OPTIONS: dict[str, Any] = {
    "error_model": "numpy",
    "_nrt": False,
    "no_cpython_wrapper": True,
    "no_cfunc_wrapper": True,
}
"""No bounds or division checks raise in a kernel, it owns no memory, and Python calls nothing in it."""

Function = TypeVar("Function", bound=Callable[..., Any])

EXPORTED = "is_machine_code_for_others"


def inner(function: Callable[..., Any]) -> Any:
    """A function for use inside kernels; compiled with each kernel that calls it."""
    return numba.njit(pipeline_class=InnerCompiler, **OPTIONS)(function)


def exported(function: Function) -> Function:
    """Decorator: a function that `engine.machine_code` has compiled and calls by address; it takes and gives numbers.

    Its types are said where it is called from; see `compiling.compile_function`.
    """
    setattr(function, EXPORTED, True)
    return function


def kernel(function: Function) -> Function:
    """Decorator: a step of the program.

    It takes (step, batch, first, last, thread): two record addresses, a range of units, the thread's number.
    """
    return exported(function)


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
