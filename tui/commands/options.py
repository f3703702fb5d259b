"""Options that several commands share, so that they are called and explained the same."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from typing import Any, TypeVar

import click

from tui.commands.output import whole_text
from tui.language import _
from tui.options import MAX_THREADS

_Command = TypeVar("_Command", bound=Callable[..., Any])


class _Text(click.types.StringParamType):
    """A text that is stored, shown or sent; what is not UTF-8 in it becomes U+FFFD, as in what comes on stdin."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Take the text without what is no character."""
        return whole_text(super().convert(value, param, ctx))


class NumberRange(click.FloatRange):
    """A number in a range, which not-a-number is not."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Read the number, or say what it may be."""
        number = super().convert(value, param, ctx)
        if math.isnan(number):
            self.fail(_("{value} is not in the range {range}.", value=value, range=self._describe_range()), param, ctx)
        return number


TEXT = _Text()


def not_empty(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    """Refuse the name that a script's unset variable gives: it names nothing, and is not the same as none."""
    if value == "":
        raise click.BadParameter(_("A name cannot be empty."), ctx, param)
    return value


def not_blank(ctx: click.Context, param: click.Parameter, value: str) -> str:
    """Refuse a title of which nothing would be seen."""
    return not_empty(ctx, param, value if value.strip() else "") or ""


def file_place(ctx: click.Context, param: click.Parameter, value: str) -> str:
    """Refuse a folder's name where a new file goes: the file would not be where it was said to be."""
    if not_empty(ctx, param, value) and value.endswith(os.sep):
        raise click.BadParameter(_("A name that ends in {end} is a folder's: name a file.", end=os.sep), ctx, param)
    return value


json_option = click.option("--json", "as_json", is_flag=True, help="Write JSON.")
model_option = click.option(
    "-m",
    "--model",
    "model_name",
    metavar="MODEL",
    callback=not_empty,
    help="A file or a name from `models list`; else the last one used.",
)
base_option = click.option(
    "--base",
    metavar="MODEL",
    callback=not_empty,
    help="What MODEL, an adapter or a difference, is added to; remembered for the next time.",
)
server_option = click.option(
    "--server",
    type=TEXT,
    metavar="NAME",
    callback=not_empty,
    help="Use this server of the settings instead of this machine; -m names its model.",
)
app_server_option = click.option(
    "--server",
    type=TEXT,
    metavar="NAME",
    callback=not_empty,
    help="Use this server of the settings instead of this machine; MODEL names its model.",
)
threads_option = click.option(
    "--threads", type=click.IntRange(1, MAX_THREADS), help="Threads to compute with; else the physical cores."
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
            click.option("--temperature", type=NumberRange(0, 5), help="0 always takes the most likely token."),
            click.option("--top-k", type=click.IntRange(min=0), help="Only the K most likely tokens; 0 for all."),
            click.option("--top-p", type=NumberRange(0, 1, min_open=True), help="Only the most likely share P."),
            click.option("--min-p", type=NumberRange(0, 1), help="Only tokens P times as likely as the first."),
            click.option("--repeat-penalty", type=NumberRange(0.01, 5), help="1 for none."),
            click.option(
                "--max-tokens", type=click.IntRange(min=1), help="Length of the answer; else the context's end."
            ),
        ]
    ):
        command = option(command)
    return command
