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
        chat = screen.query_one("#chat", Vertical)
        header, status = screen.query_one(ChatHeader), screen.query_one(StatusLine)
        transcript, prompt = screen.query_one(Transcript), screen.query_one(PromptBox)
        history_pane, engine_pane = screen.query_one(HistoryPane), screen.query_one(EnginePane)
        conversation, open_session, writing = workspace.conversation, workspace.open_session, workspace.writing
        engine, looking = workspace.engine, workspace.looking

        self.interaction = interaction = Interaction(screen)
        unkept = UnkeptTexts(interaction)
        self.side_panes = SidePanes(screen, prompt, on_shown=looking.again)
        self.switching = Switching(prompt, conversation, interaction)

        self.sessions = Sessions(
            workspace.history,
            open_session,
            workspace.opening,
            history_pane,
            transcript,
            self.switching,
            go_back=self.side_panes.go_back,
            interaction=interaction,
        )
        self.this_session = ThisSession(conversation, open_session, engine, workspace.store, unkept, interaction)
        self.session_shown = SessionShown(
            open_session,
            header,
            transcript,
            prompt,
            self.switching,
            list_sessions=self.sessions.show,
            interaction=interaction,
        )
        self.chat_messages = ChatMessages(
            conversation,
            open_session,
            workspace.claim,
            writing,
            transcript,
            prompt,
            self.switching,
            unkept,
            interaction,
        )
        self.answer_shown = AnswerShown(
            writing,
            transcript,
            status,
            engine_pane,
            on_ended=workspace.housekeeping.answer_ended,
            interaction=interaction,
        )
        self.tints = Tints(screen, chat, transcript, workspace.store, interaction)

        self.engine_shown = EngineShown(engine, header, status, engine_pane, interaction)
        self.sliders = Sliders(conversation, open_session, workspace.presets, looking, engine_pane, interaction)
        self.candidates = Candidates(
            looking,
            writing,
            engine_pane,
            transcript,
            is_seen=lambda: self.side_panes.is_shown("engine"),
            interaction=interaction,
        )
        self.model_opening = ModelOpening(
            workspace.models,
            engine,
            use_server=workspace.use_server,
            load_model=workspace.load_model,
            status=status,
            interaction=interaction,
        )
        self.fetches = Fetches(
            workspace.models, status, take_fetched=self.model_opening.take_fetched, interaction=interaction
        )

        self.prompting = Prompting(
            prompt,
            chat,
            workspace.prompts,
            find_completions=partial(completions, workspace=workspace),
            on_typed=workspace.housekeeping.touch,
            interaction=interaction,
        )
        self.attached_files = AttachedFiles(workspace.attachments, chat, prompt, interaction)
        commands = SlashCommands(
            self.attached_files,
            self.model_opening,
            self.this_session,
            self.sliders,
            run_action=partial(screen.app.run_action, default_namespace=screen),
            give_back=self.prompting.give_back,
            interaction=interaction,
        )
        self.sending = Sending(
            prompt,
            transcript,
            conversation,
            writing,
            workspace.prompts,
            self.attached_files,
            opened=workspace.opened,
            carry_out=commands.carry_out,
            interaction=interaction,
        )

        self.receivers = self._receivers()

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
        to.set(messages.HistoryChanged, self.sessions.list_changed)
        to.set(messages.Weighed, self.candidates.show)
        to.set(messages.Trouble, self.interaction.show_trouble)
        return to
