"""Which actions of the main screen do something now: only their keys and commands are shown."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from tui.screens.main.parts import Parts
from tui.widgets.prompt_box import PromptBox

if TYPE_CHECKING:
    from textual.screen import Screen


class Usable:
    """When each of them does; those that are not named always do."""

    def __init__(self, screen: Screen[None], parts: Parts) -> None:
        answer, panes = parts.last_answer, parts.side_panes
        self._when: dict[str, Callable[[], bool]] = {
            "go_on": lambda: answer.can_go_on,
            "again": lambda: answer.can_change,
            "edit_message": lambda: answer.can_change,
            "again_here": lambda: answer.is_ours,
            "delete_message": lambda: answer.is_ours,
            "sibling": lambda: answer.is_ours,
            "fork": lambda: answer.can_fork,
            "restart_engine": lambda: parts.engine_shown.can_restart,
            "stop_fetch": lambda: parts.fetches.can_stop,
            "end_search": lambda: parts.sessions.are_searched,
            "stop": lambda: answer.is_under_way and not panes.are_over_chat,
            "back": lambda: panes.are_over_chat or not (answer.is_under_way or isinstance(screen.focused, PromptBox)),
        }

    def does_something(self, action: str) -> bool:
        """Whether it is of any use."""
        when = self._when.get(action)
        return when is None or when()
