"""Thoughts between two tokens, as Gemma 4 writes them.

    <|channel>thought
    thoughts<channel|>words<turn|>

In the answer's text, the tokens become the marks that other models put around their thoughts. Source: the chat template
of Gemma 4 (Google 2026).
"""

from __future__ import annotations

from collections.abc import Sequence

from engine.chat.thoughts import THINK_BEGIN, THINK_END, split_thoughts
from engine.tokenizer.base import Tokenizer

OPEN, CLOSE = "<|channel>", "<channel|>"

HEADER = "thought\n"
"""What stands behind the first token: the channel's name."""


class ThoughtChannel:
    """Which of an answer's tokens are not text themselves, and what stands in their place.

    prompt_ids: what was read before the answer. opening: what the text has before the first token, the mark of a
    thought that the prompt has begun. Only for vocabularies with both tokens (`mark_ids`).
    """

    def __init__(self, tokenizer: Tokenizer, prompt_ids: Sequence[int]) -> None:
        self._tokenizer = tokenizer
        self._open, self._close = mark_ids(tokenizer)
        self._header: bytes | None = None
        self._thinks, self._has_text = False, False
        last = max((i for i, id_ in enumerate(prompt_ids) if id_ in (self._open, self._close)), default=None)
        if last is not None and prompt_ids[last] == self._open:
            for token_id in prompt_ids[last:]:
                self.feed(token_id)
        self.opening = THINK_BEGIN if self._thinks else ""

    def feed(self, token_id: int) -> str | None:
        """What stands in the token's place; None: what the token says.

        That is a mark; nothing, as for the channel's name; or what was held back as a beginning of that and is none.
        """
        if token_id == self._open:
            held, self._header = self.held(), b""
            return held
        if token_id == self._close:
            held = "" if self._header == HEADER.strip().encode() else self.held()
            ends, self._thinks, self._header = self._thinks, False, None
            return held + (THINK_END if ends else "")
        if self._header is None:
            self._has_text = True
            return None
        self._header += self._tokenizer.piece_bytes(token_id)
        header = HEADER.encode()
        if self._header.startswith(header):
            begun = self._header.removeprefix(header).decode("utf-8", "replace")
            before = (THINK_END if self._thinks else "") + ("\n\n" if self._has_text else "")
            self._header, self._thinks, self._has_text = None, True, True
            return before + THINK_BEGIN + begun
        if header.startswith(self._header):
            return ""
        return self.held()

    def held(self) -> str:
        """What was held back, now that no more of a channel's name comes."""
        held, self._header = (self._header or b"").decode("utf-8", "replace"), None
        self._has_text |= bool(held)
        return held


def encode_with_thoughts(tokenizer: Tokenizer, prompt_ids: Sequence[int], text: str) -> list[int]:
    """Token ids of an answer's text as it stands behind a prompt, its thoughts between the two tokens."""
    opening, closing = mark_ids(tokenizer)
    parts: list[str | int] = []
    for is_thought, part in split_thoughts(text):
        parts += [opening, HEADER + part, closing] if is_thought else [part]
    if parts[-1] == closing:
        parts.pop()  # the thought was interrupted
    if parts[0] == opening and ThoughtChannel(tokenizer, prompt_ids).opening:
        parts[:2] = [str(parts[1]).removeprefix(HEADER)]
    return tokenizer.encode_parts(parts, add_bos=False)


def mark_ids(tokenizer: Tokenizer) -> tuple[int, ...]:
    """The two tokens; nothing in vocabularies without them."""
    return tokenizer.vocabulary.special_ids_of((OPEN, CLOSE))
