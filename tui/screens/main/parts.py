"""Which object has which duty on the main screen, and what each of them gets to know of the others."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from textual.containers import Vertical

from tui import messages
from tui.screens.main.answer_shown import AnswerShown
from tui.screens.main.attached_files import AttachedFiles
from tui.screens.main.candidates import Candidates
from tui.screens.main.chat_messages import ChatMessages
from tui.screens.main.engine_shown import EngineShown
from tui.screens.main.fetches import Fetches
from tui.screens.main.interaction import Interaction
from tui.screens.main.last_answer import LastAnswer
from tui.screens.main.model_opening import ModelOpening
from tui.screens.main.prompting import Prompting
from tui.screens.main.receivers import Receivers
from tui.screens.main.sending import Sending
from tui.screens.main.session_shown import SessionShown
from tui.screens.main.sessions import Sessions
from tui.screens.main.side_panes import SidePanes
from tui.screens.main.slash_commands import SlashCommands
from tui.screens.main.sliders import Sliders
from tui.screens.main.switching import Switching
from tui.screens.main.this_session import ThisSession
from tui.screens.main.tints import Tints
from tui.screens.main.unkept_texts import UnkeptTexts
from tui.services.completions import completions
from tui.services.workspace import Workspace
from tui.widgets.chat_header import ChatHeader
from tui.widgets.engine_pane import EnginePane
from tui.widgets.history_pane import HistoryPane
from tui.widgets.prompt_box import PromptBox
from tui.widgets.status_line import StatusLine
from tui.widgets.transcript import Transcript

if TYPE_CHECKING:
    from textual.screen import Screen


class Parts:
    """All of them, made once the panes are mounted and the services are there; each is handed those that it needs."""

    def __init__(self, screen: Screen[None], workspace: Workspace) -> None:
        self._screen, self._workspace = screen, workspace
        self._header, self._status = screen.query_one(ChatHeader), screen.query_one(StatusLine)
        self._transcript, self._prompt = screen.query_one(Transcript), screen.query_one(PromptBox)
        self._history_pane, self._engine_pane = screen.query_one(HistoryPane), screen.query_one(EnginePane)
        self._chat = screen.query_one("#chat", Vertical)

        self.interaction = Interaction(screen)
        self._unkept = UnkeptTexts(self.interaction)
        self.side_panes = SidePanes(screen, self._prompt, on_shown=workspace.looking.again)
        self.switching = Switching(
            self._prompt,
            workspace.opening,
            workspace.saving,
            go_back=self.side_panes.go_back,
            interaction=self.interaction,
        )

        self._make_those_of_sessions()
        self._make_those_of_messages()
        self._make_those_of_the_engine()
        self._make_those_of_the_prompt_box()
        self.receivers = self._receivers()

    def _make_those_of_sessions(self) -> None:
        workspace = self._workspace
        self.sessions = Sessions(
            workspace.history,
            workspace.open_session,
            workspace.opening,
            self._history_pane,
            self._transcript,
            self.switching,
            self.interaction,
        )
        self.this_session = ThisSession(
            workspace.conversation,
            workspace.open_session,
            workspace.engine,
            workspace.store,
            self._unkept,
            self.interaction,
        )
        self.session_shown = SessionShown(
            workspace.open_session,
            self._header,
            self._transcript,
            self._prompt,
            self.switching,
            list_sessions=self.sessions.show_soon,
            interaction=self.interaction,
        )

    def _make_those_of_messages(self) -> None:
        workspace = self._workspace
        self.last_answer = LastAnswer(
            workspace.conversation,
            workspace.open_session,
            workspace.claim,
            workspace.writing,
            self._transcript,
            self.interaction,
        )
        self.chat_messages = ChatMessages(
            workspace.conversation,
            workspace.open_session,
            workspace.writing,
            self._transcript,
            self._prompt,
            self.switching,
            self._unkept,
            self.interaction,
        )
        self.answer_shown = AnswerShown(
            workspace.writing,
            self._transcript,
            self._status,
            self._engine_pane,
            on_ended=workspace.housekeeping.answer_ended,
            interaction=self.interaction,
        )
        self.tints = Tints(self._screen, self._chat, self._transcript, workspace.store, self.interaction)

    def _make_those_of_the_engine(self) -> None:
        workspace, engine_pane = self._workspace, self._engine_pane
        self.engine_shown = EngineShown(
            workspace.engine, workspace.restart_engine, self._header, self._status, engine_pane, self.interaction
        )
        self.sliders = Sliders(
            workspace.conversation,
            workspace.open_session,
            workspace.presets,
            workspace.looking,
            engine_pane,
            self.interaction,
        )
        self.candidates = Candidates(
            workspace.looking,
            workspace.writing,
            engine_pane,
            self._transcript,
            is_seen=lambda: self.side_panes.is_shown("engine"),
            interaction=self.interaction,
        )
        self.model_opening = ModelOpening(
            workspace.models,
            workspace.engine,
            use_server=workspace.use_server,
            load_model=workspace.load_model,
            status=self._status,
            interaction=self.interaction,
        )
        self.fetches = Fetches(
            workspace.models, self._status, take_fetched=self.model_opening.take_fetched, interaction=self.interaction
        )

    def _make_those_of_the_prompt_box(self) -> None:
        workspace = self._workspace
        self.prompting = Prompting(
            self._prompt,
            self._chat,
            workspace.prompts,
            find_completions=partial(completions, workspace=workspace),
            on_typed=workspace.housekeeping.touch,
            keep=workspace.saving.take_draft,
            interaction=self.interaction,
        )
        self.attached_files = AttachedFiles(workspace.attachments, self._chat, self._prompt, self.interaction)
        commands = SlashCommands(
            self.attached_files,
            self.model_opening,
            self.this_session,
            self.sliders,
            run_action=partial(self._screen.app.run_action, default_namespace=self._screen),
            give_back=self.prompting.give_back,
            interaction=self.interaction,
        )
        self.sending = Sending(
            self.prompting,
            self.attached_files,
            workspace.conversation,
            self.last_answer,
            opened=workspace.opened,
            carry_out=commands.carry_out,
            interaction=self.interaction,
        )

    def _receivers(self) -> Receivers:
        """Whom each message of the services concerns."""
        to = Receivers()
        answer, engine, session = self.answer_shown, self.engine_shown, self.session_shown
        to.set(messages.EngineChanged, self.attached_files.model_changed, self.candidates.model_changed, engine.change)
        to.set(messages.AbilitiesShown, engine.show_abilities)
        to.set(messages.LoadAdvanced, engine.show_load)
        to.set(messages.StatsArrived, engine.show_stats)
        to.set(messages.EngineSilent, engine.show_silence)
        to.set(messages.EngineDiedMidway, engine.show_death)
        to.set(messages.ModelChosen, engine.show_opening)
        to.set(messages.NoModelFound, engine.show_no_model, self.model_opening.offer_first)
        to.set(messages.FetchAdvanced, self.fetches.advance)
        to.set(messages.FetchEnded, self.fetches.end)
        to.set(messages.AnswerBegan, self.candidates.answer_began, answer.begin)
        to.set(messages.AnswerWaits, answer.show_waiting)
        to.set(messages.PromptAdvanced, answer.show_prompt)
        to.set(messages.AnswerGrew, answer.grow)
        to.set(messages.AnswerStopping, answer.show_stopping)
        to.set(messages.AnswerEnded, self.candidates.answer_ended, answer.end)
        to.set(
            messages.PathChanged,
            self.candidates.branch_changed,
            engine.show_session,
            answer.branch_changed,
            session.show_path,
        )
        to.set(messages.TitleChanged, session.show_title)
        to.set(messages.HeldElsewhere, session.show_holder)
        to.set(messages.SettingsShown, self.sliders.show_settings, session.show_system)
        to.set(messages.HistoryChanged, self.sessions.list_changed, session.show_hints)
        to.set(messages.Weighed, self.candidates.show)
        to.set(messages.Trouble, self.interaction.show_trouble)
        return to
