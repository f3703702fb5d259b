"""Characters that JSON escapes as two halves, which some servers send apart or without each other."""

from __future__ import annotations


class PairJoiner:
    """Joins halves that come one after the other; a half that stays alone becomes U+FFFD."""

    def __init__(self) -> None:
        self._half = ""

    def feed(self, text: str) -> str:
        """The text as far as its characters are whole."""
        text = self._half + text
        ends_in_half = "\ud800" <= text[-1:] <= "\udbff"
        self._half = text[-1] if ends_in_half else ""
        return without_halves(text[:-1] if ends_in_half else text)

    def flush(self) -> str:
        """What is left at the end."""
        half, self._half = self._half, ""
        return without_halves(half)


def without_halves(text: str) -> str:
    """A text that can be shown and stored: pairs joined, and U+FFFD for single halves."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
