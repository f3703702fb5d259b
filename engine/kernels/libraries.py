"""Numba's libraries of LLVM code, for kernels: they become object files, and never run in the process that compiles.

As it is, Numba makes every function that it compiles callable by itself: optimised, then translated into machine code
with two wrappers for Python, however deep inside a kernel it is. The functions inside kernels are only linked into
those, and optimised there. Compiling takes half as long.
"""

from __future__ import annotations

from typing import Any

from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import Compiler


class KernelLibrary(JITCodeLibrary):
    """An exported function with all that it calls, optimised, for an object file."""

    def _finalize_final_module(self) -> None:
        """There is nothing to load here."""
        self._finalized = True


class InnerLibrary(KernelLibrary):
    """A function inside kernels."""

    def _optimize_final_module(self) -> None:
        """That is done once, in the kernel."""


class InnerCompiler(Compiler):
    """Compiles a function inside kernels, for others to be linked with."""

    def __init__(
        self, typing: Any, target: Any, _library: None, args: Any, return_type: Any, flags: Any, local_types: Any
    ) -> None:
        flags.no_compile = True
        library = InnerLibrary(target.codegen(), "inner")
        super().__init__(typing, target, library, args, return_type, flags, local_types)

    def _compile_core(self) -> Any:
        """Numba looks code up by the built-in function that Python would call; nobody calls this one."""
        compiled = super()._compile_core()
        nobody_calls: list[None] = []
        key = nobody_calls.append
        self.state.targetctx.insert_user_function(key, compiled.fndesc, [compiled.library])
        return compiled._replace(entry_point=key)
