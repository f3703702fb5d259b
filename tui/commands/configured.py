"""The user's settings, model and folders as a command needs them."""

from __future__ import annotations

from pathlib import Path

from engine.protocol import Load
from tui import model_choice
from tui.commands.output import CommandError, say
from tui.paths import user_paths
from tui.settings import Settings, load_settings


def user_settings() -> Settings:
    """Read the settings, telling what in them could not be used."""
    loaded = load_settings(user_paths().settings_file)
    for problem in loaded.problems:
        say(problem)
    return loaded.settings


def chosen_model(name: str | None, settings: Settings) -> Path:
    """Find the model that is named, or the one to take where none is."""
    try:
        return model_choice.choose_model(name, settings, user_paths())
    except model_choice.ModelChoiceError as error:
        raise CommandError(str(error)) from error


def chosen_base(name: str | None, settings: Settings) -> Path | None:
    """Find the model that an adapter is to be added to, None where none is named."""
    return None if name is None else chosen_model(name, settings)


def chosen_load(
    name: str | None, settings: Settings, *, threads: int | None, context: int | None, base: str | None = None
) -> Load:
    """Make the command that opens it."""
    path = chosen_model(name, settings)
    on = chosen_base(base, settings)
    return model_choice.model_load(path, settings, user_paths(), threads=threads, context=context, base=on)
