"""Keeps what people type from becoming a conversation's structure: special tokens inside a message stay plain text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

_PRIVATE_USE = range(0xE000, 0xF900)


def unused_mark(texts: Sequence[str]) -> str:
    """A private-use character that is in none of the texts."""
    used = set().union(*texts)
    return next(char for code in _PRIVATE_USE if (char := chr(code)) not in used)


def defuse(content: str, marker_texts: Iterable[str], mark: str) -> str:
    """The content with the mark inside every marker, so that none is found there; removing the mark restores it."""
    for text in marker_texts:
        if len(text) > 1 and text in content:
            content = content.replace(text, text[0] + mark + text[1:])
    return content


def restore(parts: Iterable[str | int], mark: str) -> list[str | int]:
    """Parts without the mark, after special tokens have been split off."""
    return [part if isinstance(part, int) else part.replace(mark, "") for part in parts]
