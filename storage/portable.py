"""Sessions as JSON: the form in which they leave the database and come back, with nothing lost.

The names of the fields are a promise: scripts read them. What an older file or another program lacks has a default.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

from .records import FinalState, Message, Role, Session, Settings, TitleSource, pack_token_ids, unpack_token_ids

FORMAT = "llm-tui sessions"
VERSION = 1

# What SQLite can store.
Int = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
Int32 = Annotated[int, msgspec.Meta(ge=-(2**31), le=2**31 - 1)]


class PortableMessage(msgspec.Struct, kw_only=True):
    """One message. on_path: it is on the branch that is shown; shown: of its siblings it is the one to come back to.

    tokens: of pack_tokens, in base64.
    """

    id: str
    parent_id: str | None
    role: Role
    content: str
    state: FinalState = "complete"
    model: str | None = None
    settings: Settings | None = None
    prompt_tokens: Int | None = None
    generated_tokens: Int | None = None
    tokens_per_second: float | None = None
    created_utc: str = ""
    on_path: bool = False
    shown: bool | None = None
    seed: Int | None = None
    first_token_ms: float | None = None
    token_ids: list[Int32] | None = None
    tokens: bytes | None = None


class PortableSession(msgspec.Struct, kw_only=True):
    """One session with the messages of all its branches, parents before their children."""

    id: str
    title: str = ""
    model: str = ""
    system: str = ""
    messages: list[PortableMessage]
    title_source: TitleSource = "user"
    settings: Settings = {}
    template: str | None = None
    created_utc: str = ""
    updated_utc: str = ""
    pinned: bool = False
    archived: bool = False
    draft: str = ""


class Archive(msgspec.Struct, kw_only=True):
    """Many sessions in one file."""

    format: str
    version: int
    sessions: list[PortableSession]


def checked(session: PortableSession) -> PortableSession:
    """Raise msgspec.ValidationError when what another program wrote is not what the fields are declared to be."""
    return msgspec.convert(msgspec.to_builtins(session, builtin_types=(bytes,)), PortableSession)


def portable_session(session: Session, messages: list[PortableMessage]) -> PortableSession:
    """Make a session portable; its messages already are."""
    return PortableSession(
        id=session.id,
        title=session.title,
        model=session.model,
        system=session.system,
        messages=messages,
        title_source=session.title_source,
        settings=session.settings,
        template=session.template,
        created_utc=session.created_utc,
        updated_utc=session.updated_utc,
        pinned=session.pinned,
        archived=session.archived,
        draft=session.draft,
    )


def portable_message(message: Message, *, on_path: bool, shown: bool, tokens: bytes | None) -> PortableMessage:
    """Make a message portable. One that is being written will be an interrupted one wherever it arrives."""
    return PortableMessage(
        id=message.id,
        parent_id=message.parent_id,
        role=message.role,
        content=message.content,
        state="interrupted" if message.state == "writing" else message.state,
        model=message.model,
        settings=message.settings,
        prompt_tokens=message.prompt_tokens,
        generated_tokens=message.generated_tokens,
        tokens_per_second=message.tokens_per_second,
        created_utc=message.created_utc,
        on_path=on_path,
        shown=shown,
        seed=message.seed,
        first_token_ms=message.first_token_ms,
        token_ids=None if message.token_ids is None else unpack_token_ids(message.token_ids),
        tokens=tokens,
    )


def stored_message(message: PortableMessage, session_id: str, message_id: str) -> Message:
    """Make a record of a portable message, under an id that is free here; parent_id is for the caller to resolve."""
    return Message(
        id=message_id,
        session_id=session_id,
        parent_id=None,
        role=message.role,
        content=message.content,
        state=message.state,
        model=message.model,
        settings=message.settings,
        seed=message.seed,
        prompt_tokens=message.prompt_tokens,
        generated_tokens=message.generated_tokens,
        tokens_per_second=message.tokens_per_second,
        first_token_ms=message.first_token_ms,
        token_ids=None if message.token_ids is None else pack_token_ids(message.token_ids),
        created_utc=message.created_utc,
    )
