"""What the command in the prompt box may go on with, above the box."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from rich.cells import cell_len, set_cell_size
from textual import events
from textual.app import RenderResult
from textual.content import Content
from textual.geometry import Size
from textual.message import Message
from textual.reactive import reactive
from textual.widget import Widget

from tui.text import fitted, safe_line

_MOST_LINES = 6
_WORD_WIDTH = 24
_ABOVE, _BELOW = "▴", "▾"
"""Marks at the end of a line behind which there are more."""

_MARK_WIDTH = 2


@dataclass(frozen=True)
class Completion:
    """One way on.

    text: what the prompt box has after it was taken. word: how it is listed. about: what it is. whole: a text of the
    box that says something by itself, though this goes on from it.
    """

    text: str
    word: str
    about: str = ""
    whole: str | None = None


class CompletionMenu(Widget, can_focus=False):
    """A few lines that scroll with their cursor; the prompt box has the keys."""

    ALLOW_SELECT = False
    DEFAULT_CSS = """
    CompletionMenu { height: auto; width: 1fr; padding: 0 2; display: none; }
    CompletionMenu.-open { display: block; }
    CompletionMenu > .menu--chosen { color: $text-accent; text-style: bold; }
    CompletionMenu > .menu--about { color: $foreground 65%; }
    """
    COMPONENT_CLASSES: ClassVar[set[str]] = {"menu--chosen", "menu--about"}

    choices: reactive[tuple[Completion, ...]] = reactive((), layout=True)
    at: reactive[int] = reactive(0)

    @dataclass
    class Clicked(Message):
        """The user took a completion with the mouse."""

        completion: Completion

    def __init__(self) -> None:
        super().__init__()
        self._moved = False

    @property
    def is_open(self) -> bool:
        """Whether there is anything to choose."""
        return bool(self.choices)

    @property
    def chosen(self) -> Completion | None:
        """The one under the cursor."""
        return self.choices[self.at] if self.choices else None

    def show(self, choices: list[Completion]) -> None:
        """Offer these; none of them closes the menu."""
        if tuple(choices) != self.choices:
            self.at, self._moved = 0, False
            self.choices = tuple(choices)
            self.set_class(bool(choices), "-open")

    def move(self, step: int) -> None:
        """To the completion above or below, round the ends."""
        self._moved = True
        self.at = (self.at + step) % max(len(self.choices), 1)

    def is_wanted(self, text: str) -> bool:
        """Whether enter takes a completion rather than sends the text: it was moved to, or the text is none itself."""
        # What was offered for an earlier text is nothing that the user means now.
        if self.chosen is None or not self.chosen.text.casefold().startswith(text.casefold()):
            return False
        if self._moved:
            return True
        if text.endswith(" ") or any(choice.whole == text for choice in self.choices):
            return False
        return text not in {choice.text.rstrip() for choice in self.choices}

    def _first(self) -> int:
        return max(0, min(self.at - _MOST_LINES // 2, len(self.choices) - _MOST_LINES))

    def _n_below(self, first: int) -> int:
        return max(len(self.choices) - first - _MOST_LINES, 0)

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        """A line a choice. What is drawn is as wide as we were before, and would not say it."""
        return min(len(self.choices), _MOST_LINES)

    def render(self) -> RenderResult:
        """The lines around the cursor."""
        first = self._first()
        shown = self.choices[first : first + _MOST_LINES]
        width = min(max((cell_len(choice.word) for choice in shown), default=0), _WORD_WIDTH)
        marks = {first: _ABOVE if first else "", first + len(shown) - 1: _BELOW if self._n_below(first) else ""}
        room = max(self.content_size.width - width - 2 - (_MARK_WIDTH if any(marks.values()) else 0), 0)
        lines = []
        for number, choice in enumerate(shown, start=first):
            word = set_cell_size(safe_line(choice.word), width)
            about = fitted(safe_line(choice.about), room)
            if mark := marks.get(number):
                about = f"{set_cell_size(about, room)} {mark}"
            if number == self.at:
                # Of a component's styles, "reverse" does not come through.
                chosen = Content.styled(word, ".menu--chosen").stylize("reverse")
                lines.append(Content.assemble(chosen, "  ", (about, ".menu--about")))
            else:
                lines.append(Content.assemble(word, "  ", (about, ".menu--about")))
        return Content("\n").join(lines)

    def on_click(self, event: events.Click) -> None:
        """Take the line that was clicked."""
        at = self._first() + event.y
        if 0 <= at < len(self.choices):
            self.post_message(self.Clicked(self.choices[at]))
