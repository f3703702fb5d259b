"""How the tests of the worker speak to it, and wait for what it says."""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import psutil

from engine.client import EngineClient
from engine.protocol import (
    AnyEvent,
    Failed,
    Finished,
    Generate,
    Sampling,
    TextPrompt,
    Token,
)

CHILDREN = Path(__file__).parent / "children"
PATIENCE_S = 30.0
GREEDY = Sampling(temperature=0)
PACE_S = 0.005

Start = Callable[..., Awaitable[EngineClient]]


def fake_command(script: str, pace_s: float = PACE_S) -> list[str]:
    return [sys.executable, str(CHILDREN / "fake_engine.py"), script, str(pace_s)]


def write_on(name: str, **options: object) -> Generate:
    return Generate(**{"request_id": name, "prompt": TextPrompt(text=""), "sampling": GREEDY, **options})


async def until(client: EngineClient, wanted: Callable[[AnyEvent], bool]) -> tuple[AnyEvent, list[AnyEvent]]:
    """The next event that is wanted, and those before it."""
    before: list[AnyEvent] = []
    async with asyncio.timeout(PATIENCE_S):
        while True:
            event = await client.events.get()
            if wanted(event):
                return event, before
            before.append(event)


def is_token(event: AnyEvent) -> bool:
    return isinstance(event, Token)


def ends(name: str) -> Callable[[AnyEvent], bool]:
    return lambda event: event.request_id == name and isinstance(event, Finished | Failed)


async def gone(pid: int) -> None:
    """Wait for the end of a process that need not be a child of this one."""
    async with asyncio.timeout(PATIENCE_S):
        while psutil.pid_exists(pid):
            try:
                if psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
                    return
            except psutil.NoSuchProcess:
                return
            await asyncio.sleep(0.01)
