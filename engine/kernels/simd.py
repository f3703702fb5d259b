"""Vectors as Numba types, and Numba intrinsics made of what emits code."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic, models, register_model

from engine.kernels.emit import F32X16, Emit


class Vec(types.Type):
    """A vector of LANES float32 as a Numba value."""


f32x16 = Vec(name="f32x16")
register_model(Vec)(
    type(
        "VecModel",
        (models.PrimitiveModel,),
        {"__init__": lambda self, dmm, fe: models.PrimitiveModel.__init__(self, dmm, fe, F32X16)},
    )
)


def emitted(signature: Callable[..., Any]) -> Callable[[Callable[..., ir.Value]], Any]:
    """Make a Numba intrinsic of a function that emits code.

    signature: from argument types to the intrinsic's signature. The function gets an `Emit`, the argument types and
    the argument values.
    """

    def make(emit_body: Callable[..., ir.Value]) -> Any:
        def typing(_context: Any, *args: Any) -> Any:
            sig = signature(*args)

            def codegen(context: Any, builder: Any, sig_: Any, values: Any) -> Any:
                result = emit_body(Emit(builder), sig_.args, *values)
                return context.get_dummy_value() if result is None else result

            return sig, codegen

        return intrinsic(_with_arity(typing, signature))

    return make


def _with_arity(typing: Callable[..., Any], signature: Callable[..., Any]) -> Callable[..., Any]:
    """`typing` with as many named parameters as `signature` has, which is what Numba's intrinsic asks for."""
    count = signature.__code__.co_argcount
    wrappers: dict[int, Callable[..., Any]] = {
        0: lambda context: typing(context),
        1: lambda context, a: typing(context, a),
        2: lambda context, a, b: typing(context, a, b),
        3: lambda context, a, b, c: typing(context, a, b, c),
        4: lambda context, a, b, c, d: typing(context, a, b, c, d),
        5: lambda context, a, b, c, d, e: typing(context, a, b, c, d, e),
        6: lambda context, a, b, c, d, e, f: typing(context, a, b, c, d, e, f),
        7: lambda context, a, b, c, d, e, f, g: typing(context, a, b, c, d, e, f, g),
    }
    return wrappers[count]
