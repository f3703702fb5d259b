"""Titles of sessions by the model itself: after the first exchange, when nobody waits for it."""

from __future__ import annotations

import re

import msgspec

from engine.protocol import ChatMessage
from storage import sessions
from storage.records import Session
from tui.messages import HistoryChanged, Post
from tui.services.claim import Claim
from tui.services.engine_session import EngineSession
from tui.services.open_session import OpenSession
from tui.services.store import Store
from tui.services.writing import Writing
from tui.text import safe_line

MAX_TITLE_TOKENS = 24
MAX_MESSAGES = 4
"""A longer conversation keeps the title it has: reading it again would cost more than a title is worth."""

MIN_PARAMETERS = 300_000_000
"""A smaller model is not asked: SmolLM2 of 135 million called "hi" The Art of Persuasion, and a letter to a telephone
company The Unreliable Assassin. Of ten first lines, none was a worse title than what it made of them."""

_QUESTION = "Write a title for this conversation, at most six words. Answer with the title alone."
_MAX_WORDS = 9
_MAX_CHARS = 60
_LABEL = re.compile(r"^(title|titre|here is[^:]*|sure[^:]*)\s*:\s*", re.IGNORECASE)
_AROUND = " \t\"'`*#“”«»_.…"


def sane_title(text: str) -> str | None:
    """What the model wrote as a title, None where it wrote something else."""
    lines = [line for line in text.splitlines() if line.strip()]
    if len(lines) != 1:
        return None
    title = _LABEL.sub("", safe_line(lines[0], 2 * _MAX_CHARS).strip(_AROUND)).strip(_AROUND)
    fits = 2 < len(title) <= _MAX_CHARS and len(title.split()) <= _MAX_WORDS
    return title if fits and any(letter.isalpha() for letter in title) else None


class Titles:
    """Gives the open session a title, once; one that the user gave stays."""

    def __init__(
        self,
        store: Store,
        engine: EngineSession,
        open_session: OpenSession,
        claim: Claim,
        writing: Writing,
        post: Post,
    ) -> None:
        self._store = store
        self._engine = engine
        self._open = open_session
        self._claim = claim
        self._writing = writing
        self._post = post
        self._tried: set[str] = set()

    @property
    def wanted(self) -> Session | None:
        """The open session, where it has an answer and still only its first line as a title.

        Servers are not asked: somebody may pay for every question.
        """
        session = self._open.session
        if session is None or session.title_source != "auto" or session.id in self._tried:
            return None
        asked = self._open.path
        card = self._engine.card
        is_able = card is not None and card.parameters >= MIN_PARAMETERS
        ready = is_able and self._engine.is_ready and self._engine.is_local and not self._writing.is_busy
        has_answer = 2 <= len(asked) <= MAX_MESSAGES and asked[-1].message.state == "complete"
        return session if ready and has_answer and self._claim.held_by is None else None

    async def make(self) -> None:
        """Ask the model and store what it says, if that is a title. Raises StorageError."""
        session = self.wanted
        if session is None:
            return
        self._tried.add(session.id)
        # Imported here because it brings the chat formats along, and nobody waits now.
        from engine.chat.thoughts import THINK_BEGIN, THINK_END, without_thoughts

        # The conversation comes first as the engine has read it, so that it neither reads it again now nor later.
        path = self._open.path
        read = self._open.prompt_for(path)
        # A model that thinks would have no token left for the title: for it, the thinking is over.
        thought = THINK_BEGIN + THINK_END if path[-1].message.content.startswith(THINK_BEGIN) else ""
        asked = [*read.messages, ChatMessage(role="user", content=_QUESTION)]
        prompt = msgspec.structs.replace(read, messages=asked, answer_text=thought)
        answer = await self._engine.aside.ask(prompt, MAX_TITLE_TOKENS, session.id) or ""
        title = sane_title(without_thoughts(answer))
        if title is None:
            return
        renamed = await self._store.call(sessions.rename_session, session.id, title, "model")
        self._open.take_changed(renamed)
        self._post(HistoryChanged())
