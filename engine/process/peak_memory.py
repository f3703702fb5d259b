"""The most memory that a process ever held. Imports next to nothing."""

from __future__ import annotations

import contextlib
import os
import resource
import sys
from pathlib import Path


def peak_rss_bytes(pid: int) -> int:
    """The most that a process ever held, mapped files included.

    Where the system does not tell: of this process what getrusage says, of another what it holds now.
    """
    with contextlib.suppress(OSError, StopIteration):
        # getrusage would count the process that started this one.
        status = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace")
        return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM:"))
    if pid == os.getpid():
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024
    import psutil

    return int(psutil.Process(pid).memory_info().rss)
