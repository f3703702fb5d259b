"""Machine code is loaded by our own linker, or by LLVM's, with the same results."""

from __future__ import annotations

import ctypes
import platform
import struct
from pathlib import Path

import numpy as np
import pytest

from engine.kernels.compiling import compile_function, find
from engine.machine_code import linking
from engine.machine_code.linking import NotLinkable, link, link_with_llvm

NARROW = ctypes.CFUNCTYPE(None, *(ctypes.c_int64,) * 4)
STEP = ctypes.CFUNCTYPE(None, *(ctypes.c_int64,) * 5)

own_linker = pytest.mark.skipif(
    platform.machine() != "x86_64" or platform.system() != "Linux", reason="elsewhere, LLVM's loader is used"
)


@pytest.fixture(scope="module")
def narrow_code() -> bytes:
    return compile_function(find("quantize_blocks", "narrow_bf16", ()), "void", ("int64",) * 4)


@pytest.fixture(scope="module")
def rotary_code() -> bytes:
    """Calls the C library's sine and cosine, and reads constants from memory."""
    return compile_function(find("rotary", "rotary_table", ()), "void", ("int64",) * 5)


def narrow(address: int) -> bytes:
    x, found = np.sin(np.arange(160, dtype=np.float32)), np.zeros(160, np.uint16)
    NARROW(address)(x.ctypes.data, 10, found.ctypes.data, 0)
    np.testing.assert_allclose((found.astype(np.uint32) << 16).view(np.float32), x, rtol=2**-8)
    return found.tobytes()


def table(address: int) -> bytes:
    angles, out = np.array([0.5, 0.25]), np.zeros(4, np.float32)
    step, batch = np.zeros(16, np.int64), np.zeros(16, np.int64)
    step[4:8] = out.ctypes.data, angles.ctypes.data, 2, int(np.float32(1.0).view(np.int32))
    batch[1] = 7
    STEP(address)(step.ctypes.data, batch.ctypes.data, 0, 1, 0)
    np.testing.assert_allclose(out, [np.cos(3.5), np.sin(3.5), np.cos(1.75), np.sin(1.75)], rtol=1e-6)
    return out.tobytes()


def test_llvms_loader_and_ours_run_the_same_code(narrow_code: bytes, rotary_code: bytes) -> None:
    assert narrow(link(narrow_code)) == narrow(link_with_llvm(narrow_code))
    assert table(link(rotary_code)) == table(link_with_llvm(rotary_code))


@own_linker
def test_our_own_linker_needs_no_help(narrow_code: bytes, rotary_code: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linking, "link_with_llvm", lambda code: pytest.fail("LLVM was asked"))
    narrow(link(narrow_code))
    table(link(rotary_code))


@own_linker
def test_code_cannot_be_overwritten_by_accident(narrow_code: bytes) -> None:
    address = link(narrow_code)
    ranges = [line.split() for line in Path("/proc/self/maps").read_text(encoding="utf-8").splitlines()]
    bounds = [(*(int(part, 16) for part in found[0].split("-")), found[1]) for found in ranges]
    assert [access for first, last, access in bounds if first <= address < last] == ["r-xp"]


def test_what_our_linker_does_not_know_is_for_llvm(narrow_code: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(linking, "link_with_llvm", lambda code: asked.append(code) or 1)
    arm = bytearray(narrow_code)
    struct.pack_into("<H", arm, 18, 183)
    link(bytes(arm))
    link(b"\xcf\xfa\xed\xfe" + bytes(200))
    assert len(asked) == 2


@own_linker
def test_a_relocation_of_another_kind_is_for_llvm(rotary_code: bytes) -> None:
    linker = linking._Linker(rotary_code)
    section = next(s for s in linker._sections if s["kind"] == linking.RELOCATIONS and s["info"] in linker._placed)
    other = bytearray(rotary_code)
    struct.pack_into("<I", other, int(section["offset"]) + 8, 42)
    with pytest.raises(NotLinkable, match="kind 42"):
        linking._Linker(bytes(other)).entry()


@own_linker
def test_a_function_that_the_system_lacks_is_named(rotary_code: bytes) -> None:
    renamed = rotary_code.replace(b"\0sincos\0", b"\0sincoX\0")
    assert renamed != rotary_code
    with pytest.raises(NotLinkable, match="sincoX"):
        linking._Linker(renamed).entry()


def test_only_what_is_exported_is_compiled() -> None:
    with pytest.raises(LookupError, match="_swap"):
        find("select", "_swap", ())
