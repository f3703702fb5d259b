"""What the services tell, and who takes it in."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from tui.told import Told

Kind = TypeVar("Kind", bound=Told)


class Receivers:
    """For each kind of message those whom it concerns, in the order in which they get it."""

    def __init__(self) -> None:
        self._by_kind: dict[type[Told], tuple[Callable[[Any], Awaitable[None] | None], ...]] = {}

    @property
    def kinds(self) -> set[type[Told]]:
        """The messages that somebody takes in."""
        return set(self._by_kind)

    def set(self, kind: type[Kind], *receivers: Callable[[Kind], Awaitable[None] | None]) -> None:
        """Let these get the messages of a kind."""
        self._by_kind[kind] = receivers

    async def take(self, told: Told) -> None:
        """Hand a message to one receiver after the other."""
        for receive in self._by_kind[type(told)]:
            work = receive(told)
            if work is not None:
                await work
