"""Choose a preset: all sliders at once."""

from __future__ import annotations

from typing import ClassVar

from textual import on
from textual.content import Content
from textual.widget import Widget
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from engine.protocol import Sampling
from tui.language import N_, _
from tui.presets import Presets
from tui.screens.dialog import Dialog
from tui.text import safe_line
from tui.widgets.entry import Entry

_EXPLANATION = N_(
    "default is what a new session begins with: what your settings say, else what the model's makers recommend."
    " Your own go into the settings file as [presets.NAME]; /preset NAME does the same as this list."
)


class PresetPickerScreen(Dialog[str]):
    """Returns the preset's name. now: the one that holds, "" for none; new_session: what a new session would have."""

    DIALOG_TITLE: ClassVar[str] = "Presets of the sliders"
    ENTER: ClassVar[str] = "choose"

    def __init__(self, presets: Presets, now: str, new_session: Sampling) -> None:
        super().__init__()
        self._presets = presets
        self._now = now
        self._new_session = new_session

    def contents(self) -> list[Widget]:
        """The presets with what they set; the cursor on the one that holds now."""
        names = self._presets.names
        options = [
            Option(
                Entry(Content(safe_line(name, 60)), Content.styled(self._presets.words(name, self._new_session), "dim"))
            )
            for name in names
        ]
        presets = OptionList(*options, markup=False)
        presets.highlighted = names.index(self._now) if self._now in names else 0
        return [presets, Static(Content.styled(_(_EXPLANATION), "dim"), classes="text")]

    @on(OptionList.OptionSelected)
    def _choose(self, event: OptionList.OptionSelected) -> None:
        self.dismiss(self._presets.names[event.option_index])
