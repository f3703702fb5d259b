"""Values that are part of a kernel's type, as template arguments are in C++. Nothing here needs Numba."""

from __future__ import annotations


class Static:
    """Such a value; subclasses are hashable, and their repr says all that the machine code depends on."""
