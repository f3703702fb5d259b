"""Code as it is drawn: with its tabs, and with lines that are too long going on below, behind a mark."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from rich.cells import cell_len, chop_cells
from textual.content import Content, _FormattedLine  # not exported; Textual is pinned
from textual.css.styles import RulesMap
from textual.selection import Selection
from textual.style import Style

GOES_ON = "↳ "
_MARK = Content.styled(GOES_ON, "dim")

_MOST_CODES = 3
"""As many code points are looked at for each cell of a row: a letter and its marks, or a family of joined emoji."""


class CodeText(Content):
    """Content whose lines break where they must rather than between words, so that no space is lost.

    What is selected and copied is the text itself, without marks.
    """

    def get_height(self, rules: RulesMap, width: int) -> int:
        """Count the lines."""
        return len(self._wrap_and_format(width))

    def _wrap_and_format(
        self,
        width: int,
        *_args: Any,
        selection: Selection | None = None,
        selection_style: Style | None = None,
        post_style: Style | None = None,
        get_style: Callable[..., Style] = Style.parse,
        **_rules: Any,
    ) -> list[_FormattedLine]:
        drawn = []
        for y, line in enumerate(self.split(allow_blank=True)):
            if post_style is not None:
                line = line.stylize(post_style)
            if selection is not None and selection_style is not None and (span := selection.get_span(y)) is not None:
                start, end = span
                line = line.stylize(selection_style, start, len(line.plain) if end == -1 else end)
            line = line.expand_tabs()
            starts = list(_breaks(line.plain, width))
            first, *rest = line.divide(starts) if starts else [line]
            drawn.append(_FormattedLine(get_style, first, width, 0, y))
            for start, part in zip(starts, rest, strict=True):
                # The mark has no place in the text: what is behind it begins where it does.
                drawn.append(_FormattedLine(get_style, _MARK + part, width, start - len(GOES_ON), y))
        return drawn


def _breaks(line: str, width: int) -> Iterator[int]:
    """Where the rows of a line begin, but the first: behind a space in the half before, or where a row is full.

    Neither indentation nor the inside of a character with its marks is a place to break at.
    """
    start, room = 0, max(width, 1)
    most = 1 if line.isascii() else _MOST_CODES
    while True:
        ahead = line[start : start + room * most]
        if start + len(ahead) == len(line) and cell_len(ahead) <= room:
            return
        fitting = chop_cells(ahead, room)
        full = start + max(len(next(filter(None, fitting), "")), 1)
        while full < len(line) and not cell_len(line[full]):
            full += 1
        behind = line.rfind(" ", (start + full) // 2, full) + 1
        start = behind if line[start:behind].strip() else full
        if start >= len(line):
            return
        yield start
        room = max(width - len(GOES_ON), 2)
