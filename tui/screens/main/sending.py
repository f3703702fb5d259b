"""What is sent from the prompt box: a message on its way to the conversation, or a command to be carried out."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial

from storage.errors import StorageError
from tui.language import _
from tui.screens.main.attached_files import AttachedFiles
from tui.screens.main.interaction import Interaction
from tui.screens.main.last_answer import LastAnswer
from tui.screens.main.prompting import Prompting
from tui.sentences import reason
from tui.services.conversation import Conversation
from tui.slash import Call, NoCommand, read_prompt
from tui.widgets.prompt_box import PromptBox


class Sending:
    """Empties the box of what was sent; what is not sent stays there.

    opened: set once the sessions are there. carry_out: called with a command, and with all that was typed.
    """

    def __init__(
        self,
        prompting: Prompting,
        attached: AttachedFiles,
        conversation: Conversation,
        last_answer: LastAnswer,
        opened: asyncio.Event,
        carry_out: Callable[[Call, str], Awaitable[None]],
        interaction: Interaction,
    ) -> None:
        self._prompting = prompting
        self._attached = attached
        self._conversation = conversation
        self._last_answer = last_answer
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
            self._prompting.clear()
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
            with self._interaction.waiting_shown(_("Opening the session …")):
                await self._opened.wait()
            with self._interaction.waiting_shown(_("Storing the message …")):
                is_sent = await self._conversation.send(
                    self._attached.message(text), on_said=partial(self._take_out, typed)
                )
        except StorageError as error:
            self._interaction.tell_trouble(
                _("The message was not sent, it is still in the box. {reason}", reason=reason(error))
            )
            return
        finally:
            self._being_sent.discard(typed)
        if not is_sent:
            self._last_answer.tell_under_way()
            return
        self._last_answer.follow()

    def _take_out(self, typed: str) -> None:
        """It is said, though perhaps not all that comes of it is stored: nobody who leaves now has it as a draft."""
        if typed in self._being_sent:
            self._attached.message_sent()
            self._prompting.take_out(typed)
