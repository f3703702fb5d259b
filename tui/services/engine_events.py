"""What an engine says: of an answer, it goes to who has asked for that; everything else to the screen."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

from engine.protocol import (
    AnyEvent,
    CardChanged,
    EngineDied,
    EngineStats,
    Failed,
    Finished,
    HeartbeatMissed,
    LoadProgress,
    ModelReady,
    Notice,
    PromptProgress,
    Token,
)
from tui.messages import (
    AbilitiesShown,
    EngineDiedMidway,
    EngineSilent,
    LoadAdvanced,
    Post,
    StatsArrived,
    Trouble,
)
from tui.sentences import sentence, sentences
from tui.services.engine_state import EngineState

AnswerEvent = PromptProgress | Token | Finished | Failed | EngineDied


class EngineEvents:
    """Takes what an engine says, one event after the other, and keeps the state up to date with it.

    on_answer: called with the events of answers; everything else is posted. on_ready: called whenever a model is open.
    """

    def __init__(
        self,
        state: EngineState,
        post: Post,
        *,
        on_answer: Callable[[AnswerEvent], Awaitable[None]],
        on_ready: Callable[[], None],
    ) -> None:
        self._state = state
        self._post = post
        self._on_answer = on_answer
        self._on_ready = on_ready
        self._is_ending = False

    @contextmanager
    def of_an_end(self) -> Iterator[None]:
        """While the engine is ended on purpose, only answers still have to do with what it says."""
        self._is_ending = True
        try:
            yield
        finally:
            self._is_ending = False

    async def take(self, event: AnyEvent) -> None:
        """Take in one event."""
        if self._is_ending:
            if isinstance(event, AnswerEvent):
                await self._on_answer(event)
            return
        match event:
            case Token() | Finished() | PromptProgress():
                await self._on_answer(event)
            case ModelReady() if self._state.is_about_wanted(event):
                self._state.enter("ready", event.card)
                self._on_ready()
            case Failed():
                await self._failed(event)
            case EngineDied():
                await self._died(event)
            case _:
                self._tell(event)

    def _tell(self, event: AnyEvent) -> None:
        """Pass on what changes nothing but what is shown."""
        match event:
            case EngineStats():
                self._post(StatsArrived(event))
            case LoadProgress() if self._state.is_about_wanted(event):
                self._post(LoadAdvanced(event))
            case HeartbeatMissed(silent_s=silent_s):
                self._post(EngineSilent(silent_s))
            case CardChanged(card=card) if self._state.phase == "ready":
                self._state.card = card
                self._post(AbilitiesShown(card.abilities))
            case Notice(text=text):
                self._post(Trouble(sentence(text), "information"))
            case _:
                pass

    async def _failed(self, event: Failed) -> None:
        said = sentences(event.message, event.hint)
        if self._state.is_about_wanted(event):
            self._state.give_up_wanted()
            self._state.enter("empty", reason=said)
        elif event.request_id:
            await self._on_answer(event)
        else:
            self._post(Trouble(said))

    async def _died(self, event: EngineDied) -> None:
        # The answer's end comes first, and must not find an engine that could go on with it.
        self._state.phase, self._state.card = "dead", None
        await self._on_answer(event)
        self._state.enter("dead", reason=sentence(event.message))
        self._post(EngineDiedMidway(event.message, list(event.log_tail)))
