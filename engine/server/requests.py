"""What clients ask for, checked, as the engine's own Generate command."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

import msgspec

from engine.protocol import (
    LEAST_PENALTY,
    MOST_PENALTY,
    ChatMessage,
    ChatPrompt,
    Generate,
    Prompt,
    Role,
    Sampling,
    TextPrompt,
    TokenPrompt,
    ToolCall,
)

MAX_STOPS = 16
MAX_LOGPROBS = 20
MAX_ARGUMENT_DEPTH = 64
"""How far lists and objects in the arguments of a call may lie in one another; whoever goes through them recurses."""
COMPLETION_TOKENS = 16
"""How long a completion is where nobody says: the interface's own default."""

Temperature = Annotated[float, msgspec.Meta(ge=0)]
Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
Factor = Annotated[float, msgspec.Meta(ge=LEAST_PENALTY, le=MOST_PENALTY)]
Count = Annotated[int, msgspec.Meta(ge=0)]
Limit = Annotated[int, msgspec.Meta(ge=-1)]
"""-1 is none, as in llama.cpp's server and in what LM Studio's clients send."""

_ROLES: dict[str, Role] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "assistant": "assistant",
    "tool": "tool",
}
_R = TypeVar("_R", bound=msgspec.Struct)


@dataclass(frozen=True)
class Defaults:
    """What holds where a request says nothing, as the server's owner has it.

    recommended: with what the model's makers advise, which holds whole or not at all. usual: without, for requests that
    give a sampler.
    """

    recommended: Sampling
    usual: Sampling


class RequestError(Exception):
    """A request cannot be carried out. code: a word for programs. param: the part that is wrong."""

    def __init__(self, status: int, message: str, code: str = "invalid_request", param: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code
        self.param = param


class StreamOptions(msgspec.Struct):
    """What a stream tells beside the text."""

    include_usage: bool | None = None


class TextPart(msgspec.Struct):
    """A part of a message; text is the only kind that a language model reads."""

    type: str
    text: str | None = None


class CalledFunction(msgspec.Struct):
    """What a tool's call has: the function's name, and its arguments as a JSON text or as an object."""

    name: str
    arguments: str | dict[str, Any] | None = None


class CalledTool(msgspec.Struct):
    """A tool that an earlier answer called."""

    function: CalledFunction
    id: str | None = None

    def command(self, where: str) -> ToolCall:
        """The engine's own form; templates expect an object, which clients send as a text. Raises RequestError."""
        arguments = self.function.arguments or {}
        if isinstance(arguments, str):
            try:
                arguments = msgspec.json.decode(arguments, type=dict[str, Any])
            except (msgspec.DecodeError, RecursionError):
                # A model that was cut short, or erred, did write that.
                pass
        if _is_deeper(arguments, MAX_ARGUMENT_DEPTH):
            raise RequestError(400, f"Arguments may be {MAX_ARGUMENT_DEPTH} deep in one another.", param=where)
        return ToolCall(name=self.function.name, arguments=arguments, id=self.id or "")


class Message(msgspec.Struct):
    """One turn."""

    role: str
    content: str | list[TextPart] | None = None
    tool_calls: list[CalledTool] | None = None
    tool_call_id: str | None = None
    name: str | None = None


class ResponseFormat(msgspec.Struct):
    """The shape of the answer."""

    type: str = "text"


class _Request(msgspec.Struct, kw_only=True):
    """What both kinds of request have in common; None is the same as left out."""

    model: str | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: Limit | None = None
    temperature: Temperature | None = None
    top_p: Share | None = None
    top_k: int | None = None
    min_p: Share | None = None
    repeat_penalty: Factor | None = None
    repetition_penalty: Factor | None = None
    repeat_last_n: Count | None = None
    seed: int | None = None
    stop: str | list[str] | None = None
    ignore_eos: bool | None = None
    n: int | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    logit_bias: dict[str, float] | None = None
    user: str | None = None
    cache_prompt: bool | None = None
    return_progress: bool | None = None

    @property
    def streamed(self) -> bool:
        """Whether the answer is to come piece by piece."""
        return bool(self.stream)

    @property
    def with_usage(self) -> bool:
        """Whether a stream ends with the counts."""
        return self.stream_options is not None and bool(self.stream_options.include_usage)

    def sampling(self, defaults: Defaults, max_new_tokens: int | None) -> Sampling:
        """The settings; what the request leaves out is as the server's owner has it."""
        samplers = {
            "temperature": self.temperature,
            "top_k": None if self.top_k is None else max(self.top_k, 0),
            "top_p": self.top_p,
            "min_p": self.min_p,
            "repeat_penalty": self.repeat_penalty or self.repetition_penalty,
        }
        chosen = any(value is not None for value in samplers.values())
        given = samplers | {"repeat_last_n": self.repeat_last_n, "max_new_tokens": max_new_tokens}
        changes = {name: value for name, value in given.items() if value is not None}
        return msgspec.structs.replace(defaults.usual if chosen else defaults.recommended, **changes)

    def stops(self) -> list[str]:
        """The texts that end the answer."""
        stops = [self.stop] if isinstance(self.stop, str) else self.stop or []
        if len(stops) > MAX_STOPS:
            raise RequestError(400, f"There may be {MAX_STOPS} stop texts, not {len(stops)}.", param="stop")
        return [stop for stop in stops if stop]

    def generate(self, prompt: Prompt, sampling: Sampling, n_logprobs: int) -> Generate:
        """The engine's command."""
        self.refuse_what_is_not_there()
        return Generate(
            prompt=prompt,
            sampling=sampling,
            # -1 is any seed, as llama.cpp's server has it.
            seed=None if self.seed is None or self.seed == -1 else self.seed & 0xFFFF_FFFF_FFFF_FFFF,
            stop=self.stops(),
            n_top=n_logprobs,
            ignore_eos=bool(self.ignore_eos),
            reuse=self.cache_prompt is not False,
        )

    def refuse_what_is_not_there(self) -> None:
        """RequestError for a wish that would change the answer and cannot be met; better than to ignore it."""
        _refuse_more_than_one("n", self.n)
        for name, wished in (
            ("frequency_penalty", self.frequency_penalty),
            ("presence_penalty", self.presence_penalty),
            ("logit_bias", any((self.logit_bias or {}).values())),
        ):
            if wished:
                raise _not_taken(name)


class ChatRequest(_Request, kw_only=True):
    """`/v1/chat/completions`."""

    messages: list[Message]
    max_completion_tokens: Limit | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, msgspec.Meta(ge=0, le=MAX_LOGPROBS)] | None = None
    tools: list[Any] | None = None
    tool_choice: Any = None
    functions: list[Any] | None = None
    function_call: Any = None
    response_format: ResponseFormat | None = None
    add_generation_prompt: bool | None = None
    continue_final_message: bool | None = None

    def command(self, defaults: Defaults) -> Generate:
        """The engine's command. An assistant's message at the end is gone on with. Raises RequestError."""
        self._refuse_tools()
        if self.response_format is not None and self.response_format.type != "text":
            raise RequestError(400, "This server answers in plain text.", "unsupported", "response_format")
        if not self.messages:
            raise RequestError(400, "There is no message to answer.", param="messages")
        messages = [_message(at, message) for at, message in enumerate(self.messages)]
        if messages[-1].tool_calls:
            param = f"messages[{len(messages) - 1}]"
            raise RequestError(400, "After a call of tools, there has to be what the tools said.", param=param)
        begun = messages.pop().content if messages[-1].role == "assistant" else ""
        limit = _limited(self.max_tokens if self.max_completion_tokens is None else self.max_completion_tokens)
        prompt = ChatPrompt(messages=messages, answer_text=begun, whole=True)
        return self.generate(prompt, self.sampling(defaults, limit), self.n_logprobs or 0)

    def _refuse_tools(self) -> None:
        """RequestError if the answer may or has to be a call; tools that are not to be called harm nobody."""
        for name, offered, choice_name, choice in (
            ("tools", self.tools, "tool_choice", self.tool_choice),
            ("functions", self.functions, "function_call", self.function_call),
        ):
            forced = choice not in (None, "none", "auto")
            if forced or (offered and choice != "none"):
                param = name if offered else choice_name
                raise RequestError(400, "This server calls no tools.", "unsupported", param)

    @property
    def n_logprobs(self) -> int | None:
        """How many candidates a token's place has; None where no log-probabilities are wanted."""
        return (self.top_logprobs or 0) if self.logprobs else None


class CompletionRequest(_Request, kw_only=True):
    """`/v1/completions`."""

    prompt: Any
    logprobs: Annotated[int, msgspec.Meta(ge=0, le=MAX_LOGPROBS)] | bool | None = None
    echo: bool | None = None
    suffix: str | None = None
    best_of: int | None = None

    def command(self, defaults: Defaults) -> Generate:
        """The engine's command. Raises RequestError."""
        _refuse_more_than_one("best_of", self.best_of)
        for name, wished in (("echo", self.echo), ("suffix", self.suffix)):
            if wished:
                raise _not_taken(name)
        if self.logprobs is True:
            raise RequestError(400, "logprobs is a number of candidates here.", param="logprobs")
        limit = COMPLETION_TOKENS if self.max_tokens is None else _limited(self.max_tokens)
        return self.generate(_completion_prompt(self.prompt), self.sampling(defaults, limit), self.logprobs or 0)

    @property
    def n_logprobs(self) -> int | None:
        """How many candidates a token's place has; None where no log-probabilities are wanted."""
        return None if isinstance(self.logprobs, bool) else self.logprobs


def _limited(limit: int | None) -> int | None:
    return None if limit == -1 else limit


def _not_taken(name: str) -> RequestError:
    return RequestError(400, f"This server does not take {name}. Leave it out.", "unsupported", name)


def _refuse_more_than_one(name: str, wished: int | None) -> None:
    if wished not in (None, 1):
        raise RequestError(
            400, f"This server writes one answer to a request: {name} can only be 1.", "unsupported", name
        )


AnyRequest = ChatRequest | CompletionRequest


def read_request(body: bytes, kind: type[_R]) -> _R:
    """A request from its JSON. Raises RequestError."""
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.ValidationError as error:
        reason, _, where = str(error).partition(" - at `$")
        param = re.sub(r"^\.|`$", "", where) or None
        raise RequestError(400, f"{reason.replace('`', '')}{f' in {param}' if param else ''}.", param=param) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RequestError(400, f"The request is not valid JSON: {error}.") from None


def _message(at: int, message: Message) -> ChatMessage:
    role = _ROLES.get(message.role)
    if role is None:
        raise RequestError(400, f"This server knows no role {message.role}.", param=f"messages[{at}].role")
    where = f"messages[{at}].content"
    content = message.content
    if isinstance(content, list):
        content = "".join(_text(part, where) for part in content)
    elif content is None:
        # An answer may have been nothing but calls.
        if role != "assistant":
            raise RequestError(400, f"A message of the role {message.role} needs a content.", param=where)
        content = ""
    calls = []
    if role == "assistant":
        calls = [call.command(f"messages[{at}].tool_calls") for call in message.tool_calls or []]
    if role != "tool":
        return ChatMessage(role=role, content=content, tool_calls=calls)
    return ChatMessage(role=role, content=content, tool_call_id=message.tool_call_id or "", name=message.name or "")


def _is_deeper(value: Any, depth: int) -> bool:
    """Whether more than so many lists and objects lie in one another."""
    level = [value]
    for _ in range(depth):
        level = [
            each
            for outer in level
            if isinstance(outer, dict | list)
            for each in (outer.values() if isinstance(outer, dict) else outer)
        ]
    return any(isinstance(each, dict | list) for each in level)


def _text(part: TextPart, where: str) -> str:
    if part.type not in ("text", "input_text"):
        raise RequestError(400, f"This model reads text, no {part.type}.", param=where)
    if part.text is None:
        raise RequestError(400, "A part of the type text needs a text.", param=where)
    return part.text


def _completion_prompt(prompt: Any) -> Prompt:
    """One text, or one list of token ids; each may also be the only one in a list."""
    if isinstance(prompt, list) and len(prompt) == 1 and isinstance(prompt[0], str | list):
        prompt = prompt[0]
    if isinstance(prompt, str):
        return TextPrompt(text=prompt)
    if isinstance(prompt, list) and prompt and all(type(token_id) is int for token_id in prompt):
        return TokenPrompt(ids=prompt)
    raise RequestError(400, "The prompt is one text or one list of token ids.", param="prompt")


class TokenizeRequest(msgspec.Struct):
    """`/tokenize`, as llama.cpp's server and vLLM have it."""

    content: str | None = None
    prompt: str | None = None
    add_special: bool = False
    parse_special: bool = True
    with_pieces: bool = False


class DetokenizeRequest(msgspec.Struct):
    """`/detokenize`."""

    tokens: list[int]
