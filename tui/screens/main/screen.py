"""The main screen: history, chat and engine side by side, and who acts on what happens there.

What keys and widgets ask for, and what the services tell, is handed on line by line to the parts whose duty it is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import ActiveBinding, BindingType
from textual.containers import Horizontal, Vertical
from textual.events import Paste
from textual.screen import Screen

from tui.drawing.composing import FrugalCompositor
from tui.in_order import OrderlyApp
from tui.language import _
from tui.screens.main.keys import MAIN_KEYS
from tui.screens.spoken_keys import in_own_words
from tui.told import Told
from tui.widgets.boxes import BoxKeys, Returned
from tui.widgets.chat_header import ChatHeader
from tui.widgets.key_line import KeyLine
from tui.widgets.prompt_box import PromptBox
from tui.widgets.status_line import StatusLine
from tui.widgets.transcript import Transcript

if TYPE_CHECKING:
    from tui.screens.main.parts import Parts
    from tui.screens.main.usable import Usable
    from tui.services.saving import Saving
    from tui.services.workspace import Workspace
    from tui.settings import SettingsFile
    from tui.widgets.candidates_pane import CandidatesPane
    from tui.widgets.completion_menu import CompletionMenu
    from tui.widgets.history_pane import HistoryPane
    from tui.widgets.message_view import MessageView
    from tui.widgets.sampling_pane import SamplingPane

_NARROW = 100
_ROOMY = 160
_SHORT = 16


class MainScreen(Screen[None]):
    """All day's work happens here.

    The first frame has the chat and room for the side panes; these, the services and the parts come right behind it.
    Only what that frame shows is imported with this file.
    """

    AUTO_FOCUS = "PromptBox"
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (_NARROW, "-wide"), (_ROOMY, "-roomy")]  # noqa: RUF012 - so in Textual
    VERTICAL_BREAKPOINTS = [(0, "-short"), (_SHORT, "-tall")]  # noqa: RUF012
    BINDINGS: ClassVar[list[BindingType]] = [*MAIN_KEYS]

    def __init__(self, make_workspace: Callable[[], Workspace], settings_file: SettingsFile) -> None:
        super().__init__()
        self._compositor = FrugalCompositor()
        self._make_workspace = make_workspace
        self._settings_file = settings_file
        self._parts: Parts | None = None
        self._usable: Usable | None = None
        self._prompt: PromptBox | None = None

    def compose(self) -> ComposeResult:
        """The first frame."""
        with Horizontal():
            history = Vertical(id="history")
            history.border_title = _("History")
            yield history
            with Vertical(id="chat"):
                yield ChatHeader()
                yield Transcript(id="transcript")
                yield StatusLine()
                self._prompt = PromptBox(id="prompt")
                yield self._prompt
            yield Vertical(id="engine")
        yield KeyLine()

    def on_mount(self) -> None:
        """Furnish the side panes once the first frame is on screen."""
        self.query_one(Transcript).show_system(self._settings_file.settings.chat.system_prompt)
        self.call_after_refresh(self._furnish)

    async def _furnish(self) -> None:
        from tui.screens.main.parts import Parts
        from tui.screens.main.usable import Usable
        from tui.widgets.engine_pane import EnginePane
        from tui.widgets.history_pane import HistoryPane

        if self.is_left:
            return
        workspace = self._make_workspace()
        with self.app.batch_update():
            await self.query_one("#history").mount(HistoryPane())
            await self.query_one("#engine").mount(EnginePane(workspace.open_session.sampling))
            await self.query_one(Transcript).furnish()
        if self.is_left:
            # What was mounted may be gone again.
            return
        self._parts = Parts(self, workspace)
        self._usable = Usable(self, self._parts)
        self._parts.switching.keep_draft()
        self._parts.sliders.show_preset()
        workspace.start()
        self._read_machine()

    @work(thread=True, group="machine")
    def _read_machine(self) -> None:
        import psutil

        from tui.widgets.live_numbers import LiveNumbers

        total = psutil.virtual_memory().total
        self.app.call_from_thread(self.query_one(LiveNumbers).show_machine, total)
        # What draws messages takes a tenth of a second to import: now, and not while the first answer is written.
        import tui.widgets.message_view  # noqa: F401

    @property
    def is_furnished(self) -> bool:
        """Whether the side panes are mounted and the services there."""
        return self._parts is not None

    @property
    def parts(self) -> Parts:
        """Those who act on what happens here."""
        assert self._parts is not None, "the first frame is not shown yet"
        return self._parts

    @property
    def is_left(self) -> bool:
        """Whether the app is ending."""
        return self.app._exit

    def keep_draft(self) -> None:
        """Let nothing be lost that stands in the prompt box."""
        if self.is_furnished:
            self.parts.switching.keep_draft()

    def keep_last(self, saving: Saving) -> None:
        """Keep what stands in the prompt box at the app's end and is no session's draft yet."""
        assert self._prompt is not None
        if not self.is_furnished:
            saving.take_draft(self._prompt.text)
        elif self.parts.switching.n_under_way:
            saving.take_apart(self._prompt.text)

    @property
    def has_typed(self) -> bool:
        """Whether anything stands in the prompt box; also once the screen is gone."""
        return self._prompt is not None and bool(self._prompt.text.strip())

    @property
    def active_bindings(self) -> dict[str, ActiveBinding]:
        """The keys that do something now, in the user's words."""
        active = super().active_bindings
        if self._usable is not None:
            active = {key: self._usable.in_words_of_now(each) for key, each in active.items()}
        return in_own_words(active)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Show a key only while it does something."""
        if not self.is_furnished:
            # Everything that this screen does itself is done by its parts.
            return f"action_{action}" not in vars(MainScreen)
        assert self._usable is not None
        return self._usable.does_something(action)

    @on(Told)
    async def _hand_on(self, told: Told) -> None:
        """What a service tells is for some of the parts."""
        await self.parts.receivers.take(told)

    # Panes

    def action_history(self) -> None:
        """Show and focus the history; from inside it, fold it away."""
        self.parts.side_panes.toggle("history", self.query_one("#sessions"))

    def action_engine(self) -> None:
        """Show and focus the sliders; from inside them, fold them away."""
        self.parts.side_panes.toggle("engine", self.query_one("#temperature"))

    def action_candidates(self) -> None:
        """Show and focus the candidates; from inside them, go back to the prompt box."""
        self.parts.side_panes.go_to("engine", self.query_one("CandidatesPane"))

    def action_back(self) -> None:
        """Fold a side pane away that lies over the chat, and go back to the prompt box."""
        self.parts.side_panes.go_back()

    def on_resize(self) -> None:
        """Where there is little room, the footer is for the keys of the chat."""
        self.query_one(KeyLine).show_command_palette = self.size.width >= _NARROW
        if self.is_furnished:
            self.parts.side_panes.size_changed()
            self.parts.candidates.look_again()

    def on_descendant_focus(self) -> None:
        """The header shows when keys go to the messages; the pane that has them is not lost."""
        self.query_one(ChatHeader).is_reading = self.focused is self.query_one(Transcript)
        if self.is_furnished:
            self.parts.side_panes.focus_moved()

    def on_descendant_blur(self) -> None:
        """The same."""
        self.on_descendant_focus()

    # The prompt box

    def on_prompt_box_sent(self, event: PromptBox.Sent) -> None:
        """Send, or carry out a command; what comes before there is anybody to do it stays in the box."""
        if self.is_furnished:
            self.parts.sending.take(event)
        else:
            event.taken.set()

    def on_paste(self, event: Paste) -> None:
        """What is pasted where no box takes it is for the prompt box."""
        if self.is_furnished and not isinstance(self.focused, BoxKeys):
            event.stop()
            self.parts.side_panes.go_back()
            self.app.post_message(Returned(Paste(event.text)))

    def on_text_area_changed(self, event: PromptBox.Changed) -> None:
        """Keep the draft, and offer completions."""
        if isinstance(event.text_area, PromptBox) and self.is_furnished:
            self.parts.switching.keep_draft()
            self.parts.prompting.text_changed(event.text_area.text)

    def on_completion_menu_clicked(self, event: CompletionMenu.Clicked) -> None:
        """Take the completion that was clicked."""
        self.parts.prompting.take(event.completion)

    def action_editor(self) -> None:
        """Write the message in the user's editor."""
        assert isinstance(self.app, OrderlyApp)
        self.parts.prompting.edit_elsewhere(self.app)

    # Messages and answers

    def action_stop(self) -> None:
        """Stop the answer."""
        self.parts.last_answer.stop()

    def action_again(self) -> None:
        """Write another answer."""
        self.parts.last_answer.write_again()

    def action_go_on(self) -> None:
        """Continue the answer."""
        self.parts.last_answer.go_on()

    def action_again_here(self) -> None:
        """Have the message under the cursor answered anew."""
        self.parts.chat_messages.answer_here()

    def action_edit_message(self) -> None:
        """Write another version of the message under the cursor."""
        self.parts.chat_messages.edit()

    def action_delete_message(self) -> None:
        """Delete the message under the cursor, and what follows it."""
        self.parts.chat_messages.delete()

    def action_sibling(self, step: int) -> None:
        """Show another version of the message under the cursor."""
        self.parts.chat_messages.show_sibling(step)

    def action_fork(self) -> None:
        """Copy the session up to the message under the cursor."""
        self.parts.chat_messages.fork()

    def action_tint(self) -> None:
        """Show how likely each token of the answers was, or no longer."""
        self.parts.tints.toggle()

    def on_message_view_tint_wanted(self, event: MessageView.TintWanted) -> None:
        """An answer has come on screen."""
        self.parts.tints.tint(event.view)

    def on_answer_body_drawn(self) -> None:
        """An answer's text is on screen."""
        self.parts.answer_shown.body_drawn()

    # The open session

    def action_system_prompt(self) -> None:
        """Change what the model is told first."""
        self.parts.this_session.ask_system()

    def action_rename(self) -> None:
        """Give the session another title."""
        self.parts.this_session.ask_title()

    def action_export(self, wanted: str = "md") -> None:
        """Write the open session to a file."""
        self.parts.this_session.begin_export(wanted)

    # The sessions

    def action_new_session(self) -> None:
        """Begin a session."""
        self.parts.sessions.begin()

    def on_history_pane_chosen(self, event: HistoryPane.Chosen) -> None:
        """Open a session, at the message that was found."""
        self.parts.sessions.open(event.session_id, event.message_id)

    def on_history_pane_listing(self, event: HistoryPane.Listing) -> None:
        """The pane is called after what it lists."""
        self.query_one("#history").border_title = _("Archived") if event.archived else _("History")

    def action_end_search(self) -> None:
        """Show all sessions again in place of what a search found."""
        self.parts.sessions.end_search()

    def action_show_archived(self) -> None:
        """Show the archived sessions, or the others again."""
        self.parts.sessions.toggle_archived()

    def action_rename_session(self) -> None:
        """Give the session under the history's cursor another title."""
        self.parts.sessions.rename()

    def action_pin_session(self) -> None:
        """Keep the session under the history's cursor on top, or let it go again."""
        self.parts.sessions.pin()

    def action_archive_session(self) -> None:
        """Put the session under the history's cursor out of sight, or back."""
        self.parts.sessions.archive()

    def action_delete_session(self) -> None:
        """Delete the session under the history's cursor."""
        self.parts.sessions.delete()

    def action_restore_session(self) -> None:
        """Bring the session back that was deleted last."""
        self.parts.sessions.restore()

    # Sliders and candidates

    def on_sampling_pane_changed(self, event: SamplingPane.Changed) -> None:
        """A slider moved."""
        self.parts.sliders.moved(event.sampling)

    def action_choose_preset(self) -> None:
        """Choose a preset of the sliders."""
        self.parts.sliders.choose_preset()

    def on_candidates_pane_stepped(self, event: CandidatesPane.Stepped) -> None:
        """Some tokens on, or back."""
        self.parts.candidates.step(event.n_tokens)

    def on_candidates_pane_went(self, event: CandidatesPane.Went) -> None:
        """The answer's first token, or its end."""
        self.parts.candidates.go(to_end=event.to_end)

    def on_candidates_pane_reading_wanted(self) -> None:
        """See the place even though it takes time."""
        self.parts.candidates.read()

    def on_candidates_pane_taken(self, event: CandidatesPane.Taken) -> None:
        """Write another answer from the place on, with this token."""
        self.parts.candidates.take(event.place, event.token_id)

    # Engine and models

    def action_restart_engine(self) -> None:
        """Start the engine again."""
        self.parts.engine_shown.restart()

    def action_engine_log(self) -> None:
        """Show the engine's last words."""
        self.parts.engine_shown.show_log()

    def action_choose_model(self) -> None:
        """Choose a model file."""
        self.parts.model_opening.choose()

    def action_stop_fetch(self) -> None:
        """Stop the download of a model."""
        self.parts.fetches.stop()

    # The rest

    def action_settings(self) -> None:
        """Change the settings."""
        from tui.screens.settings import SettingsScreen

        self.app.push_screen(SettingsScreen(self._settings_file))
