"""What the model finds likely at any place of the last answer, while nothing is written; and branches from there."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from engine.errors import EngineError, EngineGoneError
from engine.protocol import UNKNOWN_TOKEN, ChatPrompt, Look, Looked, PromptProgress
from storage.answer_tokens import AnswerTokens, answer_tokens
from storage.errors import StorageError
from storage.records import unpack_token_ids
from tui.language import _
from tui.messages import Place, Post, Weighed
from tui.sentences import reason
from tui.services import background
from tui.services.answer import Beginning
from tui.services.conversation import Conversation
from tui.services.engine_session import EngineSession
from tui.services.open_session import OpenSession
from tui.services.store import Store
from tui.services.writing import Writing

LOOK_PERIOD_S = 0.05
"""A dragged slider or a held arrow key asks at most once in this time; the last position always arrives."""

N_LOOKED = 20
"""Candidates to ask for: more than the pane shows at once, so that one can go down the list."""

NEIGHBOUR_CHARACTERS = 60
"""Text around the place that is told along with it."""


@dataclass
class _Source:
    """The last answer as the engine is to see it, and what is known of its tokens."""

    prompt: ChatPrompt
    session_id: str
    kept: AnswerTokens | None
    ids: list[int]
    pieces: list[str]


class Looking:
    """One place at a time, at first the end of the conversation; Weighed tells what is likely there.

    is_watched: whether anybody sees it; nothing is asked otherwise.
    """

    def __init__(
        self,
        engine: EngineSession,
        open_session: OpenSession,
        writing: Writing,
        conversation: Conversation,
        store: Store,
        post: Post,
    ) -> None:
        self._engine = engine
        self._open = open_session
        self._writing = writing
        self._conversation = conversation
        self._store = store
        self._post = post
        self._source: _Source | None = None
        self._is_told = False
        self._at: int | None = None
        self._wanted = self._reads = False
        self._asking: asyncio.Task[None] | None = None
        self.is_watched: Callable[[], bool] = lambda: False

    def look_at_end(self) -> None:
        """Another session, answer or model: look where it ends."""
        self.forget()
        self._ask()

    def forget(self) -> None:
        """Something else has the engine, or there is nothing to look at any more."""
        if self._asking is not None:
            self._asking.cancel()
        self._source, self._at, self._asking = None, None, None
        self._wanted = self._reads = self._is_told = False

    def again(self) -> None:
        """Look at the same place with the settings as they are now."""
        self._ask()

    def go(self, at: int) -> None:
        """Look at the place before the answer's token of this number; the last one is behind all of them."""
        if self._source is not None:
            self._at = min(max(at, 0), len(self._source.ids))
            self._ask()

    def step(self, n_tokens: int) -> None:
        """Go so many tokens on, or back."""
        if self._source is not None:
            self.go((len(self._source.ids) if self._at is None else self._at) + n_tokens)

    def read(self) -> None:
        """Have the engine read what it has not read yet, however long that takes."""
        self._reads = True
        self._ask()

    async def branch(self, at: int, token_id: int) -> bool:
        """Write another answer that has this token at a place. Raises StorageError; False where that cannot be."""
        source = self._source
        if source is None:
            return False
        ids, pieces = source.ids[:at], source.pieces[:at]
        is_kept = source.kept is not None and list(source.kept.ids[:at]) == ids
        chances = source.kept.chances[:at] if source.kept is not None and is_kept else [None] * at
        tokens = AnswerTokens(ids=ids, lengths=[len(piece) for piece in pieces], chances=chances)
        return await self._conversation.branch(Beginning(tokens, "".join(pieces), token_id))

    def _ask(self) -> None:
        self._wanted = True
        if self._asking is None or self._asking.done():
            self._asking = background.begin(self._keep_asking(), "look at a place", self._post)

    async def _keep_asking(self) -> None:
        while self._wanted:
            self._wanted, reads, self._reads = False, self._reads, False
            await self._look(reads)
            await asyncio.sleep(LOOK_PERIOD_S)

    async def _look(self, reads: bool) -> None:
        card = self._engine.card
        if not (self.is_watched() and await self._writing.at_rest() and self._open.path):
            return
        if card is None or not card.abilities.look or not self._engine.is_ready:
            return
        try:
            source = self._source or await self._find()
            look = Look(
                prompt=None if self._is_told else source.prompt,
                at=self._at,
                sampling=self._open.sampling,
                n_candidates=N_LOOKED,
                read=reads,
                session=source.session_id,
            )
            self._tell(source, await self._engine.look(look, self._tell_progress))
        except EngineGoneError:
            return
        except (EngineError, StorageError) as error:
            self._post(Weighed(None, note=reason(error)))

    async def _find(self) -> _Source:
        """The conversation to look at. Raises StorageError."""
        path, session = self._open.path, self._open.session
        last = path[-1].message
        if last.role != "assistant":
            prompt, kept = self._open.prompt_for(path), None
        else:
            kept = await self._store.call(answer_tokens, last.id)
            ids = list(kept.ids) if kept is not None else unpack_token_ids(last.token_ids or b"")
            prompt = msgspec.structs.replace(
                self._open.prompt_for(path[:-1]),
                answer_ids=[] if UNKNOWN_TOKEN in ids else ids,
                answer_text=last.content,
            )
        return _Source(prompt, session.id if session else "", kept, [], [])

    def _tell(self, source: _Source, looked: Looked) -> None:
        if not self._is_told:
            source.ids, source.pieces = looked.ids, looked.pieces
            self._source, self._is_told = source, True
        at, pieces = looked.at, source.pieces
        before = "".join(pieces[max(at - NEIGHBOUR_CHARACTERS, 0) : at])
        after = "".join(pieces[at + 1 : at + 1 + NEIGHBOUR_CHARACTERS])
        followed = at < len(source.ids)
        place = Place(
            at=at,
            n_tokens=len(source.ids),
            before=before[-NEIGHBOUR_CHARACTERS:],
            token=pieces[at] if followed else "",
            after=after[:NEIGHBOUR_CHARACTERS],
            followed_by=source.ids[at] if followed else None,
        )
        self._post(Weighed(place, looked.candidates, looked.n_unread))

    def _tell_progress(self, progress: PromptProgress) -> None:
        read = _("Reading: {done} of {total} tokens …", done=progress.done, total=progress.total)
        self._post(Weighed(None, note=read))
