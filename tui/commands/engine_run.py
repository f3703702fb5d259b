"""An engine for one command: started, loaded with its progress on stderr, and ended whatever happens."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from engine.client import EngineClient
from engine.protocol import Load, LoadProgress, ModelCard
from tui.commands.output import ProgressLine, percent
from tui.paths import user_paths

_STAGES = {
    "reading": "Reading the model",
    "preparing": "Preparing the weights, once for this model",
    "compiling": "Compiling for this processor, once",
    "warming": "Warming up",
}


@asynccontextmanager
async def loaded_engine(load: Load) -> AsyncIterator[tuple[EngineClient, ModelCard]]:
    """Start an engine and open a model in it; the engine is gone when the block is left."""
    with ProgressLine() as line:

        def show(progress: LoadProgress) -> None:
            line.show(f"{_STAGES[progress.stage]} … {percent(progress.done, progress.total)}")

        line.show("Starting the engine …")
        async with await EngineClient.start(log_path=user_paths().engine_log) as client:
            card = await client.load(load, on_progress=show)
            line.clear()
            yield client, card
