"""What the app asks of the engine."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

Role = Literal["system", "user", "assistant", "tool"]


class ToolCall(msgspec.Struct, frozen=True, omit_defaults=True):
    """A tool that an answer calls. arguments: by name, or as the model wrote them where they are no JSON object."""

    name: str
    arguments: dict[str, Any] | str
    id: str = ""


class ChatMessage(msgspec.Struct, frozen=True, omit_defaults=True):
    """One turn of a conversation, as the chat template sees it.

    tool_calls: an assistant's; tool_call_id, name: of the call and the tool that a message of the role `tool` is of.
    """

    role: Role
    content: str
    tool_calls: list[ToolCall] = []
    tool_call_id: str = ""
    name: str = ""


class ChatPrompt(msgspec.Struct, frozen=True, kw_only=True, tag="chat"):
    """A conversation, rendered by the model's chat template.

    template: a family's name (``chatml``, ``alpaca`` …) instead of the one that fits the model.
    answer_ids: tokens of an interrupted answer to go on from; the text of the events follows theirs (Detokenize gives
    it), and with the same seed and settings the answer goes on as it would have.
    answer_text: the same answer's text, for an engine that has no use for the ids: a server, or another model.
    whole: where the context cannot hold all turns, refuse instead of leaving out the oldest.
    """

    messages: list[ChatMessage]
    template: str | None = None
    answer_ids: list[int] = []
    answer_text: str = ""
    whole: bool = False


class TextPrompt(msgspec.Struct, frozen=True, kw_only=True, tag="text"):
    """A text to continue as it is; BOS is added where the model asks for it, special tokens are parsed."""

    text: str


class TokenPrompt(msgspec.Struct, frozen=True, kw_only=True, tag="tokens"):
    """Token ids to continue, as they are."""

    ids: list[int]


Prompt = ChatPrompt | TextPrompt | TokenPrompt


LEAST_PENALTY, MOST_PENALTY = 0.01, 100
"""With a penalty outside of this, logits leave the range of numbers, and the model would be blamed."""


class Sampling(msgspec.Struct, frozen=True, kw_only=True):
    """How the next token is chosen; may change while an answer is written.

    temperature 0 is greedy. top_k 0, top_p 1, min_p 0 and repeat_penalty 1 switch that sampler off.
    repeat_last_n: how many of the latest tokens the penalty looks at. max_new_tokens None: up to the context's end.
    """

    temperature: Annotated[float, msgspec.Meta(ge=0)] = 0.8
    top_k: Annotated[int, msgspec.Meta(ge=0)] = 40
    top_p: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.95
    min_p: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.05
    repeat_penalty: Annotated[float, msgspec.Meta(ge=LEAST_PENALTY, le=MOST_PENALTY)] = 1.0
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
    """Tell what is likely at a place of a conversation; nothing is chosen, and what the cache holds of it stays.

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
    """Text to token ids. with_pieces: tell each one's text, too."""

    text: str
    add_bos: bool = True
    parse_special: bool = True
    with_pieces: bool = True


class Detokenize(Command, frozen=True, tag="detokenize"):
    """Token ids to text. with_pieces: tell each one's own bytes, too."""

    ids: list[int]
    with_pieces: bool = False


class Score(Command, frozen=True, tag="score"):
    """How well the model predicts a text: windows of so many tokens, scored on each one's second half."""

    text: str
    window: int = 512


class Shutdown(Command, frozen=True, tag="shutdown"):
    """Stop what is running and exit."""


Question = Tokenize | Detokenize
"""What is answered between two tokens of an answer that is being written."""

Request = Load | Generate | Look | Score | Question
"""What waits for its turn and is answered, last of all by an Ending."""

AnyCommand = Request | Tune | Stop | Shutdown
