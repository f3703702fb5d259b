"""The command line: finds the command, imports no other, and turns every failure into one line and an exit code."""

from __future__ import annotations

import gettext
import os
from copy import copy
from importlib import import_module
from inspect import cleandoc

import click

from tui.importing import INTERRUPTED, ended_by_ctrl_c
from tui.language import DOMAIN, LOCALE_DIR, N_, _, choose_language, language, language_setting, speak

DONE, FAILED = 0, 1

APP = ""
"""The command of `llm-tui [MODEL]`, which has no name of its own."""

COMMANDS = {
    APP: ("app", N_("Open the app.")),
    "ask": ("ask", N_("One answer, streamed to stdout.")),
    "models": ("models", N_("What is on this machine: list, info, pull, convert, verify, remove.")),
    "sessions": ("sessions", N_("What was said: list, show, search, rename, export, import, delete.")),
    "bench": ("bench", N_("Speed and memory of a model.")),
    "serve": ("serve", N_("The engine behind the OpenAI-compatible HTTP interface.")),
    "serve-web": ("serve_web", N_("The app in a browser of this machine.")),
    "tokenize": ("tokenize", N_("Text to token ids and back.")),
    "perplexity": ("perplexity", N_("How well a model predicts a text.")),
    "backup": ("backup", N_("Copy all sessions to a file, while they are in use.")),
    "doctor": ("doctor", N_("What is fine on this machine, what is not, what to do.")),
}
"""A command's module in tui.commands and its one-line help, so that `--help` imports nothing."""

_OWN_OPTIONS = {"-h", "--help", "--version"}


class CommandGroup(click.Group):
    """The commands by name, imported when called; anything else is for the app."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Take the app for the command where no other is named."""
        if not args or args[0] == APP or args[0] not in COMMANDS.keys() | _OWN_OPTIONS:
            args = [APP, *args]
        return super().parse_args(ctx, args)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Name the commands, in the order of the help."""
        return [name for name in COMMANDS if name != APP]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command's module."""
        if cmd_name not in COMMANDS:
            return None
        with ended_by_ctrl_c():
            module = import_module(f"tui.commands.{COMMANDS[cmd_name][0]}")
        return in_own_words(module.command)

    def format_usage(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Show both ways to call the program."""
        formatter.write_usage(ctx.command_path, "[OPTIONS] [MODEL]")
        indent = " " * (len(_("Usage:")) + 1)
        formatter.write_usage(ctx.command_path, "COMMAND [ARGS]...", prefix=indent)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Show the app's options, the program's own, and the commands."""
        app = self.get_command(ctx, APP)
        params = [*(app.params if app else []), *self.get_params(ctx)]
        records = [param.get_help_record(ctx) for param in params if isinstance(param, click.Option)]
        with formatter.section(_("Options")):
            formatter.write_dl([record for record in records if record])
        with formatter.section(_("Commands")):
            formatter.write_dl([(name, _(COMMANDS[name][1])) for name in self.list_commands(ctx)])


def in_own_words(command: click.Command) -> click.Command:
    """The same command and what belongs to it, explained in the user's language."""
    if language() == "en":
        return command
    spoken = copy(command)
    # Click keeps the option that it once made, with the words of then.
    spoken._help_option = None
    spoken.help = _(cleandoc(command.help or ""))
    spoken.params = [copy(param) for param in command.params]
    for param in spoken.params:
        if isinstance(param, click.Option):
            param.help = _(param.help or "")
    if isinstance(spoken, click.Group):
        spoken.commands = {name: in_own_words(part) for name, part in spoken.commands.items()}
    return spoken


def _show_version(ctx: click.Context, param: click.Parameter, asked: bool) -> None:
    if asked and not ctx.resilient_parsing:
        from importlib.metadata import version

        click.echo(f"llm-tui {version('llm-tui')}")
        ctx.exit()


@click.group(cls=CommandGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--version", is_flag=True, expose_value=False, is_eager=True, callback=_show_version, help="Show the version."
)
def commands() -> None:
    """Talk with LLaMA-family models on this machine's own CPU.

    MODEL is a file, or a name from `llm-tui models list`; without it, the last one used is opened.
    """


def run(arguments: list[str]) -> int:
    """Run one command and return its exit code: 0 done, 1 failed, 2 wrong usage, 130 interrupted."""
    try:
        _speak()
        code = in_own_words(commands).main(arguments, prog_name="llm-tui", standalone_mode=False)
    except click.UsageError as error:
        if error.ctx and error.ctx.info_name == APP:
            error.ctx = error.ctx.parent
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return INTERRUPTED
    except Exception as error:  # noqa: BLE001
        return failed(error)
    return code if isinstance(code, int) else DONE


def _speak() -> None:
    """Speak the user's language from now on, as click does then too: it asks gettext's own functions."""
    from tui.paths import user_paths

    speak(choose_language(language_setting(user_paths().settings_file), os.environ))
    if language() != "en":
        os.environ["LANGUAGE"] = language()
        gettext.bindtextdomain(DOMAIN, str(LOCALE_DIR))
        gettext.textdomain(DOMAIN)


def failed(error: Exception) -> int:
    """Say why in one line; what nobody foresaw goes to the log as well, with its traceback."""
    from logging import FileHandler

    from engine.errors import EngineError
    from storage.errors import StorageError
    from tui.commands.output import CommandError, complain
    from tui.log import start_log
    from tui.paths import NoHomeError, user_paths
    from tui.sentences import reason, system_words_of
    from tui.settings import SettingsError

    if isinstance(error, (EngineError, StorageError, SettingsError, CommandError, NoHomeError)):
        complain(reason(error))
    elif isinstance(error, OSError):
        start_log().error("A command failed.", exc_info=error)
        complain(f"{system_words_of(error)}.")
    else:
        log = start_log()
        log.error("A command failed.", exc_info=error)
        what = {"kind": type(error).__name__, "error": error, "log": user_paths().app_log}
        if any(isinstance(handler, FileHandler) for handler in log.handlers):
            complain(_("This should not have happened: {kind}: {error}. {log} has more.", **what))
        else:
            complain(_("This should not have happened: {kind}: {error}. {log}, for more, cannot be written.", **what))
    return FAILED
