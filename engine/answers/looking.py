"""What is likely at a place of a conversation, told while nothing is written: nothing of it is chosen or forgotten.

Where a model's state only goes forward, a step back may have to read what lies between the place and a copy of the
state; the state at the end is kept to go on from there (recurrent_state.py).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from engine.answers.prompt import encode_prompt
from engine.answers.sampling import Floats, Sampler
from engine.chat.channels import channels_of, closing, encode_answer
from engine.control import Control
from engine.errors import ContextFullError, EngineError
from engine.protocol import AnyEvent, Candidate, ChatPrompt, Generate, Look, Looked, PromptProgress
from engine.tokenizer import TextStream, Tokenizer

if TYPE_CHECKING:
    from engine.model import LanguageModel

READ_UNASKED = 1
"""Tokens that are read without being asked to: no more than what a place in the cache takes anyway."""


@dataclass(frozen=True)
class _Conversation:
    """What is looked at: ids of the prompt and of the whole answer behind it, and the text of each of the latter."""

    prompt_ids: list[int]
    answer_ids: list[int]
    pieces: list[str]


class Looker:
    """Remembers the place that was looked at last: the same one with other settings costs a sampler's work."""

    def __init__(self, model: LanguageModel) -> None:
        if model.transformer is None:
            raise EngineError("Only the vocabulary of this model is open.", "Open the whole model to look into it.")
        self._model = model
        self._conversation: _Conversation | None = None
        self._ids: list[int] = []
        self._logits: Floats | None = None
        self._sampler: Sampler | None = None

    def look(self, command: Look, control: Control, emit: Callable[[AnyEvent], None]) -> Looked:
        """What is likely at a place. Raises EngineError where there is no such place, ContextFullError.

        control: looked at between batches of what is read; emit: takes PromptProgress while something is.
        """
        if command.prompt is not None:
            self._conversation = _encode(self._model, command.prompt, command)
        if self._conversation is None:
            raise EngineError("No conversation was looked at yet.", "Send it along.")
        known = self._conversation
        at = len(known.answer_ids) if command.at is None else min(max(command.at, 0), len(known.answer_ids))
        ids = known.prompt_ids + known.answer_ids[:at]
        if len(ids) > self._model.max_seq_len:
            raise ContextFullError(len(ids), self._model.max_seq_len)
        if command.read:
            whole = known.prompt_ids + known.answer_ids
            self._read(whole if self._model.goes_back else ids, command, control, emit)
        logits = self._logits_after(ids)
        told = Looked(request_id=command.request_id, at=at)
        if command.prompt is not None:
            told = msgspec.structs.replace(told, ids=known.answer_ids, pieces=known.pieces)
        if logits is None:
            n_unread = len(ids) - self._model.reusable(ids[:-1])
            return msgspec.structs.replace(told, n_unread=n_unread)
        followed = known.answer_ids[at] if at < len(known.answer_ids) else None
        return msgspec.structs.replace(told, candidates=self._candidates(logits, ids, followed, command))

    def _read(self, ids: list[int], command: Look, control: Control, emit: Callable[[AnyEvent], None]) -> None:
        """Read what the cache lacks of these, unless it is stopped on the way.

        What it has, but cannot go on from, is read again; what comes behind it stays.
        """
        model, ids = self._model, ids[: self._model.max_seq_len]
        model.enter_session(command.session, ids)
        first = model.reusable(ids[:-1])
        if len(ids) - first <= READ_UNASKED:
            return
        cached = list(model.cached_ids)
        again = cached[: len(ids)] == ids
        try:
            for start, end in model.parts(ids, first, again=again):
                if control.stopped:
                    return
                logits = model.evaluate(ids[start:end], start)
                if end == len(ids):
                    self._ids, self._logits = ids, logits.copy()
                emit(PromptProgress(request_id=command.request_id, done=end, total=len(ids), reused=first))
        finally:
            if again:
                model.put_back(cached)

    def _logits_after(self, ids: list[int]) -> Floats | None:
        """Logits after the last of ids, None where more than that one would have to be read first.

        A token that the cache has already is read again, which writes the same into it, so what comes behind it stays.
        Where layers have a state in place of a cache, that of the place before must be there: see `reusable`.
        """
        if self._logits is not None and ids == self._ids:
            return self._logits
        if len(ids) - self._model.reusable(ids[:-1]) > READ_UNASKED:
            return None
        cached = list(self._model.cached_ids)
        start = self._model.step_back(len(ids) - 1)
        self._ids, self._logits = ids, self._model.evaluate(ids[start:], start).copy()
        self._model.put_back(cached)
        return self._logits

    def _candidates(self, logits: Floats, ids: Sequence[int], followed: int | None, command: Look) -> list[Candidate]:
        if self._sampler is None:
            self._sampler = Sampler(logits.size, 0)
        chances = self._sampler.choose(
            logits, ids, command.sampling, n_chances=command.n_candidates, given=followed
        ).chances
        piece_text = self._model.tokenizer.piece_text
        return [Candidate(i, piece_text(i), model_p, sampler_p) for i, model_p, sampler_p in chances]


def _encode(model: LanguageModel, prompt: ChatPrompt, command: Look) -> _Conversation:
    """The conversation as it was read for the answer: turns that had to go for it are not there either."""
    asked = msgspec.structs.replace(prompt, answer_ids=[], answer_text="")
    prompt_ids = encode_prompt(model, Generate(prompt=asked, sampling=command.sampling)).ids
    tokenizer, ids, text = model.tokenizer, list(prompt.answer_ids), prompt.answer_text
    is_ours = all(0 <= token_id < tokenizer.vocab_size for token_id in ids)
    ended = closing(tokenizer, prompt_ids, text)
    pieces = _without(_pieces(tokenizer, prompt_ids, ids), ended) if is_ours else []
    if not is_ours or not "".join(pieces).startswith(text):
        # The tokens of another model, or none.
        ids = encode_answer(tokenizer, prompt_ids, text)
        pieces = _without(_pieces(tokenizer, prompt_ids, ids), ended)
        if tokenizer.adds_space_prefix and pieces and not text.startswith(" "):
            pieces[0] = pieces[0].removeprefix(" ")
    return _Conversation(prompt_ids, ids, pieces)


def _without(pieces: list[str], text: str) -> list[str]:
    """The same without a text that they begin with, which a tokenizer may have put a space into."""
    said = "".join(pieces)
    n = next((n for n in (len(text), len(text) + 1) if said[:n].replace(" ", "") == text), 0)
    rest = []
    for piece in pieces:
        rest.append(piece[n:])
        n = max(0, n - len(piece))
    return rest


def _pieces(tokenizer: Tokenizer, prompt_ids: Sequence[int], ids: Sequence[int]) -> list[str]:
    """What each token adds to the text: whole characters, at the token that completes them."""
    stream, channels, pieces = TextStream(), channels_of(tokenizer, prompt_ids), []
    for token_id in ids:
        instead = channels.feed(token_id)
        pieces.append(stream.feed(tokenizer.piece_bytes(token_id) if instead is None else instead.encode()))
    pieces[:1] = [channels.opening + piece for piece in pieces[:1]]
    pieces[-1:] = [piece + channels.held() for piece in pieces[-1:]]
    return pieces
