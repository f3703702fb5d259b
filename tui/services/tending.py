"""While an answer is written: what comes of it is shown as it comes, and kept safe on disk."""

from __future__ import annotations

import asyncio

from storage import answers
from storage.errors import StorageError
from storage.records import pack_token_ids
from tui.messages import AnswerGrew, Post, Trouble
from tui.sentences import reason
from tui.services import background
from tui.services.answer import CHECKPOINT_PERIOD_S, Answer
from tui.services.store import Store

HURRIED_TEXT, HURRIED_PERIODS = 100, 3
"""While more characters than that come from one time to the next, text is handed to the screen a third as often: that
is many times faster than anybody reads, and each time costs the engine something."""


async def checkpoint(answer: Answer, store: Store) -> None:
    """Have the disk keep what there is of an answer. Raises StorageError."""
    ids = answer.ids
    await store.call(answers.checkpoint_answer, answer.message_id, answer.content, pack_token_ids(ids), len(ids))
    answer.mark_stored(len(ids))


class Tending:
    """The care for one answer, until `end`."""

    def __init__(self, answer: Answer, store: Store, post: Post, show_period_s: float) -> None:
        self._answer = answer
        self._store = store
        self._post = post
        self._show_period_s = show_period_s
        self._tasks = [
            background.begin(self._show_regularly(), "show answer", post),
            background.begin(self._checkpoint_regularly(), "checkpoint answer", post),
        ]

    def end(self) -> None:
        """Show the rest; storing it is left to whoever ends the answer."""
        for task in self._tasks:
            task.cancel()
        self._show()

    async def _show_regularly(self) -> None:
        hurries = False
        while True:
            await asyncio.sleep(self._show_period_s * (HURRIED_PERIODS if hurries else 1))
            hurries = self._show() > HURRIED_TEXT

    def _show(self) -> int:
        """Hand on the text that came since the last time; returns its length."""
        if text := self._answer.take_unshown():
            self._post(AnswerGrew(self._answer.message_id, text, self._answer.candidates))
        return len(text)

    async def _checkpoint_regularly(self) -> None:
        answer, told = self._answer, False
        while True:
            await asyncio.sleep(CHECKPOINT_PERIOD_S)
            if answer.is_stored:
                continue
            try:
                await checkpoint(answer, self._store)
            except StorageError as error:
                if not told:
                    self._post(Trouble(reason(error)))
                told = True
