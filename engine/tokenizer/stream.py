"""Bytes of tokens to whole characters, as they come."""

from __future__ import annotations

import codecs


class TextStream:
    """Holds back the beginning of a character until the rest of it has come; invalid bytes become U+FFFD."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def feed(self, data: bytes) -> str:
        """The characters that are whole now."""
        return self._decoder.decode(data)

    def flush(self) -> str:
        """What is left at the end: U+FFFD if half a character is."""
        return self._decoder.decode(b"", final=True)
