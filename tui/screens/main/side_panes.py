"""The panes beside the chat: shown, focused and folded away; on a narrow screen they lie over it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

from tui.widgets.prompt_box import PromptBox

if TYPE_CHECKING:
    from textual.screen import Screen
    from textual.widget import Widget

Side = Literal["history", "engine"]


class SidePanes:
    """Two panes by their ids; which of them are there, classes of the screen say to its style sheet."""

    def __init__(self, screen: Screen[None], prompt: PromptBox, on_shown: Callable[[], None]) -> None:
        self._screen = screen
        self._prompt = prompt
        self._on_shown = on_shown

    @property
    def are_over_chat(self) -> bool:
        """Whether one of them lies over the chat."""
        has_class = self._screen.has_class
        return has_class("-narrow") and (has_class("-show-history") or has_class("-show-engine"))

    def is_shown(self, side: Side) -> bool:
        """Whether a pane is on screen."""
        return bool(self._screen.query_one(f"#{side}").display)

    def focus_moved(self) -> None:
        """Beside the chat, the pane with the focus is the one to lie over it should the screen become narrow."""
        focused = self._screen.focused
        if focused is None or self._screen.has_class("-narrow"):
            return
        for side in ("history", "engine"):
            has_focus = self._screen.query_one(f"#{side}") in focused.ancestors_with_self
            self._screen.set_class(has_focus, f"-show-{side}")

    def size_changed(self) -> None:
        """What has the focus comes into sight again."""
        if focused := self._screen.focused:
            self._screen.call_after_refresh(focused.scroll_visible, animate=False)

    def toggle(self, side: Side, target: Widget) -> None:
        """Show a pane and focus a part of it; fold it away where it has the focus."""
        pane, focused = self._screen.query_one(f"#{side}"), self._screen.focused
        if self.is_shown(side) and focused is not None and pane in focused.ancestors_with_self:
            self._screen.remove_class(f"-show-{side}")
            self._screen.set_class(not self._screen.has_class("-narrow"), f"-no-{side}")
            self._prompt.focus()
        else:
            self._show(side, target)

    def go_to(self, side: Side, target: Widget) -> None:
        """Show a pane and focus a part of it; go back where that has the focus."""
        if target.has_focus:
            self.go_back()
        else:
            self._show(side, target)

    def _show(self, side: Side, target: Widget) -> None:
        self._screen.remove_class("-show-history", "-show-engine", f"-no-{side}")
        self._screen.add_class(f"-show-{side}")
        target.focus()
        # It has its place only when the pane is there.
        self._screen.call_after_refresh(target.scroll_visible, animate=False)
        self._on_shown()

    def go_back(self) -> None:
        """Fold a pane away that lies over the chat, and go back to the prompt box."""
        self._screen.remove_class("-show-history", "-show-engine")
        self._prompt.focus()
