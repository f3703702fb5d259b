"""A question to the model beside the conversation, which nobody waits for: asked when idle, given up at once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from itertools import count

from engine.protocol import (
    AnyEvent,
    ChatPrompt,
    EngineDied,
    Failed,
    Finished,
    Generate,
    PromptProgress,
    Sampling,
    Token,
)

_numbers = count(1)


class Aside:
    """One question at a time; its events are taken out of the stream before anybody shows them."""

    def __init__(self, ask: Callable[[Generate], Awaitable[bool]], stop: Callable[[str], Awaitable[None]]) -> None:
        self._ask = ask
        self._stop = stop
        self._request_id = ""
        self._text = ""
        self._answer: asyncio.Future[str | None] | None = None

    async def ask(self, prompt: ChatPrompt, max_new_tokens: int, session: str) -> str | None:
        """The model's answer, None where it was given up, failed or grew longer than that.

        session: whose cache holds the beginning of the prompt.
        """
        self._request_id, self._text = f"aside-{next(_numbers)}", ""
        self._answer = asyncio.get_running_loop().create_future()
        sampling = Sampling(temperature=0, max_new_tokens=max_new_tokens)
        generate = Generate(request_id=self._request_id, prompt=prompt, sampling=sampling, session=session)
        if not await self._ask(generate):
            self._end(None)
        return await self._answer

    async def give_up(self) -> None:
        """End it after its current token: somebody waits for the engine now."""
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(None)
            await self._stop(self._request_id)

    def take(self, event: AnyEvent) -> bool:
        """Take an event in; False when it is about something else."""
        if isinstance(event, EngineDied):
            self._end(None)
            return False
        if not self._request_id or event.request_id != self._request_id:
            return False
        match event:
            case Token():
                self._text += event.text
            case Finished():
                self._end(self._text + event.text_tail if event.reason == "stop" else None)
            case Failed():
                self._end(None)
            case PromptProgress():
                pass
            case _:
                return False
        return True

    def _end(self, text: str | None) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(text)
