"""Answers in the interface's shapes: chat and completion, whole and piece by piece."""

from __future__ import annotations

import codecs
import secrets
import time
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

from engine.protocol import Finished, PromptProgress
from engine.server.requests import AnyRequest, ChatRequest

_REASONS = {"stop": "stop", "length": "length", "stopped": "stop", "failed": "error"}

Json = dict[str, Any]


@dataclass(frozen=True)
class TokenLogprobs:
    """One token of the answer, and the leading candidates for its place, each with its bytes and log-probability."""

    piece: bytes
    logprob: float
    top: list[tuple[bytes, float]]


class Reply(ABC):
    """The answer to one request."""

    id_prefix: ClassVar[str]
    whole_kind: ClassVar[str]
    piece_kind: ClassVar[str]

    def __init__(self, request: AnyRequest, model: str) -> None:
        self.request = request
        self._model = model
        self._id = f"{self.id_prefix}-{secrets.token_hex(12)}"
        self._created = int(time.time())

    @abstractmethod
    def _piece_choice(self, text: str) -> Json:
        """How a choice has a further piece of text."""

    @abstractmethod
    def _whole_choice(self, text: str) -> Json:
        """How a choice has the whole text."""

    @abstractmethod
    def _logprobs(self, tokens: list[TokenLogprobs]) -> Json:
        """How a choice has log-probabilities."""

    def beginning(self) -> Json | None:
        """What comes before the first piece, if anything does."""
        return None

    def piece(self, text: str, tokens: list[TokenLogprobs]) -> Json:
        """A further piece of the answer."""
        choice = self._choice(self._piece_choice(text), tokens if tokens else None, None)
        return self._frame(self.piece_kind, [choice])

    def progress(self, read: PromptProgress) -> Json:
        """How much of the prompt was read, as llama.cpp's server tells it."""
        progress = {"total": read.total, "cache": read.reused, "processed": read.done}
        return {**self._frame(self.piece_kind, []), "prompt_progress": progress}

    def end(self, finished: Finished) -> Json:
        """The last piece, which has the reason for the end and no text."""
        choice = self._choice(self._piece_choice(""), None, _REASONS[finished.reason])
        return {**self._frame(self.piece_kind, [choice]), "timings": _timings(finished)}

    def usage(self, finished: Finished) -> Json:
        """The counts, after the last piece of a stream."""
        return {**self._frame(self.piece_kind, []), "usage": _usage(finished)}

    def whole(self, text: str, tokens: list[TokenLogprobs], finished: Finished) -> Json:
        """All of the answer at once."""
        wanted = tokens if self.request.n_logprobs is not None else None
        choice = self._choice(self._whole_choice(text), wanted, _REASONS[finished.reason])
        frame = self._frame(self.whole_kind, [choice])
        return {**frame, "usage": _usage(finished), "timings": _timings(finished)}

    def _choice(self, content: Json, tokens: list[TokenLogprobs] | None, reason: str | None) -> Json:
        logprobs = None if tokens is None else self._logprobs(tokens)
        return {"index": 0, **content, "logprobs": logprobs, "finish_reason": reason}

    def _frame(self, kind: str, choices: list[Json]) -> Json:
        return {"id": self._id, "object": kind, "created": self._created, "model": self._model, "choices": choices}


class ChatReply(Reply):
    """The answer to a chat."""

    id_prefix = "chatcmpl"
    whole_kind = "chat.completion"
    piece_kind = "chat.completion.chunk"

    def beginning(self) -> Json:
        """Whose turn it is."""
        choice = self._choice({"delta": {"role": "assistant", "content": ""}}, None, None)
        return self._frame(self.piece_kind, [choice])

    def _piece_choice(self, text: str) -> Json:
        return {"delta": {"content": text} if text else {}}

    def _whole_choice(self, text: str) -> Json:
        return {"message": {"role": "assistant", "content": text, "refusal": None}}

    def _logprobs(self, tokens: list[TokenLogprobs]) -> Json:
        content = [
            {**_entry(token.piece, token.logprob), "top_logprobs": [_entry(piece, p) for piece, p in token.top]}
            for token in tokens
        ]
        return {"content": content, "refusal": None}


class CompletionReply(Reply):
    """The answer to a text that is to be gone on with."""

    id_prefix = "cmpl"
    whole_kind = piece_kind = "text_completion"

    def __init__(self, request: AnyRequest, model: str) -> None:
        super().__init__(request, model)
        self._offset = 0
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def _piece_choice(self, text: str) -> Json:
        return {"text": text}

    _whole_choice = _piece_choice

    def _logprobs(self, tokens: list[TokenLogprobs]) -> Json:
        offsets = []
        for token in tokens:
            offsets.append(self._offset)
            self._offset += len(self._decoder.decode(token.piece))
        return {
            "tokens": [_text(token.piece) for token in tokens],
            "token_logprobs": [token.logprob for token in tokens],
            "top_logprobs": [{_text(piece): p for piece, p in token.top} for token in tokens],
            "text_offset": offsets,
        }


def reply_to(request: AnyRequest, model: str) -> Reply:
    """The answer's shape that fits a request."""
    return ChatReply(request, model) if isinstance(request, ChatRequest) else CompletionReply(request, model)


def _entry(piece: bytes, logprob: float) -> Json:
    return {"token": _text(piece), "logprob": logprob, "bytes": list(piece)}


def _text(piece: bytes) -> str:
    """A token's text; half a character is shown by its bytes."""
    return piece.decode("utf-8", "backslashreplace")


def _usage(finished: Finished) -> Json:
    return {
        "prompt_tokens": finished.prompt_tokens,
        "completion_tokens": finished.generated_tokens,
        "total_tokens": finished.prompt_tokens + finished.generated_tokens,
        "prompt_tokens_details": {"cached_tokens": finished.reused_tokens},
    }


def _timings(finished: Finished) -> Json:
    """The clock, as llama.cpp's server tells it."""
    return {
        "cache_n": finished.reused_tokens,
        "prompt_n": finished.prompt_tokens - finished.reused_tokens,
        "prompt_ms": finished.prompt_ms,
        "predicted_n": finished.generated_tokens,
        "predicted_ms": finished.generate_ms,
        "seed": finished.seed,
    }
