"""An answer's life in the open session: asked for, shown as it grows, kept safe on disk, ended."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress

import msgspec

from engine.protocol import (
    EngineDied,
    Failed,
    Finished,
    Generate,
    PromptProgress,
    Sampling,
    Token,
)
from storage import answers
from storage.errors import StorageError
from storage.records import FinalState, PathMessage
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
    Trouble,
)
from tui.sentences import reason, sentence, sentences
from tui.services.answer import Answer, Beginning, is_cut_short, is_resumable, state_after
from tui.services.engine_events import AnswerEvent
from tui.services.engine_session import EngineSession
from tui.services.open_session import OpenSession
from tui.services.store import Store
from tui.services.tending import Tending, checkpoint

CANDIDATES_EVERY_MS = 250
"""As often as an eye takes in new bars; finding them for every token would cost the engine a twentieth."""

STOP_WAIT_S = 3.0
"""How long leaving a session waits for the engine to end the answer: more than one token of the largest model takes."""


class Writing:
    """The answer that is being written in the open session, if any.

    n_candidates: so many are told while it writes. Where `is_cut_off` is set, nobody wanted the answer to end: the next
    start comes back to it.
    """

    def __init__(
        self, store: Store, engine: EngineSession, open_session: OpenSession, post: Post, show_period_s: float
    ) -> None:
        self._store = store
        self._engine = engine
        self._open = open_session
        self._post = post
        self._show_period_s = show_period_s
        self._finishing = asyncio.Lock()
        self._answer_over = asyncio.Event()
        self._answer_over.set()
        self._tending: Tending | None = None
        self._waiting: Sequence[PathMessage] | None = None
        self.n_candidates = 0
        self.answer: Answer | None = None
        self.is_cut_off = False

    @property
    def waiting(self) -> bool:
        """Whether a message is to be answered once a model is open."""
        return self._waiting is not None

    @property
    def is_busy(self) -> bool:
        """Whether an answer is being written, is being stored or waits for the model."""
        return self.answer is not None or self.waiting

    @property
    def can_go_on(self) -> bool:
        """Whether the last answer was cut short and nothing else is under way."""
        path = self._open.path
        return not self.is_busy and bool(path) and is_resumable(path[-1].message)

    async def at_rest(self) -> bool:
        """Wait for what is being done to the session; True where no answer came of it."""
        async with self._open.lock:
            return not self.is_busy

    async def stop(self) -> None:
        """End the answer after its current token; what came stays."""
        self.take_waiting()
        if self.answer is not None and not self.answer.stopping:
            self.answer.stopping = True
            self._post(AnswerStopping())
            await self._engine.stop(self.answer.request_id)

    def tune(self, sampling: Sampling) -> None:
        """Choose the next token of the running answer otherwise."""
        if self.answer is not None:
            self._engine.tune(self.answer.request_id, sampling)

    async def begin(self, path: Sequence[PathMessage], beginning: Beginning | None = None) -> None:
        """Begin an answer to a branch's last message, or another one beside it; without a model, it waits for one."""
        if not self._engine.is_ready:
            self._waiting = path
            self._post(AnswerWaits(True))
            return
        assert self._open.session is not None
        last = path[-1].message
        asked = path if last.role == "user" else path[:-1]
        message = await self._store.call(
            answers.begin_answer,
            self._open.session.id,
            asked[-1].message.id if asked else None,
            model=self._engine.card.name if self._engine.card else "",
            settings=msgspec.to_builtins(self._open.sampling),
            seed=None,
        )
        answer = Answer(message.id)
        if beginning is not None:
            answer.earlier, answer.content = beginning.tokens, beginning.text
            answer.first_ids = [beginning.token_id]
        if last.role == "assistant" and not last.content:
            # Nothing came of it that would be worth a version. Not before: the end of an older one would be shown.
            with suppress(StorageError):
                await self._store.call(answers.drop_empty_answer, last.id)
        await self.write(answer, asked)

    async def write(self, answer: Answer, asked: Sequence[PathMessage]) -> None:
        """Show an answer that is in the database, and have the engine write it to what was asked. Raises StorageError.

        It is interrupted then: nobody is writing it.
        """
        try:
            if not answer.is_stored:
                await checkpoint(answer, self._store)
            await self._open.show()
        except StorageError:
            with suppress(StorageError):
                await self._store_end(answer, "interrupted", None)
                await self._open.show()
            raise
        self.answer = answer
        self._answer_over.clear()
        self._tending = Tending(answer, self._store, self._post, self._show_period_s)
        self._post(AnswerBegan())
        prompt = msgspec.structs.replace(
            self._open.prompt_for(asked), answer_ids=answer.known_ids, answer_text=answer.content
        )
        sent = await self._engine.generate(
            Generate(
                request_id=answer.request_id,
                prompt=prompt,
                sampling=self._open.sampling,
                n_candidates=self.n_candidates,
                candidates_every_ms=CANDIDATES_EVERY_MS,
                session=self._open.id or "",
                first_ids=answer.first_ids,
            )
        )
        if not sent:
            await self._finish("interrupted", None)

    async def take(self, event: AnswerEvent) -> None:
        """Take in what the engine says of an answer."""
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
                longest = self._open.sampling.max_new_tokens
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
        await self._store_end(answer, state, finished)
        if self._open.session is not None:
            await self._open.read()
        ended = next((item for item in self._open.path if item.message.id == answer.message_id), None)
        if ended is not None:
            notes = AnswerNotes(finished.dropped_turns if finished else 0, answer.failure)
            self._post(AnswerEnded(ended, is_resumable(ended.message), notes))
        else:
            self._post(PathChanged(self._open.session, self._open.path))

    async def _store_end(self, answer: Answer, state: FinalState, finished: Finished | None) -> None:
        await self._store.call(
            answers.finish_answer,
            answer.message_id,
            answer.content,
            state,
            settings=msgspec.to_builtins(self._open.sampling),
            **answer.as_stored(finished),
        )

    async def end(self) -> None:
        """Stop the answer and wait until it is stored; an engine that does not react is not waited for."""
        if self.answer is None:
            return
        await self.stop()
        try:
            await asyncio.wait_for(self._answer_over.wait(), STOP_WAIT_S)
        except TimeoutError:
            await self._finish("stopped", None)

    def take_waiting(self) -> Sequence[PathMessage] | None:
        """The branch whose last message waits for a model to answer it, None for none; it waits no more."""
        path, self._waiting = self._waiting, None
        if path is not None:
            self._post(AnswerWaits(False))
        return path
