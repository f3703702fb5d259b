"""The line before the engine: one at a time, fair, and nobody forgotten who leaves it."""

from __future__ import annotations

import asyncio
import random

import pytest

from engine.server.waiting_line import TooManyWaitingError, WaitingLine


class Callers:
    """Callers who each hold their turn until they are told to let go."""

    def __init__(self, line: WaitingLine) -> None:
        self.line = line
        self.order: list[str] = []
        self.tasks: dict[str, asyncio.Task[None]] = {}
        self.done = asyncio.Event()

    def join(self, *names: str) -> None:
        """Each name's first letter is the caller."""
        for name in names:
            self.tasks[name] = asyncio.create_task(self._take(name))

    async def _take(self, name: str) -> None:
        async with self.line.turn(name[0]):
            self.order.append(name)
            if name == "first":
                await self.done.wait()

    async def finish(self) -> list[str]:
        self.done.set()
        await asyncio.gather(*self.tasks.values(), return_exceptions=True)
        return self.order


async def settle() -> None:
    """Let every task come as far as it can."""
    for _ in range(5):
        await asyncio.sleep(0)


async def test_callers_are_answered_in_turn() -> None:
    callers = Callers(WaitingLine(100))
    callers.join("first")
    await settle()
    callers.join("a1", "a2", "a3", "b1", "c1", "b2")
    await settle()
    assert callers.line.n_waiting == 6
    assert await callers.finish() == ["first", "a1", "b1", "c1", "a2", "b2", "a3"]
    assert callers.line.n_waiting == 0


async def test_who_leaves_the_line_is_not_waited_for() -> None:
    callers = Callers(WaitingLine(100))
    callers.join("first")
    await settle()
    callers.join("a1", "b1", "c1")
    await settle()
    callers.tasks["b1"].cancel()
    await settle()
    assert callers.line.n_waiting == 2
    assert await callers.finish() == ["first", "a1", "c1"]


async def test_who_leaves_in_the_moment_of_the_turn_passes_it_on() -> None:
    callers = Callers(WaitingLine(100))
    async with callers.line.turn("z"):
        callers.join("a1", "b1")
        await settle()
    callers.tasks["a1"].cancel()
    assert await callers.finish() == ["b1"]
    async with asyncio.timeout(5), callers.line.turn("z"):
        pass


async def test_a_full_line_lets_nobody_in() -> None:
    callers = Callers(WaitingLine(2))
    callers.join("first")
    await settle()
    callers.join("a1", "b1")
    await settle()
    with pytest.raises(TooManyWaitingError):
        async with callers.line.turn("c"):
            pass
    assert await callers.finish() == ["first", "a1", "b1"]


@pytest.mark.parametrize("seed", range(10))
async def test_whatever_happens_one_has_the_turn_and_all_get_theirs(seed: int) -> None:
    chance = random.Random(seed)
    line = WaitingLine(1000)
    inside: list[int] = []
    answered: list[int] = []

    async def ask(number: int) -> None:
        async with line.turn(chance.choice("abc")):
            inside.append(number)
            assert inside == [number]
            try:
                for _ in range(chance.randrange(3)):
                    await asyncio.sleep(0)
            finally:
                inside.remove(number)
            if chance.random() < 0.2:
                raise ValueError("The client has gone.")
            answered.append(number)

    tasks = [asyncio.create_task(ask(number)) for number in range(60)]
    for _ in range(100):
        await asyncio.sleep(0)
        if chance.random() < 0.3:
            chance.choice(tasks).cancel()
    async with asyncio.timeout(10):
        results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(result) for result in results if isinstance(result, AssertionError)] == []
    assert len(answered) == results.count(None)
    assert line.n_waiting == 0
    async with asyncio.timeout(5), line.turn("z"):
        pass
