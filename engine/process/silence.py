"""How long the engine has said nothing, told once a silence."""

from __future__ import annotations


class Silence:
    """Counts from the last sound, or from the end of a time in which this process was stuck itself.

    All times are in seconds on one clock, whichever that is. heartbeat_s: a silence is longer than this.
    """

    def __init__(self, heartbeat_s: float, now_s: float) -> None:
        self._heartbeat_s = heartbeat_s
        self._since_s = self._looked_s = now_s
        self._told = False

    def hear(self, now_s: float) -> None:
        """The engine has said something: a silence that was told is over."""
        self._since_s = now_s
        self._told = False

    def look(self, now_s: float) -> float | None:
        """How long the silence is, if it has become one since the last look; call it much oftener than heartbeat_s."""
        if now_s - self._looked_s > self._heartbeat_s / 2:
            # This process was stopped or stuck: what the engine said meanwhile is still in the pipe.
            self._since_s = now_s
        self._looked_s = now_s
        silent_s = now_s - self._since_s
        if self._told or silent_s <= self._heartbeat_s:
            return None
        self._told = True
        return silent_s
