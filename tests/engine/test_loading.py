"""Loading that is stopped, or fails, leaves nothing running."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from engine.loading import load
from engine.machine_code import compilers
from engine.protocol import Load
from tests.engine import tiny_models


class StoppedError(Exception):
    """What a stop raises."""


class Idle:
    """A compiler that waits for more."""

    ended = False

    def end(self) -> None:
        self.ended = True


@pytest.mark.parametrize("stage", ["reading", "preparing", "warming"])
def test_nothing_goes_on_after_a_stop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: str) -> None:
    path = tiny_models.write_tiny(tmp_path / "tiny.gguf", "llama")
    idle = Idle()
    monkeypatch.setattr(compilers, "_idle", [idle])
    before = set(threading.enumerate())

    def report(now: str, done: int, total: int, detail: str) -> None:
        if now == stage:
            raise StoppedError

    with pytest.raises(StoppedError):
        load(Load(path=str(path), threads=3), report)
    assert idle.ended
    assert set(threading.enumerate()) <= before
