"""Messages between the app and the engine: commands are imperatives, events are what happened.

One message is one line of JSON. Commands go to the worker's stdin, events come from its stdout.
Everything here imports msgspec alone, so that the app stays light.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

PROTOCOL_VERSION = 1

UNKNOWN_TOKEN = -1
"""The id of a token where a server gives its text alone."""

Role = Literal["system", "user", "assistant"]
FinishReason = Literal["stop", "length", "stopped", "failed"]
LoadStage = Literal["reading", "preparing", "compiling", "warming"]
EngineState = Literal["empty", "loading", "ready", "reading_prompt", "writing"]


class ChatMessage(msgspec.Struct, frozen=True):
    """One turn of a conversation, as the chat template sees it."""

    role: Role
    content: str


class ChatPrompt(msgspec.Struct, frozen=True, kw_only=True, tag="chat"):
    """A conversation, rendered by the model's chat template.

    template: a family's name (``chatml``, ``alpaca`` …) instead of the one that fits the model.
    answer_ids: tokens of an interrupted answer to go on from; the text of the events follows theirs (Detokenize gives
    it), and with the same seed and settings the answer goes on as it would have.
    answer_text: the same answer's text, for an engine that has no use for the ids: a server, or another model.
    """

    messages: list[ChatMessage]
    template: str | None = None
    answer_ids: list[int] = []
    answer_text: str = ""


class TextPrompt(msgspec.Struct, frozen=True, kw_only=True, tag="text"):
    """A text to continue as it is; BOS is added where the model asks for it, special tokens are parsed."""

    text: str


class TokenPrompt(msgspec.Struct, frozen=True, kw_only=True, tag="tokens"):
    """Token ids to continue, as they are."""

    ids: list[int]


Prompt = ChatPrompt | TextPrompt | TokenPrompt


class Sampling(msgspec.Struct, frozen=True, kw_only=True):
    """How the next token is chosen; may change while an answer is written.

    temperature 0 is greedy. top_k 0, top_p 1, min_p 0 and repeat_penalty 1 switch that sampler off.
    repeat_last_n: how many of the latest tokens the penalty looks at. max_new_tokens None: up to the context's end.
    """

    temperature: Annotated[float, msgspec.Meta(ge=0)] = 0.8
    top_k: Annotated[int, msgspec.Meta(ge=0)] = 40
    top_p: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.95
    min_p: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.05
    repeat_penalty: Annotated[float, msgspec.Meta(gt=0)] = 1.0
    repeat_last_n: Annotated[int, msgspec.Meta(ge=0)] = 64
    max_new_tokens: Annotated[int, msgspec.Meta(ge=0)] | None = None


KVType = Literal["f16", "q8_0"]


class Command(msgspec.Struct, frozen=True, kw_only=True, tag_field="type"):
    """What the app asks of the engine. request_id comes back in every event that answers it."""

    request_id: str = ""


class Load(Command, frozen=True, tag="load"):
    """Open a model; unloads the one before.

    context: positions to provide for, None for the model's own limit or what fits. threads: None for the physical cores
    this process may use. cache_dir: where prepared panels, compiled kernels and the caches of sessions go; None for
    nowhere. keep_panels: False keeps the panels in memory. cache_limit_bytes: for the panels of all models. vocab_only:
    tokenizer, no weights. kv_type: what keys and values are kept as: half precision, or 8 bits in half the room, which
    changes answers a little. base: the model that `path`, an adapter or a difference, is added to.
    """

    path: str
    context: int | None = None
    threads: int | None = None
    cache_dir: str | None = None
    keep_panels: bool = True
    cache_limit_bytes: int | None = None
    vocab_only: bool = False
    kv_type: KVType = "f16"
    base: str | None = None


class Generate(Command, frozen=True, tag="generate"):
    """Write an answer. One at a time: a second one waits for the first to end.

    seed: None picks one (told in Finished). stop: texts that end the answer and are not part of it.
    n_top: leading log-probabilities to report per token (raw distribution). n_candidates: leading candidates to
    report with their probability before and after the samplers; candidates_every_ms: at most so often, 0 for every
    token. reuse: start from the cached common prefix.
    session: whose cache this is; kept on disk between its answers when it has a name. speculate: guess tokens ahead
    where the text repeats itself; changes the speed alone, never the answer.
    first_ids: the answer's first tokens, which somebody else has chosen; told like all others.
    """

    prompt: Prompt
    sampling: Sampling = Sampling()
    seed: int | None = None
    stop: list[str] = []
    n_top: int = 0
    n_candidates: int = 0
    candidates_every_ms: int = 0
    ignore_eos: bool = False
    reuse: bool = True
    session: str = ""
    speculate: bool = True
    first_ids: list[int] = []


class Look(Command, frozen=True, tag="look"):
    """Tell what is likely at a place of a conversation; nothing is chosen, and what the cache holds stays.

    prompt: as in Generate, with the whole last answer; None for the one of the Look before. at: how many tokens of the
    answer come before the place, None for all. n_candidates: as in Generate; what did follow there is told too.
    read: read what the cache lacks, however long that takes. Without it, at most one token is read, and else none told.
    session: whose cache on disk may be taken for reading.
    """

    prompt: ChatPrompt | None = None
    at: int | None = None
    sampling: Sampling = Sampling()
    n_candidates: int = 0
    read: bool = False
    session: str = ""


class Tune(Command, frozen=True, tag="tune"):
    """New sampling settings for the answer with this request_id, from its next token on."""

    sampling: Sampling


class Stop(Command, frozen=True, tag="stop"):
    """End the answer with this request_id after the current token; what was written stays."""


class Tokenize(Command, frozen=True, tag="tokenize"):
    """Text to token ids."""

    text: str
    add_bos: bool = True
    parse_special: bool = True


class Detokenize(Command, frozen=True, tag="detokenize"):
    """Token ids to text."""

    ids: list[int]


class Score(Command, frozen=True, tag="score"):
    """How well the model predicts a text: windows of so many tokens, scored on each one's second half."""

    text: str
    window: int = 512


class Unload(Command, frozen=True, tag="unload"):
    """Close the model and give its memory back."""


class Shutdown(Command, frozen=True, tag="shutdown"):
    """Stop what is running and exit."""


AnyCommand = Load | Generate | Look | Tune | Stop | Tokenize | Detokenize | Score | Unload | Shutdown


class Abilities(msgspec.Struct, frozen=True, kw_only=True):
    """What an engine can do of what the app may ask. None: a server has not shown yet whether it can.

    tune: new settings reach the answer that is being written. go_on: an interrupted answer is taken up in mid-sentence.
    look: it tells what is likely at a place of a conversation, and goes on from there with a token of one's choice.
    template: another chat template than the model's own. memory: EngineStats has figures of memory and processor.
    """

    top_k: bool | None = True
    min_p: bool | None = True
    repeat_penalty: bool | None = True
    seed: bool | None = True
    logprobs: bool | None = True
    tokenize: bool | None = True
    go_on: bool | None = True
    look: bool = True
    tune: bool = True
    template: bool = True
    memory: bool = True


class ModelCard(msgspec.Struct, frozen=True, kw_only=True):
    """What a loaded model is, in the words that a user would use.

    context: positions provided for; max_context: the model's own limit. template: the chat format's name;
    template_source: "file" (the model's own Jinja), "family" (recognised) or "chosen".
    sampling: what its makers recommend.
    Of a model on a server, path is its address, format is "server", and 0 or "" is what the server does not tell.
    """

    name: str
    path: str
    format: str
    architecture: str
    quantization: str
    parameters: int
    size_bytes: int
    context: int
    max_context: int
    layers: int
    vocab: int
    template: str
    template_source: str
    weights_bytes: int
    kv_bytes_per_token: int
    threads: int
    sampling: Sampling = Sampling()
    abilities: Abilities = Abilities()


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
    """How far loading is. done and total are in bytes for reading and preparing, in kernels for compiling."""

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
    From a server that gives no log-probabilities, id is UNKNOWN_TOKEN, logprob NaN, and text may be several tokens'.
    """

    id: int
    text: str
    logprob: float
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
    reading what was not reused. generate_ms: from its end to the last token, of which the first costs nothing more: the
    decoding speed is (generated_tokens - 1) / generate_ms. first_token_ms: from the command's arrival to the first
    token. dropped_turns: oldest turns that had to leave the context to make room. note: what the user should know,
    such as a chat template that failed and what took its place. guessed_tokens, right_guesses: what speculation tried,
    and what of it came true.
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


class Tokenized(Event, frozen=True, tag="tokenized"):
    """Token ids, and each one's text."""

    ids: list[int]
    pieces: list[str]


class Detokenized(Event, frozen=True, tag="detokenized"):
    """The text of token ids. pieces: each one's own bytes, perhaps half a character; a control token's is its name."""

    text: str
    pieces: list[bytes] = []


class Scored(Event, frozen=True, tag="scored"):
    """The perplexity of a text: over how many scored tokens, and its standard error."""

    perplexity: float
    tokens: int
    stderr: float


class Unloaded(Event, frozen=True, tag="unloaded"):
    """No model is open any more."""


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


AnyEvent = (
    Hello
    | LoadProgress
    | ModelReady
    | CardChanged
    | Notice
    | PromptProgress
    | Token
    | EngineStats
    | Finished
    | Looked
    | Tokenized
    | Detokenized
    | Scored
    | Unloaded
    | Failed
    | HeartbeatMissed
    | EngineDied
)

command_encoder = msgspec.json.Encoder()
command_decoder = msgspec.json.Decoder(AnyCommand)
event_encoder = msgspec.json.Encoder()
event_decoder = msgspec.json.Decoder(AnyEvent)
