"""Where a file that may replace another one goes: to the file itself where links lead to it, and to nothing else."""

from __future__ import annotations

import os
from pathlib import Path

from tui.commands.output import CommandError
from tui.language import _


def replaced_file(target: Path) -> Path:
    """The file that gives way when `target` is written over, or the place of one where there is none yet.

    Links are followed here, in the process that the user sees: what /proc/self names is another thing in the next.
    Raises CommandError where a device or a pipe would give way, or links lead to each other and nowhere.
    """
    if os.path.exists(target) and not os.path.isfile(target) and not os.path.isdir(target):
        raise CommandError(_("{file} is a device or a pipe, not a file. Give the new file another name.", file=target))
    place = Path(os.path.realpath(target))
    if place.is_symlink():
        raise CommandError(_("{file} is a link that leads in a circle. Name another file.", file=target))
    return place
