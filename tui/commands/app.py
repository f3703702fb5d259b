"""`llm-tui [MODEL]`: the app itself."""

from __future__ import annotations

import sys

import click

from tui.options import AppOptions


class _AppCommand(click.Command):
    """The command without a name: its help is the program's."""

    def get_help(self, ctx: click.Context) -> str:
        """Show the program's help."""
        return ctx.parent.get_help() if ctx.parent else super().get_help(ctx)


@click.command(cls=_AppCommand)
@click.argument("model", required=False)
@click.option("--continue", "continue_last", is_flag=True, help="Go on with the last session.")
@click.option("--resume", metavar="ID", help="Go on with this session.")
@click.option("--new", is_flag=True, help="Begin a new session.")
def command(model: str | None, continue_last: bool, resume: str | None, new: bool) -> int:
    """Open the app."""
    if continue_last + new + (resume is not None) > 1:
        raise click.UsageError("--continue, --resume and --new exclude each other.")
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise click.UsageError("The app needs a terminal; without one, use `llm-tui ask` or another command.")
    from tui.app import run

    return run(AppOptions(model=model, resume=resume, continue_last=continue_last, new=new)) or 0
