"""What all parts of the main screen need of it: words for the user, questions, and work that goes on meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from storage.errors import StorageError
from tui.in_order import BEFORE_KEYS
from tui.messages import Trouble
from tui.sentences import reason
from tui.speaking import SpeakingApp
from tui.widgets.status_line import StatusLine

if TYPE_CHECKING:
    from textual.notifications import SeverityLevel
    from textual.screen import Screen
    from textual.worker import WorkType

Result = TypeVar("Result")

WAIT_SHOWN_S = 0.5
"""What takes longer is said to be under way: the database may be another program's for a while."""


class RefusedError(Exception):
    """Something that cannot be done; the message says why and what to do."""


class Interaction:
    """Notes, dialogs and workers of one screen."""

    def __init__(self, screen: Screen[None]) -> None:
        self._screen = screen

    def tell(self, sentence: str, severity: SeverityLevel = "information") -> None:
        """Say something beside the work."""
        self._screen.notify(sentence, severity=severity, markup=False)

    def tell_trouble(self, sentence: str, severity: SeverityLevel = "error") -> None:
        """Say what failed, for as long as it takes to read it."""
        self._screen.notify(sentence, severity=severity, timeout=10, markup=False)

    def show_trouble(self, event: Trouble) -> None:
        """Something failed in a service."""
        self.tell_trouble(event.sentence, event.severity)

    @contextmanager
    def waiting_shown(self, what: str) -> Iterator[None]:
        """Say what is waited for, once that takes long and unless something else is said."""
        status = self._screen.query_one(StatusLine)

        def show() -> None:
            if not status.busy:
                status.show_busy("wait", what)

        hint = asyncio.get_running_loop().call_later(WAIT_SHOWN_S, show)
        try:
            yield
        finally:
            hint.cancel()
            if status.busy_with == "wait":
                status.show_busy("wait", "")

    def take_back(self, sentence: str) -> None:
        """Take the last note that says this from the screen: it is no longer so."""
        self._screen.post_message(SpeakingApp.Outdated(sentence))

    def ask(self, dialog: Screen[Result], then: Callable[[Result | None], None] | None = None) -> None:
        """Show a dialog, and hand on what it returns."""
        self._screen.app.push_screen(dialog, then)

    @property
    def foremost(self) -> Screen[Any]:
        """The screen that has the keys: a dialog, or the one below."""
        return self._screen.app.screen

    def run(self, work: Callable[[], Coroutine[None, None, None]], group: str, *, exclusive: bool = False) -> None:
        """Begin what goes on until the screen ends. exclusive: in place of what goes on, or waits to, in this group."""
        begin: WorkType[None] = work
        self._screen.run_worker(begin, group=group, exclusive=exclusive)

    def do(self, deed: Coroutine[Any, Any, object]) -> None:
        """Let a service do what the user wants before the next key that is not for a text; what goes wrong is said."""
        self.run(partial(self._do, deed), BEFORE_KEYS)

    def begin(self, deed: Coroutine[Any, Any, object]) -> None:
        """The same for what takes its time, and which no key has to wait for."""
        self.run(partial(self._do, deed), "begun")

    async def _do(self, deed: Coroutine[Any, Any, object]) -> None:
        try:
            await deed
        except StorageError as error:
            self.tell_trouble(reason(error))
        except RefusedError as error:
            self.tell(str(error), "warning")

    def keys_changed(self) -> None:
        """Other keys do something now: have the last line show them."""
        self._screen.refresh_bindings()
