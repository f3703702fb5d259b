"""How the tests of the server's client ask, and what they make of the events."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from engine.protocol import (
    AnyEvent,
    ChatMessage,
    ChatPrompt,
    Finished,
    Generate,
    Load,
    Notice,
    Token,
)
from engine.remote import ServerConfig
from engine.remote.client import RemoteClient
from engine.remote.retries import Backoff

if TYPE_CHECKING:
    from tests.conftest import ScriptedServer

QUICK = Backoff(first_s=0.001, most_s=0.002)
PATIENCE_S = 20.0


@asynccontextmanager
async def connected(server: ScriptedServer, **settings: Any) -> AsyncIterator[RemoteClient]:
    config = ServerConfig(base_url=server.url, **settings)
    async with await RemoteClient.start(config, backoff=QUICK) as client:
        await client.load(Load(path=""))
        yield client


def question(text: str = "hello", **fields: Any) -> Generate:
    return Generate(prompt=ChatPrompt(messages=[ChatMessage("user", text)]), **fields)


async def collect(client: RemoteClient, command: Generate) -> list[AnyEvent]:
    async with asyncio.timeout(PATIENCE_S):
        return [event async for event in client.ask(command)]


def text_of(events: list[AnyEvent]) -> str:
    return "".join(
        event.text if isinstance(event, Token) else event.text_tail
        for event in events
        if isinstance(event, Token | Finished)
    )


def notices(events: list[AnyEvent]) -> list[str]:
    return [event.text for event in events if isinstance(event, Notice)]


def chunk(content: str = "", finish: str | None = None, **more: Any) -> dict[str, Any]:
    choice = {"index": 0, "delta": {"content": content} if content else {}, "finish_reason": finish}
    return {"choices": [choice], **more}


DONE = b"data: [DONE]\n\n"


async def wait_for(client: RemoteClient, kind: type[Any]) -> Any:
    async with asyncio.timeout(PATIENCE_S):
        while True:
            event = await client.events.get()
            if isinstance(event, kind):
                return event


def drained(client: RemoteClient) -> list[AnyEvent]:
    events = []
    while not client.events.empty():
        events.append(client.events.get_nowait())
    return events
