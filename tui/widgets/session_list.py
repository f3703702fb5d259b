"""What the history is made of: the list of sessions, a line for each, and the box to search in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.content import Content
from textual.message import Message
from textual.widgets import Input, OptionList
from textual.widgets.option_list import Option

from tui.language import _
from tui.services.history import Found
from tui.text import safe_line, safe_text
from tui.widgets.boxes import LineBox

_END_SEARCH = Binding(
    "escape", "screen.end_search", "clear", id="search.end", tooltip="End the search: all sessions again"
)


class SessionList(OptionList):
    """The sessions; the arrows move, enter opens."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "select", "Open", id="history.open", tooltip="Open this session"),
        Binding("j", "cursor_down", "Down", id="history.down", tooltip="The session below", show=False),
        Binding("k", "cursor_up", "Up", id="history.up", tooltip="The session above", show=False),
        Binding("slash", "search", "Search", id="history.search", tooltip="Search all sessions", show=False),
        _END_SEARCH,
        Binding("r", "screen.rename_session", "Rename", id="history.rename", tooltip="Give this session a title"),
        Binding("p", "screen.pin_session", "Pin", id="history.pin", tooltip="Keep this session on top, or no longer"),
        Binding(
            "a", "screen.archive_session", "Archive", id="history.archive", tooltip="Put this session away, or back"
        ),
        Binding("d,delete", "screen.delete_session", "Delete", id="history.delete", tooltip="Delete this session"),
        Binding(
            "u",
            "screen.restore_session",
            "Undo",
            id="history.undo",
            tooltip="Bring the deleted session back",
            show=False,
        ),
        Binding(
            "v", "screen.show_archived", "Archived", id="history.archived", tooltip="Archived ones, or the others again"
        ),
    ]

    @dataclass
    class EndWanted(Message):
        """The user wants to see the last one, which may not be read yet."""

    def on_focus(self) -> None:
        """Keys mean the session under the cursor, so there is always one."""
        if self.highlighted is None:
            self.action_first()

    def action_last(self) -> None:
        """To the last of all sessions."""
        self.post_message(self.EndWanted())

    def action_cursor_up(self) -> None:
        """To the session above; from the first one to the last."""
        before = self.highlighted
        super().action_cursor_up()
        if before is not None and self.highlighted is not None and self.highlighted > before:
            self.action_last()

    def show_last(self) -> None:
        """To the last one that is listed."""
        super().action_last()

    def action_search(self) -> None:
        """To the search box."""
        # At once: the keys behind this one are for the box.
        self.screen.set_focus(self.screen.query_one("#search", Input))


class SearchBox(LineBox):
    """What to look for; the list below follows while it is typed."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "submit", "Results", id="search.list", tooltip="To the sessions found"),
        Binding("down", "submit", id="search.down", tooltip="To the sessions found", show=False),
        _END_SEARCH,
    ]


def session_line(found: Found, *, is_open: bool, titled: bool) -> Option:
    """The session's title, unless a line above has it, and what a search found in its message."""
    mark = "▸ " if is_open else "  "
    title = [Content.assemble(mark, safe_line(found.title) or _("Untitled"))] if titled else []
    snippet = [Content.assemble("    ", _snippet(found))] if found.snippet else []
    return Option(Content("\n").join(title + snippet), id=option_id(found))


def option_id(found: Found) -> str:
    """What tells a line of the list from the others."""
    return f"{found.session_id}:{found.message_id}" if found.message_id else found.session_id


def _snippet(found: Found) -> Content:
    """The text around what was found, the words themselves in bold, the first of them where it is seen."""
    text = safe_text(found.snippet)
    content = Content.styled(text, "dim")
    # Making a text safe may change its length; then the places are not those any more.
    for start, end in found.matches if len(text) == len(found.snippet) else ():
        content = content.stylize("not dim bold", start, end)
    first = found.matches[0][0] if found.matches else 0
    return Content.assemble("…", content[first - 8 :]) if first > 12 else content
