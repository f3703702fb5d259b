"""The keys of the app itself, whichever screen is shown."""

from __future__ import annotations

from textual.binding import Binding

APP_KEYS = [
    Binding("ctrl+q", "quit", "Quit", id="app.quit", tooltip="Leave; everything is stored", show=False, priority=True),
]
