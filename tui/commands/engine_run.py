"""An engine for one command, of this machine or a server: ready when the block begins, ended whatever happens."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from engine.client import EngineClient
from engine.interface import Engine
from engine.protocol import Load, LoadProgress, ModelCard, Notice
from tui.bases import remember_base
from tui.commands.output import ProgressLine, percent, say
from tui.language import _
from tui.paths import user_paths
from tui.sentences import sentence
from tui.servers import choose_server, connect
from tui.settings import Settings
from tui.stages import LOADING


@asynccontextmanager
async def loaded_engine(load: Load) -> AsyncIterator[tuple[EngineClient, ModelCard]]:
    """Start an engine and open a model in it; the engine is gone when the block is left.

    A base that an adapter opened on is remembered.
    """
    with ProgressLine() as line:

        def show(progress: LoadProgress) -> None:
            line.show(f"{_(LOADING[progress.stage])} … {percent(progress.done, progress.total)}")

        line.show(_("Starting the engine …"))
        async with await EngineClient.start(log_path=user_paths().engine_log) as client:
            line.clear()
            say_notices(client)
            card = await client.load(load, on_progress=show)
            line.clear()
            if load.base is not None:
                remember_base(Path(load.path), Path(load.base), user_paths())
            yield client, card


@asynccontextmanager
async def server_engine(name: str, model: str, settings: Settings) -> AsyncIterator[tuple[Engine, ModelCard]]:
    """Connect with a server of the settings and open a model there; model "": the settings', or its only one."""
    config = choose_server(name, settings)
    async with await connect(config) as client:
        with ProgressLine() as line:
            line.show(_("Asking {host} for its model …", host=config.host))
            card = await client.load(Load(path=model))
        say_notices(client)
        yield client, card


def say_notices(engine: Engine) -> None:
    """Say what the user should know of all that an engine has told so far."""
    while not engine.events.empty():
        event = engine.events.get_nowait()
        if isinstance(event, Notice):
            say(sentence(event.text))
