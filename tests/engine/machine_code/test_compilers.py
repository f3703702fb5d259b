"""Kernels are compiled in processes of their own, and what goes wrong there is told."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from engine.machine_code import compilers
from engine.machine_code.compilers import CompilerError, carry_out
from engine.machine_code.files import read_object, write_object
from engine.machine_code.orders import Order
from tests.engine.few_threads import give_threads


def order(folder: Path, name: str) -> Order:
    return Order("select", name, (), "int64", ("int64",) * 4, str(folder / f"{name}.o"))


def test_a_kernel_that_does_not_exist_is_an_error_with_its_name(tmp_path: Path) -> None:
    with pytest.raises(CompilerError, match=r"The kernel nothing could not be compiled: AttributeError"):
        list(carry_out({"nothing": order(tmp_path, "nothing")}))
    assert list(tmp_path.iterdir()) == []


def test_a_compiler_that_dies_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compilers, "COMMAND", (sys.executable, "-c", "import os; os._exit(9)"))
    # None that compiled for another test.
    monkeypatch.setattr(compilers, "_idle", [])
    with pytest.raises(CompilerError, match=r"the compiler (ended with status 9|is gone)"):
        list(carry_out({"draw": order(tmp_path, "draw")}))


def test_without_threads_for_compilers_that_is_told_and_fewer_do_as_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compilers, "allowed_cores", lambda: 2)
    monkeypatch.setattr(compilers, "_idle", [])
    orders = {name: order(tmp_path, name) for name in ("nothing", "neither")}
    with monkeypatch.context() as few, pytest.raises(CompilerError, match="refuses to start a compiler: can't start"):
        give_threads(few, 0)
        list(carry_out(orders))
    with monkeypatch.context() as few, pytest.raises(CompilerError, match="could not be compiled: AttributeError"):
        give_threads(few, 1)
        list(carry_out(orders))
    assert compilers._idle == []


def test_nothing_to_do_starts_no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compilers, "COMMAND", ("/does/not/exist",))
    assert list(carry_out({})) == []


def test_an_object_file_is_there_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "code.o"
    assert read_object(path) is None
    write_object(path, b"machine code")
    assert read_object(path) == b"machine code"
    assert [each.name for each in tmp_path.iterdir()] == ["code.o"]
    path.write_bytes(path.read_bytes()[:-1])
    assert read_object(path) is None
