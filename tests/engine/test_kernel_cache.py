"""Compiled kernels are kept on disk, and a disk without room for them stops no model."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from engine import kernel_cache

SCRIPT = """
import sys
from pathlib import Path
from engine import kernel_cache
kernel_cache.ROOM_BYTES = int(sys.argv[2])
kernel_cache.use_kernel_cache(sys.argv[1])
from engine.machine_code import functions
from engine.machine_code import function
import numpy as np
started = []
functions.carry_out = lambda orders, carry_out=functions.carry_out: started.extend(orders) or carry_out(orders)
x, narrow = np.full(16, 63.0, np.float32), np.empty(16, np.uint16)
function("quantize_blocks.narrow_bf16", "void", *("int64",) * 4)(x.ctypes.data, 1, narrow.ctypes.data, 0)
print((narrow[:1].astype(np.uint32) << 16).view(np.float32)[0], kernel_cache.kernel_folder(), len(started))
"""


def run(cache_dir: Path, room_bytes: int) -> tuple[float, Path, int]:
    """A process of its own: (what a kernel computed, where kernels were kept, how many had to be compiled)."""
    environment = {name: value for name, value in os.environ.items() if name != "NUMBA_CACHE_DIR"}
    command = [sys.executable, "-P", "-c", SCRIPT, str(cache_dir), str(room_bytes)]
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    value, folder, n_compiled = ran.stdout.split()
    return float(value), Path(folder), int(n_compiled)


def test_kernels_are_compiled_once_for_all_processes(tmp_path: Path) -> None:
    value, folder, n_compiled = run(tmp_path, 0)
    assert (value, folder, n_compiled) == (63.0, tmp_path / "kernels", 1)
    assert run(tmp_path, 0)[2] == 0


def test_a_damaged_kernel_is_compiled_anew(tmp_path: Path) -> None:
    folder = run(tmp_path, 0)[1]
    (kernel,) = folder.glob("*/*.o")
    code = bytearray(kernel.read_bytes())
    code[len(code) // 2] ^= 1
    kernel.write_bytes(code)
    assert run(tmp_path, 0) == (63.0, folder, 1)
    kernel.write_bytes(code[:100])
    assert run(tmp_path, 0) == (63.0, folder, 1)
    assert run(tmp_path, 0)[2] == 0


def test_without_room_the_kernels_that_are_there_serve_from_memory(tmp_path: Path) -> None:
    run(tmp_path, 0)
    value, folder, n_compiled = run(tmp_path, 1 << 60)
    assert (value, n_compiled) == (63.0, 0)
    assert not folder.is_relative_to(tmp_path)
    assert not folder.exists()


def test_a_folder_that_cannot_be_made_is_no_reason_not_to_compute(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    value, folder, _ = run(tmp_path / "file", 0)
    assert value == 63.0
    assert not folder.exists()


def test_the_users_own_folder_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel_cache, "CHOSEN", str(tmp_path / "own"))
    assert kernel_cache._folder(str(tmp_path / "cache")) == tmp_path / "own"


def test_what_a_killed_process_has_left_is_removed_by_the_next(tmp_path: Path) -> None:
    script = """
import sys
from engine import kernel_cache
kernel_cache.ROOM_BYTES = 1 << 60
kernel_cache.use_kernel_cache(sys.argv[1])
print(kernel_cache.kernel_folder(), flush=True)
sys.stdin.read()
"""
    command = [sys.executable, "-P", "-c", script, str(tmp_path)]
    kept = subprocess.PIPE
    environment = {name: value for name, value in os.environ.items() if name != "NUMBA_CACHE_DIR"}
    with (
        subprocess.Popen(command, env=environment, stdin=kept, stdout=kept, text=True) as killed,
        subprocess.Popen(command, env=environment, stdin=kept, stdout=kept, text=True) as alive,
    ):
        assert killed.stdout is not None
        assert alive.stdout is not None
        left, used = Path(killed.stdout.readline().strip()), Path(alive.stdout.readline().strip())
        killed.kill()
        killed.wait()
        assert left.exists()
        mine = kernel_cache._temporary_copy(tmp_path)
        (tmp_path / "kernels").mkdir(exist_ok=True)
        try:
            run(tmp_path, 0)
            assert not left.exists()
            assert used.exists()
            assert mine.exists()
        finally:
            kernel_cache.clear_temporary()
        alive.communicate()
    assert not used.exists()


def test_however_many_models_are_opened_there_is_one_copy(tmp_path: Path) -> None:
    try:
        first = kernel_cache._temporary_copy(tmp_path)
        assert kernel_cache._temporary_copy(tmp_path) == first
        assert kernel_cache._temporary_copy(tmp_path / "other") != first
    finally:
        kernel_cache.clear_temporary()
    assert not first.exists()
