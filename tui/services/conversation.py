"""The conversation: what the user does in the open session."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from engine.protocol import Sampling
from storage import answers, sessions, tree
from storage.answer_tokens import answer_tokens
from storage.errors import StorageError
from tui.messages import HistoryChanged, Post, SettingsShown, Trouble
from tui.sentences import reason
from tui.services import background
from tui.services.answer import Answer, Beginning
from tui.services.claim import Claim
from tui.services.engine_session import EngineSession
from tui.services.open_session import OpenSession
from tui.services.saving import Saving
from tui.services.store import Store
from tui.services.writing import Writing
from tui.text import first_line


class Conversation:
    """Say something in the session, go back to any point of it, change it: one thing after the other."""

    def __init__(
        self,
        store: Store,
        engine: EngineSession,
        open_session: OpenSession,
        claim: Claim,
        saving: Saving,
        writing: Writing,
        post: Post,
    ) -> None:
        self._store = store
        self._engine = engine
        self._open = open_session
        self._claim = claim
        self._saving = saving
        self._writing = writing
        self._post = post
        self._answering: asyncio.Task[None] | None = None

    # The model

    def model_ready(self) -> None:
        """A model is open: take over what it recommends, and have it answer what waits."""
        card = self._engine.card
        if self._open.take_recommended(card.sampling if card else Sampling()):
            self.set_sampling(self._open.default_sampling)
            self._post(SettingsShown())
        if self._writing.waiting:
            self._answering = background.begin(self._answer_waiting(), "answer what waits", self._post)

    async def _answer_waiting(self) -> None:
        async with self._open.lock:
            if (path := self._writing.take_waiting()) is not None:
                with self._trouble_told():
                    await self._writing.begin(path)

    @contextmanager
    def _trouble_told(self) -> Iterator[None]:
        try:
            yield
        except StorageError as error:
            self._post(Trouble(reason(error)))

    # What the user does

    async def send(self, text: str, on_said: Callable[[], None] = lambda: None) -> bool:
        """Store the user's message and have it answered; False, with nothing done, while an answer is under way.

        on_said: called as soon as it is stored, which may be long before it is answered.
        """
        return await background.to_the_end(self._send(text, on_said))

    async def _send(self, text: str, on_said: Callable[[], None]) -> bool:
        async with self._open.lock:
            if self._writing.is_busy:
                return False
            self._claim.check(self._open.id)
            session = self._open.session or await self._open.create(first_line(text))
            await self._store.call(tree.append_message, session.id, self._open.head_id, "user", text)
            # It is said now: what goes wrong from here on is no reason to say it again.
            on_said()
            with self._trouble_told():
                await self._saving.save_sent()
                await self._open.show()
                self._post(HistoryChanged())
                await self._writing.begin(self._open.path)
        return True

    async def answer_again(self, message_id: str | None = None) -> bool:
        """Write another answer in the place of an earlier one, or to an earlier message; None: the last one."""
        async with self._open.lock:
            if self._writing.is_busy or self._open.session is None or not self._open.path:
                return False
            self._claim.check(self._open.id)
            last = self._open.path[-1].message
            here = [last.id, last.parent_id] if last.role == "assistant" else [last.id]
            path = self._open.path
            if message_id is not None and message_id not in here:
                path = await self._store.call(tree.path_to, message_id)
            await self._writing.begin(path)
        return True

    async def edit(self, message_id: str, text: str) -> bool:
        """Write another version of a message beside it; one of the user's is answered anew."""
        return await background.to_the_end(self._edit(message_id, text))

    async def _edit(self, message_id: str, text: str) -> bool:
        async with self._open.lock:
            if self._writing.is_busy:
                return False
            self._claim.check(self._open.id)
            message = await self._store.call(tree.edit_message, message_id, text)
            with self._trouble_told():
                await self._open.show()
                self._post(HistoryChanged())
                if message.role == "user":
                    await self._writing.begin(self._open.path)
        return True

    async def delete_message(self, message_id: str) -> None:
        """Delete a message and all that follows it, in all branches."""
        async with self._open.lock:
            if self._writing.is_busy or self._open.session is None:
                return
            self._claim.check(self._open.id)
            await self._store.call(tree.delete_message, message_id)
            await self._open.show()
        self._post(HistoryChanged())

    async def go_on(self) -> bool:
        """Continue the last answer where it was cut short, with the same tokens; another model does from its text."""
        async with self._open.lock:
            if not (self._writing.can_go_on and self._engine.is_ready):
                return False
            self._claim.check(self._open.id)
            last = self._open.path[-1].message
            kept = await self._store.call(answer_tokens, last.id)
            asked = self._open.path[:-1]
            await self._store.call(answers.resume_answer, last.id)
            card = self._engine.card
            await self._writing.write(Answer.going_on(last, kept, card.name if card else ""), asked)
        return True

    async def branch(self, beginning: Beginning) -> bool:
        """Write another answer beside the last one, which begins as that did up to a token of the user's choice.

        False, with nothing done, while an answer is under way or no model is ready.
        """
        async with self._open.lock:
            if self._writing.is_busy or not self._open.path or not self._engine.is_ready:
                return False
            self._claim.check(self._open.id)
            await self._writing.begin(self._open.path, beginning)
        return True

    async def switch_sibling(self, message_id: str | None, step: int) -> None:
        """Show the version so many places on from the one of a message that is shown by then; None: of the last one."""
        async with self._open.lock:
            if message_id is None:
                message_id = next(
                    (item.message.id for item in reversed(self._open.path) if item.sibling_count > 1), None
                )
            if self._writing.is_busy or message_id is None:
                return
            siblings = [sibling.id for sibling in await self._store.call(tree.siblings, message_id)]
            shown = next((item.message.id for item in self._open.path if item.message.id in siblings), message_id)
            at = siblings.index(shown) + step
            if 0 <= at < len(siblings):
                self._claim.check(self._open.id)
                await self._store.call(tree.switch_to, siblings[at])
                await self._open.show()

    def set_sampling(self, sampling: Sampling) -> None:
        """Choose the next token otherwise, from now on: in the running answer and in the session."""
        self._open.choose(sampling)
        self._writing.tune(sampling)
        self._saving.soon()

    async def set_system(self, text: str) -> None:
        """Give the session another system prompt, from its next answer on."""
        self._claim.check(self._open.id)
        await self._open.set_system(text)

    async def set_template(self, name: str | None) -> None:
        """Have the session's conversation written in another family's format, None for the model's own."""
        self._claim.check(self._open.id)
        await self._open.set_template(name)

    async def rename(self, title: str) -> None:
        """Give the session the user's own title."""
        if self._open.session is not None and title:
            self._open.take_changed(await self._store.call(sessions.rename_session, self._open.session.id, title))
            self._post(HistoryChanged())
