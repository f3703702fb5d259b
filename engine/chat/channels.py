"""Answers in channels, as gpt-oss writes them: what it thinks and what it says are messages, each with a header.

    <|channel|>analysis<|message|>thoughts<|end|><|start|>assistant<|channel|>final<|message|>words<|return|>

The prompt ends amid the first header. In the answer's text, headers become the marks that other models put around
their thoughts. Source: OpenAI's description of the format, "harmony" (2025).

Models that mark thoughts themselves may find the first mark in the prompt (Qwen 3.5); it stands in the answer's text.
"""

from __future__ import annotations

from collections.abc import Sequence

from engine.chat.thought_channel import ThoughtChannel, encode_with_thoughts, mark_ids
from engine.chat.thoughts import THINK_BEGIN, THINK_END, split_thoughts
from engine.tokenizer.base import Tokenizer

START, CHANNEL, MESSAGE, END = MARKS = ("<|start|>", "<|channel|>", "<|message|>", "<|end|>")

ANALYSIS, FINAL, ROLE = "analysis", "final", "assistant"
"""The channels that are thought and said in, and who speaks."""

_BETWEEN = {
    (None, True): THINK_BEGIN,
    (None, False): "",
    (True, True): "\n\n",
    (True, False): THINK_END,
    (False, True): "\n\n" + THINK_BEGIN,
    (False, False): "\n\n",
}
"""What stands in the text where a message begins: by whether the one before was a thought (None: it is the first), and
whether this one is."""


class Channels:
    """Which of an answer's tokens are not text themselves, and what stands in their place; none in most vocabularies.

    prompt_ids: what was read before the answer. opening: what the text has before the first token, the mark of a
    thought that the prompt has begun.
    """

    def __init__(self, tokenizer: Tokenizer, prompt_ids: Sequence[int]) -> None:
        self._tokenizer = tokenizer
        ids = tokenizer.vocabulary.special_ids_of(MARKS)
        self._marks = dict(zip(ids, MARKS, strict=False))
        self._header: bytes | None = None
        self._thinks: bool | None = None
        self.opening = _begun_thought(tokenizer, prompt_ids)
        if ids:
            for token_id in _from_last(ids[MARKS.index(START)], prompt_ids):
                self.feed(token_id)

    @property
    def in_header(self) -> bool:
        """Whether the next token belongs to a message's header."""
        return self._header is not None

    def feed(self, token_id: int) -> str | None:
        """What stands in the token's place: a mark, or nothing as for all of a header; None: what the token says."""
        mark = self._marks.get(token_id)
        if mark == MESSAGE:
            thinks = (self._header or b"").startswith(ANALYSIS.encode())
            between = _BETWEEN[self._thinks, thinks]
            self._header, self._thinks = None, thinks
            return between
        if mark is not None:
            self._header = b""
            return ""
        if self._header is None:
            return None
        self._header += self._tokenizer.piece_bytes(token_id)
        return ""

    def held(self) -> str:
        """What was held back and belongs to the text, now that no more comes: nothing of a header does."""
        return ""


def has_channels(tokenizer: Tokenizer) -> bool:
    """Whether thoughts stand in channels in this vocabulary, and their marks in an answer's text were put there."""
    return bool(mark_ids(tokenizer) or tokenizer.vocabulary.special_ids_of(MARKS))


def channels_of(tokenizer: Tokenizer, prompt_ids: Sequence[int]) -> Channels | ThoughtChannel:
    """What reads the channels of an answer behind a prompt, as the vocabulary has them."""
    return ThoughtChannel(tokenizer, prompt_ids) if mark_ids(tokenizer) else Channels(tokenizer, prompt_ids)


def encode_answer(tokenizer: Tokenizer, prompt_ids: Sequence[int], text: str) -> list[int]:
    """Token ids of an answer's text as it stands behind a prompt: in messages, if the prompt ends amid a header.

    If it has begun a thought and the text does not begin with one, the thought ends before the text.
    """
    if mark_ids(tokenizer):
        return encode_with_thoughts(tokenizer, prompt_ids, text)
    channels = Channels(tokenizer, prompt_ids)
    if not channels.in_header:
        ended = closing(tokenizer, prompt_ids, text).removeprefix(channels.opening)
        said = ended + text.removeprefix(channels.opening)
        return tokenizer.encode(said, add_bos=False, parse_special=False)
    start, channel, message, end = tokenizer.vocabulary.special_ids_of(MARKS)
    parts: list[str | int] = []
    for is_thought, part in split_thoughts(text):
        if parts:
            parts += [end, start, ROLE]
        parts += [channel, ANALYSIS if is_thought else FINAL, message, part]
    return tokenizer.encode_parts(parts, add_bos=False)


def closing(tokenizer: Tokenizer, prompt_ids: Sequence[int], text: str) -> str:
    """What stands before an answer's text, and is no part of it: a thought that the prompt has begun, without words."""
    opening = "" if mark_ids(tokenizer) else _begun_thought(tokenizer, prompt_ids)
    return opening + THINK_END if opening and text and not text.startswith(opening) else ""


def _begun_thought(tokenizer: Tokenizer, prompt_ids: Sequence[int]) -> str:
    """The mark of a thought with which a prompt ends, if it does, with the line's end or without."""
    end = tokenizer.decode(prompt_ids[-len(THINK_BEGIN) :])
    return next((mark for mark in (THINK_BEGIN, THINK_BEGIN.rstrip()) if end.endswith(mark)), "")


def _from_last(start: int, ids: Sequence[int]) -> Sequence[int]:
    """The ids from the last message's beginning on; none if there is no message."""
    return ids[next((i for i in range(len(ids) - 1, -1, -1) if ids[i] == start), len(ids)) :]
