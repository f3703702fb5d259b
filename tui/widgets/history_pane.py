"""The left side: search, and the sessions by day, newest first, a page at a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.message import Message
from textual.widgets import Input, OptionList
from textual.widgets.option_list import Option

from tui.services.history import PAGE, Found, History, day_words
from tui.text import safe_line

_NEAR_END = 10
"""So many lines before the last one the next page is read."""


class SessionList(OptionList):
    """The sessions; the arrows move, enter opens."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("j", "cursor_down", "Down", id="history.down", tooltip="The session below", show=False),
        Binding("k", "cursor_up", "Up", id="history.up", tooltip="The session above", show=False),
        Binding("d,delete", "screen.delete_session", "Delete", id="history.delete", tooltip="Delete this session"),
        Binding("slash", "search", "Search", id="history.search", tooltip="Search all sessions", show=False),
    ]

    def action_search(self) -> None:
        """To the search box."""
        self.screen.query_one("#search", Input).focus()

    @property
    def highlighted_session(self) -> str | None:
        """The session that the cursor stands on."""
        option = self.highlighted_option
        return option.id.partition(":")[0] if option is not None and option.id else None


class HistoryPane(Vertical):
    """Search box and list; tells which session the user wants."""

    DEFAULT_CSS = """
    HistoryPane { height: 1fr; }
    HistoryPane > Input { border: none; height: 1; padding: 0 1; margin-bottom: 1; background: $boost; }
    HistoryPane > SessionList { border: none; height: 1fr; padding: 0; background: transparent; }
    HistoryPane > SessionList { scrollbar-size-vertical: 1; text-wrap: nowrap; text-overflow: ellipsis; }
    HistoryPane > SessionList:focus { border: none; }
    """
    HELP = "Enter opens the session, d deletes it. Type in the search box to find words in titles and messages."

    @dataclass
    class Chosen(Message):
        """The user wants to see this session."""

        session_id: str

    def __init__(self) -> None:
        super().__init__()
        self._history: History | None = None
        self._found: list[Found] = []
        self._complete = False
        self._query = ""
        self._current: str | None = None

    def compose(self) -> ComposeResult:
        """Search box and list."""
        search = Input(placeholder="/ search", id="search", compact=True)
        search.cursor_blink = False
        yield search
        yield SessionList(markup=False, id="sessions")

    async def show(self, history: History, current: str | None) -> None:
        """Read the list anew; current: the session that is open."""
        self._history, self._current = history, current
        await self._fill()

    async def _fill(self) -> None:
        assert self._history is not None
        if self._query:
            self._found, self._complete = await self._history.search(self._query), True
        else:
            n_wanted = max(len(self._found), PAGE)
            self._found = await self._history.page()
            while len(self._found) < n_wanted and await self._read_on():
                pass
            self._complete = len(self._found) < PAGE
        self._draw()

    async def _read_on(self) -> bool:
        assert self._history is not None
        page = await self._history.page(self._found[-1].session_id) if self._found else []
        self._found += page
        self._complete = len(page) < PAGE
        return bool(page)

    def _draw(self) -> None:
        sessions = self.query_one(SessionList)
        keep = (sessions.highlighted_session if sessions.has_focus else None) or self._current
        options: list[Option] = []
        heading = ""
        highlighted: int | None = None
        for found in self._found:
            day = "Pinned" if found.pinned else day_words(found.updated_utc)
            if day != heading and not self._query:
                heading = day
                options.append(Option(Content.styled(day, "dim"), disabled=True))
            if found.session_id == keep and highlighted is None:
                highlighted = len(options)
            suffix = f":{found.message_id}" if found.message_id else ""
            options.append(Option(self._line(found), id=f"{found.session_id}{suffix}"))
        if not options:
            nothing = "Nothing found." if self._query else "No sessions yet."
            options.append(Option(Content.styled(nothing, "dim"), disabled=True))
        with self.app.batch_update():
            sessions.clear_options()
            sessions.add_options(options)
            sessions.highlighted = highlighted

    def _line(self, found: Found) -> Content:
        mark = "▸ " if found.session_id == self._current else "  "
        line = Content.assemble(mark, safe_line(found.title) or "Untitled")
        return Content.assemble(line, "\n  ", (safe_line(found.snippet), "dim")) if found.snippet else line

    @on(Input.Changed, "#search")
    def _search(self, event: Input.Changed) -> None:
        event.stop()
        self._query = event.value.strip()
        if self._history is not None:
            self.run_worker(self._fill(), group="history", exclusive=True)

    @on(Input.Submitted, "#search")
    def _to_list(self, event: Input.Submitted) -> None:
        event.stop()
        sessions = self.query_one(SessionList)
        sessions.focus()
        sessions.action_first()

    @on(OptionList.OptionSelected)
    def _choose(self, event: OptionList.OptionSelected) -> None:
        event.stop()
        if event.option_id:
            self.post_message(self.Chosen(event.option_id.partition(":")[0]))

    @on(OptionList.OptionHighlighted)
    def _near_end(self, event: OptionList.OptionHighlighted) -> None:
        event.stop()
        if not self._complete and not self._query and event.option_index >= event.option_list.option_count - _NEAR_END:
            self.run_worker(self._next_page(), group="history", exclusive=True)

    async def _next_page(self) -> None:
        if await self._read_on():
            self._draw()
