"""Paths as a person writes them, in a prompt box or in the settings, and as another process can be told of them."""

from __future__ import annotations

import os
from pathlib import Path

from engine.errors import ModelFileError


def typed_path(text: str | Path) -> Path:
    """The path with the home in the place of a leading `~` or `~name`; of nobody's home, `~name` is a file's name.

    Path.expanduser raises RuntimeError for that.
    """
    return Path(os.path.expanduser(text))


def require_text(*paths: str | None) -> None:
    """Raise ModelFileError for a path with bytes that are no UTF-8: messages between processes are text."""
    for path in paths:
        shown = (path or "").encode("utf-8", "replace").decode()
        if path and shown != path:
            raise ModelFileError(
                f"The path {shown} has bytes in it that are no text.", "Rename the file or its folder."
            )
