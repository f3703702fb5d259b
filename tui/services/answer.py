"""The answer that is being written: its text, its tokens, and what of them the screen and the disk already have.

The app and `llm-tui ask` write answers, and agree here on what is stored of one.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import msgspec

from engine.protocol import UNKNOWN_TOKEN, Candidate, Finished, Sampling, Token
from storage.answer_tokens import AnswerTokens, pack_tokens
from storage.records import FinalState, Message, pack_token_ids, unpack_token_ids

_numbers = count(1)
_RESUMABLE = ("stopped", "interrupted", "failed")
_STATES: dict[str, FinalState] = {"stop": "complete", "length": "complete", "stopped": "stopped", "failed": "failed"}

CHECKPOINT_PERIOD_S = 0.75
"""With what it takes to write, a kill -9 costs less than a second of an answer."""


def tokens_before(message: Message, kept: AnswerTokens | None) -> AnswerTokens:
    """The tokens of an answer that was cut short. After a crash, their ids are all there is."""
    ids = unpack_token_ids(message.token_ids or b"")
    if kept is not None and list(kept.ids) == ids:
        return kept
    lengths = [0] * (len(ids) - 1) + [len(message.content)] if ids else []
    return AnswerTokens(ids=ids, lengths=lengths, chances=[None] * len(ids))


def is_resumable(message: Message) -> bool:
    """Whether an answer was cut short and its tokens are there to go on from."""
    return message.role == "assistant" and message.state in _RESUMABLE and bool(message.token_ids)


def is_cut_short(finished: Finished, max_new_tokens: int | None) -> bool:
    """Whether an answer has met a limit that nobody has set: the context is full."""
    return finished.reason == "length" and (max_new_tokens is None or finished.generated_tokens < max_new_tokens)


def state_after(finished: Finished, max_new_tokens: int | None) -> FinalState:
    """The state in which an answer is stored; one that is cut short can go on."""
    return "stopped" if is_cut_short(finished, max_new_tokens) else _STATES[finished.reason]


def sampling_of(settings: dict[str, Any], default: Sampling) -> Sampling:
    """A session's settings; those of another time that do not fit any more fall back to the default."""
    try:
        return msgspec.convert({**msgspec.to_builtins(default), **settings}, Sampling)
    except msgspec.ValidationError:
        return default


@dataclass(frozen=True)
class Beginning:
    """What an answer is to begin with: so many tokens with their text, and then one that the user has chosen."""

    tokens: AnswerTokens
    text: str
    token_id: int


@dataclass
class Answer:
    """One answer from its first to its last token.

    earlier: tokens that were there before, when this goes on from them; content begins with their text. first_ids: the
    first new ones, which the user has chosen. request_id: what the engine calls it; another one whenever it goes on, so
    that what still comes of an earlier time is not taken for this one's. failure: why it failed, once it has.
    """

    message_id: str
    content: str = ""
    earlier: AnswerTokens = field(default_factory=lambda: AnswerTokens(ids=[], lengths=[], chances=[]))
    first_ids: list[int] = field(default_factory=list)
    new_ids: list[int] = field(default_factory=list)
    new_lengths: list[int] = field(default_factory=list)
    new_chances: list[float | None] = field(default_factory=list)
    candidates: list[Candidate] = field(default_factory=list)
    started_s: float = field(default_factory=time.monotonic)
    first_token_s: float | None = None
    stopping: bool = False
    failure: str = ""
    request_id: str = field(default_factory=lambda: f"answer-{next(_numbers)}")
    _unshown: list[str] = field(default_factory=list)
    _stored_tokens: int = 0

    @classmethod
    def going_on(cls, message: Message, kept: AnswerTokens | None, model: str) -> Answer:
        """Take up an answer that was cut short. kept: what is stored of its tokens. model: who goes on with it."""
        earlier = tokens_before(message, kept)
        if model != (message.model or ""):
            # Its numbers say something else to another model, which is given the text alone.
            earlier = msgspec.structs.replace(earlier, ids=[UNKNOWN_TOKEN] * len(earlier.ids))
        return cls(message.id, content=message.content, earlier=earlier, _stored_tokens=len(earlier.ids))

    @property
    def ids(self) -> list[int]:
        """All tokens of the answer."""
        return [*self.earlier.ids, *self.new_ids]

    @property
    def known_ids(self) -> list[int]:
        """The tokens to go on from; empty where those of some are not known, and it is gone on from the text."""
        return [] if UNKNOWN_TOKEN in self.earlier.ids else list(self.earlier.ids)

    @property
    def packed(self) -> bytes | None:
        """All tokens with what is known of them, as they are stored; None where nothing is."""
        chances = [*self.earlier.chances, *self.new_chances]
        if all(token_id == UNKNOWN_TOKEN for token_id in self.ids) and not any(chances):
            return None
        return pack_tokens(
            AnswerTokens(ids=self.ids, lengths=[*self.earlier.lengths, *self.new_lengths], chances=chances)
        )

    @property
    def is_stored(self) -> bool:
        """Whether the disk has every token."""
        return self._stored_tokens == len(self.earlier.ids) + len(self.new_ids)

    def add(self, token: Token) -> None:
        """Take in one token."""
        if self.first_token_s is None:
            self.first_token_s = time.monotonic()
        self.new_ids.append(token.id)
        self.new_lengths.append(0)
        self.new_chances.append(None if math.isnan(token.logprob) else math.exp(min(token.logprob, 0.0)))
        self.candidates = token.candidates or self.candidates
        self.add_text(token.text)

    def add_text(self, text: str) -> None:
        """Take in text: of the last token, or what was held back until the end."""
        if text:
            if self.new_lengths:
                self.new_lengths[-1] += len(text)
            self.content += text
            self._unshown.append(text)

    @property
    def first_token_ms(self) -> float | None:
        """How long the first new token took, None before it came."""
        return None if self.first_token_s is None else 1000 * (self.first_token_s - self.started_s)

    def take_unshown(self) -> str:
        """The text that came since the last call."""
        text = "".join(self._unshown)
        self._unshown.clear()
        return text

    def mark_stored(self, n_tokens: int) -> None:
        """Remember how many tokens the disk has."""
        self._stored_tokens = n_tokens

    def speed(self, finished: Finished | None) -> float | None:
        """Tokens a second: what the engine measured, or those since the first one where its Finished never came."""
        if finished is not None:
            return finished.tokens_per_second()
        if self.first_token_s is None or len(self.new_ids) < 2:
            return None
        return (len(self.new_ids) - 1) / max(time.monotonic() - self.first_token_s, 1e-6)

    def as_stored(self, finished: Finished | None) -> dict[str, Any]:
        """What finish_answer takes besides the text and the state.

        What the engine never told is what was seen here; the first token's time always is, as while it was written.
        """
        return {
            "prompt_tokens": finished.prompt_tokens if finished is not None else None,
            "generated_tokens": len(self.ids),
            "tokens_per_second": self.speed(finished),
            "first_token_ms": self.first_token_ms,
            "seed": finished.seed if finished is not None else None,
            "token_ids": pack_token_ids(self.ids),
            "tokens": self.packed,
        }
