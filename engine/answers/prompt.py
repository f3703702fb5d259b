"""From a Generate command's prompt to token ids that fit the context, whole turns at a time."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from engine.chat import ChatFormat, choose_format
from engine.chat.channels import encode_answer
from engine.errors import ContextFullError, EngineError, TemplateError
from engine.protocol import ChatPrompt, Generate, TextPrompt
from engine.turns import Turn, split_turns

if TYPE_CHECKING:
    from engine.model import LanguageModel

log = logging.getLogger(__name__)

ROOM_SHARE = 4
"""When turns must go, a quarter of the context is cleared for the answer, unless it is to be shorter than that. They go
in steps of a quarter of the context, so that the next prompts begin like this one and find their beginning cached."""

MESSAGE_OVERHEAD_TOKENS = 8
"""What a chat format puts around a message, about; only used to guess how many turns must go."""


@dataclass(frozen=True)
class EncodedPrompt:
    """What the model is to read.

    ids: all of it, answer_ids included. n_answer: how many of them, at the end, are the answer so far.
    stops: texts of the chat format that end an answer. note: what the user should know.
    """

    ids: list[int]
    n_answer: int = 0
    stops: tuple[str, ...] = ()
    dropped_turns: int = 0
    note: str = ""


def encode_prompt(model: LanguageModel, command: Generate) -> EncodedPrompt:
    """Token ids of the prompt. Raises ContextFullError, TemplateError, EngineError (nothing to read)."""
    prompt = command.prompt
    if isinstance(prompt, ChatPrompt):
        encoded = _encode_chat(model, prompt, command.sampling.max_new_tokens)
    elif isinstance(prompt, TextPrompt):
        tokenizer = model.tokenizer
        encoded = EncodedPrompt(tokenizer.encode(prompt.text, add_bos=tokenizer.add_bos, parse_special=True))
    else:
        encoded = EncodedPrompt(list(prompt.ids))
    check_ids(encoded.ids, model.tokenizer.vocab_size)
    if not encoded.ids:
        raise EngineError("There is nothing to answer: the prompt is empty.", "Write something.")
    if len(encoded.ids) > model.max_seq_len:
        raise ContextFullError(len(encoded.ids), model.max_seq_len)
    return encoded


def check_ids(ids: Iterable[int], vocab_size: int) -> None:
    """EngineError if a token id is none of the model's."""
    for token_id in ids:
        if not 0 <= token_id < vocab_size:
            raise EngineError(
                f"Token {token_id} does not exist: this model's are 0 to {vocab_size - 1}.",
                "Use tokens of this model; a conversation with another one is taken up from its text.",
            )


def _encode_chat(model: LanguageModel, prompt: ChatPrompt, max_new_tokens: int | None) -> EncodedPrompt:
    """Encode in the chosen chat format, else the model's own; in its fallback, with a note, if a template fails."""
    chat_format = model.chat_format
    if prompt.template is not None:
        chat_format = choose_format(model.metadata, model.card.path, prompt.template)
    try:
        return _fit_chat(model, chat_format, prompt, max_new_tokens)
    except TemplateError as error:
        if (fallback := chat_format.fallback) is None:
            raise
        log.warning("The model's chat template failed: %s", error.message)
        note = f"{error.message} The format {fallback.name} took its place."
        return replace(_fit_chat(model, fallback, prompt, max_new_tokens), note=note)


def _fit_chat(
    model: LanguageModel, chat_format: ChatFormat, prompt: ChatPrompt, max_new_tokens: int | None
) -> EncodedPrompt:
    """Encode; drop the oldest turns if the context cannot hold all of them and an answer.

    An answer that goes on has what it had when it began: what is there of it counts only once it leaves no place.
    """
    system, turns = split_turns(prompt.messages)

    def encode(n_dropped: int) -> list[int]:
        kept = [message for turn in turns[n_dropped:] for message in turn]
        return chat_format.encode(model.tokenizer, [*system, *kept])

    ids, n_dropped = encode(0), 0
    answer_ids = prompt.answer_ids
    if prompt.answer_text and not answer_ids:
        answer_ids = encode_answer(model.tokenizer, ids, prompt.answer_text)
    room = model.max_seq_len // ROOM_SHARE
    if max_new_tokens is not None:
        room = min(room, max(max_new_tokens, 1))
    limit = model.max_seq_len - max(room, len(answer_ids) + 1)
    if len(ids) > limit and len(turns) > 1 and not prompt.whole:
        guess = _turns_to_drop(model, chat_format, turns, len(ids) - limit)
        ids, n_dropped = _drop(encode, guess, len(turns) - 1, limit)
    return EncodedPrompt(ids + answer_ids, len(answer_ids), chat_format.stops, n_dropped, "")


def _drop(encode: Callable[[int], list[int]], first: int, most: int, limit: int) -> tuple[list[int], int]:
    """Drop so many turns or more, until the rest fits; the last turn always stays."""
    n_dropped = min(first, most)
    ids = encode(n_dropped)
    while len(ids) > limit and n_dropped < most:
        n_dropped += 1
        ids = encode(n_dropped)
    return ids, n_dropped


def _turns_to_drop(model: LanguageModel, chat_format: ChatFormat, turns: Sequence[Turn], excess: int) -> int:
    """How many of the oldest turns hold `excess` tokens, rounded up to whole steps; a guess that `_drop` checks."""
    step = max(model.max_seq_len // ROOM_SHARE, 1)
    goal = -(-excess // step) * step
    total = 0
    for n_dropped, turn in enumerate(turns, start=1):
        for message in chat_format.kept(model.tokenizer, turn):
            total += len(model.tokenizer.encode(message.content, add_bos=False, parse_special=False))
            total += MESSAGE_OVERHEAD_TOKENS
        if total >= goal:
            return n_dropped
    return len(turns)
