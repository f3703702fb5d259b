"""The main screen: history, chat and engine side by side, and what the user does there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from textual import work
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal, Vertical
from textual.widget import Widget

from tui.drawing.composing import FrugalCompositor
from tui.language import _
from tui.screens.main.keys import MAIN_KEYS
from tui.screens.main.prompt import MainPrompt
from tui.screens.main.sessions import NO_TITLE_YET
from tui.widgets.chat_header import ChatHeader
from tui.widgets.key_line import KeyLine
from tui.widgets.prompt_box import PromptBox
from tui.widgets.status_line import StatusLine
from tui.widgets.transcript import Transcript

if TYPE_CHECKING:
    from tui import messages
    from tui.services.workspace import Workspace

_NARROW = 100
_ROOMY = 160
_SHORT = 16


class MainScreen(MainPrompt):
    """All day's work happens here.

    The first frame has the chat and room for the side panes; these and the services come right behind it.
    """

    AUTO_FOCUS = "PromptBox"
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (_NARROW, "-wide"), (_ROOMY, "-roomy")]  # noqa: RUF012 - so in Textual
    VERTICAL_BREAKPOINTS = [(0, "-short"), (_SHORT, "-tall")]  # noqa: RUF012
    BINDINGS: ClassVar[list[BindingType]] = [*MAIN_KEYS]

    def __init__(self, make_workspace: Callable[[], Workspace], system_prompt: str) -> None:
        super().__init__()
        self._compositor = FrugalCompositor()
        self._make_workspace = make_workspace
        self._system_prompt = system_prompt

    def compose(self) -> ComposeResult:
        """The first frame."""
        with Horizontal(id="panes"):
            history = Vertical(id="history")
            history.border_title = _("History")
            yield history
            with Vertical(id="chat"):
                yield ChatHeader()
                yield Transcript(id="transcript")
                yield StatusLine()
                yield PromptBox(id="prompt")
            yield Vertical(id="engine")
        yield KeyLine()

    def on_mount(self) -> None:
        """Furnish the side panes once the first frame is on screen."""
        self.transcript.show_system(self._system_prompt)
        self.call_after_refresh(self._furnish)

    async def _furnish(self) -> None:
        from tui.widgets.candidates_pane import N_CANDIDATES
        from tui.widgets.engine_pane import EnginePane
        from tui.widgets.history_pane import HistoryPane

        workspace = self._make_workspace()
        with self.app.batch_update():
            await self.query_one("#history").mount(HistoryPane())
            await self.query_one("#engine").mount(EnginePane(workspace.conversation.sampling))
            await self.transcript.furnish()
        workspace.conversation.n_candidates = N_CANDIDATES
        workspace.conversation.set_draft(self.prompt.text)
        self._workspace = workspace
        self.watch_candidates()
        self.show_preset()
        workspace.start()
        self._read_machine()

    @work(thread=True, group="machine")
    def _read_machine(self) -> None:
        import psutil

        total = psutil.virtual_memory().total
        self.app.call_from_thread(self.numbers.show_machine, total)
        # What draws messages takes a tenth of a second to import: now, and not while the first answer is written.
        import tui.widgets.message_view  # noqa: F401

    def on_resize(self) -> None:
        """Where there is little room, the footer is for the keys of the chat."""
        self.query_one(KeyLine).show_command_palette = self.size.width >= _NARROW
        if self.is_furnished:
            self.workspace.looking.again()

    # Keys

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Show a key only while it does something."""
        if not self.is_furnished:
            return not any(binding.action.partition("(")[0] == action for binding in MAIN_KEYS)
        conversation = self.workspace.conversation
        match action:
            case "go_on":
                return conversation.can_go_on and conversation.held_by is None
            case "again" | "edit_message":
                return bool(conversation.path) and not conversation.is_busy and conversation.held_by is None
            case "fork":
                return bool(conversation.path) and not conversation.is_busy
            case "restart_engine":
                engine = self.workspace.engine
                return engine.phase == "dead" or (bool(self._engine_trouble) and engine.has_asked_for_model)
            case "stop_fetch":
                return self.workspace.models.is_fetching
            case "end_search":
                return self.history.is_searching
            case "stop":
                return conversation.is_busy and not self._is_covered
            case "back":
                return self._is_covered or not (conversation.is_busy or isinstance(self.focused, PromptBox))
            case _:
                return True

    @property
    def _is_covered(self) -> bool:
        """Whether a side pane lies over the chat."""
        return self.has_class("-narrow") and (self.has_class("-show-history") or self.has_class("-show-engine"))

    def on_prompt_box_sent(self, event: PromptBox.Sent) -> None:
        """Send, or carry out a command that begins with a slash."""
        from tui.slash import Call, NoCommand, read_prompt

        read = read_prompt(event.text) if self.is_furnished else None
        if isinstance(read, str):
            self.send(event, read)
            return
        if isinstance(read, NoCommand):
            self.notify(read.sentence, severity="warning", markup=False)
        elif isinstance(read, Call):
            from tui.screens.main.slash_commands import carry_out

            self.prompt.clear()
            carry_out(self, read, event.text)
        event.taken.set()

    def action_stop(self) -> None:
        """Stop the answer."""
        self._do(self.workspace.conversation.stop())

    def action_again(self) -> None:
        """Write another answer."""
        self.transcript.follow()
        self._do(self.workspace.conversation.answer_again())

    def action_go_on(self) -> None:
        """Continue the answer."""
        self.transcript.follow()
        self._do(self.workspace.conversation.go_on())

    def action_restart_engine(self) -> None:
        """Start the engine again."""
        self.show_engine_trouble("")
        self._do(self.workspace.engine.restart())

    def action_new_session(self) -> None:
        """Begin a session."""
        self.go_to_session(self.workspace.conversation.new())
        self.action_back()

    def action_history(self) -> None:
        """Show and focus the history; from inside it, fold it away."""
        self._toggle("history", self.session_list)

    def action_engine(self) -> None:
        """Show and focus the sliders; from inside them, fold them away."""
        self._toggle("engine", self.query_one("#temperature"))

    def _toggle(self, name: str, target: Widget) -> None:
        pane = self.query_one(f"#{name}")
        shown, hidden = f"-show-{name}", f"-no-{name}"
        if pane.display and self.focused is not None and pane in self.focused.ancestors_with_self:
            self.remove_class(shown)
            self.set_class(not self.has_class("-narrow"), hidden)
            self.prompt.focus()
        else:
            self.show_side(name, target)

    def action_choose_model(self) -> None:
        """Choose a model file."""
        self.choose_model()

    def choose_model(self, fetch: str = "") -> None:
        """Choose a model file, or begin to fetch one."""
        from tui.screens.model_picker import ModelPickerScreen

        self.show_fetch_trouble("")
        self.app.push_screen(ModelPickerScreen(self.workspace.models, fetch), self.open_model)

    def action_stop_fetch(self) -> None:
        """Stop the download of a model."""
        self.workspace.models.stop_fetch()

    def on_no_model_found(self, event: messages.NoModelFound) -> None:
        """Explain, and offer what can be done."""
        from tui.screens.first_run import FirstRunScreen

        self._no_model = event.reason or _("There is no model yet: f4 opens one.")
        self.show_engine_trouble(self._no_model)
        self.app.push_screen(FirstRunScreen(self.workspace.models, event.reason), self.open_model)

    def open_model(self, choice: Path | str | None) -> None:
        """Open the model that a screen returned, or have the server of that name answer."""
        if isinstance(choice, str):
            self._do(self.workspace.use_server(choice))
        elif choice is not None:
            self._do(self.load_model(choice))

    def action_settings(self) -> None:
        """Change the settings."""
        from tui.paths import user_paths
        from tui.screens.settings import SettingsScreen

        self.app.push_screen(SettingsScreen(user_paths().settings_file))

    def action_system_prompt(self) -> None:
        """Change what the model is told first."""
        from tui.screens.system_prompt import SystemPromptScreen

        conversation = self.workspace.conversation
        about = f"system:{conversation.session.id if conversation.session else ''}"

        def change(text: str | None) -> None:
            if text is not None:
                self._do(self._take_text(about, text, conversation.set_system(text)))

        self.app.push_screen(SystemPromptScreen(conversation.system, about, self.unkept_texts), change)

    def action_rename(self) -> None:
        """Give the session another title."""
        from tui.screens.rename import RenameScreen

        session = self.workspace.conversation.session
        if session is None:
            self.notify(_(NO_TITLE_YET), markup=False)
        else:

            def rename(title: str | None) -> None:
                if title:
                    self._do(self.workspace.conversation.rename(title))

            self.app.push_screen(RenameScreen(session.title), rename)

    def action_engine_log(self) -> None:
        """Show the engine's last words."""
        from tui.screens.engine_log import EngineLogScreen

        self.app.push_screen(EngineLogScreen(self.log_tail, self.workspace.engine.log_path))
