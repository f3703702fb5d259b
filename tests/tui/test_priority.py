"""Who goes first: the screen while somebody types, and both alike once something was sent."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from engine.protocol import ChatPrompt, Generate
from tui import priority
from tui.priority import TYPING_NICENESS, Precedence
from tui.services.engine_session import EngineSession


@pytest.fixture
def share(tmp_path: Path) -> Path:
    """What stands for the file in which the system takes the engine's share."""
    return tmp_path / "autogroup"


@pytest.fixture
def precedence(share: Path) -> Precedence:
    """Of an engine whose share is that one."""
    precedence = Precedence(1)
    precedence._autogroup = share
    return precedence


async def test_the_engine_stands_back_while_keys_come(
    precedence: Precedence, share: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(priority, "TYPING_S", 0.001)
    precedence.key_came()
    precedence.key_came()
    assert share.read_text() == f"{TYPING_NICENESS}\n"
    async with asyncio.timeout(10):
        while share.read_text() != "0\n":
            await asyncio.sleep(0.001)


async def test_who_has_sent_something_is_no_longer_typing(precedence: Precedence, share: Path, tmp_path: Path) -> None:
    session = EngineSession(lambda _: None, tmp_path / "engine.log")
    session._precedence = precedence
    session.key_came()
    assert share.read_text() == f"{TYPING_NICENESS}\n"
    await session.generate(Generate(request_id="1", prompt=ChatPrompt(messages=[])))
    assert share.read_text() == "0\n"


async def test_a_change_that_comes_too_soon_is_made_later(
    precedence: Precedence, share: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = [BlockingIOError(), BlockingIOError()]
    write = Path.write_text

    def take(path: Path, text: str) -> int:
        if text == "0\n" and refused:
            raise refused.pop()
        return write(path, text)

    monkeypatch.setattr(Path, "write_text", take)
    monkeypatch.setattr(priority, "AGAIN_S", 0.001)
    precedence.key_came()
    precedence.give_back()
    assert share.read_text() == f"{TYPING_NICENESS}\n"
    async with asyncio.timeout(10):
        while share.read_text() != "0\n":
            await asyncio.sleep(0.001)
    assert not refused


async def test_a_system_without_shares_is_left_alone(precedence: Precedence, share: Path) -> None:
    share.mkdir()
    precedence.key_came()
    precedence.give_back()
