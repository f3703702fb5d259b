"""``python -P -m engine``: the engine's process. Keeps the wire for itself before anything else can print on it."""

from __future__ import annotations

import faulthandler
import os
import sys
from typing import BinaryIO

from engine.process.blocked_imports import block_imports


def take_wire() -> tuple[BinaryIO, BinaryIO]:
    """Move stdin and stdout aside, so that a stray print or a child process cannot touch the wire."""
    commands = os.fdopen(os.dup(0), "rb")
    events = os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    return commands, events


def main() -> None:
    """Serve until the app has no more use for this process."""
    commands, events = take_wire()
    faulthandler.enable(sys.stderr)
    block_imports()

    from engine.process.serving import serve

    serve(commands, events)


if __name__ == "__main__":
    main()
