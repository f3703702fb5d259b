"""One answer from a server: its chunks become the events that the app knows, its clock and its counts included."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator

import msgspec

from engine.chat.stops import StopMatcher
from engine.chat.thoughts import THINK_BEGIN, THINK_END
from engine.errors import ServerError
from engine.protocol import (
    UNKNOWN_TOKEN,
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
from engine.remote.chunks import (
    Choice,
    Chunk,
    ReadSoFar,
    Timings,
    TokenLogprobs,
    TopLogprob,
    Usage,
    decode_chunk,
    lenient,
    token_logprobs,
    words,
)
from engine.remote.refusals import MAX_SAID
from engine.remote.sse import END_OF_STREAM
from engine.remote.surrogates import PairJoiner, without_halves
from engine.turns import split_turns

MAX_ANSWER_CHARS = 16 << 20
"""Ten novels: a server that writes more does not end by itself."""

MAX_REASON = 100
"""A reason is a word; so much of anything else is shown."""

MAX_TOKEN_ID = 2**31 - 1
"""The largest that is stored, and far beyond any vocabulary."""

MAX_COUNT = 2**31 - 1
"""More tokens than any context has."""

MAX_MS = 1e10
"""Four months: no answer takes longer."""

_REASONS: dict[str, FinishReason] = {"length": "length", "abort": "failed", "error": "failed"}
_PLAIN_REASONS = frozenset({"stop", "length", "eos_token", "stop_sequence"})


class RemoteAnswer:
    """What has come of one answer. Feed it the data of each event; `over` says that nothing more can come."""

    def __init__(self, command: Generate, seed: int) -> None:
        self.command = command
        self.seed = seed
        self.over = False
        self.notes: list[str] = []
        self.prompt_tokens = 0
        self.dropped_turns = 0
        self.n_tokens = 0
        self.n_events = 0
        self.gave_logprobs = False
        self.reason: FinishReason | None = None
        self._matcher = StopMatcher(command.stop)
        self._joiner = PairJoiner()
        self._thinking = False
        self._told_read = False
        self._n_chars = 0
        self._usage = Usage()
        self._timings = Timings()
        self._began_s = self._sent_s = self._first_s = self._last_s = time.monotonic()

    def leave_out(self, n_turns: int) -> None:
        """Ask without so many of the oldest turns."""
        prompt = self.command.prompt
        assert isinstance(prompt, ChatPrompt)
        system, turns = split_turns(prompt.messages)
        kept = [*system, *(message for turn in turns[n_turns:] for message in turn)]
        self.command = msgspec.structs.replace(self.command, prompt=msgspec.structs.replace(prompt, messages=kept))
        self.dropped_turns += n_turns

    def sent(self) -> None:
        """The request is on its way, perhaps not for the first time."""
        self._sent_s = self._first_s = self._last_s = time.monotonic()

    def feed(self, data: str) -> Iterator[AnyEvent]:
        """The events that one server-sent event stands for.

        ServerError if it tells of an error, or cannot be read while the answer is not at its end.
        """
        if data.strip() == END_OF_STREAM:
            self.over = True
            return
        try:
            chunk = decode_chunk(data)
        except (ValueError, RecursionError):
            if self.reason is not None:
                # The answer is whole; what comes behind it are figures at most.
                return
            raise ServerError("The server sent an event that is not in its interface's format.") from None
        _raise_error(chunk)
        self._take_figures(chunk)
        if (read := lenient(chunk.prompt_progress, ReadSoFar)) is not None:
            self._told_read = read.processed >= read.total
            yield PromptProgress(
                request_id=self.command.request_id,
                done=_believable(read.processed),
                total=_believable(read.total),
                reused=_believable(read.cache),
            )
        for choice in chunk.choices or []:
            if not choice.index and self.reason is None:
                yield from self._take(choice)

    def _take_figures(self, chunk: Chunk) -> None:
        self._usage = lenient(chunk.usage, Usage) or self._usage
        self._timings = lenient(chunk.timings, Timings) or self._timings
        self.prompt_tokens = _believable(self._usage.prompt_tokens)

    def _take(self, choice: Choice) -> Iterator[AnyEvent]:
        text, certain, stopped = self._text(choice)
        logprobs = token_logprobs(choice.logprobs)
        if text or logprobs:
            self._count(text)
            if not self._told_read:
                self._told_read = True
                yield PromptProgress(request_id=self.command.request_id, done=0, total=0, reused=0)
            yield from self._tokens(text, certain, logprobs)
            if stopped:
                self.reason = "stop"
                self.over = True
                return
        # Some servers write "" for null: the answer goes on.
        if choice.finish_reason:
            told = without_halves(str(choice.finish_reason))[:MAX_REASON]
            self.reason = _REASONS.get(told, "stop")
            if told not in _PLAIN_REASONS:
                self.notes.append(f"The server ended the answer for a reason of its own: {told}.")

    def _text(self, choice: Choice) -> tuple[str, str, bool]:
        """What a chunk adds, what of the answer is certain now, and whether a stop text has come."""
        text = certain = ""
        for part, is_mark in self._parts(choice):
            whole = self._joiner.feed(part)
            text += whole
            if is_mark:
                # A mark ends what the model wrote before it, and is no part of a stop text.
                certain += self._matcher.flush() + whole
                continue
            new, stopped = self._matcher.feed(whole)
            certain += new
            if stopped:
                return text, certain, True
        return text, certain, False

    def _parts(self, choice: Choice) -> Iterator[tuple[str, bool]]:
        """What a chunk adds in parts, each with whether it is a mark: servers take marks out, here they come back."""
        thought, said = words(choice, nothing_yet=not self.n_events)
        for text, is_thought in ((thought, True), (said, False)):
            if text and is_thought != self._thinking:
                self._thinking = is_thought
                begin = f"\n\n{THINK_BEGIN}" if self._n_chars else THINK_BEGIN
                yield (begin if is_thought else THINK_END), True
            yield text, False

    def _count(self, text: str) -> None:
        self._last_s = time.monotonic()
        if not self.n_events:
            self._first_s = self._last_s
        self.n_events += 1
        self._n_chars += len(text)
        if self._n_chars > MAX_ANSWER_CHARS:
            raise ServerError("The server writes without end; it was cut off.")

    def _tokens(self, raw: str, certain: str, logprobs: list[TokenLogprobs]) -> Iterator[Token]:
        """A Token for each log-probability, or one for all of the text where there is none."""
        name = self.command.request_id
        if not logprobs:
            self.n_tokens += 1
            yield Token(request_id=name, id=UNKNOWN_TOKEN, text=certain, logprob=math.nan)
            return
        self.gave_logprobs = True
        self.n_tokens += len(logprobs)
        pieces = [entry.token for entry in logprobs]
        if "".join(pieces) != raw or certain != raw:
            pieces = [""] * (len(pieces) - 1) + [certain]
        for entry, piece in zip(logprobs, pieces, strict=True):
            leading = sorted(
                (top for top in entry.top_logprobs or [] if math.isfinite(top.logprob)), key=lambda top: -top.logprob
            )
            yield Token(
                request_id=name,
                id=_possible(entry.id),
                text=piece,
                logprob=entry.logprob if math.isfinite(entry.logprob) else math.nan,
                top=[TokenLogprob(_possible(top.id), top.logprob) for top in leading[: self.command.n_top]],
                candidates=[_candidate(top) for top in leading[: self.command.n_candidates]],
            )

    def finished(self, reason: FinishReason | None = None, note: str = "") -> Finished:
        """The end. reason: why, where it was not the server that ended the answer."""
        why = reason or self.reason or "stop"
        tail = self._matcher.flush() + self._joiner.flush()
        if self._thinking and why in ("stop", "length"):
            tail += THINK_END.rstrip()
        if reason is None and not (self.n_events or self.notes) and self.command.sampling.max_new_tokens != 0:
            self.notes.append("The server's answer has no text.")
        details = self._usage.prompt_tokens_details
        return Finished(
            request_id=self.command.request_id,
            reason=why,
            text_tail=tail,
            prompt_tokens=self.prompt_tokens,
            reused_tokens=_believable(details.cached_tokens or 0) if details else 0,
            generated_tokens=_believable(self._usage.completion_tokens) or self.n_tokens,
            prompt_ms=_ms(self._timings.prompt_ms) or 1000 * (self._first_s - self._sent_s),
            generate_ms=_ms(self._timings.predicted_ms) or 1000 * (self._last_s - self._first_s),
            first_token_ms=1000 * (self._first_s - self._began_s) if self.n_events else 0.0,
            seed=self.seed,
            dropped_turns=self.dropped_turns,
            note=" ".join([*self.notes, note]).strip(),
        )


def _candidate(top: TopLogprob) -> Candidate:
    share = math.exp(min(top.logprob, 0.0))
    return Candidate(_possible(top.id), without_halves(top.token), share, share)


def _believable(told: int) -> int:
    """A server's count; 0 where it cannot be right."""
    return told if 0 <= told <= MAX_COUNT else 0


def _ms(told: float) -> float:
    """A server's clock; 0 where it cannot be right."""
    return told if 0 < told < MAX_MS else 0.0


def _possible(token_id: int) -> int:
    """A token's id, where it can be one."""
    return token_id if 0 <= token_id <= MAX_TOKEN_ID else UNKNOWN_TOKEN


def _raise_error(chunk: Chunk) -> None:
    """Servers that have begun a stream can only tell of an error in it; null, false and nothing are none."""
    # Some put the error's parts where others have the choices.
    error = chunk.error or (chunk.message if chunk.choices is None else None)
    if not error:
        return
    message = (error.get("message") if isinstance(error, dict) else None) or error
    said = without_halves(str(message))[:MAX_SAID]
    raise ServerError(f"The server failed while it was answering: {said}.")
