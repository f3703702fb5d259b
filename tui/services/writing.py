"""An answer's life in the open session: asked for, shown as it grows, kept safe on disk, ended."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress

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
from storage import answers, tree
from storage.errors import StorageError
from storage.records import FinalState, PathMessage, pack_token_ids
from tui.language import _
from tui.messages import (
    AnswerBegan,
    AnswerEnded,
    AnswerNotes,
    AnswerStopping,
    AnswerWaits,
    HistoryChanged,
    PathChanged,
    Post,
    PromptAdvanced,
    SettingsShown,
    Trouble,
)
from tui.sentences import reason, sentence, sentences
from tui.services import background
from tui.services.answer import Answer, Beginning, is_cut_short, is_resumable, state_after
from tui.services.engine_events import AnswerEvent
from tui.services.engine_session import EngineSession
from tui.services.open_session import Defaults, OpenSession
from tui.services.store import Store
from tui.services.tending import Tending

CANDIDATES_EVERY_MS = 250
"""As often as an eye takes in new bars; finding them for every token would cost the engine a twentieth."""

STOP_WAIT_S = 3.0
"""How long leaving a session waits for the engine to end the answer: more than one token of the largest model takes."""


class Writing(OpenSession):
    """The open session with the answer that is being written in it, if any.

    Where `is_cut_off` is set, nobody wanted the answer to end: the next start comes back to it.
    """

    def __init__(
        self, store: Store, engine: EngineSession, post: Post, defaults: Defaults, show_period_s: float
    ) -> None:
        super().__init__(store, engine, post, defaults)
        self._show_period_s = show_period_s
        self._finishing = asyncio.Lock()
        self._answer_over = asyncio.Event()
        self._answer_over.set()
        self._tending: Tending | None = None
        self._starting: asyncio.Task[None] | None = None
        self.n_candidates = 0
        self.answer: Answer | None = None
        self.waiting = False
        self.is_cut_off = False
        engine.on_answer = self._take
        engine.on_ready.append(self._model_ready)

    @property
    def is_busy(self) -> bool:
        """Whether an answer is being written, is being stored or waits for the model."""
        return self.answer is not None or self.waiting

    async def at_rest(self) -> bool:
        """Wait for what is being done to the session; True where no answer came of it."""
        async with self._lock:
            return not self.is_busy

    @property
    def can_go_on(self) -> bool:
        """Whether the last answer was cut short and nothing else is under way."""
        return not self.is_busy and bool(self.path) and is_resumable(self.path[-1].message)

    async def stop(self) -> None:
        """End the answer after its current token; what came stays."""
        self._set_waiting(False)
        if self.answer is not None and not self.answer.stopping:
            self.answer.stopping = True
            self._post(AnswerStopping())
            await self._engine.stop(self.answer.request_id)

    def set_sampling(self, sampling: Sampling) -> None:
        """Choose the next token otherwise, from now on: in the running answer and in the session."""
        self.sampling = sampling
        if self.answer is not None:
            self._engine.tune(self.answer.request_id, sampling)
        self._unsaved_sampling = True
        self._save_soon()

    async def _answer_last(self, beginning: Beginning | None = None) -> None:
        if not self._engine.is_ready:
            self._set_waiting(True)
            return
        assert self.session is not None
        last = self.path[-1].message
        asked = self.path if last.role == "user" else self.path[:-1]
        message = await self._store.call(
            answers.begin_answer,
            self.session.id,
            asked[-1].message.id if asked else None,
            model=self._engine.card.name if self._engine.card else "",
            settings=msgspec.to_builtins(self.sampling),
            seed=None,
        )
        answer = Answer(message.id)
        if beginning is not None:
            answer.earlier, answer.content = beginning.tokens, beginning.text
            answer.first_ids = [beginning.token_id]
            ids = pack_token_ids(answer.ids)
            await self._store.call(answers.checkpoint_answer, message.id, answer.content, ids, len(answer.ids))
            answer.mark_stored(len(answer.ids))
        if last.role == "assistant" and not last.content:
            # Nothing came of it that would be worth a version. Not before: the end of an older one would be shown.
            with suppress(StorageError):
                await self._store.call(tree.delete_message, last.id)
        await self._show_path()
        await self._write(answer, asked)

    def prompt_for(self, asked: Sequence[PathMessage]) -> ChatPrompt:
        """What the engine is told before it answers."""
        messages = [ChatMessage(role="system", content=self.system)] if self.system else []
        messages += [ChatMessage(role=m.message.role, content=m.message.content) for m in asked if m.message.content]
        return ChatPrompt(messages=messages, template=self.template)

    async def _write(self, answer: Answer, asked: Sequence[PathMessage]) -> None:
        self.answer = answer
        self._answer_over.clear()
        self._tending = Tending(answer, self._store, self._post, self._show_period_s)
        self._post(AnswerBegan())
        prompt = msgspec.structs.replace(
            self.prompt_for(asked), answer_ids=answer.known_ids, answer_text=answer.content
        )
        sent = await self._engine.generate(
            Generate(
                request_id=answer.request_id,
                prompt=prompt,
                sampling=self.sampling,
                n_candidates=self.n_candidates,
                candidates_every_ms=CANDIDATES_EVERY_MS,
                session=self.session.id if self.session else "",
                first_ids=answer.first_ids,
            )
        )
        if not sent:
            await self._finish("interrupted", None)

    async def _take(self, event: AnswerEvent) -> None:
        answer = self.answer
        if answer is None or (not isinstance(event, EngineDied) and event.request_id != answer.request_id):
            return
        match event:
            case Token():
                answer.add(event)
            case Finished():
                answer.add_text(event.text_tail)
                if event.note:
                    self._post(Trouble(sentence(event.note), "information"))
                longest = self.sampling.max_new_tokens
                if is_cut_short(event, longest):
                    self._post(Trouble(_("The context is full: ctrl+g goes on without the oldest turns."), "warning"))
                await self._finish(state_after(event, longest), event)
            case Failed():
                answer.failure = sentences(event.message, event.hint)
                self._post(Trouble(answer.failure))
                await self._finish("failed", None)
            case EngineDied():
                await self._finish("interrupted", None)
            case PromptProgress():
                if not answer.stopping:
                    self._post(PromptAdvanced(event))

    async def _finish(self, state: FinalState, finished: Finished | None) -> None:
        """End the answer, for whatever reason; whoever comes second waits until it is stored."""
        async with self._finishing:
            answer = self.answer
            if answer is None:
                return
            if self._tending is not None:
                self._tending.end()
            try:
                await self._store_finished(answer, state, finished)
            except StorageError as error:
                self._post(Trouble(reason(error)))
            finally:
                # Until now it belongs to the session, which nobody leaves before.
                self.answer = None
                self._answer_over.set()
                self._post(HistoryChanged())

    async def _store_finished(self, answer: Answer, state: FinalState, finished: Finished | None) -> None:
        """Store an answer that is over, and show it as the database has it."""
        if self.is_cut_off and state == "stopped":
            state = "interrupted"
        await self._store.call(
            answers.finish_answer,
            answer.message_id,
            answer.content,
            state,
            settings=msgspec.to_builtins(self.sampling),
            **answer.as_stored(finished),
        )
        if self.session is not None:
            self.path = await self._store.call(tree.path, self.session.id)
        ended = next((item for item in self.path if item.message.id == answer.message_id), None)
        if ended is not None:
            notes = AnswerNotes(finished.dropped_turns if finished else 0, answer.failure)
            self._post(AnswerEnded(ended, is_resumable(ended.message), notes))
        else:
            self._post(PathChanged(self.session, self.path))

    async def _end_answer(self) -> None:
        """Stop the answer and wait until it is stored; an engine that does not react is not waited for."""
        if self.answer is None:
            return
        await self.stop()
        try:
            await asyncio.wait_for(self._answer_over.wait(), STOP_WAIT_S)
        except TimeoutError:
            await self._finish("stopped", None)

    def _model_ready(self) -> None:
        self._take_recommended()
        if self.waiting:
            self._starting = background.begin(self._answer_waiting(), "answer what waits", self._post)

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
                try:
                    await self._answer_last()
                except StorageError as error:
                    self._post(Trouble(reason(error)))

    def _set_waiting(self, waiting: bool) -> None:
        if waiting != self.waiting:
            self.waiting = waiting
            self._post(AnswerWaits(waiting))
