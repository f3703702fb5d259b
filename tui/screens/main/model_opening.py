"""Models that the user wants: chosen from a list or by name, fetched first where they are not here, and opened."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from tui.language import _
from tui.messages import NoModelFound
from tui.model_choice import ModelChoiceError
from tui.screens.main.interaction import Interaction, RefusedError
from tui.services.engine_session import EngineSession
from tui.services.models import Models
from tui.text import safe_line
from tui.widgets.status_line import StatusLine


class ModelOpening:
    """The way from a wish to a model that answers. use_server and load_model: what opens one."""

    def __init__(
        self,
        models: Models,
        engine: EngineSession,
        use_server: Callable[[str], Coroutine[Any, Any, None]],
        load_model: Callable[[Path], Coroutine[Any, Any, None]],
        status: StatusLine,
        interaction: Interaction,
    ) -> None:
        self._models = models
        self._engine = engine
        self._use_server = use_server
        self._load_model = load_model
        self._status = status
        self._interaction = interaction

    def choose(self, fetch: str = "", folder: Path | None = None) -> None:
        """Let one be chosen, of a folder too, or begin to fetch one."""
        from tui.screens.model_picker import ModelPickerScreen

        self._status.show_fetch_trouble("")
        self._interaction.ask(ModelPickerScreen(self._models, fetch, folder=folder), self.open)

    async def open_named(self, name: str) -> None:
        """Open or fetch the one that was named, or let one of a folder be chosen. Raises RefusedError for none."""
        if name in self._models.servers:
            self.open(name)
            return
        from engine.pulling import is_fetchable

        try:
            path = await self._models.choose(name)
        except ModelChoiceError as error:
            if not is_fetchable(name):
                raise RefusedError(str(error)) from error
            self.choose(fetch=name)
            return
        if await self._models.look_in(path):
            self.choose(folder=path)
        else:
            self.open(path)

    def offer_first(self, event: NoModelFound) -> None:
        """There is none: let another one be chosen; where there is none at all, explain, and offer what can be done."""
        if event.folder is not None:
            self.choose(folder=event.folder)
        else:
            self._interaction.do(self._offer(event.reason))

    async def _offer(self, reason: str) -> None:
        from tui.screens.first_run import FirstRunScreen
        from tui.screens.model_picker import ModelPickerScreen

        # With a reason, it is the one that was asked for that is not there. Without, none was opened before.
        if await self._models.has_any():
            self._interaction.ask(ModelPickerScreen(self._models, trouble=reason), self.open)
        else:
            self._interaction.ask(FirstRunScreen(self._models, reason), self.open)

    def open(self, choice: Path | str | None) -> None:
        """Open the model that a dialog returned, or have the server of that name answer."""
        if isinstance(choice, str):
            self._interaction.begin(self._use_server(choice))
        elif choice is not None:
            self._interaction.begin(self._open(choice))

    async def _open(self, path: Path) -> None:
        """Open a model, with an engine started again where there is none."""
        await self._load_model(path)
        if self._engine.phase == "dead":
            await self._engine.restart()

    def take_fetched(self, path: Path) -> None:
        """Open a fetched model where there is none, else say that it is here."""
        if self._engine.card is None:
            self._interaction.begin(self._open(path))
        else:
            self._interaction.tell(_("{name} is here: f4 opens it.", name=safe_line(path.name, 60)))
