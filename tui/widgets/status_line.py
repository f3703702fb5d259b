"""The line between transcript and prompt box: what happens now, what is wrong, and the figures in short."""

from __future__ import annotations

from typing import ClassVar, Literal

from rich.cells import cell_len
from textual.app import RenderResult
from textual.content import Content
from textual.geometry import Size
from textual.reactive import reactive
from textual.widget import Widget

from tui.text import fitted, safe_line

Work = Literal["answer", "model", "fetch", "wait"]


class StatusLine(Widget):
    """The left part says, the right part counts; only trouble may take more than one line."""

    DEFAULT_CSS = """
    StatusLine { height: auto; max-height: 4; width: 1fr; padding: 0 2; }
    StatusLine > .status--figures { color: $foreground 65%; }
    StatusLine > .status--trouble { color: $text-error; text-style: bold; }
    StatusLine > .status--busy { color: $text-accent; }
    """
    COMPONENT_CLASSES: ClassVar[set[str]] = {"status--figures", "status--trouble", "status--busy"}

    busy: reactive[str] = reactive("")
    trouble: reactive[str] = reactive("", layout=True)
    figures: reactive[str] = reactive("")

    def __init__(self) -> None:
        super().__init__()
        self._engine_trouble = ""
        self._fetch_trouble = ""
        self._wants_model = False
        self.busy_with: Work | None = None
        """What the words of `busy` are about."""

    def show_busy(self, what: Work, text: str) -> None:
        """Say what is going on, and remember what that is about; "" for nothing more."""
        self.busy_with = what if text else None
        self.busy = text
        self._choose_trouble()

    def show_engine_trouble(self, sentence: str, *, wants_model: bool = False) -> None:
        """Say what is wrong with the engine, "" for nothing; a download's trouble stays.

        wants_model: it has no model to open, which a download may end.
        """
        self._engine_trouble, self._wants_model = sentence, wants_model
        self._choose_trouble()

    def show_fetch_trouble(self, sentence: str) -> None:
        """Say why a download failed, "" for nothing, until the user goes on with something else."""
        self._fetch_trouble = sentence
        self._choose_trouble()

    def _choose_trouble(self) -> None:
        """Whoever lacks a model and fetches one sees how that goes."""
        if self._wants_model:
            self.trouble = self._fetch_trouble or ("" if self.busy_with == "fetch" else self._engine_trouble)
        else:
            self.trouble = self._engine_trouble or self._fetch_trouble

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        """One line, but for trouble. What is drawn is as wide as we were before, and would not say it."""
        return super().get_content_height(container, viewport, width) if self.trouble else 1

    def render(self) -> RenderResult:
        """Trouble goes before what is being done; figures give way to either."""
        width = self.content_size.width
        if self.trouble:
            return Content.styled(safe_line(self.trouble, 400), ".status--trouble")
        text = safe_line(self.busy, 400)
        figures = self.figures
        if cell_len(text) + cell_len(figures) + 2 > width:
            figures = ""
        text = fitted(text, width)
        gap = max(width - cell_len(text) - cell_len(figures), 0)
        return Content.assemble((text, ".status--busy"), " " * gap, (figures, ".status--figures"))
