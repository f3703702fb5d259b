"""AMX is used where the system lets this process use it, and nowhere else."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from engine.kernels import amx_permission, cpu
from engine.machine_code.files import folder_name


@pytest.fixture
def asked_anew():
    amx_permission.granted.cache_clear()
    yield
    amx_permission.granted.cache_clear()


@pytest.mark.usefixtures("asked_anew")
def test_elsewhere_nobody_is_asked(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    assert not amx_permission.granted()


@pytest.mark.skipif(not Path("/proc/cpuinfo").exists(), reason="the processor's flags are in /proc/cpuinfo")
def test_a_processor_without_amx_gets_no_permission():
    flags = Path("/proc/cpuinfo").read_text().split()
    assert "amx_tile" in flags or not amx_permission.granted()


def test_without_permission_kernels_do_without_and_lie_elsewhere(monkeypatch):
    names, uses = set(), []
    for allowed in (True, False):
        monkeypatch.setattr(amx_permission, "granted", lambda allowed=allowed: allowed)
        names.add(folder_name())
        uses.append(cpu.has_amx())
    assert len(names) == 2
    assert uses[1] is False
