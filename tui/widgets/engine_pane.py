"""The right side: live numbers, sliders and candidates, one below the other."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.containers import Vertical, VerticalScroll
from textual.content import Content

from engine.protocol import Sampling
from tui.language import _
from tui.text import safe_line
from tui.widgets.candidates_pane import CandidatesPane
from tui.widgets.live_numbers import LiveNumbers
from tui.widgets.sampling_pane import SamplingPane


class EnginePane(VerticalScroll, can_focus=False):
    """Three titled boxes; scrolls where the screen is short."""

    DEFAULT_CSS = """
    EnginePane { scrollbar-size-vertical: 1; }
    EnginePane > .box {
        height: auto; border: round $foreground 30%; border-title-color: $foreground 75%; padding: 0 1;
    }
    EnginePane > .box:focus-within { border: round $accent; }
    EnginePane > .box.-fill { min-height: 8; height: 1fr; }
    """
    HELP = (
        "Tab goes from slider to slider; arrows move one, digits and enter set it, r resets it."
        " alt+p sets all of them to a preset; default is what a new session begins with."
    )

    def __init__(self, defaults: Sampling) -> None:
        super().__init__()
        self._defaults = defaults

    def compose(self) -> ComposeResult:
        """The boxes."""
        yield _titled(_("Engine"), LiveNumbers())
        yield _titled(_("Sampling"), SamplingPane(self._defaults))
        yield _titled(_("Candidates"), CandidatesPane(), classes="box -fill")

    def show_preset(self, name: str) -> None:
        """Say at which preset the sliders stand, "" for none."""
        self._show_title(SamplingPane, _("Sampling"), safe_line(name, 20))

    def show_place(self, place: str) -> None:
        """Say at which place of the answer the candidates stand, "" for none."""
        self._show_title(CandidatesPane, _("Candidates"), place)

    def _show_title(self, kind: type[SamplingPane | CandidatesPane], title: str, addition: str) -> None:
        box = self.query_one(kind).parent
        assert isinstance(box, Vertical)
        box.border_title = Content(f"{title} · {addition}" if addition else title)


def _titled(title: str, child: LiveNumbers | SamplingPane | CandidatesPane, classes: str = "box") -> Vertical:
    box = Vertical(child, classes=classes)
    box.border_title = title
    return box
