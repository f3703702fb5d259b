"""`llm-tui serve-web`: the app in a browser of this machine."""

from __future__ import annotations

import asyncio
import shlex
import signal
import socket
import sys

import click

from engine.remote.config import is_loopback
from tui.cli import DONE
from tui.commands.options import app_server_option, base_option, check_server_options, not_empty
from tui.commands.output import CommandError, say, write_text
from tui.commands.serve import log_to_file, signals_set, taken_address
from tui.importing import INTERRUPTED
from tui.language import _


@click.command()
@click.argument("model", required=False, callback=not_empty)
@base_option
@app_server_option
@click.option("--host", default="127.0.0.1", show_default=True, help="Address of this machine to listen at.")
@click.option("--port", type=click.IntRange(0, 65535), default=8000, show_default=True, help="0 takes a free one.")
def command(model: str | None, base: str | None, server: str | None, host: str, port: int) -> int:
    """Show the app in a browser of this machine, each page an app of its own.

    The address is written to stdout as soon as it can be opened. It holds a secret, new each time: whoever has it can
    read and write all sessions. Other machines cannot reach it; for them, use SSH.
    """
    check_server_options(server, base=base)
    if not is_loopback(host):
        raise click.UsageError(
            _("{host} can be reached by other machines: the app is shown on this one alone. Use SSH there.", host=host)
        )
    try:
        import textual_serve  # noqa: F401
    except ImportError as error:
        raise CommandError(
            _("Showing the app in a browser needs the package {name}: pip install 'llm-tui[web]'.", name=error.name)
        ) from error
    with taken_address(host, port) as taken:
        return asyncio.run(_serve(_command_line(model, base, server), taken))


def _command_line(model: str | None, base: str | None, server: str | None) -> str:
    """How a page's app is started."""
    words = [sys.executable, "-P", "-m", "tui"]
    words += [] if base is None else ["--base", base]
    words += [] if server is None else ["--server", server]
    words += [] if model is None else ["--", model]
    return shlex.join(words)


async def _serve(command_line: str, taken: socket.socket) -> int:
    from tui.browser import AppPages

    log_to_file()
    ended = asyncio.Event()
    signals = signals_set(ended)
    pages = AppPages(command_line, taken)
    write_text(pages.url)
    say(_("Open this address in a browser of this machine. Ctrl+C ends it."))
    await pages.run(ended)
    return INTERRUPTED if signal.SIGINT in signals else DONE
