"""Characters as people see them: a letter with its marks or a family of joined emoji is one, of several code points."""

from __future__ import annotations

from rich.cells import split_graphemes
from textual.expand_tabs import get_tab_widths

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


def start_of(text: str, at: int) -> int:
    """Where the character begins that a place is within; the place itself where it is between two."""
    start = start_before(text, at)
    return start if end_after(text, start) > at else at


def end_of(text: str, at: int) -> int:
    """Where the character ends that a place is within; the place itself where it is between two."""
    return max(end_after(text, start_before(text, at)), at) if at else at


def column_at(text: str, cells: int, tab_width: int) -> int:
    """Where the character begins that is drawn so many cells from the beginning of a line; the line's length behind it.

    In the words of Textual's cell_width_to_column_index, which goes by code points.
    """
    if text.isascii() and text.isprintable():
        return min(cells, len(text))
    column = drawn = 0
    for part, tab_cells in get_tab_widths(text, tab_width):
        for start, _end, width in split_graphemes(part)[0]:
            drawn += width
            if drawn > cells:
                return column + start
        column += len(part)
        drawn += tab_cells
        if drawn > cells:
            return column
        column += 1
    return len(text)


def _starts(text: str) -> list[int]:
    """Where the characters of a text begin, which is not empty."""
    spans, _width = split_graphemes(text)
    # What joins nothing and has no width belongs to the character before it.
    return [0, *(start for start, _end, width in spans if width and start)]
