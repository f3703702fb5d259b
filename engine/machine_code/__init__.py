"""Kernels as machine code: compiled by a process of their own, kept on disk, linked into this one.

The engine holds neither Numba nor LLVM, which would take a hundred megabytes and half a second at every start.
"""

from engine.machine_code.functions import Function, address_of, function, prepare, step

__all__ = ["Function", "address_of", "function", "prepare", "step"]
