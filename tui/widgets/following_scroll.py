"""A place to read in that grows: it follows its end unless the reader has scrolled or was brought elsewhere."""

from __future__ import annotations

from typing import Any

from textual.containers import VerticalScroll
from textual.geometry import Size
from textual.reactive import Reactive
from textual.widget import Widget

from tui.widgets.even_lines import EvenLines


class FollowingScroll(EvenLines, VerticalScroll):
    """What is shorter than itself begins at its top."""

    # Our own size does not depend on what is in us: no second arrangement when that grows.
    virtual_size = Reactive(Size(0, 0))

    def __init__(self, *children: Widget, **attributes: Any) -> None:
        super().__init__(*children, **attributes)
        self._goal: Widget | None = None
        # The reader was brought to a goal and has not gone to the end since.
        self._is_elsewhere = False

    def on_mount(self) -> None:
        """Follow the end from the moment on at which there is more than fits."""
        self.watch(self, "virtual_size", self._follow_when_longer, init=False)

    def on_resize(self) -> None:
        """More or less fits now."""
        self._follow_when_longer()

    def _follow_when_longer(self) -> None:
        # An anchored container puts what is shorter than itself at its bottom; a chat begins at the top.
        longer = self.virtual_size.height > self.scrollable_content_region.height
        if longer and self._is_elsewhere and not self.is_anchored:
            # The end is followed once the reader gets there.
            self._anchored = True
            self.release_anchor()
        elif longer != self.is_anchored:
            self.anchor(longer)
            if not longer:
                # At once: later it would take away the end that is followed again by then.
                self.scroll_to(y=0, animate=False, immediate=True)
        if self._goal is not None:
            self._show_goal()

    def _show_goal(self) -> None:
        """Keep a message that was looked for in the middle, until the reader does something."""
        if self._goal is not None:
            self.release_anchor()
            self.call_after_refresh(self.scroll_to_center, self._goal, animate=False)

    def keep_in_middle(self, goal: Widget) -> None:
        """Bring the reader to a part, and let that stay in the middle until the reader does something."""
        self._is_elsewhere = True
        self._goal = goal
        self._show_goal()

    def forget_goal(self) -> None:
        """Keep nothing in the middle any more."""
        self._goal = None

    def follow(self) -> None:
        """Go to the end and stay there, also after the reader had scrolled."""
        self.forget_goal()
        self._is_elsewhere = False
        if self.is_anchored:
            self.anchor()

    def on_key(self) -> None:
        """The reader goes on from what was looked for."""
        self._goal = None

    def on_mouse_scroll_up(self) -> None:
        """The same with the wheel."""
        self._goal = None

    def on_mouse_scroll_down(self) -> None:
        """The same with the wheel."""
        self._goal = None
