"""Calls of tools in a conversation, and what the tools said: as templates read them, or told in plain words."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import msgspec

from engine.protocol import ChatMessage, ToolCall

BETWEEN = "\n\n"
"""Between the messages that become one."""


def has_tools(messages: Sequence[ChatMessage]) -> bool:
    """Whether any of the messages calls a tool or is a tool's."""
    return any(message.tool_calls or message.role == "tool" for message in messages)


def texts_of(message: ChatMessage) -> Iterator[str]:
    """All that somebody has written in a message."""
    yield from (message.content, message.tool_call_id, message.name)
    for call in message.tool_calls:
        yield from (call.name, call.id)
        yield from _strings(call.arguments)


def mapped(message: ChatMessage, change: Callable[[str], str]) -> ChatMessage:
    """The message with all of its texts changed."""
    calls = [
        ToolCall(name=change(call.name), arguments=_changed(call.arguments, change), id=change(call.id))
        for call in message.tool_calls
    ]
    return msgspec.structs.replace(
        message,
        content=change(message.content),
        tool_calls=calls,
        tool_call_id=change(message.tool_call_id),
        name=change(message.name),
    )


def fields_of(message: ChatMessage) -> dict[str, Any]:
    """What templates look for in a message beside its role and content, by the names that transformers gives it."""
    calls = [
        {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
        for call in message.tool_calls
    ]
    fields = {"tool_calls": calls, "tool_call_id": message.tool_call_id, "name": message.name}
    return {name: value for name, value in fields.items() if value}


def are_told(messages: Sequence[ChatMessage], text: str) -> bool:
    """Whether a template has written the calls and what the tools said; many know nothing of tools, and leave it out.

    What a tool said may stand there as JSON.
    """
    said = [message.content.strip() for message in messages if message.role == "tool"]
    called = [call.name for message in messages for call in message.tool_calls]
    return all(name in text for name in called) and all(
        content in text or json.dumps(content, ensure_ascii=False)[1:-1] in text for content in said
    )


def told_plainly(messages: Sequence[ChatMessage]) -> list[ChatMessage]:
    """The same without tools: calls are written as JSON by who calls, and what tools said becomes the user's."""
    told: list[ChatMessage] = []
    after_tool = False
    for message in messages:
        is_tool = message.role == "tool"
        if after_tool and (is_tool or message.role == "user"):
            told[-1] = ChatMessage(role="user", content=f"{told[-1].content}{BETWEEN}{message.content}")
        else:
            calls = [_as_json(call) for call in message.tool_calls]
            content = "\n".join(part for part in (message.content, *calls) if part)
            told.append(ChatMessage(role="user" if is_tool else message.role, content=content))
        after_tool = is_tool
    return told


def _as_json(call: ToolCall) -> str:
    return json.dumps({"name": call.name, "arguments": call.arguments}, ensure_ascii=False)


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for name, each in value.items():
            yield name
            yield from _strings(each)
    elif isinstance(value, list):
        for each in value:
            yield from _strings(each)


def _changed(value: Any, change: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return change(value)
    if isinstance(value, dict):
        return {change(name): _changed(each, change) for name, each in value.items()}
    if isinstance(value, list):
        return [_changed(each, change) for each in value]
    return value
