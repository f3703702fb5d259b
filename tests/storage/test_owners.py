"""A process is told from another one that has its number, and from one that is only slow."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time

import psutil
import pytest

from storage.owners import HEARTBEAT_LIMIT_S, is_alive, this_owner, this_process

HERE = socket.gethostname()
LONG_AGO_S = 3600.0


def started(pid: int) -> float:
    return psutil.Process(pid).create_time()


def test_this_process_lives() -> None:
    owner = this_owner()
    assert this_process(owner)
    assert is_alive(owner.host, owner.pid, owner.process_started_s, time.time() - LONG_AGO_S)
    assert this_owner() != owner


def test_a_former_process_with_this_one_s_number_does_not() -> None:
    owner = this_owner()
    assert not is_alive(owner.host, owner.pid, owner.process_started_s - 60, time.time())


def test_another_process_lives_until_it_ends() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        began = started(process.pid)
        assert is_alive(HERE, process.pid, began, time.time() - LONG_AGO_S)
        assert not is_alive(HERE, process.pid, began - LONG_AGO_S, time.time() - LONG_AGO_S)
        assert is_alive(HERE, process.pid, began - LONG_AGO_S, time.time())
        process.kill()
        # Not waited for yet: it is a zombie.
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert not is_alive(HERE, process.pid, began, time.time())
    assert not is_alive(HERE, process.pid, began, time.time())


@pytest.mark.parametrize(("age_s", "alive"), [(0.0, True), (HEARTBEAT_LIMIT_S * 2, False), (-LONG_AGO_S, False)])
def test_another_host_s_process_is_known_by_its_heartbeat(age_s: float, alive: bool) -> None:
    assert is_alive("elsewhere.example", 1, 0.0, time.time() - age_s) == alive
