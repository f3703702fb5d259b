"""What an engine says: of an answer, it goes to who has asked for that; everything else to the screen."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from engine.protocol import (
    AnyEvent,
    CardChanged,
    EngineDied,
    EngineStats,
    Failed,
    Finished,
    HeartbeatMissed,
    Load,
    LoadProgress,
    ModelCard,
    ModelReady,
    Notice,
    PromptProgress,
    Token,
    Unloaded,
)
from tui.messages import (
    AbilitiesShown,
    EngineChanged,
    EngineDiedMidway,
    EnginePhase,
    EngineSilent,
    LoadAdvanced,
    Post,
    StatsArrived,
    Trouble,
)
from tui.sentences import sentence, sentences

AnswerEvent = PromptProgress | Token | Finished | Failed | EngineDied


class EngineEvents:
    """An engine as it is known from what it says: its phase, and the card of the model that is open in it.

    Events of answers go to `on_answer`, everything else is posted. on_ready: called whenever a model is open.
    is_local: whether models are opened on this machine.
    """

    def __init__(self, post: Post) -> None:
        self._post = post
        self._load: Load | None = None
        self._is_ending = False
        self.is_local = True
        self.phase: EnginePhase = "starting"
        self.card: ModelCard | None = None
        self.on_answer: Callable[[AnswerEvent], Awaitable[None]] | None = None
        self.on_ready: list[Callable[[], None]] = []

    @property
    def is_ready(self) -> bool:
        """Whether a Generate would be answered now."""
        return self.phase == "ready"

    async def _take(self, event: AnyEvent) -> None:
        if self._is_ending:
            # Only answers still have to do with it.
            if isinstance(event, AnswerEvent):
                await self._answer(event)
            return
        match event:
            case Token() | Finished() | PromptProgress():
                await self._answer(event)
            case ModelReady() if self._is_of_load(event):
                self._ready(event.card)
            case Failed():
                await self._failed(event)
            case Unloaded():
                self.card = None
                self._set_phase("empty")
            case EngineDied():
                await self._died(event)
            case _:
                self._tell(event)

    def _tell(self, event: AnyEvent) -> None:
        """Pass on what changes nothing but what is shown."""
        match event:
            case EngineStats():
                self._post(StatsArrived(event))
            case LoadProgress() if self._is_of_load(event):
                self._post(LoadAdvanced(event))
            case HeartbeatMissed(silent_s=silent_s):
                self._post(EngineSilent(silent_s))
            case CardChanged(card=card) if self.is_ready:
                self.card = card
                self._post(AbilitiesShown(card.abilities))
            case Notice(text=text):
                self._post(Trouble(sentence(text), "information"))
            case _:
                pass

    def _is_of_load(self, event: AnyEvent) -> bool:
        """Whether an event is about the model that is wanted, and not about one that was wanted before."""
        return self._load is not None and event.request_id == self._load.request_id

    def _ready(self, card: ModelCard) -> None:
        self.card = card
        self._set_phase("ready")
        for tell in self.on_ready:
            tell()

    async def _failed(self, event: Failed) -> None:
        said = sentences(event.message, event.hint)
        if self._is_of_load(event):
            # A file that does not open will not do so by itself; a server may be back in a moment.
            self._load = None if self.is_local else self._load
            self._set_phase("empty", said)
        elif event.request_id:
            await self._answer(event)
        else:
            self._post(Trouble(said))

    async def _died(self, event: EngineDied) -> None:
        self.card = None
        self.phase = "dead"
        await self._answer(event)
        self._set_phase("dead", sentence(event.message))
        self._post(EngineDiedMidway(event.message, list(event.log_tail)))

    async def _answer(self, event: AnswerEvent) -> None:
        if self.on_answer is not None:
            await self.on_answer(event)

    def _set_phase(self, phase: EnginePhase, reason: str = "") -> None:
        self.phase = phase
        self._post(EngineChanged(phase, self.card, reason))
