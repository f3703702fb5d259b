"""``python -P -m engine``: the engine's process. Keeps the wire for itself before anything else can print on it."""

from __future__ import annotations

import faulthandler
import sys

from engine.process.blocked_imports import block_imports
from engine.process.streams import take_wire


def main() -> None:
    """Serve until the app has no more use for this process."""
    commands, events = take_wire()
    faulthandler.enable(sys.stderr)
    block_imports()

    from engine.process.serving import serve

    serve(commands, events)


if __name__ == "__main__":
    main()
