"""The open session as the user sees it: its title, its messages, who else writes in it, and its draft."""

from __future__ import annotations

from collections.abc import Callable

from tui.language import _
from tui.messages import HeldElsewhere, HistoryChanged, PathChanged, SettingsShown, TitleChanged
from tui.screens.main.interaction import Interaction
from tui.screens.main.switching import Switching
from tui.services.open_session import OpenSession
from tui.widgets.chat_header import ChatHeader
from tui.widgets.prompt_box import PromptBox
from tui.widgets.transcript import Transcript


class SessionShown:
    """The header and the chat. list_sessions: has the history mark the one that is open."""

    def __init__(
        self,
        open_session: OpenSession,
        header: ChatHeader,
        transcript: Transcript,
        prompt: PromptBox,
        switching: Switching,
        list_sessions: Callable[[], None],
        interaction: Interaction,
    ) -> None:
        self._open = open_session
        self._header = header
        self._transcript = transcript
        self._prompt = prompt
        self._switching = switching
        self._list_sessions = list_sessions
        self._interaction = interaction

    def show_title(self, event: TitleChanged) -> None:
        """It is called otherwise."""
        self._show_title(event.title)

    def _show_title(self, title: str) -> None:
        self._header.session_title = title or _("New session")

    def show_hints(self, event: HistoryChanged) -> None:
        """The sessions are there, and with them whether one goes on or a new one waits for its first message."""
        self._transcript.show_hints(not self._open.path)

    def show_system(self, event: SettingsShown) -> None:
        """What the model is told first."""
        self._transcript.show_system(self._open.system)

    def show_holder(self, event: HeldElsewhere) -> None:
        """Another app writes in it, or no longer does."""
        told = _("process {pid} on {host}", pid=event.pid, host=event.host) if event.host else ""
        self._transcript.show_holder(told)
        self._interaction.keys_changed()

    async def show_path(self, event: PathChanged) -> None:
        """Another session or branch is shown."""
        self._show_title(event.session.title if event.session else "")
        await self._transcript.show_path(event.path, from_start=event.is_other, at=event.at)
        self._show_draft(event)
        if event.is_other:
            self._list_sessions()
        self._interaction.keys_changed()

    def _show_draft(self, event: PathChanged) -> None:
        if event.keeps_typed:
            self._switching.show_before(event.draft or "")
        elif event.draft is not None or (event.is_other and self._switching.n_under_way):
            self._switching.arrive(event.draft)
