"""An entry of a list: a line, and below it, indented, what is to be said of it."""

from __future__ import annotations

from textual.content import Content
from textual.css.styles import RulesMap
from textual.geometry import Spacing
from textual.strip import Strip
from textual.style import Style
from textual.visual import Padding, RenderOptions, Visual

INDENT = 2


class Entry(Visual):
    """What wraps below the first line stays indented."""

    def __init__(self, title: Content, *below: Content) -> None:
        self._parts: list[Visual] = [title, *(Padding(each, Spacing(left=INDENT)) for each in below)]

    def render_strips(self, width: int, height: int | None, style: Style, options: RenderOptions) -> list[Strip]:
        """All lines, as many as height leaves."""
        return [strip for part in self._parts for strip in part.render_strips(width, None, style, options)][:height]

    def get_optimal_width(self, rules: RulesMap, container_width: int) -> int:
        """Cells of the longest line."""
        return max(part.get_optimal_width(rules, container_width) for part in self._parts)

    def get_height(self, rules: RulesMap, width: int) -> int:
        """Lines at a width in cells."""
        return sum(part.get_height(rules, width) for part in self._parts)
