"""The download of a model: shown by the dialog that fetches while that is open, else in the status line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from tui.language import _
from tui.messages import FetchAdvanced, FetchEnded
from tui.screens.main.interaction import Interaction
from tui.services.models import Models
from tui.stages import FETCHING
from tui.widgets.status_line import StatusLine

if TYPE_CHECKING:
    from tui.screens.fetching import FetchingDialog


class Fetches:
    """One download at a time. take_fetched: gets the model that no dialog waits for."""

    def __init__(
        self, models: Models, status: StatusLine, take_fetched: Callable[[Path], None], interaction: Interaction
    ) -> None:
        self._models = models
        self._status = status
        self._take_fetched = take_fetched
        self._interaction = interaction

    @property
    def can_stop(self) -> bool:
        """Whether there is one."""
        return self._models.is_fetching

    def stop(self) -> None:
        """Stop it; what came is kept."""
        self._models.stop_fetch()

    def _dialog(self) -> FetchingDialog | None:
        from tui.screens.fetching import FetchingDialog

        dialog = self._interaction.foremost
        return dialog if isinstance(dialog, FetchingDialog) else None

    def advance(self, event: FetchAdvanced) -> None:
        """It came further."""
        if (dialog := self._dialog()) is not None:
            dialog.show_advance(event)
            return
        part = f" {event.done_bytes / event.total_bytes * 100:.0f} %" if event.total_bytes else ""
        self._status.show_busy("fetch", f"{_(FETCHING[event.stage])} {event.name} …{part}")
        self._status.show_fetch_trouble("")

    def end(self, event: FetchEnded) -> None:
        """A model is here: whoever waits for it opens it, else the user is told."""
        dialog = self._dialog()
        self._status.show_fetch_trouble("" if dialog is not None else event.error)
        if self._status.busy_with == "fetch":
            self._status.show_busy("fetch", "")
        if dialog is not None:
            dialog.show_end(event)
        elif event.path is not None:
            self._take_fetched(event.path)
        self._interaction.keys_changed()
