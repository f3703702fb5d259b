"""How a file that is no sound model is refused."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.errors import EngineError


def refused_by(
    read: Callable[[Path], object], path: Path, match: str, kind: type[EngineError], limit_bytes: int
) -> None:
    """The file is refused with its name and this reason, and without memory for what it promises."""
    tracemalloc.start()
    try:
        with pytest.raises(kind, match=match) as caught:
            read(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert str(path) in caught.value.message
    assert caught.value.hint
    assert peak < limit_bytes
