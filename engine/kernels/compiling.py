"""From a kernel to machine code that needs neither Numba nor Python to run."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import compiler
from numba.core.compiler_lock import global_compiler_lock
from numba.core.registry import cpu_target

from engine.kernels.jit import EXPORTED, OPTIONS
from engine.kernels.libraries import KernelLibrary

ENTRY = "entry"
"""The name of the function that others call."""


def find(module: str, name: str, arguments: Sequence[str]) -> Callable[..., Any]:
    """An exported function of a module of this package, or the one that a maker gives for `arguments`.

    Raises LookupError for what is not exported.
    """
    found = getattr(importlib.import_module(f"engine.kernels.{module}"), name)
    function: Callable[..., Any] = found(*arguments) if arguments else found
    if not getattr(function, EXPORTED, False):
        raise LookupError(module, name)
    return function


def compile_function(function: Callable[..., Any], result: str, arguments: Sequence[str]) -> bytes:
    """The function as an object file with one function, ENTRY. result, arguments: Numba's names of types."""
    flags: Any = compiler.Flags()
    cpu_target.options.parse_as_flags(flags, {"nopython": True, **OPTIONS})
    flags.no_compile = True
    typing, target = cpu_target.typing_context, cpu_target.target_context
    typing.refresh()
    target.refresh()
    with global_compiler_lock:
        kinds = tuple(getattr(types, name) for name in arguments)
        library = KernelLibrary(target.codegen(), ENTRY)
        compiled = compiler.compile_extra(
            typing, target, function, kinds, getattr(types, result), flags, locals={}, library=library
        )
        library.add_ir_module(_entry(compiled))
        library.finalize()
        code: bytes = library.codegen._tm.emit_object(library._final_module)
        return code


def _entry(compiled: Any) -> ir.Module:
    """A module with the function in C's calling convention. Kernels raise nothing, so their status says nothing."""
    context, description = compiled.target_context, compiled.fndesc
    kind = context.call_conv.get_function_type(description.restype, description.argtypes)
    module = context.create_module(ENTRY)
    callee = ir.Function(module, kind, description.llvm_func_name)
    result = context.get_value_type(description.restype) if description.restype != types.void else ir.VoidType()
    entry = ir.Function(
        module, ir.FunctionType(result, [context.get_value_type(a) for a in description.argtypes]), ENTRY
    )
    builder = ir.IRBuilder(entry.append_basic_block("entry"))
    _, value = context.call_conv.call_function(builder, callee, description.restype, description.argtypes, entry.args)
    if description.restype == types.void:
        builder.ret_void()
    else:
        builder.ret(value)
    return module
