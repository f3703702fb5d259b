"""The pieces of a streamed answer as servers send them, in the shapes of chat, of completions and of llama.cpp."""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

_S = TypeVar("_S", bound=msgspec.Struct)


class Delta(msgspec.Struct, frozen=True):
    """What a chat answer has more than before; a model that thinks aloud does so in one of the other two."""

    content: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None


class Choice(msgspec.Struct, frozen=True):
    """One answer's part of a chunk; text is a completion's. index: null is the first, too."""

    index: int | None = 0
    delta: Delta | None = None
    text: str | None = None
    logprobs: msgspec.Raw = msgspec.Raw(b"null")
    finish_reason: str | None = None


class PromptTokensDetails(msgspec.Struct, frozen=True):
    """How much of the prompt the server had read before."""

    cached_tokens: int | None = None


class Usage(msgspec.Struct, frozen=True):
    """How long prompt and answer are."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    prompt_tokens_details: PromptTokensDetails | None = None


class Timings(msgspec.Struct, frozen=True):
    """llama.cpp's clock."""

    prompt_ms: float = 0.0
    predicted_ms: float = 0.0


class ReadSoFar(msgspec.Struct, frozen=True):
    """llama.cpp's progress with the prompt, in tokens."""

    total: int
    cache: int
    processed: int


class Chunk(msgspec.Struct, frozen=True):
    """One event. What is not essential may have any shape and is looked at with `lenient`."""

    choices: list[Choice] | None = None
    usage: msgspec.Raw = msgspec.Raw(b"null")
    timings: msgspec.Raw = msgspec.Raw(b"null")
    prompt_progress: msgspec.Raw = msgspec.Raw(b"null")
    error: msgspec.Raw = msgspec.Raw(b"null")


class TopLogprob(msgspec.Struct, frozen=True):
    """A candidate for a token's place."""

    token: str
    logprob: float
    id: int = -1


class TokenLogprobs(msgspec.Struct, frozen=True):
    """One token; id is llama.cpp's own addition."""

    token: str
    logprob: float
    id: int = -1
    top_logprobs: list[TopLogprob] | None = None


class _ChatLogprobs(msgspec.Struct, frozen=True):
    content: list[TokenLogprobs] | None = None


class _CompletionLogprobs(msgspec.Struct, frozen=True):
    """The older shape: a list for each thing."""

    tokens: list[str]
    token_logprobs: list[float | None]
    top_logprobs: list[dict[str, float] | None] | None = None


decode_chunk = msgspec.json.Decoder(Chunk).decode


def lenient(raw: msgspec.Raw, kind: type[_S]) -> _S | None:
    """A part of a chunk; None where it is missing or has another shape."""
    try:
        return msgspec.json.decode(raw, type=kind | None)
    except msgspec.ValidationError:
        return None


def anything(raw: msgspec.Raw) -> Any:
    """A part of a chunk, whatever it is."""
    return msgspec.json.decode(raw)


def token_logprobs(raw: msgspec.Raw) -> list[TokenLogprobs]:
    """The chunk's tokens with their log-probabilities; empty where the server gives none."""
    chat = lenient(raw, _ChatLogprobs)
    if chat is not None and chat.content:
        return chat.content
    lists = lenient(raw, _CompletionLogprobs)
    if lists is None:
        return []
    tops = lists.top_logprobs or [None] * len(lists.tokens)
    return [
        TokenLogprobs(token, logprob or 0.0, top_logprobs=[TopLogprob(text, p) for text, p in (top or {}).items()])
        for token, logprob, top in zip(lists.tokens, lists.token_logprobs, tops, strict=False)
    ]
