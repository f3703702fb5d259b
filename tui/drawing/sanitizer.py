"""The last border before the terminal: whatever a widget draws, nothing that a terminal would obey leaves with it.

Widgets make text from elsewhere visible (tui/text.py), where it takes room. Here it is late for that: what one of them
forgot is left away, so that no line becomes longer than the screen.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from rich.cells import cell_len
from rich.segment import Segment
from textual.color import Color
from textual.filter import LineFilter

from tui.text import UNSAFE

_OBEYED = re.compile(f"{UNSAFE.pattern}|[\n\t]")


class Sanitizer(LineFilter):
    """Takes control characters and bidirectional overrides out of drawn lines."""

    def apply(self, segments: list[Segment], background: Color) -> list[Segment]:
        """The line without them; it keeps its width."""
        if all(segment.text.isprintable() for segment in segments):
            return segments
        return list(_without(segments))


def _without(segments: Iterable[Segment]) -> Iterable[Segment]:
    for text, style, control in segments:
        yield Segment(_OBEYED.sub(_of_same_width, text), style, control)


def _of_same_width(found: re.Match[str]) -> str:
    return "\N{REPLACEMENT CHARACTER}" * cell_len(found[0])
