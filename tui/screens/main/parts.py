"""Where the parts of the main screen are. Only what the first frame shows is imported with it."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from textual.binding import ActiveBinding
from textual.screen import Screen

from tui.language import N_
from tui.screens.spoken_keys import in_own_words, shown_as
from tui.widgets.chat_header import ChatHeader
from tui.widgets.prompt_box import PromptBox
from tui.widgets.status_line import StatusLine
from tui.widgets.transcript import Transcript

if TYPE_CHECKING:
    from textual.widget import Widget

    from tui.services.workspace import Workspace
    from tui.widgets.candidates_pane import CandidatesPane
    from tui.widgets.history_pane import HistoryPane, SessionList
    from tui.widgets.live_numbers import LiveNumbers
    from tui.widgets.sampling_pane import SamplingPane


class MainParts(Screen[None]):
    """The main screen's widgets by name, its side panes, and the workspace behind once the first frame is shown.

    What the services tell is handled by each class that it concerns: Textual calls the handlers of all classes of a
    screen, a subclass's before its parent's, so none of them calls its parent's.
    """

    _workspace: Workspace | None = None
    _n_switches = 0
    """How many times the user went to another session that is not shown yet."""
    _shown_draft = ""
    """What stands in the prompt box of the session that is shown, while the box is for the next one."""

    @property
    def is_furnished(self) -> bool:
        """Whether the side panes are mounted and the services there."""
        return self._workspace is not None

    @property
    def workspace(self) -> Workspace:
        """The services."""
        assert self._workspace is not None, "the first frame is not shown yet"
        return self._workspace

    @property
    def active_bindings(self) -> dict[str, ActiveBinding]:
        """The keys that do something now, in the user's words."""
        active = super().active_bindings
        if self.is_furnished and self.workspace.engine.phase == "empty":
            # Without a model, the way to one is what matters.
            active = {
                key: shown_as(each, N_("model")) if each.binding.id == "model.choose" else each
                for key, each in active.items()
            }
        return in_own_words(active)

    @property
    def header(self) -> ChatHeader:
        """The line above the chat."""
        return self.query_one(ChatHeader)

    @property
    def transcript(self) -> Transcript:
        """What was said."""
        return self.query_one(Transcript)

    @property
    def status(self) -> StatusLine:
        """The line above the prompt box."""
        return self.query_one(StatusLine)

    @property
    def prompt(self) -> PromptBox:
        """The box for the next message."""
        return self.query_one(PromptBox)

    @property
    def history(self) -> HistoryPane:
        """Search and sessions."""
        return cast("HistoryPane", self.query_one("HistoryPane"))

    @property
    def session_list(self) -> SessionList:
        """The sessions."""
        return cast("SessionList", self.query_one("SessionList"))

    @property
    def numbers(self) -> LiveNumbers:
        """The engine's figures."""
        return cast("LiveNumbers", self.query_one("LiveNumbers"))

    @property
    def sampling(self) -> SamplingPane:
        """The sliders."""
        return cast("SamplingPane", self.query_one("SamplingPane"))

    @property
    def candidates(self) -> CandidatesPane:
        """The tokens that were weighed last."""
        return cast("CandidatesPane", self.query_one("CandidatesPane"))

    def keep_draft(self) -> None:
        """Let the session have what stands in the prompt box, unless that is meant for the next one."""
        if self.is_furnished and not self._n_switches:
            self.workspace.conversation.set_draft(self.prompt.text)

    def end_switch(self, draft: str | None) -> None:
        """Put a session's draft before what was typed since the user went there; None: the session is the same.

        Where the user has gone on meanwhile, the draft waits: it is for the session that is shown in the end.
        """
        typed = self.prompt.text if self._n_switches else ""
        if draft is not None:
            self._shown_draft = draft
        self._n_switches = max(self._n_switches - 1, 0)
        if self._n_switches:
            return
        if self._shown_draft or not typed:
            self.prompt.show_draft(self._shown_draft + typed)
        self.keep_draft()

    def show_side(self, name: str, target: Widget) -> None:
        """Show a side pane and focus a part of it."""
        self.remove_class("-show-history", "-show-engine", f"-no-{name}")
        self.add_class(f"-show-{name}")
        target.focus()
        # It has its place only when the pane is there.
        self.call_after_refresh(target.scroll_visible, animate=False)
        self.workspace.looking.again()

    def action_back(self) -> None:
        """Fold a side pane away that lies over the chat, and go back to the prompt box."""
        self.remove_class("-show-history", "-show-engine")
        self.prompt.focus()
