"""What each slash command does on the main screen."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import ClassVar

from storage.errors import StorageError
from tui.language import _
from tui.screens.main.attached_files import AttachedFiles
from tui.screens.main.interaction import Interaction, RefusedError
from tui.screens.main.model_opening import ModelOpening
from tui.screens.main.sliders import Sliders
from tui.screens.main.this_session import ThisSession
from tui.sentences import reason
from tui.services.attachments import AttachError
from tui.slash import Call

ACTIONS = {
    "edit": "editor",
    "fork": "fork",
    "help": "app.help",
    "new": "new_session",
    "quit": "app.quit",
    "retry": "again",
    "settings": "settings",
    "tint": "tint",
}
"""Commands that do what a key does."""


class SlashCommands:
    """Carries them out.

    run_action: does what a key does, False where that is nothing now. give_back: gets a command that was refused.
    """

    def __init__(
        self,
        attached: AttachedFiles,
        models: ModelOpening,
        session: ThisSession,
        sliders: Sliders,
        run_action: Callable[[str], Awaitable[bool]],
        give_back: Callable[[str], None],
        interaction: Interaction,
    ) -> None:
        self._attached = attached
        self._models = models
        self._session = session
        self._sliders = sliders
        self._run_action = run_action
        self._give_back = give_back
        self._interaction = interaction

    async def carry_out(self, call: Call, typed: str) -> None:
        """Do what was typed; what goes wrong is said, and what was written behind the command comes back."""
        word = call.command.word
        try:
            if call.rest and not call.command.takes:
                raise RefusedError(
                    _("/{word} takes nothing behind it. A space before it sends all as text.", word=word)
                )
            if word in ACTIONS:
                await self._act(ACTIONS[word])
            else:
                await self.RUN[word](self, call.rest)
        except (StorageError, AttachError) as error:
            self._interaction.tell_trouble(reason(error))
        except RefusedError as error:
            self._interaction.tell(str(error), "warning")
        else:
            return
        if call.rest:
            self._give_back(typed)

    async def _attach(self, rest: str) -> None:
        if not rest:
            raise RefusedError(_("Name the file: /attach FILE. Tab completes it."))
        await self._attached.attach(rest)

    async def _detach(self, rest: str) -> None:
        self._attached.detach(rest)

    async def _export(self, rest: str) -> None:
        await self._session.export(rest or "md")

    async def _model(self, rest: str) -> None:
        if rest:
            await self._models.open_named(rest)
        else:
            self._models.choose()

    async def _preset(self, rest: str) -> None:
        if rest:
            self._sliders.take_named(rest)
        else:
            self._sliders.choose_preset()

    async def _system(self, rest: str) -> None:
        if rest:
            await self._session.set_system(rest)
        else:
            self._session.ask_system()

    async def _template(self, rest: str) -> None:
        if rest:
            await self._session.set_template(rest)
        else:
            self._session.tell_template()

    async def _title(self, rest: str) -> None:
        if rest:
            await self._session.rename(rest)
        else:
            self._session.ask_title()

    async def _act(self, action: str) -> None:
        if not await self._run_action(action):
            raise RefusedError(_("There is nothing to do that with now."))

    RUN: ClassVar[dict[str, Callable[[SlashCommands, str], Awaitable[None]]]] = {
        "attach": _attach,
        "detach": _detach,
        "export": _export,
        "model": _model,
        "preset": _preset,
        "system": _system,
        "template": _template,
        "title": _title,
    }
    """By the command's word; each gets what was typed behind it."""
