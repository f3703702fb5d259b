"""A slider: one number on whole ticks, moved by arrows, pages, digits or the mouse."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from rich.cells import cell_len
from textual import events
from textual.app import RenderResult
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.message import Message
from textual.reactive import reactive
from textual.widget import Widget

from tui.language import N_, _, number

_DIGITS = frozenset("0123456789.,")
_TYPED_LIMIT = 8


@dataclass(frozen=True, kw_only=True)
class Scale:
    """What a slider measures: from minimum to maximum in ticks of 1/per_unit.

    page: ticks that a page key moves. off: the tick that switches the effect off, which is then said in words.
    """

    label: str
    minimum: int
    maximum: int
    per_unit: int = 1
    page: int = 10
    off: int | None = None
    off_text: str = N_("off")
    help: str = ""

    def clamp(self, ticks: int) -> int:
        """The nearest tick that exists."""
        return min(max(ticks, self.minimum), self.maximum)

    def to_ticks(self, value: float) -> int:
        """The tick nearest to a value."""
        return self.clamp(round(value * self.per_unit))

    def to_value(self, ticks: int) -> float:
        """The value at a tick."""
        return ticks / self.per_unit

    def text(self, ticks: int) -> str:
        """The value as it is shown."""
        if ticks == self.off:
            return _(self.off_text)
        return str(ticks) if self.per_unit == 1 else number(ticks / self.per_unit, ".2f")


class Slider(Widget, can_focus=True):
    """One setting in two lines: its name and value, and where that is on the scale. default: where a reset puts it."""

    DEFAULT_CSS = """
    Slider {
        height: 2;
        width: 1fr;
        color: $foreground;
        pointer: pointer;
    }
    Slider > .slider--rail { color: $foreground 35%; }
    Slider > .slider--knob { color: $primary; }
    Slider > .slider--label { color: $foreground 75%; }
    Slider:focus > .slider--label { color: $accent; text-style: bold; }
    Slider:focus > .slider--knob { color: $accent; text-style: bold; }
    Slider:disabled, Slider:disabled > .slider--knob, Slider:disabled > .slider--label { color: $foreground 85%; }
    Slider > .slider--typed { text-style: reverse; }
    Slider:nocolor:focus { text-style: bold; }
    """
    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "slider--rail",
        "slider--knob",
        "slider--label",
        "slider--typed",
    }
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("left,h", "move(-1)", "Less", id="slider.less", tooltip="One tick less"),
        Binding("right,l", "move(1)", "More", id="slider.more", tooltip="One tick more"),
        Binding("pageup", "page(1)", "Much more", id="slider.page_up", tooltip="A page of ticks more", show=False),
        Binding("pagedown", "page(-1)", "Much less", id="slider.page_down", tooltip="A page of ticks less", show=False),
        Binding("home", "minimum", "Lowest", id="slider.minimum", tooltip="The lowest value", show=False),
        Binding("end", "maximum", "Highest", id="slider.maximum", tooltip="The highest value", show=False),
        Binding("r,delete", "reset", "Reset", id="slider.reset", tooltip="The value of a new session"),
        Binding("down,j", "app.focus_next", "Next", id="slider.next", tooltip="The slider below", show=False),
        Binding("up,k", "app.focus_previous", "Previous", id="slider.previous", tooltip="The slider above", show=False),
    ]
    DISABLED_TEXT = N_("the server's")
    HELP = "Arrows move it, page keys faster, home and end go to the limits. Type a number and enter. r resets."

    ticks: reactive[int] = reactive(0)
    typed: reactive[str] = reactive("")

    @dataclass
    class Changed(Message):
        """The user moved the slider."""

        slider: Slider
        ticks: int

        @property
        def value(self) -> float:
            """The value at the new tick."""
            return self.slider.scale.to_value(self.ticks)

    def __init__(self, scale: Scale, default: float, *, id: str | None = None) -> None:  # noqa: A002 - Textual's name
        super().__init__(id=id)
        self.scale = scale
        self.default = scale.to_ticks(default)
        self.set_reactive(Slider.ticks, self.default)
        self.tooltip = _(scale.help) or None

    def show_value(self, value: float) -> None:
        """Move the knob without telling anybody."""
        self.ticks = self.scale.to_ticks(value)

    def validate_ticks(self, ticks: int) -> int:
        """Stay on the scale."""
        return self.scale.clamp(ticks)

    def _choose(self, ticks: int) -> None:
        before = self.ticks
        self.ticks = ticks
        if self.ticks != before:
            self.post_message(self.Changed(self, self.ticks))

    def action_move(self, ticks: int) -> None:
        """Move by single ticks."""
        self._choose(self.ticks + ticks)

    def action_page(self, pages: int) -> None:
        """Move by pages."""
        self._choose(self.ticks + pages * self.scale.page)

    def action_minimum(self) -> None:
        """Go to the lowest value."""
        self._choose(self.scale.minimum)

    def action_maximum(self) -> None:
        """Go to the highest value."""
        self._choose(self.scale.maximum)

    def action_reset(self) -> None:
        """Go back to what a new session begins with."""
        self._choose(self.default)

    def on_key(self, event: events.Key) -> None:
        """Collect a typed number; enter takes it, escape forgets it."""
        character = event.character or ""
        if character in _DIGITS and character:
            self.typed = (self.typed + character)[:_TYPED_LIMIT]
        elif not self.typed:
            return
        elif event.key == "enter":
            self._take_typed()
        elif event.key == "backspace":
            self.typed = self.typed[:-1]
        elif event.key == "escape":
            self.typed = ""
        else:
            self._take_typed()
            return
        event.stop()
        event.prevent_default()

    def on_blur(self) -> None:
        """Take what was typed when the focus goes on."""
        self._take_typed()

    def _take_typed(self) -> None:
        typed, self.typed = self.typed, ""
        try:
            self._choose(self.scale.to_ticks(float(typed.replace(",", "."))))
        except ValueError:
            return

    def on_mouse_down(self, event: events.MouseDown) -> None:
        """Begin to drag."""
        self.capture_mouse()
        self._follow_mouse(event)

    def on_mouse_move(self, event: events.MouseMove) -> None:
        """Drag."""
        if self.app.mouse_captured is self:
            self._follow_mouse(event)

    def on_mouse_up(self) -> None:
        """End of the drag."""
        self.release_mouse()

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        """The wheel moves a focused slider; elsewhere it scrolls the pane."""
        if self.has_focus:
            event.stop()
            self.action_move(1)

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        """The wheel moves a focused slider; elsewhere it scrolls the pane."""
        if self.has_focus:
            event.stop()
            self.action_move(-1)

    def _follow_mouse(self, event: events.MouseEvent) -> None:
        cells = max(self.content_size.width - 1, 1)
        span = self.scale.maximum - self.scale.minimum
        at = min(max(event.x - self.gutter.left, 0), cells)
        self._choose(self.scale.minimum + round(span * at / cells))

    def render(self) -> RenderResult:
        """Name and value, and the rail below."""
        width = self.content_size.width
        value = f"{self.typed}▏" if self.typed else self.scale.text(self.ticks)
        if self.disabled:
            value = _(self.DISABLED_TEXT)
        label = _(self.scale.label)
        gap = max(width - cell_len(label) - cell_len(value), 1)
        span = max(self.scale.maximum - self.scale.minimum, 1)
        cells = max(width - 1, 0)
        at = round(cells * (self.ticks - self.scale.minimum) / span)
        return Content.assemble(
            (label, ".slider--label"),
            " " * gap,
            (value, ".slider--typed" if self.typed else ""),
            "\n",
            ("━" * at + "●", ".slider--knob"),
            ("─" * (cells - at), ".slider--rail"),
        )
