"""The sliders of one session: how the next token is chosen."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import msgspec
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.message import Message

from engine.protocol import Abilities, Sampling
from tui.widgets.slider import Scale, Slider

_SCALES: dict[str, Scale] = {
    "temperature": Scale(
        label="temperature",
        minimum=0,
        maximum=200,
        per_unit=100,
        page=10,
        off=0,
        off_text="0 greedy",
        help="Low keeps to the likeliest words, high dares more. 0 always takes the likeliest.",
    ),
    "top_k": Scale(
        label="top-k",
        minimum=0,
        maximum=200,
        page=10,
        off=0,
        help="Only the so many likeliest tokens may follow. 0 switches this off.",
    ),
    "top_p": Scale(
        label="top-p",
        minimum=1,
        maximum=100,
        per_unit=100,
        page=5,
        off=100,
        help="Only the likeliest tokens that together have this probability. 1 switches this off.",
    ),
    "min_p": Scale(
        label="min-p",
        minimum=0,
        maximum=100,
        per_unit=100,
        page=5,
        off=0,
        help="Only tokens with at least this part of the likeliest one's probability. 0 switches this off.",
    ),
    "repeat_penalty": Scale(
        label="repeat penalty",
        minimum=100,
        maximum=200,
        per_unit=100,
        page=10,
        off=100,
        help="Above 1, tokens that came lately become less likely.",
    ),
    "max_new_tokens": Scale(
        label="max tokens",
        minimum=0,
        maximum=4096,
        page=128,
        off=0,
        off_text="no limit",
        help="An answer ends after so many tokens. 0: it may fill the context.",
    ),
}


def _slider_id(name: str) -> str:
    return name.replace("_", "-")


class SamplingPane(Vertical):
    """One slider a setting; tells the whole Sampling when one moves."""

    DEFAULT_CSS = """
    SamplingPane { height: auto; }
    """

    @dataclass
    class Changed(Message):
        """The user chose other settings."""

        sampling: Sampling

    def __init__(self, defaults: Sampling) -> None:
        super().__init__()
        self._sampling = defaults

    def compose(self) -> ComposeResult:
        """The sliders in the order in which the engine applies them."""
        for name, scale in _SCALES.items():
            yield Slider(scale, _number(self._sampling, name), id=_slider_id(name))

    def show_sampling(self, sampling: Sampling, defaults: Sampling) -> None:
        """Move the sliders to a session's settings without telling anybody. defaults: what a reset brings back."""
        self._sampling = sampling
        for name, slider in self._sliders():
            slider.default = slider.scale.to_ticks(_number(defaults, name))
            slider.show_value(_number(sampling, name))

    def show_abilities(self, abilities: Abilities) -> None:
        """Grey out what the engine is known not to do; what a server has not shown yet may be tried."""
        for name, slider in self._sliders():
            slider.disabled = getattr(abilities, name, True) is False

    def on_slider_changed(self, event: Slider.Changed) -> None:
        """One slider moved."""
        event.stop()
        name = next(name for name, slider in self._sliders() if slider is event.slider)
        value: float | None = event.value
        if name in ("top_k", "max_new_tokens"):
            value = event.ticks or None if name == "max_new_tokens" else event.ticks
        self._sampling = msgspec.structs.replace(self._sampling, **{name: value})
        self.post_message(self.Changed(self._sampling))

    def _sliders(self) -> Iterable[tuple[str, Slider]]:
        for name in _SCALES:
            yield name, self.query_one(f"#{_slider_id(name)}", Slider)


def _number(sampling: Sampling, name: str) -> float:
    value = getattr(sampling, name)
    return 0.0 if value is None else float(value)
