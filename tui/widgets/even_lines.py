"""Containers that draw nothing themselves: all their lines look alike."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual.geometry import Region, Size
from textual.layout import DockArrangeResult
from textual.strip import Strip

if TYPE_CHECKING:
    from textual.widget import Widget
else:
    # Textual takes styles from a class's first base that is a widget.
    Widget = object


class EvenLines(Widget):
    """Renders one line for all of them. Textual renders each anew whenever a container has grown.

    Goes before the widget among a class's bases. Only for containers without borders, padding or titles at top or
    bottom.
    """

    def arrange(self, size: Size, optimal: bool = False) -> DockArrangeResult:
        """Place the children, none of whose heights depends on ours where ours depends on theirs.

        Textual would measure all of them again whenever one has grown, and twice.
        """
        if self.styles.is_auto_height:
            size = Size(size.width, 0)
        return super().arrange(size, optimal)

    def render_line(self, y: int) -> Strip:
        """Nothing on the background."""
        return Strip.blank(self.size.width, self.visual_style.rich_style)

    def render_lines(self, crop: Region) -> list[Strip]:
        """The first line, as often as wanted."""
        return super().render_lines(Region(crop.x, 0, crop.width, 1)) * crop.height
