"""The line of keys: what it shows, what fits, what a click does."""

from __future__ import annotations

from typing import ClassVar

from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType

from tui.widgets.key_line import KeyLine


class Keys(App[None]):
    """An app with three keys, of which one works only while `is_on`."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("f2", "tell('two')", "Two", tooltip="Says two"),
        Binding("f3", "maybe", "Maybe"),
        Binding("f4", "tell('four')", "Four", show=False),
    ]
    is_on = False

    def __init__(self) -> None:
        super().__init__()
        self.told: list[str] = []

    def compose(self) -> ComposeResult:
        yield KeyLine()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        return self.is_on if action == "maybe" else True

    def action_tell(self, what: str) -> None:
        self.told.append(what)

    @property
    def line(self) -> KeyLine:
        return self.query_one(KeyLine)


def text_of(line: KeyLine) -> str:
    return str(line.render())


async def test_it_shows_what_works_now():
    app = Keys()
    async with app.run_test(size=(60, 5)) as pilot:
        await pilot.pause()
        words = text_of(app.line)
        assert "f2 two" in words
        assert "maybe" not in words
        assert "four" not in words
        assert words.endswith("palette")
        app.is_on = True
        app.screen.refresh_bindings()
        await pilot.pause()
        assert "f3 maybe" in text_of(app.line)


async def test_what_does_not_fit_gives_way_to_the_palette():
    app = Keys()
    async with app.run_test(size=(16, 5)) as pilot:
        await pilot.pause()
        assert "two" not in text_of(app.line)
        assert text_of(app.line).endswith("palette")
        app.line.show_command_palette = False
        await pilot.pause()
        assert text_of(app.line).strip() == "f2 two"


async def test_a_click_presses_the_key_under_it():
    app = Keys()
    async with app.run_test(size=(60, 5)) as pilot:
        await pilot.pause()
        await pilot.click(KeyLine, offset=(3, 0))
        await pilot.pause()
        assert app.told == ["two"]
        await pilot.click(KeyLine, offset=(30, 0))
        await pilot.pause()
        assert app.told == ["two"]
        await pilot.hover(KeyLine, offset=(3, 0))
        assert app.line.tooltip == "Says two"


class WayOut(Keys):
    """The same with more keys, and one that leads out behind them."""

    BINDINGS: ClassVar[list[BindingType]] = [
        *[Binding(f"f{n}", f"tell('{n}')", "A long word") for n in range(5, 9)],
        Binding("escape", "tell('out')", "Back"),
    ]


async def test_the_key_that_leads_out_is_always_there():
    app = WayOut()
    async with app.run_test(size=(50, 5)) as pilot:
        app.line.show_command_palette = False
        await pilot.pause()
        assert text_of(app.line).rstrip() == "f2 two  f5 a long word  f6 a long word  esc back"
        await pilot.click(KeyLine, offset=(46, 0))
        assert app.told == ["out"]
        await pilot.resize_terminal(120, 5)
        await pilot.pause()
        assert text_of(app.line).rstrip().endswith("f8 a long word  esc back")
