"""`llm-tui serve`: the engine behind the OpenAI-compatible HTTP interface, for editors and scripts."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from engine.interface import Engine
from engine.protocol import EngineDied, Load, ModelCard
from engine.remote.config import is_loopback
from tui.cli import DONE
from tui.commands.configured import chosen_load, user_settings
from tui.commands.engine_run import loaded_engine
from tui.commands.options import base_option, context_option, model_option, threads_option
from tui.commands.output import CommandError, say, write_text
from tui.importing import INTERRUPTED
from tui.language import _
from tui.log import start_log
from tui.sentences import sentence, system_words
from tui.settings import Settings

if TYPE_CHECKING:
    from engine.remote.keys import Key


@click.command()
@model_option
@base_option
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen at.")
@click.option("--port", type=click.IntRange(0, 65535), default=8080, show_default=True, help="0 takes a free one.")
@click.option(
    "--api-key-file",
    type=click.Path(path_type=Path),
    help="File (mode 600) with the key that clients must send; required where other machines can reach the address.",
)
@threads_option
@context_option
def command(
    model_name: str | None,
    base: str | None,
    host: str,
    port: int,
    api_key_file: Path | None,
    threads: int | None,
    context: int | None,
) -> int:
    """Serve a model over HTTP as OpenAI does: chat and text completions, with streaming, one answer at a time.

    The base URL for clients is written to stdout as soon as they can connect.
    """
    if api_key_file is None and not is_loopback(host):
        raise click.UsageError(_("{host} can be reached by other machines: give a key with --api-key-file.", host=host))
    try:
        import starlette  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise CommandError(
            _("Serving needs the package {name}: pip install 'llm-tui[serve]'.", name=error.name)
        ) from error
    key = _key(api_key_file)
    load = chosen_load(model_name, settings := user_settings(), threads=threads, context=context, base=base)
    return asyncio.run(_serve(load, settings, host, port, key))


def _key(path: Path | None) -> Key | None:
    from engine.remote.keys import read_key_file

    return None if path is None else read_key_file(path)


async def _serve(load: Load, settings: Settings, host: str, port: int, key: Key | None) -> int:
    with taken_address(host, port) as listening:
        async with loaded_engine(load) as (engine, card):
            return await _run(engine, card, settings, key, listening)


@contextmanager
def taken_address(host: str, port: int) -> Iterator[socket.socket]:
    """Take the address before a model is loaded for nothing. host: an IPv6 address may be in brackets, as in a URL."""
    host = host.removeprefix("[").removesuffix("]")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listening = socket.create_server((host, port), family=family, backlog=128)
    except OSError as error:
        raise CommandError(
            _(
                "{host} port {port} cannot be listened at ({reason}). Choose another --port, or 0 for a free one.",
                host=host,
                port=port,
                reason=system_words(error),
            )
        ) from error
    with listening:
        yield listening


async def _run(engine: Engine, card: ModelCard, settings: Settings, key: Key | None, listening: socket.socket) -> int:
    """Serve until a signal or the engine's end."""
    from engine.server.application import application
    from engine.server.requests import Defaults
    from engine.server.running import run

    log_to_file()
    ended = asyncio.Event()
    signals = signals_set(ended)
    watching = asyncio.create_task(_death(engine), name="watch the engine")
    watching.add_done_callback(lambda _: ended.set())
    write_text(_url(listening))
    to_all = _("Serving {name}. Ctrl+C ends it.", name=card.name)
    to_some = _("Serving {name}, to whoever has the key. Ctrl+C ends it.", name=card.name)
    say(to_all if key is None else to_some)
    defaults = Defaults(settings.sampling.sampling(card.sampling), settings.sampling.sampling())
    await run(application(engine, card, defaults, key, ended), listening, ended)
    if not signals:
        raise CommandError(_("The engine has ended: {message}", message=sentence(watching.result().message)))
    watching.cancel()
    return INTERRUPTED if signal.SIGINT in signals else DONE


def signals_set(ended: asyncio.Event) -> list[int]:
    """From now on, SIGINT and SIGTERM set an event; the list has those that came."""
    came: list[int] = []

    def end(number: int) -> None:
        came.append(number)
        ended.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, end, number)
    return came


def log_to_file() -> None:
    """What the HTTP server has to say about errors goes where our own does, instead of to the terminal."""
    for handler in start_log().handlers:
        logging.getLogger().addHandler(handler)


async def _death(engine: Engine) -> EngineDied:
    """Wait for the engine's end; what else it says beside its answers interests nobody here."""
    while not isinstance(event := await engine.events.get(), EngineDied):
        pass
    return event


def _url(listening: socket.socket) -> str:
    host, port = listening.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}/v1"
