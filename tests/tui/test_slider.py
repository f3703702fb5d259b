"""The slider: every key, the mouse, typed numbers, and what it tells."""

from __future__ import annotations

import pytest
from textual.app import App, ComposeResult
from textual.pilot import Pilot

from tui.widgets.slider import Scale, Slider

TEMPERATURE = Scale(label="temperature", minimum=0, maximum=200, per_unit=100, page=10, off=0, off_text="0")


class SliderApp(App[None]):
    """Two sliders and the values that they told."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[float] = []

    def compose(self) -> ComposeResult:
        yield Slider(TEMPERATURE, 0.8, id="one")
        yield Slider(TEMPERATURE, 0.8, id="two")

    def on_slider_changed(self, event: Slider.Changed) -> None:
        self.told.append(event.value)


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        (["right"], [0.81]),
        (["left", "left"], [0.79, 0.78]),
        (["pageup"], [0.9]),
        (["pagedown"], [0.7]),
        (["home"], [0.0]),
        (["end"], [2.0]),
        (["end", "right"], [2.0]),
        (["1", ".", "2", "5", "enter"], [1.25]),
        (["9", "enter"], [2.0]),
        (["1", "escape", "right"], [0.81]),
        (["1", "2", "backspace", "enter"], [1.0]),
        ([".", ".", "enter"], []),
        (["end", "r"], [2.0, 0.8]),
        (["1", "tab"], [1.0]),
        (["1", "right"], [1.0, 1.01]),
    ],
)
async def test_keys(keys: list[str], told: list[float]) -> None:
    app = SliderApp()
    async with app.run_test(size=(30, 6)) as pilot:
        await pilot.press(*keys)
        await pilot.pause()
        assert app.told == pytest.approx(told)


async def drag(pilot: Pilot[None], *xs: int) -> None:
    await pilot.mouse_down("#one", offset=(xs[0], 1))
    for x in xs[1:]:
        await pilot.hover("#one", offset=(x, 1))
    await pilot.mouse_up("#one", offset=(xs[-1], 1))


async def test_mouse() -> None:
    app = SliderApp()
    async with app.run_test(size=(21, 6)) as pilot:
        await drag(pilot, 0, 10, 20)
        await pilot.pause()
        assert app.told == pytest.approx([0.0, 1.0, 2.0])
        await pilot.hover("#one", offset=(3, 1))
        assert app.told == pytest.approx([0.0, 1.0, 2.0])


async def test_showing_a_value_tells_nobody() -> None:
    app = SliderApp()
    async with app.run_test(size=(21, 6)) as pilot:
        slider = app.query_one("#one", Slider)
        slider.show_value(1.5)
        await pilot.pause()
        assert slider.ticks == 150
        assert app.told == []
        assert slider.render_line(0).text == "temperature      1.50"
        assert slider.render_line(1).text == "━" * 15 + "●" + "─" * 5


async def test_arrows_go_from_slider_to_slider() -> None:
    app = SliderApp()
    async with app.run_test(size=(21, 6)) as pilot:
        await pilot.press("down")
        assert app.focused is app.query_one("#two")
        await pilot.press("up")
        assert app.focused is app.query_one("#one")


@pytest.mark.parametrize("width", [1, 2, 3, 5])
async def test_hardly_any_room_is_no_reason_to_fail(width: int) -> None:
    async with SliderApp().run_test(size=(width, 2)) as pilot:
        await pilot.press("end", "home")
