"""The open session: what is said in it, the answer being written, and that nothing of either is lost."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import msgspec

from engine.protocol import (
    ChatMessage,
    ChatPrompt,
    EngineDied,
    Failed,
    Finished,
    Generate,
    PromptProgress,
    Sampling,
    Token,
)
from storage import answers, sessions, tree
from storage.errors import StorageError
from storage.records import FinalState, PathMessage, Session
from tui.messages import (
    AnswerBegan,
    AnswerEnded,
    AnswerGrew,
    AnswerWaits,
    HistoryChanged,
    PathChanged,
    SettingsShown,
    Trouble,
)
from tui.services.answer import Answer, is_resumable, token_bytes
from tui.services.engine_session import AnswerEvent, EngineSession, Post
from tui.services.store import Store
from tui.text import first_line

CHECKPOINT_PERIOD_S = 1.0
"""How much of an answer a kill -9 may cost."""

SAVE_DELAY_S = 0.4
"""Drafts and settings are written once the user pauses for so long, and whenever the session is left."""

STOP_WAIT_S = 3.0
"""How long leaving a session waits for the engine to end the answer: more than one token of the largest model takes."""

_STATES: dict[str, FinalState] = {"stop": "complete", "length": "complete", "stopped": "stopped", "failed": "failed"}


@dataclass(frozen=True)
class Defaults:
    """What a new session begins with. sampling_for: the user's settings on top of a model's recommended ones."""

    system: str
    sampling_for: Callable[[Sampling], Sampling]


class Conversation:
    """One session open at a time, None while nothing was said in it yet; it is stored with its first message."""

    def __init__(
        self, store: Store, engine: EngineSession, post: Post, defaults: Defaults, show_period_s: float
    ) -> None:
        self._store = store
        self._engine = engine
        self._post = post
        self._show_period_s = show_period_s
        self._lock = asyncio.Lock()
        self._answer_over = asyncio.Event()
        self._answer_over.set()
        self._tending: list[asyncio.Task[None]] = []
        self._saving: asyncio.Task[None] | None = None
        self._starting: asyncio.Task[None] | None = None
        self._unsaved_draft = False
        self._unsaved_sampling = False
        self._draft = ""
        self.defaults = defaults
        self.n_candidates = 0
        self.session: Session | None = None
        self.path: list[PathMessage] = []
        self.answer: Answer | None = None
        self.waiting = False
        self.is_cut_off = False
        self.system = defaults.system
        self.default_sampling = self.sampling = defaults.sampling_for(Sampling())
        engine.on_answer = self._take
        engine.on_ready = self._model_ready

    # Opening and leaving

    async def open(self, session_id: str, *, keep_typed: bool = False) -> None:
        """Show a stored session instead of the open one, which is left in good order. Raises StorageError.

        keep_typed: what was typed before any session was open belongs to this one.
        """
        async with self._lock:
            session = await self._store.call(sessions.get_session, session_id)
            typed = self._draft if keep_typed and self.session is None else ""
            if typed:
                self._draft = ""
            await self._leave()
            self._adopt(session)
            if typed:
                self._draft, self._unsaved_draft = typed, True
                self._save_soon()
            self.path = await self._store.call(tree.path, session_id)
        self._post(PathChanged(self.session, self.path, is_other=True, draft=None if typed else self._draft))
        self._post(SettingsShown())

    async def new(self) -> None:
        """Begin a session; nothing is stored before something is said."""
        async with self._lock:
            await self._leave()
            self.session, self.path, self._draft = None, [], ""
            self.system, self.sampling = self.defaults.system, self.default_sampling
        self._post(PathChanged(None, [], is_other=True, draft=""))
        self._post(SettingsShown())

    async def close(self) -> None:
        """Leave the session with everything stored: the way out of the app, whatever its reason.

        Where `is_cut_off` is set, nobody wanted the answer to end: the next start comes back to it.
        """
        async with self._lock:
            await self._leave()

    async def _leave(self) -> None:
        self._set_waiting(False)
        await self._end_answer()
        if self._saving is not None:
            self._saving.cancel()
        with suppress(StorageError):
            await self._save(create=True)

    def _adopt(self, session: Session) -> None:
        self.session = session
        self.system = session.system
        self._draft = session.draft
        self.sampling = _sampling_of(session.settings, self.default_sampling)

    # What the user does

    @property
    def is_busy(self) -> bool:
        """Whether an answer is being written or waits for the model."""
        return self.answer is not None or self.waiting

    @property
    def can_go_on(self) -> bool:
        """Whether the last answer was cut short and nothing else is under way."""
        return not self.is_busy and bool(self.path) and is_resumable(self.path[-1].message)

    async def send(self, text: str) -> bool:
        """Store the user's message and have it answered; False, with nothing done, while an answer is under way."""
        async with self._lock:
            if self.is_busy:
                return False
            session = self.session or await self._create(first_line(text))
            await self._store.call(tree.append_message, session.id, self._head_id(), "user", text)
            self._draft, self._unsaved_draft = "", True
            await self._save()
            await self._show_path()
            self._post(HistoryChanged())
            await self._answer_last()
        return True

    async def answer_again(self) -> bool:
        """Write another answer beside the last one, or the first one to a message that has none."""
        async with self._lock:
            if self.is_busy or self.session is None or not self.path:
                return False
            await self._answer_last()
        return True

    async def go_on(self) -> bool:
        """Continue the last answer where it was cut short, with the same tokens."""
        async with self._lock:
            if not (self.can_go_on and self._engine.is_ready):
                return False
            last = self.path[-1].message
            await self._store.call(answers.resume_answer, last.id)
            await self._write(Answer.going_on(last, self.sampling), self.path[:-1])
        return True

    async def stop(self) -> None:
        """End the answer after its current token; what came stays."""
        self._set_waiting(False)
        if self.answer is not None and not self.answer.stopping:
            self.answer.stopping = True
            await self._engine.stop(self.answer.message_id)

    async def switch_sibling(self, message_id: str, step: int) -> None:
        """Show the branch of the sibling so many places on."""
        async with self._lock:
            if self.is_busy:
                return
            siblings = await self._store.call(tree.siblings, message_id)
            at = [sibling.id for sibling in siblings].index(message_id) + step
            if 0 <= at < len(siblings):
                await self._store.call(tree.switch_to, siblings[at].id)
                await self._show_path()

    async def set_system(self, text: str) -> None:
        """Give the session another system prompt, from its next answer on."""
        self.system = text
        if self.session is not None:
            await self._store.call(sessions.set_system, self.session.id, text)
        self._post(SettingsShown())

    async def rename(self, title: str) -> None:
        """Give the session the user's own title."""
        if self.session is not None and title:
            await self._store.call(sessions.rename_session, self.session.id, title)
            await self._show_path()
            self._post(HistoryChanged())

    def set_sampling(self, sampling: Sampling) -> None:
        """Choose the next token otherwise, from now on: in the running answer and in the session."""
        self.sampling = sampling
        if self.answer is not None:
            self._engine.tune(self.answer.message_id, sampling)
        self._unsaved_sampling = True
        self._save_soon()

    def set_draft(self, text: str) -> None:
        """Keep what stands in the prompt box."""
        if text != self._draft:
            self._draft = text
            self._unsaved_draft = True
            self._save_soon()

    # Answers

    async def _answer_last(self) -> None:
        if not self._engine.is_ready:
            self._set_waiting(True)
            return
        assert self.session is not None
        asked = self.path if self.path[-1].message.role == "user" else self.path[:-1]
        message = await self._store.call(
            answers.begin_answer,
            self.session.id,
            asked[-1].message.id if asked else None,
            model=self._engine.card.name if self._engine.card else "",
            settings=msgspec.to_builtins(self.sampling),
            seed=None,
        )
        await self._show_path()
        await self._write(Answer(message.id, self.sampling), asked)

    async def _write(self, answer: Answer, asked: Sequence[PathMessage]) -> None:
        self.answer = answer
        self._answer_over.clear()
        self._tending = [
            asyncio.create_task(self._show_regularly(answer), name="show answer"),
            asyncio.create_task(self._checkpoint_regularly(answer), name="checkpoint answer"),
        ]
        self._post(AnswerBegan())
        messages = [ChatMessage(role="system", content=self.system)] if self.system else []
        messages += [ChatMessage(role=m.message.role, content=m.message.content) for m in asked if m.message.content]
        prompt = ChatPrompt(
            messages=messages,
            template=self.session.template if self.session else None,
            answer_ids=answer.known_ids,
            answer_text=answer.content,
        )
        sent = await self._engine.generate(
            Generate(
                request_id=answer.message_id,
                prompt=prompt,
                sampling=self.sampling,
                n_candidates=self.n_candidates,
                session=self.session.id if self.session else "",
            )
        )
        if not sent:
            await self._finish("interrupted", None)

    async def _take(self, event: AnswerEvent) -> None:
        answer = self.answer
        if answer is None or (not isinstance(event, EngineDied) and event.request_id != answer.message_id):
            return
        match event:
            case Token():
                answer.add(event)
            case Finished():
                answer.add_text(event.text_tail)
                await self._finish(_STATES[event.reason], event)
            case Failed():
                self._post(Trouble(f"{event.message} {event.hint}".strip()))
                await self._finish("failed", None)
            case EngineDied():
                await self._finish("interrupted", None)
            case PromptProgress():
                pass

    async def _finish(self, state: FinalState, finished: Finished | None) -> None:
        answer = self.answer
        if answer is None:
            return
        self.answer = None
        if self.is_cut_off and state == "stopped":
            state = "interrupted"
        for task in self._tending:
            task.cancel()
        self._show(answer)
        speed = answer.speed()
        if finished is not None and finished.generate_ms > 0:
            speed = finished.generated_tokens / finished.generate_ms * 1000
        try:
            await self._store.call(
                answers.finish_answer,
                answer.message_id,
                answer.content,
                state,
                prompt_tokens=finished.prompt_tokens if finished else None,
                generated_tokens=len(answer.ids),
                tokens_per_second=speed,
                first_token_ms=finished.first_token_ms if finished else None,
                seed=finished.seed if finished else None,
                settings=msgspec.to_builtins(self.sampling),
                token_ids=token_bytes(answer.ids),
            )
            if self.session is not None:
                self.path = await self._store.call(tree.path, self.session.id)
            ended = next(item for item in self.path if item.message.id == answer.message_id)
            self._post(AnswerEnded(ended, is_resumable(ended.message)))
        except StorageError as error:
            self._post(Trouble(str(error)))
        finally:
            self._answer_over.set()
            self._post(HistoryChanged())

    async def _end_answer(self) -> None:
        """Stop the answer and wait until it is stored; an engine that does not react is not waited for."""
        if self.answer is None:
            return
        await self.stop()
        try:
            await asyncio.wait_for(self._answer_over.wait(), STOP_WAIT_S)
        except TimeoutError:
            await self._finish("stopped", None)

    async def _show_regularly(self, answer: Answer) -> None:
        while True:
            await asyncio.sleep(self._show_period_s)
            self._show(answer)

    def _show(self, answer: Answer) -> None:
        if text := answer.take_unshown():
            self._post(AnswerGrew(answer.message_id, text, answer.candidates))

    async def _checkpoint_regularly(self, answer: Answer) -> None:
        told = False
        while True:
            await asyncio.sleep(CHECKPOINT_PERIOD_S)
            if answer.is_stored:
                continue
            n_tokens = len(answer.ids)
            try:
                await self._store.call(
                    answers.checkpoint_answer, answer.message_id, answer.content, token_bytes(answer.ids), n_tokens
                )
                answer.mark_stored(n_tokens)
            except StorageError as error:
                if not told:
                    self._post(Trouble(str(error)))
                told = True

    def _model_ready(self) -> None:
        self._take_recommended()
        if self.waiting:
            self._starting = asyncio.create_task(self._answer_waiting(), name="answer what waits")

    def _take_recommended(self) -> None:
        """Another model is open: new sessions begin with its recommended sampling, also the one that just began."""
        card = self._engine.card
        before, after = self.default_sampling, self.defaults.sampling_for(card.sampling if card else Sampling())
        self.default_sampling = after
        has_answers = any(shown.message.role == "assistant" for shown in self.path)
        if self.sampling == before and not has_answers and after != before:
            self.set_sampling(after)
            self._post(SettingsShown())

    async def _answer_waiting(self) -> None:
        async with self._lock:
            if self.waiting:
                self._set_waiting(False)
                await self._answer_last()

    def _set_waiting(self, waiting: bool) -> None:
        if waiting != self.waiting:
            self.waiting = waiting
            self._post(AnswerWaits(waiting))

    # Storing

    async def _create(self, title: str) -> Session:
        card = self._engine.card
        self.session = await self._store.call(
            sessions.create_session,
            model=card.name if card else "",
            system=self.system,
            settings=msgspec.to_builtins(self.sampling),
            title=title,
        )
        self._unsaved_sampling = False
        return self.session

    async def _show_path(self) -> None:
        assert self.session is not None
        self.session = await self._store.call(sessions.get_session, self.session.id)
        self.path = await self._store.call(tree.path, self.session.id)
        self._post(PathChanged(self.session, self.path))

    def _head_id(self) -> str | None:
        return self.path[-1].message.id if self.path else None

    def _save_soon(self) -> None:
        if self._saving is None or self._saving.done():
            self._saving = asyncio.create_task(self._save_later(), name="save draft and settings")

    async def _save_later(self) -> None:
        await asyncio.sleep(SAVE_DELAY_S)
        with suppress(StorageError):
            await self._save()

    async def _save(self, *, create: bool = False) -> None:
        """Write the draft and the settings; create: also for a session that so far has nothing but a draft."""
        if self.session is None:
            if not (create and self._draft.strip()):
                return
            await self._create(first_line(self._draft))
            self._post(HistoryChanged())
        assert self.session is not None
        if self._unsaved_draft:
            self._unsaved_draft = False
            await self._store.call(sessions.set_draft, self.session.id, self._draft)
        if self._unsaved_sampling:
            self._unsaved_sampling = False
            await self._store.call(sessions.set_settings, self.session.id, msgspec.to_builtins(self.sampling))


def _sampling_of(settings: dict[str, Any], default: Sampling) -> Sampling:
    """A session's settings; those of another time that do not fit any more fall back to the default."""
    try:
        return msgspec.convert({**msgspec.to_builtins(default), **settings}, Sampling)
    except msgspec.ValidationError:
        return default
