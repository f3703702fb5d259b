"""Cuts a stream of bytes into lines, whatever the size of its pieces, with a limit on a line."""

from __future__ import annotations


class LineTooLongError(Exception):
    """A line has grown past the limit without an end in sight."""


class LineSplitter:
    """Collects pieces of a stream; each byte is copied at most twice, however long the line."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._parts: list[bytes] = []
        self._n_bytes = 0

    @property
    def in_line(self) -> bool:
        """Whether a line has begun and not ended."""
        return bool(self._parts)

    def feed(self, piece: bytes) -> list[bytes]:
        """The lines that this piece ends, without their line feed; LineTooLongError when one has no end."""
        *ended, rest = piece.split(b"\n")
        if ended:
            ended[0] = b"".join([*self._parts, ended[0]])
            self._parts = []
            self._n_bytes = 0
        if rest:
            self._parts.append(rest)
            self._n_bytes += len(rest)
        if self._n_bytes > self._limit_bytes:
            raise LineTooLongError
        return ended
