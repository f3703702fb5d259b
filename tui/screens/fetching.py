"""What the dialogs share that can fetch a model: a bar while it comes, and a key that stops it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.widget import Widget
from textual.widgets import ProgressBar, Static

from tui.language import _
from tui.messages import FetchAdvanced, FetchEnded
from tui.screens.dialog import Dialog
from tui.services.models import Models
from tui.stages import FETCHING
from tui.text import human_bytes, safe_line, safe_text

_MEASURED_S = 1.0
"""A speed is told once it was measured for so long."""


class FetchingDialog(Dialog[Path | str]):
    """Returns the fetched model when it is here; closed before that, the download goes on without it."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding(
            "f7",
            "stop_fetch",
            "stop",
            id="dialog.stop_fetch",
            tooltip="Stop the download; what came is kept",
            priority=True,
        ),
    ]

    def __init__(self, models: Models) -> None:
        super().__init__()
        self.models = models
        self._began: tuple[float, int] | None = None

    def fetch_parts(self, trouble: str = "") -> list[Widget]:
        """The widgets of a download, and what went wrong before."""
        return [
            Static(Content(safe_text(trouble)), classes="trouble -shown" if trouble else "trouble"),
            Vertical(ProgressBar(show_eta=False), Static("", classes="text stage", markup=False), classes="download"),
        ]

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Show the stop key while there is something to stop."""
        return self.models.is_fetching if action == "stop_fetch" else True

    def action_stop_fetch(self) -> None:
        """Stop the download."""
        self.models.stop_fetch()

    def fetch(self, name: str) -> None:
        """Begin to fetch a model."""
        if not self.models.fetch(name):
            self.show_trouble(_("Another download is under way: f7 stops it."))
            return
        self._show_no_trouble()
        if not self.query_one(".download").has_class("-shown"):
            self.query_one(ProgressBar).update(total=None, progress=0)
            self.query_one(".download").add_class("-shown")
        self.refresh_bindings()

    def show_trouble(self, sentence: str) -> None:
        """Say what went wrong."""
        trouble = self.query_one(".trouble", Static)
        trouble.update(Content(safe_text(sentence)))
        trouble.add_class("-shown")

    def _show_no_trouble(self) -> None:
        self.query_one(".trouble").remove_class("-shown")

    def show_advance(self, event: FetchAdvanced) -> None:
        """How far it is."""
        box = self.query_one(".download")
        if not box.has_class("-shown"):
            box.add_class("-shown")
            self.refresh_bindings()
        self.query_one(ProgressBar).update(total=event.total_bytes or None, progress=event.done_bytes)
        self.query_one(".stage", Static).update(Content(self._words(event)))

    def show_end(self, event: FetchEnded) -> None:
        """Return what came, or say why nothing did."""
        self._began = None
        self.query_one(".download").remove_class("-shown")
        if event.error:
            self.show_trouble(event.error)
        else:
            self._show_no_trouble()
        self.refresh_bindings()
        if event.path is not None:
            self.take(event.path)

    def take(self, path: Path) -> None:
        """Return what was fetched."""
        self.dismiss(path)

    def _words(self, event: FetchAdvanced) -> str:
        words = [f"{_(FETCHING[event.stage])} {safe_line(event.name, 40)}"]
        if event.total_bytes:
            words.append(
                _("{done} of {total}", done=human_bytes(event.done_bytes), total=human_bytes(event.total_bytes))
            )
        elif event.done_bytes:
            words.append(human_bytes(event.done_bytes))
        if event.stage == "downloading":
            words += self._pace(event)
        return " · ".join(words)

    def _pace(self, event: FetchAdvanced) -> list[str]:
        """How fast it comes, and how long it will take."""
        now = time.monotonic()
        if self._began is None:
            self._began = now, event.done_bytes
        since, before = self._began
        if now - since < _MEASURED_S or event.done_bytes <= before:
            return []
        speed = (event.done_bytes - before) / (now - since)
        words = [f"{human_bytes(speed)}/s"]
        if event.total_bytes:
            minutes, seconds = divmod(round((event.total_bytes - event.done_bytes) / speed), 60)
            words.append(_("{time} left", time=f"{minutes}:{seconds:02}"))
        return words
