"""The engine as the user sees it: its state, its model and its figures, and what is wrong with it."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from engine.protocol import Abilities
from tui.language import N_, _
from tui.messages import (
    AbilitiesShown,
    EngineChanged,
    EngineDiedMidway,
    EngineSilent,
    LoadAdvanced,
    ModelChosen,
    NoModelFound,
    PathChanged,
    StatsArrived,
)
from tui.screens.main.interaction import Interaction
from tui.sentences import sentence
from tui.services.engine_session import EngineSession
from tui.stages import LOADING
from tui.widgets.candidates_pane import CandidatesPane
from tui.widgets.chat_header import ChatHeader, model_words
from tui.widgets.engine_pane import EnginePane
from tui.widgets.live_numbers import LiveNumbers
from tui.widgets.sampling_pane import SamplingPane
from tui.widgets.status_line import StatusLine

_PHASE_WORDS = {"starting": N_("Starting the engine …"), "loading": N_("Opening the model …")}


class EngineShown:
    """What an engine tells, in the header, the status line and the pane beside the chat; and its restart.

    start_again: starts it again with the same model.
    """

    def __init__(
        self,
        engine: EngineSession,
        start_again: Callable[[], Coroutine[Any, Any, None]],
        header: ChatHeader,
        status: StatusLine,
        pane: EnginePane,
        interaction: Interaction,
    ) -> None:
        self._engine = engine
        self._start_again = start_again
        self._header = header
        self._status = status
        self._numbers = pane.query_one(LiveNumbers)
        self._sampling_pane = pane.query_one(SamplingPane)
        self._candidates_pane = pane.query_one(CandidatesPane)
        self._interaction = interaction
        self._no_model = ""
        self._may_come = False
        self._trouble = ""
        self._log_tail: list[str] = []
        self._session_id = ""

    @property
    def lacks_model(self) -> bool:
        """Whether it is there, and no model is open in it."""
        return self._engine.phase == "empty"

    @property
    def can_restart(self) -> bool:
        """Whether a restart is of any use."""
        asked = self._engine.has_asked_for_model or self._may_come
        return self._engine.phase == "dead" or (bool(self._trouble) and asked)

    def restart(self) -> None:
        """Start it again."""
        self._show_trouble("")
        self._interaction.begin(self._start_again())

    def show_log(self) -> None:
        """Show its last words."""
        from tui.screens.engine_log import EngineLogScreen

        self._interaction.ask(EngineLogScreen(self._log_tail, self._engine.log_path))

    def change(self, event: EngineChanged) -> None:
        """Its process or model is another."""
        self._numbers.show_phase(event.phase)
        self._status.figures = self._numbers.in_short
        opens = event.phase in ("starting", "loading") and self._engine.has_asked_for_model
        self._header.model = _("opening …") if opens and event.card is None else model_words(event.card)
        if event.card is not None:
            self._show_abilities(event.card.abilities)
        self._show_trouble(event.reason or (self._no_model if event.phase == "empty" else ""))
        self._status.show_busy("model", _(_PHASE_WORDS.get(event.phase, "")))
        self._interaction.keys_changed()

    def show_abilities(self, event: AbilitiesShown) -> None:
        """A server has shown what it can do."""
        self._show_abilities(event.abilities)

    def _show_abilities(self, abilities: Abilities) -> None:
        self._sampling_pane.show_abilities(abilities)
        self._candidates_pane.show_abilities(abilities)

    def show_no_model(self, event: NoModelFound) -> None:
        """There is nothing to open."""
        self._may_come = event.may_come
        self._no_model = event.reason or _("There is no model yet: f4 opens one.")
        self._show_trouble(self._no_model)

    def show_opening(self, event: ModelChosen) -> None:
        """A model is being opened."""
        self._no_model, self._may_come = "", False
        if self._engine.phase != "dead":
            self._header.model = _("opening …")
            self._status.show_busy("model", _("Opening {name} …", name=event.name))
            self._show_trouble("")

    def show_load(self, event: LoadAdvanced) -> None:
        """Loading came further."""
        progress = event.progress
        self._numbers.show_load(progress)
        part = f" {progress.done / progress.total * 100:.0f} %" if progress.total else ""
        self._status.show_busy("model", f"{_(LOADING[progress.stage])} …{part}")

    def show_stats(self, event: StatsArrived) -> None:
        """Its pulse."""
        self._numbers.show_stats(event.stats)
        if self._engine.is_ready:
            self._show_trouble("")
            self._status.figures = self._numbers.in_short

    def show_session(self, event: PathChanged) -> None:
        """Another session or branch is shown: what the engine holds and has measured may not be of that one."""
        session_id = event.session.id if event.session is not None else ""
        if event.is_other and session_id != self._session_id:
            self._numbers.show_other_session()
            self._status.figures = self._numbers.in_short
        self._session_id = session_id

    def show_silence(self, event: EngineSilent) -> None:
        """Its pulse is missing."""
        self._numbers.show_silence(event.silent_s)
        self._show_trouble(
            _("The engine has said nothing for {seconds:.0f} s. f5 starts it again.", seconds=event.silent_s)
        )

    def show_death(self, event: EngineDiedMidway) -> None:
        """It ended without being asked to: say so where it is seen, and how to go on."""
        self._log_tail = event.log_tail
        self._show_trouble(_("{message} f5 starts it again, f8 shows its last words.", message=sentence(event.message)))

    def _show_trouble(self, told: str) -> None:
        if told != self._trouble:
            self._trouble = told
            self._interaction.keys_changed()
        self._status.show_engine_trouble(told, wants_model=bool(told) and told == self._no_model)
