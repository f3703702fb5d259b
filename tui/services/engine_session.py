"""The engine, a process or a server, and its model: started, spoken to, restarted and ended here and nowhere else."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from engine.client import EngineClient
from engine.errors import EngineError, EngineGoneError
from engine.interface import Engine
from engine.protocol import (
    AnyCommand,
    EngineDied,
    Generate,
    Load,
    Look,
    Looked,
    ModelCard,
    PromptProgress,
    Sampling,
    Stop,
)
from tui.messages import EnginePhase, Post
from tui.priority import Precedence
from tui.sentences import reason
from tui.services import background
from tui.services.aside import Aside
from tui.services.engine_events import AnswerEvent, EngineEvents
from tui.services.engine_state import EngineState
from tui.services.tuning import Tuning

_ENDED = EngineDied(exit_code=None, signal=None, message="The engine was ended.")
"""Put behind what an engine has said before it is ended on purpose."""

StartEngine = Callable[[], Awaitable[Engine]]


class EngineSession:
    """One engine at a time, with the model that is open in it.

    Nothing here raises for a dead or missing engine: that is posted, and `restart` begins again. Whatever ends an
    engine, EngineDied is the last that `on_answer` hears of it.

    Which engine and which model are wanted is noted at once; engines are ended and started one after the other, and
    each is told what is wanted by then.

    on_answer: called with the events of answers. on_ready: called whenever a model is open.
    """

    def __init__(self, post: Post, log_path: Path, command: Sequence[str] | None = None) -> None:
        self._post = post
        self._state = EngineState(post)
        self._events = EngineEvents(self._state, post, on_answer=self._hand_on, on_ready=self._tell_ready)
        self.on_answer: Callable[[AnswerEvent], Awaitable[None]] | None = None
        self.on_ready: list[Callable[[], None]] = []
        self.log_path = log_path
        self._command = list(command) if command is not None else None
        self._start_engine: StartEngine = self._start_process
        self._client: Engine | None = None
        self._pump: asyncio.Task[None] | None = None
        self._changing = asyncio.Lock()
        self._starting: asyncio.Future[Engine] | None = None
        self._closed = False
        self._tuning = Tuning(self._send, post)
        self.aside = Aside(self._send, self.stop)
        self._precedence: Precedence | None = None

    @property
    def phase(self) -> EnginePhase:
        """What the engine is doing."""
        return self._state.phase

    @property
    def is_ready(self) -> bool:
        """Whether a Generate would be answered now."""
        return self._state.phase == "ready"

    @property
    def card(self) -> ModelCard | None:
        """What is to be known of the model that is open, None where none is."""
        return self._state.card

    @property
    def is_local(self) -> bool:
        """Whether models are opened on this machine."""
        return self._state.is_local

    @property
    def model_file(self) -> Path | None:
        """The file of this machine that is wanted, None where there is none or a server answers."""
        return self._state.model_file

    @property
    def has_asked_for_model(self) -> bool:
        """Whether there is a model that a restart would open."""
        return self._state.has_asked_for_model

    def key_came(self) -> None:
        """Let the screen go before the engine for a while: what somebody types has to show at once."""
        if self._precedence is not None:
            self._precedence.key_came()

    async def start(self) -> None:
        """Start the wanted engine, in place of the one before, and open the wanted model if there is one.

        Where that does not start, the phase is "dead", with the reason.
        """
        async with self._changing:
            self._state.enter("starting")
            await self._end_client()
            if self._closed:
                return
            self._starting = asyncio.ensure_future(self._start_engine())
            try:
                client = await self._starting
            except (EngineError, OSError) as error:
                self._state.enter("dead", reason=reason(error))
                return
            self._client = client
            self._pump = background.begin(self._pump_events(client), "engine events", self._post)
            self._state.enter("empty")
            if self._state.wanted is not None:
                await self.load(self._state.wanted)

    async def _start_process(self) -> Engine:
        client = await EngineClient.start(command=self._command, log_path=self.log_path)
        self._precedence = Precedence(client.pid)
        return client

    async def use(self, start_engine: StartEngine | None, load: Load) -> None:
        """Open a model in another engine, in place of the one before; None for the process of this machine."""
        self._start_engine = start_engine or self._start_process
        self._state.is_local = start_engine is None
        self._state.want(load)
        await self.start()

    async def load(self, load: Load) -> None:
        """Open a model in place of the one before; without an engine, once there is one again."""
        wanted = self._state.want(load)
        if self.phase not in ("starting", "dead"):
            self._state.enter("loading")
            await self._send(wanted)

    async def restart(self) -> None:
        """Start the engine anew, and open the same model; one that did not open, if its files are others by now."""
        self._state.want_again()
        await self.start()

    async def generate(self, generate: Generate) -> bool:
        """Ask for an answer; False when no engine is ready to be asked."""
        if self._precedence is not None:
            # Who has sent something waits for it.
            self._precedence.give_back()
        await self.aside.give_up()
        return self.is_ready and await self._send(generate)

    async def stop(self, request_id: str) -> None:
        """Ask for the end of an answer; Finished follows."""
        await self._send(Stop(request_id=request_id))

    def tune(self, request_id: str, sampling: Sampling) -> None:
        """Have the next token of the running answer chosen otherwise."""
        self._tuning.tune(request_id, sampling)

    async def close(self) -> None:
        """End the engine; safe to call in any state, and twice."""
        self._closed = True
        self._tuning.end()
        if self._starting is not None:
            self._starting.cancel()
        async with self._changing:
            await self._end_client()

    async def count_tokens(self, text: str) -> int | None:
        """How many tokens the open model makes of a text; None where there is no model or it does not tell."""
        if self._client is None or self.card is None or self.card.abilities.tokenize is False:
            return None
        try:
            return len((await self._client.tokenize(text, add_bos=False, parse_special=False)).ids)
        except EngineError:
            return None

    async def look(self, look: Look, on_progress: Callable[[PromptProgress], None]) -> Looked:
        """What is likely at a place of a conversation. Raises EngineError where the engine cannot tell."""
        if self._client is None or not self.is_ready:
            raise EngineGoneError("No model is open.", "Open one.")
        return await self._client.look(look, on_progress)

    async def _end_client(self) -> None:
        """End the engine, if there is one; the answer under way has ended before it goes."""
        client, pump = self._client, self._pump
        if client is None or pump is None:
            return
        with self._events.of_an_end():
            client.events.put_nowait(_ENDED)
            await asyncio.wait([pump])
        if self._precedence is not None:
            self._precedence.give_back()
            self._precedence = None
        await client.close()
        self._client = self._pump = None

    async def _send(self, command: AnyCommand) -> bool:
        if self._client is None:
            return False
        try:
            await self._client.send(command)
        except EngineError:
            # The client says EngineDied as well, with more to tell.
            return False
        return True

    async def _pump_events(self, client: Engine) -> None:
        """Take in what the engine says until it ends; what cannot be taken in costs nothing but itself."""
        while True:
            event = await client.events.get()
            try:
                if not self.aside.take(event):
                    await self._events.take(event)
            except Exception as error:  # noqa: BLE001 - without this task, nothing that the engine says is heard
                background.tell_unforeseen(error, f"taking in {type(event).__name__}", self._post)
            if isinstance(event, EngineDied):
                return

    async def _hand_on(self, event: AnswerEvent) -> None:
        if self.on_answer is not None:
            await self.on_answer(event)

    def _tell_ready(self) -> None:
        for tell in self.on_ready:
            tell()
