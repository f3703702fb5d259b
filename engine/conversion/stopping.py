"""How a running conversion is asked to end."""

from __future__ import annotations

from engine.errors import EngineError


class StoppedError(EngineError):
    """Somebody asked for the end."""

    def __init__(self) -> None:
        super().__init__("The conversion was stopped; nothing of it is left.")


class Stop:
    """Asks a running conversion to end; may be set from any thread or signal handler."""

    def __init__(self) -> None:
        self._asked = False

    def set(self) -> None:
        """End soon."""
        self._asked = True

    def check(self) -> None:
        """Raise StoppedError if the end was asked for."""
        if self._asked:
            raise StoppedError
