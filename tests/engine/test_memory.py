"""Available memory: what the machine has, within the limits of control groups old and new."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import psutil
import pytest

from engine.memory import LINUX, available_bytes, forget, give_memory_back

MB = 1 << 20


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with 1000 MB available."""
    memory = psutil.virtual_memory()._replace(available=1000 * MB)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: memory)


def write(folder: Path, **files: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text)


def available(tmp_path: Path, membership: str) -> int:
    (tmp_path / "membership").write_text(membership)
    return available_bytes(tmp_path / "membership", tmp_path / "cgroup")


def test_without_groups(tmp_path: Path) -> None:
    assert available_bytes(tmp_path / "none", tmp_path / "none") == 1000 * MB


def test_version_2_with_a_cache_that_can_go(tmp_path: Path) -> None:
    stat = f"anon 5\ninactive_file {20 * MB}\nactive_file {30 * MB}\n"
    write(tmp_path / "cgroup/a/b", memory__max=f"{300 * MB}\n", memory__current=f"{200 * MB}\n", memory__stat=stat)
    assert available(tmp_path, "0::/a/b\n") == 150 * MB


def test_version_2_limits_of_outer_groups_count(tmp_path: Path) -> None:
    write(tmp_path / "cgroup/a/b", memory__max="max\n", memory__current=f"{10 * MB}\n")
    write(tmp_path / "cgroup/a", memory__max=f"{100 * MB}\n", memory__current=f"{60 * MB}\n")
    assert available(tmp_path, "0::/a/b\n") == 40 * MB


def test_version_1(tmp_path: Path) -> None:
    stat = f"inactive_file 1\ntotal_inactive_file {7 * MB}\ntotal_active_file {3 * MB}\n"
    files = {"memory__limit_in_bytes": str(500 * MB), "memory__usage_in_bytes": str(100 * MB), "memory__stat": stat}
    write(tmp_path / "cgroup/memory/box", **files)
    assert available(tmp_path, "9:name=systemd:/\n4:cpu,memory:/box\n") == 410 * MB


def test_a_limit_above_the_machine_changes_nothing(tmp_path: Path) -> None:
    write(tmp_path / "cgroup", memory__max=str(1 << 62), memory__current="0")
    assert available(tmp_path, "0::/\n") == 1000 * MB


def test_more_taken_than_allowed_is_nothing_left(tmp_path: Path) -> None:
    write(tmp_path / "cgroup", memory__max=str(5 * MB), memory__current=str(6 * MB))
    assert available(tmp_path, "0::/\n") == 0


def test_files_that_say_nonsense(tmp_path: Path) -> None:
    write(tmp_path / "cgroup", memory__max="much", memory__current="-1", memory__stat="inactive_file x")
    assert available(tmp_path, "nonsense\n0::/\n:::\n") == 1000 * MB


@pytest.mark.skipif(not LINUX, reason="elsewhere pages are not given back by address")
def test_forgetting_takes_nothing_beside_the_array() -> None:
    memory = np.ones(40 * MB, np.uint8)
    before = psutil.Process().memory_info().rss
    forget(memory[100 : 32 * MB - 100])
    assert psutil.Process().memory_info().rss < before - 16 * MB
    assert memory[:100].all() and memory[32 * MB - 100 :].all()


def test_everything_still_runs_after_giving_memory_back() -> None:
    held = np.arange(MB)
    give_memory_back()
    assert held.sum() == MB * (MB - 1) // 2
