"""Keys and what they do: headings, and below each two columns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import zip_longest
from typing import ClassVar

from rich.cells import cell_len
from textual.app import RenderResult
from textual.content import Content
from textual.geometry import Size
from textual.widget import Widget

_WIDEST_KEYS = 22
_BETWEEN = "  "


class KeyTable(Widget):
    """groups: under each heading, what is done, and the keys for it; a text that does not fit goes on in its column."""

    DEFAULT_CSS = """
    KeyTable { height: auto; width: 1fr; }
    KeyTable > .key-table--key { color: $text-accent; }
    """
    COMPONENT_CLASSES: ClassVar[set[str]] = {"key-table--key"}

    def __init__(self, groups: Mapping[str, Mapping[str, Sequence[str]]]) -> None:
        super().__init__()
        self._groups = {
            heading: [(", ".join(keys), text) for text, keys in lines.items()]
            for heading, lines in groups.items()
            if lines
        }

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        """The lines at this width."""
        return len(list(self._lines(width)))

    def render(self) -> RenderResult:
        """All lines."""
        return Content("\n").join(self._lines(self.content_size.width))

    def _lines(self, width: int) -> Iterator[Content]:
        longest = max((cell_len(keys) for lines in self._groups.values() for keys, _text in lines), default=0)
        column = min(longest, _WIDEST_KEYS, max(width // 2, 1))
        for heading, lines in self._groups.items():
            yield Content("")
            yield Content.styled(heading, "bold")
            for keys, text in lines:
                left = Content.styled(keys, ".key-table--key").wrap(column)
                right = Content(text).wrap(max(width - column - len(_BETWEEN), 1))
                for key, words in zip_longest(left, right, fillvalue=Content("")):
                    key = key.rstrip()
                    yield Content.assemble(key.pad_right(column - key.cell_length), _BETWEEN, words)
