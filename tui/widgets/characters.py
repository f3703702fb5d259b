"""Characters as people see them: a letter with its marks or a family of joined emoji is one, of several code points."""

from __future__ import annotations

from rich.cells import split_graphemes

_LONGEST = 64
"""Code points around the cursor that are looked at: a whole line may be as long as what was pasted."""


def start_before(text: str, at: int) -> int:
    """Where the character before a place begins; 0 at the beginning."""
    if at <= 0 or text[max(at - 2, 0) : at].isascii():
        return max(at - 1, 0)
    first = max(at - _LONGEST, 0)
    return first + _starts(text[first:at])[-1]


def end_after(text: str, at: int) -> int:
    """Where the character behind a place ends; the text's length at its end."""
    if at >= len(text) or text[at : at + 2].isascii():
        return min(at + 1, len(text))
    return at + [*_starts(text[at : at + _LONGEST]), len(text[at : at + _LONGEST])][1]


def _starts(text: str) -> list[int]:
    """Where the characters of a text begin, which is not empty."""
    spans, _width = split_graphemes(text)
    # What joins nothing and has no width belongs to the character before it.
    return [0, *(start for start, _end, width in spans if width and start)]
