"""What all screens over the main one share: a titled box in the middle that escape closes."""

from __future__ import annotations

from typing import ClassVar, Generic, TypeVar

from textual.app import ComposeResult
from textual.await_complete import AwaitComplete
from textual.binding import ActiveBinding, Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widget import Widget
from textual.widgets import Input, OptionList, TextArea

from tui.language import _
from tui.screens.spoken_keys import in_own_words, shown_as
from tui.widgets.key_line import KeyLine

Result = TypeVar("Result")


class Dialog(ModalScreen[Result | None], Generic[Result]):
    """Returns what was chosen, None when it was closed."""

    CSS_PATH = "dialogs.tcss"
    DIALOG_TITLE: ClassVar[str] = ""
    ENTER: ClassVar[str] = ""
    """What enter does here, in a word for the last line; lists and boxes of Textual's do not tell."""
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "close", "close", id="dialog.close", tooltip="Close, and change nothing"),
    ]

    def __init__(self) -> None:
        super().__init__(classes="dialog-screen")

    def compose(self) -> ComposeResult:
        """The box with its contents, and the keys below."""
        box = Vertical(*self.contents(), classes="dialog")
        box.border_title = _(self.DIALOG_TITLE)
        yield box
        yield KeyLine()

    def on_mount(self) -> None:
        """No cursor blinks: it would send bytes over the line for ever."""
        for box in self.query(Input):
            box.cursor_blink = False
        for area in self.query(TextArea):
            area.cursor_blink = False

    def on_resize(self) -> None:
        """Lists take half of the screen at most."""
        # In cells: of a share of the screen, Textual takes no account where it measures the box.
        for choices in self.query(OptionList):
            choices.styles.max_height = max(self.size.height // 2, 1)

    def contents(self) -> list[Widget]:
        """What stands in the box; each dialog has its own."""
        return []

    @property
    def active_bindings(self) -> dict[str, ActiveBinding]:
        """The keys, in the user's words."""
        active = super().active_bindings
        enter = active.get("enter")
        if self.ENTER and enter is not None and not enter.binding.show:
            active["enter"] = shown_as(enter, self.ENTER)
        # What is done here comes first, the way out last.
        if (way_out := active.pop("escape", None)) is not None:
            active["escape"] = way_out
        return in_own_words(active)

    def dismiss(self, result: Result | None = None) -> AwaitComplete:
        """Close and return a result, once: keys that come quickly ask for it again, with another screen in front."""
        return super().dismiss(result) if self.is_active else AwaitComplete()

    def action_close(self) -> None:
        """Close, and change nothing."""
        self.dismiss(None)
