"""Who goes first when the engine keeps all cores busy: a key has to show at once, an answer can wait for that."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

NICENESS = 2
"""A core that the engine and this process both want is ours for three fifths; the engine keeps its own with others."""


def let_us_first(pid: int) -> None:
    """Have a process of ours, with all its threads and those that it will start, stand back where cores are short.

    Linux also shares the cores among sessions, and the engine has one of its own. Where the system does not let us, all
    stays as it is.
    """
    niceness = os.getpriority(os.PRIO_PROCESS, 0) + NICENESS
    with suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, pid, niceness)
    for thread in Path(f"/proc/{pid}/task").glob("*"):
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, int(thread.name), niceness)
    with suppress(OSError):
        Path(f"/proc/{pid}/autogroup").write_text(f"{NICENESS}\n")
