"""`llm-tui [MODEL]`: the app itself."""

from __future__ import annotations

import difflib
import os
import sys

import click

from tui.commands.options import TEXT, app_server_option, base_option, check_server_options, not_empty
from tui.language import _
from tui.options import AppOptions
from tui.terminal import is_remote


class _AppCommand(click.Command):
    """The command without a name: its help is the program's."""

    def get_help(self, ctx: click.Context) -> str:
        """Show the program's help."""
        return ctx.parent.get_help() if ctx.parent else super().get_help(ctx)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Take what behind a mistyped command would be an argument too many for what belongs to that."""
        words = list(args)
        try:
            return super().parse_args(ctx, args)
        except click.UsageError:
            if words and not words[0].startswith("-"):
                _refuse_mistyped(ctx, words[0])
            raise


@click.command(cls=_AppCommand)
@click.argument("model", required=False, callback=not_empty)
@base_option
@app_server_option
@click.option("--continue", "continue_last", is_flag=True, help="Go on with the last session.")
@click.option("--resume", type=TEXT, metavar="ID", callback=not_empty, help="Go on with this session.")
@click.option("--new", is_flag=True, help="Begin a new session.")
@click.pass_context
def command(
    ctx: click.Context,
    model: str | None,
    base: str | None,
    server: str | None,
    continue_last: bool,
    resume: str | None,
    new: bool,
) -> int:
    """Open the app."""
    if continue_last + new + (resume is not None) > 1:
        raise click.UsageError(_("--continue, --resume and --new exclude each other."))
    check_server_options(server, base=base)
    if model is not None and server is None:
        _refuse_mistyped(ctx, model)
    if not has_terminal():
        words = _("The app needs a terminal; without one, use `llm-tui ask` or another command.")
        # With one, sshd would have named it.
        if is_remote(os.environ) and "SSH_TTY" not in os.environ:
            words += " " + _("Over SSH, `ssh -t` brings one along.")
        raise click.UsageError(words)
    return open_app(
        AppOptions(model=model, base=base, server=server, resume=resume, continue_last=continue_last, new=new)
    )


def _refuse_mistyped(ctx: click.Context, model: str) -> None:
    """A word that is nearly a command and no file is not looked for among the models."""
    known = ctx.parent.command.list_commands(ctx) if ctx.parent and isinstance(ctx.parent.command, click.Group) else []
    close = difflib.get_close_matches(model, known, n=1, cutoff=0.75)
    if close and not os.path.exists(model):
        raise click.UsageError(_("There is no command {model}. Did you mean {name}?", model=model, name=close[0]), ctx)


def has_terminal() -> bool:
    """Whether there is something to draw on and to type into: a terminal, or the pipes of a browser's page."""
    return is_browser() or (sys.stdin.isatty() and sys.stdout.isatty())


def is_browser() -> bool:
    """Whether a server of pages has started this: it names the driver that Textual is to use."""
    return os.environ.get("TEXTUAL_DRIVER", "").endswith(":WebDriver")


def open_app(options: AppOptions) -> int:
    """Run the app until the user leaves it."""
    from tui.app import run

    return run(options)
