"""The main screen: history, chat and engine side by side; it hands what happens to the pane that shows it."""

from __future__ import annotations

from collections.abc import Coroutine
from pathlib import Path
from typing import Any, ClassVar

from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.screen import Screen
from textual.widgets import Footer

from storage.errors import StorageError
from tui import messages
from tui.services.conversation import is_resumable
from tui.services.workspace import Workspace
from tui.widgets.candidates_pane import N_CANDIDATES, CandidatesPane
from tui.widgets.chat_header import ChatHeader, model_words
from tui.widgets.engine_pane import EnginePane
from tui.widgets.history_pane import HistoryPane, SessionList
from tui.widgets.live_numbers import LiveNumbers
from tui.widgets.prompt_box import PromptBox
from tui.widgets.sampling_pane import SamplingPane
from tui.widgets.status_line import StatusLine
from tui.widgets.transcript import Transcript

_STAGE_WORDS = {
    "reading": "Reading the model",
    "preparing": "Preparing the weights, once for this model",
    "compiling": "Compiling for this processor, once",
    "warming": "Warming up",
}
_NARROW = 100
_SHORT = 16


class MainScreen(Screen[None]):
    """All day's work happens here."""

    AUTO_FOCUS = "PromptBox"
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (_NARROW, "-wide")]  # noqa: RUF012 - no ClassVar in Textual's types
    VERTICAL_BREAKPOINTS = [(0, "-short"), (_SHORT, "-tall")]  # noqa: RUF012
    BINDINGS_LIST: ClassVar[list[Binding]] = [
        Binding("escape", "stop", "stop", id="answer.stop", tooltip="Stop the answer; what came stays"),
        Binding("escape", "back", "back", id="pane.back", tooltip="Back to the prompt box"),
        Binding("ctrl+r", "again", "again", id="answer.again", tooltip="Write another answer"),
        Binding("ctrl+g", "go_on", "go on", id="answer.go_on", tooltip="Continue the answer where it was cut short"),
        Binding("f5", "restart_engine", "restart engine", id="engine.restart", tooltip="Start the engine again"),
        Binding("f2", "history", "history", id="pane.history", tooltip="To the sessions, or fold them away"),
        Binding("f3", "engine", "engine", id="pane.engine", tooltip="To the sliders, or fold them away"),
        Binding("ctrl+n", "new_session", "New session", id="session.new", tooltip="Begin a session", show=False),
        Binding("f4", "choose_model", "Model", id="model.choose", tooltip="Open another model", show=False),
        Binding(
            "f9",
            "system_prompt",
            "System prompt",
            id="session.system",
            tooltip="What the model is told first",
            show=False,
        ),
        Binding("f10", "rename", "Rename", id="session.rename", tooltip="Give the session another title", show=False),
        Binding("f8", "engine_log", "Engine log", id="engine.log", tooltip="The engine's last words", show=False),
        Binding(
            "alt+left", "sibling(-1)", "Version before", id="answer.before", tooltip="The version before", show=False
        ),
        Binding("alt+right", "sibling(1)", "Version after", id="answer.after", tooltip="The version after", show=False),
        Binding("f1", "app.help", "help", id="app.help", tooltip="Keys and what they do"),
    ]
    BINDINGS: ClassVar[list[BindingType]] = [*BINDINGS_LIST]

    def __init__(self, workspace: Workspace) -> None:
        super().__init__()
        self.workspace = workspace
        self._log_tail: list[str] = []
        self._no_model = ""

    def compose(self) -> ComposeResult:
        """Three panes and the footer."""
        conversation = self.workspace.conversation
        with Horizontal(id="panes"):
            yield HistoryPane(id="history")
            with Vertical(id="chat"):
                yield ChatHeader()
                yield Transcript(id="transcript")
                yield StatusLine()
                yield PromptBox(id="prompt")
            yield EnginePane(conversation.defaults.sampling, id="engine")
        yield Footer(compact=True)

    def on_mount(self) -> None:
        """Start the services once the first frame is on screen."""
        self.query_one(Transcript).show_system(self.workspace.conversation.system)
        self.workspace.conversation.n_candidates = N_CANDIDATES
        self.call_after_refresh(self.workspace.start)
        self._read_machine()

    @work(thread=True, group="machine")
    def _read_machine(self) -> None:
        import psutil

        total = psutil.virtual_memory().total
        self.app.call_from_thread(self.query_one(LiveNumbers).show_machine, total)

    def on_resize(self) -> None:
        """Where there is little room, the footer is for the keys of the chat."""
        self.query_one(Footer).show_command_palette = self.size.width >= _NARROW

    # What the services tell

    def on_engine_changed(self, event: messages.EngineChanged) -> None:
        """The engine's process or model is another."""
        self.query_one(LiveNumbers).show_phase(event.phase)
        self.query_one(ChatHeader).model = model_words(event.card)
        status = self.query_one(StatusLine)
        status.trouble = event.reason or (self._no_model if event.phase == "empty" else "")
        status.busy = {"starting": "Starting the engine …", "loading": "Opening the model …"}.get(event.phase, "")
        self.refresh_bindings()

    def on_engine_died_midway(self, event: messages.EngineDiedMidway) -> None:
        """The engine ended without being asked to: say so where it is seen, and how to go on."""
        self._log_tail = event.log_tail
        self.query_one(StatusLine).trouble = f"{event.message} f5 starts it again, f8 shows its last words."
        self.notify(event.message, title="The engine stopped", severity="error", timeout=12, markup=False)
        self.refresh_bindings()

    def on_engine_silent(self, event: messages.EngineSilent) -> None:
        """The engine's pulse is missing."""
        self.query_one(LiveNumbers).show_silence(event.silent_s)
        self.query_one(
            StatusLine
        ).trouble = f"The engine has said nothing for {event.silent_s:.0f} s. f5 starts it again."

    def on_load_advanced(self, event: messages.LoadAdvanced) -> None:
        """Loading came further."""
        progress = event.progress
        self.query_one(LiveNumbers).show_load(progress)
        part = f" {progress.done / progress.total * 100:.0f} %" if progress.total else ""
        self.query_one(StatusLine).busy = f"{_STAGE_WORDS[progress.stage]} …{part}"

    def on_prompt_advanced(self, event: messages.PromptAdvanced) -> None:
        """The engine read more of the prompt."""
        progress = event.progress
        self.query_one(LiveNumbers).show_prompt(progress)
        if progress.done < progress.total:
            self.query_one(StatusLine).busy = f"Reading the prompt … {progress.done} of {progress.total} tokens"
        else:
            self.query_one(StatusLine).busy = "Writing …"

    def on_stats_arrived(self, event: messages.StatsArrived) -> None:
        """The engine's pulse."""
        stats = event.stats
        self.query_one(LiveNumbers).show_stats(stats)
        status = self.query_one(StatusLine)
        if not self.workspace.engine.is_ready:
            return
        status.trouble = ""
        speed = f"{stats.tokens_per_second:.0f} tok/s · " if stats.state == "writing" else ""
        used = f"context {stats.context_used / stats.context * 100:.0f} %" if stats.context else ""
        status.figures = f"{speed}{used}"

    async def on_path_changed(self, event: messages.PathChanged) -> None:
        """Another session or branch is shown."""
        title = event.session.title if event.session else ""
        self.query_one(ChatHeader).session_title = title or "New session"
        self.query_one(CandidatesPane).clear()
        await self.query_one(Transcript).show_path(event.path, from_start=event.is_other)
        if event.draft is not None:
            self.query_one(PromptBox).show_draft(event.draft)
        if event.is_other:
            await self._show_history()
        self.refresh_bindings()

    async def on_answer_grew(self, event: messages.AnswerGrew) -> None:
        """New text."""
        if event.text:
            await self.query_one(Transcript).grow(event.message_id, event.text)
            self.query_one(CandidatesPane).show_candidates(event.candidates)
            if self.workspace.conversation.is_busy:
                self.query_one(StatusLine).busy = "Writing …"
        else:
            self.refresh_bindings()

    async def on_answer_ended(self, event: messages.AnswerEnded) -> None:
        """An answer is over."""
        message = event.answer.message
        self.query_one(LiveNumbers).show_finished(message.tokens_per_second, event.first_token_ms)
        status = self.query_one(StatusLine)
        status.busy = "Stopped: ctrl+g goes on, ctrl+r writes another." if is_resumable(message) else ""
        await self.query_one(Transcript).settle(event.answer)
        self.refresh_bindings()

    def on_answer_waits(self, event: messages.AnswerWaits) -> None:
        """A sent message waits for the model."""
        self.query_one(Transcript).set_class(event.waiting, "-waiting")
        self.refresh_bindings()

    def on_settings_shown(self) -> None:
        """Another system prompt or other sampling settings."""
        conversation = self.workspace.conversation
        self.query_one(SamplingPane).show_sampling(conversation.sampling)
        self.query_one(Transcript).show_system(conversation.system)

    async def on_history_changed(self) -> None:
        """The list of sessions is another."""
        await self._show_history()

    def on_no_model_found(self, event: messages.NoModelFound) -> None:
        """Explain, and offer what can be done."""
        from tui.screens.first_run import FirstRunScreen

        self._no_model = event.reason or "There is no model yet: f4 opens one."
        self.query_one(StatusLine).trouble = self._no_model
        self.app.push_screen(FirstRunScreen(self.workspace, event.reason), self._after_choice)

    def on_model_chosen(self, event: messages.ModelChosen) -> None:
        """A model is being opened."""
        self._no_model = ""
        if self.workspace.engine.phase != "dead":
            status = self.query_one(StatusLine)
            status.busy, status.trouble = f"Opening {event.name} …", ""

    def on_starter_advanced(self, event: messages.StarterAdvanced) -> None:
        """The download is shown by the first-run screen while that is open, and here."""
        part = f" {event.done_bytes / event.total_bytes * 100:.0f} %" if event.total_bytes else ""
        status = self.query_one(StatusLine)
        status.trouble = ""
        status.busy = f"Fetching the starter model: {event.stage}{part}"
        self._pass_on(event)

    def on_starter_ended(self, event: messages.StarterEnded) -> None:
        """The download is over."""
        status = self.query_one(StatusLine)
        status.busy, status.trouble = "", event.error
        self._pass_on(event)

    def on_trouble(self, event: messages.Trouble) -> None:
        """Something failed."""
        self.notify(event.sentence, severity=event.severity, timeout=10, markup=False)

    def _pass_on(self, event: messages.StarterAdvanced | messages.StarterEnded) -> None:
        from tui.screens.first_run import FirstRunScreen

        if isinstance(self.app.screen, FirstRunScreen):
            self.app.screen.show_download(event)

    async def _show_history(self) -> None:
        session = self.workspace.conversation.session
        await self.query_one(HistoryPane).show(self.workspace.history, session.id if session else None)

    # What the user does

    def on_prompt_box_sent(self, event: PromptBox.Sent) -> None:
        """Send, or carry out a command that begins with a slash."""
        from tui.slash import run_slash_command

        if run_slash_command(self, event.text):
            self.query_one(PromptBox).clear()
            return
        self._send(event.text)

    @work(group="send")
    async def _send(self, text: str) -> None:
        try:
            sent = await self.workspace.conversation.send(text)
        except StorageError as error:
            self.on_trouble(messages.Trouble(f"The message was not sent, it is still in the box. {error}"))
            return
        if not sent:
            self.notify("The answer before is still being written: esc stops it, then enter sends.", markup=False)
            return
        prompt = self.query_one(PromptBox)
        if prompt.text.strip() == text:
            prompt.clear()
        self.query_one(Transcript).follow()

    def on_text_area_changed(self, event: PromptBox.Changed) -> None:
        """Keep the draft."""
        if isinstance(event.text_area, PromptBox):
            self.workspace.conversation.set_draft(event.text_area.text)

    def on_sampling_pane_changed(self, event: SamplingPane.Changed) -> None:
        """A slider moved."""
        self.workspace.conversation.set_sampling(event.sampling)

    def on_history_pane_chosen(self, event: HistoryPane.Chosen) -> None:
        """Open a session."""
        self._do(self.workspace.conversation.open(event.session_id))
        self.remove_class("-show-history")
        self.query_one(PromptBox).focus()

    @work(group="do")
    async def _do(self, deed: Coroutine[Any, Any, object]) -> None:
        """Let a service do something; what goes wrong is said."""
        try:
            await deed
        except StorageError as error:
            self.on_trouble(messages.Trouble(str(error)))

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Show a key only while it does something."""
        conversation = self.workspace.conversation
        if action == "go_on":
            last = conversation.path[-1].message if conversation.path else None
            return last is not None and is_resumable(last) and not conversation.is_busy
        if action == "again":
            return bool(conversation.path) and not conversation.is_busy
        if action == "restart_engine":
            return self.workspace.engine.phase == "dead" or bool(self.query_one(StatusLine).trouble)
        if action == "stop":
            return conversation.is_busy and not self._is_covered
        if action == "back":
            return self._is_covered or not (conversation.is_busy or isinstance(self.focused, PromptBox))
        return True

    @property
    def _is_covered(self) -> bool:
        """Whether a side pane lies over the chat."""
        return self.has_class("-narrow") and (self.has_class("-show-history") or self.has_class("-show-engine"))

    def action_stop(self) -> None:
        """Stop the answer."""
        self._do(self.workspace.conversation.stop())

    def action_back(self) -> None:
        """Fold a side pane away that lies over the chat, and go back to the prompt box."""
        self.remove_class("-show-history", "-show-engine")
        self.query_one(PromptBox).focus()

    def action_again(self) -> None:
        """Write another answer."""
        self.query_one(Transcript).follow()
        self._do(self.workspace.conversation.answer_again())

    def action_go_on(self) -> None:
        """Continue the answer."""
        self.query_one(Transcript).follow()
        self._do(self.workspace.conversation.go_on())

    def action_sibling(self, step: int) -> None:
        """Show another version of the message under the cursor, else of the last one that has any."""
        item = self.query_one(Transcript).cursor_item
        if item is None or item.sibling_count < 2:
            path = self.workspace.conversation.path
            item = next((one for one in reversed(path) if one.sibling_count > 1), None)
        if item is not None:
            self._do(self.workspace.conversation.switch_sibling(item.message.id, step))

    def action_restart_engine(self) -> None:
        """Start the engine again."""
        self.query_one(StatusLine).trouble = ""
        self._do(self.workspace.engine.restart())

    def action_new_session(self) -> None:
        """Begin a session."""
        self._do(self.workspace.conversation.new())
        self.query_one(PromptBox).focus()

    def action_history(self) -> None:
        """Show and focus the history; from inside it, fold it away."""
        self._toggle("history", SessionList)

    def action_engine(self) -> None:
        """Show and focus the sliders; from inside them, fold them away."""
        self._toggle("engine", EnginePane)

    def _toggle(self, name: str, target: type[SessionList] | type[EnginePane]) -> None:
        pane = self.query_one(f"#{name}")
        shown, hidden = f"-show-{name}", f"-no-{name}"
        if pane.display and self.focused is not None and pane in self.focused.ancestors_with_self:
            self.remove_class(shown)
            self.set_class(self.has_class("-wide"), hidden)
            self.query_one(PromptBox).focus()
            return
        self.remove_class("-show-history", "-show-engine", hidden)
        self.add_class(shown)
        widget = self.query_one("#temperature") if target is EnginePane else self.query_one(target)
        widget.focus()

    def action_delete_session(self) -> None:
        """Delete the session under the history's cursor."""
        session_id = self.query_one(SessionList).highlighted_session
        if session_id is not None:
            self._delete(session_id)

    @work(group="do")
    async def _delete(self, session_id: str) -> None:
        conversation = self.workspace.conversation
        try:
            if conversation.session is not None and conversation.session.id == session_id:
                await conversation.new()
            await self.workspace.history.delete(session_id)
        except StorageError as error:
            self.on_trouble(messages.Trouble(str(error)))
            return
        self.notify("Session deleted. The command palette can bring it back.", markup=False)
        await self._show_history()

    @work(group="do")
    async def action_restore_session(self) -> None:
        """Bring the session back that was deleted last."""
        try:
            session_id = await self.workspace.history.restore_last()
        except StorageError as error:
            self.on_trouble(messages.Trouble(str(error)))
            return
        if session_id is None:
            self.notify("No session was deleted since the start.", markup=False)
            return
        await self.workspace.conversation.open(session_id)

    def action_choose_model(self) -> None:
        """Choose a model file."""
        from tui.screens.model_picker import ModelPickerScreen

        self.app.push_screen(ModelPickerScreen(self.workspace.models), self._after_choice)

    def action_system_prompt(self) -> None:
        """Change what the model is told first."""
        from tui.screens.system_prompt import SystemPromptScreen

        def changed(text: str | None) -> None:
            if text is not None:
                self.change_system(text)

        self.app.push_screen(SystemPromptScreen(self.workspace.conversation.system), changed)

    def change_system(self, text: str) -> None:
        """Give the session another system prompt."""
        self._do(self.workspace.conversation.set_system(text))

    def change_title(self, title: str) -> None:
        """Give the session another title."""
        self._do(self.workspace.conversation.rename(title))

    def action_rename(self) -> None:
        """Give the session another title."""
        from tui.screens.rename import RenameScreen

        session = self.workspace.conversation.session
        if session is None:
            self.notify("A session gets its title with its first message.", markup=False)
            return

        def changed(title: str | None) -> None:
            if title:
                self.change_title(title)

        self.app.push_screen(RenameScreen(session.title), changed)

    def _after_choice(self, choice: Path | None) -> None:
        """Open the model that a screen returned."""
        if choice is not None:
            self._do(self.workspace.load_model(choice))

    def action_engine_log(self) -> None:
        """Show the engine's last words."""
        from tui.screens.engine_log import EngineLogScreen

        self.app.push_screen(EngineLogScreen(self._log_tail, self.workspace.engine.log_path))
