"""The starter model, and homes of their own for the app that share what the engine keeps of it."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from engine.starter import fetch

_CACHE = Path(__file__).parents[1] / ".cache"


def starter_model() -> Path:
    """The starter model's file, fetched once for all benchmarks."""
    return fetch(_CACHE / "models", lambda progress: None)


def engine_cache() -> Path:
    """The folder of what the engine keeps on disk: compiled kernels, arranged weights and sessions' caches."""
    folder = _CACHE / "engine"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@contextmanager
def new_home() -> Iterator[Path]:
    """An empty home with the engine's cache, which the app and the commands take for theirs."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        (home / "cache").symlink_to(engine_cache(), target_is_directory=True)
        os.environ["LLM_TUI_HOME"] = folder
        yield home
