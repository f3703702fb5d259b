"""What the services tell, handed to the part of the main screen that shows it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from tui.language import N_, _
from tui.screens.main.parts import MainParts
from tui.sentences import sentence
from tui.stages import FETCHING, LOADING
from tui.text import safe_line
from tui.widgets.chat_header import model_words

if TYPE_CHECKING:
    from textual.notifications import SeverityLevel

    from engine.protocol import Abilities
    from tui import messages
    from tui.screens.fetching import FetchingDialog

_CUT_SHORT = N_("Cut short: ctrl+g goes on, ctrl+r writes another.")
_PHASE_WORDS = {"starting": N_("Starting the engine …"), "loading": N_("Opening the model …")}


class MainEvents(MainParts):
    """The main screen as the services see it."""

    def __init__(self) -> None:
        super().__init__()
        self.log_tail: list[str] = []
        self._no_model = ""
        self._engine_trouble = ""
        self._fetch_trouble = ""
        self._shown_session = ""
        self._busy_with: Literal["", "answer", "model", "fetch"] = ""
        self.unkept_texts: dict[str, str] = {}

    def on_descendant_focus(self) -> None:
        """The header shows when keys go to the messages."""
        self.header.is_reading = self.focused is self.transcript

    def on_descendant_blur(self) -> None:
        """The same."""
        self.on_descendant_focus()

    # The engine

    async def on_engine_changed(self, event: messages.EngineChanged) -> None:
        """The engine's process or model is another."""
        self.numbers.show_phase(event.phase)
        self.status.figures = self.numbers.in_short
        self.header.model = model_words(event.card)
        if event.card is not None:
            self._show_abilities(event.card.abilities)
        self.show_engine_trouble(event.reason or (self._no_model if event.phase == "empty" else ""))
        self._show_busy("model", _(_PHASE_WORDS.get(event.phase, "")))
        self.refresh_bindings()

    def _show_busy(self, what: Literal["answer", "model", "fetch"], text: str) -> None:
        """Say in the status line what is going on, and remember what that is about; "" for nothing more."""
        self._busy_with = what if text else ""
        self.status.busy = text

    def show_engine_trouble(self, sentence: str) -> None:
        """Say what is wrong with the engine, "" for nothing; a download's trouble stays."""
        if sentence != self._engine_trouble:
            self._engine_trouble = sentence
            self.refresh_bindings()
        self.status.trouble = sentence or self._fetch_trouble

    def show_fetch_trouble(self, sentence: str) -> None:
        """Say why a download failed, "" for nothing, until the user goes on with something else."""
        self._fetch_trouble = sentence
        self.status.trouble = self._engine_trouble or sentence

    def on_abilities_shown(self, event: messages.AbilitiesShown) -> None:
        """A server has shown what it can do."""
        self._show_abilities(event.abilities)

    def _show_abilities(self, abilities: Abilities) -> None:
        self.sampling.show_abilities(abilities)
        self.candidates.show_abilities(abilities)

    def on_engine_died_midway(self, event: messages.EngineDiedMidway) -> None:
        """The engine ended without being asked to: say so where it is seen, and how to go on."""
        self.log_tail = event.log_tail
        self.show_engine_trouble(
            _("{message} f5 starts it again, f8 shows its last words.", message=sentence(event.message))
        )

    def on_engine_silent(self, event: messages.EngineSilent) -> None:
        """The engine's pulse is missing."""
        self.numbers.show_silence(event.silent_s)
        self.show_engine_trouble(
            _("The engine has said nothing for {seconds:.0f} s. f5 starts it again.", seconds=event.silent_s)
        )

    def on_load_advanced(self, event: messages.LoadAdvanced) -> None:
        """Loading came further."""
        progress = event.progress
        self.numbers.show_load(progress)
        part = f" {progress.done / progress.total * 100:.0f} %" if progress.total else ""
        self._show_busy("model", f"{_(LOADING[progress.stage])} …{part}")

    def on_prompt_advanced(self, event: messages.PromptAdvanced) -> None:
        """The engine read more of the prompt."""
        progress = event.progress
        self.numbers.show_prompt(progress)
        if progress.done < progress.total:
            told = _("Reading the prompt … {done} of {total} tokens", done=progress.done, total=progress.total)
        else:
            told = _("Writing …")
        self._show_busy("answer", told)

    def on_stats_arrived(self, event: messages.StatsArrived) -> None:
        """The engine's pulse."""
        self.numbers.show_stats(event.stats)
        if self.workspace.engine.is_ready:
            self.show_engine_trouble("")
            self.status.figures = self.numbers.in_short

    # The conversation

    async def on_path_changed(self, event: messages.PathChanged) -> None:
        """Another session or branch is shown."""
        self.header.session_title = (event.session.title if event.session else "") or _("New session")
        self.candidates.clear()
        session = event.session.id if event.session else ""
        if event.is_other and session != self._shown_session:
            self.numbers.show_other_session()
            self.status.figures = self.numbers.in_short
        self._shown_session = session
        conversation = self.workspace.conversation
        if not conversation.is_busy and self._busy_with == "answer":
            self._show_busy("answer", _(_CUT_SHORT) if conversation.can_go_on else "")
        await self.transcript.show_path(event.path, from_start=event.is_other, at=event.at)
        if event.keeps_typed:
            if not self.prompt.text:
                self.prompt.show_draft(event.draft or "")
            self.keep_draft()
        elif event.draft is not None:
            self.end_switch(event.draft)
        elif event.is_other and self._n_switches:
            self.end_switch(None)
        if event.is_other:
            await self.show_history()
        self.refresh_bindings()

    def on_title_changed(self, event: messages.TitleChanged) -> None:
        """The open session got another title."""
        self.header.session_title = event.title or _("New session")

    def on_held_elsewhere(self, event: messages.HeldElsewhere) -> None:
        """Another app writes in the open session, or no longer does."""
        self.transcript.show_holder(_("process {pid} on {host}", pid=event.pid, host=event.host) if event.host else "")
        self.refresh_bindings()

    def on_answer_began(self) -> None:
        """Other keys do something now."""
        self.show_fetch_trouble("")
        self._show_busy("answer", _("Reading the prompt …"))
        self.numbers.begin_answer()
        self.refresh_bindings()

    def on_answer_stopping(self) -> None:
        """The engine was told to stop, and gets to it after what it is at."""
        self._show_busy("answer", _("Stopping …"))

    async def on_answer_grew(self, event: messages.AnswerGrew) -> None:
        """New text."""
        self.candidates.take(event.candidates)
        answer = self.workspace.conversation.answer
        if answer is not None and answer.first_token_ms is not None:
            self.numbers.show_first_token(answer.first_token_ms)
        await self.transcript.grow(event.message_id, event.text)

    def on_answer_body_drawn(self) -> None:
        """The candidates change along with the text."""
        self.candidates.show_latest()

    async def on_answer_ended(self, event: messages.AnswerEnded) -> None:
        """An answer is over."""
        message = event.answer.message
        self.candidates.show_latest()
        self.numbers.show_finished(message.tokens_per_second, message.first_token_ms)
        self._show_busy("answer", _(_CUT_SHORT) if event.is_resumable else "")
        await self.transcript.settle(event.answer, event.notes)
        self.refresh_bindings()
        self.workspace.housekeeping.answer_ended()

    def on_answer_waits(self, event: messages.AnswerWaits) -> None:
        """A sent message waits for the model."""
        self.transcript.set_class(event.waiting, "-waiting")
        self.refresh_bindings()

    def on_settings_shown(self) -> None:
        """Another system prompt or other sampling settings."""
        conversation = self.workspace.conversation
        self.sampling.show_sampling(conversation.sampling, conversation.default_sampling)
        self.transcript.show_system(self.workspace.conversation.system)

    async def on_history_changed(self) -> None:
        """The list of sessions is another."""
        await self.show_history()

    async def show_history(self) -> None:
        """Read the list of sessions anew."""
        session = self.workspace.conversation.session
        await self.history.show(self.workspace.history, session.id if session else None)

    # Models

    def on_model_chosen(self, event: messages.ModelChosen) -> None:
        """A model is being opened."""
        self._no_model = ""
        if self.workspace.engine.phase != "dead":
            self._show_busy("model", _("Opening {name} …", name=event.name))
            self.show_engine_trouble("")

    def on_fetch_advanced(self, event: messages.FetchAdvanced) -> None:
        """A model's download is shown by the dialog that fetches while that is open, else here."""
        if (dialog := self._fetching_dialog()) is not None:
            dialog.show_advance(event)
            return
        part = f" {event.done_bytes / event.total_bytes * 100:.0f} %" if event.total_bytes else ""
        self._show_busy("fetch", f"{_(FETCHING[event.stage])} {event.name} …{part}")
        self.show_fetch_trouble("")

    def on_fetch_ended(self, event: messages.FetchEnded) -> None:
        """A model is here: whoever waits for it opens it, else the user is told."""
        dialog = self._fetching_dialog()
        self.show_fetch_trouble("" if dialog is not None else event.error)
        if self._busy_with == "fetch":
            self._show_busy("fetch", "")
        if dialog is not None:
            dialog.show_end(event)
        elif event.path is not None:
            self.take_fetched(event.path)
        self.refresh_bindings()

    def take_fetched(self, path: Path) -> None:
        """Open a fetched model where there is none, else say that it is here."""
        if self.workspace.engine.card is None:
            self.run_worker(self.load_model(path))
        else:
            self.notify(_("{name} is here: f4 opens it.", name=safe_line(path.name, 60)), markup=False)

    async def load_model(self, path: Path) -> None:
        """Open a model that the user wants, with an engine started again where there is none."""
        await self.workspace.load_model(path)
        if self.workspace.engine.phase == "dead":
            await self.workspace.engine.restart()

    def _fetching_dialog(self) -> FetchingDialog | None:
        from tui.screens.fetching import FetchingDialog

        return self.app.screen if isinstance(self.app.screen, FetchingDialog) else None

    def on_trouble(self, event: messages.Trouble) -> None:
        """Something failed."""
        self.tell_trouble(event.sentence, event.severity)

    def tell_trouble(self, sentence: str, severity: SeverityLevel = "error") -> None:
        """Say what failed, for as long as it takes to read it."""
        self.notify(sentence, severity=severity, timeout=10, markup=False)
