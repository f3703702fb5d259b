"""What clients may ask, and what they are told where they may not."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from engine.chat.tools import mapped
from engine.protocol import ChatMessage, ChatPrompt, Generate, Prompt, Sampling, TextPrompt, TokenPrompt, ToolCall
from engine.server.requests import (
    MAX_ARGUMENT_DEPTH,
    ChatRequest,
    CompletionRequest,
    Defaults,
    RequestError,
    read_request,
)

DEFAULTS = Defaults(recommended=Sampling(temperature=0.3, top_k=7), usual=Sampling(temperature=0.6, top_k=9))
HELLO = [{"role": "user", "content": "hello"}]
CALL = {"id": "c", "type": "function", "function": {"name": "f", "arguments": '{"x": 1}'}}


def chat(**fields: Any) -> Generate:
    body = msgspec.json.encode({"model": "any", "messages": HELLO} | fields)
    return read_request(body, ChatRequest).command(DEFAULTS)


def calling(depth: int) -> dict[str, Any]:
    """A call whose arguments are so deep."""
    arguments = f'{{"x": {"[" * (depth - 1)}{"]" * (depth - 1)}}}'
    return {"role": "assistant", "tool_calls": [CALL | {"function": {"name": "f", "arguments": arguments}}]}


def completion(**fields: Any) -> Generate:
    return read_request(msgspec.json.encode({"prompt": "Once", **fields}), CompletionRequest).command(DEFAULTS)


def test_what_is_left_open_is_as_the_owner_has_it() -> None:
    command = chat()
    assert command.prompt == ChatPrompt(messages=[ChatMessage("user", "hello")], whole=True)
    assert command.sampling == DEFAULTS.recommended
    assert (command.seed, command.stop, command.n_top, command.ignore_eos, command.reuse) == (None, [], 0, False, True)
    assert completion().sampling == msgspec.structs.replace(DEFAULTS.recommended, max_new_tokens=16)


def test_what_is_recommended_does_not_mix_with_what_is_chosen() -> None:
    assert chat(temperature=0).sampling == msgspec.structs.replace(DEFAULTS.usual, temperature=0)
    assert completion(min_p=0.5).sampling == msgspec.structs.replace(DEFAULTS.usual, min_p=0.5, max_new_tokens=16)
    assert chat(repeat_last_n=8).sampling == msgspec.structs.replace(DEFAULTS.recommended, repeat_last_n=8)


def test_everything_is_taken_over() -> None:
    settings = {"temperature": 1, "top_p": 0.5, "top_k": -1, "min_p": 0.1, "repeat_penalty": 1.2, "repeat_last_n": 8}
    command = chat(**settings, max_tokens=5, seed=-2, stop="END", logprobs=True, top_logprobs=3, ignore_eos=True)
    assert command.sampling == Sampling(
        temperature=1, top_p=0.5, top_k=0, min_p=0.1, repeat_penalty=1.2, repeat_last_n=8, max_new_tokens=5
    )
    assert (command.seed, command.stop, command.n_top, command.ignore_eos) == (2**64 - 2, ["END"], 3, True)
    assert chat(seed=-1).seed is None
    assert chat(repetition_penalty=1.3).sampling.repeat_penalty == 1.3
    assert not chat(cache_prompt=False).reuse


@pytest.mark.parametrize(
    ("fields", "limit"),
    [
        ({"max_completion_tokens": 4}, 4),
        ({"max_completion_tokens": 4, "max_tokens": 9}, 4),
        ({"max_tokens": 0}, 0),
        ({"max_tokens": None}, None),
        ({"max_tokens": -1}, None),
        ({"max_completion_tokens": -1, "max_tokens": 9}, None),
    ],
)
def test_the_limit_has_two_names(fields: dict[str, Any], limit: int | None) -> None:
    assert chat(**fields).sampling.max_new_tokens == limit


def test_a_completion_may_have_no_limit() -> None:
    assert completion(max_tokens=-1).sampling.max_new_tokens is None


@pytest.mark.parametrize(("given", "stops"), [(None, []), ("a", ["a"]), (["a", "", "b"], ["a", "b"]), ("", [])])
def test_stop_texts(given: Any, stops: list[str]) -> None:
    assert chat(stop=given).stop == stops


def test_messages_may_have_parts_and_older_or_newer_roles() -> None:
    parts = [{"type": "text", "text": "hel"}, {"type": "text", "text": "lo"}]
    messages = [{"role": "developer", "content": "Be brief."}, {"role": "user", "content": parts}]
    prompt = chat(messages=messages).prompt
    assert prompt == ChatPrompt(messages=[ChatMessage("system", "Be brief."), ChatMessage("user", "hello")], whole=True)


def test_an_answer_that_has_begun_is_gone_on_with() -> None:
    begun = {"role": "assistant", "content": "Well, "}
    assert chat(messages=[*HELLO, begun]).prompt == ChatPrompt(
        messages=[ChatMessage("user", "hello")], answer_text="Well, ", whole=True
    )


@pytest.mark.parametrize(
    ("written", "arguments"),
    [('{"x": [1]}', {"x": [1]}), ({"x": 1}, {"x": 1}), ("", {}), ('{"x', '{"x'), ("[1]", "[1]")],
)
def test_tools_that_were_called_are_part_of_the_conversation(written: Any, arguments: Any) -> None:
    call = {**CALL, "function": {"name": "f", "arguments": written}}
    said = {"role": "tool", "tool_call_id": "c", "name": "f", "content": [{"type": "text", "text": "one"}]}
    messages = [*HELLO, {"role": "assistant", "content": None, "tool_calls": [call]}, said]
    assert chat(messages=messages).prompt == ChatPrompt(
        messages=[
            ChatMessage("user", "hello"),
            ChatMessage("assistant", "", tool_calls=[ToolCall(name="f", arguments=arguments, id="c")]),
            ChatMessage("tool", "one", tool_call_id="c", name="f"),
        ],
        whole=True,
    )


def test_arguments_may_be_deep() -> None:
    """As deep as is taken, the engine can go through them."""
    prompt = chat(messages=[*HELLO, calling(MAX_ARGUMENT_DEPTH), *HELLO]).prompt
    assert isinstance(prompt, ChatPrompt)
    assert isinstance(prompt.messages[1].tool_calls[0].arguments, dict)
    assert mapped(prompt.messages[1], str.swapcase).tool_calls[0].name == "F"


@pytest.mark.parametrize(
    ("given", "prompt"),
    [
        ("Once", TextPrompt(text="Once")),
        (["Once"], TextPrompt(text="Once")),
        ([1, 2], TokenPrompt(ids=[1, 2])),
        ([[1, 2]], TokenPrompt(ids=[1, 2])),
    ],
)
def test_completions_take_a_text_or_tokens(given: Any, prompt: Prompt) -> None:
    assert completion(prompt=given).prompt == prompt


@pytest.mark.parametrize(
    "nothing",
    [
        {"n": 1},
        {"frequency_penalty": 0},
        {"tools": []},
        {"tools": [{}], "tool_choice": "none"},
        {"tool_choice": "auto"},
        {"functions": [{}], "function_call": "none"},
        {"logit_bias": {}},
        {"logit_bias": {"5": 0}},
        {"stream_options": {"include_usage": None}},
        {"seed": -1},
        {"parallel_tool_calls": True, "store": False, "metadata": {}, "service_tier": "auto", "modalities": ["text"]},
        {"reasoning_effort": "low", "verbosity": "low", "prediction": None, "chat_template_kwargs": {"x": False}},
        {"n_predict": -1, "typical_p": 1, "mirostat": 0, "num_ctx": 4096, "keep_alive": "5m", "chat_id": "1"},
        {"messages": [{"role": "user", "content": "hello", "name": None, "tool_calls": None, "refusal": None}]},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "hello", "cache_control": {}}]}]},
    ],
)
def test_wishes_that_change_nothing_are_no_trouble(nothing: dict[str, Any]) -> None:
    assert chat(**nothing) == chat()


@pytest.mark.parametrize(("given", "wanted"), [(None, None), (False, None), (0, 0), (3, 3)])
def test_a_completion_s_log_probabilities_are_a_number_or_none(given: Any, wanted: int | None) -> None:
    request = read_request(msgspec.json.encode({"prompt": "Once", "logprobs": given}), CompletionRequest)
    assert request.n_logprobs == wanted
    assert request.command(DEFAULTS).n_top == (wanted or 0)


@pytest.mark.parametrize(
    ("given", "wanted"), [({}, False), ({"include_usage": None}, False), ({"include_usage": True}, True)]
)
def test_a_stream_tells_the_counts_to_whom_wants_them(given: dict[str, Any], wanted: bool) -> None:
    body = msgspec.json.encode({"messages": HELLO, "stream_options": given})
    assert read_request(body, ChatRequest).with_usage is wanted


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"n": 2}, "n"),
        ({"frequency_penalty": 0.5}, "frequency_penalty"),
        ({"presence_penalty": -1}, "presence_penalty"),
        ({"logit_bias": {"5": 1}}, "logit_bias"),
        ({"tools": [{}]}, "tools"),
        ({"tools": [{}], "tool_choice": "auto"}, "tools"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tool_choice": {"type": "function", "function": {"name": "f"}}}, "tool_choice"),
        ({"functions": [{}]}, "functions"),
        ({"repeat_penalty": 1e-300}, "repeat_penalty"),
        ({"repetition_penalty": 101}, "repetition_penalty"),
        ({"response_format": {"type": "json_object"}}, "response_format"),
        ({"max_tokens": -2}, "max_tokens"),
        ({"temperature": -1}, "temperature"),
        ({"temperature": "hot"}, "temperature"),
        ({"top_p": 2}, "top_p"),
        ({"top_logprobs": 21}, "top_logprobs"),
        ({"stop": ["x"] * 17}, "stop"),
        ({"messages": []}, "messages"),
        ({"messages": "hello"}, "messages"),
        ({"messages": [{"role": "function", "name": "f", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user"}]}, "messages[0].content"),
        ({"messages": [*HELLO, {"role": "user", "content": None}]}, "messages[1].content"),
        ({"messages": [{"role": "system"}, *HELLO]}, "messages[0].content"),
        ({"messages": [*HELLO, {"role": "tool", "tool_call_id": "c"}]}, "messages[1].content"),
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages[0].content"),
        ({"messages": [*HELLO, {"role": "assistant", "tool_calls": [CALL]}]}, "messages[1]"),
        ({"messages": [*HELLO, {"role": "assistant", "tool_calls": [{"id": "c"}]}]}, "messages[1].tool_calls[0]"),
        ({"messages": [*HELLO, calling(MAX_ARGUMENT_DEPTH + 1), *HELLO]}, "messages[1].tool_calls"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "messages[0].content"),
    ],
)
def test_what_cannot_be_met_is_refused_by_name(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(RequestError) as caught:
        chat(**fields)
    assert (caught.value.status, caught.value.param) == (400, param)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"prompt": ["a", "b"]}, "prompt"),
        ({"prompt": []}, "prompt"),
        ({"prompt": [1, "a"]}, "prompt"),
        ({"prompt": [True]}, "prompt"),
        ({"prompt": None}, "prompt"),
        ({"echo": True}, "echo"),
        ({"suffix": "end"}, "suffix"),
        ({"best_of": 3}, "best_of"),
        ({"logprobs": True}, "logprobs"),
        ({"logprobs": 21}, "logprobs"),
    ],
)
def test_completions_refuse_by_name_too(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(RequestError) as caught:
        completion(**fields)
    assert (caught.value.status, caught.value.param) == (400, param)


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b"[]", b"null", b"{}", b"[" * 100_000])
def test_what_is_no_request_is_said_to_be_none(body: bytes) -> None:
    with pytest.raises(RequestError) as caught:
        read_request(body, ChatRequest)
    assert caught.value.status == 400
