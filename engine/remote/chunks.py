"""The pieces of a streamed answer as servers send them, in the shapes of chat, of completions and of llama.cpp."""

from __future__ import annotations

import json
from typing import Any, TypeVar

import msgspec

_S = TypeVar("_S", bound=msgspec.Struct)


class Delta(msgspec.Struct, frozen=True):
    """What a chat answer has more than before; a model that thinks aloud does so in one of the other two."""

    content: Any = None
    reasoning_content: Any = None
    reasoning: Any = None
    refusal: Any = None


class Choice(msgspec.Struct, frozen=True):
    """One answer's part of a chunk; text is a completion's. index: null is the first, too.

    message: the whole answer, from servers that do not send it in pieces.
    """

    index: Any = 0
    delta: Any = None
    message: Any = None
    text: Any = None
    logprobs: Any = None
    finish_reason: Any = None


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
    usage: Any = None
    timings: Any = None
    prompt_progress: Any = None
    error: Any = None
    message: Any = None


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


_decode = msgspec.json.Decoder(Chunk).decode


def decode_chunk(data: str) -> Chunk:
    """One event. ValueError or RecursionError if it is none. Texts may have single halves of characters."""
    try:
        return _decode(data)
    except msgspec.ValidationError:
        raise
    except msgspec.DecodeError:
        # Single halves of characters, NaN and infinities are no JSON; Python's own reader takes them.
        return msgspec.convert(json.loads(data), Chunk)


def is_answer(data: str) -> bool:
    """Whether a whole answer has come, or why there is none, where its pieces were asked for."""
    try:
        chunk = decode_chunk(data)
    except (ValueError, RecursionError):
        return False
    return bool(chunk.choices or chunk.error)


def lenient(part: Any, kind: type[_S]) -> _S | None:
    """A part of a chunk; None where it is missing or has another shape."""
    try:
        return msgspec.convert(part, kind | None, strict=False)
    except msgspec.ValidationError:
        return None


def words(choice: Choice, *, nothing_yet: bool) -> tuple[str, str]:
    """What a chunk adds to the thoughts and to the answer.

    nothing_yet: a whole answer counts; behind pieces it would only repeat them.
    """
    told = choice.delta if choice.delta is not None else choice.message if nothing_yet else None
    delta = lenient(told, Delta)
    if delta is None:
        return "", _text_of(choice.text)
    thoughts, texts = _parts(delta.content)
    thought = _text_of(delta.reasoning_content) or _text_of(delta.reasoning)
    return thought + thoughts, texts + _text_of(delta.refusal)


def _parts(content: Any) -> tuple[str, str]:
    """The thoughts and the text of a content, which may be a list of parts of both kinds."""
    parts = [part for part in content if isinstance(part, dict)] if isinstance(content, list) else []
    thoughts = "".join(_text_of(part.get("thinking")) for part in parts)
    return thoughts, _text_of(content)


def _text_of(content: Any) -> str:
    """A text, or the texts of its parts."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return ""
    texts = [part.get("text") or part.get("refusal") if isinstance(part, dict) else part for part in content]
    return "".join(text for text in texts if isinstance(text, str))


def token_logprobs(part: Any) -> list[TokenLogprobs]:
    """The chunk's tokens with their log-probabilities; empty where the server gives none."""
    chat = lenient(part, _ChatLogprobs)
    if chat is not None and chat.content:
        return chat.content
    lists = lenient(part, _CompletionLogprobs)
    if lists is None:
        return []
    tops = lists.top_logprobs or [None] * len(lists.tokens)
    return [
        TokenLogprobs(token, logprob or 0.0, top_logprobs=[TopLogprob(text, p) for text, p in (top or {}).items()])
        for token, logprob, top in zip(lists.tokens, lists.token_logprobs, tops, strict=False)
    ]
