"""What the engine tells the app."""

from __future__ import annotations

from typing import Literal

import msgspec

from engine.protocol.card import ModelCard

UNKNOWN_TOKEN = -1
"""The id of a token where a server gives its text alone."""

FinishReason = Literal["stop", "length", "stopped", "failed"]
LoadStage = Literal["asking", "reading", "compiling", "preparing", "building", "warming"]
EngineState = Literal["empty", "loading", "ready", "reading_prompt", "writing"]


class TokenLogprob(msgspec.Struct, frozen=True, array_like=True):
    """A token and the natural log of its probability in the model's raw distribution."""

    id: int
    logprob: float


class Candidate(msgspec.Struct, frozen=True, array_like=True):
    """One leading candidate: its probability in the model and after the samplers (0 if they cut it off).

    A server tells one probability; both fields have it.
    """

    id: int
    text: str
    model_p: float
    sampler_p: float


class Event(msgspec.Struct, frozen=True, kw_only=True, tag_field="type"):
    """What happened in the engine. request_id: the command that it answers, "" when none."""

    request_id: str = ""


class Hello(Event, frozen=True, tag="hello"):
    """The first line of every engine: who speaks, and in which version of this protocol."""

    protocol_version: int
    engine_version: str
    pid: int
    cpu: str


class LoadProgress(Event, frozen=True, tag="load_progress"):
    """How far loading is.

    done and total are in bytes for preparing, and in kernels for compiling what every model needs and for building this
    one's own steps; reading and warming are 0 or 1 of 1. For asking a server they are 0.
    """

    stage: LoadStage
    done: int
    total: int
    detail: str = ""


class ModelReady(Event, frozen=True, tag="model_ready"):
    """The model answers from now on."""

    card: ModelCard
    load_s: float


class CardChanged(Event, frozen=True, tag="card_changed"):
    """More is known of the open model than ModelReady told: a server has shown what it can do."""

    card: ModelCard


class Notice(Event, frozen=True, tag="notice"):
    """Something that the user should know and that ends nothing; a whole sentence."""

    text: str


class PromptProgress(Event, frozen=True, tag="prompt_progress"):
    """How much of the prompt was read, in tokens; reused: how many the cache already held, which done counts in.

    0 of 0: it is read, and a server does not tell how long it is.
    """

    done: int
    total: int
    reused: int


class Token(Event, frozen=True, tag="token"):
    """One token of the answer.

    text: whole characters that are certain by now; empty for half a character, or the possible start of a stop text.
    instead: what stands in the text in place of what the token says: a mark, or nothing; None for the token's own.
    From a server that gives no log-probabilities, id is UNKNOWN_TOKEN, logprob NaN, and text may be several tokens'.
    """

    id: int
    text: str
    logprob: float
    instead: str | None = None
    top: list[TokenLogprob] = []
    candidates: list[Candidate] = []


class Looked(Event, frozen=True, tag="looked"):
    """What is likely at a place of a conversation.

    at: how many of the answer's tokens come before it. ids, pieces: the answer's tokens and the text that each adds,
    told when the command had a prompt. candidates: the leading ones, and the token that did follow when it is not
    among them. n_unread: so many tokens would have to be read first, and there are no candidates.
    """

    at: int
    ids: list[int] = []
    pieces: list[str] = []
    candidates: list[Candidate] = []
    n_unread: int = 0


class EngineStats(Event, frozen=True, tag="engine_stats"):
    """The engine's pulse, about twice a second while it works and every two seconds while it does not.

    tokens_per_second: of the running answer's last second; prompt_tokens_per_second: of the last prompt.
    """

    state: EngineState
    tokens_per_second: float
    prompt_tokens_per_second: float
    rss_bytes: int
    context_used: int
    context: int
    cpu_percent: float


class Finished(Event, frozen=True, tag="finished"):
    """The answer is over. text_tail: its last characters that no Token event carried.

    prompt_tokens: all of the prompt, reused_tokens (already in the cache) and answer_ids included. prompt_ms: for
    reading what was not reused. generate_ms: from its end to the last token. first_token_ms: from the command's arrival
    to the first token. dropped_turns: oldest turns that had to leave the context to make room. note: what the user
    should know, such as a chat template that failed and what took its place. guessed_tokens, right_guesses: what
    speculation tried, and what of it came true.
    """

    reason: FinishReason
    text_tail: str
    prompt_tokens: int
    reused_tokens: int
    generated_tokens: int
    prompt_ms: float
    generate_ms: float
    first_token_ms: float
    seed: int
    dropped_turns: int = 0
    guessed_tokens: int = 0
    right_guesses: int = 0
    note: str = ""

    def tokens_per_second(self) -> float | None:
        """The decoding speed; None where there is too little to tell.

        The first token comes from the prompt's own pass, so one pass fewer than tokens is timed.
        """
        if self.generated_tokens < 2 or self.generate_ms <= 0:
            return None
        return (self.generated_tokens - 1) / self.generate_ms * 1000


class Tokenized(Event, frozen=True, tag="tokenized"):
    """Token ids, and each one's text where the command wants it."""

    ids: list[int]
    pieces: list[str] = []


class Detokenized(Event, frozen=True, tag="detokenized"):
    """The text of token ids.

    pieces: each one's own bytes, perhaps half a character, where the command wants them; a control token's is its name.
    """

    text: str
    pieces: list[bytes] = []


class Scored(Event, frozen=True, tag="scored"):
    """The perplexity of a text: over how many scored tokens, and its standard error."""

    perplexity: float
    tokens: int
    stderr: float


class Failed(Event, frozen=True, tag="failed"):
    """A command could not be carried out. kind: the error's class name; hint: what the user can do."""

    kind: str
    message: str
    hint: str = ""


class HeartbeatMissed(Event, frozen=True, tag="heartbeat_missed"):
    """Nothing came from the engine for so long; said by the client, which goes on waiting."""

    silent_s: float


class EngineDied(Event, frozen=True, tag="engine_died"):
    """The engine's process ended without being asked to; said by the client."""

    exit_code: int | None
    signal: str | None
    message: str
    log_tail: list[str] = []


Ending = ModelReady | Finished | Looked | Tokenized | Detokenized | Scored | Failed
"""The last event that answers a request."""

AnyEvent = (
    Ending
    | Hello
    | LoadProgress
    | CardChanged
    | Notice
    | PromptProgress
    | Token
    | EngineStats
    | HeartbeatMissed
    | EngineDied
)
