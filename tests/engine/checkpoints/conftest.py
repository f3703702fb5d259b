"""The writers of all layouts, and greedy decoding, for tests of what opens."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.engine.checkpoints import writers


@pytest.fixture(scope="session")
def write() -> ModuleType:
    """The module of writers."""
    return writers


@pytest.fixture(scope="session")
def tiny_llama(write: ModuleType, spm_pieces: list[Any]) -> Any:
    """A model of 2 layers whose sizes can be cut into 8 parts."""
    return write.TinyLlama(write.pieces_of(spm_pieces))


Decode = Callable[..., list[int]]


@pytest.fixture(scope="session")
def decode() -> Decode:
    """Open a model with the engine and give its first greedy tokens: `decode(path)`, also `decode(path, family)`.

    base: what an adapter or a difference is added to.
    """

    def run(path: Path, family: str | None = None, n_tokens: int = 12, base: Path | None = None) -> list[int]:
        from engine.loading import load
        from engine.protocol import Load

        on = None if base is None else str(base)
        model = load(Load(path=str(path), context=128, threads=1, base=on), lambda *_: None)
        try:
            if family is not None:
                assert model.card.template == family
            ids = model.tokenizer.encode("on the in", add_bos=True, parse_special=False)
            found: list[int] = []
            pending, pos = ids, 0
            for _ in range(n_tokens):
                logits = model.evaluate(pending, pos)
                pos += len(pending)
                pending = [int(logits.argmax())]
                found += pending
            return ids + found
        finally:
            model.close()

    return run
