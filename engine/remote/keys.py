"""API keys: read from where they are safe, shown to nobody but the server that they are for."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import NoReturn

from engine.errors import ServerError
from engine.remote.config import ServerConfig
from engine.typed_path import typed_path

MAX_KEY_BYTES = 16384
"""The longest keys are signed tokens of a few kilobytes; more is another file."""

HIDDEN = "[key]"


class Key:
    """An API key that no log, traceback or copy shows; `reveal` is for the one header that carries it."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def __repr__(self) -> str:
        return f"Key({HIDDEN})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("A key is not to be copied elsewhere.")

    def reveal(self) -> str:
        """The key itself."""
        return self._value

    def hide_in(self, text: str) -> str:
        """Take the key out of a text that came from elsewhere: some servers send it back in their errors."""
        return text.replace(self._value, HIDDEN)


def server_key(config: ServerConfig) -> Key | None:
    """The key that a server's settings name; None where they name none. Raises ServerError, which never has the key."""
    if config.api_key_env:
        value = os.environ.get(config.api_key_env, "")
        if not value:
            raise ServerError(
                f"The key of {config.host} is to come from the environment variable {config.api_key_env}, which is"
                " not set.",
                "Export it before you start llm-tui.",
            )
        return _checked(value, f"The environment variable {config.api_key_env}")
    if config.api_key_file:
        return read_key_file(typed_path(config.api_key_file))
    return None


def read_key_file(path: Path) -> Key:
    """The key in a file that nobody else may read; ServerError otherwise."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        with os.fdopen(handle, "rb") as file:
            _check_mode(path, os.fstat(handle).st_mode)
            data = file.read(MAX_KEY_BYTES + 1)
    except OSError as error:
        raise ServerError(
            f"The key file {path} cannot be read ({error.strerror}).",
            "Name a file that holds the key and nothing else.",
        ) from None
    return _checked(data.decode("latin-1"), f"The key file {path}")


def _check_mode(path: Path, mode: int) -> None:
    if not stat.S_ISREG(mode):
        raise ServerError(f"The key file {path} is no file.", "Name a file that holds the key and nothing else.")
    if mode & 0o077:
        raise ServerError(
            f"The key file {path} can be read by others (mode {stat.S_IMODE(mode):04o}).",
            f"Make it yours alone: chmod 600 {path}; and think about a new key.",
        )


def _checked(value: str, where: str) -> Key:
    value = value.strip()
    if not value or len(value) > MAX_KEY_BYTES or not all("!" <= character <= "~" for character in value):
        raise ServerError(
            f"{where} does not hold a key: one word of visible ASCII characters.", "Write the key there, alone."
        )
    return Key(value)
