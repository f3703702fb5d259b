"""An app in which keys act in the order in which they came, wherever each is bound and wherever it moves the focus.

Textual hands all keys of one read to the widget that has the focus by then. What the widget leaves goes up through the
queues of its parents, and acts when it has come to the app: the keys behind it are where the focus was before.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from textual import events
from textual.app import App, ScreenStackError
from textual.message_pump import MessagePump
from textual.widget import Widget
from textual.widgets import Input, TextArea
from textual.worker import Worker

from tui.widgets.boxes import AfterKeys, BoxKeys, Returned

ACTING_LIMIT_S = 10.0
"""A key waits so long until the one before it has acted. That takes milliseconds, unless the machine is very busy."""

DEEDS_LIMIT_S = 2.0
"""What it may be about has so long from its beginning: storing takes milliseconds too, unless the disk hangs."""

BEFORE_KEYS = "before keys"
"""A group of workers: a key that is not for the text of a box waits for what they do."""


class OrderlyApp(App[int]):
    """An app that hands on a key once the one before it has acted and the focus is where that leaves it.

    What a key begins and need not be done for the next one, like opening a model, holds up nothing.
    """

    def __init__(self) -> None:
        super().__init__()
        self._came: deque[events.Event | AfterKeys] = deque()
        self._waiting: asyncio.Task[None] | None = None
        self._is_ours = asyncio.Event()
        self._is_ours.set()

    def hold_keys(self) -> None:
        """Let what comes wait: another program gets the terminal, and whoever gives it that lets keys go on after."""
        self._is_ours.clear()

    def let_keys_go_on(self) -> None:
        """Have act what came meanwhile."""
        self._is_ours.set()

    @contextmanager
    def suspend(self) -> Iterator[None]:
        """Give the terminal to another program; keys that came before act when it is ours again."""
        self.hold_keys()
        try:
            with super().suspend():
                yield
        finally:
            self.let_keys_go_on()

    async def on_event(self, event: events.Event) -> None:
        """Have what the user does wait for its turn."""
        if not isinstance(event, events.InputEvent | events.Paste) or event.is_forwarded:
            await super().on_event(event)
            return
        self._came.append(event)
        if self._waiting is None:
            await self._go_on()

    def on_returned(self, message: Returned) -> None:
        """Hand a key on to who has the focus now, before those that came behind it."""
        self._came.appendleft(message.event)

    async def on_after_keys(self, message: AfterKeys) -> None:
        """Have something done in its turn."""
        self._came.append(message)
        if self._waiting is None:
            await self._go_on()

    async def _go_on(self, *, has_waited: bool = False) -> None:
        self._waiting = None
        while self._came and self._waiting is None:
            if not self.screen_stack:
                # The app has been left meanwhile: there is nobody to hand it on to.
                self._came.clear()
                return
            if not self._is_ours.is_set():
                self._wait_for(self._is_ours.wait())
                return
            event = self._came[0]
            if not (has_waited or self._stays_in_box(event) or isinstance(event, events.MouseEvent)):
                self._wait_for(self._ready_for(event), has_waited=True)
                return
            has_waited = False
            self._came.popleft()
            if isinstance(event, AfterKeys):
                event.do()
                continue
            stays = self._stays_in_box(event)
            await super().on_event(event)
            if isinstance(event, events.Key | events.Paste) and not stays:
                self._wait_for(self._acted(self.focused or self.screen))

    def _stays_in_box(self, event: events.Event | AfterKeys) -> bool:
        """Whether it is only for the text of a box: the box's queue keeps such keys in order."""
        return isinstance(event, events.Key) and isinstance(self.focused, BoxKeys) and self.focused.keeps(event)

    def _wait_for(self, what: Coroutine[Any, Any, object], *, has_waited: bool = False) -> None:
        async def wait() -> None:
            with suppress(TimeoutError, ScreenStackError):
                await asyncio.wait_for(what, ACTING_LIMIT_S)
            await self._is_ours.wait()
            self.call_later(self._go_on, has_waited=has_waited)

        self._waiting = asyncio.create_task(wait(), name="keys wait")

    async def _ready_for(self, event: events.Event | AfterKeys) -> None:
        """Wait until what was typed before is written, and a key that may be about what was begun comes behind it."""
        await _worked_off(self.focused or self.screen)
        # What hangs holds up the keys that come soon, and none of those behind them.
        begun = [worker for worker in self.workers if worker.group == BEFORE_KEYS and not worker.is_finished]
        deeds = {worker: left_s for worker in begun if (left_s := DEEDS_LIMIT_S - _age_s(worker)) > 0}
        if not deeds or not isinstance(event, events.Key):
            return
        bound = self.screen.active_bindings.get(event.key)
        if isinstance(self.focused, Input | TextArea) and bound is not None and bound.node is self.focused:
            return
        done = asyncio.gather(*(deed.wait() for deed in deeds), return_exceptions=True)
        # Whoever waits for a worker no longer would cancel it.
        with suppress(TimeoutError):
            await asyncio.wait_for(asyncio.shield(done), max(deeds.values()))

    async def _acted(self, target: Widget) -> None:
        """Wait until a key has done what it does where it was handed to, or above, and the focus stays."""
        is_first = True
        while True:
            before = self.screen, self.focused
            # The key itself goes this way, and what it has a widget tell. Whoever is told may tell something in turn.
            for node in target.ancestors_with_self:
                await _worked_off(node)
            target = self.focused or self.screen
            if (self.screen, self.focused) == before and not is_first:
                return
            is_first = False


def _age_s(worker: Worker[Any]) -> float:
    """How long ago it began."""
    return time.monotonic() - worker._created_time


async def _worked_off(node: MessagePump) -> None:
    """Wait until a node has dealt with what is in its queue; one that is not mounted yet is so then."""
    reached = asyncio.Event()
    if node.call_later(reached.set):
        await reached.wait()
