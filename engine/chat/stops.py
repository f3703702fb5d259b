"""Where an answer ends by its text: stop texts that may come in pieces."""

from __future__ import annotations

from collections.abc import Iterable


class StopMatcher:
    """Lets text through up to the first stop text, holding back what may be the beginning of one."""

    def __init__(self, stops: Iterable[str]) -> None:
        self._stops = tuple(dict.fromkeys(stop for stop in stops if stop))
        self._beginnings = frozenset(stop[0] for stop in self._stops)
        self._held = ""
        self._stopped = False

    @property
    def n_held(self) -> int:
        """How many characters are held back."""
        return len(self._held)

    def feed(self, text: str) -> tuple[str, bool]:
        """The text that is certain by now, and whether a stop text has come; after that nothing more comes."""
        if self._stopped:
            return "", True
        if not self._held and self._beginnings.isdisjoint(text):
            return text, False
        text = self._held + text
        # Of several, the one that is complete first, as if the text had come letter by letter; of those, the longest.
        found = [(at + len(stop), at) for stop in self._stops if (at := text.find(stop)) >= 0]
        if found:
            self._held, self._stopped = "", True
            return text[: min(found)[1]], True
        n_held = max((_overlap(text, stop) for stop in self._stops), default=0)
        certain = len(text) - n_held
        self._held = text[certain:]
        return text[:certain], False

    def flush(self) -> str:
        """What was held back, now that no more text comes."""
        held, self._held = self._held, ""
        return held


def _overlap(text: str, stop: str) -> int:
    """How long the longest end of the text is that begins the stop text."""
    for length in range(min(len(text), len(stop) - 1), 0, -1):
        if text.endswith(stop[:length]):
            return length
    return 0
