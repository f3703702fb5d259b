"""Functions by name are made ready, and only what is compiled for that is told."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from engine.machine_code import function, functions
from engine.machine_code.functions import Function, prepare

NARROW = function("quantize_blocks.narrow_bf16", "void", *("int64",) * 4)
"""One that is soon compiled."""


def test_compiling_is_told_only_where_something_is_compiled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(functions, "kernel_folder", lambda: tmp_path)
    monkeypatch.setattr(functions, "_linked", {})
    told: list[tuple[int, int, str]] = []

    def find() -> list[Function]:
        return [replace(NARROW)]

    prepare(find(), lambda *progress: told.append(progress))
    assert told == [(0, 1, NARROW.title), (1, 1, "done")]
    told.clear()
    monkeypatch.setattr(functions, "_linked", {})
    prepare(find(), lambda *progress: told.append(progress))
    assert told == []
