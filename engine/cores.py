"""How many cores there are to compute with: the machine's, within what this process may use of them."""

from __future__ import annotations

import os
from pathlib import Path

_QUOTA = Path("/sys/fs/cgroup/cpu.max")


def allowed_cores() -> int:
    """Logical cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def physical_cores() -> int:
    """Those of the machine, as far as it tells."""
    import psutil  # 20 ms that those who only count the allowed ones need not wait for

    return psutil.cpu_count(logical=False) or allowed_cores()


def default_threads() -> int:
    """The physical cores that this process may use, by affinity and cgroup quota."""
    allowed = allowed_cores()
    return max(1, min(allowed, physical_cores(), _quota_cores() or allowed))


def _quota_cores() -> int | None:
    """Whole cores of a cgroup v2 quota, if there is one."""
    try:
        quota, period = _QUOTA.read_text().split()
        return None if quota == "max" else max(1, round(int(quota) / int(period)))
    except (OSError, ValueError):
        return None
