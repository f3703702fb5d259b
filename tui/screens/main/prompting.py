"""What the prompt box holds beside what is typed there: what was asked before, completions, an edited text."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from textual.containers import Vertical

from storage.errors import StorageError
from tui.screens.main.interaction import Interaction
from tui.sentences import reason
from tui.services.prompt_history import PromptHistory
from tui.widgets.completion_menu import Completion, CompletionMenu
from tui.widgets.prompt_box import PromptBox

if TYPE_CHECKING:
    from tui.in_order import OrderlyApp

RECALL_LIMIT_S = 0.25
"""Keys wait so long for a text that is brought back: reading it takes milliseconds, unless the database is another
program's for a while."""


class Prompting:
    """Helps with the text. find_completions: how one may go on. on_typed: called whenever it is another one.

    keep: keeps a text as the draft where there is no time left to show it.
    """

    def __init__(
        self,
        prompt: PromptBox,
        chat: Vertical,
        prompts: PromptHistory,
        find_completions: Callable[[str], Awaitable[list[Completion]]],
        on_typed: Callable[[], None],
        keep: Callable[[str], None],
        interaction: Interaction,
    ) -> None:
        self._prompt = prompt
        self._chat = chat
        self._prompts = prompts
        self._find_completions = find_completions
        self._on_typed = on_typed
        self._keep = keep
        self._interaction = interaction
        self._is_recalling = False
        # The box lets keys wait for these.
        prompt.recall = self._recall
        prompt.offer = self._offer

    def clear(self) -> None:
        """Empty the box: what stood there is a command that is carried out."""
        self._prompt.clear()

    def take_out(self, typed: str) -> None:
        """Take a message out of the box that was sent, and leave what was written behind it meanwhile.

        A draft of the session may stand before it, which was not open yet.
        """
        self._prompts.forget_place()
        text = self._prompt.text
        if text.rstrip() == typed:
            self._prompt.clear()
        elif text.startswith(typed):
            self._prompt.show_draft(text.removeprefix(typed).lstrip())
        elif text.rstrip().endswith(typed):
            self._prompt.show_draft(text.rstrip().removesuffix(typed))

    def give_back(self, typed: str) -> None:
        """Put a command that was refused back into the box, before what was typed since."""
        self._prompt.show_draft("\n".join(text for text in (typed, self._prompt.text) if text))

    async def _recall(self, older: bool) -> None:
        """Bring back what was asked before what is shown, or after it: before the next key, or as soon as it is read.

        Until then, more keys for the same are left out.
        """
        if self._is_recalling:
            return
        self._is_recalling = True
        over = asyncio.Event()
        self._interaction.run(partial(self._bring_back, self._prompt.text, older, over), "recall")
        with suppress(TimeoutError):
            await asyncio.wait_for(over.wait(), RECALL_LIMIT_S)

    async def _bring_back(self, shown: str, older: bool, over: asyncio.Event) -> None:
        try:
            found = await self._prompts.step(shown, older)
        except StorageError as error:
            self._interaction.tell_trouble(reason(error))
            return
        finally:
            self._is_recalling = False
            over.set()
        # What was typed meanwhile stays.
        if found is not None and self._prompt.text == shown:
            self._prompt.show_draft(found)

    def text_changed(self, text: str) -> None:
        """Offer completions of a command."""
        self._on_typed()
        menu = self._prompt.menu
        if text.startswith("/") or (menu is not None and menu.is_open):
            self._interaction.run(partial(self._offer, text), "complete", exclusive=True)

    async def _offer(self, text: str) -> None:
        found = await self._find_completions(text)
        menu = await self._menu()
        if self._prompt.text == text:
            menu.show(found)
            self._interaction.keys_changed()

    async def _menu(self) -> CompletionMenu:
        if self._prompt.menu is None:
            self._prompt.menu = CompletionMenu()
            await self._chat.mount(self._prompt.menu, before=self._prompt)
        return self._prompt.menu

    def take(self, completion: Completion) -> None:
        """Take the completion that was clicked."""
        self._prompt.show_draft(completion.text)
        self._prompt.focus()

    def edit_elsewhere(self, app: OrderlyApp) -> None:
        """Let the message be written in the user's editor, which gets the app's terminal."""
        # The text that the editor leaves takes the place of what is in the box: what is typed from now on comes behind.
        app.hold_keys()
        self._interaction.run(partial(self._edit_elsewhere, app), "editor", exclusive=True)

    async def _edit_elsewhere(self, app: OrderlyApp) -> None:
        from tui.services.editor import EditorError, edit_text

        try:
            text = await edit_text(app, self._prompt.text, self._keep)
        except EditorError as error:
            self._interaction.tell_trouble(reason(error))
            return
        finally:
            app.let_keys_go_on()
        self._prompt.show_draft(text)
        self._prompt.focus()
