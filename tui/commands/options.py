"""Options that several commands share, so that they are called and explained the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from tui.language import _

_Command = TypeVar("_Command", bound=Callable[..., Any])

json_option = click.option("--json", "as_json", is_flag=True, help="Write JSON.")
model_option = click.option(
    "-m", "--model", "model_name", metavar="MODEL", help="A file or a name from `models list`; else the last one used."
)
base_option = click.option(
    "--base", metavar="MODEL", help="What MODEL, an adapter or a difference, is added to; remembered for the next time."
)
server_option = click.option(
    "--server", metavar="NAME", help="Use this server of the settings instead of this machine; -m names its model."
)
threads_option = click.option(
    "--threads", type=click.IntRange(min=1), help="Threads to compute with; else the physical cores."
)
context_option = click.option(
    "--context", type=click.IntRange(min=8), help="Tokens to make room for; else the model's own limit or what fits."
)


def check_server_options(server: str | None, *, base: str | None, computing: bool = False) -> None:
    """Refuse options that only a model of this machine has. computing: --threads or --context is given."""
    if server is not None and computing:
        raise click.UsageError(_("--threads and --context are for models on this machine, not on a server."))
    if server is not None and base is not None:
        raise click.UsageError(_("--base is for models on this machine, not on a server."))


def sampling_options(command: _Command) -> _Command:
    """Add the samplers, each None where it is not given: then the session's or the settings' value holds."""
    for option in reversed(
        [
            click.option("--temperature", type=click.FloatRange(0, 5), help="0 always takes the most likely token."),
            click.option("--top-k", type=click.IntRange(min=0), help="Only the K most likely tokens; 0 for all."),
            click.option("--top-p", type=click.FloatRange(0, 1, min_open=True), help="Only the most likely share P."),
            click.option("--min-p", type=click.FloatRange(0, 1), help="Only tokens P times as likely as the first."),
            click.option("--repeat-penalty", type=click.FloatRange(0, 5, min_open=True), help="1 for none."),
            click.option(
                "--max-tokens", type=click.IntRange(min=1), help="Length of the answer; else the context's end."
            ),
        ]
    ):
        command = option(command)
    return command
