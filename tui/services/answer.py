"""The answer that is being written: its text, its tokens, and what of them the screen and the disk already have."""

from __future__ import annotations

import time
from array import array
from dataclasses import dataclass, field

from engine.protocol import UNKNOWN_TOKEN, Candidate, Sampling, Token
from storage.records import Message

_TOKEN_TYPE = "i"
_RESUMABLE = ("stopped", "interrupted", "failed")


def token_bytes(ids: list[int]) -> bytes:
    """Token ids as the storage keeps them: int32 in the machine's byte order."""
    return array(_TOKEN_TYPE, ids).tobytes()


def token_list(data: bytes | None) -> list[int]:
    """Stored token ids as the engine takes them."""
    ids = array(_TOKEN_TYPE)
    ids.frombytes(data or b"")
    return ids.tolist()


def is_resumable(message: Message) -> bool:
    """Whether an answer was cut short and its tokens are there to go on from."""
    return message.role == "assistant" and message.state in _RESUMABLE and bool(message.token_ids)


@dataclass
class Answer:
    """One answer from its first to its last token; message_id is the engine's request_id too.

    earlier_ids: tokens that an interrupted writing left, when this goes on from there.
    """

    message_id: str
    sampling: Sampling
    content: str = ""
    earlier_ids: list[int] = field(default_factory=list)
    new_ids: list[int] = field(default_factory=list)
    candidates: list[Candidate] = field(default_factory=list)
    started_s: float = field(default_factory=time.monotonic)
    first_token_s: float | None = None
    stopping: bool = False
    _unshown: list[str] = field(default_factory=list)
    _stored_tokens: int = 0

    @classmethod
    def going_on(cls, message: Message, sampling: Sampling) -> Answer:
        """Take up an answer that was cut short."""
        ids = token_list(message.token_ids)
        return cls(message.id, sampling, content=message.content, earlier_ids=ids, _stored_tokens=len(ids))

    @property
    def ids(self) -> list[int]:
        """All tokens of the answer."""
        return self.earlier_ids + self.new_ids

    @property
    def known_ids(self) -> list[int]:
        """The tokens to go on from; empty where a server gave the text of some alone, and it is gone on from that."""
        return [] if UNKNOWN_TOKEN in self.earlier_ids else self.earlier_ids

    @property
    def is_stored(self) -> bool:
        """Whether the disk has every token."""
        return self._stored_tokens == len(self.earlier_ids) + len(self.new_ids)

    def add(self, token: Token) -> None:
        """Take in one token."""
        if self.first_token_s is None:
            self.first_token_s = time.monotonic()
        self.new_ids.append(token.id)
        self.candidates = token.candidates or self.candidates
        self.add_text(token.text)

    def add_text(self, text: str) -> None:
        """Take in text that came without a token of its own."""
        if text:
            self.content += text
            self._unshown.append(text)

    def take_unshown(self) -> str:
        """The text that came since the last call."""
        text = "".join(self._unshown)
        self._unshown.clear()
        return text

    def mark_stored(self, n_tokens: int) -> None:
        """Remember how many tokens the disk has."""
        self._stored_tokens = n_tokens

    def speed(self) -> float | None:
        """Tokens a second since the first one, for an answer whose Finished never came."""
        if self.first_token_s is None or len(self.new_ids) < 2:
            return None
        return (len(self.new_ids) - 1) / max(time.monotonic() - self.first_token_s, 1e-6)
