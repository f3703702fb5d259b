"""What the database keeps, as the rest of the program sees it."""

from __future__ import annotations

import sys
from array import array
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, Literal

import msgspec

Role = Literal["system", "user", "assistant"]
MessageState = Literal["complete", "writing", "stopped", "interrupted", "failed"]
FinalState = Literal["complete", "stopped", "interrupted", "failed"]
TitleSource = Literal["auto", "model", "user"]
Settings = dict[str, Any]


class Session(msgspec.Struct, frozen=True, kw_only=True):
    """One conversation with all its branches.

    title_source: who gave the title, so that a later automatic one never replaces the user's. model: that of the answer
    that was begun last, before the first one what was open, "" where nothing was. template: a chat template chosen
    instead of the model's own. head_id: the last message of the branch that is shown. draft: what stands unsent in the
    prompt box. n_messages: of all branches. Times are ISO 8601, UTC, in milliseconds.
    """

    id: str
    title: str
    title_source: TitleSource
    model: str
    system: str
    settings: Settings
    template: str | None
    created_utc: str
    updated_utc: str
    pinned: bool
    archived: bool
    head_id: str | None
    draft: str
    n_messages: int


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """One message in a session's tree, with what made it.

    model, settings, seed and the figures belong to answers and are None elsewhere. token_ids: as
    pack_token_ids makes them, kept while an answer is not complete, so that the engine can go on with the same tokens.
    """

    id: str
    session_id: str
    parent_id: str | None
    role: Role
    content: str
    state: MessageState
    model: str | None = None
    settings: Settings | None = None
    seed: int | None = None
    prompt_tokens: int | None = None
    generated_tokens: int | None = None
    tokens_per_second: float | None = None
    first_token_ms: float | None = None
    token_ids: bytes | None = None
    created_utc: str


class PathMessage(msgspec.Struct, frozen=True, kw_only=True):
    """A message of the shown branch and its place among its siblings; sibling_index counts from 0, oldest first."""

    message: Message
    sibling_index: int
    sibling_count: int


class SearchHit(msgspec.Struct, frozen=True, kw_only=True):
    """A message, or a session by its title (message_id and role are None then).

    snippet: the text around the match, on one line. matches: where in it the words are, as (start, end).
    """

    session_id: str
    message_id: str | None
    title: str
    snippet: str
    role: Role | None
    created_utc: str
    matches: list[tuple[int, int]]


def pack_token_ids(ids: Iterable[int]) -> bytes:
    """Write token ids as little-endian int32."""
    return _int32(ids).tobytes()


def unpack_token_ids(data: bytes) -> list[int]:
    """Read what pack_token_ids wrote."""
    return _int32(array("i", data)).tolist()


def _int32(ids: Iterable[int]) -> array[int]:
    values = array("i", ids)
    if sys.byteorder == "big":
        values.byteswap()
    return values


def now_utc() -> str:
    """Tell the time as records keep it: ``2026-11-24T04:20:02.123Z``."""
    return format_utc(datetime.now(UTC))


def format_utc(moment: datetime) -> str:
    """Write a moment with a time zone as records keep it."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
