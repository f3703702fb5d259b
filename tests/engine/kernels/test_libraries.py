"""What is inside a kernel is linked into it, and nothing else is made of it."""

from __future__ import annotations

from engine.kernels.compiling import compile_function, find
from engine.kernels.rows import quantize_row


def test_a_function_inside_a_kernel_is_not_made_callable_by_itself():
    assert compile_function(find("rows", "gate", ()), "void", ("int64",) * 5)
    libraries = [compiled.library for compiled in quantize_row.overloads.values()]
    assert libraries
    for library in libraries:
        assert "quantize_row" in library.get_llvm_str()
        assert "cpython" not in library.get_llvm_str()
