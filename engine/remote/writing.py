"""How an answer is got from a server: asked for in words that it takes, again where that may help, and read."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec

from engine.protocol import AnyEvent, CardChanged, ChatPrompt, Generate, ModelCard, Notice
from engine.remote.answer import RemoteAnswer
from engine.remote.bodies import Dialect
from engine.remote.refusals import ConnectionLostError, RequestRefusedError, UnreachableError
from engine.remote.retries import Backoff
from engine.remote.transport import Transport
from engine.turns import split_turns

LEFT_OUT_SHARE = 4
"""Of a conversation that is too long for the server, the oldest quarter of the turns goes; if that is not enough,
another."""

MAX_LESSONS = 5
"""A server that refuses one parameter after the other is asked so often before its refusal counts."""

UNTOLD = frozenset({"max_tokens", "stream_options", "repeat_penalty", "repetition_penalty"})
"""Parameters with another name or no use of their own: nobody misses them."""


@dataclass
class OpenModel:
    """The model in use, as far as it is known by now."""

    model: str
    card: ModelCard
    dialect: Dialect


class Writing:
    """Has answers written by one model. `emit` takes their events but for Finished."""

    def __init__(
        self, transport: Transport, opened: OpenModel, emit: Callable[[AnyEvent], None], backoff: Backoff
    ) -> None:
        self._transport = transport
        self._opened = opened
        self._emit = emit
        self._backoff = backoff
        self._config = transport.config

    async def write(self, answer: RemoteAnswer, text: str) -> None:
        """Have the answer written, from `text` on; before its first token, failures that may pass are tried again.

        Raises ServerError; what came before it stands in the answer.
        """
        self._warn(answer.command, text)
        n_failures = n_lessons = 0
        while True:
            body = self._opened.dialect.body(self._opened.model, answer.command, answer.seed, text)
            try:
                answer.sent()
                await self._read_events(answer, body)
                break
            except (RequestRefusedError, UnreachableError) as error:
                if answer.n_events:
                    raise
                if n_lessons < MAX_LESSONS and self._learn(answer, error, body):
                    n_lessons += 1
                    continue
                if (n_turns := _too_many(answer.command, error)) > 0:
                    answer.leave_out(n_turns)
                    continue
                n_failures += 1
                await self._pause(answer, error, n_failures)
        if "logprobs" in body and answer.n_tokens:
            self._shown(logprobs=answer.gave_logprobs)

    def _warn(self, command: Generate, text: str) -> None:
        if isinstance(command.prompt, ChatPrompt) and command.prompt.template is not None:
            message = "The server uses its model's own chat template, not the one you chose."
            self._notice(command, message)
        if text and self._opened.card.abilities.go_on is None:
            message = f"{self._config.host} does not say whether it can go on with unfinished answers."
            self._notice(command, message)

    def _notice(self, command: Generate, text: str) -> None:
        self._emit(Notice(request_id=command.request_id, text=self._transport.hide_key(text)))

    def _shown(self, **abilities: bool) -> None:
        """Take in what the server has shown, and tell if that is new."""
        card = self._opened.card
        changed = msgspec.structs.replace(card.abilities, **abilities)
        if changed != card.abilities:
            self._opened.card = msgspec.structs.replace(card, abilities=changed)
            self._emit(CardChanged(card=self._opened.card))

    async def _read_events(self, answer: RemoteAnswer, body: dict[str, Any]) -> None:
        path = "completions" if "prompt" in body else "chat/completions"
        try:
            async with self._transport.stream(f"{self._config.base_url.rstrip('/')}/{path}", body) as events:
                async for data in events:
                    for event in answer.feed(data):
                        self._emit(event)
                    if answer.over:
                        return
        except ConnectionLostError:
            # Behind the end of an answer there were figures at most.
            if answer.reason is None:
                raise
        if answer.reason is None:
            raise UnreachableError(f"{self._config.host} broke the answer off.", "Try again.")

    def _learn(self, answer: RemoteAnswer, error: RequestRefusedError | UnreachableError, body: dict[str, Any]) -> bool:
        """Whether the refusal was about parameters that the answer can do without; they are not sent again."""
        if not isinstance(error, RequestRefusedError) or error.status not in (400, 422):
            return False
        dialect = self._opened.dialect
        dropped = dialect.learn(error.names, body)
        if not dropped:
            return False
        self._shown(**{name: False for name in ("top_k", "min_p", "seed", "logprobs") if name in dropped})
        if not dialect.takes_penalty:
            self._shown(repeat_penalty=False)
        if told := sorted(dropped - UNTOLD):
            message = f"{self._config.host} does not take {', '.join(told)}: {error.said[:200]}"
            self._notice(answer.command, message)
        return True

    async def _pause(
        self, answer: RemoteAnswer, error: RequestRefusedError | UnreachableError, n_failures: int
    ) -> None:
        """Wait before the next try; raises the error where there is none to be."""
        pause_s = self._backoff.pause_s(n_failures, error.retry_after_s)
        if n_failures > self._config.retries or pause_s is None or not error.is_passing:
            raise error
        n, most = n_failures + 1, self._config.retries + 1
        if pause_s < 1:
            message = f"{error.message} Trying again at once (try {n} of {most})."
        else:
            message = f"{error.message} Trying again in {pause_s:.0f} s (try {n} of {most})."
        self._notice(answer.command, message)
        await asyncio.sleep(pause_s)


def _too_many(command: Generate, error: RequestRefusedError | UnreachableError) -> int:
    """How many of the oldest turns to do without, where the server's context is full; the last one always stays."""
    prompt = command.prompt
    if not isinstance(error, RequestRefusedError) or not error.is_about_length:
        return 0
    if not isinstance(prompt, ChatPrompt) or prompt.whole:
        return 0
    n_turns = len(split_turns(prompt.messages)[1])
    return min(-(-n_turns // LEFT_OUT_SHARE), n_turns - 1)
