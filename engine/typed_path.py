"""Paths as a person writes them, in a prompt box or in the settings."""

from __future__ import annotations

import os
from pathlib import Path


def typed_path(text: str | Path) -> Path:
    """The path with the home in the place of a leading `~` or `~name`; of nobody's home, `~name` is a file's name.

    Path.expanduser raises RuntimeError for that.
    """
    return Path(os.path.expanduser(text))
