"""The tokens that the model weighed last: how likely each was, and what the samplers made of it."""

from __future__ import annotations

from typing import ClassVar

from rich.cells import cell_len, set_cell_size
from textual.app import RenderResult
from textual.content import Content
from textual.widget import Widget

from engine.protocol import Abilities, Candidate
from tui.language import N_, _
from tui.text import safe_text
from tui.widgets.live_numbers import meter

N_CANDIDATES = 6
_BAR_WIDTH = 6
_EXPLANATION = N_("While an answer is written: its likeliest next tokens.")
_NOT_GIVEN = N_("This server does not tell how likely its tokens are.")


def visible_token(text: str) -> str:
    """A token's text with what would not show: spaces and line breaks."""
    return safe_text(text).replace("\n", "⏎").replace("\t", "⇥").replace(" ", "␣") or "∅"


class CandidatesPane(Widget):
    """One line a candidate: its text, a bar and its probability after the samplers; those cut off are dim."""

    DEFAULT_CSS = """
    CandidatesPane { height: 6; width: 1fr; color: $foreground; }
    CandidatesPane > .candidates--bar { color: $primary; }
    CandidatesPane > .candidates--cut { color: $foreground 45%; }
    """
    COMPONENT_CLASSES: ClassVar[set[str]] = {"candidates--bar", "candidates--cut"}

    def __init__(self) -> None:
        super().__init__()
        self._candidates: list[Candidate] = []
        self._explanation = _EXPLANATION
        self._latest: list[Candidate] = []

    def take(self, candidates: list[Candidate]) -> None:
        """The candidates of the latest token, to be shown with its text."""
        self._latest = candidates[:N_CANDIDATES]

    def show_latest(self) -> None:
        """Show what was taken last."""
        if self._latest and self._latest != self._candidates:
            self._candidates = self._latest
            self.refresh()

    def show_abilities(self, abilities: Abilities) -> None:
        """Say why there are none where a server gives no probabilities."""
        self._explanation = _NOT_GIVEN if abilities.logprobs is False else _EXPLANATION
        self.refresh()

    def clear(self) -> None:
        """Another session."""
        self._candidates = self._latest = []
        self.refresh()

    def render(self) -> RenderResult:
        """All lines."""
        if not self._candidates:
            return Content.styled(_(self._explanation), ".candidates--cut")
        return Content("\n").join([self._line(candidate) for candidate in self._candidates])

    def _line(self, candidate: Candidate) -> Content:
        cut = candidate.sampler_p <= 0
        part = candidate.model_p if cut else candidate.sampler_p
        figure = f" {part * 100:3.0f} %"
        room = max(self.content_size.width - _BAR_WIDTH - cell_len(figure) - 1, 1)
        text = set_cell_size(visible_token(candidate.text), room)
        bar = meter(part, _BAR_WIDTH).replace("░", " ")
        if cut:
            return Content.styled(f"{text} {bar}{figure}", ".candidates--cut")
        return Content.assemble(text, " ", (bar, ".candidates--bar"), figure)
