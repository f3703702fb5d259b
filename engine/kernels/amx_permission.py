"""Whether this process may use AMX: Linux lets one only after it has asked, since its registers are large.

Nothing here needs Numba. Source: the kernel's Documentation/arch/x86/xstate.rst.
"""

from __future__ import annotations

import ctypes
import platform
import sys
from functools import cache

ARCH_PRCTL = 158
REQUEST = 0x1023
TILE_DATA = 18
"""The system call, what it is to do, and the part of a processor's state that is asked for."""


@cache
def granted() -> bool:
    """Ask, for all threads of this process; False where there is no AMX, or no such system."""
    if sys.platform != "linux" or platform.machine() != "x86_64":
        return False
    try:
        return bool(ctypes.CDLL(None).syscall(ARCH_PRCTL, REQUEST, TILE_DATA) == 0)
    except (AttributeError, OSError):
        return False
