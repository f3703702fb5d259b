"""A session that `ask` goes on with or begins: the question on disk before it is asked, the answer while it comes."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING, Self

import msgspec

from engine.protocol import ChatMessage, Finished, Sampling
from storage import answers, claims, owners, sessions, tree
from storage.connections import open_database
from storage.errors import SessionHeldError, StorageError
from storage.records import FinalState, Message, Session, pack_token_ids
from tui.paths import user_paths
from tui.services.answer import CHECKPOINT_PERIOD_S, Answer, sampling_of, state_after
from tui.text import first_line

if TYPE_CHECKING:
    from sqlite_utils import Database as SqliteDatabase


class AskSession:
    """One session, claimed for writing until the block is left."""

    def __init__(self, db: SqliteDatabase, session: Session) -> None:
        self._db = db
        self._session = session
        self._owner = owners.this_owner()
        self._answer: Message | None = None
        self._max_new_tokens: int | None = None
        self._kept_s = 0.0

    @classmethod
    def stored(cls, session_id: str) -> Self:
        """Go on with a session; raises NoSuchSessionError."""
        db = open_database(user_paths().database)
        try:
            return cls(db, sessions.get_session(db, session_id))
        except BaseException:
            db.close()
            raise

    @classmethod
    def new(cls, *, model: str, system: str, sampling: Sampling, template: str | None, text: str) -> Self:
        """Begin a session, with a title from the first question."""
        db = open_database(user_paths().database)
        try:
            session = sessions.create_session(
                db,
                model=model,
                system=system,
                settings=msgspec.to_builtins(sampling),
                template=template,
                title=first_line(text),
            )
            return cls(db, session)
        except BaseException:
            db.close()
            raise

    def __enter__(self) -> Self:
        holder = claims.claim_session(self._db, self.id, self._owner)
        if holder != self._owner:
            self._db.close()
            raise SessionHeldError(self.id, holder.host, holder.pid)
        return self

    def __exit__(self, *_: object) -> None:
        # What cannot be given back now ends with this process.
        with suppress(StorageError):
            claims.release_session(self._db, self.id, self._owner)
        self._db.close()

    @property
    def id(self) -> str:
        """The session's id."""
        return self._session.id

    @property
    def system(self) -> str:
        """The session's system prompt."""
        return self._session.system

    @property
    def template(self) -> str | None:
        """The chat template chosen for the session."""
        return self._session.template

    def sampling(self, default: Sampling) -> Sampling:
        """The session's settings; those of another time that do not fit any more fall back to the default."""
        return sampling_of(self._session.settings, default)

    def messages(self) -> list[ChatMessage]:
        """What was said so far on the shown branch."""
        said = [step.message for step in tree.path(self._db, self.id)]
        return [ChatMessage(role=message.role, content=message.content) for message in said if message.content]

    def ask(self, text: str, model: str, sampling: Sampling, *, system: str | None = None) -> None:
        """Store the question and begin an answer. system: the session's system prompt from here on, None as it is."""
        if system is not None and system != self.system:
            sessions.set_system(self._db, self.id, system)
        head = tree.path(self._db, self.id)
        question = tree.append_message(self._db, self.id, head[-1].message.id if head else None, "user", text)
        self._max_new_tokens = sampling.max_new_tokens
        self._answer = answers.begin_answer(
            self._db, self.id, question.id, model=model, settings=msgspec.to_builtins(sampling), seed=None
        )

    @property
    def is_due(self) -> bool:
        """Whether it is time to store what is written so far."""
        return time.monotonic() - self._kept_s >= CHECKPOINT_PERIOD_S

    def keep(self, written: Answer) -> None:
        """Store what is written so far; where that cannot be at the moment, the answer goes on all the same."""
        if self._answer is not None:
            ids = written.ids
            with suppress(StorageError):
                answers.checkpoint_answer(self._db, self._answer.id, written.content, pack_token_ids(ids), len(ids))
            self._kept_s = time.monotonic()

    def finish(self, written: Answer, finished: Finished | None, without: FinalState) -> None:
        """End the answer. without: its state where Finished never came."""
        if self._answer is None:
            return
        answers.finish_answer(
            self._db,
            self._answer.id,
            written.content,
            state_after(finished, self._max_new_tokens) if finished is not None else without,
            **written.as_stored(finished),
        )
        self._answer = None
