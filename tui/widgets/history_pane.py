"""The left side: search, and the sessions by day, newest first, a page at a time."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from textual import on, work
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.message import Message
from textual.widgets import Input, OptionList
from textual.widgets.option_list import Option

from tui.in_order import BEFORE_KEYS
from tui.language import _
from tui.services.history import ALL, PAGE, Found, History, day_words
from tui.widgets.session_list import SearchBox, SessionList, option_id, session_line

_NEAR_END = 10
"""So many lines before the last one the next page is read."""

_MOST_UNSEEN = 5 * PAGE
"""A longer list is read to its end only while the user is in it."""

_FILLING = "history"
"""The group of workers that fill the list."""


class HistoryPane(Vertical):
    """Search box and list; tells which session the user wants. history: what it lists."""

    DEFAULT_CSS = """
    HistoryPane > Input { margin-bottom: 1; background: $foreground 6%; }
    HistoryPane > SessionList { border: none; height: 1fr; padding: 0; background: transparent; }
    HistoryPane > SessionList { scrollbar-size-vertical: 1; text-wrap: nowrap; text-overflow: ellipsis; }
    HistoryPane > SessionList:focus { border: none; }
    """
    HELP = (
        "Enter opens the session; r renames, p pins, a archives, d deletes it, u brings it back. v shows the archived"
        " ones. Type in the search box to find words in titles and messages; enter opens the message,"
        " escape ends the search."
    )

    @dataclass
    class Chosen(Message):
        """The user wants to see this session, at this message where a search found one."""

        session_id: str
        message_id: str | None = None

    @dataclass
    class Listing(Message):
        """The archived sessions are listed, or else the others or what a search finds."""

        archived: bool

    def __init__(self) -> None:
        super().__init__()
        self.history: History | None = None
        self._found: list[Found] = []
        self._drawn: tuple[object, ...] = ()
        self._complete = False
        self._query = ""
        self._current: str | None = None
        self._is_outdated = self._is_reading = False
        self.archived = False

    def compose(self) -> ComposeResult:
        """Search box and list."""
        search = SearchBox(placeholder=_("/ search"), id="search", compact=True)
        search.cursor_blink = False
        yield search
        yield SessionList(markup=False, id="sessions")

    @property
    def highlighted(self) -> Found | None:
        """The line that the cursor stands on."""
        option = self.query_one(SessionList).highlighted_option
        return next((found for found in self._found if option is not None and option_id(found) == option.id), None)

    @property
    def is_searching(self) -> bool:
        """Whether the list has what a search finds, and not all sessions."""
        return bool(self.query_one(SearchBox).value)

    def end_search(self) -> None:
        """List all sessions again."""
        self.query_one(SearchBox).clear()

    async def show(self, current: str | None) -> None:
        """Read the list anew; current: the session that is open."""
        self._current = current
        await self._fill()

    def show_soon(self, current: str | None) -> None:
        """The same, and nobody waits for it: the database may be another program's for a while."""
        self._current = current
        self._draw()
        self._is_outdated = True
        if not self._is_reading:
            self._is_reading = True
            self._read_changes()

    @work
    async def _read_changes(self) -> None:
        try:
            # One after the other, and none is given up for the next: changes may come faster than they are read.
            while self._is_outdated:
                self._is_outdated = False
                await self._fill()
        finally:
            self._is_reading = False

    async def show_archived(self, archived: bool) -> None:
        """Show the archived sessions instead of the others, or these again."""
        self.archived, self._found = archived, []
        await self._fill()

    async def _fill(self) -> None:
        assert self.history is not None
        wanted = query, archived = self._query, self.archived
        n_wanted = max(len(self._found), PAGE)
        if n_wanted > _MOST_UNSEEN and not self.query_one(SessionList).has_focus:
            n_wanted = PAGE
        if query:
            found, n_wanted = await self.history.search(query), ALL
        else:
            found = await self.history.page(limit=n_wanted, archived=archived)
        # The user may have typed on while this was read. What cannot be read stays as it was shown.
        if found is not None and wanted == (self._query, self.archived):
            self._found, self._complete = found, n_wanted == ALL or len(found) < n_wanted
            self._draw()
            self.post_message(self.Listing(archived and not query))

    @work(group=_FILLING, exclusive=True)
    async def _fill_soon(self) -> None:
        await self._fill()

    def _draw(self) -> None:
        drawn = (self._found, self._current, self._query, self.archived)
        if drawn == self._drawn:
            return
        self._drawn = drawn
        sessions = self.query_one(SessionList)
        before = sessions.highlighted_option
        chosen = self.highlighted
        # Whoever comes back from a message that a search found goes on from there.
        is_kept = sessions.has_focus or (chosen is not None and chosen.session_id == self._current)
        keep = (before.id if before is not None and is_kept else None) or self._current
        options: list[Option] = []
        heading = session_id = ""
        highlighted: int | None = None
        for found in self._found:
            day = _("Pinned") if found.pinned else day_words(found.updated_utc)
            if day != heading and not self._query:
                heading = day
                options.append(Option(day, disabled=True))
            if keep in (option_id(found), found.session_id) and highlighted is None:
                highlighted = len(options)
            options.append(
                session_line(found, is_open=found.session_id == self._current, titled=found.session_id != session_id)
            )
            session_id = found.session_id
        if not options:
            options.append(Option(self._nothing(), disabled=True))
        with self.app.batch_update():
            sessions.clear_options()
            sessions.add_options(options)
            sessions.highlighted = highlighted
            if highlighted is None and sessions.has_focus:
                sessions.action_first()

    def _nothing(self) -> str:
        if self._query:
            return _("Nothing found.")
        return _("Nothing is archived.") if self.archived else _("No sessions yet.")

    @on(Input.Changed, "#search")
    def _search(self, event: Input.Changed) -> None:
        event.stop()
        # A space at the end matters: it ends the last word.
        self._query = event.value.lstrip()
        self.screen.refresh_bindings()
        if self.history is not None:
            self._fill_soon()

    @on(Input.Submitted, "#search")
    def _to_list(self, event: Input.Submitted) -> None:
        event.stop()
        # At once, since the keys behind this one are for the list.
        self.screen.set_focus(self.query_one(SessionList))
        self._to_found()

    @work(group=BEFORE_KEYS)
    async def _to_found(self) -> None:
        """To the first that is found for what was typed: an enter that came with it opens that."""
        filling = [worker for worker in self.workers if worker.group == _FILLING and worker.node is self]
        await asyncio.gather(*(worker.wait() for worker in filling), return_exceptions=True)
        self.query_one(SessionList).action_first()

    @on(OptionList.OptionSelected)
    def _choose(self, event: OptionList.OptionSelected) -> None:
        event.stop()
        found = self.highlighted
        if found is not None:
            self.post_message(self.Chosen(found.session_id, found.message_id))

    @on(OptionList.OptionHighlighted)
    def _near_end(self, event: OptionList.OptionHighlighted) -> None:
        event.stop()
        if not self._complete and not self._query and event.option_index >= event.option_list.option_count - _NEAR_END:
            self._next_page()

    @work(group=_FILLING, exclusive=True)
    async def _next_page(self) -> None:
        if self._found:
            await self._read_on(PAGE)

    @on(SessionList.EndWanted)
    def _to_end(self, event: SessionList.EndWanted) -> None:
        event.stop()
        self._read_to_end()

    @work(group=BEFORE_KEYS)
    async def _read_to_end(self) -> None:
        while not (self._complete or self._query) and await self._read_on(ALL):
            pass
        self.query_one(SessionList).show_last()

    async def _read_on(self, limit: int) -> bool:
        """Read what follows what is listed; False where that cannot be read."""
        assert self.history is not None
        found, archived = self._found, self.archived
        page = await self.history.page(found[-1].session_id if found else None, limit=limit, archived=archived)
        # Another list may have been read meanwhile, which does not go on with this.
        if page is not None and self._found is found and archived == self.archived:
            self._found, self._complete = found + page, limit == ALL or len(page) < limit
            self._draw()
        return page is not None
