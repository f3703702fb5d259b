"""An engine that says what a test has it say."""

from __future__ import annotations

import asyncio

from engine.errors import EngineGoneError
from engine.interface import Engine
from engine.protocol import AnyCommand, AnyEvent, Detokenize, Detokenized, Finished


class SilentEngine(Engine):
    """Takes commands and answers when the test says so; single tokens are known to it."""

    def __init__(self) -> None:
        super().__init__()
        self.commands: asyncio.Queue[AnyCommand] = asyncio.Queue()
        self.asked_for: list[list[int]] = []

    @property
    def pid(self) -> int:
        return 0

    @property
    def alive(self) -> bool:
        return True

    async def send(self, command: AnyCommand) -> None:
        if isinstance(command, Detokenize):
            self.asked_for.append(command.ids)
            pieces = [b"%d" % token_id for token_id in command.ids]
            self.say(Detokenized(request_id=command.request_id, text="", pieces=pieces))
        else:
            self.commands.put_nowait(command)

    def say(self, event: AnyEvent) -> None:
        self._deliver(event)

    async def close(self) -> None:
        pass

    def _gone(self) -> EngineGoneError:
        return EngineGoneError("It has gone.")


def finished(request_id: str) -> Finished:
    return Finished(
        request_id=request_id, reason="stop", text_tail="", prompt_tokens=1, reused_tokens=0, generated_tokens=2,
        prompt_ms=1, generate_ms=1, first_token_ms=1, seed=1,
    )  # fmt: skip
