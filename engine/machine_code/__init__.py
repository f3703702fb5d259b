"""Kernels as machine code: compiled by a process of their own, kept on disk, linked into this one.

The engine holds neither Numba nor LLVM, which would take a hundred megabytes and half a second at every start.
"""

from engine.machine_code.functions import Function, function, prepare, step

__all__ = ["Function", "function", "prepare", "step"]
