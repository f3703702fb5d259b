"""Writes one answer: reads the prompt in batches, then chooses, tells and evaluates one token after the other."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from engine.answers.prompt import EncodedPrompt, check_ids, encode_prompt
from engine.answers.sampling import Choice, Floats, Sampler
from engine.answers.speculation import Lookahead
from engine.chat import StopMatcher
from engine.chat.channels import Channels, channels_of
from engine.chat.thought_channel import ThoughtChannel
from engine.control import Control
from engine.errors import EngineError
from engine.protocol import (
    AnyEvent,
    Candidate,
    ChatPrompt,
    Finished,
    FinishReason,
    Generate,
    PromptProgress,
    Token,
    TokenLogprob,
)
from engine.tokenizer import TextStream, Tokenizer

if TYPE_CHECKING:
    from engine.model import LanguageModel

ROOM_FOR_ANSWER = 256
"""Positions behind the prompt for which the cache is made ready together with the prompt's."""

TOLD_TOGETHER_S = 0.02
"""Tokens that come faster than this are told together: between two of them everything waits, with cold caches, and
whoever reads them looks up less often than that."""

PICKED_SEED_BITS = 32
"""Seeds that are picked are short enough to be typed."""

Emit = Callable[[AnyEvent], None]


def generate(model: LanguageModel, command: Generate, control: Control, emit: Emit) -> None:
    """Write an answer and emit its events: PromptProgress, Token, and Finished at last.

    control: looked at between tokens and between batches of the prompt. Raises EngineError instead of Finished.
    """
    if model.transformer is None:
        raise EngineError("Only the vocabulary of this model is open.", "Open the whole model to have it answer.")
    _Answer(model, command, control, emit).write()


class AnswerText:
    """Turns tokens into text that is certain: whole characters, and nothing of a stop text.

    channels: of an answer in a chat. before: ids of an answer that is being continued; their text has been told before.
    may_stop: whether there are stop texts, so that every token may be the last one.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        channels: Channels | ThoughtChannel | None,
        stops: Sequence[str],
        before: Sequence[int],
    ) -> None:
        self._tokenizer = tokenizer
        self._channels = channels
        self._opening = "" if channels is None else channels.opening
        self._stream = TextStream()
        self._matcher = StopMatcher(stops)
        self.may_stop = any(stops)
        self.stopped = False
        self.instead: str | None = None
        self._n_told = 0
        for token_id in before:
            self.feed(token_id)
        self._n_told = self._matcher.n_held

    def feed(self, token_id: int) -> str:
        """The text that is certain now that this token has come.

        Sets `stopped` if it ends a stop text, `instead` to what stands in its place, None if that is its own text.
        """
        self.instead = None if self._channels is None else self._channels.feed(token_id)
        if self.instead == "":
            return ""
        opening, self._opening = self._opening, ""
        if self.instead is None:
            return opening + self._new(self._certain(self._stream.feed(self._tokenizer.piece_bytes(token_id))))
        # A mark ends what the model wrote before it, and is no part of a stop text.
        return opening + self.tail(keep_halves=True) + self.instead

    def tail(self, *, keep_halves: bool) -> str:
        """What was held back. keep_halves: the beginning of a character becomes U+FFFD instead of nothing."""
        rest = self._certain(self._stream.flush()) if keep_halves else ""
        return self._new(rest + self._matcher.flush())

    def end(self, *, keep_halves: bool) -> str:
        """The last of the text. keep_halves: what may be half a mark or half a character is told as what it is."""
        tail = self.tail(keep_halves=keep_halves)
        return tail + self._channels.held() if keep_halves and self._channels is not None else tail

    def _certain(self, text: str) -> str:
        certain, self.stopped = self._matcher.feed(text)
        return certain

    def _new(self, text: str) -> str:
        """The text without what was told before it became certain, when the answer was interrupted."""
        n_old = min(self._n_told, len(text))
        self._n_told -= n_old
        return text[n_old:]


class _Answer:
    """One answer on its way. ids: all that the model was given to read or has chosen."""

    def __init__(self, model: LanguageModel, command: Generate, control: Control, emit: Emit) -> None:
        self.model, self.command, self.control, self.emit = model, command, control, emit
        self.seed = secrets.randbits(PICKED_SEED_BITS) if command.seed is None else command.seed
        self.prompt: EncodedPrompt = encode_prompt(model, command)
        check_ids(command.first_ids, model.tokenizer.vocab_size)
        self.ids = list(self.prompt.ids)
        self.n_prompt = len(self.ids)
        self.n_reused = 0
        self.next_candidates_s = 0.0
        self.untold: list[Choice] = []
        self.told_s = 0.0
        self.ahead = Lookahead(model)
        begin = self.n_prompt - self.prompt.n_answer
        channels = channels_of(model.tokenizer, self.ids[:begin]) if isinstance(command.prompt, ChatPrompt) else None
        stops = [*self.prompt.stops, *command.stop]
        self.text = AnswerText(model.tokenizer, channels, stops, self.ids[begin:])
        self.started_s = self.read_s = self.first_s = self.last_s = time.monotonic()

    @property
    def n_generated(self) -> int:
        return len(self.ids) - self.n_prompt

    def write(self) -> None:
        """Read the prompt, write the answer."""
        logits = self._read_prompt()
        self.read_s = self.first_s = self.last_s = time.monotonic()
        reason: FinishReason = "stopped"
        if logits is not None:
            try:
                reason = self._write_tokens(logits)
            finally:
                self._tell_tokens()
        tail = self.text.end(keep_halves=reason == "stop")
        self.emit(self._finished(reason, tail))

    def _read_prompt(self) -> Floats | None:
        """Evaluate what the cache does not hold yet; the last token's logits, None if stopped before."""
        model, ids, total = self.model, self.ids, self.n_prompt
        # The last token is always read, since its logits are needed.
        if self.command.reuse:
            model.enter_session(self.command.session, ids)
            self.n_reused = model.reusable(ids[:-1])
        else:
            model.leave_session()
        self._tell_progress(self.n_reused)
        model.expect(total + min(self._room() + 1, ROOM_FOR_ANSWER))
        logits = None
        for start, end in model.parts(ids, self.n_reused):
            if self.control.stopped:
                return None
            logits = model.evaluate(ids[start:end], start)
            self._tell_progress(end)
        return logits

    def _tell_progress(self, done: int) -> None:
        self.emit(
            PromptProgress(request_id=self.command.request_id, done=done, total=self.n_prompt, reused=self.n_reused)
        )

    def _write_tokens(self, logits: Floats) -> FinishReason:
        """Choose, tell and evaluate tokens until something ends the answer."""
        model, command, ids = self.model, self.command, self.ids
        sampler = Sampler(logits.size, self.seed, skip=self.prompt.n_answer)
        end_ids = frozenset() if command.ignore_eos else model.tokenizer.end_ids
        first_ids = iter(command.first_ids)
        while (reason := self._limit()) is None:
            if self.n_generated:
                logits = self.ahead.logits_after(ids, self._room() if command.speculate else 0)
            choice = sampler.choose(
                logits,
                ids,
                self.control.sampling,
                n_top=command.n_top,
                n_chances=self._n_candidates(),
                given=next(first_ids, None),
            )
            if choice.id in end_ids:
                return "stop"
            ids.append(choice.id)
            self._note(choice)
        return reason

    def _note(self, choice: Choice) -> None:
        """Tell of a token, unless the next one will be there soon enough to tell of both at once."""
        self.last_s = time.monotonic()
        if self.n_generated == 1:
            self.first_s = self.last_s
        self.untold.append(choice)
        if self.text.may_stop or self.last_s + self.ahead.batch_s >= self.told_s + TOLD_TOGETHER_S:
            self._tell_tokens()

    def _tell_tokens(self) -> None:
        self.told_s = self.last_s
        untold, self.untold = self.untold, []
        for choice in untold:
            self._tell_token(choice)

    def _n_candidates(self) -> int:
        """How many candidates to report with the next token: none where the last ones are still fresh."""
        now_s = time.monotonic()
        if now_s < self.next_candidates_s:
            return 0
        self.next_candidates_s = now_s + self.command.candidates_every_ms / 1000
        return self.command.n_candidates

    def _room(self) -> int:
        """How many more tokens may come after the next one."""
        most = self.control.sampling.max_new_tokens
        place = self.model.max_seq_len - len(self.ids)
        return max(0, place if most is None else min(place, most - self.n_generated - 1))

    def _limit(self) -> FinishReason | None:
        """What ends the answer before its next token, if anything does."""
        if self.text.stopped:
            return "stop"
        if self.control.stopped:
            return "stopped"
        most = self.control.sampling.max_new_tokens
        if most is not None and self.n_generated >= most:
            return "length"
        # The last token chosen needs a place in the cache before another one can follow.
        return "length" if len(self.ids) > self.model.max_seq_len else None

    def _tell_token(self, choice: Choice) -> None:
        piece_text = self.model.tokenizer.piece_text
        text = self.text.feed(choice.id)
        self.emit(
            Token(
                request_id=self.command.request_id,
                id=choice.id,
                text=text,
                instead=self.text.instead,
                logprob=choice.logprob,
                top=[TokenLogprob(token_id, logprob) for token_id, logprob in choice.top],
                candidates=[
                    Candidate(i, piece_text(i), model_p, sampler_p) for i, model_p, sampler_p in choice.chances
                ],
            )
        )

    def _finished(self, reason: FinishReason, tail: str) -> Finished:
        arrived_s = self.control.arrived_s
        return Finished(
            request_id=self.command.request_id,
            reason=reason,
            text_tail=tail,
            prompt_tokens=self.n_prompt,
            reused_tokens=self.n_reused,
            generated_tokens=self.n_generated,
            prompt_ms=1000 * (self.read_s - self.started_s),
            generate_ms=1000 * (self.last_s - self.read_s),
            first_token_ms=1000 * (self.first_s - arrived_s) if self.n_generated else 0.0,
            seed=self.seed,
            dropped_turns=self.prompt.dropped_turns,
            guessed_tokens=self.ahead.n_guessed,
            right_guesses=self.ahead.n_right,
            note=self.prompt.note,
        )
