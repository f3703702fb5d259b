"""What is sent from the prompt box: a message on its way to the conversation, or a command to be carried out."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

from storage.errors import StorageError
from tui.language import _
from tui.screens.main.attached_files import AttachedFiles
from tui.screens.main.interaction import Interaction
from tui.sentences import reason
from tui.services.conversation import Conversation
from tui.services.prompt_history import PromptHistory
from tui.services.writing import Writing
from tui.slash import Call, NoCommand, read_prompt
from tui.widgets.prompt_box import PromptBox
from tui.widgets.status_line import StatusLine
from tui.widgets.transcript import Transcript

WAIT_SHOWN_S = 0.5
"""What takes longer is said to be under way: the database may be another program's for a while."""


class Sending:
    """Empties the box of what was sent; what is not sent stays there.

    opened: set once the sessions are there. carry_out: called with a command, and with all that was typed.
    """

    def __init__(
        self,
        prompt: PromptBox,
        transcript: Transcript,
        status: StatusLine,
        conversation: Conversation,
        writing: Writing,
        prompts: PromptHistory,
        attached: AttachedFiles,
        opened: asyncio.Event,
        carry_out: Callable[[Call, str], Awaitable[None]],
        interaction: Interaction,
    ) -> None:
        self._prompt = prompt
        self._transcript = transcript
        self._status = status
        self._conversation = conversation
        self._writing = writing
        self._prompts = prompts
        self._attached = attached
        self._opened = opened
        self._carry_out = carry_out
        self._interaction = interaction
        self._being_sent: set[str] = set()

    def take(self, sent: PromptBox.Sent) -> None:
        """Send, or carry out a command that begins with a slash."""
        read = read_prompt(sent.text)
        if isinstance(read, str):
            self._run(sent, self._send(sent.text, read), "send")
            return
        if isinstance(read, NoCommand):
            self._interaction.tell(read.sentence, "warning")
            sent.taken.set()
        else:
            self._prompt.clear()
            self._run(sent, self._carry_out(read, sent.text), "command")

    def _run(self, sent: PromptBox.Sent, deed: Awaitable[None], group: str) -> None:
        async def run() -> None:
            try:
                await deed
            finally:
                sent.taken.set()

        self._interaction.run(run, group)

    async def _send(self, typed: str, text: str) -> None:
        if typed in self._being_sent:
            # Another enter, since the box still shows it.
            return
        self._being_sent.add(typed)
        try:
            # A question asked while the app is still opening a session belongs to that one.
            with self._shown_when_long(_("Opening the session …")):
                await self._opened.wait()
            with self._shown_when_long(_("Storing the message …")):
                is_sent = await self._conversation.send(self._attached.message(text))
        except StorageError as error:
            self._interaction.tell_trouble(
                _("The message was not sent, it is still in the box. {reason}", reason=reason(error))
            )
            return
        finally:
            self._being_sent.discard(typed)
        if not is_sent:
            waits = _("The answer before waits for the model: esc stops it, then enter sends.")
            writes = _("The answer before is still being written: esc stops it, then enter sends.")
            self._interaction.tell(waits if self._writing.waiting else writes)
            return
        self._attached.message_sent()
        self._prompts.forget_place()
        self._take_out(typed)
        self._transcript.follow()

    @contextmanager
    def _shown_when_long(self, what: str) -> Iterator[None]:
        """Say what goes on, once that takes long and unless something else is said."""

        def show() -> None:
            if not self._status.busy:
                self._status.show_busy("send", what)

        hint = asyncio.get_running_loop().call_later(WAIT_SHOWN_S, show)
        try:
            yield
        finally:
            hint.cancel()
            if self._status.busy_with == "send":
                self._status.show_busy("send", "")

    def _take_out(self, typed: str) -> None:
        """Leave in the box what was written behind a message while that was stored."""
        text = self._prompt.text
        if text.rstrip() == typed:
            self._prompt.clear()
        elif text.startswith(typed):
            self._prompt.show_draft(text.removeprefix(typed).lstrip())
