"""Who is writing: a process on a host, and whether it is still there."""

from __future__ import annotations

import os
import socket
import time
from functools import cache

import msgspec

from .ids import new_id

# A process of another host (a shared home directory) is known by its heartbeat only, renewed every few seconds.
HEARTBEAT_LIMIT_S = 30.0
# A process's start time moves with the system's clock when that is set.
_START_TOLERANCE_S = 1.0


class Owner(msgspec.Struct, frozen=True):
    """One running app. id tells two apps in one process apart."""

    id: str
    host: str
    pid: int
    process_started_s: float


def this_owner() -> Owner:
    """Make an owner for an app of this process; every call makes another one."""
    return Owner(new_id(), socket.gethostname(), os.getpid(), _started_s(os.getpid()))


def this_process(owner: Owner) -> bool:
    """Tell whether an owner lives in this process."""
    return owner.pid == os.getpid() and owner.host == socket.gethostname()


def is_alive(host: str, pid: int, process_started_s: float, heartbeat_s: float) -> bool:
    """Tell whether the process that left these marks still runs.

    heartbeat_s: when it last wrote one, in seconds since 1970. A process number may have been given to another process
    since; that one started at another time and writes no heartbeat.
    """
    if host == socket.gethostname() and pid == os.getpid():
        # In a container, an app that was started anew often gets the number of the one that was killed.
        return abs(process_started_s - _started_s(pid)) < _START_TOLERANCE_S
    beats = abs(time.time() - heartbeat_s) < HEARTBEAT_LIMIT_S
    if host != socket.gethostname():
        return beats
    started_s = _running_since(pid)
    if started_s is None:
        return False
    return beats or abs(started_s - process_started_s) < _START_TOLERANCE_S


def is_running(pid: int) -> bool:
    """Tell whether there is a process of this number here, whoever's it is."""
    import psutil

    return psutil.pid_exists(pid)


@cache
def _started_s(pid: int) -> float:
    import psutil

    return psutil.Process(pid).create_time()


def _running_since(pid: int) -> float | None:
    import psutil

    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else process.create_time()
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        # Ours we could always look at: one that we may not is somebody else's, which got its number.
        return None
