"""The conversation: what the user does in the open session, and that nothing of it is lost."""

from __future__ import annotations

from storage import answers, sessions, tree
from storage.answer_tokens import answer_tokens
from storage.records import PathMessage
from tui.language import _
from tui.messages import HistoryChanged, PathChanged, SettingsShown, Trouble
from tui.services.answer import Answer, Beginning, is_resumable
from tui.services.writing import Writing
from tui.text import first_line


class Conversation(Writing):
    """Open a session, say something in it, go back to any point of it, leave it."""

    # Opening and leaving

    async def open(self, session_id: str, *, at: str | None = None, keep_typed: bool = False) -> None:
        """Show a stored session instead of the open one, which is left in good order. Raises StorageError.

        at: the message to show, on its branch. keep_typed: what was typed before any session was open belongs to this
        one.
        """
        async with self._lock:
            is_other = self.session is None or self.session.id != session_id
            session = await self._store.call(sessions.get_session, session_id)
            if is_other:
                if self.session is not None or not keep_typed:
                    await self._leave_for_another()
                self._adopt(session)
                await self.claim()
            self.path = await self._path_through(session_id, at)
        draft = self._drafts.text if is_other else None
        shown = PathChanged(self.session, self.path, is_other=True, draft=draft, keeps_typed=keep_typed, at=at)
        self._post(shown)
        self._post(SettingsShown())

    async def _path_through(self, session_id: str, message_id: str | None) -> list[PathMessage]:
        path = await self._store.call(tree.path, session_id)
        if message_id is None or any(item.message.id == message_id for item in path):
            return path
        if self.held_by is not None or self.is_busy:
            return await self._store.call(tree.path_to, message_id)
        await self._store.call(tree.switch_to, message_id)
        return await self._store.call(tree.path, session_id)

    async def new(self, *, for_good: bool = False) -> None:
        """Begin a session; nothing is stored before something is said. for_good: the open one is deleted."""
        async with self._lock:
            await (self._leave() if for_good else self._leave_for_another())
            self.session, self.path = None, []
            self._drafts.take_up("", stored="")
            self.system, self.sampling, self.template = self.defaults.system, self.default_sampling, None
            self._unsaved_sampling = False
            draft = self._drafts.text
        self._post(PathChanged(None, [], is_other=True, draft=draft))
        self._post(SettingsShown())

    async def close(self) -> None:
        """Leave the session with everything stored: the way out of the app, whatever its reason."""
        async with self._lock:
            await self._leave()
            await self._store_kept_drafts()

    async def _leave_for_another(self) -> None:
        """Leave the session while the app goes on, and tell of an answer that this stops."""
        answer = self.answer
        await self._leave()
        last = self.path[-1].message if answer is not None and self.path else None
        if last is None or last.state != "stopped":
            return
        goes_on = _("The answer was stopped. ctrl+g there goes on.")
        writes = _("The answer was stopped. ctrl+r there writes another.")
        self._post(Trouble(goes_on if is_resumable(last) else writes, "information"))

    async def _leave(self) -> None:
        self._set_waiting(False)
        await self._end_answer()
        await self._stop_saving()
        await self._keep_draft()
        await self._release()

    async def refresh(self) -> bool:
        """Another app has written in the database: show what it has written in this session; False: not now."""
        if self.session is None:
            return True
        if self.is_busy or self._lock.locked():
            return False
        async with self._lock:
            if await self._part_from_deleted():
                self._post(PathChanged(None, [], is_other=True, draft=self._drafts.text, keeps_typed=True))
                self._post(
                    Trouble(_("This session was deleted elsewhere. What is typed here begins a new one."), "warning")
                )
                return True
            if self.held_by is not None:
                await self.claim()
            before = (self.session, self.path)
            await self._read()
            if (self.session, self.path) != before:
                self._post(PathChanged(self.session, self.path))
        return True

    # What the user does

    async def send(self, text: str) -> bool:
        """Store the user's message and have it answered; False, with nothing done, while an answer is under way."""
        async with self._lock:
            if self.is_busy:
                return False
            self._refuse_held()
            session = self.session or await self._create(first_line(text))
            await self._store.call(tree.append_message, session.id, self._head_id(), "user", text)
            self._drafts.clear()
            await self._save()
            await self._show_path()
            self._post(HistoryChanged())
            await self._answer_last()
        return True

    async def answer_again(self, message_id: str | None = None) -> bool:
        """Write another answer in the place of an earlier one, or to an earlier message; None: the last one."""
        async with self._lock:
            if self.is_busy or self.session is None or not self.path:
                return False
            self._refuse_held()
            last = self.path[-1].message
            here = [last.id, last.parent_id] if last.role == "assistant" else [last.id]
            if message_id is not None and message_id not in here:
                self.path = await self._store.call(tree.path_to, message_id)
            await self._answer_last()
        return True

    async def edit(self, message_id: str, text: str) -> bool:
        """Write another version of a message beside it; one of the user's is answered anew."""
        async with self._lock:
            if self.is_busy:
                return False
            self._refuse_held()
            message = await self._store.call(tree.edit_message, message_id, text)
            await self._show_path()
            self._post(HistoryChanged())
            if message.role == "user":
                await self._answer_last()
        return True

    async def fork(self, message_id: str | None = None) -> None:
        """Copy the session up to a message (None: all of the shown branch) into one of its own, and open that."""
        if self.session is None or not self.path:
            return
        last = message_id or self.path[-1].message.id
        forked = await self._store.call(tree.fork_session, self.session.id, last)
        self._post(HistoryChanged())
        if self.held_by is not None:
            # The one that is left could not keep what was typed in it.
            self._drafts.hand_over(forked.id)
        await self.open(forked.id)

    async def delete_message(self, message_id: str) -> None:
        """Delete a message and all that follows it, in all branches."""
        async with self._lock:
            if self.is_busy or self.session is None:
                return
            self._refuse_held()
            await self._store.call(tree.delete_message, message_id)
            await self._show_path()
        self._post(HistoryChanged())

    async def go_on(self) -> bool:
        """Continue the last answer where it was cut short, with the same tokens."""
        async with self._lock:
            if not (self.can_go_on and self._engine.is_ready):
                return False
            self._refuse_held()
            last = self.path[-1].message
            kept = await self._store.call(answer_tokens, last.id)
            asked = self.path[:-1]
            await self._store.call(answers.resume_answer, last.id)
            await self._show_path()
            await self._write(Answer.going_on(last, kept), asked)
        return True

    async def branch(self, beginning: Beginning) -> bool:
        """Write another answer beside the last one, which begins as that did up to a token of the user's choice.

        False, with nothing done, while an answer is under way or no model is ready.
        """
        async with self._lock:
            if self.is_busy or not self.path or not self._engine.is_ready:
                return False
            self._refuse_held()
            await self._answer_last(beginning)
        return True

    async def switch_sibling(self, message_id: str | None, step: int) -> None:
        """Show the version so many places on from the one of a message that is shown by then; None: of the last one."""
        async with self._lock:
            if message_id is None:
                message_id = next((item.message.id for item in reversed(self.path) if item.sibling_count > 1), None)
            if self.is_busy or message_id is None:
                return
            siblings = [sibling.id for sibling in await self._store.call(tree.siblings, message_id)]
            shown = next((item.message.id for item in self.path if item.message.id in siblings), message_id)
            at = siblings.index(shown) + step
            if 0 <= at < len(siblings):
                self._refuse_held()
                await self._store.call(tree.switch_to, siblings[at])
                await self._show_path()

    async def set_system(self, text: str) -> None:
        """Give the session another system prompt, from its next answer on."""
        self._refuse_held()
        self.system = text
        if self.session is not None:
            await self._store.call(sessions.set_system, self.session.id, text)
        self._post(SettingsShown())

    async def set_template(self, name: str | None) -> None:
        """Have the session's conversation written in another family's format, None for the model's own."""
        self._refuse_held()
        self.template = name
        if (session := self.session) is not None:
            async with self._lock:
                await self._store.call(sessions.set_template, session.id, name)
                await self._show_again(session.id)

    async def rename(self, title: str) -> None:
        """Give the session the user's own title."""
        if (session := self.session) is not None and title:
            async with self._lock:
                await self._store.call(sessions.rename_session, session.id, title)
                await self._show_again(session.id)
            self._post(HistoryChanged())

    async def _show_again(self, session_id: str) -> None:
        """Show a session as it is now, unless it was left while its change had to wait."""
        if self.session is not None and self.session.id == session_id:
            await self._show_path()
