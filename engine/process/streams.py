"""A process's standard streams, kept for messages before anything else can print on them."""

from __future__ import annotations

import os
from typing import BinaryIO


def take_wire() -> tuple[BinaryIO, BinaryIO]:
    """Move stdin and stdout aside, so that a stray print or a child process cannot touch the wire."""
    commands = os.fdopen(os.dup(0), "rb")
    events = os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    return commands, events
