"""An app that tells its screens one size: the terminal's as it is when they come to it.

A screen that is told a size lays itself out and tells itself that size once more, behind whatever waits in its queue.
Where another size waits there, since the screen was busy while the window was dragged, the two take turns for ever, and
nothing else has a turn. So what waits there is one event again and again, which has the latest size.
"""

from __future__ import annotations

from textual import events
from textual.app import App


class OneSizeApp(App[int]):
    """An app whose screens never lay themselves out for a size that the terminal had."""

    def __init__(self) -> None:
        super().__init__()
        self._told: events.Resize | None = None

    def on_resize(self, event: events.Resize) -> None:
        """Let the screens that have not come to the size before see this one in its place."""
        if self._told is not None:
            self._told.size = event.size
            self._told.virtual_size = event.virtual_size
            self._told.container_size = event.container_size
            self._told.pixel_size = event.pixel_size

    def _check_resize(self) -> None:
        if self._resize_event is not None:
            self._told = self._resize_event = self._told or self._resize_event
        super()._check_resize()
