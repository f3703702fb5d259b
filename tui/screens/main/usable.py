"""Which actions of the main screen do something now, and in which words: only their keys and commands are shown."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from textual.binding import ActiveBinding

from tui.language import N_
from tui.screens.main.parts import Parts
from tui.screens.spoken_keys import shown_as
from tui.widgets.prompt_box import PromptBox
from tui.widgets.transcript import Transcript

if TYPE_CHECKING:
    from textual.screen import Screen


class Usable:
    """When each of them does; those that are not named always do."""

    def __init__(self, screen: Screen[None], parts: Parts) -> None:
        self._parts = parts
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

    def in_words_of_now(self, active: ActiveBinding) -> ActiveBinding:
        """The same key, with words for what it does now."""
        match active.binding.id:
            case "model.choose" if self._parts.engine_shown.lacks_model:
                # Without a model, the way to one is what matters.
                return shown_as(active, N_("model"))
            case "candidates.take" if self._parts.candidates.is_unread:
                return shown_as(active, N_("read"), N_("Have the rest of this session read"))
            case "chat.copy_code" if isinstance(active.node, Transcript) and not active.node.has_code:
                # Whoever presses it all the same is told that there is none.
                return active._replace(binding=replace(active.binding, show=False))
        return active
